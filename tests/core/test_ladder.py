"""From rows to rungs: what is kept, what is dropped, and the reason a person reads."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Sequence
from math import floor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeslim.core.ladder import DroppedArtifact, Ladder, Rung, ladder, thinned
from edgeslim.core.latency import LatencyTable
from edgeslim.core.passport import DeviceInfo
from edgeslim.core.prior import scale_prior
from edgeslim.core.reasons import Reason, sentence
from edgeslim.errors import TableError

sys.path.insert(0, str(Path(__file__).parent))
from latency_rows import artifact, failed_row, quality, table, timed


def accuracies(**values: float) -> dict[str, float]:
    return {artifact(int(name[1:])): value for name, value in values.items()}


def widths(found: Ladder) -> list[int]:
    return [int(name.rpartition("/")[2]) for name in found.artifacts]


def dropped(found: Ladder) -> dict[int, str]:
    return {int(item.artifact.rpartition("/")[2]): sentence(item.reason) for item in found.dropped}


def notes(found: Ladder) -> list[str]:
    return [note.code for note in found.notes]


def test_a_clean_table_is_its_own_ladder() -> None:
    found = ladder(
        table(timed(500, 12.0), timed(250, 6.0), timed(1000, 30.0)), accuracies(w250=0.54, w500=0.64, w1000=0.72)
    )
    assert [(r.label, r.t_us, r.energy_uj, r.worth) for r in found.rungs] == [
        ("0.25x", 6000, 12000, 540_000),
        ("0.5x", 12000, 24000, 640_000),
        ("1.0x", 30000, 60000, 720_000),
    ]
    assert found.energy_estimated
    assert found.metric == "top1"
    assert not found.dropped


def test_dominated_widths_go_with_a_reason() -> None:
    rows = table(timed(500, 12.0), timed(750, 31.0), timed(975, 30.5), timed(1000, 30.0))
    found = ladder(rows, accuracies(w500=64, w750=63.5, w975=71.9, w1000=72))
    assert widths(found) == [500, 1000]
    assert dropped(found)[975] == "1.0x is no slower and worth no less"
    assert found.dropped[0].reason == Reason.of("beaten", by="1.0x")


def test_accuracies_that_fall_with_width_are_no_reason_to_pay_more() -> None:
    found = ladder(table(timed(500, 12.0), timed(750, 20.0)), accuracies(w500=64, w750=63))
    assert widths(found) == [500]
    assert dropped(found)[750].startswith("0.5x is no slower")


def test_thinning_keeps_the_widest_and_what_is_worth_most_for_its_time() -> None:
    """0.85x must not go for 0.7x, which gives 0.2 points over 0.4x at 2.4 times the time."""
    rows = table(timed(400, 7.3), timed(700, 17.5), timed(800, 24.0), timed(850, 24.2), timed(1000, 30.0))
    found = ladder(rows, accuracies(w400=0.917, w700=0.919, w800=0.918, w850=0.944, w1000=0.946))
    assert widths(found) == [400, 850, 1000]
    assert dropped(found) == {
        700: "slower than 0.4x, and worth hardly more",
        800: "0.7x is no slower and worth no less",
    }


def test_of_the_rungs_leapt_over_the_one_stays_whose_loss_would_cost_most() -> None:
    """0.1 for 4 ms of the 10 is more than 0.15 for 2 ms; 29 ms are too close to 30."""
    rows = table(timed(500, 20.0), timed(700, 26.0), timed(800, 28.0), timed(900, 29.0), timed(1000, 30.0))
    found = ladder(rows, accuracies(w500=0.5, w700=0.6, w800=0.65, w900=0.69, w1000=0.7))
    assert widths(found) == [500, 700, 1000]
    assert dropped(found)[800] == "93 % of the time of 1.0x: too close, and the others are worth more for their time"


def rising(values: dict[int, int]) -> list[Rung]:
    """Rungs of (time: worth), those that another beats left out."""
    kept: list[Rung] = []
    for t_us, worth in sorted(values.items()):
        if not kept or worth > kept[-1].worth:
            kept.append(Rung(artifact=f"a/{t_us}", t_us=t_us, energy_uj=0, worth=worth, label=str(t_us)))
    return kept


def from_the_top(rungs: Sequence[Rung]) -> list[Rung]:
    kept = [rungs[-1]]
    for rung in reversed(rungs[:-1]):
        if 5 * rung.t_us <= 4 * kept[-1].t_us:
            kept.append(rung)
    return kept


def best_worth(rungs: Sequence[Rung], t_us: int) -> int:
    return max((rung.worth for rung in rungs if rung.t_us <= t_us), default=0)


uneven = st.dictionaries(
    st.integers(100, 400), st.integers(0, 900_000) | st.integers(700_000, 710_000), min_size=1, max_size=16
).map(rising)


@given(uneven)
def test_no_time_loses_more_than_half_a_hundredth_against_thinning_from_the_top(rungs: list[Rung]) -> None:
    found, top = thinned(rungs, []), from_the_top(rungs)
    for rung in rungs:
        assert 200 * best_worth(found, rung.t_us) >= 199 * best_worth(top, rung.t_us)


@given(uneven)
def test_rungs_are_worth_a_switch(rungs: list[Rung]) -> None:
    """Every rung between the narrowest and the widest brings half a hundredth, and every second one is 1.25x apart."""
    gone: list[DroppedArtifact] = []
    found = thinned(rungs, gone)
    assert sorted([*(r.artifact for r in found), *(d.artifact for d in gone)]) == sorted(r.artifact for r in rungs)
    assert found[-1] == rungs[-1]
    assert 20 * found[0].t_us < 21 * rungs[0].t_us
    assert apart(found)
    for low, high in itertools.pairwise(found[:-1]):
        assert 200 * (high.worth - low.worth) >= high.worth


def apart(rungs: Sequence[Rung]) -> bool:
    """Neighbours 1.05x; the next but one, where both are above the narrowest, 1.25x."""
    t = [rung.t_us for rung in rungs]
    return all(21 * low <= 20 * high for low, high in itertools.pairwise(t)) and all(
        5 * low <= 4 * high for low, high in zip(t[1:], t[3:], strict=False)
    )


def test_rows_that_do_not_count_are_named() -> None:
    hot = timed(500, 12.0, valid=False, reasons=("thermal level rose",))
    found = ladder(table(failed_row(), hot, timed(1000, 30.0)))
    assert dropped(found) == {250: "not measured: the runtime crashed: signal 11", 500: "not valid: thermal level rose"}


def test_a_table_of_doubtful_rows_is_used_and_says_so() -> None:
    hot = timed(500, 12.0, valid=False, reasons=("thermal level rose",))
    found = ladder(table(failed_row(), hot))
    assert widths(found) == [500]
    assert "all_doubtful" in notes(found)


def test_doubtful_rows_are_used_when_asked_for() -> None:
    hot = timed(500, 12.0, valid=False, reasons=("thermal level rose",))
    found = ladder(table(failed_row(), hot, timed(1000, 30.0)), doubtful=True)
    assert widths(found) == [500, 1000]
    assert Reason.of("some_doubtful", count=1, of=2) in found.notes


def test_what_stands_in_for_accuracy() -> None:
    rows = (timed(500, 12.0), timed(1000, 30.0))
    assert ladder(table(*rows)).metric == "width"
    macs = quality({"0500": 97e6}, "macs")
    found = ladder(table(*rows, quality=macs))
    assert found.metric == "macs"
    assert "worth_is_macs" in notes(found)
    assert found.rungs[0].worth == 97_000_000
    assert dropped(found) == {1000: "its macs is unknown, others have one"}
    assert ladder(table(*rows, quality=macs), accuracies(w1000=72, w500=64)).metric == "top1"


def test_energy_is_measured_for_all_or_estimated_for_all() -> None:
    measured = {"energy_method": "rapl"}
    both = table(
        timed(500, 12.0, energy_mj_per_inference=22.0, **measured),
        timed(1000, 30.0, energy_mj_per_inference=21.0, **measured),
    )
    found = ladder(both)
    assert [r.energy_uj for r in found.rungs] == [22000, 22000]
    assert "energy_raised" in notes(found)
    assert not found.energy_estimated
    half = table(timed(500, 12.0, energy_mj_per_inference=22.0, **measured), timed(1000, 30.0))
    assert [r.energy_uj for r in ladder(half).rungs] == [24000, 60000]


def test_one_place_only() -> None:
    rows = table(timed(500, 12.0), timed(500, 10.0, target="executorch"), timed(1000, 20.0, target="executorch"))
    with pytest.raises(TableError, match="several values of target: executorch, litert"):
        ladder(rows)
    assert widths(ladder(rows, target="executorch")) == [500, 1000]
    with pytest.raises(TableError, match="no burst row"):
        ladder(rows, target="coreml")
    with pytest.raises(TableError, match="no burst row"):
        ladder(table(timed(500, 12.0, kind="sustained")))
    with pytest.raises(TableError, match="at least one rung"):
        ladder(table(failed_row()))


def test_burst_before_prior() -> None:
    rows = table(timed(500, 99.0, kind="prior"), timed(500, 12.0), timed(250, 5.0, kind="prior"))
    assert [r.t_us for r in ladder(rows).rungs] == [5000, 12000]


def test_without() -> None:
    full = ladder(table(timed(500, 12.0), timed(1000, 30.0)))
    why = Reason.of("not_loaded", why="the runtime crashed while loading it")
    rest = full.without(artifact(1000), why)
    assert widths(rest) == [500]
    assert rest.dropped == (DroppedArtifact(artifact=artifact(1000), label="1.0x", reason=why),)
    with pytest.raises(TableError):
        rest.without(artifact(1000), why)
    with pytest.raises(TableError):
        rest.without(artifact(500), why)


def test_precisions_and_input_sizes_stand_side_by_side() -> None:
    rows = table(
        timed(500, 12.0),
        timed(1000, 30.0),
        timed(
            750, 8.0, variant="litert-int8-192", precision="int8", label="int8 0.75x @192", input_shape=(1, 3, 192, 192)
        ),
        timed(
            1000,
            20.0,
            variant="litert-int8-192",
            precision="int8",
            label="int8 1.0x @192",
            input_shape=(1, 3, 192, 192),
        ),
    )
    values = {
        artifact(500): 0.64,
        artifact(1000): 0.72,
        "litert-int8-192/0750": 0.645,
        "litert-int8-192/1000": 0.69,
    }
    found = ladder(rows, values)
    assert found.labels == ("int8 0.75x @192", "int8 1.0x @192", "1.0x")
    assert dropped(found) == {500: "int8 0.75x @192 is no slower and worth no less"}
    assert ladder(rows, values, precision="fp32").labels == ("0.5x", "1.0x")


def test_where_smaller_is_better() -> None:
    rows = table(timed(500, 12.0), timed(1000, 30.0), quality=quality({"0500": 9.5, "1000": 7.25}, "mae", larger=False))
    assert [rung.worth for rung in ladder(rows).rungs] == [-9_500_000, -7_250_000]


def test_a_net_that_is_no_width_is_worth_what_its_latency_says() -> None:
    rows = table(timed(500, 12.0), timed(1000, 9.0, net="narrow-head", label="narrow-head", width_permille=None))
    found = ladder(rows)
    assert (found.metric, [rung.worth for rung in found.rungs]) == ("latency", [9000, 12000])


@pytest.mark.parametrize(
    "rungs",
    [
        [(500, 10, 1, 1), (1000, 10, 1, 2)],
        [(500, 10, 1, 1), (1000, 11, 1, 1)],
        [(500, 10, 2, 1), (1000, 11, 1, 2)],
        [(500, 0, 1, 1)],
        [(500, 60_000_001, 1, 1)],
    ],
)
def test_a_ladder_rises(rungs: list[tuple[int, int, int, int]]) -> None:
    with pytest.raises(TableError):
        Ladder(
            rungs=tuple(Rung(artifact=artifact(w), t_us=t, energy_uj=e, worth=q, label=f"{w}") for w, t, e, q in rungs)
        )


measurements = st.dictionaries(
    st.integers(100, 2000), st.tuples(st.floats(0.0006, 70_000), st.floats(0, 100)), min_size=1, max_size=20
)


@given(measurements)
def test_every_artifact_is_a_rung_or_has_a_reason(values: dict[int, tuple[float, float]]) -> None:
    rows = table(*(timed(permille, ms) for permille, (ms, _) in values.items()))
    found = ladder(rows, {artifact(permille): good for permille, (_, good) in values.items()})
    assert sorted(values) == sorted([*widths(found), *dropped(found)])
    assert found.rungs[-1].worth == max(floor(good * 1_000_000 + 0.5) for _, good in values.values())
    assert apart(found.rungs)


HERE = DeviceInfo(manufacturer=None, model="here", soc=None, cores=4, ram_bytes=None, cpu_max_khz=())


def prior(rows: LatencyTable, here_ms: dict[str, float]) -> LatencyTable:
    place = rows.rows[0]
    return scale_prior(
        rows, here_ms, device=HERE, os=place.os, runtime=place.runtime, created_at="2026-01-02T00:00:00Z"
    )


def test_a_prior_is_scaled_by_the_probes_and_marked() -> None:
    rows = table(timed(250, 6.0, load_cold_ms=100.0), timed(500, 12.0), timed(1000, 30.0))
    scaled = prior(rows, {artifact(250): 12.0, artifact(1000): 120.0})  # 2x and 4x: the geometric mean is 2.83x
    assert scaled.prior is not None
    assert scaled.prior.scale == pytest.approx(8**0.5)
    assert scaled.prior.device.model == "bench"
    assert {r.kind for r in scaled.rows} == {"prior"}
    assert {r.device.model for r in scaled.rows} == {"here"}
    assert scaled.rows[1].p50_ms == pytest.approx(12 * 8**0.5)
    assert scaled.rows[0].load_cold_ms == pytest.approx(100 * 8**0.5)
    assert LatencyTable.from_json(scaled.to_json()) == scaled
    assert ladder(scaled).artifacts == ladder(rows).artifacts


@pytest.mark.parametrize("here_ms", [{}, {artifact(750): 1.0}, {artifact(250): 0.0}, {artifact(250): float("nan")}])
def test_a_prior_needs_a_sound_probe(here_ms: dict[str, float]) -> None:
    with pytest.raises(TableError):
        prior(table(timed(250, 6.0)), here_ms)

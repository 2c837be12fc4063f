"""From rows to rungs: what is kept, what is dropped, and the reason a person reads."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeslim import Width
from edgeslim.core.ladder import DroppedWidth, Ladder, Rung, ladder, scale_prior
from edgeslim.core.latency import DeviceInfo, LatencyTable, Quality, WidthValue
from edgeslim.errors import TableError

sys.path.insert(0, str(Path(__file__).parent))
from latency_rows import failed_row, table, timed


def accuracies(**values: float) -> dict[Width, float]:
    return {Width(int(name[1:])): value for name, value in values.items()}


def dropped(found: Ladder) -> dict[int, str]:
    return {item.width.permille: item.reason for item in found.dropped}


def test_a_clean_table_is_its_own_ladder() -> None:
    found = ladder(table(timed(500, 12.0), timed(250, 6.0), timed(1000, 30.0)), accuracies(w250=54, w500=64, w1000=72))
    assert [(r.width.permille, r.t_us, r.e_uj, r.quality) for r in found.rungs] == [
        (250, 6000, 12000, 54.0),
        (500, 12000, 24000, 64.0),
        (1000, 30000, 60000, 72.0),
    ]
    assert found.energy_estimated
    assert found.metric == "top1"
    assert not found.dropped


def test_dominated_widths_go_with_a_reason() -> None:
    rows = table(timed(500, 12.0), timed(750, 31.0), timed(975, 30.5), timed(1000, 30.0))
    found = ladder(rows, accuracies(w500=64, w750=63.5, w975=71.9, w1000=72))
    assert [w.permille for w in found.widths] == [500, 1000]
    assert "30.5 ms for 71.9 is beaten by 1.0 (30 ms for 72)" in dropped(found)[975]
    assert "beaten by 1.0" in dropped(found)[750]


def test_accuracies_that_fall_with_width_are_no_reason_to_pay_more() -> None:
    found = ladder(table(timed(500, 12.0), timed(750, 20.0)), accuracies(w500=64, w750=63))
    assert [w.permille for w in found.widths] == [500]
    assert "beaten by 0.5" in dropped(found)[750]


def test_thinning_keeps_the_widest_and_a_quarter_more_speed_per_rung() -> None:
    rows = table(*(timed(p, p / 100) for p in (1000, 850, 800, 640, 600)))
    found = ladder(rows)
    assert [w.permille for w in found.widths] == [640, 800, 1000]
    assert dropped(found)[850] == "too close to 1.0: 1.18x faster, a rung needs 1.25x"
    assert 600 in dropped(found)


def test_rows_that_do_not_count_are_named() -> None:
    hot = timed(500, 12.0, valid=False, reasons=("thermal level rose",))
    found = ladder(table(failed_row(), hot, timed(1000, 30.0)))
    assert dropped(found) == {250: "not measured: the runtime crashed: signal 11", 500: "not valid: thermal level rose"}


def test_a_table_of_doubtful_rows_is_used_and_says_so() -> None:
    hot = timed(500, 12.0, valid=False, reasons=("thermal level rose",))
    found = ladder(table(failed_row(), hot))
    assert [w.permille for w in found.widths] == [500]
    assert any("doubtful" in note for note in found.notes)


def test_doubtful_rows_are_used_when_asked_for() -> None:
    hot = timed(500, 12.0, valid=False, reasons=("thermal level rose",))
    found = ladder(table(failed_row(), hot, timed(1000, 30.0)), doubtful=True)
    assert [w.permille for w in found.widths] == [500, 1000]
    assert "1 of 2 rows do not count, and are used all the same" in found.notes


def test_what_stands_in_for_accuracy() -> None:
    rows = (timed(500, 12.0), timed(1000, 30.0))
    assert ladder(table(*rows)).metric == "width"
    macs = Quality(metric="macs", source="profile", values=(WidthValue(permille=500, value=97e6),))
    found = ladder(table(*rows, quality=macs))
    assert found.metric == "macs"
    assert any("multiply-adds stand in" in note for note in found.notes)
    assert dropped(found) == {1000: "its macs is unknown, others have one"}
    assert ladder(table(*rows, quality=macs), accuracies(w1000=72, w500=64)).metric == "top1"


def test_energy_is_measured_for_all_or_estimated_for_all() -> None:
    measured = {"energy_method": "rapl"}
    both = table(
        timed(500, 12.0, energy_mj_per_inference=22.0, **measured),
        timed(1000, 30.0, energy_mj_per_inference=21.0, **measured),
    )
    found = ladder(both)
    assert [r.e_uj for r in found.rungs] == [22000, 22000]
    assert any("raised" in note for note in found.notes)
    assert not found.energy_estimated
    half = table(timed(500, 12.0, energy_mj_per_inference=22.0, **measured), timed(1000, 30.0))
    assert [r.e_uj for r in ladder(half).rungs] == [24000, 60000]


def test_one_place_only() -> None:
    rows = table(timed(500, 12.0), timed(500, 10.0, target="executorch"), timed(1000, 20.0, target="executorch"))
    with pytest.raises(TableError, match="several values of target: executorch, litert"):
        ladder(rows)
    assert ladder(rows, target="executorch").widths == (Width(500), Width(1000))
    with pytest.raises(TableError, match="no burst row"):
        ladder(rows, target="coreml")
    with pytest.raises(TableError, match="no burst row"):
        ladder(table(timed(500, 12.0, kind="sustained")))
    with pytest.raises(TableError, match="at least one width"):
        ladder(table(failed_row()))


def test_burst_before_prior() -> None:
    rows = table(timed(500, 99.0, kind="prior"), timed(500, 12.0), timed(250, 5.0, kind="prior"))
    assert [r.t_us for r in ladder(rows).rungs] == [5000, 12000]


def test_without() -> None:
    full = ladder(table(timed(500, 12.0), timed(1000, 30.0)))
    rest = full.without(Width(1000), "the runtime crashed while loading it")
    assert rest.widths == (Width(500),)
    assert rest.dropped == (DroppedWidth(width=Width(1000), reason="the runtime crashed while loading it"),)
    with pytest.raises(TableError):
        rest.without(Width(1000), "again")
    with pytest.raises(TableError):
        rest.without(Width(500), "the last one")


@pytest.mark.parametrize(
    "rungs",
    [
        [(500, 10, 1, 1.0), (1000, 10, 1, 2.0)],
        [(500, 10, 1, 1.0), (1000, 11, 1, 1.0)],
        [(500, 10, 2, 1.0), (1000, 11, 1, 2.0)],
        [(500, 0, 1, 1.0)],
        [(500, 60_000_001, 1, 1.0)],
    ],
)
def test_a_ladder_rises(rungs: list[tuple[int, int, int, float]]) -> None:
    with pytest.raises(TableError):
        Ladder(rungs=tuple(Rung(width=Width(w), t_us=t, e_uj=e, quality=q) for w, t, e, q in rungs))


measurements = st.dictionaries(
    st.integers(100, 2000), st.tuples(st.floats(0.0006, 70_000), st.floats(0, 100)), min_size=1, max_size=20
)


@given(measurements)
def test_every_width_is_a_rung_or_has_a_reason(values: dict[int, tuple[float, float]]) -> None:
    rows = table(*(timed(permille, ms) for permille, (ms, _) in values.items()))
    found = ladder(rows, {Width(permille): quality for permille, (_, quality) in values.items()})
    assert sorted(values) == sorted([w.permille for w in found.widths] + [d.width.permille for d in found.dropped])
    assert found.rungs[-1].quality == max(quality for _, quality in values.values())
    assert all(5 * low.t_us <= 4 * high.t_us for low, high in zip(found.rungs, found.rungs[1:], strict=False))


HERE = DeviceInfo(manufacturer=None, model="here", soc=None, cores=4, ram_bytes=None, cpu_max_khz=())


def prior(rows: LatencyTable, here_ms: dict[Width, float]) -> LatencyTable:
    place = rows.rows[0]
    return scale_prior(
        rows, here_ms, device=HERE, os=place.os, runtime=place.runtime, created_at="2026-01-02T00:00:00Z"
    )


def test_a_prior_is_scaled_by_the_probes_and_marked() -> None:
    rows = table(timed(250, 6.0, load_cold_ms=100.0), timed(500, 12.0), timed(1000, 30.0))
    scaled = prior(rows, {Width(250): 12.0, Width(1000): 120.0})  # 2x and 4x: the geometric mean is 2.83x
    assert scaled.prior is not None
    assert scaled.prior.scale == pytest.approx(8**0.5)
    assert scaled.prior.device.model == "bench"
    assert {r.kind for r in scaled.rows} == {"prior"}
    assert {r.device.model for r in scaled.rows} == {"here"}
    assert scaled.rows[1].p50_ms == pytest.approx(12 * 8**0.5)
    assert scaled.rows[0].load_cold_ms == pytest.approx(100 * 8**0.5)
    assert LatencyTable.from_json(scaled.to_json()) == scaled
    assert ladder(scaled).widths == ladder(rows).widths


@pytest.mark.parametrize("here_ms", [{}, {Width(750): 1.0}, {Width(250): 0.0}, {Width(250): float("nan")}])
def test_a_prior_needs_a_sound_probe(here_ms: dict[Width, float]) -> None:
    with pytest.raises(TableError):
        prior(table(timed(250, 6.0)), here_ms)

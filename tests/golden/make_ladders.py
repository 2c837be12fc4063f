"""Writes tests/golden/ladder/*.json: a latency table in, its ladder out, for every language.

    .venv/bin/python tests/golden/make_ladders.py          writes them
    .venv/bin/python tests/golden/make_ladders.py --check  exits 1 if they are not what this code builds

Format: tests/golden/ladder/README.md.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from edgeslim.core.ladder import DroppedArtifact, Ladder, ladder
from edgeslim.core.latency import ArtifactValue, LatencyRow, LatencyStatistics, LatencyTable, Quality, label_of
from edgeslim.core.passport import DeviceInfo, OsInfo, RuntimeInfo
from edgeslim.core.policy import PRESETS, Policy
from edgeslim.core.reasons import Reason, sentence
from edgeslim.core.worth import worth
from edgeslim.errors import TableError

FOLDER = Path(__file__).with_name("ladder")
PATTERN = "ladder/*.json"
DEVICE = DeviceInfo(manufacturer="Golden", model="phone", soc=None, cores=8, ram_bytes=None, cpu_max_khz=())
OTHER = dataclasses.replace(DEVICE, model="tablet")
CPU = RuntimeInfo(
    name="runtime", version="1.0", delegate_requested=None, delegate_actual=None, threads=1, load_mode=None
)
TWO = dataclasses.replace(CPU, threads=2)


def row(net: str, ms: float | None, *, variant: str = "litert-fp32-224", **changes: Any) -> LatencyRow:
    """A row whose every inference took ``ms``; without, it was not measured."""
    target, precision, size = variant.split("-")
    figures: dict[str, Any] = {"valid": False, "reasons": ("crashed",), "runs": 0}
    if ms is not None:
        figures = {**dataclasses.asdict(LatencyStatistics.of([ms])), "valid": True, "reasons": (), "runs": 1}
    values: dict[str, Any] = {
        "file_sha256": "0" * 64,
        "bundle_sha256": None,
        "artifact": f"{variant}/{net}",
        "net": net,
        "label": label_of(net),
        "width_permille": int(net) if net.isdigit() else None,
        "target": target,
        "precision": precision,
        "input_shape": (1, 3, int(size), int(size)),
        "device": DEVICE,
        "os": OsInfo(name="Android", version="15", build=None),
        "runtime": CPU,
        "context": "app",
        "warmup_runs": 1,
        "duration_s": 1.0,
        "kind": "burst",
        "order": 0,
        "seed": 0,
        "started_at": "2026-01-01T00:00:00Z",
        "edgeslim_version": "0",
    }
    return LatencyRow(**{**values, **figures, **changes})


def table(
    *rows: LatencyRow, values: Mapping[str, float] | None = None, metric: str = "top1", larger: bool = True
) -> LatencyTable:
    """``values``: by net of litert-fp32-224, or by artifact id."""
    quality = None
    if values:
        listed = tuple(
            ArtifactValue(artifact=name if "/" in name else f"litert-fp32-224/{name}", value=value)
            for name, value in values.items()
        )
        quality = Quality(metric=metric, source="golden", larger_is_better=larger, values=listed)
    return LatencyTable(edgeslim_version="0", created_at="2026-01-01T00:00:00Z", quality=quality, rows=rows)


FOUR = (row("0250", 6.0), row("0500", 12.0), row("0750", 20.0), row("1000", 30.0))
FOUR_TOP1 = {"0250": 0.54, "0500": 0.64, "0750": 0.69, "1000": 0.72}
INT8 = "litert-int8-192"
MIXED = (
    *FOUR,
    row("0750", 8.0, variant=INT8, label="int8 0.75x @192"),
    row("1000", 13.5, variant=INT8, label="int8 1.0x @192"),
)
MIXED_TOP1 = {**FOUR_TOP1, f"{INT8}/0750": 0.63, f"{INT8}/1000": 0.66}
# 16 widths whose accuracy does not rise evenly: what thinning has to get right
NETS = tuple(f"{permille:04d}" for permille in range(250, 1001, 50))
DENSE = tuple(row(net, round(1.0 + 29 * (int(net) / 1000) ** 2, 3)) for net in NETS)
DENSE_TOP1 = {net: 0.5 + 0.02 * i + (0.013, 0.0, 0.019, 0.004)[i % 4] for i, net in enumerate(NETS)}
HOT: dict[str, Any] = {"valid": False, "reasons": ("thermal: the level rose", "clock: 8 % slower")}

Case = tuple[str, str, LatencyTable, dict[str, Any]]


def cases() -> Iterator[Case]:
    """(name, what it shows, table, choice)."""
    yield "four", "nothing to leave out", table(*FOUR, values=FOUR_TOP1), {}
    yield "backwards", "rows in any order", table(*FOUR[::-1], values=FOUR_TOP1), {}
    yield "one", "a ladder of one", table(FOUR[2], values=FOUR_TOP1), {}
    yield "mixed", "precisions and input sizes side by side", table(*MIXED, values=MIXED_TOP1), {}
    yield "mixed_chosen", "one precision of several", table(*MIXED, values=MIXED_TOP1), {"precision": "int8"}
    yield "dense", "16 widths, thinned by value", table(*DENSE, values=DENSE_TOP1), {}
    yield (
        "dense_macs",
        "16 widths, multiply-adds",
        table(*DENSE, metric="macs", values={n: 3e8 * (int(n) / 1000) ** 2 for n in NETS}),
        {},
    )
    yield (
        "dense_huge_macs",
        "products stay in 64 bits",
        table(
            *(
                dataclasses.replace(
                    r,
                    **dataclasses.asdict(LatencyStatistics.of([(r.p50_ms or 0) * 1900])),
                )
                for r in DENSE
            ),
            metric="macs",
            values={n: 4e15 * (int(n) / 1000) ** 2 for n in NETS},
        ),
        {},
    )
    yield (
        "demo",
        "accuracy that stands still, then jumps",
        table(
            *(
                row(n, ms)
                for n, ms in (
                    ("0350", 6.293),
                    ("0400", 7.317),
                    ("0550", 11.854),
                    ("0700", 17.561),
                    ("0850", 24.22),
                    ("1000", 30.0),
                )
            ),
            values={"0350": 0.91, "0400": 0.917, "0550": 0.918, "0700": 0.919, "0850": 0.944, "1000": 0.946},
        ),
        {},
    )
    yield (
        "errors",
        "a metric where smaller is better",
        table(*DENSE, metric="mae", larger=False, values={n: 12.5 - 10 * v for n, v in DENSE_TOP1.items()}),
        {},
    )
    yield (
        "too_close_by_a_microsecond",
        "25.000 is not 1.25x faster than 31.249 ms: 24.000 is the next",
        table(
            row("0500", 24.0),
            row("0750", 25.0),
            row("1000", 31.249),
            values={"0500": 0.5, "0750": 0.6, "1000": 0.7},
        ),
        {},
    )
    yield (
        "just_far_enough",
        "25.000 is 1.25x faster than 31.250 ms; 24.000 is too close to 25.000",
        table(
            row("0500", 24.0),
            row("0750", 25.0),
            row("1000", 31.25),
            values={"0500": 0.5, "0750": 0.6, "1000": 0.7},
        ),
        {},
    )
    yield (
        "leap",
        "20.000 to 30.000 ms is a leap of 1.5x: a rung between is put back",
        table(
            row("0500", 20.0),
            row("0750", 26.0),
            row("1000", 30.0),
            values={"0500": 0.5, "0750": 0.6, "1000": 0.7},
        ),
        {},
    )
    yield (
        "no_leap",
        "20.001 to 30.000 ms is none",
        table(
            row("0500", 20.001),
            row("0750", 26.0),
            row("1000", 30.0),
            values={"0500": 0.5, "0750": 0.6, "1000": 0.7},
        ),
        {},
    )
    yield (
        "put_back_apart",
        "what is put back is 1.05x faster than 31.500 ms: 30.001 is not, 30.000 is",
        table(
            row("0500", 20.0),
            row("0750", 30.0),
            row("0800", 30.001),
            row("1000", 31.5),
            values={"0500": 0.5, "0750": 0.6, "0800": 0.7, "1000": 0.8},
        ),
        {},
    )
    yield (
        "put_back",
        "of those leapt over, 0.1 more for 2 ms is worth more than 0.02 more for 4 ms",
        table(
            row("0500", 10.0),
            row("0750", 26.0),
            row("0800", 28.0),
            row("1000", 30.0),
            values={"0500": 0.5, "0750": 0.52, "0800": 0.6, "1000": 0.7},
        ),
        {},
    )
    yield (
        "put_back_gains",
        "0.004 more for 5.9 ms is too little to be put back, 0.01 more for 2 ms is not",
        table(
            row("0500", 10.0),
            row("0750", 24.1),
            row("0800", 28.0),
            row("1000", 30.0),
            values={"0500": 0.9, "0750": 0.904, "0800": 0.91, "1000": 0.92},
        ),
        {},
    )
    yield (
        "two_ways",
        "two rungs leapt over are worth the same: the faster is put back",
        table(
            row("0250", 10.0),
            row("0500", 26.0),
            row("0750", 28.0),
            row("1000", 30.0),
            values={"0250": 0.1, "0500": 0.2, "0750": 0.3, "1000": 0.4},
        ),
        {},
    )
    yield (
        "narrowest",
        "10.000 ms is 1.05x faster than 10.500: it stays as the last resort",
        table(
            row("0250", 10.0),
            row("0500", 10.5),
            row("1000", 20.0),
            values={"0250": 0.5, "0500": 0.6, "1000": 0.7},
        ),
        {},
    )
    yield (
        "narrowest_too_close",
        "10.000 ms is not 1.05x faster than 10.499",
        table(
            row("0250", 10.0),
            row("0500", 10.499),
            row("1000", 20.0),
            values={"0250": 0.5, "0500": 0.6, "1000": 0.7},
        ),
        {},
    )
    yield (
        "gain",
        "half a hundredth more than the rung below: 0.8 is, of 0.796",
        table(
            row("0250", 6.0),
            row("0500", 12.0),
            row("1000", 30.0),
            values={"0250": 0.796, "0500": 0.8, "1000": 0.9},
        ),
        {},
    )
    yield (
        "adds_little",
        "0.8 is not, of 0.796001; 0.811 neither, of 0.81; nor 0.812, but the widest stays",
        table(
            row("0250", 6.0),
            row("0500", 12.0),
            row("0750", 18.0),
            row("0900", 24.0),
            row("1000", 30.0),
            values={"0250": 0.796001, "0500": 0.8, "0750": 0.81, "0900": 0.811, "1000": 0.812},
        ),
        {},
    )
    yield (
        "errors_add_little",
        "an error of 9.99 gains too little on 10.0 where the widest has 8.0: late is as bad as 12.0",
        table(
            row("0250", 6.0),
            row("0500", 12.0),
            row("1000", 30.0),
            metric="mae",
            larger=False,
            values={"0250": 10.0, "0500": 9.99, "1000": 8.0},
        ),
        {},
    )
    yield (
        "beaten",
        "no slower and worth no less",
        table(
            *FOUR[:2],
            row("0750", 31.0),
            row("0800", 12.0),
            row("0900", 30.0),
            FOUR[3],
            values={**FOUR_TOP1, "0800": 0.64, "0900": 0.7},
        ),
        {},
    )
    yield (
        "equal_worth",
        "the faster of two that are worth the same",
        table(row("0500", 12.0), row("0750", 20.0), values={"0500": 0.6, "0750": 0.6}),
        {},
    )
    yield (
        "equal_micro",
        "worths that differ below a millionth are equal",
        table(row("0500", 12.0), row("0750", 20.0), values={"0500": 0.6000001, "0750": 0.6000004}),
        {},
    )
    yield (
        "half_micro",
        "half a millionth rounds up",
        table(row("0500", 12.0), row("0750", 20.0), values={"0500": 0.5000004, "0750": 0.5000005}),
        {},
    )
    yield (
        "rounding",
        "microseconds, half up on the double",
        table(
            row("0250", 1.0005), row("0500", 2.0004999), row("0750", 4.1005), row("1000", 8.29150001), values=FOUR_TOP1
        ),
        {},
    )
    yield (
        "very_fast_and_slow",
        "at least 1 µs, at most a minute",
        table(row("0250", 0.0002), row("1000", 90_000.0), values=FOUR_TOP1),
        {},
    )
    yield "not_measured", "a crash leaves the ladder", table(*FOUR[:3], row("1000", None), values=FOUR_TOP1), {}
    yield "not_valid", "rows that do not count", table(FOUR[0], row("0500", 12.0, **HOT), FOUR[2], values=FOUR_TOP1), {}
    yield (
        "doubtful",
        "... used when asked for",
        table(FOUR[0], row("0500", 12.0, **HOT), FOUR[2], values=FOUR_TOP1),
        {"doubtful": True},
    )
    yield (
        "all_doubtful",
        "no row counts",
        table(row("0250", 6.0, **HOT), row("0500", 12.0, **HOT), values=FOUR_TOP1),
        {},
    )
    yield "unknown_worth", "some have no accuracy", table(*FOUR, values={"0250": 0.5, "1000": 0.7}), {}
    yield "no_worth", "the width stands in", table(*FOUR), {}
    yield "no_worth_other_net", "the latency stands in", table(FOUR[0], row("wide-head", 9.0), FOUR[3]), {}
    yield (
        "given_worth",
        "accuracies from outside the table",
        table(*FOUR, metric="macs", values={"0250": 1e8}),
        {"accuracies": {f"litert-fp32-224/{net}": value for net, value in FOUR_TOP1.items()}},
    )
    yield (
        "energy",
        "measured for all",
        table(
            *(
                dataclasses.replace(r, energy_method="odpm", energy_mj_per_inference=e)
                for r, e in zip(FOUR, (9.0, 22.0005, 21.9, 70.0), strict=True)
            ),
            values=FOUR_TOP1,
        ),
        {},
    )
    yield (
        "energy_of_some",
        "estimated for all",
        table(
            dataclasses.replace(FOUR[0], energy_method="odpm", energy_mj_per_inference=9.0), *FOUR[1:], values=FOUR_TOP1
        ),
        {},
    )
    yield (
        "prior",
        "burst before prior",
        table(row("0500", 99.0, kind="prior"), FOUR[1], row("1000", 28.0, kind="prior"), values=FOUR_TOP1),
        {},
    )
    yield (
        "sustained",
        "sustained rows are no rungs",
        table(*FOUR, row("1000", 44.0, kind="sustained"), values=FOUR_TOP1),
        {},
    )
    yield (
        "repeated",
        "the last valid row of one artifact",
        table(
            FOUR[0],
            row("0500", 11.0, file_sha256="1" * 64),
            FOUR[1],
            row("0500", 5.0, file_sha256="2" * 64, **HOT),
            values=FOUR_TOP1,
        ),
        {},
    )
    yield (
        "threads_chosen",
        "one of two thread counts",
        table(*FOUR, row("1000", 17.0, runtime=TWO), values=FOUR_TOP1),
        {"threads": 2},
    )
    yield (
        "device_chosen",
        "one of two devices",
        table(*FOUR, row("1000", 17.0, device=OTHER), values=FOUR_TOP1),
        {"device": "phone"},
    )
    yield (
        "context_chosen",
        "app or shell",
        table(*FOUR, row("1000", 17.0, context="shell"), values=FOUR_TOP1),
        {"context": "app"},
    )
    yield "refused_threads", "two thread counts", table(*FOUR, row("1000", 17.0, runtime=TWO), values=FOUR_TOP1), {}
    yield "refused_device", "two devices", table(*FOUR, row("1000", 17.0, device=OTHER), values=FOUR_TOP1), {}
    yield (
        "refused_target",
        "two runtimes",
        table(*FOUR, row("1000", 17.0, variant="executorch-fp32-224"), values=FOUR_TOP1),
        {},
    )
    yield "refused_context", "app and shell", table(*FOUR, row("1000", 17.0, context="shell"), values=FOUR_TOP1), {}
    yield "refused_empty", "no burst row", table(row("1000", 44.0, kind="sustained")), {}
    yield "refused_unmeasured", "nothing measured", table(row("1000", None), values=FOUR_TOP1), {}


def answer(rows: LatencyTable, choice: dict[str, Any]) -> dict[str, Any]:
    try:
        found = ladder(rows, **choice)
    except TableError:
        return {"refused": True}
    return {"ladder": ladder_document(found)}


def ladder_document(found: Ladder) -> dict[str, Any]:
    """A ladder as plain JSON, with the sentences that English-speaking people read."""
    return {
        "metric": found.metric,
        "energy_estimated": found.energy_estimated,
        "rungs": [dataclasses.asdict(rung) for rung in found.rungs],
        "dropped": [_dropped(item) for item in found.dropped],
        "notes": [_told(note) for note in found.notes],
    }


def _dropped(item: DroppedArtifact) -> dict[str, Any]:
    return {"artifact": item.artifact, "label": item.label, **_told(item.reason)}


def _told(reason: Reason) -> dict[str, Any]:
    return {**reason.document(), "sentence": sentence(reason)}


def worths() -> list[dict[str, Any]]:
    """Numbers at the edge of rounding."""
    values = (0.0, 0.7123, 0.71230049999, 0.7123005, 0.5000005, 1.0, 71.2345678, 1e-7, 5e-7, 0.1 + 0.2, 299_792_458.0)
    return [
        {"value": v, "metric": metric, "larger_is_better": larger, "worth": worth(v, metric, larger_is_better=larger)}
        for v in values
        for metric in ("top1", "macs")
        for larger in (True, False)
    ]


def selections() -> list[dict[str, Any]]:
    """Which rungs a policy uses: indices of the ladder ``four``."""
    four = ladder(table(*FOUR, values=FOUR_TOP1))
    policies = {
        "all": Policy(),
        "upper": Policy(min_rung=1),
        "lower": Policy(max_rung=1),
        "beyond": Policy(min_rung=9),
        "fixed": PRESETS["fixed"],
        "fixed_at": dataclasses.replace(PRESETS["fixed"], max_rung=2),
    }
    return [
        {
            "min_rung": policy.min_rung,
            "max_rung": policy.max_rung,
            "fixed": policy.fixed,
            "rungs": [four.index(artifact) for artifact in policy.select(four).artifacts],
        }
        for policy in policies.values()
    ]


def documents() -> dict[str, str]:
    """File name → text."""
    texts = {}
    for name, about, rows, choice in cases():
        head = {"format": "edgeslim-ladder-golden", "version": 1, "about": about, "choice": choice}
        found = {**head, **answer(rows, choice), "table": json.loads(rows.to_json())}
        texts[f"{name}.json"] = _text(found)
    texts["worth.json"] = _text({"about": "a metric's value to a whole number", "worth": worths()})
    texts["select.json"] = _text({"about": "rungs of `four` that a policy uses", "select": selections()})
    return texts


def _text(document: dict[str, Any]) -> str:
    """One line per field; rows, rungs and other lists one item per line."""
    lines = []
    for name, value in document.items():
        if name in ("table", "ladder"):
            inner = ",\n".join(f"  {json.dumps(key)}: {_items(item)}" for key, item in value.items())
            lines.append(f'"{name}": {{\n{inner}\n}}')
        else:
            lines.append(f"{json.dumps(name)}: {_items(value)}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _items(value: Any) -> str:
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return "[\n" + ",\n".join(f"    {_plain(item)}" for item in value) + "\n  ]"
    return _plain(value)


def _plain(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def main(check: bool) -> int:
    wanted = documents()
    found = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.json")}
    if check:
        wrong = sorted(name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name))
        print("\n".join(wrong) or "golden files are current")
        return int(bool(wrong))
    FOLDER.mkdir(exist_ok=True)
    for name in found.keys() - wanted.keys():
        (FOLDER / name).unlink()
    for name, text in wanted.items():
        (FOLDER / name).write_text(text, encoding="utf-8")
    print(f"{len(wanted)} files, {sum(map(len, wanted.values())) / 1e3:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))

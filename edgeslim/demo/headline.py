"""The three numbers that a demo's page begins with: size, accuracy, late frames.

Each says against what: one model file alone, the narrowest net, a net of fixed width.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from edgeslim.core.width import Width

Document = dict[str, Any]
OURS = "balanced"
FIXED = "widest"


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    """One of them: the figure, what it is, and the sentence that it stands for."""

    figure: str
    what: str
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Bytes: of the largest file in the bundle, of the bundle, of all its files."""

    one: int
    bundle: int
    separate: int
    files: int

    @classmethod
    def of(cls, inspected: Document) -> Sizes:
        files = [sum(f["bytes"] for f in row["files"]) for rows in inspected["targets"].values() for row in rows]
        return cls(one=max(files), bundle=inspected["bytes"], separate=sum(files), files=len(files))


def numbers(results: Mapping[str, Document]) -> Iterator[Number]:
    """As many of the three as the demo went far enough for."""
    if "inspect" in results:
        yield _size(results["inspect"])
    yield _accuracy(results["evaluate"], results["profile"])
    if "simulate" in results:
        yield _late(results["simulate"])


def x(permille: int) -> str:
    """A width as people write it."""
    return f"{Width(permille)}x"


def percent(share: float) -> str:
    """Two figures below 10 %, one decimal above."""
    value = 100 * share
    return f"{value:.2f} %" if 0 < value < 10 else f"{value:.1f} %"


def _size(inspected: Document) -> Number:
    sizes = Sizes.of(inspected)
    runtimes = len(inspected["targets"])
    kinds = f"{sizes.files // runtimes} widths for {runtimes} runtime{'s' if runtimes > 1 else ''}"
    return Number(
        figure=f"{sizes.bundle / sizes.one:.2f}×",
        what="the size of one model",
        words=f"One bundle of {sizes.bundle / 1e6:.1f} MB holds {sizes.files} models ({kinds}), each rebuilt byte for "
        f"byte as its exporter wrote it. The largest alone has {sizes.one / 1e6:.1f} MB, all as separate files "
        f"{sizes.separate / 1e6:.1f} MB.",
    )


def _accuracy(evaluated: Document, counted: Document) -> Number:
    rows = evaluated["rows"]
    low, high = rows[0], rows[-1]
    macs = {row["permille"]: row["macs"] for row in counted["rows"]}
    words = f"Of {evaluated['images']} images that training never saw, from width {x(low['permille'])} to "
    words += f"{x(high['permille'])}."
    if low["permille"] in macs and high["permille"] in macs:
        less = macs[high["permille"]] / macs[low["permille"]]
        words += f" All widths are slices of one set of weights; the narrowest does {less:.1f} times less arithmetic."
    return Number(
        figure=f"{100 * low['top1']:.1f} to {100 * high['top1']:.1f} %",
        what="right answers, narrowest to widest",
        words=words,
    )


def _late(simulated: Document) -> Number:
    rows = {row["policy"]: row for row in simulated["rows"]}
    ours, fixed = rows[OURS], rows[FIXED]
    label = simulated["ladder"][-1]["label"]
    return Number(
        figure=f"{percent(ours['miss_rate'])}, not {percent(fixed['miss_rate'])}",
        what=f"late frames on a hot phone, adapting against always {label}",
        words=f"Simulated, {simulated['minutes']:g} minutes at {simulated['fps']} frames per second. Counting a late "
        f"answer as wrong, adapting gives {ours['delivered_accuracy']:.1f} % right answers, "
        f"always {label} {fixed['delivered_accuracy']:.1f} %.",
    )

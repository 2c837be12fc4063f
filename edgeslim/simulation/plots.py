"""Width, latency, temperature and battery of one run over time; matplotlib is imported only here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeslim.files import write_atomically
from edgeslim.host.pictures import names_as_they_are
from edgeslim.simulation.simulation import HOT_C, WARM_C, Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SIZE_INCHES = (8.0, 6.4)
_DPI = 110
_POINTS = 4000  # more than a screen is wide


@names_as_they_are()
def write_plot(run: Run, path: Path, *, title: str, overwrite: bool) -> None:
    """One PNG with a panel per quantity.

    Raises:
        OutputError: ``path`` is there and ``overwrite`` is false, or it cannot be written.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(
        4, 1, sharex=True, figsize=_SIZE_INCHES, height_ratios=(3, 3, 2, 1), layout="constrained"
    )
    minutes = (np.asarray(run.now_us) - run.now_us[0]) / 60e6
    figure.suptitle(title, fontsize=11)
    _widths(axes[0], minutes, run)
    _latencies(axes[1], minutes, run)
    _temperature(axes[2], minutes, run)
    _battery(axes[3], minutes, run)
    axes[-1].set_xlabel("minutes")
    for panel in axes:
        panel.grid(alpha=0.25)
        panel.margins(x=0)
    with write_atomically(path, overwrite=overwrite) as file:
        figure.savefig(file, format="png", dpi=_DPI, metadata={"Software": None})
    plt.close(figure)


def _widths(panel: Axes, minutes: Any, run: Run) -> None:
    rung = np.asarray(run.rung, dtype=float)
    rung[rung < 0] = np.nan
    panel.step(minutes, rung, where="post", linewidth=1.0, color="tab:blue")
    panel.set_yticks(range(len(run.ladder.rungs)), run.ladder.labels)
    panel.set_ylim(-0.4, len(run.ladder.rungs) - 0.6)
    panel.set_ylabel("rung")


def _latencies(panel: Axes, minutes: Any, run: Run) -> None:
    latency = np.asarray(run.latency_us) / 1000
    deadline = np.asarray(run.deadline_us) / 1000
    ran = np.asarray(run.rung) >= 0
    met, missed = ran & (latency <= deadline), ran & (latency > deadline)
    every = max(1, len(latency) // _POINTS)
    panel.plot(minutes[met][::every], latency[met][::every], ".", markersize=1.5, color="tab:gray", label="in time")
    panel.plot(minutes[missed], latency[missed], ".", markersize=3, color="tab:red", label=f"late ({missed.sum()})")
    panel.step(minutes, deadline, where="post", color="black", linewidth=0.8, label="deadline")
    panel.set_ylabel("latency, ms")
    panel.set_ylim(0, float(deadline.max()) * 2)
    panel.legend(loc="upper right", fontsize=7, ncols=3, framealpha=0.9)


def _temperature(panel: Axes, minutes: Any, run: Run) -> None:
    panel.set_ylabel("°C")
    if not run.temperature_c:
        panel.text(0.5, 0.5, "not recorded", transform=panel.transAxes, ha="center", va="center", color="tab:gray")
        return
    panel.plot(minutes, run.temperature_c, color="tab:orange", linewidth=1.2)
    for limit in (WARM_C, HOT_C):
        panel.axhline(limit, color="tab:red", linewidth=0.6, linestyle="--")
    clock = panel.twinx()
    clock.plot(minutes, np.asarray(run.clock) * 100, color="tab:green", linewidth=0.8, alpha=0.7)
    clock.set_ylabel("clock, %", color="tab:green")
    clock.set_ylim(40, 104)


def _battery(panel: Axes, minutes: Any, run: Run) -> None:
    panel.plot(minutes, np.asarray(run.charge) * 100, color="tab:purple", linewidth=1.2)
    panel.set_ylabel("battery, %")

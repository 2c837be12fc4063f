"""Draws the traces of docs/controller.md: ``python docs/make_controller_figures.py``. Needs the extra ``plot``."""

from __future__ import annotations

from pathlib import Path

from edgeslim.simulation.engine import Setting, simulate
from edgeslim.simulation.oracle import best_oracle
from edgeslim.simulation.plots import write_plot
from edgeslim.simulation.policies import ORACLE, chooser
from edgeslim.simulation.scenario import SCENARIOS
from edgeslim.simulation.tables import BUILTIN

FOLDER = Path(__file__).with_name("controller")
TRACES = (
    ("room", "balanced"), ("room", "naive"), ("room", ORACLE), ("hot", "balanced"), ("hot", "static:0.75"),
    ("game", "balanced"),
)  # fmt: skip


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for room, policy in TRACES:
        setting = Setting(scenario=SCENARIOS[room])
        if policy == ORACLE:
            run = best_oracle(BUILTIN, setting)
        else:
            run = simulate(chooser(policy, BUILTIN), BUILTIN, setting)
        path = FOLDER / f"{room}-{policy.replace(':', '-')}.png"
        write_plot(run, path, title=f"{policy}, {SCENARIOS[room].about}", overwrite=True)
        print(path)


if __name__ == "__main__":
    main()

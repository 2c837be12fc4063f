"""The steps of ``edgeslim demo``: each is a verb anyone can type, run in the demo's own folder.

    train ─► calibrate ─► evaluate ─► pack ─► inspect ─► verify ─► bench ─► simulate
                                                                               │
                               commands, seconds, results of every step ───────┴─► report.html

A step's words go to ``logs/<step>.log``; its JSON result is kept for the report. Nothing here knows how a verb
works: what the report shows is what a person gets.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgeslim import targets as target_table
from edgeslim.errors import InternalError

CHECKPOINT = "digits.pt"
CALIBRATED = "us_mbv2.pt"
BUNDLE = "us_mbv2.slim"
TABLE = "table.json"
TRACES = "traces"
SCENARIO = "hot"
POLICIES = "balanced,quality,threshold,naive,widest,narrowest,oracle"
PHONE_MS = "20"  # the widest on the simulated phone: in time while it is cool, late when it is hot
WIDTHS = "6"
EPOCHS = 8
MODEL = "us_mobilenet_v2"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One verb: what it is for, and its arguments without ``--json``."""

    name: str
    purpose: str
    argv: tuple[str, ...]

    @property
    def command(self) -> str:
        """As one would type it in the demo's folder."""
        return shlex.join(("edgeslim", *self.argv))


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A step that ran."""

    step: Step
    seconds: float
    document: dict[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepDone:
    """One verb that was run."""

    name: str
    """Of the verb."""
    command: str
    """As one would type it in the demo's folder."""
    seconds: float
    """That it took."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoReport:
    """What ``demo`` did."""

    report: Path
    """The page."""
    seconds: float
    """That everything took."""
    left_out: tuple[str, ...]
    """Targets whose exporter is not installed."""
    steps: tuple[StepDone, ...]
    """In their order."""


def plan(targets: Sequence[str], *, epochs: int | None = None) -> Iterator[Step]:
    """The steps for ``targets``; without any, the road ends at the calibrated checkpoint.

    Args:
        targets: names of targets whose exporter is installed.
        epochs: fewer than the default, for tests.
    """
    # Enough for a demo, and still unsaturated: each width is worth more than the one before, so that the controller
    # has something to choose from. The verb's own defaults train longer and better. Of seeds 0 to 3 all accuracies
    # ascend with 3 only; with the others one or two neighbours changed places.
    brief = ("--epochs", str(epochs or EPOCHS), "--optimizer", "adamw", "--lr", "0.006", "--warmup", "0.3")
    yield Step(
        name="train",
        purpose="train one network for all widths on 8x8 scans of handwritten digits",
        argv=(
            "train",
            "--model",
            MODEL,
            "--data",
            "digits",
            "--ladder",
            WIDTHS,
            *brief,
            "--val-images",
            "0",
            "--seed",
            "3",
            "-o",
            CHECKPOINT,
        ),
    )
    yield Step(
        name="calibrate",
        purpose="give every BatchNorm exact statistics at every width",
        argv=("calibrate", CHECKPOINT, "--data", "digits", "--widths", WIDTHS, "-o", CALIBRATED),
    )
    yield Step(
        name="evaluate",
        purpose="measure loss and accuracy at every width and keep them",
        argv=("evaluate", CALIBRATED, "--data", "digits", "--split", "test", "--write"),
    )
    yield Step(
        name="profile",
        purpose="count multiply-adds and parameters",
        argv=("profile", "--model", CALIBRATED, "--widths", WIDTHS),
    )
    if not targets:
        return
    yield Step(
        name="pack",
        purpose="export every width for every runtime, keep one bundle",
        argv=("pack", CALIBRATED, "--target", ",".join(targets), "-o", BUNDLE),
    )
    yield Step(name="inspect", purpose="see what each part of the bundle costs", argv=("inspect", BUNDLE))
    yield Step(
        name="verify",
        purpose="rebuild every file, check its hash, run it, compare it with PyTorch",
        argv=("verify", BUNDLE, "--images", "4"),
    )
    runnable = [name for name in targets if target_table.get(name).info.runs_here]
    if not runnable:
        return
    yield Step(
        name="bench",
        purpose="measure every width on this machine",
        argv=(
            "bench",
            BUNDLE,
            "--target",
            ",".join(runnable),
            "--seconds",
            "0.5",
            "--limit",
            "2",
            "--retries",
            "0",
            "-o",
            TABLE,
        ),
    )
    yield Step(
        name="simulate",
        purpose="a hot afternoon on a simulated phone with the measured table",
        argv=(
            *("simulate", TABLE, "--target", runnable[-1], "--anyway", "--widest-ms", PHONE_MS),
            *("--scenario", SCENARIO, "--policy", POLICIES, "--plot", TRACES),
        ),
    )


def run_step(step: Step, folder: Path) -> Outcome:
    """Run one step in ``folder``.

    Raises:
        InternalError: the verb failed; carries its own message and hint, and names its log.
    """
    log = folder / "logs" / f"{step.name}.log"
    log.parent.mkdir(exist_ok=True)
    began = time.monotonic()
    with open(log, "wb") as words:
        done = subprocess.run(
            [sys.executable, "-m", "edgeslim", *step.argv, "--json"],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=words,
            check=False,
        )
    seconds = time.monotonic() - began
    try:
        document = json.loads(done.stdout)
    except ValueError:
        document = {}
    if done.returncode != 0 or not isinstance(document, dict) or "error" in document:
        error = document.get("error", {}) if isinstance(document, dict) else {}
        message = error.get("message", f"exit code {done.returncode}")
        raise InternalError(
            f"step {step.name!r} of the demo failed: {message}",
            hint=f"{error.get('hint') or step.command}; its words are in {log}",
        )
    return Outcome(step=step, seconds=seconds, document=document)


def run_all(
    targets: Sequence[str], folder: Path, tell: Callable[[str], None], *, epochs: int | None = None
) -> list[Outcome]:
    """Run every step in order, saying what each does and how long it took."""
    outcomes = []
    for number, step in enumerate(plan(targets, epochs=epochs), 1):
        tell(f"{number}. {step.purpose}\n   {step.command}")
        outcome = run_step(step, folder)
        tell(f"   {outcome.seconds:.1f} s")
        outcomes.append(outcome)
    return outcomes

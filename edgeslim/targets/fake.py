"""The honest fake: a runtime that only burns processor time, for tests of everything that measures.

Its artifact is a small JSON file: ``{"burn_ms": 2.0}``; ``crash_at``, ``raise_at`` and ``hang_at`` name the run (0 is
the load) after which it dies of SIGSEGV, raises, or answers no more. It burns wall-clock time on one core, so its true
latency is known.
"""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np

from edgeslim.core.manifest import TensorInfo
from edgeslim.core.passport import RuntimeInfo
from edgeslim.errors import HostError
from edgeslim.targets.base import Array, Arrays, Artifact
from edgeslim.targets.info import EVERYWHERE, Needs, TargetInfo


class FakeTarget:
    """Runs ``.fake`` files."""

    info = TargetInfo(
        name="fake",
        suffix=".fake",
        exporter=Needs(extra="dev"),
        runtime=Needs(extra="dev"),
        platforms=EVERYWHERE,
        preference=-2,
        run_bytes=200 << 20,
    )

    def export(self, *_: Any, **__: Any) -> Artifact:
        raise HostError("the fake target runs files, it does not write them")

    def load(self, path: Path, *, threads: int = 1) -> FakeRunner:
        return FakeRunner(path, threads=threads)


class FakeRunner:
    """A loaded ``.fake`` file."""

    inputs = (TensorInfo(name="image", shape=(1, 1), dtype="float32", layout="NC"),)
    outputs = (TensorInfo(name="logits", shape=(1, 1), dtype="float32", layout="NC"),)
    metadata: dict[str, Any] = {}  # noqa: RUF012
    labels: tuple[str, ...] = ()

    def __init__(self, path: Path, *, threads: int) -> None:
        self._plan: dict[str, float] = json.loads(path.read_text())
        self._threads = threads
        self._runs = 0
        self._misbehave()

    def _misbehave(self) -> None:
        if self._runs == self._plan.get("crash_at"):
            os.kill(os.getpid(), signal.SIGSEGV)
        if self._runs == self._plan.get("raise_at"):
            raise RuntimeError("the fake was told to fail")
        while self._runs == self._plan.get("hang_at"):
            time.sleep(3600)

    def run(self, inputs: Arrays) -> dict[str, Array]:
        end = time.perf_counter_ns() + int(self._plan["burn_ms"] * 1e6)
        while time.perf_counter_ns() < end:
            pass
        self._runs += 1
        self._misbehave()
        return {"logits": np.zeros((1, 1), np.float32)}

    def describe(self) -> RuntimeInfo:
        return RuntimeInfo(
            name="fake", version="1", delegate_requested="cpu", delegate_actual="cpu", threads=self._threads
        )

    def close(self) -> None:
        """Nothing is held."""

"""One JSON object per frame: what the controller was told, what it decided, how long the inference took.

    {"reading": {…}, "artifact": …, "latency_us": …,
     "decision": {"rung": …, "artifact": …, "skip": …, "reasons": [codes], "level": …, "cap": …}}

``reading`` has every field of ``Reading``, so `edgeslim simulate --replay` can put the same questions to any policy;
``artifact`` is what ran. A log is a stream: whole lines are written, and a killed process may lose the last
second of them.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from edgeslim.core.strict_json import canonical, encode
from edgeslim.errors import OutputError
from edgeslim.files import check_free
from edgeslim.runtime.result import FrameResult

FRAME_SCHEMA_FILE = Path(__file__).with_name("frame.schema.json")
_FLUSH_S = 1.0


def record(result: FrameResult) -> dict[str, Any]:
    """The frame as plain JSON values."""
    decision = result.decision
    return {
        "reading": encode(result.reading),
        "decision": {
            "rung": decision.rung,
            "artifact": decision.artifact,
            "skip": decision.skip,
            "reasons": list(decision.codes),
            "level": decision.level,
            "cap": decision.cap,
        },
        "artifact": result.artifact,
        "latency_us": result.latency_us,
    }


class FrameLog:
    """Appends frames to a new file.

    Raises:
        OutputError: ``path`` exists and ``overwrite`` is false, or it cannot be written (also from ``add``).
    """

    def __init__(self, path: Path, *, overwrite: bool = False) -> None:
        check_free(path, overwrite=overwrite)
        self._path = path
        try:
            self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        except OSError as error:
            raise OutputError(f"cannot write the log {path}: {error.strerror}") from error
        self._lines: list[str] = []
        self._flushed_s = time.monotonic()

    def __enter__(self) -> FrameLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def add(self, result: FrameResult) -> None:
        self._lines.append(canonical(record(result)) + "\n")
        if time.monotonic() - self._flushed_s > _FLUSH_S:
            self._flush()

    def close(self) -> None:
        if self._descriptor >= 0:
            try:
                self._flush()
            finally:
                os.close(self._descriptor)
                self._descriptor = -1

    def _flush(self) -> None:
        data = memoryview("".join(self._lines).encode())
        self._lines.clear()
        self._flushed_s = time.monotonic()
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
        except OSError as error:
            raise OutputError(f"cannot write the log {self._path}: {error.strerror}") from error

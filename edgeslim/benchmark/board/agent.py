"""The part on the board: ``python -m edgeslim.benchmark.board.agent FOLDER``, started by ``bootstrap.py``.

    stdin   Order (one line) ─ bundle bytes ─ then a line now and then, so that silence means a lost host
    stdout  Ready, or Refused ─ events of the session (events.py)

Whatever goes wrong here is reported as ``Refused``; removing ``FOLDER`` is the bootstrap's business.
"""

from __future__ import annotations

import errno
import hashlib
import os
import select
import sys
import threading
import traceback
from dataclasses import dataclass
from pathlib import Path

from edgeslim.benchmark.board.measuring import Session
from edgeslim.core.events import EVENTS, Event, Ready, Refused
from edgeslim.core.job import Job
from edgeslim.core.wire import MAX_LINE_BYTES, Vocabulary
from edgeslim.errors import DeviceError, EdgeslimError
from edgeslim.targets import runtimes

_CHUNK_BYTES = 1 << 16
_LOST_HOST = 75  # EX_TEMPFAIL


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What the host wants. ``silence_s``: without a byte from the host for so long, the agent gives up."""

    job: Job
    bundle_bytes: int
    bundle_sha256: str
    silence_s: float


ORDERS: Vocabulary[Order] = Vocabulary(Order, refusal=DeviceError)


def emit(event: Event) -> None:
    """One line on stdout, unbuffered; a host that is gone ends the agent."""
    data = EVENTS.to_line(event)
    try:
        while data:
            data = data[os.write(1, data) :]
    except OSError:
        os._exit(_LOST_HOST)


def _line() -> bytes:
    """The first line of stdin, and no byte more."""
    line = bytearray()
    while not line.endswith(b"\n") and len(line) < MAX_LINE_BYTES:
        byte = os.read(0, 1)
        if not byte:
            raise DeviceError("the host said nothing")
        line += byte
    return bytes(line)


def _receive(order: Order, path: Path) -> None:
    digest = hashlib.sha256()
    left = order.bundle_bytes
    with open(path, "wb") as out:
        while left:
            chunk = os.read(0, min(left, _CHUNK_BYTES))
            if not chunk:
                os._exit(_LOST_HOST)
            digest.update(chunk)
            out.write(chunk)
            left -= len(chunk)
    if digest.hexdigest() != order.bundle_sha256:
        raise DeviceError("the bundle arrived damaged", hint="try again; if it stays so, check the board's memory")


def _watch_host(silence_s: float) -> None:
    """Give up when the host is gone or silent: a pulled cable closes nothing."""
    while True:
        ready, _, _ = select.select([0], [], [], silence_s)
        if not ready or not os.read(0, _CHUNK_BYTES):
            os._exit(_LOST_HOST)


def work(folder: Path) -> None:
    """Take the order, check the runtimes, receive the bundle, measure."""
    order = ORDERS.from_line(_line())
    for target in sorted({cell.target for cell in order.job.cells}):
        runtimes.check(target)
    emit(Ready())
    bundle = folder / "bundle.slim"
    _receive(order, bundle)
    threading.Thread(target=_watch_host, args=(order.silence_s,), daemon=True).start()
    Session(order.job, bundle=bundle, folder=folder, sink=emit).run()


def main() -> None:
    try:
        work(Path(sys.argv[1]))
    except EdgeslimError as error:
        emit(Refused.of(error))
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        hint = "free some space there, or set TMPDIR to another folder in its ssh environment" if full else None
        emit(Refused(name="device", message=str(error), hint=hint, exit_code=DeviceError.exit_code))
    except Exception as error:
        traceback.print_exc()
        emit(Refused(name="internal", message=f"{type(error).__name__}: {error}", hint=None, exit_code=1))


if __name__ == "__main__":
    main()

"""A board over ssh: ``ssh://user@board[:port]``.

    ssh (the system's client, the user's configuration) ── python3 -c bootstrap ──► agent ──► session
      stdin   agent zip ─ order ─ (Ready) ─ bundle ─ a newline every few seconds
      stdout  events

Host keys are verified and no password is ever asked for: a board that is not known, or that wants a password, is an
error with the command that sets it up. ``EDGESLIM_SSH`` may hold another client command (``ssh -F other_config``).
"""

from __future__ import annotations

import base64
import contextlib
import io
import os
import queue
import re
import shlex
import subprocess
import threading
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from edgeslim.benchmark.board import bootstrap
from edgeslim.benchmark.board.agent import ORDERS, Order
from edgeslim.benchmark.desk.devices.base import DeviceOptions, lines_of, running_on
from edgeslim.benchmark.desk.payload import agent_zip
from edgeslim.core.events import EVENTS, Done, Event, Ready, Refused, RowDone, Sink
from edgeslim.core.job import Job
from edgeslim.errors import DeviceError, EdgeslimError, HostError, InternalError
from edgeslim.files import sha256_file

CLIENT_VARIABLE = "EDGESLIM_SSH"
HEARTBEAT_S = 5.0
SILENCE_S = 60.0
_OPTIONS = (
    "BatchMode=yes",
    "StrictHostKeyChecking=yes",
    "ConnectTimeout=15",
    "ServerAliveInterval=5",
    "ServerAliveCountMax=6",
    "ClearAllForwardings=yes",
    "ForwardAgent=no",
    "ForwardX11=no",
)
_CHUNK_BYTES = 1 << 18
_LAST_WORDS_BYTES = 1 << 16
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._:%-]*")

# What the client says → our sentence and what to do; {board} and {login} are put in.
_TROUBLES = (
    ("REMOTE HOST IDENTIFICATION HAS CHANGED", "the host key of {board} has changed",
     "find out why before you trust it; then: ssh-keygen -R {board}"),
    ("Host key verification failed", "the host key of {board} is not known here",
     "connect once by hand and check the fingerprint: {login}"),
    ("Permission denied", "{board} does not let us in without a password", "set up a key: ssh-copy-id for {login}"),
    ("Too many authentication failures", "{board} does not let us in", "name one key for it in ~/.ssh/config"),
    ("Could not resolve hostname", "there is no {board}", "check the name, or add it to ~/.ssh/config"),
    ("Connection refused", "{board} answers but runs no ssh server there", "check the port: ssh://user@board:port"),
    ("timed out", "{board} does not answer", "is it on, and in this network?"),
    ("No route to host", "{board} does not answer", "is it on, and in this network?"),
)  # fmt: skip


class SshDevice:
    """A board that the system's ``ssh`` can log in to with a key."""

    def __init__(self, rest: str, options: DeviceOptions, *, silence_s: float = SILENCE_S) -> None:
        self.name = f"ssh:{rest}"
        user, self._host, self._port = parse_url(self.name)
        self._login = self._host if user is None else f"{user}@{self._host}"
        self._python = options.board_python
        self._silence_s = silence_s

    def runnable(self, targets: Sequence[str]) -> tuple[str, ...]:
        return running_on("linux", targets)

    def command(self, agent_bytes: int) -> list[str]:
        """The whole client command line."""
        words = shlex.split(os.environ.get(CLIENT_VARIABLE, "ssh"))
        words += [word for option in _OPTIONS for word in ("-o", option)]
        words += ["-T", *([] if self._port is None else ["-p", str(self._port)])]
        return [*words, "--", self._login, remote_command(self._python, agent_bytes)]

    def measure(self, job: Job, bundle: Path | None, sink: Sink) -> None:
        if bundle is None:
            raise InternalError("a board needs a bundle to rebuild from")
        archive = agent_zip()
        order = Order(
            job=job,
            bundle_bytes=bundle.stat().st_size,
            bundle_sha256=sha256_file(bundle),
            silence_s=self._silence_s,
        )
        rows, finished = 0, False
        with _Link(self.command(len(archive))) as link:
            link.send(archive)
            link.send(ORDERS.to_line(order))
            for event in link.events():
                match event:
                    case Ready():
                        link.send_file(bundle)
                        link.keep_alive(HEARTBEAT_S)
                    case Refused():
                        raise event.error(self.name)
                    case Done():
                        finished = True
                    case RowDone():
                        rows += 1
                if not isinstance(event, Ready):
                    sink(event)
            code, words = link.end()
        if not finished:
            raise self._trouble(code, words, rows, len(job.cells))

    def _trouble(self, code: int, words: str, rows: int, cells: int) -> EdgeslimError:
        """Why the stream ended early."""
        port = [] if self._port is None else ["-p", str(self._port)]
        login = shlex.join(["ssh", *port, self._login])
        for sign, message, hint in _TROUBLES:
            if sign in words and not rows:
                return DeviceError(message.format(board=self._host), hint=hint.format(board=self._host, login=login))
        last = next((line.strip() for line in reversed(words.splitlines()) if line.strip()), "")
        if code == 127:
            return DeviceError(
                f"{self._host} has no {self._python!r}: {last}",
                hint="install Python 3.11 or newer there, or name it with --board-python",
            )
        if not rows:
            return DeviceError(
                f"the connection to {self._host} ended before the first row" + (f": {last}" if last else ""),
                hint=f"try it by hand: {login} true",
            )
        return DeviceError(
            f"the connection to {self._host} ended after {rows} of {cells} rows" + (f": {last}" if last else ""),
            hint="finished rows are in the table; go on with --resume",
        )


def parse_url(url: str) -> tuple[str | None, str, int | None]:
    """(user, host, port) of ``ssh://user@board:port``.

    Raises:
        DeviceError: not such a URL, or it holds a password.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise DeviceError(f"cannot read {url!r}: {error}", hint="ssh://user@board[:port]") from None
    if parts.password is not None:
        raise DeviceError("a password has no place in a device name", hint="log in with a key: ssh-copy-id user@board")
    host, user = parts.hostname or "", None if parts.username is None else unquote(parts.username)
    names = [host] if user is None else [host, user]
    extra = parts.path.strip("/") or parts.query or parts.fragment
    if parts.scheme != "ssh" or extra or not all(_NAME.fullmatch(name) for name in names):
        raise DeviceError(f"cannot read {url!r}", hint="ssh://user@board[:port]")
    return user, host, port


def remote_command(python: str, agent_bytes: int) -> str:
    """One command that any login shell understands: no quote, dollar or newline inside its quotes."""
    source = base64.b64encode(zlib.compress(Path(bootstrap.__file__).read_bytes())).decode()
    home = python.startswith("~/")
    interpreter = "~/" + shlex.quote(python[2:]) if home else shlex.quote(python)
    program = f'import base64,zlib;exec(zlib.decompress(base64.b64decode("{source}")))'
    return f"exec {interpreter} -c '{program}' {agent_bytes}"


class _Link:
    """A running client: a thread writes, so that a stuck connection blocks no reading."""

    def __init__(self, command: Sequence[str]) -> None:
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
            )
        except FileNotFoundError:
            raise HostError(f"there is no {command[0]!r} here", hint="apt install openssh-client") from None
        self._outbox: queue.Queue[bytes | Path | None] = queue.Queue()
        self._beat_s: float | None = None
        self._writer = threading.Thread(target=self._write, daemon=True)
        self._writer.start()
        self._last_words = b""
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def __enter__(self) -> _Link:
        return self

    def __exit__(self, *_: object) -> None:
        self._outbox.put(None)
        if self._process.poll() is None:
            self._process.terminate()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._writer.join(timeout=5)
        self._listener.join(timeout=5)
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()

    def send(self, data: bytes) -> None:
        self._outbox.put(data)

    def send_file(self, path: Path) -> None:
        self._outbox.put(path)

    def keep_alive(self, every_s: float) -> None:
        """From the next thing sent on: a newline whenever nothing else was written for so long."""
        self._beat_s = every_s
        self._outbox.put(b"\n")

    def _write(self) -> None:
        stdin = self._process.stdin
        assert stdin is not None
        try:
            while True:
                try:
                    item = self._outbox.get(timeout=self._beat_s)
                except queue.Empty:
                    item = b"\n"
                if item is None:
                    return
                for chunk in _chunks(item):
                    stdin.write(chunk)
                stdin.flush()
        except OSError:  # the client ended; what it said tells why
            return

    def _listen(self) -> None:
        """A board may say gigabytes on stderr; only its last words are kept."""
        stderr = self._process.stderr
        assert isinstance(stderr, io.BufferedReader)
        with contextlib.suppress(OSError, ValueError):  # closed while we read
            while chunk := stderr.read1(_CHUNK_BYTES):
                self._last_words = (self._last_words + chunk)[-_LAST_WORDS_BYTES:]

    def events(self) -> Iterator[Event]:
        """Until the stream ends. Lines that are no events (a chatty login shell) are skipped."""
        assert isinstance(self._process.stdout, io.BufferedReader)
        for line in lines_of(self._process.stdout):
            if line.startswith(b'{"'):
                yield EVENTS.from_line(line)

    def end(self) -> tuple[int, str]:
        """The client's exit code and what it said on stderr."""
        try:
            code = self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            code = -1
        self._listener.join(timeout=5)
        return code, self._last_words.decode(errors="replace")


def _chunks(item: bytes | Path) -> Iterator[bytes]:
    if isinstance(item, bytes):
        yield item
        return
    with open(item, "rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk

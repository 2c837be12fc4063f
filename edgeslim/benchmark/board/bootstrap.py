"""First thing that runs on a board, by whatever ``python3`` is there: Python 3.6 and up, standard library only.

    host ── ssh ── python3 -c "<this file>" AGENT_BYTES
      stdin: AGENT_BYTES of agent zip, then what the agent reads        stdout: events, one JSON object per line

It keeps the promise that nothing stays behind: the agent runs as a child, and whatever ends it (done, killed, the
connection gone, the disk full) its processes are ended and the temporary folder is removed. Folders of earlier
runs whose process is gone (a reboot, a SIGKILL of this very process) are removed as well.
"""

import errno
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time

PREFIX = "edgeslim-agent-"
NEEDS = (3, 11)
SIGNALS = (signal.SIGHUP, signal.SIGTERM, signal.SIGINT)
POLL_MS = 500
CHUNK = 65536


def refuse(message: str, hint: str = "", name: str = "device", exit_code: int = 6, **more: str) -> None:
    event = {"is": "Refused", "message": message, "hint": hint or None, "name": name, "exit_code": exit_code, **more}
    os.write(1, (json.dumps(event) + "\n").encode())


def has(module: str) -> bool:
    from importlib.util import find_spec

    return find_spec(module) is not None


def sweep(parent: str, prefix: str = PREFIX) -> None:
    """Remove folders whose owner, named in the folder's name, runs no more."""
    for name in os.listdir(parent):
        match = re.match(re.escape(prefix) + r"(\d+)-", name)
        if match and not alive(int(match.group(1))):
            shutil.rmtree(os.path.join(parent, name), ignore_errors=True)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError as error:
        return error.errno != errno.ESRCH
    return True


def receive(size: int, path: str) -> None:
    """Exactly ``size`` bytes of stdin into a file, none more: the rest is the agent's."""
    with open(path, "wb") as out:
        while size:
            chunk = os.read(0, min(size, CHUNK))
            if not chunk:
                sys.exit("the connection ended")
            out.write(chunk)
            size -= len(chunk)


def watch(agent: "subprocess.Popen[bytes]") -> None:
    """Wait for the agent, or for the other end of stdout to go away."""
    poll = select.poll()
    poll.register(1, 0)  # errors and hang-ups are always reported
    while agent.poll() is None:
        if poll.poll(POLL_MS):
            return


def stop(agent: "subprocess.Popen[bytes]") -> None:
    """End the agent; its children die with it (they ask the kernel for that)."""
    for number, seconds in ((signal.SIGTERM, 2.0), (signal.SIGKILL, 5.0)):
        if agent.poll() is None:
            agent.send_signal(number)
        end = time.time() + seconds
        while agent.poll() is None and time.time() < end:
            time.sleep(0.02)


def run(folder: str, agent_bytes: int) -> None:
    archive = os.path.join(folder, "agent.zip")
    receive(agent_bytes, archive)
    search = os.pathsep.join(filter(None, (archive, os.environ.get("PYTHONPATH"))))
    environment = dict(os.environ, PYTHONPATH=search, TMPDIR=folder, PYTHONDONTWRITEBYTECODE="1")
    agent = subprocess.Popen([sys.executable, "-P", "-m", "edgeslim.benchmark.board.agent", folder], env=environment)
    try:
        watch(agent)
    finally:
        stop(agent)


def leave(number: int, frame: object) -> None:
    sys.exit(128 + number)


def main(agent_bytes: int) -> None:
    for number in SIGNALS:
        signal.signal(number, leave)
    if sys.version_info < NEEDS:
        wanted, found = ".".join(map(str, NEEDS)), ".".join(map(str, sys.version_info[:3]))
        message = f"{sys.executable} there is Python {found}, expected {wanted} or newer"
        return refuse(message, "name another one with --board-python")
    if not has("numpy"):
        return refuse("numpy is missing", name="missing-extra", exit_code=3, module="numpy", extra="litert-runtime")
    parent = tempfile.gettempdir()
    folder = ""
    try:
        sweep(parent)
        folder = tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-")
        run(folder, agent_bytes)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        hint = "free some space there, or set TMPDIR to another folder in its ssh environment" if full else ""
        refuse(f"cannot write to {folder or parent}: {error.strerror}", hint)
    finally:
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)  # a second one must not stop the cleaning
        if folder:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))

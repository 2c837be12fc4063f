"""A real sshd on 127.0.0.1: own host key, own user key, high port, a TMPDIR of its own that stands for the board's."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

SSHD = shutil.which("sshd") or "/usr/sbin/sshd"


def missing() -> str | None:
    """Why there can be no sshd here, or None."""
    for program in (SSHD, shutil.which("ssh") or "ssh", shutil.which("ssh-keygen") or "ssh-keygen"):
        if not os.access(program, os.X_OK):
            return f"no {program} here: apt install openssh-server openssh-client"
    if os.geteuid() == 0:
        try:
            os.makedirs("/run/sshd", mode=0o755, exist_ok=True)
        except OSError as error:
            return f"sshd needs /run/sshd when run by root: {error}"
    return None


class PrivateSshd:
    """A board at ``url``; ``client`` is the ssh command that knows its host key and has a key for it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tmp = folder / "board-tmp"
        self.tmp.mkdir()
        for key in ("host_key", "user_key"):
            subprocess.run(
                ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", str(folder / key)], check=True
            )
        shutil.copy(folder / "user_key.pub", folder / "authorized_keys")
        self.port = _free_port()
        self.url = f"ssh://{getpass.getuser()}@127.0.0.1:{self.port}"
        self.client = f"ssh -F {folder / 'client_config'}"
        self.process: subprocess.Popen[bytes] | None = None
        (folder / "client_config").write_text(
            f"IdentityFile {folder / 'user_key'}\nIdentitiesOnly yes\nUserKnownHostsFile {folder / 'known_hosts'}\n"
            "GlobalKnownHostsFile /dev/null\nLogLevel ERROR\n"
        )
        self.know_host()

    def know_host(self, key: str | None = None) -> None:
        """Put the host key (or another one) where the client looks it up."""
        key = key or (self.folder / "host_key.pub").read_text()
        (self.folder / "known_hosts").write_text(f"[127.0.0.1]:{self.port} {key}")

    def forget_host(self) -> None:
        (self.folder / "known_hosts").write_text("")

    def start(self, **settings: str) -> PrivateSshd:
        options = {
            "Port": self.port,
            "ListenAddress": "127.0.0.1",
            "HostKey": self.folder / "host_key",
            "AuthorizedKeysFile": self.folder / "authorized_keys",
            "PidFile": "none",
            "StrictModes": "no",
            "UsePAM": "no",
            "PasswordAuthentication": "no",
            "KbdInteractiveAuthentication": "no",
            "PermitRootLogin": "yes",
            "SetEnv": f"TMPDIR={self.tmp}",
            **settings,
        }
        config = self.folder / "sshd_config"
        config.write_text("".join(f"{name} {value}\n" for name, value in options.items()))
        with open(self.folder / "sshd.log", "ab") as log:
            self.process = subprocess.Popen(
                [SSHD, "-D", "-e", "-f", str(config)], stdout=log, stderr=log, start_new_session=True
            )
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return self
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        raise RuntimeError((self.folder / "sshd.log").read_text())

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait()
            self.process = None

    def drop_connections(self) -> None:
        """Kill the server's session processes, as a rebooting board does."""
        assert self.process is not None
        for child in children_of(self.process.pid):
            os.kill(child, 9)

    def leftovers(self, within_s: float = 10.0) -> list[str]:
        """What lies in the board's TMPDIR once nothing changes there any more."""
        end = time.monotonic() + within_s
        while (names := sorted(os.listdir(self.tmp))) and time.monotonic() < end:
            time.sleep(0.1)
        return names


def children_of(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

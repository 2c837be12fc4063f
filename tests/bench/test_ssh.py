"""Boards over ssh against a real sshd on loopback: what is measured, what goes wrong, and that nothing stays behind."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import venv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fake_bundle import write_bundle
from private_sshd import PrivateSshd, missing

from edgeslim.benchmark.board.agent import ORDERS, Order
from edgeslim.benchmark.desk import collect
from edgeslim.benchmark.desk.cells import cells as cells_of
from edgeslim.benchmark.desk.devices import DeviceOptions, get
from edgeslim.benchmark.desk.devices.ssh import CLIENT_VARIABLE, SshDevice, parse_url, remote_command
from edgeslim.benchmark.desk.payload import agent_zip
from edgeslim.benchmark.table.table_file import TableFile
from edgeslim.cli.main import main
from edgeslim.core.bundle import SlimBundle
from edgeslim.core.events import Event, Progress, RowDone
from edgeslim.core.job import Job
from edgeslim.core.latency import LatencyTable
from edgeslim.errors import DeviceError, HostError, MissingExtraError
from edgeslim.files import sha256_file

pytestmark = pytest.mark.skipif(missing() is not None, reason=missing() or "")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateSshd]:
    board = PrivateSshd(tmp_path_factory.mktemp("board")).start()
    yield board
    board.stop()


@pytest.fixture
def board(server: PrivateSshd, monkeypatch: pytest.MonkeyPatch) -> Iterator[PrivateSshd]:
    monkeypatch.setenv(CLIENT_VARIABLE, server.client)
    server.know_host()
    yield server
    assert server.leftovers() == []


@pytest.fixture
def restarted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PrivateSshd]:
    """A board of its own, not started, for tests with other settings."""
    board = PrivateSshd(tmp_path)
    monkeypatch.setenv(CLIENT_VARIABLE, board.client)
    yield board
    assert board.leftovers() == []
    board.stop()


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "fake.slim", {250: {"burn_ms": 0.5}, 500: {"burn_ms": 1.0}})


def job(bundle: Path, **changes: object) -> Job:
    with SlimBundle.open(bundle) as opened:
        cells = cells_of(opened, ["fake"], widths=None, threads=[1])
    settings = {"kind": "sustained", "runs": 20, "seconds": 0.05, "limit_s": 5.0, "warmup_s": 0.0, "retries": 0}
    return Job(cells=cells, bundle_sha256=sha256_file(bundle), **{**settings, **changes})  # type: ignore[arg-type]


def device(board: PrivateSshd, python: str = sys.executable, **more: float) -> SshDevice:
    return SshDevice(board.url.removeprefix("ssh:"), DeviceOptions(board_python=python), **more)


def ignore(event: Event) -> None:
    pass


def test_rows_come_back_with_the_boards_passport(board: PrivateSshd, bundle: Path) -> None:
    events: list[Event] = []
    device(board).measure(job(bundle), bundle, events.append)
    rows = [event.row for event in events if isinstance(event, RowDone)]
    assert [row.width_permille for row in rows] == [250, 500]
    assert all(row.runs >= 20 and row.p50_ms is not None and row.rebuild_ms for row in rows)
    assert rows[0].min_ms == pytest.approx(0.5, rel=0.2)
    assert rows[0].bundle_sha256 == sha256_file(bundle)
    assert any(isinstance(event, Progress) for event in events)


def test_a_killed_connection_costs_unfinished_rows_only(board: PrivateSshd, bundle: Path, tmp_path: Path) -> None:
    table = tmp_path / "table.json"

    def drop(event: Event) -> None:
        if isinstance(event, RowDone):
            board.drop_connections()

    work = job(bundle, seconds=0.4)
    file = TableFile(table, quality=None, overwrite=False, resume=False)
    with pytest.raises(DeviceError, match="ended after 1 of 2 rows") as caught:
        collect.measure(device(board), work, bundle, file, rerun=False, watch=drop)
    assert "--resume" in (caught.value.hint or "")
    assert [row.width_permille for row in LatencyTable.read(table).rows] == [250]
    assert board.leftovers() == []
    before = LatencyTable.read(table).rows
    file = TableFile(table, quality=None, overwrite=False, resume=True)
    collect.measure(device(board), work, bundle, file, rerun=False, watch=ignore)
    after = LatencyTable.read(table).rows
    assert [row.width_permille for row in after] == [250, 500]
    assert after[0] == before[0]


def says(tmp_path: Path, program: str, monkeypatch: pytest.MonkeyPatch) -> SshDevice:
    """A board that may be anything: ``program`` stands for the client and what answers behind it."""
    script = tmp_path / "board.py"
    script.write_text(f"import sys\n{program}\n")
    monkeypatch.setenv("EDGESLIM_SSH", f"{sys.executable} {script}")
    return SshDevice("//board", DeviceOptions())


@pytest.mark.parametrize(
    "line",
    [
        '{"is":"Ready","x":1}', '{"is":"Turn"}', '{"is":["Done"]}', '{"is":"Note","text":1}',
        '{"is":"RowDone","row":{}}', '{"not json', '{"a":' * 5000,
    ],
)  # fmt: skip
def test_a_malformed_event_is_the_boards_error(
    tmp_path: Path, bundle: Path, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    board = says(tmp_path, f"print({line!r}, flush=True)\nsys.stdin.read()", monkeypatch)
    with pytest.raises(DeviceError, match="cannot read the line"):
        board.measure(job(bundle), bundle, ignore)


def test_a_line_without_end_is_the_boards_error(tmp_path: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeslim.benchmark.desk.devices.base.MAX_LINE_BYTES", 1 << 20)
    program = 'sys.stdout.write("{\\"")\nwhile True: sys.stdout.write("x" * 65536)'
    with pytest.raises(DeviceError, match="a line of more than 1 MiB"):
        says(tmp_path, program, monkeypatch).measure(job(bundle), bundle, ignore)


def test_only_the_last_words_of_a_chatty_client_are_kept(
    tmp_path: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = 'for _ in range(200): sys.stderr.write("x" * 65535 + "\\n")\nsys.stderr.write("last words\\n")'
    with pytest.raises(DeviceError, match="before the first row: last words"):
        says(tmp_path, program, monkeypatch).measure(job(bundle), bundle, ignore)


def test_ctrl_c_here_ends_the_board(board: PrivateSshd, bundle: Path) -> None:
    def interrupt(event: Event) -> None:
        if isinstance(event, Progress):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        device(board).measure(job(bundle, seconds=30.0), bundle, interrupt)
    assert board.leftovers() == []


def test_a_silent_host_counts_as_gone(board: PrivateSshd, bundle: Path) -> None:
    """As when a cable is pulled: nothing is closed, nothing arrives."""
    archive = agent_zip()
    order = Order(
        job=job(bundle, seconds=60.0, limit_s=60.0),
        bundle_bytes=bundle.stat().st_size,
        bundle_sha256=sha256_file(bundle),
        silence_s=0.7,
    )
    with subprocess.Popen(
        device(board).command(len(archive)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as client:
        assert client.stdin is not None
        assert client.stdout is not None
        client.stdin.write(archive + ORDERS.to_line(order) + bundle.read_bytes())
        client.stdin.flush()
        assert b"Ready" in client.stdout.readline()
        assert os.listdir(board.tmp)
        client.wait(timeout=20)
    assert board.leftovers() == []


@pytest.mark.parametrize("limit_kib", [40, 400], ids=["agent does not fit", "bundle does not fit"])
def test_a_full_disk(restarted: PrivateSshd, tmp_path: Path, limit_kib: int) -> None:
    """A limit on file sizes stands for a full disk: the same error paths, and no root needed."""
    restarted.start(ForceCommand=f"/bin/bash -c 'ulimit -f {limit_kib}; eval \"$SSH_ORIGINAL_COMMAND\"'")
    big = write_bundle(tmp_path / "big.slim", {500: {"burn_ms": 0.5}}, master_size=512)
    assert len(agent_zip()) < 400 * 1024 < big.stat().st_size
    with pytest.raises(DeviceError, match="File too large"):
        device(restarted).measure(job(big), big, ignore)


def test_a_disk_that_is_really_full(restarted: PrivateSshd, bundle: Path) -> None:
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(restarted.tmp)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount a small tmpfs: {mounted.stderr.decode().strip()}")
    try:
        restarted.start()
        with pytest.raises(DeviceError, match="No space left") as caught:
            device(restarted).measure(job(bundle), bundle, ignore)
        assert "free some space" in (caught.value.hint or "")
        assert restarted.leftovers() == []
    finally:
        subprocess.run(["umount", str(restarted.tmp)], check=True)


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with nothing installed, as on a fresh board."""
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder, with_pip=False, symlinks=True)
    return folder


def test_a_board_without_numpy(board: PrivateSshd, bundle: Path, bare_python: Path) -> None:
    with pytest.raises(MissingExtraError, match="numpy") as caught:
        device(board, str(bare_python / "bin" / "python")).measure(job(bundle), bundle, ignore)
    assert caught.value.exit_code == 3


def test_a_board_without_the_runtime(board: PrivateSshd, tmp_path: Path, bare_python: Path) -> None:
    """numpy is there, LiteRT is not; the bundle is not even sent."""
    packages = next((bare_python / "lib").glob("python3*/site-packages"))
    home = Path(np.__file__).parents[1]
    for name in ("numpy", "numpy.libs"):
        if (home / name).exists() and not (packages / name).exists():
            (packages / name).symlink_to(home / name)
    litert = write_bundle(tmp_path / "litert.slim", {500: {"burn_ms": 1.0}}, target="litert")
    with SlimBundle.open(litert) as opened:
        cells = cells_of(opened, ["litert"], widths=None, threads=[1])
    work = Job(cells=cells, bundle_sha256=None, kind="burst", runs=1, seconds=0.1, limit_s=1)
    with pytest.raises(MissingExtraError, match="ai_edge_litert") as caught:
        device(board, str(bare_python / "bin" / "python")).measure(work, litert, ignore)
    assert "127.0.0.1" in caught.value.message
    assert "litert-runtime" in (caught.value.hint or "")


def test_an_unknown_host_key_is_refused(board: PrivateSshd, bundle: Path, capfd: pytest.CaptureFixture[str]) -> None:
    board.forget_host()
    assert main(["bench", str(bundle), "--device", board.url, "--json"]) == 6
    out, _ = capfd.readouterr()
    assert '"name": "device"' in out
    assert "fingerprint" in out
    assert (board.folder / "known_hosts").read_text() == ""  # and not learnt on the way


def test_a_changed_host_key_is_refused(board: PrivateSshd, bundle: Path) -> None:
    board.know_host((board.folder / "user_key.pub").read_text())
    with pytest.raises(DeviceError, match="has changed"):
        device(board).measure(job(bundle), bundle, ignore)


def test_no_password_is_asked_for(board: PrivateSshd, bundle: Path) -> None:
    keys = board.folder / "authorized_keys"
    kept = keys.read_text()
    keys.write_text("")
    try:
        with pytest.raises(DeviceError, match="without a password") as caught:
            device(board).measure(job(bundle), bundle, ignore)
    finally:
        keys.write_text(kept)
    assert "ssh-copy-id" in (caught.value.hint or "")


def test_no_server_there(board: PrivateSshd, bundle: Path) -> None:
    with pytest.raises(DeviceError, match="no ssh server"):
        SshDevice("//127.0.0.1:1", DeviceOptions()).measure(job(bundle), bundle, ignore)


def test_no_python_there(board: PrivateSshd, bundle: Path) -> None:
    with pytest.raises(DeviceError, match="has no 'python-of-nowhere'") as caught:
        device(board, "python-of-nowhere").measure(job(bundle), bundle, ignore)
    assert "--board-python" in (caught.value.hint or "")


def test_no_client_here(monkeypatch: pytest.MonkeyPatch, bundle: Path) -> None:
    monkeypatch.setenv(CLIENT_VARIABLE, "/nowhere/ssh")
    with pytest.raises(HostError, match="/nowhere/ssh"):
        SshDevice("//board", DeviceOptions()).measure(job(bundle), bundle, ignore)


def test_a_chatty_login_shell(restarted: PrivateSshd, bundle: Path) -> None:
    restarted.start(ForceCommand="/bin/bash -c 'echo welcome to the board; eval \"$SSH_ORIGINAL_COMMAND\"'")
    events: list[Event] = []
    device(restarted).measure(job(bundle), bundle, events.append)
    assert sum(isinstance(event, RowDone) for event in events) == 2


def test_folders_of_killed_runs_are_swept(board: PrivateSshd, bundle: Path) -> None:
    dead = subprocess.Popen(["true"])
    dead.wait()
    (board.tmp / f"edgeslim-agent-{dead.pid}-x").mkdir()
    other = board.tmp / "not-ours"
    other.mkdir()
    device(board).measure(job(bundle), bundle, ignore)
    assert os.listdir(board.tmp) == ["not-ours"]
    other.rmdir()


def test_a_killed_agent_is_named_and_cleaned_up(board: PrivateSshd, bundle: Path) -> None:
    def kill(event: Event) -> None:
        if isinstance(event, Progress):
            for entry in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    words = entry.read_bytes()
                except OSError:
                    continue
                if b"edgeslim.benchmark.board.agent\0" in words and str(board.tmp).encode() in words:
                    os.kill(int(entry.parent.name), 9)

    with pytest.raises(DeviceError, match="ended before the first row"):
        device(board).measure(job(bundle, seconds=30.0, limit_s=60.0), bundle, kill)
    time.sleep(0.2)
    assert board.leftovers() == []


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("ssh://pi@board", ("pi", "board", None)),
        ("ssh://board:2222", (None, "board", 2222)),
        ("ssh://pi@[fe80::1]:22", ("pi", "fe80::1", 22)),
    ],
)
def test_urls(url: str, parts: tuple[str | None, str, int | None]) -> None:
    assert parse_url(url) == parts


@pytest.mark.parametrize(
    "url",
    [
        "ssh://", "ssh:board", "ssh://pi:secret@board", "ssh://board/path", "ssh://board:99999", "ssh://-oProxyCommand=x",
        "ssh://-l@board", "ssh://board;reboot", "ssh://pi@board?x=1", "ssh://pi%20x@board",
    ],
)  # fmt: skip
def test_urls_that_are_none(url: str) -> None:
    with pytest.raises(DeviceError):
        get(url)


def test_the_command_line_is_safe_for_any_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CLIENT_VARIABLE, raising=False)
    command = SshDevice("//pi@board:2222", DeviceOptions(board_python="/opt/my env/bin/python")).command(10)
    assert command[:1] == ["ssh"]
    assert "BatchMode=yes" in command
    assert "StrictHostKeyChecking=yes" in command
    assert command[-3:-1] == ["--", "pi@board"]
    remote = command[-1]
    assert remote.startswith("exec '/opt/my env/bin/python' -c '")
    assert not set("$`!\\\n") & set(remote)
    assert remote_command("~/venv/bin/python", 1).startswith("exec ~/venv/bin/python ")

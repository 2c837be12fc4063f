"""Files and directories appear whole or not at all."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edgeslim import files
from edgeslim.errors import OutputError
from edgeslim.files import (
    MAX_NAME_BYTES,
    check_folder,
    check_free,
    check_space,
    read_file,
    recover_directory,
    replace_directory,
    sha256_file,
    temporary_directory_beside,
    write_atomically,
)

OURS = {"x", "Data/x"}.__contains__


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def test_a_written_file_is_whole_and_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    with write_atomically(path, overwrite=False) as stream:
        stream.write(b"hello")
        assert not path.exists()
    assert path.read_bytes() == b"hello"
    assert names(tmp_path) == ["a.bin"]
    mask = os.umask(0)
    os.umask(mask)
    assert path.stat().st_mode & 0o777 == 0o644 & ~mask
    assert sha256_file(path) == hashlib.sha256(b"hello").hexdigest()


def test_an_exception_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")

    def attempt() -> None:
        with write_atomically(path, overwrite=True) as stream:
            stream.write(b"new")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        attempt()
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a.bin"]


def test_existing_files_need_overwrite(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with pytest.raises(OutputError, match="exists") as caught, write_atomically(path, overwrite=False):
        pass
    assert caught.value.hint is not None
    assert "--overwrite" in caught.value.hint
    with write_atomically(path, overwrite=True) as stream:
        stream.write(b"new")
    assert path.read_bytes() == b"new"


def test_a_file_that_appears_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    with pytest.raises(OutputError, match="exists"), write_atomically(path, overwrite=False) as stream:
        stream.write(b"mine")
        path.write_bytes(b"theirs")
    assert path.read_bytes() == b"theirs"


def test_a_missing_folder_and_a_directory_are_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="no folder"), write_atomically(tmp_path / "no" / "a", overwrite=True):
        pass
    with pytest.raises(OutputError, match="directory"), write_atomically(tmp_path, overwrite=True):
        pass


@pytest.mark.parametrize("exchange", [True, False])
def test_directories_are_replaced(tmp_path: Path, exchange: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not exchange:
        monkeypatch.setattr(files, "_exchange", lambda first, second: False)
    final = tmp_path / "m.mlpackage"
    for text in ("one", "two"):
        with temporary_directory_beside(final) as temporary:
            (temporary / "Data").mkdir()
            (temporary / "Data" / "x").write_text(text)
            replace_directory(temporary, final, overwrite=True, ours=OURS)
        assert (final / "Data" / "x").read_text() == text
        assert names(tmp_path) == ["m.mlpackage"]
    with temporary_directory_beside(final) as temporary, pytest.raises(OutputError, match="exists"):
        replace_directory(temporary, final, overwrite=False)
    assert names(tmp_path) == ["m.mlpackage"]


def test_a_file_in_the_place_of_a_directory_is_kept(tmp_path: Path) -> None:
    final = tmp_path / "m.mlpackage"
    final.write_text("precious")
    with temporary_directory_beside(final) as temporary, pytest.raises(OutputError, match="not a directory"):
        replace_directory(temporary, final, overwrite=True, ours=OURS)
    assert final.read_text() == "precious"


def test_a_directory_moved_aside_is_put_back(tmp_path: Path) -> None:
    final = tmp_path / "m.mlpackage"
    assert not recover_directory(final, ours=OURS)
    old = tmp_path / ".m.mlpackage.abc.old"
    old.mkdir()
    (old / "x").write_text("old")
    assert recover_directory(final, ours=OURS)
    assert (final / "x").read_text() == "old"
    assert not recover_directory(final, ours=OURS)


def test_nobody_elses_directory_is_replaced_or_put_back(tmp_path: Path) -> None:
    final = tmp_path / "pictures"
    final.mkdir()
    (final / "cat.jpg").write_text("precious")
    with temporary_directory_beside(final) as temporary:
        (temporary / "x").write_text("new")
        for path in (final, _with_a_link(tmp_path / "linked", final)):
            with pytest.raises(OutputError, match="none of edgeslim's files"):
                replace_directory(temporary, path, overwrite=True, ours=OURS)
    assert (final / "cat.jpg").read_text() == "precious"
    planted = tmp_path / ".m.mlpackage.abc.old"
    shutil.copytree(final, planted)
    assert not recover_directory(tmp_path / "m.mlpackage", ours=OURS)
    os.rename(planted / "cat.jpg", planted / "x")
    planted.chmod(0o777)
    assert not recover_directory(tmp_path / "m.mlpackage", ours=OURS), "anybody may have put that there"
    planted.chmod(0o755)
    assert recover_directory(tmp_path / "m.mlpackage", ours=OURS)


def _with_a_link(folder: Path, to: Path) -> Path:
    folder.mkdir()
    (folder / "inside").symlink_to(to)
    return folder


@pytest.mark.parametrize("kind", ["a device", "a link to it", "a pipe", "a directory"])
def test_what_is_no_file_is_neither_replaced_nor_read(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x"
    if kind == "a device":
        path = Path("/dev/null")
    elif kind == "a link to it":
        path.symlink_to("/dev/zero")
    elif kind == "a pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
    before = path.lstat()
    with pytest.raises(OutputError, match=r"no regular file|is a directory"):
        check_free(path, overwrite=True)
    with pytest.raises(OSError, match=r"no regular file|Is a directory"):
        read_file(path, most_bytes=10)
    assert os.path.samestat(before, path.lstat())


def test_files_are_read_up_to_a_limit(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"0123456789")
    assert read_file(path, most_bytes=10) == b"0123456789"
    with pytest.raises(OSError, match="It has 10 bytes, expected at most 9"):
        read_file(path, most_bytes=9)
    with open(path, "r+b") as file:
        file.truncate(1 << 40)
    with pytest.raises(OSError, match="expected at most"):
        read_file(path, most_bytes=10)


def test_what_cannot_be_written_is_known_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="its name has 300 bytes"):
        check_free(tmp_path / ("é" * 150), overwrite=True)
    longest = tmp_path / ("x" * MAX_NAME_BYTES)
    check_free(longest, overwrite=False)
    with write_atomically(longest, overwrite=False) as stream:
        stream.write(b"there is room for the unfinished file's name")
    with pytest.raises(OutputError, match="are free"):
        check_space(longest, 1 << 60)
    with pytest.raises(OutputError, match="cannot write"):
        check_folder(longest / "below")


KILLED = """
import os, signal, sys
from pathlib import Path
from edgeslim.files import write_atomically
with write_atomically(Path(sys.argv[1]), overwrite=True) as stream:
    stream.write(b"new" * 1000)
    stream.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_writer_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    done = subprocess.run([sys.executable, "-c", KILLED, str(path)])
    assert done.returncode == -signal.SIGKILL
    assert path.read_bytes() == b"old"
    assert len(names(tmp_path)) == 2  # and what it was writing
    with write_atomically(path, overwrite=True) as stream:
        stream.write(b"new")
    assert names(tmp_path) == ["a.bin"]


def test_two_writers_leave_each_other_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    with write_atomically(path, overwrite=True) as first:
        first.write(b"first")
        with write_atomically(path, overwrite=True) as second:
            second.write(b"second")
        assert path.read_bytes() == b"second"
    assert path.read_bytes() == b"first"
    final = tmp_path / "m.mlpackage"
    with temporary_directory_beside(final) as one, temporary_directory_beside(final) as other:
        for folder, text in ((one, "one"), (other, "other")):
            (folder / "x").write_text(text)
            replace_directory(folder, final, overwrite=True, ours=OURS)
            assert (final / "x").read_text() == text
    assert names(tmp_path) == ["a.bin", "m.mlpackage"]


def test_a_killed_directory_writer_leaves_nothing_for_long(tmp_path: Path) -> None:
    final = tmp_path / "m.mlpackage"
    leftover = tmp_path / ".m.mlpackage.abc.part"
    (leftover / "Data").mkdir(parents=True)
    (leftover / "Data" / "x").write_text("half")
    with temporary_directory_beside(final) as folder:
        assert not leftover.exists()
        replace_directory(folder, final, overwrite=False)
    assert names(tmp_path) == ["m.mlpackage"]

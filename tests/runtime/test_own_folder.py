"""The folder that a session calls its own: nobody else's files in it, nobody else's hands on it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeslim.errors import OutputError
from edgeslim.runtime.own_folder import NAME, OwnFolder, SpareFolder

NOBODY = 65534


@pytest.fixture
def as_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can make files of another user")


def test_made_private_and_marked(tmp_path: Path) -> None:
    own = OwnFolder(tmp_path / "cache")
    assert not own.usable()
    own.make()
    assert own.usable()
    assert own.path.stat().st_mode & 0o777 == 0o700
    assert (own.path / "CACHEDIR.TAG").read_bytes().startswith(b"Signature: 8a477f597d28d172789f06886806bc55\n")
    own.make()


def test_left_empty_by_a_killed_process_it_is_taken_over(tmp_path: Path) -> None:
    (tmp_path / NAME).mkdir(mode=0o700)
    OwnFolder(tmp_path).make()
    assert OwnFolder(tmp_path).usable()


def test_a_folder_of_that_name_with_other_files_is_not_ours(tmp_path: Path) -> None:
    (tmp_path / NAME).mkdir(mode=0o700)
    (tmp_path / NAME / "thesis.tex").write_text("…")
    assert not OwnFolder(tmp_path).usable()
    with pytest.raises(OutputError, match=r"no CACHEDIR.TAG of edgeslim's, so nothing in it is touched"):
        OwnFolder(tmp_path).make()
    assert [path.name for path in (tmp_path / NAME).iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777])
def test_others_may_not_write_there(tmp_path: Path, mode: int) -> None:
    own = OwnFolder(tmp_path)
    own.make()
    own.path.chmod(mode)
    assert not own.usable()
    with pytest.raises(OutputError, match="can be written by others"):
        own.make()


def test_a_link_is_refused(tmp_path: Path) -> None:
    elsewhere = OwnFolder(tmp_path / "elsewhere").make()
    (tmp_path / NAME).symlink_to(elsewhere)
    assert not OwnFolder(tmp_path).usable()
    with pytest.raises(OutputError, match="no directory of its own"):
        OwnFolder(tmp_path).make()


@pytest.mark.usefixtures("as_root")
def test_another_users_folder_is_refused(tmp_path: Path) -> None:
    own = OwnFolder(tmp_path)
    own.make()
    os.chown(own.path, NOBODY, NOBODY)
    assert not own.usable()
    with pytest.raises(OutputError, match="belongs to another user"):
        own.make()


def planted_link(shared: Path, tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir(mode=0o700)
    shared.symlink_to(tmp_path / "theirs")


def planted_file(shared: Path, _: Path) -> None:
    shared.write_text("in the way")


def planted_open_folder(shared: Path, _: Path) -> None:
    shared.mkdir()
    shared.chmod(0o777)


def planted_by_another_user(shared: Path, _: Path) -> None:
    shared.mkdir(mode=0o700)
    os.chown(shared, NOBODY, NOBODY)


def planted_inside(shared: Path, _: Path) -> None:
    shared.mkdir(mode=0o700)
    (shared / NAME).mkdir()
    (shared / NAME / "model.pte").write_text("foreign")


@pytest.mark.parametrize(
    "plant", [planted_link, planted_file, planted_open_folder, planted_by_another_user, planted_inside]
)
def test_the_spare_folder_is_ours_or_a_fresh_one(
    tmp_path: Path, plant: Callable[[Path, Path], None], request: pytest.FixtureRequest
) -> None:
    if plant is planted_by_another_user:
        request.getfixturevalue("as_root")
    spare = SpareFolder()
    shared = spare.path.parent
    assert shared.parent == tmp_path / "tmp"
    plant(shared, tmp_path)
    before = sorted(str(path) for path in tmp_path.rglob("*"))
    assert not spare.usable()
    path = spare.make()
    assert shared not in path.parents
    assert path.stat().st_mode & 0o777 == 0o700
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert spare.usable()
    spare.close()
    assert sorted(str(path) for path in tmp_path.rglob("*")) == before, "what was planted is untouched"


def test_the_spare_folder_is_shared_by_a_users_sessions(tmp_path: Path) -> None:
    first, second = SpareFolder(), SpareFolder()
    assert first.make() == second.make()
    first.close()
    assert second.usable()

"""The cache: whole files or none, right bytes or none, whatever happens to the folder."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pretend import NAME, TIMES_US, id_of, pretend_bundle

from edgeslim.core.bundle import SlimBundle
from edgeslim.errors import FormatError, OutputError
from edgeslim.runtime.cache import ArtifactCache, CachedArtifact
from edgeslim.runtime.deployment import Deployment
from edgeslim.runtime.locking import folder_lock
from edgeslim.runtime.own_folder import OwnFolder


@pytest.fixture(params=[False, True], ids=["file", "package"])
def deployment(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Deployment]:
    with SlimBundle.open(pretend_bundle(tmp_path / "b.slim", directory=request.param)) as bundle:
        deployment = Deployment.of(bundle, NAME)
        yield deployment
        deployment.close()


@pytest.fixture
def direct(deployment: Deployment, tmp_path: Path) -> Path:
    out = tmp_path / "direct"
    deployment.build(id_of(500), out)
    return out


def contents(root: Path) -> dict[str, bytes]:
    if root.is_file():
        return {"": root.read_bytes()}
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


class Ensuring:
    """``ensure`` of one width, counting the builds."""

    def __init__(self, deployment: Deployment, cache: ArtifactCache) -> None:
        self.deployment, self.cache, self.builds = deployment, cache, 0

    def __call__(self, permille: int = 500) -> CachedArtifact:
        artifact = id_of(permille)

        def build(out: Path) -> None:
            self.builds += 1
            self.deployment.build(artifact, out)

        return self.cache.ensure(self.deployment.plans[artifact], build)


@pytest.fixture
def ensure(deployment: Deployment, tmp_path: Path) -> Ensuring:
    return Ensuring(deployment, ArtifactCache(OwnFolder(tmp_path / "cache")))


def names(cache: ArtifactCache) -> list[str]:
    return sorted(path.name for path in (cache.folder / "artifacts").iterdir())


def some_file(root: Path) -> Path:
    return root if root.is_file() else max(p for p in root.rglob("*") if p.is_file())


def writable(path: Path) -> Path:
    path.chmod(0o644)
    return path


def test_built_once_and_found_again(ensure: Ensuring, direct: Path) -> None:
    for _ in range(3):
        with_root = ensure()
        assert contents(with_root.root) == contents(direct)
        assert with_root.intact()
        assert with_root.in_place()
        with_root.close()
    assert ensure.builds == 1
    assert names(ensure.cache) == [ensure.deployment.plans[id_of(500)].key]


def test_a_second_process_hashes_but_does_not_build(ensure: Ensuring) -> None:
    ensure().close()
    other = Ensuring(ensure.deployment, ArtifactCache(OwnFolder(ensure.cache.folder.parent)))
    other().close()
    assert other.builds == 0


@pytest.mark.parametrize("same_size", [True, False])
def test_a_damaged_file_is_rebuilt(ensure: Ensuring, direct: Path, same_size: bool) -> None:
    artifact = ensure()
    file = writable(some_file(artifact.root))
    if same_size:
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
    else:
        os.truncate(file, 10)
    assert not artifact.intact()
    assert not artifact.in_place()
    artifact.close()
    again = ensure()
    assert contents(again.root) == contents(direct)
    assert (ensure.builds, ensure.cache.repaired) == (2, 1)
    again.close()


def test_damage_while_no_process_was_there_is_found_by_the_hash(ensure: Ensuring, direct: Path) -> None:
    artifact = ensure()
    file = writable(some_file(artifact.root))
    status = file.stat()
    data = bytearray(file.read_bytes())
    data[0] ^= 0xFF
    file.write_bytes(data)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))  # size and time are as before
    artifact.close()
    fresh = Ensuring(ensure.deployment, ArtifactCache(OwnFolder(ensure.cache.folder.parent)))
    assert contents(fresh().root) == contents(direct)
    assert fresh.builds == 1


def test_a_file_too_many_in_a_package_counts_as_damage(ensure: Ensuring) -> None:
    artifact = ensure()
    if artifact.root.is_dir():
        (artifact.root / "Data" / "more.json").write_text("{}")
        ensure().close()
        assert ensure.builds == 2


def test_removed_files_stay_usable_for_who_has_them_open(ensure: Ensuring) -> None:
    artifact = ensure()
    shutil.rmtree(ensure.cache.folder)
    assert artifact.intact()
    assert not artifact.in_place()
    assert ensure().in_place()


def test_a_vanishing_folder_is_made_again(ensure: Ensuring) -> None:
    stop = threading.Event()

    def vanish() -> None:
        while not stop.wait(0.03):
            shutil.rmtree(ensure.cache.folder, ignore_errors=True)

    thread = threading.Thread(target=vanish)
    thread.start()
    try:
        done = 0
        for _ in range(60):
            with contextlib.suppress(OutputError):  # removed five times in a row
                ensure().close()
                done += 1
    finally:
        stop.set()
        thread.join()
    assert done > 0
    ensure().close()
    assert not [name for name in names(ensure.cache) if name.startswith(".")]


def test_bounded_in_size_least_recently_used_first(deployment: Deployment, tmp_path: Path) -> None:
    sizes = {permille: deployment.plans[id_of(permille)].size_bytes for permille in TIMES_US}
    cache = ArtifactCache(OwnFolder(tmp_path / "cache"), max_bytes=sizes[250] + sizes[500] + sizes[1000])
    ensure = Ensuring(deployment, cache)
    for permille in (250, 500, 250, 1000, 750):
        ensure(permille).close()
        time.sleep(0.002)
    kept = {p for p in TIMES_US if deployment.plans[id_of(p)].key in names(cache)}
    assert 750 in kept
    assert 500 not in kept, "500 was used longest ago"
    total = sum(path.stat().st_size for path in cache.folder.rglob("*") if path.is_file())
    assert total <= cache.max_bytes


def test_a_width_larger_than_the_whole_cache_is_kept_while_used(deployment: Deployment, tmp_path: Path) -> None:
    ensure = Ensuring(deployment, ArtifactCache(OwnFolder(tmp_path / "cache"), max_bytes=1))
    first = ensure(1000)
    second = ensure(500)
    assert first.in_place()
    assert second.in_place()
    first.close()
    second.close()
    ensure(250).close()
    assert names(ensure.cache) == [deployment.plans[id_of(250)].key]


def test_leftovers_of_killed_processes_are_removed(ensure: Ensuring) -> None:
    ensure(250).close()
    leftover = ensure.cache.folder / "artifacts" / f".{'ab' * 32}.12345678.part"
    leftover.mkdir()
    (leftover / "model.bin").write_bytes(b"half")
    ensure().close()
    assert not leftover.exists()


def test_an_unfinished_one_is_left_alone_while_its_builder_may_live(deployment: Deployment, tmp_path: Path) -> None:
    ensure = Ensuring(deployment, ArtifactCache(OwnFolder(tmp_path / "cache"), lock_wait_s=0.05))
    ensure(250).close()
    theirs = ensure.cache.folder / "artifacts" / f".{'ab' * 32}.12345678.part"
    theirs.mkdir()
    with folder_lock(ensure.cache.folder, wait_s=1) as alone:
        assert alone
        ensure().close()  # cannot have the lock, works all the same
    assert theirs.exists()


def test_many_processes_on_one_cache(deployment: Deployment, tmp_path: Path) -> None:
    code = """
import sys, random
from pathlib import Path
from edgeslim.core.bundle import SlimBundle
from edgeslim.files import sha256_file
from edgeslim.runtime.cache import ArtifactCache
from edgeslim.runtime.deployment import Deployment
from edgeslim.runtime.own_folder import OwnFolder
sys.path.insert(0, sys.argv[3])
deployment = Deployment.of(SlimBundle.open(sys.argv[1]), "pretend")
rng = random.Random(int(sys.argv[4]))
for turn in range(40):
    cache = ArtifactCache(OwnFolder(Path(sys.argv[2])), max_bytes=20_000)
    plan = rng.choice(list(deployment.plans.values()))
    with_root = cache.ensure(plan, lambda out: deployment.build(plan.artifact, out))
    for file in plan.files:
        try:
            assert sha256_file(plan.place(with_root.root, file)) == file.sha256
        except FileNotFoundError:
            pass  # another process needed the room
    assert with_root.intact()
    with_root.close()
"""
    arguments = [str(deployment.bundle.path), str(tmp_path / "cache"), str(Path(__file__).parent)]
    running = [
        subprocess.Popen([sys.executable, "-c", code, *arguments, str(i)], stderr=subprocess.PIPE) for i in range(3)
    ]
    for process in running:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors.decode()
    assert not [name for name in names(ArtifactCache(OwnFolder(tmp_path / "cache"))) if name.startswith(".")]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system with 128 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"cannot mount a small disk here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_is_first_emptied_of_what_is_not_in_use(deployment: Deployment, small_disk: Path) -> None:
    ensure = Ensuring(deployment, ArtifactCache(OwnFolder(small_disk / "cache")))
    for permille in TIMES_US:
        ensure(permille).close()
    free = shutil.disk_usage(small_disk).free
    (small_disk / "other").write_bytes(bytes(free // 4096 * 4096))
    shutil.rmtree(ensure.cache.folder / "artifacts" / deployment.plans[id_of(500)].key)
    (small_disk / "more").write_bytes(bytes(shutil.disk_usage(small_disk).free // 4096 * 4096))
    ensure(500).close()
    assert ensure.builds == 5, "free space is compared before anything is written"
    assert names(ensure.cache) == [deployment.plans[id_of(500)].key]


def test_a_disk_full_of_other_things_is_reported_and_nothing_half_is_left(
    deployment: Deployment, small_disk: Path
) -> None:
    (small_disk / "other").write_bytes(bytes(shutil.disk_usage(small_disk).free - 16_384))
    ensure = Ensuring(deployment, ArtifactCache(OwnFolder(small_disk / "cache")))
    OwnFolder(small_disk / "cache").make()
    (small_disk / "more").write_bytes(bytes(shutil.disk_usage(small_disk).free))
    with pytest.raises(OutputError, match=r"[nN]o space"):
        ensure(1000)
    assert not any(path.is_file() for path in (ensure.cache.folder / "artifacts").rglob("*"))


def test_no_space_raised_by_any_write(ensure: Ensuring, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("edgeslim.files.os.fsync", full)
    with pytest.raises(OutputError, match="no space"):
        ensure()
    monkeypatch.undo()
    ensure().close()
    assert not [name for name in names(ensure.cache) if name.startswith(".")]


def test_a_folder_that_cannot_be_made(deployment: Deployment, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    ensure = Ensuring(deployment, ArtifactCache(OwnFolder(tmp_path / "file" / "cache")))
    with pytest.raises(OutputError, match="cache"):
        ensure()


def test_damage_while_a_file_is_built_is_not_held_against_the_bundle(ensure: Ensuring, direct: Path) -> None:
    plan, builds = ensure.deployment.plans[id_of(500)], 0

    def build(out: Path) -> None:
        nonlocal builds
        builds += 1
        ensure.deployment.build(id_of(500), out)
        if builds == 1:
            file = writable(some_file(out))
            file.write_bytes(bytes(len(file.read_bytes())))
        elif builds == 2:
            raise FormatError("hash-mismatch", "read back with another content")

    assert contents(ensure.cache.ensure(plan, build).root) == contents(direct)
    assert builds == 3


def test_files_that_never_stay_as_they_were_built_are_not_used(ensure: Ensuring) -> None:
    plan = ensure.deployment.plans[id_of(500)]

    def build(out: Path) -> None:
        ensure.deployment.build(id_of(500), out)
        file = writable(some_file(out))
        data = bytearray(file.read_bytes())
        data[-1] ^= 1
        file.write_bytes(data)

    with pytest.raises(OutputError, match="changed at once"):
        ensure.cache.ensure(plan, build)


def test_a_damaged_bundle_is_refused(ensure: Ensuring) -> None:
    def build(out: Path) -> None:
        raise FormatError("hash-mismatch", "weight/layer is damaged")

    with pytest.raises(FormatError, match="damaged"):
        ensure.cache.ensure(ensure.deployment.plans[id_of(500)], build)
    assert names(ensure.cache) == []


def test_only_what_could_be_its_own_is_removed(ensure: Ensuring) -> None:
    """Whatever else lies in the folder that the user named, or even in ours."""
    parent = ensure.cache.folder.parent
    theirs = [
        parent / "artifacts" / "video.mp4",
        parent / "tables" / "t.csv",
        parent / "crashes" / "report.json",
        ensure.cache.folder / "artifacts" / "video.mp4",
        ensure.cache.folder / "artifacts" / ".video.mp4.part",
        ensure.cache.folder / "artifacts" / ("cd" * 31) / "model.bin",
    ]
    OwnFolder(parent).make()
    for path in theirs:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(100_000))
        os.utime(path, (1, 1))
        os.utime(path.parent, (1, 1))
    ensure.cache.max_bytes = 1
    for permille in TIMES_US:
        ensure(permille).close()
    assert all(path.stat().st_size == 100_000 for path in theirs)


def test_links_in_it_are_never_followed(ensure: Ensuring, tmp_path: Path, direct: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "precious").write_text("mine")
    ensure().close()
    artifacts, plan = ensure.cache.folder / "artifacts", ensure.deployment.plans[id_of(500)]
    shutil.rmtree(artifacts / plan.key)
    (artifacts / plan.key).symlink_to(elsewhere)
    (artifacts / f".{'cd' * 32}.12345678.gone").symlink_to(elsewhere)
    (ensure.cache.folder / "lock").unlink()
    (ensure.cache.folder / "lock").symlink_to(tmp_path / "made")
    with pytest.raises(OutputError):
        ensure()
    assert not (tmp_path / "made").exists()
    (ensure.cache.folder / "lock").unlink()
    again = ensure()
    assert contents(again.root) == contents(direct)
    again.close()
    assert not (artifacts / plan.key).is_symlink()
    assert [path.name for path in elsewhere.iterdir()] == ["precious"]


def test_a_file_that_would_not_fit_is_not_begun(ensure: Ensuring, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(ensure.cache.folder.parent.parent)
    need = ensure.deployment.plans[id_of(500)].size_bytes
    monkeypatch.setattr("edgeslim.runtime.cache.shutil.disk_usage", lambda _: usage._replace(free=need - 1))
    with pytest.raises(OutputError, match="no space left for a file"):
        ensure()
    assert ensure.builds == 0

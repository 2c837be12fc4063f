"""pack: every width of a net for several targets in one bundle that rebuilds the exporters' files."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from small_checkpoint import WIDTHS, small_checkpoint

import edgeslim
from edgeslim.cli.main import main
from edgeslim.core.bundle import SlimBundle
from edgeslim.core.manifest import full_shape
from edgeslim.core.width import Width
from edgeslim.deploy.pack import pack
from edgeslim.deploy.pack_plan import PackOptions
from edgeslim.errors import CheckpointError, ExportError, OutputError, UsageError, WidthError


@pytest.fixture(scope="module")
def checkpoint_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checkpoint") / "net.pt"
    small_checkpoint().save(path)
    return path


@pytest.fixture(scope="module")
def packed(checkpoint_file: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(bundle, folder with the exporters' own files) for the reference target and LiteRT."""
    folder = tmp_path_factory.mktemp("packed")
    report = pack(
        checkpoint_file,
        PackOptions(targets=["reference", "litert"], out=folder / "net.slim", keep_artifacts=folder / "kept", jobs=2),
    )
    assert {(row.target, row.permille) for row in report.rows} == {
        (target, width.permille) for target in ("reference", "litert") for width in WIDTHS
    }
    for row in report.rows:
        assert row.sqnr_db is not None
        assert row.sqnr_db >= 90, row
        assert row.explained_bytes >= 0.99 * (row.explained_bytes + row.literal_bytes), row
        assert row.template_bytes + row.recipe_bytes < row.artifact_bytes
    assert report.bytes == (folder / "net.slim").stat().st_size
    return folder / "net.slim", folder / "kept"


def test_every_file_is_rebuilt_byte_for_byte(packed: tuple[Path, Path], tmp_path: Path) -> None:
    bundle, kept = packed
    with SlimBundle.open(bundle) as opened:
        for exported in sorted(kept.iterdir()):
            target, _, _, permille = exported.stem.split("-")
            rebuilt = opened.rebuild(target, Width(int(permille)), tmp_path / exported.name).path
            assert rebuilt.read_bytes() == exported.read_bytes(), exported.name
    assert len(list(kept.iterdir())) == 6


def test_the_bundle_knows_the_net(packed: tuple[Path, Path]) -> None:
    with SlimBundle.open(packed[0]) as opened:
        manifest = opened.manifest
        assert manifest.model.id == "us_mobilenet_v1"
        assert manifest.labels == ("a", "b", "c", "d")
        assert (manifest.low, manifest.high) == (130, 250)
        (info,) = manifest.inputs
        assert info.tensors[0].image == small_checkpoint().input
        assert [net.widths for net in manifest.nets] == [(130,), (190,), (250,)]
        for variant in manifest.variants:
            assert [a.quality.value for a in variant.artifacts if a.quality] == ["0.38", "0.44", "0.5"]
    with safe_open(packed[0], framework="np") as stock:  # the format's own library opens it
        weight = stock.get_tensor("master/features.0.0.weight")
    assert np.array_equal(weight, small_checkpoint().state_dict["features.0.0.weight"].numpy())


def test_same_bytes_with_any_number_of_workers(checkpoint_file: Path, tmp_path: Path) -> None:
    digests = set()
    for jobs in (1, 2):
        out = tmp_path / f"{jobs}.slim"
        report = pack(checkpoint_file, PackOptions(targets=["reference"], out=out, jobs=jobs))
        digests.add(hashlib.sha256(out.read_bytes()).hexdigest())
        assert digests == {report.sha256}


def test_adding_gives_the_bytes_of_packing_together(
    checkpoint_file: Path, packed: tuple[Path, Path], tmp_path: Path
) -> None:
    growing = tmp_path / "growing.slim"
    pack(checkpoint_file, PackOptions(targets=["reference"], nets=[Width(190)], out=growing))
    pack(checkpoint_file, PackOptions(targets=["litert"], nets=WIDTHS, into=growing))
    pack(checkpoint_file, PackOptions(targets=["reference"], nets=[Width(130), Width(250)], into=growing))
    assert growing.read_bytes() == packed[0].read_bytes()


def test_another_net_is_not_merged(packed: tuple[Path, Path], tmp_path: Path) -> None:
    other = small_checkpoint(seed=1)
    with pytest.raises(UsageError, match="cannot be merged"):
        pack(other, PackOptions(targets=["reference"], out=tmp_path / "out.slim", into=packed[0]))
    assert not (tmp_path / "out.slim").exists()


def test_aliases_resolve_to_the_smallest_name(tmp_path: Path) -> None:
    near = (Width(248), Width(250))  # 253.9 and 256 of 1024 round to the same channels, as do all other layers
    checkpoint = small_checkpoint(statistics=(Width(250),))
    pack(checkpoint, PackOptions(targets=["reference"], nets=near, out=tmp_path / "net.slim"))
    with SlimBundle.open(tmp_path / "net.slim") as opened:
        (entry,) = opened.manifest.nets
        assert (entry.id, entry.widths) == ("0248", (248, 250))
        assert opened.resolve(Width(250)) == entry


def test_fp16_masters_halve_the_weights(checkpoint_file: Path, packed: tuple[Path, Path], tmp_path: Path) -> None:
    report = pack(checkpoint_file, PackOptions(targets=["reference"], weights="fp16", out=tmp_path / "half.slim"))
    with SlimBundle.open(packed[0]) as full:
        shapes = [full_shape(master, full.manifest.parts) for master in full.manifest.masters]
    numbers = sum(int(np.prod(shape)) for shape in shapes)
    assert report.weights_bytes == 2 * numbers
    assert min(row.sqnr_db or 0 for row in report.rows) >= 90  # against the net with the same rounded weights


def test_missing_statistics_name_the_way_out(tmp_path: Path) -> None:
    checkpoint = small_checkpoint(statistics=(Width(250),))
    with pytest.raises(CheckpointError, match=r"0\.13") as caught:
        pack(checkpoint, PackOptions(targets=["reference"], nets=WIDTHS, out=tmp_path / "net.slim"))
    assert "--calib" in (caught.value.hint or "")
    with pytest.raises(WidthError):
        pack(checkpoint, PackOptions(targets=["reference"], nets=[Width(500)], out=tmp_path / "net.slim"))
    assert not list(tmp_path.iterdir())


def test_an_existing_bundle_stays(checkpoint_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "net.slim"
    out.write_bytes(b"mine")
    with pytest.raises(OutputError):
        pack(checkpoint_file, PackOptions(targets=["reference"], out=out))
    assert out.read_bytes() == b"mine"


def test_a_failed_exporter_is_named_and_leaves_no_bundle(
    checkpoint_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "broken" / "litert_torch"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("print('what the exporter said')\nraise RuntimeError('cannot lower it')\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(broken.parent), *sys.path]))
    out = tmp_path / "net.slim"
    with pytest.raises(ExportError, match=r"litert.*0\.25.*cannot lower it") as caught:
        pack(checkpoint_file, PackOptions(targets=["litert"], out=out, jobs=1))
    log = tmp_path / "net.slim.log"
    assert str(log) in (caught.value.hint or "")
    assert "what the exporter said" in log.read_text()
    assert not out.exists()


def test_targets_that_worked_are_kept_and_the_rest_can_be_added(
    checkpoint_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One exporter fails: the bundle has the other target, the exit code says so, and what is printed adds the rest."""
    broken = tmp_path / "broken" / "litert_torch"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise RuntimeError('cannot lower it')\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(broken.parent), *sys.path]))
    monkeypatch.chdir(tmp_path)
    argv = ["pack", str(checkpoint_file), "--target", "litert,reference", "--widths", "0.13", "--jobs", "1"]
    assert main([*argv, "-o", "my net.slim"]) == ExportError.exit_code
    said = capsys.readouterr().err
    assert "litert is not in the bundle" in said
    assert "cannot lower it" in said
    with SlimBundle.open("my net.slim") as bundle:
        assert {variant.target for variant in bundle.manifest.variants} == {"reference"}
    (command,) = re.findall(r"^  edgeslim (.*)$", said, re.MULTILINE)
    assert "--widths 0.13" in command
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))  # the exporter is mended
    assert main(shlex.split(command)) == 0
    assert main([*argv, "-o", "whole.slim"]) == 0
    assert Path("my net.slim").read_bytes() == Path("whole.slim").read_bytes()


def test_dry_run_writes_nothing(checkpoint_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "net.slim"
    argv = ["pack", str(checkpoint_file), "--target", "litert", "-o", str(out), "--dry-run", "--json"]
    assert main(argv) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["bundle"] == str(out)
    assert [row["permille"] for row in document["rows"]] == [130, 190, 250]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("argv", "code", "words"),
    [
        (["--target", "coreml2"], 2, "coreml"),
        (["--target", "litert", "--widths", "0.9"], 2, "0.9"),
        (["--target", "litert", "--widths", "x"], 2, "width"),
        (["--target", ""], 2, "target"),
    ],
)
def test_wrong_options(
    checkpoint_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], argv: list[str], code: int, words: str
) -> None:
    assert main(["pack", str(checkpoint_file), "-o", str(tmp_path / "net.slim"), *argv]) == code
    assert words in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_sigkill_at_any_moment_leaves_the_old_bundle_or_the_new(checkpoint_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "net.slim"
    first = pack(checkpoint_file, PackOptions(targets=["reference"], nets=[Width(250)], out=out))
    goal = tmp_path / "goal.slim"
    second = pack(checkpoint_file, PackOptions(targets=["reference"], out=goal))
    goal.unlink()
    argv = [sys.executable, "-m", "edgeslim", "pack", str(checkpoint_file), "--target", "reference", "--overwrite"]
    generator = np.random.default_rng(0)
    seen = set()
    for _ in range(12):
        with subprocess.Popen([*argv, "-o", str(out)], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
            try:
                process.wait(timeout=float(generator.uniform(0.5, 14)))
            except subprocess.TimeoutExpired:
                process.kill()
        digest = hashlib.sha256(out.read_bytes()).hexdigest()
        assert digest in {first.sha256, second.sha256}
        seen.add(digest)
        assert [p.name for p in tmp_path.glob("*.slim")] == ["net.slim"]
    assert edgeslim.SlimBundle is SlimBundle

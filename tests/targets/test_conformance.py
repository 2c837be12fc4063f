"""What every target promises, asked of every target; the checks are published as ``edgeslim.testing``."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from target_nets import CLASSES, SIZE, logits_of, metadata, normalised, pixels, sliced, sqnr_db
from torch import nn

from edgeslim import targets
from edgeslim.core.width import Width
from edgeslim.errors import CannotCheckError, MissingExtraError, UsageError
from edgeslim.targets.base import Target
from edgeslim.targets.reference import ReferenceRunner, ReferenceTarget
from edgeslim.testing import TARGET_CHECKS, ConformanceError, TargetCase

EXAMPLES = {"image": torch.zeros(1, 3, SIZE, SIZE)}
WIDTH = Width(250)
ALL = [*targets.names(), "reference"]
DARWIN = sys.platform == "darwin"
RUNTIMES = {"executorch": "executorch", "litert": "litert", "reference": "reference"}
RUNTIMES["coreml"] = "coreml" if DARWIN else "coreml-mil"
RUNTIMES["coreai"] = "coreai" if DARWIN else "coreai-interpreter"


class Changing(ReferenceTarget):
    """Writes after the file what another export does not write."""

    def sign(self) -> bytes:
        raise NotImplementedError

    def export(self, net: Any, examples: Any, out: Path, **settings: Any) -> Any:
        artifact = super().export(net, examples, out, **settings)
        out.write_bytes(out.read_bytes() + self.sign())
        return replace(artifact, files=targets.base.hash_files(out, self.info.suffix))


class Dated(Changing):
    count = 0

    def sign(self) -> bytes:
        self.count += 1
        return b"%d" % self.count


class Seeded(Changing):
    """The same bytes as long as one process makes them."""

    def sign(self) -> bytes:
        return b"%d" % os.getpid()


def available(name: str) -> Target:
    target = targets.get(name)
    try:
        target.info.ensure_available(exporting=True)
        target.info.ensure_available(exporting=False)
    except MissingExtraError as error:
        pytest.skip(str(error))
    return target


@pytest.fixture(scope="module", params=ALL)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> TargetCase:
    return TargetCase(available(request.param), tmp_path_factory.mktemp(request.param))


@pytest.mark.parametrize("check", TARGET_CHECKS)
def test_it_keeps_its_promises(case: TargetCase, check: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    try:
        TARGET_CHECKS[check](case, tmp_path)
    except CannotCheckError as error:
        pytest.skip(error.message)
    if check == "names-its-failures":
        assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ALL)
def test_a_real_net_runs_like_itself(name: str, tmp_path: Path) -> None:
    target, net = available(name), sliced("us_mobilenet_v1", WIDTH.permille)
    artifact = target.export(net, EXAMPLES, tmp_path / f"net{target.info.suffix}", metadata=metadata(WIDTH))
    assert artifact.id == f"{name}-{target.info.precision().name}-{SIZE}/{WIDTH.permille:04d}"
    runner = target.load(artifact.root, threads=1)
    image = normalised(pixels())
    least = {"fp32": 90, "fp16": 55}[artifact.precision]
    assert sqnr_db(logits_of(net, image), runner.run({"image": image})["logits"]) >= least
    info = runner.describe()
    assert info.name == RUNTIMES[name]
    if name in ("executorch", "litert"):
        assert (info.delegate_requested, info.delegate_actual, info.threads) == ("xnnpack", "xnnpack", 1)
    runner.close()


def test_a_broken_promise_is_told(tmp_path: Path) -> None:
    """The suite notices: a target that rounds what it answers, one that swaps its outputs, one that writes a date, and
    one that writes what only its process knows."""

    class Rounding(ReferenceRunner):
        def run(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
            return {name: np.round(array, 1) for name, array in super().run(inputs).items()}

    class Swapping(ReferenceRunner):
        def run(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
            found = super().run(inputs)
            return dict(zip(found, reversed(found.values()), strict=True))

    def loading(runner: type[ReferenceRunner]) -> Target:
        target = ReferenceTarget()
        target.load = lambda path, *, threads=1: runner(path, threads=threads)  # type: ignore[method-assign]
        return target

    for number, (target, check) in enumerate(
        (
            (loading(Rounding), "runs-like-the-net"),
            (loading(Swapping), "binds-by-name"),
            (Dated(), "same-bytes-twice"),
            (Seeded(), "same-bytes-in-another-process"),
        )
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        with pytest.raises(ConformanceError):
            TARGET_CHECKS[check](TargetCase(target, folder), folder)


@pytest.mark.parametrize("label", ["", " cat", "two\nlines", "two\u2028lines"])
def test_a_label_is_one_line(label: str) -> None:
    with pytest.raises(UsageError, match="label"):
        metadata(WIDTH, labels=(label,))


@pytest.mark.parametrize(("net", "label"), [("0250", "0.25x"), ("slim-head", "slim-head")])
def test_an_artifact_says_which_net_it_is(net: str, label: str, tmp_path: Path) -> None:
    described = replace(metadata(WIDTH), net=net)
    out = tmp_path / "net.ref"
    artifact = targets.get("reference").export(sliced("us_mobilenet_v1", 250), EXAMPLES, out, metadata=described)
    assert artifact.id == f"reference-fp32-{SIZE}/{net}"
    said = targets.get("reference").load(out).metadata
    assert (said["net"], said["label"]) == (net, label)


def test_targets_by_name() -> None:
    assert targets.names() == ("executorch", "coreml", "coreai", "litert")
    assert targets.words() == "executorch, coreml, coreai, litert (or tflite)"
    assert targets.get("tflite").info.name == "litert"
    with pytest.raises(UsageError, match="there are executorch, coreml, coreai, litert") as caught:
        targets.get("litret")
    assert "'litert'" in (caught.value.hint or "")


def test_every_target_says_everything() -> None:
    for name in ALL:
        info = targets.get(name).info
        assert info.name == name
        assert info.suffix.startswith(".")
        assert info.platforms
        assert min(info.export_bytes, info.run_bytes) > 0
        assert len({precision.name for precision in info.precisions}) == len(info.precisions) > 0
        assert all(precision.stored for precision in info.precisions)
    assert targets.get("coreml").info.normalisation == "coreml-1"
    assert targets.get("coreai").info.normalisation == "coreai-1"
    assert targets.get("litert").info.normalisation == "litert-1"


def test_limits_follow_the_net_only_where_rounding_counts() -> None:
    from edgeslim.targets.info import FP16, FP32

    def never() -> float:
        raise AssertionError("asked for nothing")

    assert FP32.limits.close_enough(60, never)
    assert not FP32.limits.close_enough(59.9, never)
    assert FP16.limits.close_enough(40, never)  # whatever rounding leaves
    # 46 dB left by rounding: 40 is enough; 30 left: 24; noise left: never below 10
    for left, least in ((46.0, 40.0), (30.0, 24.0), (-200.0, 10.0)):
        assert FP16.limits.close_enough(least, partial(float, left))
        assert not FP16.limits.close_enough(least - 0.1, partial(float, left))


def test_a_target_that_no_other_process_finds_is_not_called_wrong(tmp_path: Path) -> None:
    class Local(ReferenceTarget):
        pass

    with pytest.raises(CannotCheckError, match="Local cannot be sent to another process"):
        TARGET_CHECKS["same-bytes-in-another-process"](TargetCase(Local(), tmp_path), tmp_path)


def test_finding_targets_imports_no_exporter() -> None:
    code = (
        "import sys; from edgeslim import targets; [targets.get(n) for n in (*targets.names(), 'reference')];"
        "print(*{m.split('.')[0] for m in sys.modules})"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    heavy = {"torch", "executorch", "coremltools", "litert_torch", "ai_edge_litert", "flatbuffers", "coreai"}
    assert not heavy & set(loaded)


def test_a_missing_package_names_its_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for name in targets.names():
        with pytest.raises(MissingExtraError, match="not installed"):
            targets.get(name).export(nn.Identity(), EXAMPLES, tmp_path / "x", metadata=metadata(WIDTH))
        with pytest.raises(MissingExtraError, match="not installed") as caught:
            targets.get(name).load(tmp_path / "x", threads=1)
        assert "edgeslim[" in (caught.value.hint or "")


def test_litert_runs_without_torch(tmp_path: Path) -> None:
    target = available("litert")
    out = tmp_path / "net.tflite"
    target.export(sliced("us_mobilenet_v1", WIDTH.permille), EXAMPLES, out, metadata=metadata(WIDTH))
    code = (
        "import sys, pathlib, numpy; sys.modules['torch'] = None\n"
        "from edgeslim import targets\n"
        f"runner = targets.get('litert').load(pathlib.Path({str(out)!r}), threads=1)\n"
        f"found = runner.run({{'image': numpy.zeros((1, 3, {SIZE}, {SIZE}), 'float32')}})\n"
        "print(found['logits'].shape, runner.labels[0])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == f"(1, {CLASSES}) ape", done.stderr

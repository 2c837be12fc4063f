"""What every target promises, asked of every target."""

from __future__ import annotations

import hashlib
import json
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from target_nets import CLASSES, LABELS, SIZE, logits_of, metadata, normalised, pixels, sliced, sqnr_db
from torch import nn

from edgeslim import targets
from edgeslim.core.width import Width
from edgeslim.errors import ExportError, MissingExtraError, OutputError, UsageError
from edgeslim.targets.base import Artifact, InputOption, Target

EXAMPLE = torch.zeros(1, 3, SIZE, SIZE)
WIDTH = Width(250)
LEAST_DB = {"fp32": 90, "fp16": 55}
ALL = [*targets.names(), "reference"]
RUNTIMES = {"executorch": "executorch", "litert": "litert", "reference": "reference"}
RUNTIMES["coreml"] = "coreml" if sys.platform == "darwin" else "coreml-mil"


def available(name: str) -> Target:
    target = targets.get(name)
    try:
        target.ensure_available(exporting=True)
        target.ensure_available(exporting=False)
    except MissingExtraError as error:
        pytest.skip(str(error))
    return target


class Exported:
    """One target's artifact of one net, shared by the tests that only look at it."""

    def __init__(self, target: Target, folder: Path) -> None:
        self.target = target
        self.net = sliced("us_mobilenet_v1", WIDTH.permille)
        self.weights = {name: tensor.clone() for name, tensor in self.net.state_dict().items()}
        self.artifact = target.export(self.net, EXAMPLE, folder / f"net{target.suffix}", metadata=metadata(WIDTH))


@pytest.fixture(scope="module", params=ALL)
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    target = available(request.param)
    return Exported(target, tmp_path_factory.mktemp(request.param))


def digests(artifact: Artifact) -> list[tuple[str, str]]:
    return [(file.path, file.sha256) for file in artifact.files]


def test_the_artifact_says_what_lies_on_disk(exported: Exported) -> None:
    artifact, target = exported.artifact, exported.target
    assert artifact.target == target.name
    assert artifact.precision == target.precisions[0]
    assert artifact.root.name == f"net{target.suffix}"
    assert artifact.id == f"{target.name}-{artifact.precision}-{SIZE}/{WIDTH.permille:04d}"
    (image,), (logits,) = artifact.inputs, artifact.outputs
    assert (image.name, image.shape, image.dtype, image.layout) == ("image", (1, 3, SIZE, SIZE), "float32", "NCHW")
    assert (logits.name, logits.shape, logits.dtype, logits.layout) == ("logits", (1, CLASSES), "float32", "NC")
    for file in artifact.files:
        data = artifact.path_of(file).read_bytes()
        assert (file.size_bytes, file.sha256) == (len(data), hashlib.sha256(data).hexdigest())
        assert stat.S_IMODE(artifact.path_of(file).stat().st_mode) == 0o644
    on_disk = [artifact.root] if artifact.root.is_file() else [p for p in artifact.root.rglob("*") if p.is_file()]
    assert len(on_disk) == len(artifact.files)
    assert [file.path for file in artifact.files] == sorted(file.path for file in artifact.files)
    json.dumps(artifact.to_json())


def test_it_runs_like_the_net(exported: Exported) -> None:
    runner = exported.target.load(exported.artifact.root, threads=1)
    for seed in range(3):
        image = normalised(pixels(seed))
        out = runner.run(image)
        assert (out.shape, out.dtype) == ((1, CLASSES), np.float32)
        assert sqnr_db(logits_of(exported.net, image), out) >= LEAST_DB[exported.artifact.precision]
        assert np.array_equal(out, runner.run(image))
    first = runner.run(normalised(pixels(0)))
    kept = first.copy()
    runner.run(normalised(pixels(1)))
    assert np.array_equal(first, kept)  # the caller's array stays the caller's
    runner.close()
    runner.close()


def test_it_says_what_runs(exported: Exported) -> None:
    runner = exported.target.load(exported.artifact.root, threads=1)
    info = runner.describe()
    assert info.name == RUNTIMES[exported.target.name]
    assert info.version
    if exported.target.name in ("executorch", "litert"):
        assert (info.delegate_requested, info.delegate_actual, info.threads) == ("xnnpack", "xnnpack", 1)
    json.dumps(info.to_json())
    runner.close()


def test_it_carries_its_metadata_and_labels(exported: Exported) -> None:
    runner = exported.target.load(exported.artifact.root, threads=1)
    assert runner.metadata == json.loads(metadata(WIDTH).to_text())
    assert runner.labels == LABELS
    runner.close()


def test_wrong_inputs_are_refused(exported: Exported) -> None:
    runner = exported.target.load(exported.artifact.root, threads=1)
    good = normalised(pixels())
    for bad in (good[:, :, 1:], good.astype(np.float64), good[0], pixels()):
        with pytest.raises(UsageError, match=r"image.*takes float32"):
            runner.run(bad)
    runner.close()


def test_every_weight_stands_verbatim(exported: Exported) -> None:
    """What a bundle lives on: the exporter keeps the bits (in some order of the axes) that the net has."""
    stored = b"".join(exported.artifact.path_of(file).read_bytes() for file in exported.artifact.files)
    dtype = np.float16 if exported.artifact.precision == "fp16" else np.float32
    missing = []
    for name, tensor in exported.net.named_parameters():
        value = tensor.detach().numpy().astype(dtype)
        if value.nbytes < 64:  # Core ML writes tiny constants into the program text
            continue
        orders = [value]
        if value.ndim == 4:
            orders += [value.transpose(order) for order in ((0, 2, 3, 1), (1, 2, 3, 0), (2, 3, 1, 0))]
        if not any(np.ascontiguousarray(order).tobytes() in stored for order in orders):
            missing.append(name)
    assert not missing


def test_the_net_is_left_alone(exported: Exported) -> None:
    for name, tensor in exported.net.state_dict().items():
        assert torch.equal(tensor, exported.weights[name]), name


def test_same_bytes_twice(exported: Exported, tmp_path: Path) -> None:
    again = exported.target.export(
        exported.net, EXAMPLE, tmp_path / f"other-name{exported.target.suffix}", metadata=metadata(WIDTH)
    )
    assert digests(again) == digests(exported.artifact)


def test_nothing_names_this_machine(exported: Exported) -> None:
    for file in exported.artifact.files:
        data = exported.artifact.path_of(file).read_bytes()
        for trace in (str(exported.artifact.root.parent), str(Path(targets.__file__).parent)):
            assert trace.encode() not in data, (file.path, trace)


def test_no_file_is_replaced(exported: Exported) -> None:
    before = digests(exported.artifact)
    with pytest.raises(OutputError, match="exists"):
        exported.target.export(exported.net, EXAMPLE, exported.artifact.root, metadata=metadata(WIDTH))
    assert digests(exported.artifact) == before


def test_other_files_are_refused(exported: Exported, tmp_path: Path) -> None:
    foreign = tmp_path / f"foreign{exported.target.suffix}"
    foreign.write_bytes(b"not a model at all, only text")
    with pytest.raises(UsageError, match=r"is not a"):
        exported.target.load(foreign, threads=1)


@pytest.mark.parametrize("name", ALL)
def test_pixels_go_in_as_they_are(name: str, tmp_path: Path) -> None:
    """The uint8 option: cast, permute, mean and std inside the file, before the stem's padding."""
    target = available(name)
    net = sliced("us_mobilenet_v1", WIDTH.permille)
    artifact = target.export(
        net,
        EXAMPLE,
        tmp_path / f"net{target.suffix}",
        metadata=metadata(WIDTH),
        input_option=InputOption.NHWC_UINT8,
    )
    (spec,) = artifact.inputs
    assert (spec.shape, spec.dtype, spec.layout) == ((1, SIZE, SIZE, 3), "uint8", "NHWC")
    assert artifact.id.endswith(f"-{SIZE}-u8/{WIDTH.permille:04d}")
    runner = target.load(artifact.root, threads=1)
    assert runner.input == spec
    for seed in range(2):
        output = runner.run(pixels(seed))
        least = LEAST_DB[artifact.precision] - (0 if artifact.precision == "fp32" else 5)
        assert sqnr_db(logits_of(net, normalised(pixels(seed))), output) >= least
    with pytest.raises(UsageError, match="takes uint8"):
        runner.run(normalised(pixels()))
    runner.close()


class Unexportable(nn.Module):
    """Depends on the values of its input, which no exporter can take."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        print("a word on standard output")
        if float(x.sum()) > 1:
            return x.mean((2, 3))
        return x.mean((2, 3)) + 1


@pytest.mark.parametrize("name", ALL)
def test_a_failure_names_target_width_and_log(name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    target = available(name)
    out = tmp_path / f"net{target.suffix}"
    with pytest.raises(ExportError, match=rf"{name}.* width 0\.25") as caught:
        target.export(Unexportable(), EXAMPLE, out, metadata=metadata(WIDTH, labels=()))
    log = tmp_path / f"net{target.suffix}.log"
    assert str(log) in (caught.value.hint or "")
    assert "a word on standard output" in log.read_text()
    assert "Traceback" in log.read_text()
    assert [path.name for path in tmp_path.iterdir()] == [log.name]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ALL)
def test_metadata_has_to_fit_the_net(name: str, tmp_path: Path) -> None:
    target = available(name)
    net = sliced("us_mobilenet_v1", WIDTH.permille)
    described = metadata(WIDTH)
    for bad in (replace(described, labels=LABELS[:-1]), replace(described, mean=(0.5,), std=(0.5,))):
        with pytest.raises(ExportError, match=r"labels|channels"):
            target.export(net, EXAMPLE, tmp_path / f"net{target.suffix}", metadata=bad)


@pytest.mark.parametrize("name", ALL)
def test_an_unknown_precision_is_refused(name: str, tmp_path: Path) -> None:
    target = available(name)
    with pytest.raises(UsageError, match="int4"):
        target.export(nn.Identity(), EXAMPLE, tmp_path / "net", metadata=metadata(WIDTH), precision="int4")


@pytest.mark.parametrize("label", ["", " cat", "two\nlines", "two\u2028lines"])
def test_a_label_is_one_line(label: str) -> None:
    with pytest.raises(UsageError, match="label"):
        metadata(WIDTH, labels=(label,))


def test_targets_by_name() -> None:
    assert targets.names() == ("executorch", "coreml", "litert")
    assert targets.get("tflite").name == "litert"
    with pytest.raises(UsageError, match="there are executorch, coreml, litert") as caught:
        targets.get("litret")
    assert "'litert'" in (caught.value.hint or "")


def test_finding_targets_imports_no_exporter() -> None:
    code = (
        "import sys; from edgeslim import targets; [targets.get(n) for n in (*targets.names(), 'reference')];"
        "print(*{m.split('.')[0] for m in sys.modules})"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "executorch", "coremltools", "litert_torch", "ai_edge_litert", "flatbuffers"} & set(loaded)


def test_a_missing_package_names_its_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for name in targets.names():
        with pytest.raises(MissingExtraError, match="not installed"):
            targets.get(name).export(nn.Identity(), EXAMPLE, tmp_path / "x", metadata=metadata(WIDTH))
        with pytest.raises(MissingExtraError, match="not installed") as caught:
            targets.get(name).load(tmp_path / "x", threads=1)
        assert "edgeslim[" in (caught.value.hint or "")


def test_litert_runs_without_torch(tmp_path: Path) -> None:
    target = available("litert")
    out = tmp_path / "net.tflite"
    target.export(sliced("us_mobilenet_v1", WIDTH.permille), EXAMPLE, out, metadata=metadata(WIDTH))
    code = (
        "import sys, pathlib, numpy; sys.modules['torch'] = None\n"
        "from edgeslim import targets\n"
        f"runner = targets.get('litert').load(pathlib.Path({str(out)!r}), threads=1)\n"
        f"print(runner.run(numpy.zeros((1, 3, {SIZE}, {SIZE}), 'float32')).shape, runner.labels[0])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == f"(1, {CLASSES}) ape", done.stderr

"""The TFLITE_METADATA entry: decoded by an independent reader, and by tflite-support where that can be had."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import task_library
import torch
from target_nets import CLASSES, LABELS, MEAN, SIZE, STD, metadata, pixels, sliced
from tflite_reading import Table

from edgeslim import targets
from edgeslim.core.manifest import TensorInfo
from edgeslim.core.width import Width
from edgeslim.errors import ExportError, MissingExtraError
from edgeslim.targets.base import InputOption
from edgeslim.targets.tflite_metadata import _Writer, add_metadata, build_metadata, minimum_runtime

WIDTH = Width(250)
IMAGE = TensorInfo(name="image", shape=(1, 3, 20, 30), dtype="float32", layout="NCHW")
PIXELS = TensorInfo(name="image", shape=(1, 20, 30, 3), dtype="uint8", layout="NHWC")
TAKEN = TensorInfo(name="image", shape=(1, 3, SIZE, SIZE), dtype="float32", layout="NCHW")
LOGITS = TensorInfo(name="logits", shape=(1, CLASSES), dtype="float32", layout="NC")


@pytest.fixture(scope="module")
def stock_and_ours(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, Path]:
    """The converter's own bytes, and the file with metadata."""
    target = targets.get("litert")
    try:
        target.info.ensure_available(exporting=True)
    except MissingExtraError as error:
        pytest.skip(str(error))
    kept: list[bytes] = []
    patch = pytest.MonkeyPatch()
    out = tmp_path_factory.mktemp("tflite") / "net.tflite"

    def keeping(model: bytes, *rest: object) -> bytes:
        kept.append(model)
        return add_metadata(model, *rest)  # type: ignore[arg-type]

    with patch.context() as context:
        context.setattr("edgeslim.targets.tflite_metadata.add_metadata", keeping)
        target.export(
            sliced("us_mobilenet_v1", WIDTH.permille),
            {"image": torch.zeros(1, 3, SIZE, SIZE)},
            out,
            metadata=metadata(WIDTH),
        )
    return kept[0], out


def entries(model: Table) -> dict[str, bytes]:
    """Model.metadata: name → content of its buffer."""
    buffers = model.tables(4)
    return {entry.text(0): buffers[entry.number(1, "I")].blob(0)[1] for entry in model.tables(6)}


def test_the_entry_says_what_the_net_takes_and_gives() -> None:
    data = build_metadata(metadata(WIDTH), [IMAGE], [LOGITS])
    assert data[4:8] == b"M001"
    model = Table.root(data)
    assert model.text(0) == "test_net 0.25x"
    assert [model.text(field) for field in (1, 2, 4, 5)] == ["A net for tests, ünïcode", "7", "Ann Author", "CC0-1.0"]
    assert model.text(7) == "1.0.0"
    (graph,) = model.tables(3)
    (image,), (logits,) = graph.tables(2), graph.tables(3)

    assert image.text(0) == "image"
    assert image.texts(2) == ["batch", "channel", "height", "width"]
    content = image.table(3)
    assert content.number(0, "B") == 2  # ImageProperties
    assert content.table(1).number(0, "b") == 1  # RGB
    size = content.table(1).table(1)
    assert (size.number(0, "I"), size.number(1, "I")) == (30, 20)
    (unit,) = image.tables(4)
    assert unit.number(0, "B") == 1  # NormalizationOptions, of pixels in [0, 255]
    assert unit.table(1).floats(0) == pytest.approx([255 * m for m in MEAN])
    assert unit.table(1).floats(1) == pytest.approx([255 * s for s in STD])
    stats = image.table(5)
    assert stats.floats(0) == pytest.approx([(1 - m) / s for m, s in zip(MEAN, STD, strict=True)])
    assert stats.floats(1) == pytest.approx([-m / s for m, s in zip(MEAN, STD, strict=True)])

    assert logits.text(0) == "logits"
    assert logits.texts(2) == ["batch", "class"]
    assert logits.table(3).number(0, "B") == 1  # FeatureProperties
    assert logits.text(1) == "one score per class, before softmax: any number, the largest is the answer"
    (unit,) = logits.tables(4)
    assert unit.number(0, "B") == 3  # ScoreThresholdingOptions
    assert unit.table(1).number(0, "f") == np.finfo(np.float32).min
    (labels,) = logits.tables(6)
    assert (labels.text(0), labels.number(2, "b")) == ("edgeslim_labels.txt", 2)  # TENSOR_AXIS_LABELS


def test_pixels_have_no_normalisation_left_to_do() -> None:
    model = Table.root(build_metadata(metadata(WIDTH, labels=()), [PIXELS], [LOGITS]))
    (graph,) = model.tables(3)
    (image,), (logits,) = graph.tables(2), graph.tables(3)
    assert not image.has(4)
    assert image.text(1) == "RGB pixels, 0 to 255"
    assert image.texts(2) == ["batch", "height", "width", "channel"]
    assert (image.table(5).floats(0), image.table(5).floats(1)) == ([255.0] * 3, [0.0] * 3)
    assert not logits.has(6)


def test_the_model_is_as_the_converter_made_it_but_for_one_entry(stock_and_ours: tuple[bytes, Path]) -> None:
    stock, path = stock_and_ours
    ours = path.read_bytes()
    before, after = Table.root(stock), Table.root(ours)
    assert ours[4:8] == b"TFL3"
    assert stock[8:] in ours  # every byte of the converter, in one piece
    assert (ours.index(stock[8:]) - 8) % 64 == 0  # and still aligned
    assert after.number(0, "I") == before.number(0, "I") == 3
    assert after.text(3) == before.text(3)
    old_entries, new_entries = entries(before), entries(after)
    assert set(new_entries) - set(old_entries) == {"TFLITE_METADATA"}
    assert minimum_runtime(stock) == old_entries["min_runtime_version"].rstrip(b"\0").decode()
    assert minimum_runtime(ours) == minimum_runtime(stock) != ""
    assert all(new_entries[name] == content for name, content in old_entries.items())
    assert new_entries["TFLITE_METADATA"] == build_metadata(metadata(WIDTH), [TAKEN], [LOGITS])
    old_buffers, new_buffers = before.tables(4), after.tables(4)
    assert len(new_buffers) == len(old_buffers) + 1
    for old, new in zip(old_buffers, new_buffers, strict=False):
        assert old.has(0) == new.has(0)
        if new.has(0):
            (old_position, old_content), (position, content) = old.blob(0), new.blob(0)
            assert content == old_content
            assert (position - old_position) % 64 == 0  # as aligned as the converter left it (4 bytes, measured)
    position, _ = new_buffers[-1].blob(0)
    assert position % 16 == 0  # the schema's wish, where it is ours to keep


def test_names_of_the_signature(stock_and_ours: tuple[bytes, Path]) -> None:
    interpreter = pytest.importorskip("ai_edge_litert.interpreter").Interpreter(model_path=str(stock_and_ours[1]))
    ((_, signature),) = interpreter.get_signature_list().items()
    assert signature == {"inputs": ["image"], "outputs": ["logits"]}


def test_associated_files_are_a_plain_zip(stock_and_ours: tuple[bytes, Path]) -> None:
    with zipfile.ZipFile(stock_and_ours[1]) as archive:
        assert archive.namelist() == ["edgeslim_labels.txt", "edgeslim_meta.json"]
        assert archive.testzip() is None
        assert archive.read("edgeslim_labels.txt").decode() == "".join(f"{label}\n" for label in LABELS)
        assert json.loads(archive.read("edgeslim_meta.json")) == json.loads(metadata(WIDTH).to_text([TAKEN], [LOGITS]))
        for info in archive.infolist():
            assert info.compress_type == zipfile.ZIP_STORED
            assert info.date_time == (1980, 1, 1, 0, 0, 0)


def test_something_else_is_refused() -> None:
    with pytest.raises(ExportError, match="TFL3"):
        add_metadata(b"\x10\0\0\0ABCD" + bytes(40), metadata(WIDTH), [IMAGE], [LOGITS])


def test_tflite_supports_displayer_reads_it(stock_and_ours: tuple[bytes, Path]) -> None:
    shown, files, labels = task_library.run(task_library.DESCRIBE, stock_and_ours[1])
    assert shown["name"] == "test_net 0.25x"
    (graph,) = shown["subgraph_metadata"]
    (image,), (logits,) = graph["input_tensor_metadata"], graph["output_tensor_metadata"]
    assert image["content"]["content_properties"]["default_size"] == {"width": SIZE, "height": SIZE}
    assert image["process_units"][0]["options"]["mean"] == pytest.approx([255 * m for m in MEAN], abs=1e-3)
    assert logits["associated_files"][0]["type"] == "TENSOR_AXIS_LABELS"
    assert files == ["edgeslim_labels.txt", "edgeslim_meta.json"]
    assert labels.splitlines() == list(LABELS)
    assert image["description"].startswith("RGB pixels as NCHW")
    assert logits["description"].startswith("one score per class, before softmax")
    (unit,) = logits["process_units"]
    assert unit["options_type"] == "ScoreThresholdingOptions"
    assert unit["options"]["global_score_threshold"] == float(np.finfo(np.float32).min)


class Negative(torch.nn.Module):
    """A net whose logits are all below zero."""

    def __init__(self) -> None:
        super().__init__()
        self.net = sliced("us_mobilenet_v1", WIDTH.permille)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.net(image) - 100
        return logits


@pytest.mark.parametrize("threshold", [True, False])
def test_the_task_library_keeps_negative_logits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threshold: bool
) -> None:
    """All of them by the file's own threshold; without it the library gives nothing back, not even an error."""
    target = targets.get("litert")
    try:
        target.info.ensure_available(exporting=True)
    except MissingExtraError as error:
        pytest.skip(str(error))
    if not threshold:
        monkeypatch.setattr(_Writer, "score_threshold", lambda writer, least: writer.table(2, {}))  # names nothing
    out = tmp_path / "net.tflite"
    target.export(
        Negative(),
        {"image": torch.zeros(1, 3, SIZE, SIZE)},
        out,
        metadata=metadata(WIDTH),
        input_option=InputOption.NHWC_UINT8,
    )
    images = np.concatenate([pixels(seed) for seed in range(3)])
    np.save(tmp_path / "images.npy", images)
    runner = target.load(out)
    expected = [runner.run({"image": image[None]})["logits"][0] for image in images]
    runner.close()
    assert max(map(np.max, expected)) < 0
    found = task_library.run(task_library.CLASSIFY, out, tmp_path / "images.npy")
    for logits, classes in zip(expected, found, strict=True):
        best_first: list[int] = np.argsort(-logits).tolist() if threshold else []
        assert [index for index, _, _ in classes] == best_first
        assert [label for _, label, _ in classes] == [LABELS[index] for index in best_first]
        assert [score for _, _, score in classes] == pytest.approx([logits[index] for index in best_first], abs=1e-4)

"""EfficientNet-Lite0 on real photographs: what fp16 leaves of its answers, and what the Task Library makes of it."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest
from photographs import lite0_file, photographs

from edgeslim import targets
from edgeslim.core.bundle import SlimBundle
from edgeslim.deploy.pack import pack
from edgeslim.deploy.pack_plan import PackOptions
from edgeslim.deploy.verify import image_of, pixels_of, verify
from edgeslim.errors import MissingExtraError
from edgeslim.targets.base import InputOption

sys.path.insert(0, str(Path(__file__).parents[1] / "targets"))
import task_library

pytestmark = pytest.mark.slow


def packed(target: str, out: Path, **options: object) -> Path:
    try:
        targets.get(target).info.ensure_available(exporting=True)
    except MissingExtraError as error:
        pytest.skip(str(error))
    pack(lite0_file(), PackOptions(targets=[target], out=out, jobs=1, **options))  # type: ignore[arg-type]
    return out


def test_no_clear_answer_changes_in_fp16_and_auto_comes_closer_for_one_part_in_a_hundred(tmp_path: Path) -> None:
    data = photographs()
    path = packed("coreml", tmp_path / "net.slim", precisions=["fp16", "auto"])
    with SlimBundle.open(path) as opened:
        rows = {row.precision: row for row in verify(opened, data=data)}
        sizes = {
            variant.precision: sum(file.bytes for artifact in variant.artifacts for file in artifact.files)
            for variant in opened.manifest.variants
        }
    for row in rows.values():
        assert (row.images, row.changed_share, row.ok) == (256, 0.0, True)
    fp16_db, auto_db = rows["fp16"].sqnr_db, rows["auto"].sqnr_db
    assert fp16_db is not None
    assert auto_db is not None
    assert auto_db > fp16_db + 5
    assert sizes["fp16"] < sizes["auto"] < 1.01 * sizes["fp16"]


def test_the_task_library_gives_every_class_of_photographs(tmp_path: Path) -> None:
    data = photographs()
    labels = [f"class {index}" for index in range(1000)]
    path = packed("litert", tmp_path / "net.slim", input_option=InputOption.NHWC_UINT8, labels=labels)
    model = tmp_path / "model.tflite"
    with SlimBundle.open(path) as opened:
        opened.rebuild_artifact("litert-fp32-224-u8/1000", model)
        images = pixels_of(data.prepared_as(dataclasses.replace(image_of(opened, "224"))), 19)
    np.save(tmp_path / "images.npy", np.stack(images))
    runner = targets.get("litert").load(model)
    expected = [runner.run({"image": image[None]})["logits"][0] for image in images]
    runner.close()
    assert min(map(np.min, expected)) < 0
    found = task_library.run(task_library.CLASSIFY, model, tmp_path / "images.npy")
    for logits, classes in zip(expected, found, strict=True):
        index, label, score = classes[0]
        assert (index, label) == (int(logits.argmax()), f"class {logits.argmax()}")
        assert score == pytest.approx(float(logits.max()), abs=1e-4)
        assert len(classes) == 1000

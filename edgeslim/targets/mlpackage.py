"""A ``.mlpackage`` on disk: its paths, its table of contents, what its input looks like."""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from pathlib import Path
from typing import Any

from edgeslim.files import replace_directory, temporary_directory_beside
from edgeslim.targets.base import TensorSpec

_AUTHOR = "com.apple.CoreML"
MODEL_PATH = f"{_AUTHOR}/model.mlmodel"
WEIGHTS_PATH = f"{_AUTHOR}/weights"


def write_package(out: Path, spec: Any, weights: Path) -> None:
    model = spec.SerializeToString(deterministic=True)
    digest = hashlib.sha256(model)
    with temporary_directory_beside(out) as folder:
        weight_files = sorted(path for path in weights.rglob("*") if path.is_file()) if weights.is_dir() else []
        for path in weight_files:
            data = path.read_bytes()
            digest.update(data)
            _write_file(folder / "Data" / WEIGHTS_PATH / path.relative_to(weights), data)
        _write_file(folder / "Data" / MODEL_PATH, model)
        _write_file(folder / "Manifest.json", _manifest(digest.hexdigest(), bool(weight_files)).encode())
        replace_directory(folder, out, overwrite=False)


def _manifest(content: str, has_weights: bool) -> str:
    """The package's table of contents; its UUIDs come from the SHA-256 of model and weights."""
    space = uuid.uuid5(uuid.NAMESPACE_OID, content)
    model = str(uuid.uuid5(space, MODEL_PATH))
    entries = {model: _item("CoreML Model Specification", "model.mlmodel", MODEL_PATH)}
    if has_weights:
        entries[str(uuid.uuid5(space, WEIGHTS_PATH))] = _item("CoreML Model Weights", "weights", WEIGHTS_PATH)
    document = {"fileFormatVersion": "1.0.0", "itemInfoEntries": entries, "rootModelIdentifier": model}
    return json.dumps(document, indent=4, sort_keys=True) + "\n"


def _item(description: str, name: str, path: str) -> dict[str, str]:
    return {"author": _AUTHOR, "description": description, "name": name, "path": path}


def _write_file(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fchmod(file.fileno(), 0o644)
        os.fsync(file.fileno())


def describe_input(spec: Any) -> TensorSpec:
    """The input of a package's spec, as ``Runner.run`` takes it."""
    feature = spec.description.input[0]
    if feature.type.WhichOneof("Type") == "imageType":
        image = feature.type.imageType
        channels = 1 if image.colorSpace == image.ColorSpace.Value("GRAYSCALE") else 3
        return TensorSpec(
            name=feature.name, shape=(1, image.height, image.width, channels), dtype="uint8", layout="NHWC"
        )
    shape = tuple(feature.type.multiArrayType.shape)
    return TensorSpec(name=feature.name, shape=shape, dtype="float32", layout="NCHW")

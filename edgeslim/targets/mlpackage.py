"""A ``.mlpackage`` on disk: its paths, its table of contents, what goes in and comes out."""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from pathlib import Path
from typing import Any

from edgeslim.core.manifest import TensorInfo
from edgeslim.files import replace_directory, temporary_directory_beside
from edgeslim.targets.base import METADATA_NAME, layout_of

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


def describe_inputs(spec: Any) -> tuple[TensorInfo, ...]:
    """The inputs of a package's spec, as ``Runner.run`` takes them."""
    return tuple(_described(feature, _said(spec, "inputs")) for feature in spec.description.input)


def describe_outputs(spec: Any) -> tuple[TensorInfo, ...]:
    """The outputs, in the order of ``edgeslim_meta``, which has their shapes too where the spec leaves them out."""
    said = _said(spec, "outputs")
    found = {feature.name: _described(feature, said) for feature in spec.description.output}
    return tuple(found[name] for name in sorted(found, key=lambda name: [*said, name].index(name)))


def _said(spec: Any, way: str) -> dict[str, dict[str, Any]]:
    """What ``edgeslim_meta`` says, by name."""
    document = json.loads(spec.description.metadata.userDefined.get(METADATA_NAME, "{}"))
    return {entry["name"]: entry for entry in document.get(way, ())}


def _described(feature: Any, said: dict[str, dict[str, Any]]) -> TensorInfo:
    if feature.type.WhichOneof("Type") == "imageType":
        image = feature.type.imageType
        channels = 1 if image.colorSpace == image.ColorSpace.Value("GRAYSCALE") else 3
        return TensorInfo(
            name=feature.name, shape=(1, image.height, image.width, channels), dtype="uint8", layout="NHWC"
        )
    told = said.get(feature.name, {})
    shape = tuple(feature.type.multiArrayType.shape) or tuple(told.get("shape", ()))
    return TensorInfo(name=feature.name, shape=shape, dtype="float32", layout=told.get("layout", layout_of(shape)))

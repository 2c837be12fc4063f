"""A real bundle whose artifacts are those of the honest fake: ``.fake`` files with a known latency."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edgeslim.core.constants import Fold
from edgeslim.core.manifest import (
    FileEntry,
    InputInfo,
    InputTensor,
    ModelInfo,
    Part,
    PlainInput,
    Quality,
    TensorInfo,
    Variant,
)
from edgeslim.core.width import Width
from edgeslim.press.build import BundleBuilder, BundleInfo, MasterSet, MasterSource, PackedArtifact

INFO = BundleInfo(
    model=ModelInfo(
        id="fake", version="1", author="", licence="", source="", attribution="", description="", spec={"name": "f"}
    ),
    task="classify",
    task_spec={},
    inputs=(
        InputInfo(
            id="1",
            tensors=(
                InputTensor(name="image", image=None, tensor=PlainInput(shape=(1, 1), dtype="float32", meaning="")),
            ),
        ),
    ),
    low=Width(250),
    high=Width(1000),
)


def variant(target: str = "fake", precision: str = "fp32") -> Variant:
    return Variant(
        id=f"{target}-{precision}-1",
        target=target,
        precision=precision,
        backend="cpu",
        input="1",
        form="nc-float32",
        suffix=".fake",
        directory=False,
        normalisation="none",
        inputs=(TensorInfo(name="image", shape=(1, 1), dtype="float32", layout="NC"),),
        outputs=(TensorInfo(name="logits", shape=(1, 1), dtype="float32", layout="NC"),),
        exporters={},
        artifacts=(),
    )


def write_bundle(
    path: Path,
    plans: Mapping[int, Mapping[str, float]],
    *,
    target: str = "fake",
    top1: Mapping[int, float] | None = None,
    aliases: Mapping[int, int] | None = None,
    master_size: int = 4,
    fp16: Mapping[int, Mapping[str, float]] | None = None,
) -> Path:
    """A bundle at ``path``: per permille one ``.fake`` file with that plan; ``fp16``: those of a second variant."""
    rows, columns = (Part(name=name, size=master_size, optional=False) for name in ("rows", "columns"))
    weight = np.ones((master_size, master_size), np.float32)
    masters = MasterSet([MasterSource(name="head.weight", axes=((rows,), (columns,)), array=weight)])
    builder = BundleBuilder(INFO, masters)
    for channels, (permille, plan) in enumerate(sorted(plans.items()), 1):
        names = [permille, *(a for a, p in (aliases or {}).items() if p == permille)]
        net = builder.add_net(
            masters.cut({"rows": channels, "columns": channels}),
            [Fold()],
            widths=[Width(name) for name in names],
            params=16,
        )
        quality = None if top1 is None else _quality(top1[permille])
        macs = 1_000_000 * permille
        builder.add_artifact(variant(target), net, packed(plan), macs=macs, quality=quality)
        if permille in (fp16 or {}):
            second = packed((fp16 or {})[permille])
            builder.add_artifact(variant(target, "fp16"), net, second, macs=macs, quality=quality)
    builder.write(path, overwrite=True)
    return path


def packed(plan: Mapping[str, float]) -> PackedArtifact:
    content = json.dumps(dict(plan)).encode()
    entry = FileEntry(path="model.fake", bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
    return PackedArtifact(files=(entry,), segments=(), template=content, explained_bytes=0, literal_bytes=0)


def _quality(value: float) -> Quality:
    return Quality(metric="top1", value=f"{value:g}", larger_is_better=True, count=10, data_sha256=None, agreement=None)


def cell_of(path: Path, plan: Mapping[str, Any] | None = None, permille: int = 500, **fields: Any) -> dict[str, Any]:
    """The fields of a cell for a ``.fake`` file on the disk; writes it if there is a plan."""
    if plan is not None:
        path.write_text(json.dumps(dict(plan)))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return {**cell_fields(permille), "file_sha256": digest, "path": str(path), **fields}


def cell_fields(permille: int = 500, target: str = "fake", **changes: Any) -> dict[str, Any]:
    """What a cell of one width needs."""
    known = {
        "artifact": f"{target}-fp32-1/{permille:04d}", "label": f"{Width(permille)}x", "width_permille": permille,
        "target": target, "threads": 1, "precision": "fp32", "input_shape": (1, 1), "file_sha256": "0" * 64,
    }  # fmt: skip
    return known | changes

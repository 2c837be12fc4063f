"""A real bundle whose artifacts are those of the honest fake: ``.fake`` files with a known latency."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edgeslim.core.manifest import FileEntry, InputContract, ModelInfo, Quality, TensorInfo
from edgeslim.core.rebuild import LayerFold
from edgeslim.core.slicing import Cut
from edgeslim.core.width import Width
from edgeslim.press.build import BundleBuilder, MasterSource, NetInfo, PackedArtifact, VariantInfo

NET = NetInfo(
    model=ModelInfo(id="fake", version="1", task="classify", author="", licence="", description="", spec={"name": "f"}),
    input=InputContract(channels=1, height=1, width=1, channel_order="rgb", mean=("0.5",), std=("0.5",)),
    labels=None,
    low=Width(250),
    high=Width(1000),
)


def variant(target: str = "fake", precision: str = "fp32") -> VariantInfo:
    return VariantInfo(
        target=target,
        name=f"{precision}-1",
        precision=precision,
        backend="cpu",
        input_option="nchw-float32",
        suffix=".fake",
        directory=False,
        normalisation="none",
        inputs=(TensorInfo(name="image", shape=(1, 1), dtype="float32", layout="NC"),),
        outputs=(TensorInfo(name="logits", shape=(1, 1), dtype="float32", layout="NC"),),
        requires={},
        exporters={},
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
    weight = np.ones((master_size, master_size), np.float32)
    builder = BundleBuilder(NET, [MasterSource(name="head", weight=weight, scale=False, shift=False)])
    for channels, (permille, plan) in enumerate(sorted(plans.items()), 1):
        width = Width(permille)
        builder.add_width(
            width,
            [Cut(out_channels=channels, in_channels=channels)],
            [LayerFold()],
            macs=1_000_000 * permille,
            params=16,
            aliases=[Width(a) for a, p in (aliases or {}).items() if p == permille],
            quality=None if top1 is None else _quality(top1[permille]),
        )
        builder.add_artifact(variant(target), width, packed(plan))
        if permille in (fp16 or {}):
            builder.add_artifact(variant(target, "fp16"), width, packed((fp16 or {})[permille]))
    builder.write(path, overwrite=True)
    return path


def packed(plan: Mapping[str, float]) -> PackedArtifact:
    content = json.dumps(dict(plan)).encode()
    entry = FileEntry(path="model.fake", bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
    return PackedArtifact(files=(entry,), segments=(), template=content, explained_bytes=0, literal_bytes=0)


def _quality(value: float) -> Quality:
    return Quality(metric="top1", value=f"{value:g}", images=10, data_sha256=None, agreement=None)


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

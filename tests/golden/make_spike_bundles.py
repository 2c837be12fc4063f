"""Packs real exporters' files into bundles/good/spike-*.slim, and lists them in index.json.

    python tests/golden/spikes/make_spikes.py SPIKES          (torch and all exporters; minutes)
    python tests/golden/make_spike_bundles.py SPIKES          (numpy)

The exporters' files themselves are not in the repository: the bundles rebuild them. Nothing here changes unless the
format, a spike or an exporter does.
"""

from __future__ import annotations

import hashlib
import io
import json
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE / "spikes")]

import described  # noqa: E402

from edgeslim.core.constants import Fold, NetConstants, Quant  # noqa: E402
from edgeslim.core.manifest import InputInfo, InputTensor, ModelInfo, Part, TensorInfo, Variant  # noqa: E402
from edgeslim.core.pixels import ImageContract  # noqa: E402
from edgeslim.core.width import Width  # noqa: E402
from edgeslim.press.build import BundleBuilder, BundleInfo, MasterSet, MasterSource, bundle_parts  # noqa: E402
from edgeslim.press.find import find_constants  # noqa: E402

OUT = HERE / "bundles"
SPIKES = ("int8-mobilenet", "unet", "vit-block", "two-inputs", "odd-layers", "int8-unet", "int8-vit")
TASKS = {"unet": "segment", "int8-unet": "segment"}
BACKENDS = {"executorch": "xnnpack", "litert": "tflite", "coreml": "mlprogram"}
SUFFIXES = {"executorch": ".pte", "litert": ".tflite", "coreml": ".mlpackage"}


def sources(spike: described.Spike) -> list[MasterSource]:
    """The spike's masters; ints are shared wherever a net has input scales."""
    parts = [Part(name=part.name, size=part.size, optional=part.optional) for part in spike.parts]
    first = spike.nets[0]

    def has(master: described.Master, name: str) -> bool:
        return getattr(first.folds.get(master.name, described.Fold()), name) is not None

    return [
        MasterSource(
            name=master.name,
            axes=tuple(tuple(parts[index] for index in axis) for axis in master.axes),
            array=master.values,
            role=master.role,  # type: ignore[arg-type]
            rows=master.rows,
            groups=master.groups,
            in_scale=has(master, "in_scale"),
            scale=has(master, "scale"),
            shift=has(master, "shift"),
            bias=master.bias,
            integers="shared" if has(master, "input_scale") else "none",
        )
        for master in spike.masters
    ]


def net_of(spike: described.Spike, net: described.Net) -> tuple[list[Fold], list[Quant | None] | None]:
    """Folds and, where there are input scales, quants; they go with the masters."""
    found = [net.folds.get(master.name, described.Fold()) for master in spike.masters]
    folds = [Fold(in_scale=f.in_scale, scale=f.scale, shift=f.shift, own=f.own) for f in found]
    quants = [None if f.input_scale is None else Quant(input_scale=f.input_scale) for f in found]
    return folds, quants if any(quants) else None


def input_id(shape: tuple[int, ...]) -> str:
    height, width = shape[2:]
    return str(height) if height == width else f"{height}x{width}"


def inputs(spike: described.Spike) -> tuple[InputInfo, ...]:
    """One image per shape; the spikes' nets were never trained, so that mean and std are those of no data set."""
    shapes = {artifact.input_shape for artifact in spike.artifacts}
    return tuple(
        InputInfo(
            id=input_id(shape),
            tensors=(
                InputTensor(
                    name="image",
                    image=ImageContract(
                        channels=shape[1],
                        height=shape[2],
                        width=shape[3],
                        order="rgb" if shape[1] == 3 else "gray",
                        mean=("0",) * shape[1],
                        std=("1",) * shape[1],
                    ),
                    tensor=None,
                ),
            ),
        )
        for shape in sorted(shapes)
    )


def output_shape(spike: described.Spike, artifact: described.Artifact) -> tuple[int, ...]:
    """Classes of the last linear layer, or a mask as large as the image."""
    sizes = {part.name: part.size for part in spike.parts}
    return (1, sizes["class"]) if "class" in sizes else (1, sizes["mask"], *artifact.input_shape[2:])


def variant(spike: described.Spike, artifact: described.Artifact) -> Variant:
    target, shape = artifact.target, output_shape(spike, artifact)
    layout = "NC" if len(shape) == 2 else "NCHW"
    return Variant(
        id=artifact.id.partition("/")[0],
        target=target,
        precision=artifact.precision,
        backend=BACKENDS[target],
        input=input_id(artifact.input_shape),
        form="nchw-float32",
        suffix=SUFFIXES[target],
        directory=target == "coreml",
        normalisation="none",
        inputs=(TensorInfo(name="image", shape=artifact.input_shape, dtype="float32", layout="NCHW"),),
        outputs=(TensorInfo(name="result", shape=shape, dtype="float32", layout=layout, meaning="logits"),),
        exporters={},
        artifacts=(),
    )


def constants_of(spike: described.Spike) -> tuple[MasterSet, dict[str, NetConstants]]:
    """Everything that each net's constants are made from."""
    masters = MasterSet(sources(spike))
    made = {}
    for net in spike.nets:
        counts = {part.name: count for part, count in zip(spike.parts, net.cut, strict=True)}
        made[net.id] = masters.constants(masters.cut(counts), *net_of(spike, net))
    return masters, made


def packed(spike: described.Spike) -> tuple[BundleBuilder, dict[str, dict[str, bytes]]]:
    """A builder with all of the spike's artifacts, and their files by artifact id."""
    info = BundleInfo(
        model=ModelInfo(
            id=spike.name, version="1", author="", licence="", source="", attribution="",
            description="A small random net through the real exporters.", spec={},
        ),
        task=TASKS.get(spike.name, "classify"),  # type: ignore[arg-type]
        task_spec={},
        inputs=inputs(spike),
        low=Width(500),
        high=Width(1000),
    )  # fmt: skip
    masters, _ = constants_of(spike)
    made = BundleBuilder(info, masters)
    for net in spike.nets:
        counts = {part.name: count for part, count in zip(spike.parts, net.cut, strict=True)}
        folds, quants = net_of(spike, net)
        names: dict[str, Any] = {"widths": (Width(int(net.id)),)} if net.id.isdigit() else {"label": net.id}
        made.add_net(masters.cut(counts), folds, quants=quants, params=0, **names)
    contents = {}
    for artifact in spike.artifacts:
        files = sorted(artifact.files.items())
        made.add_artifact(
            variant(spike, artifact), artifact.net, find_constants(files, made.constants(artifact.net)), macs=0
        )
        contents[artifact.id] = dict(files)
    return made, contents


def main() -> None:
    folder = Path(sys.argv[1])
    index = json.loads((OUT / "index.json").read_text())
    rows = [row for row in index["good"] if not row["path"].startswith("good/spike-")]
    for name in SPIKES:
        made, contents = packed(described.load(folder / name))
        stream = io.BytesIO()
        for part in bundle_parts(made.content()):
            stream.write(part)
        path = f"good/spike-{name}.slim"
        (OUT / path).write_bytes(stream.getvalue())
        artifacts = [
            {"artifact": identifier, "files": {p: hashlib.sha256(c).hexdigest() for p, c in sorted(files.items())}}
            for identifier, files in sorted(contents.items())
        ]
        rows.append({"path": path, "sha256": hashlib.sha256(stream.getvalue()).hexdigest(), "artifacts": artifacts})
        whole = sum(len(content) for files in contents.values() for content in files.values())
        print(f"{name}: {len(artifacts)} artifacts of {whole} bytes in {len(stream.getvalue())}")
        for one in made.content().manifest.variants:
            for a in one.artifacts:
                print(f"    {one.id}/{a.net}: {a.explained_bytes} explained, {a.literal_bytes} literal")
    index["good"] = rows
    (OUT / "index.json").write_text(json.dumps(index, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()

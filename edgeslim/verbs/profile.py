"""``edgeslim.profile``: multiply-adds and parameters of every width of a network or checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgeslim.core.width import Width, parse_widths
from edgeslim.errors import UsageError
from edgeslim.verbs.checkpoints import load_named
from edgeslim.verbs.words import LOGGED, Words

if TYPE_CHECKING:
    from edgeslim.models.count import ProfileReport
    from edgeslim.models.slimmable import SlimmableModel


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileOptions:
    """``widths``: text as on the command line (None: the published ladder, or the checkpoint's); ``input_size``: pixels
    (None: the net's own); ``classes``: of a network that is named (None: 1000); ``trained_widths``: of a published
    state dict, as text; ``layers``: count every layer too."""

    widths: str | None = None
    input_size: int | None = None
    classes: int | None = None
    trained_widths: str | None = None
    layers: bool = False


def profile(source: str | Path, options: ProfileOptions = ProfileOptions(), *, words: Words = LOGGED) -> ProfileReport:
    """Count ``source``, a network's name or a checkpoint.

    Multiply-adds are those of convolutions, linear layers and average pooling (one per input element) for one image.

    Raises:
        ModelError, CheckpointError: no such network, no such file.
        WidthError: widths that the net has not.
    """
    from edgeslim import models
    from edgeslim.models.builder import halvings_left_out
    from edgeslim.models.count import profile as count_all

    net, chosen = (
        _network(str(source), options) if source in models.names() else _checkpoint(str(source), options, words)
    )
    report = count_all(net, chosen, options.input_size or net.spec.input_size, layers=options.layers)
    left_out = halvings_left_out(net.spec.input_size)
    if left_out and net.spec.package == "edgeslim":
        words.say(f"built for images of {net.spec.input_size} px: its first {left_out} halvings are left out")
    if report.unsupported:
        met = ", ".join(f"{operation} ({times}x)" for operation, times in report.unsupported.items())
        words.warn(f"not counted: {met}")
    return report


def _network(name: str, options: ProfileOptions) -> tuple[SlimmableModel, tuple[Width, ...]]:
    """A network by name without weights; the universally slimmable ones may be counted at any width."""
    from dataclasses import replace

    from edgeslim.models.registry import default_ladder, make_spec, skeleton

    if options.trained_widths is not None:
        raise UsageError("--trained-widths is for published state dicts", hint="leave it out")

    spec = make_spec(name, input_size=options.input_size or 224, num_classes=options.classes or 1000)
    low_high = (spec.low, spec.high)
    chosen = parse_widths(options.widths, trained=low_high) if options.widths else default_ladder(spec)
    if not spec.widths:
        spec = replace(spec, low=min(spec.low, *chosen), high=max(spec.high, *chosen))
    return skeleton(spec), chosen


def _checkpoint(path: str, options: ProfileOptions, words: Words) -> tuple[SlimmableModel, tuple[Width, ...]]:
    from edgeslim.models.registry import default_ladder, network, skeleton

    if not Path(path).exists() and Path(path).name == path and not Path(path).suffix:
        network(path)  # raises: unknown name, with the nearest
    if options.classes is not None:
        raise UsageError("--classes is for a network's name: a checkpoint has its own classes", hint="leave it out")
    checkpoint = load_named(path, words, trained_widths=options.trained_widths)
    chosen = parse_widths(options.widths, trained=checkpoint.trained) if options.widths else checkpoint.ladder
    return skeleton(checkpoint.spec), chosen or default_ladder(checkpoint.spec)

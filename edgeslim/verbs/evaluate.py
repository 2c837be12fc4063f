"""``edgeslim.evaluate``: loss and accuracy of every net of a checkpoint, or of a bundle's artifacts."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgeslim.core.bundle import SlimBundle
from edgeslim.core.manifest import artifact_id
from edgeslim.core.width import Width, parse_widths
from edgeslim.deploy.reports import EvaluateReport
from edgeslim.errors import CheckpointError, UsageError
from edgeslim.files import check_free, open_file
from edgeslim.verbs.addressing import chosen_nets, target_name
from edgeslim.verbs.checkpoints import load_named
from edgeslim.verbs.data import DataOptions
from edgeslim.verbs.words import LOGGED, Words

if TYPE_CHECKING:
    from edgeslim.core.manifest import Net
    from edgeslim.data.images import ImageSet
    from edgeslim.deploy.evaluate import Score

Hook = Callable[[int, int], None]
"""Called with the nets that are done, and how many there are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateOptions:
    """``images``: to measure on; ``widths``: as text (None: those with statistics; all of a bundle).

    Of a bundle: ``target`` (None: its only one), ``artifacts`` by id, ``threads`` of the runtime. Of a checkpoint:
    ``model`` and ``trained_widths`` of a published state dict, ``batch_size``, ``device``, ``write`` (keep the
    accuracies in it; ``pack`` takes them from there). ``plot``: a PNG.
    """

    images: DataOptions
    widths: str | None = None
    artifacts: tuple[str, ...] = ()
    model: str | None = None
    trained_widths: str | None = None
    target: str | None = None
    threads: int = 1
    batch_size: int = 128
    device: str = "auto"
    plot: Path | None = None
    write: bool = False
    overwrite: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Measured:
    """Scores from narrow to wide, and what they are of."""

    title: str
    images: ImageSet
    scores: tuple[Score, ...]

    def report(self) -> EvaluateReport:
        from edgeslim.deploy.evaluate import score_rows

        return EvaluateReport(data=self.images.name, images=len(self.images), rows=score_rows(self.scores))


def evaluate(source: str | Path, options: EvaluateOptions, *, words: Words = LOGGED) -> EvaluateReport:
    """Measure every net of ``source``, a checkpoint or a bundle, on the images that the options name.

    Raises:
        CheckpointError, FormatError: unreadable.
        DataError: the images' size or classes are not the net's.
        UsageError: options of the other kind of file.
        MissingExtraError: a runtime is not installed.
    """
    return measured(Path(source), options, words=words).report()


def measured(source: Path, options: EvaluateOptions, *, words: Words, on_net: Hook = lambda done, of: None) -> Measured:
    """``evaluate``, with all that was measured."""
    if options.plot is not None:
        check_free(options.plot, overwrite=options.overwrite)
    if _is_bundle(source):
        if options.write:
            raise UsageError("--write keeps accuracies in a checkpoint, not in a bundle", hint="evaluate CKPT --write")
        if options.device != "auto":
            raise UsageError("--device is for checkpoints: a bundle's files run in their runtime", hint="leave it out")
        if options.model is not None or options.trained_widths is not None:
            raise UsageError("--model and --trained-widths are for published state dicts", hint="leave it out")
        found = _bundle(source, options, on_net)
    else:
        if options.target is not None or options.artifacts:
            raise UsageError(
                "--target and --artifact are for bundles: a checkpoint is measured in PyTorch", hint="leave it out"
            )
        found = _checkpoint(source, options, words, on_net)
    if options.plot is not None:
        from edgeslim.deploy.spectrum import write_spectrum

        write_spectrum(found.scores, found.title, options.plot, overwrite=options.overwrite)
        words.say(f"{options.plot}: accuracy against multiply-adds")
    return found


_BUNDLE = b'{"__metadata__":{"format":"edgeslim"'


def _is_bundle(path: Path) -> bool:
    """A safetensors file of ours: after eight bytes of length its JSON begins, and says so first."""
    try:
        with os.fdopen(open_file(path), "rb") as file:
            return file.read(8 + len(_BUNDLE))[8:] == _BUNDLE
    except OSError as error:
        raise CheckpointError(
            f"cannot read {path}: {error.strerror or error}",
            hint="edgeslim train makes a checkpoint, edgeslim pack a bundle",
        ) from error


def _checkpoint(path: Path, o: EvaluateOptions, words: Words, on_net: Hook) -> Measured:
    from edgeslim.deploy.calibration.calibrate import CalibratedModel
    from edgeslim.deploy.evaluate import evaluate_checkpoint, with_accuracies
    from edgeslim.models.devices import pick

    chosen_device = pick(o.device)
    checkpoint = load_named(path, words, model=o.model, trained_widths=o.trained_widths)
    if o.write and "imported_from" in checkpoint.provenance:
        raise UsageError(
            f"{path} is a state dict, which stays as it is",
            hint=f"edgeslim calibrate {path} --data {o.images.data} -o calibrated.pt, then evaluate that",
        )
    chosen = parse_widths(o.widths, trained=checkpoint.trained) if o.widths else checkpoint.ladder
    if not chosen:
        raise CheckpointError(
            f"{path} has no BatchNorm statistics for any width",
            hint=f"edgeslim calibrate {path} --data {o.images.data} -o calibrated.pt",
        )
    images = o.images.load(checkpoint.spec)
    model = CalibratedModel.from_checkpoint(checkpoint)
    of, done = len(model.distinct(chosen)), itertools.count(1)
    scores = evaluate_checkpoint(
        model,
        images,
        chosen,
        batch_size=o.batch_size,
        device=chosen_device,
        on_width=lambda width: on_net(next(done), of),
    )
    for one in scores:
        if one.misfits:
            worst = max(one.misfits, key=lambda fit: max(fit.shift, fit.spread))
            width = one.widths[0]
            words.warn(
                f"width {width}: statistics of {len(one.misfits)} BatchNorms do not fit these images ({worst}); "
                f"edgeslim calibrate {path} --data DATA --widths {width}"
            )
            for fit in one.misfits:
                words.detail(f"  {fit}")
    if o.write:
        with_accuracies(model, scores, images).save(path, overwrite=True)
        words.say(f"{path}: accuracies of {len(scores)} nets kept")
    return Measured(title=f"{checkpoint.spec.name} on {images.name}", images=images, scores=tuple(scores))


def _bundle(path: Path, o: EvaluateOptions, on_net: Hook) -> Measured:
    from edgeslim.core.addressing import artifacts as addressed
    from edgeslim.deploy.evaluate import evaluate_bundle
    from edgeslim.models.spec import ModelSpec

    with SlimBundle.open(path) as bundle:
        manifest = bundle.manifest
        there = sorted({variant.target for variant in manifest.variants})
        if o.target is None and len(there) != 1 and not o.artifacts:
            raise UsageError(
                f"{path} has files for {', '.join(there) or 'no target'}", hint=f"--target {(there or ['TARGET'])[0]}"
            )
        names = None if o.artifacts and o.target is None else [target_name(manifest, o.target or there[0])]
        fitting = addressed(manifest, targets=names, nets=_resolved(bundle, chosen_nets(bundle, o.widths)))
        chosen = list(o.artifacts) or [artifact_id(variant.id, artifact.net) for variant, artifact in fitting]
        images = o.images.load(ModelSpec.from_json(manifest.model.spec))
        done = itertools.count(1)
        scores = evaluate_bundle(
            bundle,
            chosen,
            images,
            threads=o.threads,
            on_artifact=lambda artifact: on_net(next(done), len(chosen)),
        )
    return Measured(title=f"{manifest.model.id} on {images.name}", images=images, scores=tuple(scores))


def _resolved(bundle: SlimBundle, widths: list[Width | str] | None) -> list[Net] | None:
    return None if widths is None else [bundle.resolve(width) for width in widths]

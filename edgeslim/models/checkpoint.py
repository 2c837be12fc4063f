"""A trained net as a file: weights, settings, statistics and accuracy per net, provenance.

    load_checkpoint(path) ─► Checkpoint ─ build() ─► SlimmableModel with its statistics in place
         ▲                       └─ save(path) ─► one ``torch.save`` of plain containers and tensors

Files are read with ``weights_only=True``, always: nothing in them is executed. Whatever does not fit is refused
before anything is built from it, with the first missing, unexpected or misshapen key.

    "format": "edgeslim-checkpoint", "version": 3,
    "spec": ModelSpec.to_json(), "state_dict": {key: float32 tensor of the widest net},
    "nets": [{"net": Selection.to_json(), "statistics": {BatchNorm name: (mean, population variance)} | None,
              "accuracy": {…} | None}], "input": ImageContract's fields | None, "labels": [text] | None,
    "task": text, "task_package": text,
    "provenance": {…}, "data_sha256": str | None, "calibration_sha256": str | None,
    "content_sha256": of all the others (``content_sha256``)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from edgeslim.core.pixels import ImageContract
from edgeslim.core.strict_json import encode
from edgeslim.core.width import Width
from edgeslim.errors import CheckpointError, ModelError, WidthError
from edgeslim.files import check_free, write_atomically
from edgeslim.models.checkpoint_reading import (
    StatisticsByNet,
    check_names,
    checked_state_dict,
    checked_statistics,
    in_order,
    plain_values,
    read_document,
    read_input,
    read_labels,
    shown,
)
from edgeslim.models.foreign import weights_of
from edgeslim.models.layouts import HEAD, STEM, Source, one_width_source
from edgeslim.models.published import import_published
from edgeslim.models.registry import default_ladder, from_spec, make_spec, network, skeleton, usual_input
from edgeslim.models.selection import Net, Selection
from edgeslim.models.slimmable import SlimmableModel
from edgeslim.models.spec import ModelSpec
from edgeslim.models.static import Statistics
from edgeslim.models.torch_file import content_sha256

FORMAT = "edgeslim-checkpoint"
VERSION = 3
RESUME_FORMAT = "edgeslim-resume"  # what the trainer continues from; no checkpoint
_FIELDS = (
    "format",
    "version",
    "spec",
    "state_dict",
    "nets",
    "input",
    "labels",
    "task",
    "task_package",
    "provenance",
    "data_sha256",
    "calibration_sha256",
    "content_sha256",
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Checkpoint:
    """Everything needed to rebuild a trained net without its trainer.

    ``state_dict`` holds the master weights (float32, CPU); ``statistics`` the complete BatchNorm statistics of every
    calibrated net; ``accuracies`` what ``evaluate`` measured, by net; ``provenance`` plain values for people
    (its ``notes`` are shown when a file is used). ``input``: None where it is no image; ``labels``: the classes' names
    in the order of the logits. ``task``: its name, and the distribution that brings it.
    """

    spec: ModelSpec
    state_dict: dict[str, Tensor]
    statistics: StatisticsByNet = field(default_factory=dict)
    accuracies: dict[Selection, dict[str, Any]] = field(default_factory=dict)
    input: ImageContract | None = None
    labels: tuple[str, ...] | None = None
    task: str = "classify"
    task_package: str = "edgeslim"
    provenance: dict[str, Any] = field(default_factory=dict)
    data_sha256: str | None = None
    calibration_sha256: str | None = None

    @classmethod
    def from_model(
        cls,
        model: SlimmableModel,
        *,
        input: ImageContract | None = None,
        labels: Sequence[str] | None = None,
        task: str = "classify",
        task_package: str = "edgeslim",
        accuracies: Mapping[Net, dict[str, Any]] | None = None,
        provenance: Mapping[str, Any] | None = None,
        data_sha256: str | None = None,
        calibration_sha256: str | None = None,
    ) -> Checkpoint:
        """A snapshot of ``model`` with the statistics it has (copies; the model may train on)."""
        statistics: StatisticsByNet = {}
        for net in model.calibrated():
            known = model.statistics(net)
            assert known is not None
            statistics[net] = {name: (_owned(mean), _owned(var)) for name, (mean, var) in known.items()}
        return cls(
            spec=model.spec,
            state_dict={name: _owned(tensor) for name, tensor in model.state_dict().items()},
            statistics=statistics,
            accuracies={model.selection(net): row for net, row in (accuracies or {}).items()},
            input=input or usual_input(model.spec),
            labels=None if labels is None else tuple(labels),
            task=task,
            task_package=task_package,
            provenance=dict(provenance or {}),
            data_sha256=data_sha256,
            calibration_sha256=calibration_sha256,
        )

    @property
    def trained(self) -> tuple[Width, Width]:
        """The range of widths the net was trained over."""
        return self.spec.low, self.spec.high

    @property
    def ladder(self) -> tuple[Width, ...]:
        """Widths that can be used as they are: those with statistics (without BatchNorm: the default ladder)."""
        if self.spec.norm == "none":
            return default_ladder(self.spec)
        return tuple(sorted(net.width for net in self.statistics if net.width is not None))

    def selection(self, net: Net) -> Selection:
        """The channels of ``net``: what its statistics and accuracy are kept under.

        Raises:
            WidthError, ModelError: there is no such net.
        """
        return skeleton(self.spec).selection(net)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user of this file should know, for instance after an import."""
        notes = self.provenance.get("notes", ())
        return tuple(str(note) for note in notes) if isinstance(notes, list | tuple) else ()

    def with_statistics(
        self, statistics: Mapping[Net, Statistics], *, calibration_sha256: str | None = None
    ) -> Checkpoint:
        """The same weights with these statistics added or replaced; measured accuracies of those nets are dropped.

        Raises:
            CheckpointError: they do not fit the net.
        """
        checked = checked_statistics(self.spec, statistics, "statistics")
        return dataclasses.replace(
            self,
            statistics=in_order({**_others(self.statistics, checked), **checked}),
            accuracies=_others(self.accuracies, checked),
            calibration_sha256=calibration_sha256,
        )

    def with_accuracies(self, accuracies: Mapping[Net, dict[str, Any]]) -> Checkpoint:
        """The same weights with these measurements added or replaced.

        Raises:
            WidthError, ModelError: there is no such net.
        """
        measured = {self.selection(net): row for net, row in accuracies.items()}
        return dataclasses.replace(self, accuracies=in_order({**_others(self.accuracies, measured), **measured}))

    def build(self) -> SlimmableModel:
        """The net with weights and statistics of its own, at its widest width, in evaluation mode.

        Raises:
            CheckpointError: weights or statistics do not fit the spec.
        """
        state_dict = checked_state_dict(self.spec, self.state_dict, "checkpoint")
        with torch.device("meta"):
            model = from_spec(self.spec)
        if any(name not in state_dict for name, _ in model.named_buffers()):
            with torch.random.fork_rng(devices=[]):
                model = from_spec(self.spec)  # tables that no file keeps: only the network itself can fill them
        model.load_state_dict({name: nn.Parameter(tensor) for name, tensor in state_dict.items()}, assign=True)
        for net, statistics in self.statistics.items():
            model.set_statistics(net, statistics)
        return model.eval()

    def save(self, path: Path, *, overwrite: bool = False) -> None:
        """Write the file; it appears whole or not at all.

        Raises:
            OutputError: it exists, or cannot be written.
            CheckpointError: NaN or infinite weights, or anything else that ``load_checkpoint`` would refuse.
        """
        check_free(Path(path), overwrite=overwrite)
        document = {
            "format": FORMAT,
            "version": VERSION,
            "spec": self.spec.to_json(),
            "state_dict": checked_state_dict(self.spec, self.state_dict, "checkpoint"),
            "nets": self._nets(),
            "input": None if self.input is None else encode(self.input),
            "labels": None if self.labels is None else list(self.labels),
            "task": self.task,
            "task_package": self.task_package,
            "provenance": plain_values(self.provenance, "provenance"),
            "data_sha256": self.data_sha256,
            "calibration_sha256": self.calibration_sha256,
        }
        document["content_sha256"] = content_sha256(document)
        with write_atomically(Path(path), overwrite=overwrite) as file:
            torch.save(document, file)

    def _nets(self) -> list[dict[str, Any]]:
        statistics = checked_statistics(self.spec, self.statistics, "checkpoint")
        return [
            {
                "net": net.to_json(),
                "statistics": statistics.get(net),
                "accuracy": plain_values(self.accuracies.get(net), "accuracy"),
            }
            for net in in_order({**dict.fromkeys(statistics), **dict.fromkeys(self.accuracies)})
        ]


def load_checkpoint(path: str | Path, *, model: str | None = None, widths: Sequence[Width] | None = None) -> Checkpoint:
    """Read an edgeslim checkpoint, a published US-/S-Net state dict, or one of a net of one width (``layouts``).

    Args:
        model: name of the network; a state dict's is found from its keys, so it is rarely needed.
        widths: what the BatchNorm statistics of a published file stand for; needed where buffer sizes do not tell.

    Raises:
        CheckpointError: unreadable, damaged, foreign, of another model, or incomplete; nothing was executed.
        ModelError: ``model`` is no known network.
    """
    path = Path(path)
    return checkpoint_of(read_document(path), str(path), model=model, widths=widths)


def checkpoint_of(
    document: Any, what: str, *, model: str | None = None, widths: Sequence[Width] | None = None
) -> Checkpoint:
    """The checkpoint in ``document``, which ``read_document`` gave; ``what`` names it in errors. Else as
    ``load_checkpoint``."""
    if is_own(document):
        checkpoint = _from_document(document, what)
        return _of_model(checkpoint, model, what)
    if isinstance(document, Mapping) and document.get("format") == RESUME_FORMAT:
        raise CheckpointError(
            f"{what} is the state of an unfinished training run, not a checkpoint",
            hint="finish it with edgeslim train … --resume",
        )
    weights = weights_of(document, what)
    alone = one_width_source(weights.tensors, what, weights.notes)
    if alone is not None:
        return _of_model(_one_width(alone), model, what)
    imported = import_published(weights.tensors, what=what, model=model, widths=widths)
    return Checkpoint(
        spec=imported.spec,
        state_dict=imported.state_dict,
        statistics=imported.statistics,
        input=usual_input(imported.spec),
        provenance={"imported_from": "published state dict", "notes": [*weights.notes, *imported.notes]},
    )


def is_own(document: Any) -> bool:
    """Whether it says that it is an edgeslim checkpoint."""
    return isinstance(document, Mapping) and document.get("format") == FORMAT


def _of_model(checkpoint: Checkpoint, model: str | None, what: str) -> Checkpoint:
    if model is not None and model != checkpoint.spec.name:
        raise CheckpointError(f"{what} holds {checkpoint.spec.name}, not {model}", hint="leave out --model")
    return checkpoint


def _one_width(source: Source) -> Checkpoint:
    """A net that was trained at one width, as it is."""
    classes, stem = source.tensors[f"{HEAD}.weight"], source.tensors[f"{STEM}.weight"]
    if classes.dim() != 2 or stem.dim() != 4:
        raise CheckpointError(f"{source.what}: stem or classifier has an unexpected shape")
    full = network(source.network).ladder[-1]
    spec = make_spec(source.network, num_classes=classes.shape[0], in_channels=stem.shape[1], low=full, high=full)
    statistics = {
        norm: (source.tensors[f"{norm}.running_mean"], source.tensors[f"{norm}.running_var"])
        for norm in skeleton(spec).norms()
    }
    weights = {key: tensor for key, tensor in source.tensors.items() if ".running_" not in key}
    note = f"{source.what} has one width; to train others from it: edgeslim train --init {source.what} …"
    return Checkpoint(
        spec=spec,
        state_dict=checked_state_dict(spec, weights, source.what),
        statistics=checked_statistics(spec, {full: statistics}, source.what),
        input=source.input,
        provenance={"imported_from": "state dict of one width", "notes": [*source.notes, note]},
    )


def _from_document(document: Mapping[Any, Any], what: str) -> Checkpoint:
    version = document.get("version")
    if type(version) is not int or version != VERSION:
        raise CheckpointError(
            f"{what} has checkpoint version {shown(version)}, this edgeslim reads {VERSION}",
            hint='pip install --upgrade "edgeslim[train]"',
        )
    check_names(_FIELDS, document, what)
    try:
        spec = ModelSpec.from_json(document["spec"])
        state_dict = checked_state_dict(spec, document["state_dict"], what)
    except ModelError as error:
        raise CheckpointError(f"{what}: {error.message}", hint=error.hint) from error
    statistics, accuracies = _read_nets(spec, document["nets"], what)
    provenance = plain_values(document["provenance"], "provenance")
    hashes = document["data_sha256"], document["calibration_sha256"]
    if not isinstance(provenance, dict):
        raise CheckpointError(f"{what}: provenance is a dictionary")
    if not all(isinstance(document[key], str) for key in ("task", "task_package")):
        raise CheckpointError(f"{what}: task and task_package are text")
    if not all(isinstance(value, str | None) for value in hashes):
        raise CheckpointError(f"{what}: a hash is text or nothing")
    contract, labels = read_input(document["input"], spec, what), read_labels(document["labels"], what)
    if document["content_sha256"] != content_sha256({k: v for k, v in document.items() if k != "content_sha256"}):
        raise CheckpointError(
            f"{what} is damaged: its content has another hash than when it was written",
            hint="copy the file again, or take an earlier one",
        )
    return Checkpoint(
        spec=spec,
        state_dict=state_dict,
        statistics=statistics,
        accuracies=accuracies,
        input=contract,
        labels=labels,
        task=document["task"],
        task_package=document["task_package"],
        provenance=provenance,
        data_sha256=hashes[0],
        calibration_sha256=hashes[1],
    )


def _read_nets(spec: ModelSpec, documents: Any, what: str) -> tuple[StatisticsByNet, dict[Selection, dict[str, Any]]]:
    """Statistics and accuracies by net, everything checked."""
    if not isinstance(documents, list | tuple):
        raise CheckpointError(f"{what}: nets are a list")
    statistics, accuracies = {}, {}
    met: set[Selection] = set()
    for document in documents:
        if not isinstance(document, Mapping) or set(document) != {"net", "statistics", "accuracy"}:
            raise CheckpointError(f"{what}: every net has net, statistics and accuracy")
        try:
            net = skeleton(spec).selection(Selection.from_json(document["net"]))
        except (ModelError, WidthError) as error:
            raise CheckpointError(f"{what}: {error.message}", hint=error.hint) from error
        if net in met:
            raise CheckpointError(f"{what}: net {net} is there twice")
        met.add(net)
        if document["statistics"] is not None:
            statistics[net] = document["statistics"]
        accuracy = plain_values(document["accuracy"], f"accuracy of net {net}")
        if accuracy is not None:
            if not isinstance(accuracy, dict):
                raise CheckpointError(f"{what}: the accuracy of net {net} is a dictionary")
            accuracies[net] = accuracy
    return checked_statistics(spec, statistics, what), accuracies


V = TypeVar("V")


def _others(known: Mapping[Selection, V], replaced: Mapping[Selection, object]) -> dict[Selection, V]:
    """What stays; a net that is replaced under another name takes the new name."""
    return {net: value for net, value in known.items() if net not in replaced}


def _owned(tensor: Tensor) -> Tensor:
    return tensor.detach().to(device="cpu", copy=True).contiguous()

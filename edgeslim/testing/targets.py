"""What every target promises, asked of one.

    TargetCase ── export ──► artifact of a small net, per precision (made once)
       └─ TARGET_CHECKS: name → check(case, folder)

A check that needs the artifact to run, on a machine where it cannot, raises ``CannotCheckError``: no failure.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import pickle
import stat
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edgeslim.core.recipe import Rule
from edgeslim.core.strict_json import encode
from edgeslim.deploy.workers import run_jobs
from edgeslim.errors import CannotCheckError, ExportError, OutputError, UsageError
from edgeslim.targets.base import INPUT_NAME, OUTPUT_NAME, Artifact, InputOption, Runner, Target
from edgeslim.targets.info import Precision
from edgeslim.testing.expect import expect, refused
from edgeslim.testing.nets import (
    CLASSES,
    LABELS,
    SIZE,
    SmallNet,
    TwoHeads,
    TwoInputs,
    Unexportable,
    answers,
    metadata,
    normalised,
    pixels,
    seeded,
    sqnr_db,
)

EXAMPLES = {INPUT_NAME: torch.zeros(1, 3, SIZE, SIZE)}
FLOAT32_DB = 90.0  # what float32 runtimes differ by is the order of their sums
_LEAST_BYTES = 64  # smaller constants may stand in a program's text
_VERBATIM_SHARE = 0.99


class TargetCase:
    """One target under test; its artifacts are made once and looked at by several checks."""

    def __init__(self, target: Target, folder: Path) -> None:
        self.target = target
        self.info = target.info
        self.folder = folder
        self.net = seeded(SmallNet)
        self.weights = {name: tensor.clone() for name, tensor in self.net.state_dict().items()}
        self._artifacts: dict[str, Artifact] = {}

    def artifact(self, precision: Precision | None = None) -> Artifact:
        """Of the small net, in ``precision`` (None: the default, not named to the target)."""
        key = "" if precision is None else precision.name
        if key not in self._artifacts:
            out = self.folder / f"net{key}{self.info.suffix}"
            self._artifacts[key] = self.export(self.net, out, precision=None if precision is None else key)
        return self._artifacts[key]

    def export(self, net: nn.Module, out: Path, **settings: Any) -> Artifact:
        return self.target.export(net, EXAMPLES, out, **{"metadata": metadata(), **settings})

    def load(self, artifact: Artifact) -> Runner:
        return self.target.load(artifact.root, threads=1)

    def least_db(self, precision: Precision) -> float:
        return FLOAT32_DB if precision.activations == "f32" else precision.limits.min_sqnr_db


Check = Callable[[TargetCase, Path], None]


def says_what_lies_on_disk(case: TargetCase, folder: Path) -> None:
    """The artifact lists every file with size, hash and mode 0644, and names what goes in and comes out."""
    artifact, info = case.artifact(), case.info
    expect(artifact.target == info.name, f"the artifact says target {artifact.target!r}, expected {info.name!r}")
    expect(artifact.precision == info.precision().name, f"default precision came out as {artifact.precision!r}")
    expect(artifact.root.is_dir() == info.directory, f"directory is {info.directory}, the root is not so")
    expect(artifact.root.suffix == info.suffix, f"suffix {artifact.root.suffix!r}, expected {info.suffix!r}")
    (image,), (logits,) = artifact.inputs, artifact.outputs
    found = (image.name, image.shape, image.dtype, image.layout)
    expect(found == (INPUT_NAME, (1, 3, SIZE, SIZE), "float32", "NCHW"), f"the input is {found}")
    found = (logits.name, logits.shape, logits.dtype, logits.layout)
    expect(found == (OUTPUT_NAME, (1, CLASSES), "float32", "NC"), f"the output is {found}")
    for file in artifact.files:
        path = artifact.path_of(file)
        data = path.read_bytes()
        expect((file.size_bytes, file.sha256) == (len(data), hashlib.sha256(data).hexdigest()), f"hash of {file.path}")
        expect(stat.S_IMODE(path.stat().st_mode) == 0o644, f"mode of {file.path}, expected 0644")
    on_disk = [p for p in artifact.root.rglob("*") if p.is_file()] if artifact.root.is_dir() else [artifact.root]
    expect(len(on_disk) == len(artifact.files), f"{len(on_disk)} files on disk, {len(artifact.files)} listed")
    paths = [file.path for file in artifact.files]
    expect(paths == sorted(paths), f"files are not sorted by path: {paths}")
    json.dumps(artifact.to_json())


def runs_like_the_net(case: TargetCase, folder: Path) -> None:
    """Every precision answers as PyTorch does, within its own limit, and twice the same."""
    for precision in case.info.precisions:
        runner = case.load(case.artifact(precision))
        for seed in range(3):
            image = normalised(pixels(seed))
            output = runner.run({INPUT_NAME: image})[OUTPUT_NAME]
            shape = (output.shape, str(output.dtype))
            expect(shape == ((1, CLASSES), "float32"), f"the output is {shape}")
            found, least = sqnr_db(answers(case.net, image)[0], output), case.least_db(precision)
            expect(found >= least, f"{precision.name}: {found:.1f} dB against PyTorch, expected {least} dB")
            again = runner.run({INPUT_NAME: image})[OUTPUT_NAME]
            expect(np.array_equal(output, again), "the same input gave another answer")
        first = runner.run({INPUT_NAME: normalised(pixels(0))})[OUTPUT_NAME]
        kept = first.copy()
        runner.run({INPUT_NAME: normalised(pixels(1))})
        expect(np.array_equal(first, kept), "an array handed out was written to by the next run")
        runner.close()
        runner.close()


def says_what_runs(case: TargetCase, folder: Path) -> None:
    """The runner names the runtime, its version, and what it takes and gives, as the artifact does."""
    artifact = case.artifact()
    runner = case.load(artifact)
    info = runner.describe()
    expect(bool(info.name and info.version), f"name and version of the runtime: {info.name!r} {info.version!r}")
    expect(runner.inputs == artifact.inputs, f"the runner takes {runner.inputs}, the artifact says {artifact.inputs}")
    expect(runner.outputs == artifact.outputs, f"it gives {runner.outputs}, the artifact says {artifact.outputs}")
    json.dumps(encode(info))
    runner.close()


def carries_metadata_and_labels(case: TargetCase, folder: Path) -> None:
    """``edgeslim_meta`` and the labels are inside the file."""
    artifact = case.artifact()
    runner = case.load(artifact)
    expected = json.loads(metadata().to_text(artifact.inputs, artifact.outputs))
    expect(runner.metadata == expected, f"metadata {runner.metadata}, expected {expected}")
    expect(runner.labels == LABELS, f"labels {runner.labels}, expected {LABELS}")
    runner.close()


def refuses_wrong_inputs(case: TargetCase, folder: Path) -> None:
    """Another shape, dtype or name is the caller's mistake, told in a sentence."""
    runner = case.load(case.artifact())
    good = normalised(pixels())
    wrong: list[tuple[str, dict[str, Any]]] = [
        ("a cropped image", {INPUT_NAME: np.ascontiguousarray(good[:, :, 1:])}),
        ("float64", {INPUT_NAME: good.astype(np.float64)}),
        ("an image without batch", {INPUT_NAME: good[0]}),
        ("pixels", {INPUT_NAME: pixels()}),
        ("another name", {"picture": good}),
        ("a list", {INPUT_NAME: good.tolist()}),
        ("nothing", {}),
        ("one input too many", {INPUT_NAME: good, "mask": good}),
    ]
    for what, inputs in wrong:
        with refused(UsageError, what):
            runner.run(inputs)
    runner.close()


def keeps_constants_verbatim(case: TargetCase, folder: Path) -> None:
    """What a bundle lives on: constants stand in the file by one of the stored forms the target names."""
    for precision in case.info.precisions:
        if precision.weights not in ("f32", "f16"):
            continue  # integers come from a quantiser, not from the net's floats
        artifact = case.artifact(precision)
        stored = b"".join(artifact.path_of(file).read_bytes() for file in artifact.files)
        found, missing = 0, {}
        for name, tensor in case.net.named_parameters():
            value = tensor.detach().numpy()
            if value.size * 2 < _LEAST_BYTES:
                continue
            if any(form in stored for form in _forms(value, precision.stored)):
                found += value.size
            else:
                missing[name] = value.size
        share = found / max(1, found + sum(missing.values()))
        expect(
            share >= _VERBATIM_SHARE, f"{precision.name}: {share:.1%} of the constants stand verbatim; not {missing}"
        )


def _forms(value: NDArray[np.float32], rules: Sequence[Rule]) -> set[bytes]:
    dtypes = {np.float32 if rule is Rule.F32 else np.float16 for rule in rules}
    orders = itertools.permutations(range(value.ndim))
    return {
        np.ascontiguousarray(value.transpose(order)).astype(dtype).tobytes() for order in orders for dtype in dtypes
    }


def leaves_the_net_alone(case: TargetCase, folder: Path) -> None:
    """Exporting changes no weight."""
    case.artifact()
    changed = [name for name, tensor in case.net.state_dict().items() if not torch.equal(tensor, case.weights[name])]
    expect(not changed, f"exporting changed {changed}")


def same_bytes_twice(case: TargetCase, folder: Path) -> None:
    """The same net, whatever the file is called, gives the same bytes."""
    again = case.export(case.net, folder / f"other-name{case.info.suffix}")
    _expect_same(case, case.artifact(), again, "two exports")


def same_bytes_in_another_process(case: TargetCase, folder: Path) -> None:
    """So does another process, which seeds its hashes anew: an exporter may name or order things by them."""
    try:
        target = pickle.dumps(case.target)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise CannotCheckError(f"{type(case.target).__name__} cannot be sent to another process: {error}") from error
    out, log = folder / f"other-process{case.info.suffix}", folder / "other-process.log"
    (done,) = run_jobs(f"{__name__}:export_elsewhere", [(target, out)], workers=1, log=log)
    if done.error is not None:
        raise done.error
    _expect_same(case, case.artifact(), done.value, "exports of two processes")


def export_elsewhere(job: tuple[bytes, Path]) -> Artifact:
    """In a worker process: the small net, exported by a pickled target to a path."""
    target, out = job
    try:
        case = TargetCase(pickle.loads(target), out.parent)
    except (ImportError, AttributeError) as error:
        raise CannotCheckError(f"another process does not find the target's class: {error}") from error
    return case.export(case.net, out)


def _expect_same(case: TargetCase, one: Artifact, other: Artifact, what: str) -> None:
    first, second = ([(file.path, file.sha256) for file in artifact.files] for artifact in (one, other))
    if not case.info.directory:  # the root itself is the file
        first, second = ([digest for _, digest in files] for files in (first, second))  # type: ignore[assignment]
    expect(first == second, f"{what} differ: {first} and {second}; what changes needs a normalisation")


def names_no_machine(case: TargetCase, folder: Path) -> None:
    """No path of this machine is inside, so that another one makes the same bytes."""
    traces = (str(case.folder), str(Path(__file__).parents[1]), str(Path(torch.__file__).parents[1]))
    artifact = case.artifact()
    for file in artifact.files:
        data = artifact.path_of(file).read_bytes()
        for trace in traces:
            expect(trace.encode() not in data, f"{file.path} holds the path {trace}")


def replaces_no_file(case: TargetCase, folder: Path) -> None:
    """What is there already stays."""
    artifact = case.artifact()
    before = [artifact.path_of(file).read_bytes() for file in artifact.files]
    with refused(OutputError, "a path that exists"):
        case.export(case.net, artifact.root)
    expect(before == [artifact.path_of(file).read_bytes() for file in artifact.files], "the file was touched")


def refuses_other_files(case: TargetCase, folder: Path) -> None:
    """A file of another kind is refused before a runtime sees it."""
    foreign = folder / f"foreign{case.info.suffix}"
    foreign.write_bytes(b"not a model at all, only text")
    with refused(UsageError, "a file of another kind"):
        case.target.load(foreign, threads=1)


def takes_pixels(case: TargetCase, folder: Path) -> None:
    """The uint8 option: cast, permute, mean and std inside the file, before the stem's padding."""
    artifact = case.export(case.net, folder / f"pixels{case.info.suffix}", input_option=InputOption.NHWC_UINT8)
    (spec,) = artifact.inputs
    found = (spec.shape, spec.dtype, spec.layout)
    expect(found == ((1, SIZE, SIZE, 3), "uint8", "NHWC"), f"the input is {found}")
    runner = case.load(artifact)
    expect(runner.inputs == artifact.inputs, f"the runner takes {runner.inputs}, the artifact says {artifact.inputs}")
    precision = case.info.precision()
    for seed in range(2):
        output = runner.run({INPUT_NAME: pixels(seed)})[OUTPUT_NAME]
        found_db = sqnr_db(answers(case.net, normalised(pixels(seed)))[0], output)
        expect(found_db >= case.least_db(precision) - 5, f"{found_db:.1f} dB against PyTorch on pixels")
    with refused(UsageError, "floats for pixels"):
        runner.run({INPUT_NAME: normalised(pixels())})
    runner.close()


def binds_by_name(case: TargetCase, folder: Path) -> None:
    """Several inputs and outputs keep their names, whatever order the file has them in."""
    heads, names = seeded(TwoHeads), ("value", OUTPUT_NAME, "map")
    artifact = case.export(heads, folder / f"heads{case.info.suffix}", outputs=names)
    expect(tuple(tensor.name for tensor in artifact.outputs) == names, f"the outputs are {artifact.outputs}")
    runner, image = case.load(artifact), normalised(pixels())
    expect(runner.outputs == artifact.outputs, f"it gives {runner.outputs}, the artifact says {artifact.outputs}")
    _compare(case, runner.run({INPUT_NAME: image}), dict(zip(names, answers(heads, image), strict=True)))
    runner.close()

    two, random = seeded(TwoInputs), np.random.default_rng(0)
    inputs = {name: random.standard_normal((1, 32)).astype(np.float32) for name in ("seen", "goal")}
    examples = {name: torch.zeros(1, 32) for name in inputs}
    out = folder / f"inputs{case.info.suffix}"
    artifact = case.target.export(two, examples, out, metadata=metadata(labels=()), outputs=("policy",))
    runner = case.load(artifact)
    swapped = {"goal": inputs["goal"], "seen": inputs["seen"]}  # the mapping's order says nothing
    _compare(case, runner.run(swapped), {"policy": answers(two, inputs["seen"], inputs["goal"])[0]})
    runner.close()


def _compare(case: TargetCase, found: dict[str, NDArray[Any]], expected: dict[str, NDArray[np.float64]]) -> None:
    expect(set(found) == set(expected), f"outputs {sorted(found)}, expected {sorted(expected)}")
    for name, reference in expected.items():
        expect(found[name].shape == reference.shape, f"{name} is {found[name].shape}, expected {reference.shape}")
        decibel = sqnr_db(reference, found[name])
        expect(decibel >= case.least_db(case.info.precision()), f"{name}: {decibel:.1f} dB against PyTorch")


def names_its_failures(case: TargetCase, folder: Path) -> None:
    """A failed export names target and net, keeps what the exporter said in a log, and leaves nothing else."""
    out = folder / f"failed{case.info.suffix}"
    with refused(ExportError, "a net that cannot be exported") as caught:
        case.export(Unexportable(), out, metadata=metadata(labels=()))
    message, hint = str(caught[0]), getattr(caught[0], "hint", None) or ""
    expect(case.info.name in message and f"net {metadata().label}" in message, f"the error says only {message!r}")
    log = out.with_name(out.name + ".log")
    expect(str(log) in hint, f"the hint does not name {log.name}: {hint!r}")
    text = log.read_text()
    expect("a word on standard output" in text and "Traceback" in text, "the log does not hold what was printed")
    left = [path.name for path in folder.iterdir() if path.name.startswith("failed")]
    expect(left == [log.name], f"left behind: {left}")


def refuses_what_does_not_fit(case: TargetCase, folder: Path) -> None:
    """Labels, mean and std, names of outputs, precision and options have to fit."""
    good = metadata()
    for what, bad in (("one label too few", replace(good, labels=LABELS[:-1])), ("grey", replace(good, mean=(0.5,)))):
        with refused(ExportError, what):
            case.export(case.net, folder / f"unfit{case.info.suffix}", metadata=bad)
    with refused(ExportError, "two names for one output"):
        case.export(case.net, folder / f"unfit{case.info.suffix}", outputs=(OUTPUT_NAME, "more"))
    with refused(UsageError, "an unknown precision"):
        case.export(case.net, folder / f"unfit{case.info.suffix}", precision="int3")
    with refused(UsageError, "an unknown option"):
        case.export(case.net, folder / f"unfit{case.info.suffix}", options={"no-such-option": 1})


TARGET_CHECKS: dict[str, Check] = {
    check.__name__.replace("_", "-"): check
    for check in (
        says_what_lies_on_disk,
        runs_like_the_net,
        says_what_runs,
        carries_metadata_and_labels,
        refuses_wrong_inputs,
        keeps_constants_verbatim,
        leaves_the_net_alone,
        same_bytes_twice,
        same_bytes_in_another_process,
        names_no_machine,
        replaces_no_file,
        refuses_other_files,
        takes_pixels,
        binds_by_name,
        names_its_failures,
        refuses_what_does_not_fit,
    )
}


def check_target(target: Target, folder: Path) -> dict[str, str]:
    """Ask ``target`` everything; about a minute with a slow exporter.

    Args:
        folder: an empty folder for what is exported.

    Returns:
        Checks that could not be done on this machine, with the reason.

    Raises:
        ConformanceError: the first promise that is not kept.
        MissingExtraError: its exporter is not installed.
    """
    target.info.ensure_available(exporting=True)
    case, undone = TargetCase(target, folder), {}
    for name, check in TARGET_CHECKS.items():
        place = folder / name
        place.mkdir()
        try:
            check(case, place)
        except CannotCheckError as error:
            undone[name] = error.message
    return undone

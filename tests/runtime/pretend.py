"""A bundle with many small widths, and a runtime that pretends: it needs nothing installed and its answers tell
exactly which bytes it was given.

    pretend_bundle(path)        widths 0.25 … 1.0 of one layer; each artifact says how long it takes
    PretendTarget(clock, …)     "runs" an artifact by letting the clock go on; can raise, crash, die on purpose
    expected_answers(bundle)    what a correct file of each width answers
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import mmap
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import edgeslim
from edgeslim.core.bundle import SlimBundle
from edgeslim.core.constants import Fold, Kind
from edgeslim.core.labels import labels
from edgeslim.core.latency import LatencyRow, LatencyStatistics, LatencyTable
from edgeslim.core.manifest import (
    ArtifactEntry,
    FileEntry,
    InputInfo,
    InputTensor,
    ModelInfo,
    Part,
    Quality,
    TensorInfo,
    Variant,
    artifact_id,
    artifact_sha256,
)
from edgeslim.core.passport import RuntimeInfo
from edgeslim.core.pixels import ImageContract
from edgeslim.core.recipe import Segment, segment_content
from edgeslim.core.width import Width, net_id
from edgeslim.host import machine
from edgeslim.press.build import BundleBuilder, BundleInfo, MasterSet, MasterSource, PackedArtifact
from edgeslim.targets.base import check_inputs
from edgeslim.targets.info import EVERYWHERE, Needs, TargetInfo

NAME = "pretend"
SHAPE = (1, 3, 8, 8)
CLASSES = 4
WIDTHS = tuple(Width(p) for p in (250, 500, 750, 1000))
TIMES_US = {250: 6_000, 500: 12_000, 750: 20_000, 1000: 30_000}
ACCURACIES = {250: "54", 500: "64", 750: "69", 1000: "72"}
_HEAD = 256
LARGE = (1, 3, 12, 12)
"""The input of the second variant of ``two_inputs_bundle``."""


def id_of(permille: int, variant: str = f"{NAME}-fp32-8") -> str:
    """The id of an artifact of ``pretend_bundle``."""
    return artifact_id(variant, net_id(permille))


def permille_of(named: Any) -> int:
    """Of a result, a rung or anything with an artifact's id."""
    return int(named.artifact.partition("/")[2])


def pretend_bundle(
    path: Path,
    *,
    times_us: Mapping[int, int] = TIMES_US,
    accuracies: Mapping[int, str] | None = ACCURACIES,
    directory: bool = False,
    channels: int = 64,
    policy: dict[str, Any] | None = None,
    large: Mapping[int, int] | None = None,
) -> Path:
    """Write a bundle whose artifacts hold about ``4·channels²`` bytes at 1.0x.

    Args:
        large: times of a second variant, of another precision and with a larger input.
    """
    weight = np.random.default_rng(1).standard_normal((channels, channels, 1, 1)).astype(np.float32)
    image = ImageContract(channels=3, height=8, width=8, order="rgb", mean=("0.5",) * 3, std=("0.25",) * 3, crop="1")
    info = BundleInfo(
        model=ModelInfo(
            id="pretend",
            version="1",
            author="",
            licence="",
            source="",
            attribution="",
            description="",
            spec={"name": "pretend"},
        ),
        task="classify",
        task_spec={},
        inputs=tuple(
            InputInfo(
                id=str(size),
                tensors=(
                    InputTensor(name="image", image=dataclasses.replace(image, height=size, width=size), tensor=None),
                ),
            )
            for size in ((SHAPE[2], LARGE[2]) if large else (SHAPE[2],))
        ),
        labels=("ant", "bee", "cat", "dog"),
        low=Width(250),
        high=Width(1000),
        policy=policy,
    )
    rows, columns = (Part(name=name, size=channels, optional=False) for name in ("rows", "columns"))
    one = (Part(name="size.1", size=1, optional=False),)
    masters = MasterSet(
        [MasterSource(name="layer.weight", axes=((rows,), (columns,), one, one), array=weight, scale=True, shift=True)]
    )
    builder = BundleBuilder(info, masters)
    variant = _variant(directory)
    for permille, t_us in times_us.items():
        count = channels * permille // 1000
        scale = np.full(count, permille / 1000, np.float32)
        accuracy = (accuracies or {}).get(permille)
        net = builder.add_net(
            masters.cut({"rows": count, "columns": count}),
            [Fold(scale=scale, shift=scale)],
            widths=[Width(permille)],
            params=permille,
        )
        quality = (
            None
            if accuracy is None
            else Quality(
                metric="top1", value=accuracy, larger_is_better=True, count=100, data_sha256=None, agreement=None
            )
        )
        packed = _packed(builder, net, permille, t_us, directory)
        builder.add_artifact(variant, net, packed, macs=t_us * 1000, quality=quality)
        if permille in (large or {}):
            packed = _packed(builder, net, permille, (large or {})[permille], directory, shape=LARGE)
            builder.add_artifact(_large_variant(variant), net, packed, macs=t_us * 1000, quality=quality)
    builder.write(path, overwrite=False)
    return path


def _variant(directory: bool) -> Variant:
    return Variant(
        id=f"{NAME}-fp32-8",
        target=NAME,
        precision="fp32",
        backend="none",
        input="8",
        form="nchw-float32",
        suffix=".package" if directory else ".bin",
        directory=directory,
        normalisation="none",
        inputs=(TensorInfo(name="image", shape=SHAPE, dtype="float32", layout="NCHW"),),
        outputs=(TensorInfo(name="logits", shape=(1, CLASSES), dtype="float32", layout="NC"),),
        exporters={},
        artifacts=(),
    )


def _large_variant(small: Variant) -> Variant:
    inputs = (TensorInfo(name="image", shape=LARGE, dtype="float32", layout="NCHW"),)
    return dataclasses.replace(small, id=f"{NAME}-fp16-12", precision="fp16", input="12", inputs=inputs)


def _packed(
    builder: BundleBuilder, net: str, permille: int, t_us: int, directory: bool, shape: tuple[int, ...] = SHAPE
) -> PackedArtifact:
    """A file: a padded JSON head, then the folded weights. As a package: the head in a file of its own."""
    head = json.dumps({"permille": permille, "t_us": t_us, "shape": shape}).encode().ljust(_HEAD)
    segment = Segment(offset=_HEAD, master=0, kind=Kind.WEIGHT)
    weights = segment_content(segment, builder.constants(net))
    contents = {"Data/head.json": head, "Data/weights.bin": weights} if directory else {"model.bin": head + weights}
    return PackedArtifact(
        files=tuple(
            FileEntry(path=path, bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
            for path, content in contents.items()
        ),
        segments=(segment,),
        template=head,
        explained_bytes=len(weights),
        literal_bytes=0,
    )


@dataclass(slots=True)
class SimulatedClock:
    """Microseconds that go on only when told."""

    now_us: int = 1_000_000

    def __call__(self) -> int:
        return self.now_us

    def advance(self, us: int) -> None:
        self.now_us += us


INFO = TargetInfo(
    name=NAME, suffix=".bin", exporter=Needs(extra="dev"), runtime=Needs(extra="dev"), platforms=EVERYWHERE
)


@dataclass(slots=True)
class PretendTarget:
    """``slowdown`` may be changed at any time; ``load_faults`` and ``run_faults``: permille → what happens.

    Faults: ``"raise"``, ``"crash"`` (SIGSEGV), ``"kill"`` (SIGKILL); a callable is called.
    """

    clock: SimulatedClock | None = None
    slowdown: float = 1.0
    load_s: float = 0.0
    mapped: bool = False
    load_faults: dict[int, Any] = field(default_factory=dict)
    run_faults: dict[int, Any] = field(default_factory=dict)
    alive: list[PretendRunner] = field(default_factory=list)
    loads: list[int] = field(default_factory=list)
    info: TargetInfo = INFO

    def export(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError

    def load(self, path: Path, *, threads: int = 1) -> PretendRunner:
        runner = PretendRunner(self, path, threads)
        self.alive.append(runner)
        return runner


def _misbehave(fault: Any) -> None:
    if callable(fault):
        fault()
    elif fault == "raise":
        raise RuntimeError("the runtime was told to fail")
    elif fault is not None:
        # to this very thread: it must not get any further
        signal.raise_signal({"crash": signal.SIGSEGV, "kill": signal.SIGKILL}[fault])


class PretendRunner:
    outputs = (TensorInfo(name="logits", shape=(1, CLASSES), dtype="float32", layout="NC"),)
    metadata: dict[str, Any] = {}  # noqa: RUF012
    labels: tuple[str, ...] = ()

    def __init__(self, target: PretendTarget, path: Path, threads: int) -> None:
        self._target, self._threads = target, threads
        files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        self._maps: list[Any] = []
        for file in files:
            with file.open("rb") as stream:
                if target.mapped:
                    self._maps.append(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ))
                else:
                    self._maps.append(stream.read())
        head = json.loads(bytes(self._maps[0][:_HEAD]))
        self.permille, self._t_us = head["permille"], head["t_us"]
        self.inputs = (TensorInfo(name="image", shape=tuple(head["shape"]), dtype="float32", layout="NCHW"),)
        self._answer = None if target.mapped else answer(self._maps)
        target.loads.append(self.permille)
        time.sleep(target.load_s)
        _misbehave(target.load_faults.get(self.permille))

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        check_inputs(self.inputs, inputs)
        target = self._target
        _misbehave(target.run_faults.get(self.permille))
        if target.clock is not None:
            target.clock.advance(int(self._t_us * target.slowdown))
        found = answer(self._maps) if self._answer is None else self._answer
        return {"logits": found * inputs["image"].reshape(-1)[0]}

    def describe(self) -> RuntimeInfo:
        return RuntimeInfo(
            name=NAME, version="1", delegate_requested="none", delegate_actual="none", threads=self._threads
        )

    def close(self) -> None:
        if self in self._target.alive:
            self._target.alive.remove(self)
        for mapped in self._maps:
            if isinstance(mapped, mmap.mmap):
                mapped.close()
        self._maps = []


def answer(contents: list[Any]) -> NDArray[np.float32]:
    """Four numbers that any changed byte changes."""
    digest = hashlib.sha256()
    for content in contents:
        digest.update(content)
    return np.frombuffer(digest.digest()[:16], np.uint32).astype(np.float32).reshape(1, CLASSES)


def image(value: float = 1.0) -> NDArray[np.float32]:
    return np.full(SHAPE, value, np.float32)


def expected_answers(bundle: Path, folder: Path) -> dict[int, NDArray[np.float32]]:
    """What every width answers to ``image(1)``, from files rebuilt outside any cache."""
    found = {}
    with SlimBundle.open(bundle) as opened:
        for net in opened.manifest.nets:
            permille = net.widths[0]
            out = folder / f"direct-{permille}"
            opened.rebuild(NAME, permille, out)
            files = sorted(p for p in out.rglob("*") if p.is_file()) if out.is_dir() else [out]
            found[permille] = answer([file.read_bytes() for file in files])
    return found


def table_of(bundle: Path, *, threads: int = 1, times_us: Callable[[int], int] | None = None) -> LatencyTable:
    """A measured table of this device, with the times the artifacts themselves name."""
    rows: list[LatencyRow] = []
    with SlimBundle.open(bundle) as opened:
        named = labels(opened.manifest.variants)
        for variant in opened.manifest.variants:
            for artifact in variant.artifacts:
                t_us = times_us(int(artifact.net)) if times_us else head_of(opened, variant, artifact)["t_us"]
                rows.append(_row(variant, artifact, named, t_us / 1000, threads, order=len(rows)))
    return LatencyTable(edgeslim_version=edgeslim.__version__, created_at="2026-01-01T00:00:00Z", rows=tuple(rows))


def head_of(bundle: SlimBundle, variant: Variant, artifact: ArtifactEntry) -> dict[str, Any]:
    """What an artifact says about itself, read from its template."""
    found: dict[str, Any] = json.loads(bundle.template(variant, artifact).read(_HEAD))
    return found


def _row(
    variant: Variant, artifact: ArtifactEntry, named: Mapping[str, str], t_ms: float, threads: int, order: int
) -> LatencyRow:
    identifier = artifact_id(variant.id, artifact.net)
    return LatencyRow(
        file_sha256=artifact_sha256(artifact),
        bundle_sha256=None,
        artifact=identifier,
        net=artifact.net,
        label=named[identifier],
        width_permille=int(artifact.net),
        target=NAME,
        precision=variant.precision,
        input_shape=variant.inputs[0].shape,
        device=machine.device(),
        os=machine.operating_system(),
        runtime=RuntimeInfo(
            name=NAME, version="1", delegate_requested=None, delegate_actual=None, threads=threads, load_mode=None
        ),
        context="app",
        warmup_runs=1,
        runs=1,
        duration_s=t_ms / 1000,
        **dataclasses.asdict(LatencyStatistics.of([t_ms])),
        samples_ms=(t_ms,),
        kind="burst",
        order=order,
        seed=0,
        valid=True,
        reasons=(),
        started_at="2026-01-01T00:00:00Z",
        edgeslim_version=edgeslim.__version__,
    )

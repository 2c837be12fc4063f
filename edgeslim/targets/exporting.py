"""What every exporter run has in common: its steps, silence, a log, a named failure, and the net's input front.

    Exporter.export ─► checks ─► exporting(log) ─► adapted ─► prepare ─► write (the target's own) ─► Artifact, hashed

Exporters print from Python and from C++, warn, and log. All of it goes to ``<out>.log`` by redirecting the file
descriptors 1 and 2 of the whole process, so run exports in a process of their own when others must keep printing.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import sys
import tempfile
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from edgeslim.core.manifest import TensorInfo
from edgeslim.errors import EdgeslimError, ExportError
from edgeslim.files import check_free
from edgeslim.targets.base import (
    INPUT_NAME,
    NO_OPTIONS,
    OUTPUT_NAME,
    Artifact,
    InputOption,
    Metadata,
    hash_files,
    layout_of,
)
from edgeslim.targets.info import Precision, TargetInfo

if TYPE_CHECKING:
    import torch


@contextlib.contextmanager
def exporting(target: str, net: str, out: Path) -> Iterator[Path]:
    """Run an exporter: yields the log that takes its output; any failure becomes an ExportError that names it.

    Args:
        net: what people call it (``Metadata.label``).

    Raises:
        ExportError: the block raised something that is not edgeslim's own error.
        OutputError: ``out`` exists or its folder does not.
    """
    check_free(out, overwrite=False)
    log = out.with_name(out.name + ".log")
    try:
        with open(log, "ab", buffering=0) as sink, _redirected(sink.fileno()):
            try:
                yield log
            except Exception:
                traceback.print_exc()
                raise
    except EdgeslimError:
        raise
    except Exception as error:
        reason = str(error).strip().partition("\n")[0] or "no reason given"
        raise ExportError(
            f"the {target} exporter failed on net {net}: {type(error).__name__}: {reason}",
            hint=f"its output is in {log}",
        ) from error


@contextlib.contextmanager
def _redirected(descriptor: int) -> Iterator[None]:
    """Send file descriptors 1 and 2, ``sys.stdout``, ``sys.stderr`` and warnings to ``descriptor``."""
    streams = sys.stdout, sys.stderr
    for stream in streams:
        stream.flush()
    kept = os.dup(1), os.dup(2)
    text = os.fdopen(os.dup(descriptor), "w", encoding="utf-8", errors="replace", buffering=1)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    sys.stdout = sys.stderr = text
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("default")
            yield
    finally:
        text.flush()
        sys.stdout, sys.stderr = streams
        for number, copy in zip((1, 2), kept, strict=True):
            os.dup2(copy, number)
            os.close(copy)


@contextlib.contextmanager
def muted() -> Iterator[None]:
    """Keep what runtimes print while they load and run off the terminal; it is shown after all if the block fails."""
    with tempfile.TemporaryFile() as sink:
        try:
            with _redirected(sink.fileno()):
                yield
        except Exception:
            sink.seek(0)
            sys.stderr.write(sink.read().decode("utf-8", "replace"))
            raise


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A net with its input front, ready for ``torch.export``; inputs and outputs in the order of the module's own.

    ``planes`` is ``module`` without cast and permute of the image, for runtimes that take pixel buffers themselves; its
    inputs have the shapes ``plane_shapes``.
    """

    module: torch.nn.Module
    examples: tuple[torch.Tensor, ...]
    planes: torch.nn.Module
    plane_shapes: tuple[tuple[int, ...], ...]
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    text: str  # ``edgeslim_meta``


def prepare(
    net: torch.nn.Module,
    examples: Mapping[str, torch.Tensor],
    outputs: Sequence[str],
    option: InputOption,
    metadata: Metadata,
) -> Prepared:
    """Put the input option's operations in front of ``net``, and name what goes in and comes out.

    Raises:
        ExportError: another number of results than names, a result that is not float32, an image that does not come
            first, or ``metadata`` has not one mean and std per channel of the image, or not one label per class.
    """
    import torch

    from edgeslim.targets.front import Normalised, Pixels

    net = net.eval()
    zeros = tuple(torch.zeros(tuple(example.shape)) for example in examples.values())
    inputs = tuple(_described(name, zero) for name, zero in zip(examples, zeros, strict=True))
    with torch.inference_mode():
        made = net(*zeros)
    results = tuple(made) if isinstance(made, list | tuple) else (made,)
    if len(results) != len(outputs) or len(set(outputs) | set(examples)) != len(outputs) + len(examples):
        raise ExportError(f"the net gives {len(results)} tensors, they cannot be called {', '.join(outputs)}")
    given = tuple(_described(name, result) for name, result in zip(outputs, results, strict=True))
    if any(tensor.dtype != "float32" for tensor in given):
        raise ExportError(f"the net gives {', '.join(tensor.dtype for tensor in given)}, expected float32")
    _check_labels(metadata, given)
    if INPUT_NAME in examples:
        if inputs[0].name != INPUT_NAME or len(inputs[0].shape) != 4:
            raise ExportError(f"the input {INPUT_NAME!r} must come first and be [1, C, H, W]")
        channels = inputs[0].shape[1]
        if not len(metadata.mean) == len(metadata.std) == channels:
            raise ExportError(f"the net takes {channels} channels, but mean and std are for {len(metadata.mean)}")
    module = planes = net
    shapes = tuple(tensor.shape for tensor in inputs)
    if option is InputOption.NHWC_UINT8:
        if INPUT_NAME not in examples:
            raise ExportError(f"pixels need an input {INPUT_NAME!r}; the net takes {', '.join(examples)}")
        planes = Normalised(net, metadata.mean, metadata.std).eval()
        module = Pixels(planes).eval()
        batch, channels, height, width = inputs[0].shape
        pixels = torch.zeros((batch, height, width, channels), dtype=torch.uint8)
        zeros = (pixels, *zeros[1:])
        inputs = (replace(inputs[0], shape=tuple(pixels.shape), dtype="uint8", layout="NHWC"), *inputs[1:])
    return Prepared(
        module=module,
        examples=zeros,
        planes=planes,
        plane_shapes=shapes,
        inputs=inputs,
        outputs=given,
        text=metadata.to_text(inputs, given),
    )


def _described(name: str, tensor: torch.Tensor) -> TensorInfo:
    shape = tuple(tensor.shape)
    return TensorInfo(name=name, shape=shape, dtype=str(tensor.dtype).removeprefix("torch."), layout=layout_of(shape))


def _check_labels(metadata: Metadata, outputs: Sequence[TensorInfo]) -> None:
    scores = next((tensor for tensor in outputs if tensor.name == OUTPUT_NAME), None)
    if metadata.labels and scores is not None and len(metadata.labels) != scores.shape[1]:
        raise ExportError(f"the net has {scores.shape[1]} classes, but there are {len(metadata.labels)} labels")


class Exporter:
    """``Target.export`` for targets whose exporter starts from a prepared net: they only say how a file is written.

    ``backend`` is what runs the file; ``distributions`` are the packages whose versions decide about its bytes.
    """

    info: TargetInfo
    backend: ClassVar[str]
    distributions: ClassVar[tuple[str, ...]]

    def export(
        self,
        net: torch.nn.Module,
        examples: Mapping[str, torch.Tensor],
        out: Path,
        *,
        metadata: Metadata,
        outputs: Sequence[str] = (OUTPUT_NAME,),
        input_option: InputOption = InputOption.NCHW_FLOAT32,
        precision: str | None = None,
        options: Mapping[str, Any] = NO_OPTIONS,
    ) -> Artifact:
        """As ``Target.export``."""
        self.info.ensure_available(exporting=True)
        self.check_options(options)
        written = self.info.precision(precision)
        with exporting(self.info.name, metadata.label, out) as log:
            prepared = prepare(self.adapted(net, written), examples, outputs, input_option, metadata)
            requires = self.write(prepared, out, metadata=metadata, precision=written, options=options)
        return Artifact(
            target=self.info.name,
            net=metadata.net,
            precision=written.name,
            backend=self.backend,
            input_option=input_option,
            inputs=prepared.inputs,
            outputs=prepared.outputs,
            requires=requires,
            exporters={name: importlib.metadata.version(name) for name in self.distributions},
            files=hash_files(out, self.info.suffix),
            root=out,
            log=log,
        )

    def check_options(self, options: Mapping[str, Any]) -> None:
        """Raises UsageError: a setting that the target does not have, or that has no such value."""
        self.info.check_options(options)

    def adapted(self, net: torch.nn.Module, precision: Precision) -> torch.nn.Module:
        """``net`` in another form where the exporter cannot make this precision of it; else itself."""
        return net

    def write(
        self, prepared: Prepared, out: Path, *, metadata: Metadata, precision: Precision, options: Mapping[str, Any]
    ) -> dict[str, str]:
        """Write the file or directory ``out``, whole or not at all.

        Returns:
            What running it requires: operating system or runtime → least version.
        """
        raise NotImplementedError

"""What every exporter run has in common: silence, a log, a named failure, and the net's input front.

Exporters print from Python and from C++, warn, and log. All of it goes to ``<out>.log`` by redirecting the file
descriptors 1 and 2 of the whole process, so run exports in a process of their own when others must keep printing.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
import tempfile
import traceback
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgeslim.core.width import Width
from edgeslim.errors import EdgeslimError, ExportError, MissingExtraError, UsageError
from edgeslim.files import check_free
from edgeslim.targets.base import INPUT_NAME, OUTPUT_NAME, InputOption, Metadata, Target, TensorSpec

if TYPE_CHECKING:
    import torch


def require(module: str, extra: str) -> None:
    """Raises MissingExtraError unless ``module`` can be imported; imports nothing itself."""
    if importlib.util.find_spec(module) is None:
        raise MissingExtraError(module, extra)


def chosen_precision(target: Target, precision: str | None) -> str:
    """``precision``, or the target's default.

    Raises:
        UsageError: the target does not write it.
    """
    if precision is None:
        return target.precisions[0]
    if precision not in target.precisions:
        raise UsageError(f"the {target.name} target writes {' or '.join(target.precisions)}, not {precision!r}")
    return precision


@contextlib.contextmanager
def exporting(target: str, width: Width, out: Path) -> Iterator[Path]:
    """Run an exporter: yields the log that takes its output; any failure becomes an ExportError that names it.

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
            f"the {target} exporter failed at width {width}: {type(error).__name__}: {reason}",
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
    """A net with its input front, ready for ``torch.export``."""

    module: torch.nn.Module  # takes ``example``, whose shape and dtype are those of ``input``
    example: torch.Tensor
    nchw_module: torch.nn.Module  # the same without cast and permute, for runtimes that take images themselves
    nchw_shape: tuple[int, ...]
    input: TensorSpec
    output: TensorSpec


def prepare(net: torch.nn.Module, example: torch.Tensor, option: InputOption, metadata: Metadata) -> Prepared:
    """Put the input option's operations in front of ``net``.

    Args:
        example: float32 ``[1, C, H, W]``.

    Raises:
        ExportError: ``metadata`` has not one mean and std per input channel, or not one label per class.
    """
    import torch

    from edgeslim.targets.front import Normalised, Pixels

    net = net.eval()
    with torch.inference_mode():
        classes = net(example).shape[1]
    if metadata.labels and len(metadata.labels) != classes:
        raise ExportError(f"the net has {classes} classes, but there are {len(metadata.labels)} labels")
    output = TensorSpec(name=OUTPUT_NAME, shape=(1, classes), dtype="float32", layout="NC")
    shape = batch, channels, height, width = tuple(example.shape)
    if not len(metadata.mean) == len(metadata.std) == channels:
        raise ExportError(f"the net takes {channels} channels, but mean and std are for {len(metadata.mean)}")
    if option is InputOption.NCHW_FLOAT32:
        spec = TensorSpec(name=INPUT_NAME, shape=shape, dtype="float32", layout="NCHW")
        zeros = torch.zeros(shape)
        return Prepared(module=net, example=zeros, nchw_module=net, nchw_shape=shape, input=spec, output=output)
    normalised = Normalised(net, metadata.mean, metadata.std).eval()
    spec = TensorSpec(name=INPUT_NAME, shape=(batch, height, width, channels), dtype="uint8", layout="NHWC")
    return Prepared(
        module=Pixels(normalised).eval(),
        example=torch.zeros(spec.shape, dtype=torch.uint8),
        nchw_module=normalised,
        nchw_shape=shape,
        input=spec,
        output=output,
    )

"""The cheapest exporter there is: every tensor of a net as it is, in one of the layouts and dtypes of real exporters.

No graph is exported and nothing can be run, so hundreds of nets pass in seconds. Layout, order and alignment of a
tensor follow from its name, so a file is the same however often it is made.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from edgeslim.errors import CannotCheckError
from edgeslim.targets.base import NO_OPTIONS, OUTPUT_NAME, Artifact, InputOption, Metadata, Runner, hash_files
from edgeslim.targets.exporting import prepare
from edgeslim.targets.info import FP16, FP32
from edgeslim.targets.reference import ReferenceTarget

REASON = "there is no runtime for it"
LAYOUTS = ((0, 1, 2, 3), (0, 2, 3, 1), (1, 2, 3, 0), (2, 3, 1, 0))  # OIHW, OHWI, IHWO, HWIO
GAPS = (b"", b"\x01", b"\xff\x7f\x80", b"\x11" * 12)


class VerbatimTarget(ReferenceTarget):
    info = replace(ReferenceTarget.info, name="verbatim", suffix=".verbatim", precisions=(FP32, FP16))

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
        written = self.info.precision(precision)
        prepared = prepare(net, examples, outputs, input_option, metadata)
        out.write_bytes(_content(net, prepared.text, half=written.name == "fp16"))
        out.chmod(0o644)
        return Artifact(
            target=self.info.name,
            net=metadata.net,
            precision=written.name,
            backend="none",
            input_option=input_option,
            inputs=prepared.inputs,
            outputs=prepared.outputs,
            requires={},
            exporters={"verbatim": "1"},
            files=hash_files(out, self.info.suffix),
            root=out,
        )

    def load(self, path: Path, *, threads: int = 1) -> Runner:
        raise CannotCheckError(REASON)


def _content(net: torch.nn.Module, text: str, *, half: bool) -> bytes:
    state = net.state_dict()
    pieces = [text.encode()]
    for name in sorted(state, key=lambda one: zlib.crc32(one.encode())):
        choice = zlib.crc32(name.encode())
        array = state[name].numpy()
        if array.ndim == 4:
            array = array.transpose(LAYOUTS[choice % len(LAYOUTS)])
        pieces += [GAPS[choice // 7 % len(GAPS)], array.astype("<f2" if half else "<f4").tobytes(), name.encode()]
    return b"".join(pieces)

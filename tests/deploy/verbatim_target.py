"""The cheapest exporter there is: every tensor of a net as it is, in one of the layouts and dtypes of real exporters.

No graph is exported and nothing can be run, so hundreds of nets pass in seconds. Layout, order and alignment of a
tensor follow from its name, so a file is the same however often it is made.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from edgeslim.errors import CannotCheckError
from edgeslim.targets.base import Metadata, Runner
from edgeslim.targets.exporting import Prepared
from edgeslim.targets.info import FP16, FP32, Precision
from edgeslim.targets.reference import ReferenceTarget

REASON = "there is no runtime for it"
LAYOUTS = ((0, 1, 2, 3), (0, 2, 3, 1), (1, 2, 3, 0), (2, 3, 1, 0))  # OIHW, OHWI, IHWO, HWIO
GAPS = (b"", b"\x01", b"\xff\x7f\x80", b"\x11" * 12)


class VerbatimTarget(ReferenceTarget):
    info = replace(ReferenceTarget.info, name="verbatim", suffix=".verbatim", precisions=(FP32, FP16))
    backend = "none"

    def write(
        self, prepared: Prepared, out: Path, *, metadata: Metadata, precision: Precision, options: Mapping[str, Any]
    ) -> dict[str, str]:
        out.write_bytes(_content(prepared.module, prepared.text, half=precision.name == "fp16"))
        out.chmod(0o644)
        return {}

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

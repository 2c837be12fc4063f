"""``edgeslim.inspect``: what is in a bundle and what each part costs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgeslim.core.bundle import Depth, SlimBundle
from edgeslim.deploy.bundle_reports import InspectReport


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectOptions:
    """``check``: also read and hash every part; ``files``: rebuild every file and compare its hash, too."""

    check: Depth | None = None


def inspect(bundle: str | Path, options: InspectOptions = InspectOptions()) -> InspectReport:
    """The nets, the artifacts and the size of every part of ``bundle``.

    Raises:
        FormatError: it is no bundle, or something in it is not what the manifest says.
    """
    with SlimBundle.open(bundle) as opened:
        if options.check is not None:
            opened.check(options.check)
        return InspectReport.of(opened)

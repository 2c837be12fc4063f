"""What goes along to a board: the core, the targets and the measuring part of edgeslim, as one zip that Python imports.

Nothing is installed there; the board brings Python, numpy and the runtime's own wheel.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import edgeslim

_ROOMS = ("core", "host", "targets", "benchmark/board")
_FILES = ("__init__.py", "errors.py", "files.py", "registry.py", "benchmark/__init__.py")
_SUFFIXES = {".py", ".json"}
_EPOCH = (1980, 1, 1, 0, 0, 0)


def agent_zip() -> bytes:
    """The same bytes for the same sources."""
    package = Path(edgeslim.__file__).parent
    paths = [package / name for name in _FILES]
    for room in _ROOMS:
        paths += [path for path in (package / room).rglob("*") if path.suffix in _SUFFIXES]
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(paths):
            entry = zipfile.ZipInfo(path.relative_to(package.parent).as_posix(), _EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, path.read_bytes())
    return out.getvalue()

"""Puts the example plug-in on the import path as an installer would: the package, and a dist-info beside it."""

from __future__ import annotations

import shutil
import tomllib
from pathlib import Path

SOURCE = Path(__file__).parent / "plugin_package"


def install(folder: Path, *, name: str | None = None) -> Path:
    """Install the example into ``folder``, under another distribution's ``name`` if one is given."""
    project = tomllib.loads((SOURCE / "pyproject.toml").read_text())["project"]
    distribution = name or project["name"]
    shutil.copytree(SOURCE / "edgeslim_example_plugin", folder / "edgeslim_example_plugin", dirs_exist_ok=True)
    about = folder / f"{distribution.replace('-', '_')}-{project['version']}.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {project['version']}\n")
    lines = []
    for group, points in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{point} = {where}" for point, where in points.items())]
    (about / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return folder

"""``edgeslim.export``: one artifact as the runtime's own file."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from edgeslim.core import addressing
from edgeslim.core.bundle import SlimBundle
from edgeslim.core.manifest import artifact_id
from edgeslim.core.width import Width
from edgeslim.deploy.reports import ExportReport
from edgeslim.errors import UsageError
from edgeslim.verbs.addressing import target_name
from edgeslim.verbs.words import LOGGED, Words


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportOptions:
    """``out``: file or ``.mlpackage``; ``artifact``: its id; or ``target`` and ``width`` where exactly one fits, with
    ``variant`` where there are several, and ``nearest`` for the next narrower where there is none of this width."""

    out: Path
    artifact: str | None = None
    target: str | None = None
    width: Width | None = None
    variant: str | None = None
    nearest: bool = False
    overwrite: bool = False


def export(bundle: str | Path, options: ExportOptions, *, words: Words = LOGGED) -> ExportReport:
    """Rebuild one artifact of ``bundle`` byte for byte as its exporter wrote it.

    Raises:
        FormatError: it is no bundle, or damaged.
        UsageError, WidthError: no artifact fits, or several do.
        OutputError: the result is there already, or cannot be written.
    """
    started, o = time.perf_counter(), options
    with SlimBundle.open(bundle) as opened:
        identifier = o.artifact
        if identifier is None:
            if o.target is None or o.width is None:
                raise UsageError("say which artifact", hint="--artifact ID, or --target TARGET --width WIDTH")
            identifier = _fitting(opened, o.target, o.width, o.variant, nearest=o.nearest, words=words)
        elif o.target is not None or o.width is not None or o.variant is not None:
            raise UsageError("--artifact says it all", hint="leave out --target, --width and --variant")
        chosen, entry = opened.find(identifier)
        done = opened.rebuild_artifact(identifier, o.out, overwrite=o.overwrite)
        permille = opened.resolve(entry.net).permille
    seconds = time.perf_counter() - started
    if o.out.suffix != chosen.suffix:
        words.warn(f"{o.out} is a {chosen.suffix} file by content; runtimes may look at the name")
    words.say(f"{o.out}: {sum(file.bytes for file in done.files):,} bytes in {1000 * seconds:.0f} ms, hashes checked")
    return ExportReport(path=o.out, artifact=identifier, permille=permille, files=done.files, seconds=round(seconds, 6))


def _fitting(bundle: SlimBundle, target: str, width: Width, variant: str | None, *, nearest: bool, words: Words) -> str:
    """The only artifact of a target and width; says where another name was meant."""
    name = target_name(bundle.manifest, target)
    chosen = addressing.nearest(bundle.manifest, name, width, variant) if nearest else width
    found, artifact = bundle.artifact(name, chosen, variant=variant)
    first = bundle.resolve(artifact.net).permille
    if chosen != width:
        words.say(f"there is no {width}x; the next narrower is {chosen}x")
    elif first is not None and first != width.permille:
        words.say(f"{width}x is the same net as {Width(first)}x")
    return artifact_id(found.id, artifact.net)

"""``report.html``: one self-contained page about a demo, made from the verbs' own JSON results.

    outcomes ─► sections (figure + table + the command that made it) ─► page.html.in ─► report.html

No script, no font, no address is loaded: the page works from a mail attachment.
"""

from __future__ import annotations

import base64
import html
import importlib.metadata
import platform
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any

import edgeslim
from edgeslim import targets as target_table
from edgeslim.demo import figures
from edgeslim.demo.steps import TRACES, Outcome
from edgeslim.files import write_atomically

Document = dict[str, Any]


def write(folder: Path, outcomes: Sequence[Outcome], *, left_out: Mapping[str, str]) -> Path:
    """Write ``folder/report.html``; sections of steps that did not run are left out.

    Args:
        left_out: target → why it was not used.
    """
    results = {outcome.step.name: outcome.document for outcome in outcomes}
    sections = [
        *_spectrum(results),
        *_bundle(results),
        *_verified(results),
        *_measured(results),
        *_simulated(results, folder / TRACES / "balanced.png"),
        _steps(outcomes),
    ]
    template = Template(Path(__file__).with_name("page.html.in").read_text(encoding="utf-8"))
    page = template.substitute(
        summary=html.escape(_summary(results)),
        notes="".join(f'<p class="note">{html.escape(f"{name}: {why}")}</p>' for name, why in left_out.items()),
        sections="\n".join(sections),
        versions=html.escape(_versions()),
    )
    path = folder / "report.html"
    with write_atomically(path, overwrite=True) as out:
        out.write(page.encode("utf-8"))
    return path


def _summary(results: Mapping[str, Document]) -> str:
    rows = results["evaluate"]["rows"]
    low, high = rows[0], rows[-1]
    text = (
        f"One network, {len(rows)} widths: {100 * low['top1']:.1f} % at {_x(low)} to {100 * high['top1']:.1f} % "
        f"at {_x(high)} on {results['evaluate']['images']} held-out digits."
    )
    if "inspect" in results:
        parts, targets = results["inspect"]["parts"], results["inspect"]["targets"]
        separate = sum(f["bytes"] for rows in targets.values() for row in rows for f in row["files"])
        count = sum(len(rows) for rows in targets.values())
        text += (
            f" One bundle of {sum(parts.values()) / 1e6:.2f} MB rebuilds {count} files "
            f"({separate / 1e6:.2f} MB) for {', '.join(targets)}, byte for byte."
        )
    return text


def _x(row: Document) -> str:
    return f"{row['permille'] / 1000:g}x"


def _section(title: str, words: str, figure: str | bytes, alt: str, table: str) -> str:
    """One card; ``figure`` is SVG text, PNG bytes, or empty."""
    picture = ""
    if figure:
        kind, content = ("svg+xml", figure.encode("utf-8")) if isinstance(figure, str) else ("png", figure)
        data = base64.b64encode(content).decode("ascii")
        picture = f'<img alt="{html.escape(alt)}" src="data:image/{kind};base64,{data}">'
    return f"<section><h2>{html.escape(title)}</h2><p>{html.escape(words)}</p>{picture}{table}</section>"


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    def cells(tag: str, row: Sequence[object]) -> str:
        return "".join(f"<{tag}>{html.escape(str(cell))}</{tag}>" for cell in row)

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{cells("th", head)}</tr></thead><tbody>{body}</tbody></table></div>'


def _spectrum(results: Mapping[str, Document]) -> Iterable[str]:
    counted = {row["permille"]: row for row in results["profile"]["rows"]}
    rows = [
        (
            _x(r),
            f"{counted[r['permille']]['macs']:,}",
            f"{counted[r['permille']]['params']:,}",
            f"{100 * r['top1']:.1f}",
        )
        for r in results["evaluate"]["rows"]
        if r["permille"] in counted
    ]
    yield _section(
        "Accuracy and work",
        "Every point is a prefix slice of the same weights, with BatchNorm statistics of its own.",
        figures.spectrum(results["evaluate"], results["profile"]),
        "accuracy against multiply-adds",
        _table(("width", "multiply-adds", "parameters", "top-1, %"), rows),
    )


def _bundle(results: Mapping[str, Document]) -> Iterable[str]:
    if "pack" not in results:
        return
    packed = results["pack"]["rows"]
    rows = [
        (
            row["target"],
            _x(row),
            f"{row['artifact_bytes']:,}",
            f"{row['template_bytes'] + row['recipe_bytes']:,}",
            f"{100 * row['explained_bytes'] / max(1, row['explained_bytes'] + row['literal_bytes']):.2f}",
        )
        for row in packed
    ]
    yield _section(
        "Anatomy of the bundle",
        "The full-width weights are stored once; each file keeps only what is left when the weights are taken out.",
        figures.anatomy(results["inspect"]),
        "bytes of separate files and of the bundle's parts",
        _table(("target", "width", "file, bytes", "kept for it, bytes", "constants explained, %"), rows),
    )


def _verified(results: Mapping[str, Document]) -> Iterable[str]:
    if "verify" not in results:
        return
    rows = [
        (
            row["target"],
            _x(row),
            row["runtime"],
            "same bytes" if row["hash_ok"] else "DIFFERENT",
            f"{row['sqnr_db']:.1f}" if row["checked"] else "not run here",
            f"{row['max_abs_error']:.1e}" if row["checked"] else "",
        )
        for row in results["verify"]["rows"]
    ]
    yield _section(
        "Verified",
        "Each file was rebuilt from the bundle, hashed, run, and compared with the folded PyTorch net. "
        "coreml-mil is the saved program evaluated operation by operation where Core ML itself is not available.",
        "",
        "",
        _table(("target", "width", "ran in", "file", "SQNR, dB", "max error"), rows),
    )


def _measured(results: Mapping[str, Document]) -> Iterable[str]:
    if "bench" not in results:
        return
    measured = [row for row in results["bench"]["rows"] if row["p50_ms"] is not None]
    rows = [
        (
            row["target"],
            f"{row['width_permille'] / 1000:g}x",
            f"{row['p50_ms']:.3f}",
            f"{row['p99_ms']:.3f}",
            row["runs"],
            "yes" if row["valid"] else "no: " + ", ".join(row["reasons"]),
        )
        for row in measured
    ]
    machine = measured[0]["device"]["model"] if measured else "this machine"
    yield _section(
        "Measured on this machine",
        f"{machine}; widths take turns in short blocks, so that nothing favours one of them.",
        figures.latency(measured),
        "latency against width",
        _table(("target", "width", "p50, ms", "p99, ms", "runs", "valid"), rows),
    )


def _simulated(results: Mapping[str, Document], trace: Path) -> Iterable[str]:
    if "simulate" not in results:
        return
    ranked = sorted(results["simulate"]["rows"], key=lambda row: -row["score"])
    rows = [
        (
            row["policy"],
            f"{row['score']:.1f}",
            f"{row['delivered_accuracy']:.1f}",
            f"{100 * row['miss_rate']:.2f}",
            f"{row['switches_per_min']:.1f}",
            f"{100 * row['share_43c']:.1f}",
        )
        for row in ranked
    ]
    yield _section(
        "A hot afternoon",
        "A simulated phone with the measured table, so much slower than this machine that the widest net takes 20 ms "
        "while it is cool: in time for 30 frames per second, until the clock falls. Rows that do not count are used "
        "here all the same. Delivered accuracy counts a late frame as wrong; balanced gives width away to keep the "
        "skin below 43 °C, quality does not; the oracle knows the clock frequency and is there to compare with.",
        trace.read_bytes() if trace.is_file() else b"",
        "width, latency and temperature over time",
        _table(("policy", "score", "delivered %", "missed %", "switches/min", "≥ 43 °C %"), rows),
    )


def _steps(outcomes: Sequence[Outcome]) -> str:
    rows = "".join(
        f"<tr><td>{html.escape(o.step.purpose)}<br><code>{html.escape(o.step.command)}</code></td>"
        f"<td>{o.seconds:.1f} s</td></tr>"
        for o in outcomes
    )
    return (
        "<section><h2>Do it again</h2><p>Run in this folder, one after another.</p>"
        f'<div class="scroll"><table class="steps"><tbody>{rows}</tbody></table></div></section>'
    )


def _versions() -> str:
    found = [f"edgeslim {edgeslim.__version__}", f"Python {platform.python_version()}"]
    brings = importlib.metadata.packages_distributions()
    infos = [target_table.get(name).info for name in target_table.names()]
    modules = ["numpy", *(module for info in infos for module in (*info.exporter.modules, *info.runtime.modules))]
    for package in dict.fromkeys(package for module in modules for package in brings.get(module, ())):
        found.append(f"{package} {importlib.metadata.version(package)}")
    return " · ".join((*found, platform.platform(terse=True), platform.machine()))

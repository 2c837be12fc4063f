"""``report.html``: one self-contained page about a demo, made from the verbs' own JSON results.

    outcomes ─► three numbers, sections, one small table per runtime ─► page.html.in ─► report.html

No script, no font, no address is loaded: the page works from a mail attachment, and every row of it is on paper too.
"""

from __future__ import annotations

import base64
import html
import importlib.metadata
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any

import edgeslim
from edgeslim import targets as target_table
from edgeslim.demo import figures
from edgeslim.demo.headline import FIXED, OURS, Sizes, numbers, percent, x
from edgeslim.demo.steps import TRACES, Outcome
from edgeslim.files import write_atomically

Document = dict[str, Any]

# What decides the width, for people; in the order of the page.
POLICIES = {
    OURS: "edgeslim, balanced: gives width away before the phone throttles",
    "quality": "edgeslim, quality: as wide as time allows",
    FIXED: "fixed, the widest",
    "narrowest": "fixed, the narrowest",
    "naive": "the widest that would have met the last frame's deadline",
    "threshold": "one down after a late frame, one up after 30 with room",
    "oracle": "knows the clock of every frame beforehand: the bound",
}
WORDS = {
    "width": "the share of channels that a net uses: 0.5x is half of every layer",
    "runtime": "what runs a model file on a device: ExecuTorch, Core ML, Core AI, LiteRT",
    "kept": "what the bundle stores for one file alone; the weights stand in it once, for all files",
    "match": "how close the runtime's answers are to PyTorch's: signal to error, 40 dB is 1 %, 60 dB 0.1 %",
    "p50, p99": "half, and 99 of 100, inferences took no longer",
    "late": "a frame whose inference took longer than the camera leaves until the next one",
    "right in time": "right answers of all frames, a late one counted as wrong",
}


def write(folder: Path, outcomes: Sequence[Outcome], *, left_out: Mapping[str, str]) -> Path:
    """Write ``folder/report.html``; sections of steps that did not run are left out.

    Args:
        left_out: target → why it was not used.
    """
    results = {outcome.step.name: outcome.document for outcome in outcomes}
    sections = [
        *_simulated(results, folder / TRACES / f"{OURS}.png"),
        *_spectrum(results),
        *_bundle(results),
        *_runtimes(results),
        _words(),
        _steps(outcomes),
    ]
    lead = "A slimmable network, trained on scans of handwritten digits"
    if "inspect" in results:
        lead += f", packed for {', '.join(results['inspect']['targets'])}"
    template = Template(Path(__file__).with_name("page.html.in").read_text(encoding="utf-8"))
    page = template.substitute(
        lead=html.escape(f"{lead}; all of it done by one command on this machine. In three numbers:"),
        numbers="".join(
            f'<div class="number"><strong>{html.escape(one.figure)}</strong><b>{html.escape(one.what)}</b>'
            f"<p>{html.escape(one.words)}</p></div>"
            for one in numbers(results)
        ),
        notes="".join(
            f'<p class="note">Without {html.escape(name)}: {html.escape(why)}</p>' for name, why in left_out.items()
        ),
        sections="\n".join(sections),
        versions=html.escape(_versions()),
    )
    path = folder / "report.html"
    with write_atomically(path, overwrite=True) as out:
        out.write(page.encode("utf-8"))
    return path


def _section(title: str, words: str, *content: str) -> str:
    return f"<section><h2>{html.escape(title)}</h2><p>{html.escape(words)}</p>{''.join(content)}</section>"


def _picture(figure: str | bytes, alt: str) -> str:
    """SVG text or PNG bytes; nothing for neither."""
    if not figure:
        return ""
    kind, content = ("svg+xml", figure.encode("utf-8")) if isinstance(figure, str) else ("png", figure)
    data = base64.b64encode(content).decode("ascii")
    return f'<img alt="{html.escape(alt)}" src="data:image/{kind};base64,{data}">'


def _table(head: Sequence[str], rows: Iterable[Sequence[object]], *, title: str = "") -> str:
    def cells(tag: str, row: Sequence[object]) -> str:
        return "".join(f"<{tag}>{html.escape(str(cell))}</{tag}>" for cell in row)

    caption = f"<caption>{html.escape(title)}</caption>" if title else ""
    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return f"<table>{caption}<thead><tr>{cells('th', head)}</tr></thead><tbody>{body}</tbody></table>"


def _simulated(results: Mapping[str, Document], trace: Path) -> Iterator[str]:
    if "simulate" not in results:
        return
    found = results["simulate"]
    by_policy = {row["policy"]: row for row in found["rows"]}
    rows = [
        (
            words,
            percent(by_policy[policy]["miss_rate"]),
            f"{by_policy[policy]['delivered_accuracy']:.1f} %",
            percent(by_policy[policy]["share_43c"]),
            f"{by_policy[policy]['switches_per_min']:.1f}",
        )
        for policy, words in POLICIES.items()
        if policy in by_policy
    ]
    widest = found["ladder"][-1]
    rungs = ", ".join(rung["label"] for rung in found["ladder"])
    yield _section(
        "A hot afternoon",
        f"A model of a phone in the sun, {found['minutes']:g} minutes, seed {found['seed']}. Its speed is set so that "
        f"{widest['label']} takes {widest['t_us'] / 1000:g} ms while it is cool: in time for {found['fps']} frames per "
        f"second, until heat slows the clock. How much faster narrower nets are was measured on this machine; the "
        f"controller chooses among {rungs}, and leaves out widths that are no better than a faster one.",
        '<div class="beside">',
        _picture(trace.read_bytes() if trace.is_file() else b"", "width, latency and temperature over time"),
        _table(("what decides the width", "late", "right in time", "≥ 43 °C", "switches a minute"), rows),
        "</div>",
    )


def _spectrum(results: Mapping[str, Document]) -> Iterator[str]:
    counted = {row["permille"]: row for row in results["profile"]["rows"]}
    rows = [
        (
            x(row["permille"]),
            f"{100 * row['top1']:.1f} %",
            f"{counted[row['permille']]['macs'] / 1e6:.1f} M",
            f"{counted[row['permille']]['params'] / 1e6:.2f} M",
        )
        for row in results["evaluate"]["rows"]
        if row["permille"] in counted
    ]
    yield _section(
        "One network, every width",
        "Every point is a slice of the same weights, with BatchNorm statistics of its own. A few epochs on a small "
        "data set: neighbours may change places.",
        '<div class="beside">',
        _picture(figures.spectrum(results["evaluate"], results["profile"]), "right answers against multiply-adds"),
        _table(("width", "right answers", "multiply-adds", "parameters"), rows),
        "</div>",
    )


def _bundle(results: Mapping[str, Document]) -> Iterator[str]:
    if "inspect" not in results:
        return
    sizes = Sizes.of(results["inspect"])
    parts = results["inspect"]["parts"]
    names = {
        "weights": "weights of the widest net, once",
        "folds": "BatchNorm of every width",
        "templates": "what is left of every file without its weights",
        "recipes": "where in each file the weights go",
        "manifest": "table of contents",
        "header": "header",
    }
    rows = [
        (words, f"{parts[name] / 1e6:.2f} MB", f"{100 * parts[name] / sizes.bundle:.1f} %")
        for name, words in names.items()
    ]
    yield _section(
        "What is in the bundle",
        "The weights are stored once. Each runtime's own file is rebuilt from them on the device, byte for byte.",
        '<div class="beside">',
        _picture(
            figures.sizes(
                [("one model", sizes.one), ("the bundle", sizes.bundle), (f"{sizes.files} files", sizes.separate)]
            ),
            "bytes of one model, of the bundle, and of separate files",
        ),
        _table(("part", "size", "share"), rows),
        "</div>",
    )


def _runtimes(results: Mapping[str, Document]) -> Iterator[str]:
    """One small table per runtime: what each file is, that it is right, how fast it is."""
    if "inspect" not in results:
        return
    checked = {row["artifact"]: row for row in results.get("verify", {}).get("rows", ())}
    timed = {row["artifact"]: row for row in results.get("bench", {}).get("rows", ()) if row["p50_ms"] is not None}
    tables = []
    for target, entries in results["inspect"]["targets"].items():
        mine = [checked[entry["artifact"]] for entry in entries if entry["artifact"] in checked]
        clock = any(entry["artifact"] in timed for entry in entries)
        heads = ("width", "file", "kept", "match", *(("p50", "p99") if clock else ()))
        where = next((row["runtime"] for row in mine if row["runtime"]), None)
        title = f"{target}: " + (f"run in {where}" if where else "not run on this machine")
        tables.append(_table(heads, [_cells(entry, checked, timed, clock) for entry in entries], title=title))
    words = "Each file was rebuilt from the bundle, its hash compared, run, and its answers compared with PyTorch's. "
    words += "coreml-mil is the saved Core ML program, operation by operation, where Core ML itself is not available."
    rows = results.get("bench", {}).get("rows", ())
    yield _section(
        "Every runtime",
        words,
        f'<div class="tables">{"".join(tables)}</div>',
        _picture(figures.latency(list(timed.values())), "latency against width") if timed else "",
        "".join(f'<p class="note">{html.escape(text)}</p>' for text in _doubts(rows)),
    )


def _cells(
    entry: Document, checked: Mapping[str, Document], timed: Mapping[str, Document], clock: bool
) -> tuple[str, ...]:
    artifact, row = entry["artifact"], checked.get(entry["artifact"])
    match = "–"
    if row is not None:
        match = "WRONG BYTES" if not row["hash_ok"] else f"{row['sqnr_db']:.0f} dB" if row["checked"] else "–"
    time = timed.get(artifact)
    mark = "" if time is None or time["valid"] else "*"
    times = ("–", "–") if time is None else (f"{time['p50_ms']:.2f} ms{mark}", f"{time['p99_ms']:.2f} ms")
    return (
        x(entry["permille"]),
        f"{entry['artifact_bytes'] / 1e6:.2f} MB",
        f"{(entry['template_bytes'] + entry['recipe_bytes']) / 1e3:.0f} kB",
        match,
        *(times if clock else ()),
    )


def _doubts(rows: Sequence[Document]) -> Iterator[str]:
    """Which times do not count, each reason once."""
    doubtful = [row for row in rows if not row["valid"]]
    if rows:
        device = rows[0]["device"]
        where = device["soc"] or device["model"]
        yield f"Measured on {where}; widths take turns in short blocks, so that nothing favours one."
    if doubtful:
        reasons = dict.fromkeys(reason.partition(":")[0] for row in doubtful for reason in row["reasons"])
        yield (
            f"* {len(doubtful)} of {len(rows)} times do not count by the rules of edgeslim bench "
            f"({', '.join(reasons)}): this machine was busy, or the demo's short runs were too few."
        )


def _words() -> str:
    items = "".join(f"<dt>{html.escape(word)}</dt><dd>{html.escape(text)}</dd>" for word, text in WORDS.items())
    return f"<section><h2>Words</h2><dl>{items}</dl></section>"


def _steps(outcomes: Sequence[Outcome]) -> str:
    rows = "".join(
        f"<tr><td>{html.escape(o.step.purpose)}<br><code>{html.escape(o.step.command)}</code></td>"
        f"<td>{o.seconds:.1f} s</td></tr>"
        for o in outcomes
    )
    return (
        "<section><h2>Do it again</h2><p>Run in this folder, one after another; each step's result is in "
        f'logs/.</p><table class="steps"><tbody>{rows}</tbody></table></section>'
    )


def _versions() -> str:
    found = [f"edgeslim {edgeslim.__version__}", f"Python {platform.python_version()}"]
    brings = importlib.metadata.packages_distributions()
    infos = [target_table.get(name).info for name in target_table.names()]
    modules = ["numpy", *(module for info in infos for module in (*info.exporter.modules, *info.runtime.modules))]
    for package in dict.fromkeys(package for module in modules for package in brings.get(module, ())):
        found.append(f"{package} {importlib.metadata.version(package)}")
    return " · ".join((*found, platform.platform(terse=True), platform.machine()))

"""Fixtures of the whole house."""

from __future__ import annotations

import functools
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import click
import jsonschema
import pytest
from plugins import install

from edgeslim.cli.console import Console
from edgeslim.core.strict_json import encode

# One thread per process, here and in every process a test starts: the runner already uses all cores, and OpenMP
# threads that wait for each other on a busy machine are many times slower than one.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# Whoever started the tests in the background may have left Ctrl-C ignored, and processes that tests start inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

_ROOT = Path(__file__).resolve().parent.parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long modules begin first, so that at the end no core waits for the other (``--no-loadscope-reorder``)."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


@pytest.fixture(scope="session")
def cifar_zip() -> Path:
    """A zip of real 32 px JPEG images in ``train/<class>/`` and ``test/<class>/`` folders, where there is one."""
    path = Path(os.environ.get("EDGESLIM_TEST_IMAGES", _ROOT.parent / "shared" / "data" / "cifar10-jpeg.zip"))
    if not path.is_file():
        pytest.skip(
            "no image archive here: set EDGESLIM_TEST_IMAGES to a zip of train/<class>/*.jpg, test/<class>/*.jpg"
        )
    return path


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the path in which the package of tests/plugin_package is installed."""
    folder = install(tmp_path / "site")
    monkeypatch.syspath_prepend(str(folder))
    for name in [name for name in sys.modules if name.startswith("edgeslim_example_plugin")]:
        monkeypatch.delitem(sys.modules, name)
    return folder


@functools.cache
def schema_of_verb(verb: str) -> jsonschema.Draft202012Validator:
    """What ``edgeslim VERB --json`` promises to print."""
    path = _ROOT / "edgeslim" / "cli" / f"{verb}.schema.json"
    return jsonschema.Draft202012Validator(json.loads(path.read_text(encoding="utf-8")))


@pytest.fixture(autouse=True)
def results_keep_their_schema(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a verb prints in any test, with --json or without, is what its schema says."""
    print_result = Console.result

    def checked(self: Console, report: Any, *tables: Any) -> None:
        context = click.get_current_context(silent=True)
        if context is not None:
            schema_of_verb(str(context.info_name)).validate(json.loads(json.dumps(encode(report), allow_nan=False)))
        print_result(self, report, *tables)

    monkeypatch.setattr(Console, "result", checked)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """One line on what this run did not prove, and why."""
    skipped = terminalreporter.stats.get("skipped", [])
    reasons = sorted({report.longrepr[2].removeprefix("Skipped: ") for report in skipped if report.longrepr})
    slow = "slow" if "not slow" in terminalreporter.config.getoption("markexpr", "") else ""
    parts = [f"{len(skipped)} skipped ({'; '.join(reasons)})"] if skipped else ["nothing skipped"]
    if slow:
        parts.append("slow tests left to `make test-all`")
    terminalreporter.write_line(f"not proved by this run: {', '.join(parts)}")

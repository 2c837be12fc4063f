"""Jobs and events travel as tests/golden/jobs says, byte for byte, and what it lists is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from edgeslim.core.events import EVENTS
from edgeslim.core.job import Job
from edgeslim.errors import DeviceError, UsageError

FOLDER = Path(__file__).parents[1] / "golden" / "jobs"


def records(name: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in (FOLDER / name).read_text().splitlines()]


def test_the_files_are_what_their_generator_writes() -> None:
    maker = FOLDER.parent / "make_jobs.py"
    assert subprocess.run([sys.executable, str(maker), "--check"], check=False).returncode == 0


@pytest.mark.parametrize("path", sorted(FOLDER.glob("job-*.json")), ids=lambda path: path.stem)
def test_a_job_is_read_and_written_again(path: Path) -> None:
    assert Job.from_json(path.read_text()).to_json() + "\n" == path.read_text()


@pytest.mark.parametrize("path", sorted(FOLDER.glob("event-*.json")), ids=lambda path: path.stem)
def test_an_event_is_read_and_written_again(path: Path) -> None:
    assert EVENTS.to_line(EVENTS.from_line(path.read_bytes())) == path.read_bytes()


@pytest.mark.parametrize("record", records("accepted.jsonl"), ids=lambda record: record["text"][:40])
def test_other_texts_of_the_same(record: dict[str, str]) -> None:
    read = Job.from_json if record["what"] == "job" else EVENTS.from_line
    assert read(record["text"]) == read((FOLDER / record["same_as"]).read_text())


@pytest.mark.parametrize("record", records("refused.jsonl"), ids=lambda r: f"{r['what']}-{r['reason']}")
def test_what_must_be_refused(record: dict[str, str]) -> None:
    if record["what"] == "job":
        with pytest.raises(UsageError):
            Job.from_json(record["text"])
    else:
        with pytest.raises(DeviceError):
            EVENTS.from_line(record["text"])


def test_every_kind_of_event_has_a_line() -> None:
    kinds = {json.loads(path.read_text())["is"] for path in FOLDER.glob("event-*.json")}
    assert kinds == set(EVENTS._kinds)

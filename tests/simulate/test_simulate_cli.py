"""``edgeslim simulate`` through the command line: one JSON document, exit codes, pictures."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from edgeslim.cli.main import main
from edgeslim.core.policy import PRESETS

sys.path.insert(0, str(Path(__file__).parents[1] / "core"))
sys.path.insert(0, str(Path(__file__).parent))
from latency_rows import failed_row, full_table, table, timed
from test_replay import recorded, write

SHORT = ("--minutes", "0.2")


def simulate(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, Any]:
    code = main(["simulate", *args, "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_all_policies_on_the_builtin_table(capsys: pytest.CaptureFixture[str]) -> None:
    code, document = simulate(capsys, "--table", "builtin", "--scenario", "room", "--seed", "3", *SHORT)
    assert code == 0
    assert (document["scenario"], document["seed"], len(document["rows"])) == ("room", 3, 11)
    assert all(row["regret"] is not None for row in document["rows"])
    assert document["rows"][-1]["policy"] == "oracle"
    assert simulate(capsys, "--scenario", "room", "--seed", "3", *SHORT)[1] == document


def test_one_policy_has_no_regret(capsys: pytest.CaptureFixture[str]) -> None:
    code, document = simulate(capsys, "--policy", "balanced", *SHORT)
    assert code == 0
    assert [row["regret"] for row in document["rows"]] == [None]


def test_a_table_from_bench(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    table(failed_row(), *(timed(p, p / 33) for p in range(300, 1001, 50))).write(path)
    code, document = simulate(capsys, str(path), "--policy", "balanced,static:1.0", "--load-ms", "300", *SHORT)
    assert code == 0
    labels = [rung["label"] for rung in document["ladder"]]
    assert (labels[0], labels[-1]) == ("0.3x", "1.0x")
    assert len(labels) <= 7
    assert document["metric"] == "width"
    assert document["ladder"][-1]["accuracy"] == 100


def test_a_table_of_a_fast_machine_is_as_tight_as_a_phone(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    table(*(timed(p, p / 500) for p in (250, 500, 750, 1000))).write(path)
    assert main(["simulate", str(path), "--policy", "balanced", "--json", *SHORT]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["ladder"][-1]["t_us"] == 20_000
    assert "this device is fast" in err
    assert main(["simulate", str(path), "--policy", "balanced", "--widest-ms", "2", "--json", *SHORT]) == 0
    assert json.loads(capsys.readouterr().out)["ladder"][-1]["t_us"] == 2_000


def test_then_the_widest_fits_while_cool_and_not_when_hot(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Else every policy that keeps time is the same, or the widest is late from the first frame."""
    path = tmp_path / "table.json"
    table(*(timed(p, p / 500) for p in (250, 500, 750, 1000))).write(path)
    late = {}
    for place in ("room", "hot"):
        code, document = simulate(capsys, str(path), "--policy", "widest", "--scenario", place)
        assert code == 0
        late[place] = document["rows"][0]["miss_rate"]
    assert late["room"] < 0.05
    assert 0.5 < late["hot"] < 0.9


def test_a_policy_file_and_another_frame_rate(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "kiosk.json"
    path.write_text(PRESETS["quality"].to_json())
    code, document = simulate(capsys, "--policy", str(path), "--fps", "60", *SHORT)
    assert code == 0
    assert (document["rows"][0]["policy"], document["fps"]) == ("kiosk", 60)


def test_pictures_and_words(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    folder = tmp_path / "plots"
    assert main(["simulate", "--policy", "static:0.5,oracle", "--plot", str(folder), *SHORT]) == 0
    out, err = capsys.readouterr()
    assert "static:0.5" in out
    assert "next:" in err
    assert sorted(path.name for path in folder.iterdir()) == ["oracle.png", "static-0.5.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in folder.iterdir())
    assert main(["simulate", "--policy", "oracle", "--plot", str(folder), *SHORT]) == 2


def test_replay(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    _, frames = recorded(0.2)
    log = write(tmp_path / "log.jsonl", frames)
    assert (
        main(["simulate", "--replay", str(log), "--policy", "balanced,naive", "--plot", str(tmp_path), "--json"]) == 0
    )
    out, err = capsys.readouterr()
    document = json.loads(out)
    assert document["scenario"] == "log.jsonl"
    assert f"balanced repeats {len(frames)} of {len(frames)} recorded decisions" in err


def test_list(capsys: pytest.CaptureFixture[str]) -> None:
    code, document = simulate(capsys, "--list")
    assert code == 0
    assert "very_hot" in document["scenarios"]
    assert "static:0.75x" in document["policies"]


@pytest.mark.parametrize(
    "args",
    [
        ("--scenario", "oven"),
        ("--policy", "blanced"),
        ("--policy", ","),
        ("--minutes", "0"),
        ("--replay", "nowhere.jsonl"),
        ("nowhere.json",),
        ("nowhere.json", "--table", "builtin"),
        ("--fps", "250", "--scenario", "video_call"),
        ("--fps", "1000", "--minutes", "60"),
    ],
)
def test_bad_input_is_exit_code_2(capsys: pytest.CaptureFixture[str], args: tuple[str, ...]) -> None:
    code, document = simulate(capsys, *args)
    assert code == 2
    assert set(document["error"]) == {"name", "message", "hint"}


def test_a_policy_file_that_breaks_a_rule(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    path.write_text('{"policy_version": 1, "dwell_us": -1}')
    code, document = simulate(capsys, "--policy", str(path))
    assert (code, document["error"]["name"]) == (2, "policy-out-of-range")


def test_a_table_with_one_width_is_simulated_with_a_warning(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    full_table().write(path)
    assert main(["simulate", str(path), "--json", *SHORT]) == 0
    out, err = capsys.readouterr()
    assert "warning: only 0.5x" in err
    assert len({row["delivered_accuracy"] for row in json.loads(out)["rows"]}) == 1

"""``edgeslim bench`` from the outside: documents, files and exit codes."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

import pytest
from fake_bundle import write_bundle

from edgeslim.cli.main import main
from edgeslim.core.bundle import SlimBundle
from edgeslim.core.latency import LatencyTable
from edgeslim.errors import MissingExtraError
from edgeslim.press.build import BundleContent
from edgeslim.press.build import write_bundle as write_bundle_content
from edgeslim.press.combine import merge
from edgeslim.targets import runtimes

QUICK = ["--seconds", "0.02", "--runs", "5", "--limit", "0.3", "--retries", "0"]
PLANS = {250: {"burn_ms": 0.5}, 500: {"burn_ms": 1.0}, 1000: {"burn_ms": 2.0}}
TOP1 = {250: 0.5, 500: 0.6, 1000: 0.7}


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "fake.slim", PLANS, top1=TOP1, aliases={505: 500})


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of all widths."""
    folder = tmp_path_factory.mktemp("measured")
    path = write_bundle(folder / "fake.slim", PLANS, top1=TOP1, aliases={505: 500})
    assert main(["bench", str(path), "-o", str(folder / "t.json"), "-q", *QUICK]) == 0
    return folder / "t.json"


def run(capsys: pytest.CaptureFixture[str], *args: object) -> tuple[int, Any, str]:
    """(exit code, the JSON document on stdout, stderr)."""
    code = main(["bench", *map(str, args), "--json"])
    out, err = capsys.readouterr()
    return code, json.loads(out), err


def test_a_table_on_stdout_and_on_the_disk(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, sheet = tmp_path / "t.json", tmp_path / "t.csv"
    code, document, err = run(capsys, bundle, "-o", out, "--csv", sheet, "--widths", "0.25,0.505,0.5", *QUICK)
    assert code == 0
    assert [row["width_permille"] for row in document["rows"]] == [250, 500]  # the alias is no second row
    assert document["quality"]["metric"] == "top1"
    assert LatencyTable.read(out).to_json() == LatencyTable.from_json(json.dumps(document)).to_json()
    assert "p50" in err
    lines = list(csv.DictReader(io.StringIO(sheet.read_text())))
    assert [line["width_permille"] for line in lines] == ["250", "500"]
    assert float(lines[0]["p50_ms"]) == pytest.approx(document["rows"][0]["p50_ms"])


def test_resume_goes_on(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "t.json"
    assert run(capsys, bundle, "-o", out, "--widths", "0.25", *QUICK)[0] == 0
    first = LatencyTable.read(out).rows
    code, document, _ = run(capsys, bundle, "-o", out, "--resume", *QUICK)
    assert code == 0
    assert [row["width_permille"] for row in document["rows"]] == [250, 500, 1000]
    assert LatencyTable.read(out).rows[0] == first[0]
    code, again, err = run(capsys, bundle, "-o", out, "--resume", *QUICK)
    assert (code, again) == (0, document)
    assert "p50" not in err  # nothing was measured


def test_threads_and_rerun(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, document, _ = run(capsys, bundle, "--threads", "2,1", "--widths", "0.5", "--rerun", *QUICK)
    assert code == 0
    rows = document["rows"]
    assert [row["runtime"]["threads"] for row in rows] == [1, 2]
    for row in rows:
        said = [*row["notes"], *row["reasons"]]
        assert any("rerun" in text or text.startswith(("load", "wait", "unstable", "steal", "clock")) for text in said)


def test_a_crash_costs_its_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = write_bundle(tmp_path / "bad.slim", {250: {"burn_ms": 0.5}, 500: {"burn_ms": 0.5, "crash_at": 1}})
    code, document, err = run(capsys, bundle, *QUICK)
    assert code == 0
    assert [row["runs"] > 0 for row in document["rows"]] == [True, False]
    assert document["rows"][1]["reasons"] == ["crashed: killed by SIGSEGV while preparing"]
    assert "crashed" in err


@pytest.fixture
def two_variants(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "two.slim", PLANS, top1=TOP1, fp16={500: {"burn_ms": 0.8}, 1000: {"burn_ms": 1.2}})


def test_every_artifact_of_every_variant(two_variants: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, document, _ = run(capsys, two_variants, *QUICK)
    assert code == 0
    assert [(row["artifact"], row["label"]) for row in document["rows"]] == [
        ("fake-fp16-1/0500", "fp16 0.5x"),
        ("fake-fp16-1/1000", "fp16 1.0x"),
        ("fake-fp32-1/0250", "fp32 0.25x"),
        ("fake-fp32-1/0500", "fp32 0.5x"),
        ("fake-fp32-1/1000", "fp32 1.0x"),
    ]
    assert {row["context"] for row in document["rows"]} == {"process"}


def test_artifacts_by_id(two_variants: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ids = ["fake-fp32-1/1000", "fake-fp16-1/0500"]
    code, document, _ = run(capsys, two_variants, "--artifact", ids[0], "--artifact", ids[1], *QUICK)
    assert code == 0
    assert sorted(row["artifact"] for row in document["rows"]) == sorted(ids)


def test_a_width_that_several_artifacts_have(two_variants: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, document, _ = run(capsys, two_variants, "--widths", "0.5", *QUICK)
    assert (code, document["error"]["name"]) == (2, "usage")
    assert "fake-fp16-1/0500, fake-fp32-1/0500" in document["error"]["message"]
    assert "--artifact" in document["error"]["hint"]
    code, document, _ = run(capsys, two_variants, "--widths", "0.5", "--variant", "fp16-1", *QUICK)
    assert [row["artifact"] for row in document["rows"]] == ["fake-fp16-1/0500"]
    code, document, _ = run(capsys, two_variants, "--widths", "0.25", *QUICK)
    assert [row["artifact"] for row in document["rows"]] == ["fake-fp32-1/0250"]


def test_all_crashed_is_an_error_and_the_table_stays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = write_bundle(tmp_path / "bad.slim", {500: {"burn_ms": 0.5, "raise_at": 0}})
    out = tmp_path / "t.json"
    assert main(["bench", str(bundle), "-o", str(out), *QUICK]) == 5
    assert "nothing could be measured on host" in capsys.readouterr().err
    assert LatencyTable.read(out).rows[0].reasons[0].startswith("failed while preparing")


BAD = {
    "unknown device": (["--device", "toaster"], 6, "device"),
    "bad board name": (["--device", "ssh://a b"], 6, "device"),
    "no such width": (["--widths", "0.3"], 2, "width"),
    "no such target": (["--target", "tensorrt"], 2, "usage"),
    "target not in the bundle": (["--target", "litert"], 2, "usage"),
    "no such artifact": (["--artifact", "fake-fp32-1/0300"], 2, "usage"),
    "widths and artifacts": (["--artifact", "fake-fp32-1/0250", "--widths", "0.25"], 2, "usage"),
    "zero runs": (["--runs", "0"], 2, "usage"),
    "negative runs": (["--runs", "-1"], 2, "usage"),
    "zero threads": (["--threads", "0"], 2, "usage"),
    "threads in words": (["--threads", "two"], 2, "usage"),
    "too long a burst": (["--seconds", "60"], 2, "usage"),
    "no folder for the table": (["-o", "no/such/folder/t.json"], 2, "output"),
    "no folder for the csv": (["--csv", "no/such/folder/t.csv"], 2, "output"),
    "nothing to resume with": (["--resume", "-o", "bundle-itself"], 2, "table"),
    "nothing named to resume": (["--resume"], 2, "usage"),
    "no prior": (["--prior", "nowhere.json"], 2, "table"),
    "bundle and show": (["--show", "t.json"], 2, "usage"),
}


@pytest.mark.parametrize(("args", "code", "name"), BAD.values(), ids=BAD.keys())
def test_bad_input(bundle: Path, args: list[str], code: int, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    args = [str(bundle) if arg == "bundle-itself" else arg for arg in args]
    before = bundle.read_bytes()
    found, document, _ = run(capsys, bundle, *args)
    assert (found, document["error"]["name"]) == (code, name)
    assert document["error"]["message"]
    assert bundle.read_bytes() == before


def test_a_bundle_that_fails_its_hash(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with SlimBundle.open(bundle) as opened:
        place = opened.header.data_start + opened.header.tensors["master/head.weight"].begin
    damaged = bytearray(bundle.read_bytes())
    damaged[place] ^= 1
    bundle.write_bytes(damaged)
    out = tmp_path / "t.json"
    code, document, _ = run(capsys, bundle, "-o", out, *QUICK)
    assert (code, document["error"]["name"]) == (2, "hash-mismatch")
    assert not out.exists()


def test_nothing_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys)[0] == 2


def test_show_for_people(measured: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--show", str(measured), "--plots", str(tmp_path / "plots")]) == 0
    out, err = capsys.readouterr()
    for word in ("0.25x", "1.0x", "p50", "rung", "top1", "fake fp32, 1 thread, burst"):
        assert word in out
    for name in ("latency-width.png", "quality-latency.png"):
        assert (tmp_path / "plots" / name).read_bytes().startswith(b"\x89PNG")
        assert name in err
    assert not (tmp_path / "plots" / "latency-time.png").exists()  # no sustained row


def test_show_as_json_is_the_table(measured: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, document, _ = run(capsys, "--show", measured)
    assert code == 0
    assert document == json.loads(measured.read_text())


def test_show_of_no_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.json").write_text('{"rows": 1}')
    code, document, _ = run(capsys, "--show", tmp_path / "x.json")
    assert (code, document["error"]["name"]) == (2, "table")


def test_compare(measured: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, document, _ = run(capsys, "--compare", measured, measured)
    assert code == 0
    assert [row["ratio"] for row in document["rows"]] == [1.0, 1.0, 1.0]
    assert main(["bench", "--compare", str(measured), str(measured)]) == 0
    assert "95 % interval" in capsys.readouterr().out


def test_another_devices_table_as_a_prior(
    measured: Path, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """0.25x and 1.0x are timed here; 0.5x is the other device's, scaled by the geometric mean of the two ratios."""
    prior = json.loads(measured.read_text())
    for row in prior["rows"]:
        row |= {"valid": True, "reasons": [], "samples_ms": None, "block_runs": None}
        row["device"]["model"] = "another phone"
    path = tmp_path / "prior.json"
    path.write_text(json.dumps(prior))
    code, document, err = run(capsys, bundle, "--prior", path, "-o", tmp_path / "t.json", *QUICK)
    assert code == 0
    kinds = {row["width_permille"]: row["kind"] for row in document["rows"]}
    assert kinds == {250: "burst", 500: "prior", 1000: "burst"}
    assert document["prior"]["device"]["model"] == "another phone"
    assert [probe["artifact"][-4:] for probe in document["prior"]["probes"]] == ["0250", "1000"]
    scaled = next(row for row in document["rows"] if row["kind"] == "prior")
    there = next(row for row in prior["rows"] if row["width_permille"] == 500)
    ratios = [probe["here_ms"] / probe["there_ms"] for probe in document["prior"]["probes"]]
    assert scaled["p50_ms"] == pytest.approx(there["p50_ms"] * math.sqrt(ratios[0] * ratios[1]))
    assert "scaled 1 rows of another phone" in err


def test_several_devices_get_a_table_each(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A board that is not there costs its own table and the exit code, nothing else."""
    monkeypatch.setenv("EDGESLIM_SSH", "false")
    out = tmp_path / "t.json"
    code, document, _ = run(
        capsys, bundle, "--device", "host", "--device", "ssh://board", "-o", out, "--widths", "0.25", *QUICK
    )
    assert (code, document["error"]["name"]) == (6, "device")
    assert len(LatencyTable.read(tmp_path / "t-host.json").rows) == 1
    assert not (tmp_path / "t-ssh---board.json").exists()


@pytest.fixture
def without_litert(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A bundle for two runtimes, on a machine that has one of them."""

    def check(name: str) -> None:
        if name == "litert":
            raise MissingExtraError("ai_edge_litert", "litert-runtime")

    monkeypatch.setattr(runtimes, "check", check)
    path = write_bundle(tmp_path / "litert.slim", PLANS, target="litert")
    other = write_bundle(tmp_path / "fake.slim", PLANS)
    with SlimBundle.open(path) as one, SlimBundle.open(other) as two:
        content = merge(BundleContent.of(one), BundleContent.of(two))
        write_bundle_content(content, tmp_path / "both.slim", overwrite=False)
    return tmp_path / "both.slim"


def test_a_runtime_that_is_not_there_is_left_out(without_litert: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, document, err = run(capsys, without_litert, *QUICK)
    assert code == 0
    assert {row["target"] for row in document["rows"]} == {"fake"}
    assert err.count("left out: litert") == 1
    assert "litert-runtime" in err, "how to get it"


def test_a_runtime_that_was_asked_for_is_missed(without_litert: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, document, _ = run(capsys, without_litert, "--target", "litert,fake", *QUICK)
    assert code == 3
    assert "ai_edge_litert" in document["error"]["message"]


def test_nothing_is_left_to_measure(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def check(name: str) -> None:
        raise MissingExtraError("fake", "bench")

    monkeypatch.setattr(runtimes, "check", check)
    assert run(capsys, bundle, *QUICK)[0] == 3

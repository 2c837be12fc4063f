"""``bench --import``: other people's measurements as a latency table, and what is refused."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import pytest
from table_rows import failed, row, table

from edgeslim.benchmark.table.csv_import import MAX_BYTES, MAX_CELL, MAX_ROWS, UNKNOWN_FILE, from_csv, read_csv
from edgeslim.benchmark.table.csv_view import to_csv
from edgeslim.cli.main import main
from edgeslim.core.ladder import ladder
from edgeslim.core.latency import ArtifactValue, LatencyTable, Quality
from edgeslim.errors import TableError

PAGE = Path(__file__).resolve().parents[2] / "docs" / "guides" / "import-a-table.md"
PUBLISHED = re.findall(r"^```csv\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)[0]


def read(text: str) -> LatencyTable:
    return from_csv(text.encode(), name="t.csv")


def test_the_page_s_table_is_simulated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sheet, out = tmp_path / "published.csv", tmp_path / "published.json"
    sheet.write_text(PUBLISHED)
    assert main(["bench", "--import", str(sheet), "-o", str(out)]) == 0
    said = capsys.readouterr().err
    assert f"edgeslim simulate {out}" in said
    rungs = ladder(LatencyTable.read(out))
    assert [(rung.t_us, rung.energy_uj, rung.worth, rung.label) for rung in rungs.rungs] == [
        (6_000, 9_000, 540_000, "0.25x"),
        (12_100, 22_000, 640_000, "0.5x"),
        (20_300, 42_000, 690_000, "0.75x"),
        (30_200, 70_000, 720_000, "1.0x"),
    ]
    assert not rungs.energy_estimated
    assert main(["simulate", str(out), "--scenario", "hot", "--minutes", "0.5", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["metric"] == "top1"
    assert max(r["mean_accuracy"] for r in document["rows"]) == pytest.approx(72.0)


def test_a_row_says_what_is_not_known() -> None:
    found = read("width,latency_ms\n0.35x,4.5\n").rows[0]
    assert (found.kind, found.valid, found.artifact, found.label) == ("prior", True, "published/0350", "0.35x")
    assert (found.file_sha256, found.device.model, found.input_shape) == (UNKNOWN_FILE, "unknown device", ())
    assert found.p50_ms == found.p99_ms == found.min_ms == 4.5
    assert found.std_ms == 0
    assert found.energy_mj_per_inference is None
    assert found.energy_method == "none"
    assert "imported from t.csv" in found.notes
    assert any("percentiles" in note for note in found.notes)


def test_percentiles_that_are_missing_repeat_the_lower_one() -> None:
    found = read("width,latency_ms,p95_ms\n1,4,6\n").rows[0]
    assert (found.p50_ms, found.p90_ms, found.p95_ms, found.p99_ms, found.max_ms) == (4, 4, 6, 6, 6)


def test_nets_that_are_no_widths_and_several_precisions() -> None:
    text = "label,latency_ms,top1,target,precision,input\n"
    text += '"MobileNetV3, small",9,0.65,TFLite GPU,fp16,192\n"MobileNetV3, large",20,0.75,TFLite GPU,int8,224\n'
    found = read(text)
    assert [r.artifact for r in found.rows] == [
        "tflite-gpu-fp16-192/mobilenetv3-small",
        "tflite-gpu-int8-224/mobilenetv3-large",
    ]
    assert found.rows[0].label == "MobileNetV3, small"
    assert found.rows[0].input_shape == (1, 3, 192, 192)
    assert [r.label for r in read("width,latency_ms,precision\n1,9,fp32\n1,5,int8\n").rows] == [
        "fp32 1.0x",
        "int8 1.0x",
    ]
    assert [rung.worth for rung in ladder(found).rungs] == [650_000, 750_000]


@pytest.mark.parametrize("mark", ["\ufeff", ""])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_files_as_spreadsheets_write_them(mark: str, end: str) -> None:
    text = mark + end.join(["width , latency_ms,top1", '"0.5", 4.5 ,', "", "1.0,9.25E0,.75", ",,", ""])
    found = read(text)
    assert [r.p50_ms for r in found.rows] == [4.5, 9.25]
    assert found.quality is not None
    assert found.quality.as_dict() == {"published/1000": 0.75}


def test_percents_and_fractions_are_the_same() -> None:
    percents, fractions = (read(f"width,latency_ms,top1\n0.5,1,{a}\n1,2,{b}\n") for a, b in ((50, 75), (0.5, 0.75)))
    assert percents.quality == fractions.quality


def test_what_csv_writes_comes_back() -> None:
    rows = (
        row(4.0, seed=1, notes=("twice; 'p50', \"x\"\nnext", "b"), qos="user-interactive"),
        row(4.0, seed=1, kind="sustained", duration_s=61.5),
        row(9.0, seed=2, width_permille=1000, energy_mj_per_inference=3.125, energy_method="rapl",
            device=dataclasses.replace(row().device, cpu_max_khz=(2_400_000, 1_800_000), ram_bytes=1 << 33)),
        failed(width_permille=250),
    )  # fmt: skip
    values = (ArtifactValue(artifact=rows[0].artifact, value=0.1 + 0.2),)
    worth = Quality(metric="miou", source="test, 100 images", larger_is_better=False, values=values)
    whole = dataclasses.replace(table(*rows), quality=worth)
    back = read(to_csv(whole))
    assert back.rows == tuple(dataclasses.replace(one, samples_ms=None) for one in rows)
    assert back.quality == worth
    assert to_csv(back) == to_csv(whole)


def test_csv_to_import_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table(row(4.0), row(8.0, width_permille=1000)).write(tmp_path / "a.json")
    a, sheet, b = (str(tmp_path / name) for name in ("a.json", "a.csv", "b.json"))
    assert main(["bench", "--show", a, "--csv", sheet]) == 0
    assert main(["bench", "--import", sheet, "-o", b]) == 0
    assert main(["bench", "--import", sheet, "-o", b]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert ladder(LatencyTable.read(tmp_path / "b.json")) == ladder(LatencyTable.read(tmp_path / "a.json"))


REFUSED = {
    "nothing": ("", "no column latency_ms"),
    "no rows": ("width,latency_ms\n", "no row"),
    "no latency": ("width,top1\n1,0.5\n", "no column latency_ms or p50_ms"),
    "no name": ("latency_ms\n1\n", "no column width or label"),
    "a column of another name": ("width,latency\n1,2\n", "'latency' is not known; is it 'latency_ms'?"),
    "energy without its unit": ("width,latency_ms,energy\n1,2,3\n", "is it 'energy_mj'?"),
    "a column twice": ("width,latency_ms,latency_ms\n1,2,3\n", "'latency_ms' stands twice"),
    "a column under two names": ("width,latency_ms,p50_ms\n1,2,3\n", "same column"),
    "semicolons": ("width;latency_ms\n1;2\n", "not separated by commas"),
    "a decimal comma": ('width,latency_ms\n1,"2,5"\n', "line 2, column latency_ms is '2,5', expected a finite number"),
    "words for a number": ("width,latency_ms\n0.5,1\n1,fast\n", "line 3, column latency_ms is 'fast'"),
    "nan": ("width,latency_ms\n1,nan\n", "line 2, column latency_ms"),
    "infinity": ("width,latency_ms\n1,1e999\n", "line 2, column latency_ms"),
    "beyond every reader": ("width,latency_ms,p99_ms\n1,1,1e301\n", "line 2, column p99_ms"),
    "a latency of nothing": ("width,latency_ms\n1,0\n", "expected 0.001 to 60000"),
    "a negative energy": ("width,latency_ms,energy_mj\n1,1,-1\n", "line 2, column energy_mj"),
    "an empty latency": ("width,latency_ms\n1,\n", "line 2, column latency_ms is empty"),
    "a width of nothing": ("width,latency_ms\n0,1\n", "line 2: a width is"),
    "no width": ("width,latency_ms\nbig,1\n", "line 2: cannot read width 'big'"),
    "percents and fractions": ("width,latency_ms,top1\n0.5,1,0.5\n1,2,72\n", "line 2, column top1 is 0.5 where"),
    "an accuracy above all": ("width,latency_ms,top1\n1,1,101\n", "line 2, column top1"),
    "threads in parts": ("width,latency_ms,threads\n1,1,1.5\n", "expected a whole number"),
    "a net twice": ("width,latency_ms\n1,1\n0.5,1\n1.0x,2\n", "lines 2 and 4 are both 1.0x"),
    "a cell too many": ("width,latency_ms\n1,2,3\n", "line 2 has 3 cells, the header has 2"),
    "a cell too few": ("width,latency_ms\n1\n", "line 2 has 1 cells"),
    "an open quote": ('width,latency_ms\n1,"2\n', "line 2: unexpected end of data"),
    "text after a quote": ('width,latency_ms\n1,"2"3\n', "line 2:"),
    "control characters": ("width,latency_ms\n1,\0002\n", "control character"),
    "an escape": ("label,latency_ms\n\x1b]0;x,2\n", "control character"),
    "a long cell": (f"label,latency_ms\n{'x' * (MAX_CELL + 1)},2\n", "line 2, column label has 4,097 characters"),
    "a very long cell": (f"label,latency_ms\n{'x' * (1 << 18)},2\n", "field larger than field limit"),
    "a long column": (f"{'x' * 5000},latency_ms\n1,2\n", "is not known"),
    "many columns": (",".join(map(str, range(10_000))), "'0' is not known"),
    "too many rows": ("width,latency_ms\n" + "1,2\n" * (MAX_ROWS + 1), f"more than {MAX_ROWS} rows"),
    "a name of signs": ("label,latency_ms\n€,2\n", "no letter or digit"),
    "percentiles that fall": ("width,latency_ms,p99_ms\n1,2,1\n", "line 2: row of published/1000: percentiles"),
    "a kind of its own": ("width,latency_ms,kind\n1,2,long\n", "line 2: kind is 'long', expected one of"),
    "no list": ("width,latency_ms,reasons\n1,2,warm\n", 'expected a list of texts like ["a", "b"]'),
    "a deep list": (f"width,latency_ms,reasons\n1,2,{'[' * 4000}\n", "expected a list of texts"),
    "two worths": ("width,latency_ms,threads,top1\n1,1,1,0.5\n1,1,2,0.6\n", "lines 2 and 3: published/1000 is worth"),
    "two metrics": ("width,latency_ms,quality.value,quality.metric\n1,1,1,a\n.5,1,1,b\n", "line 3: cannot read width"),
    "one metric per table": ("width,latency_ms,quality.value,quality.metric\n1,1,1,a\n0.5,1,1,b\n", "one metric"),
    "worth twice": ("width,latency_ms,top1,quality.value\n1,1,0.5,0.5\n", "say the same twice"),
}


@pytest.mark.parametrize(("text", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_refused_by_name(text: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sheet, out = tmp_path / "t.csv", tmp_path / "t.json"
    sheet.write_bytes(text.encode())
    assert main(["bench", "--import", str(sheet), "-o", str(out), "--json"]) == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["name"] == "table"
    assert said in error["message"]
    assert str(sheet) in error["message"]
    assert error["hint"]
    assert len(error["message"]) < 1000 + len(str(sheet))
    assert not out.exists()


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="byte 17 is not UTF-8"):
        from_csv(b"width,latency_ms\n\xff,2\n", name="t.csv")
    huge = tmp_path / "huge.csv"
    with open(huge, "wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(TableError, match=r"expected at most 16,777,216"):
        read_csv(huge)


def test_one_of_four_is_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--import", "a.csv", "--show", "b.json"]) == 2
    assert "--import CSV" in capsys.readouterr().err

"""Comparing, keeping and resuming tables."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from fake_bundle import cell_fields
from table_rows import DEVICE, failed, row, table

from edgeslim.benchmark.desk.collect import repeated
from edgeslim.benchmark.table.compare import ComparedRow, blocks_of, compare
from edgeslim.benchmark.table.table_file import TableFile, row_key
from edgeslim.core.job import Cell
from edgeslim.core.latency import LatencyTable
from edgeslim.errors import OutputError, TableError


def interval(row: ComparedRow) -> tuple[float, float]:
    assert row.ratio_low is not None
    assert row.ratio_high is not None
    return row.ratio_low, row.ratio_high


def test_the_same_speed_is_the_same() -> None:
    (found,) = compare(table(row(seed=1)), table(row(seed=2))).rows
    assert found.verdict == "same"
    low, high = interval(found)
    assert found.ratio is not None
    assert low < found.ratio < high
    assert low > 0.97
    assert high < 1.03


@pytest.mark.parametrize(
    ("centre", "verdict"), [(12.0, "slower"), (8.0, "faster"), (10.5, "unclear"), (10.2, "same"), (9.5, "unclear")]
)
def test_verdicts(centre: float, verdict: str) -> None:
    (found,) = compare(table(row()), table(row(centre, seed=3))).rows
    assert found.ratio == pytest.approx(centre / 10, rel=0.01)
    if verdict != "unclear":
        assert found.verdict == verdict
    else:
        assert found.verdict in ("unclear", "slower", "faster")


def test_blocks_make_the_interval_honest() -> None:
    """Drawing samples one by one would call block noise precision."""
    blocky = row(blocks=8)
    flat = dataclasses.replace(blocky, block_runs=(1,) * blocky.runs)
    (with_blocks,) = compare(table(blocky), table(blocky)).rows
    (one_by_one,) = compare(table(flat), table(flat)).rows
    narrow, wide = (high - low for low, high in map(interval, (one_by_one, with_blocks)))
    assert wide > 1.5 * narrow


def test_rows_without_samples_have_no_interval() -> None:
    bare = row(samples_ms=None, block_runs=None)
    (found,) = compare(table(row()), table(bare)).rows
    assert found.ratio_low is None
    assert found.verdict == "same"
    assert [len(block) for block in blocks_of(row(block_runs=None))][:2] == [17, 17]


def test_other_files_and_other_kinds_are_refused_unless_told() -> None:
    other = row(file_sha256="b" * 64)
    with pytest.raises(TableError, match="another file") as caught:
        compare(table(row()), table(other))
    assert "--anyway" in (caught.value.hint or "")
    assert "other files" in compare(table(row()), table(other), anyway=True).notes
    hot = row(kind="sustained")
    with pytest.raises(TableError, match="one table is burst, the other sustained"):
        compare(table(row()), table(hot))
    assert compare(table(row()), table(hot), anyway=True).rows[0].kind == "burst/sustained"


def test_rows_that_one_table_lacks_are_named() -> None:
    found = compare(
        table(row(), row(width_permille=250)), table(row(), row(width_permille=750), failed(width_permille=9))
    )
    assert [text.split(" (")[0] for text in found.only_a] == ["litert 0.25x"]
    assert [text.split(" (")[0] for text in found.only_b] == ["litert 0.75x"]
    with pytest.raises(TableError, match="no row in common"):
        compare(table(row(width_permille=250)), table(row()))


def test_another_device_and_doubtful_rows_are_said() -> None:
    there = row(device=dataclasses.replace(DEVICE, model="phone"), valid=False, reasons=("load: x",))
    found = compare(table(row()), table(there))
    assert "another device: board and phone" in found.notes
    assert "1 of 1 rows do not call themselves valid in both tables" in found.notes
    assert not found.rows[0].valid


def test_a_rerun_that_agrees_is_noted_and_one_that_does_not_stops_counting() -> None:
    good = repeated(row(), row(10.3, seed=1))
    assert good.valid
    assert good.notes[0].startswith("rerun agrees: p50 ")
    bad = repeated(row(), row(10.8, seed=1))
    assert not bad.valid
    assert bad.reasons[0].startswith("rerun: p50 ")
    assert repeated(row(), failed()).reasons == ("crashed: x",)


# on the disk


def cell(permille: int = 500, **changes: Any) -> Cell:
    known = cell_fields(permille, "litert", artifact=f"litert-fp32-8/{permille:04d}", file_sha256="a" * 64)
    return Cell(**known | changes)


def opened(path: Path | None, **changes: Any) -> TableFile:
    return TableFile(path, **{"quality": None, "overwrite": False, "resume": False} | changes)


def test_every_row_is_on_the_disk_at_once(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    file = opened(path)
    file.add([row(width_permille=500)])
    assert [r.width_permille for r in LatencyTable.read(path).rows] == [500]
    file.add([row(width_permille=250)])
    file.add([row(12.0, width_permille=500)])
    rows = LatencyTable.read(path).rows
    assert [(r.width_permille, round(r.p50_ms or 0)) for r in rows] == [(250, 10), (500, 12)]
    assert [path.name for path in tmp_path.iterdir()] == ["t.json"]


def test_resume_asks_only_for_what_lacks(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    opened(path).add([row(), failed(width_permille=250)])
    again = opened(path, resume=True)
    assert again.missing([cell(250), cell(500), cell(750)], "burst") == (cell(250), cell(750))
    assert again.missing([cell(500)], "sustained") == (cell(500),)
    with pytest.raises(TableError, match="another file"):
        again.missing([cell(500, file_sha256="b" * 64)], "burst")
    again.expect_device(DEVICE)
    with pytest.raises(TableError, match="measured on board"):
        again.expect_device(dataclasses.replace(DEVICE, model="phone"))


def test_a_table_that_is_there_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    opened(path).add([row()])
    with pytest.raises(OutputError, match="exists"):
        opened(path)
    opened(path, overwrite=True).add([row(width_permille=250)])
    assert [r.width_permille for r in LatencyTable.read(path).rows] == [250]


@pytest.mark.parametrize("name", ["no/such/folder/t.json", "."])
def test_what_cannot_be_written_fails_before_measuring(tmp_path: Path, name: str) -> None:
    with pytest.raises(OutputError):
        opened(tmp_path / name, overwrite=True)


def test_a_disk_that_fills_up_loses_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    file = opened(folder / "t.json")
    folder.rmdir()
    with pytest.raises(OutputError) as caught:
        file.add([row()])
    hint = caught.value.hint or ""
    assert "the rows so far are in" in hint
    copy = Path(hint.split()[-1])
    assert LatencyTable.read(copy).rows == (row(),)
    copy.unlink()


def test_the_key_of_a_row_is_that_of_its_cell() -> None:
    assert row_key(row()) == (*cell().key, "burst")

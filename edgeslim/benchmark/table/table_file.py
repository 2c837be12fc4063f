"""The table on the disk: every finished row is there at once, whole; ``--resume`` reads it back.

RowDone ─► TableFile.add ─► temp file ─► rename over table.json
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import edgeslim
from edgeslim.core.job import Cell
from edgeslim.core.latency import LatencyRow, LatencyTable, Prior, Quality
from edgeslim.core.passport import DeviceInfo
from edgeslim.errors import OutputError, TableError
from edgeslim.files import check_free

RowKey = tuple[str, int, str]


def row_key(row: LatencyRow) -> RowKey:
    """The cell a row belongs to, and its kind."""
    return row.artifact, row.runtime.threads, row.kind


class TableFile:
    """A latency table that grows row by row.

    Args:
        path: where it is written after every row; None keeps it in memory.
        overwrite: an older table may be replaced.
        resume: an older table is continued.

    Raises:
        OutputError: it exists (and neither was asked for), or cannot be written; before anything is measured.
        TableError: the older table cannot be read.
    """

    def __init__(self, path: Path | None, *, quality: Quality | None, overwrite: bool, resume: bool) -> None:
        self._path = path
        self._rows: dict[RowKey, LatencyRow] = {}
        self._created_at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self._quality = quality
        self.prior: Prior | None = None
        if path is None:
            return
        check_free(path, overwrite=overwrite or resume)
        if resume and path.exists():
            older = LatencyTable.read(path)
            self._created_at = older.created_at
            self._rows = {row_key(row): row for row in older.rows}
        else:
            _probe(path)

    @property
    def table(self) -> LatencyTable:
        return LatencyTable(
            edgeslim_version=edgeslim.__version__,
            created_at=self._created_at,
            quality=self._quality,
            prior=self.prior,
            rows=tuple(row for _, row in sorted(self._rows.items(), key=lambda item: _place(item[1]))),
        )

    def missing(self, cells: Iterable[Cell], kind: str) -> tuple[Cell, ...]:
        """The cells without a measured row.

        Raises:
            TableError: an older row is of another file.
        """
        missing = []
        for cell in cells:
            row = self._rows.get((*cell.key, kind))
            if row is not None and row.file_sha256 != cell.file_sha256:
                raise TableError(
                    f"the table holds {cell} of another file ({row.file_sha256[:12]}…, now {cell.file_sha256[:12]}…)",
                    hint="measure into a new table, or replace this one with --overwrite",
                )
            if row is None or not row.runs:
                missing.append(cell)
        return tuple(missing)

    def expect_device(self, device: DeviceInfo) -> None:
        """Raises ``TableError`` when older rows are of another device."""
        for row in self._rows.values():
            if row.device != device:
                raise TableError(
                    f"the table was measured on {row.device.model} ({row.device.soc}), "
                    f"this is {device.model} ({device.soc})",
                    hint="give every device a table of its own",
                )

    def add(self, rows: Iterable[LatencyRow]) -> None:
        """Take rows in, the later of the same cell replacing the earlier, and write the table.

        Raises:
            OutputError: it cannot be written; the hint says where a copy lies.
        """
        self._rows |= {row_key(row): row for row in rows}
        if self._path is None:
            return
        try:
            self.table.write(self._path, overwrite=True)
        except OutputError as error:
            raise OutputError(error.message, hint=_rescued(self.table) or error.hint) from error


def _place(row: LatencyRow) -> tuple[str, str, int, str]:
    return row.kind, row.target, row.runtime.threads, row.artifact


def _probe(path: Path) -> None:
    """Fail now, not after an hour, where the table cannot be written."""
    try:
        with tempfile.NamedTemporaryFile(dir=path.absolute().parent, prefix=f".{path.name}."):
            pass
    except OSError as error:
        raise OutputError(
            f"cannot write {path}: {error.strerror}", hint="choose a folder that can be written"
        ) from None
    if path.is_dir():
        raise OutputError(f"cannot write {path}: it is a directory")


def _rescued(table: LatencyTable) -> str | None:
    try:
        with tempfile.NamedTemporaryFile("w", prefix="edgeslim-table-", suffix=".json", delete=False) as copy:
            copy.write(table.to_json())
    except OSError:
        return None
    return f"the rows so far are in {copy.name}"

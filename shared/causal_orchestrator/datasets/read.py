"""An untrusted file to a typed table: what it is by its first bytes, never by its name."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from causal_orchestrator.datasets import (
    cells,
    columnar,
    containers,
    delimited,
    encodings,
    names,
    records,
    text,
    workbooks,
)
from causal_orchestrator.datasets.limits import Limits
from causal_orchestrator.datasets.remarks import Remarks
from causal_orchestrator.errors import InputError
from causal_orchestrator.results import Note

ENDINGS = {
    ".csv": ("csv", "tsv"), ".tsv": ("csv", "tsv"), ".txt": ("csv", "tsv"), ".json": ("json", "jsonl"),
    ".jsonl": ("jsonl",), ".ndjson": ("jsonl",), ".xlsx": ("xlsx",), ".parquet": ("parquet",), ".pq": ("parquet",),
    ".feather": ("feather",), ".arrow": ("feather",), ".dta": ("stata",),
}  # fmt: skip


@dataclass(frozen=True)
class Reading:
    """A typed table (int64, float64, bool, timestamp[us], string columns) and how it was read."""

    table: Any
    format: str
    remarks: Remarks = field(default_factory=Remarks)
    encoding: str | None = None
    delimiter: str | None = None


def read(path: Path, folder: Path, limits: Limits, *, name: str | None = None) -> Reading:
    """Read a dataset in any of the formats that are known.

    Parameters
    ----------
    path : Path
        A regular file.
    folder : Path
        An empty folder for decompressed and recoded copies.
    limits : Limits
        What is too much.
    name : str, optional
        What the file was called; a misleading ending is remarked on and never believed.

    Raises
    ------
    InputError
        With the code of whatever is wrong with the file.
    """
    remarks = Remarks()
    opened = containers.unpack(path, folder, limits)
    reading = _by_format(opened, folder, limits, remarks)
    _remark_ending(name or path.name, reading.format, remarks)
    return checked(reading, limits)


def _by_format(opened: containers.Opened, folder: Path, limits: Limits, remarks: Remarks) -> Reading:
    if opened.format in ("parquet", "feather"):
        decode = columnar.parquet if opened.format == "parquet" else columnar.feather
        table = decode(opened.path, limits, remarks)
        names.check(table.column_names, limits, remarks)
        return Reading(table, opened.format, remarks)
    if opened.format == "xlsx":
        found, columns = workbooks.read(opened.path, limits, remarks)
        names.check_header(found, remarks)
        return _of_cells(found, columns, Reading(None, "xlsx", remarks), limits)
    if opened.format == "stata":
        from causal_orchestrator.datasets import frames  # pandas: only where it is needed

        return replace(frames.stata(opened.path, limits, remarks), format="stata")
    return _of_text(opened, folder, limits, remarks)


def _of_text(opened: containers.Opened, folder: Path, limits: Limits, remarks: Remarks) -> Reading:
    source = encodings.to_utf8(opened.path, folder, limits)
    if source.note:
        remarks.notes.append(source.note)
    if opened.format == "json" or containers.looks_like_json(source.path):
        kind, columns = records.read(source.path, limits)
        return _of_cells(list(columns), list(columns.values()), Reading(None, kind, remarks, source.encoding), limits)
    return _delimited(source, limits, remarks)


def _of_cells(found: list[str], columns: list[list[Any]], empty: Reading, limits: Limits) -> Reading:
    names.check(found, limits, empty.remarks)
    texts = empty.format != "xlsx"
    typed = [
        cells.type_column(n, v, limits, empty.remarks, dates_as_text=texts) for n, v in zip(found, columns, strict=True)
    ]
    return replace(empty, table=pa.table(typed, names=found))


def _remark_ending(name: str, found: str, remarks: Remarks) -> None:
    ending = Path(name).suffix.lower()
    expected = ENDINGS.get(ending)
    if expected is not None and found not in expected:
        message = f"the name ends in {ending}, but the file is {found} and was read as such"
        remarks.notes.append(Note(code="FORMAT_MISMATCH", message=message))


def _delimited(source: encodings.Text, limits: Limits, remarks: Remarks) -> Reading:
    cut = delimited.split(source.path, limits, remarks, quoted=source.quoted)
    cut = _without_row_numbers(cut, remarks)
    names.check(cut.names, limits, remarks)
    names.check_header(cut.names, remarks)
    for name, column in zip(cut.names, cut.columns, strict=True):
        columnar.check_cells(name, column, limits)
    columns = []
    for name in cut.names:
        columns.append(text.parse(name, cut.columns.pop(0), remarks))
    table = pa.table(columns, names=cut.names)
    kind = "tsv" if cut.delimiter == "\t" else "csv"
    return Reading(table, kind, remarks, source.encoding, cut.delimiter)


def _without_row_numbers(cut: delimited.Split, remarks: Remarks) -> delimited.Split:
    """Leave out a nameless first column that only counts the rows, as R and pandas write it."""
    if not cut.names or cut.names[0].strip() or len(cut.names) < 2:
        return cut
    numbers = cut.columns[0].to_pylist()
    if any(numbers == [str(i) for i in range(start, start + len(numbers))] for start in (0, 1)):
        remarks.add("INDEX_DROPPED", "column 1")
        return delimited.Split(cut.names[1:], cut.columns[1:], cut.delimiter)
    return cut


def checked(reading: Reading, limits: Limits) -> Reading:
    """Refuse a table without rows, or with too few.

    Raises
    ------
    InputError
        ``NO_ROWS`` or ``TOO_FEW_ROWS``.
    """
    rows = reading.table.num_rows
    if rows == 0:
        raise InputError("the table has column names and no rows", code="NO_ROWS")
    if rows < limits.min_rows:
        raise InputError(f"the table has {rows} row, at least {limits.min_rows} are needed", code="TOO_FEW_ROWS")
    return reading

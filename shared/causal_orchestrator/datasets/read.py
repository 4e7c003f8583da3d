"""An untrusted file to a typed table: what it is by its first bytes, never by its name."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from causal_orchestrator.datasets import columnar, containers, delimited, encodings, names, text
from causal_orchestrator.datasets.limits import Limits
from causal_orchestrator.datasets.remarks import Remarks
from causal_orchestrator.errors import InputError


@dataclass(frozen=True)
class Reading:
    """A typed table (int64, float64, bool, timestamp[us], string columns) and how it was read."""

    table: Any
    format: str
    remarks: Remarks = field(default_factory=Remarks)
    encoding: str | None = None
    delimiter: str | None = None


def read(path: Path, folder: Path, limits: Limits) -> Reading:
    """Read a dataset in any of the formats that are known.

    Parameters
    ----------
    path : Path
        A regular file; its name does not matter.
    folder : Path
        An empty folder for decompressed and recoded copies.
    limits : Limits
        What is too much.

    Raises
    ------
    InputError
        With the code of whatever is wrong with the file.
    """
    remarks = Remarks()
    opened = containers.unpack(path, folder, limits)
    if opened.format == "parquet":
        table = columnar.parquet(opened.path, limits, remarks)
    elif opened.format == "feather":
        table = columnar.feather(opened.path, limits, remarks)
    else:
        return _text(opened.path, folder, limits, remarks)
    names.check(table.column_names, limits, remarks)
    return _checked(Reading(table, opened.format, remarks), limits)


def _text(path: Path, folder: Path, limits: Limits, remarks: Remarks) -> Reading:
    source = encodings.to_utf8(path, folder, limits)
    if source.note:
        remarks.notes.append(source.note)
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
    return _checked(
        Reading(table, "tsv" if cut.delimiter == "\t" else "csv", remarks, source.encoding, cut.delimiter), limits
    )


def _without_row_numbers(cut: delimited.Split, remarks: Remarks) -> delimited.Split:
    """Leave out a nameless first column that only counts the rows, as R and pandas write it."""
    if not cut.names or cut.names[0].strip() or len(cut.names) < 2:
        return cut
    numbers = cut.columns[0].to_pylist()
    if any(numbers == [str(i) for i in range(start, start + len(numbers))] for start in (0, 1)):
        remarks.add("INDEX_DROPPED", "column 1")
        return delimited.Split(cut.names[1:], cut.columns[1:], cut.delimiter)
    return cut


def _checked(reading: Reading, limits: Limits) -> Reading:
    rows = reading.table.num_rows
    if rows == 0:
        raise InputError("the table has column names and no rows", code="NO_ROWS")
    if rows < limits.min_rows:
        raise InputError(f"the table has {rows} row, at least {limits.min_rows} are needed", code="TOO_FEW_ROWS")
    return reading

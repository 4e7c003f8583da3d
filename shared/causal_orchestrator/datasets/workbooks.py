"""Excel workbooks (xlsx): the values of the first sheet that holds any."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import ParseError
from zipfile import BadZipFile

from causal_orchestrator.datasets.delimited import check_size
from causal_orchestrator.datasets.limits import Limits
from causal_orchestrator.datasets.remarks import Remarks
from causal_orchestrator.errors import InputError
from causal_orchestrator.question import shown
from causal_orchestrator.results import Note

# What openpyxl raises on malformed archives and sheets.
DAMAGE = (
    BadZipFile, zlib.error, ParseError, LookupError, ValueError, TypeError, AttributeError, OSError, EOFError,
    NotImplementedError,
)  # fmt: skip


def read(path: Path, limits: Limits, remarks: Remarks) -> tuple[list[str], list[list[Any]]]:
    """Read cell values (formulas as they were last computed) below the first row that holds anything.

    Returns
    -------
    tuple of names and columns (lists of values, None where a cell is empty)

    Raises
    ------
    InputError
        ``UNREADABLE``, ``DATASET_EMPTY``, ``RAGGED_ROWS``, ``DUPLICATE_COLUMN``, ``TOO_MANY_COLUMNS`` or
        ``TOO_MANY_ROWS``.
    """
    import openpyxl

    try:
        with path.open("rb") as raw:  # by path, openpyxl would judge the name
            book = openpyxl.load_workbook(raw, read_only=True, data_only=True, keep_links=False)
            sheets = [(sheet.title, _rows(sheet, limits)) for sheet in book.worksheets]
    except DAMAGE as exc:
        raise InputError("the workbook is damaged or written in a way that is not read", code="UNREADABLE") from exc
    filled = [(title, rows) for title, rows in sheets if rows]
    if not filled:
        raise InputError("the workbook holds no values", code="DATASET_EMPTY")
    title, rows = filled[0]
    if len(filled) > 1:
        message = f"the workbook has {len(filled)} sheets with values; only the first, {shown(title)!r}, was read"
        remarks.notes.append(Note(code="SHEETS_IGNORED", message=message))
    return _columns(rows)


def _rows(sheet: Any, limits: Limits) -> list[tuple[Any, ...]]:
    kept = []
    for row in sheet.iter_rows(values_only=True):
        if any(cell is not None for cell in row):
            if len(row) > limits.columns and any(cell is not None for cell in row[limits.columns :]):
                raise InputError(f"the sheet has more than {limits.columns} columns", code="TOO_MANY_COLUMNS")
            kept.append(row)
            check_size(len(kept), 0, limits)
    return kept


def _columns(rows: list[tuple[Any, ...]]) -> tuple[list[str], list[list[Any]]]:
    header, body = rows[0], rows[1:]
    width = max(i for i, cell in enumerate(header) if cell is not None) + 1
    for number, row in enumerate(body, start=2):
        if any(cell is not None for cell in row[width:]):
            raise InputError(
                f"row {number} of the sheet has values beyond the header; give every column a name",
                code="RAGGED_ROWS",
                details={"row": number},
            )
    names = ["" if cell is None else str(cell) for cell in header[:width]]
    columns = [[row[i] if i < len(row) else None for row in body] for i in range(width)]
    kept = [i for i in range(width) if names[i] or any(cell is not None for cell in columns[i])]
    return [names[i] for i in kept], [columns[i] for i in kept]

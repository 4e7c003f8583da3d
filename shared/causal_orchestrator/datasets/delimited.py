"""Delimited text (CSV, TSV) to columns of text, with every row accounted for.

Arrow splits text whose quotes are provably in order. Where they are not so simple, or a row has the wrong number of
fields, Python's strict reader takes over: it is slower, knows line numbers, and agrees wherever Arrow is asked.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from causal_orchestrator.datasets.limits import MIB, Limits
from causal_orchestrator.datasets.remarks import Remarks
from causal_orchestrator.errors import InputError
from causal_orchestrator.results import Note

DELIMITERS = (",", ";", "\t", "|")
CHUNK_ROWS = 20_000


@dataclass(frozen=True)
class Split:
    """Text cut into cells: names and, in their order, columns of strings (an empty cell is an empty string)."""

    names: list[str]
    columns: list[Any]
    delimiter: str


def split(path: Path, limits: Limits, remarks: Remarks, *, quoted: bool) -> Split:
    """Cut a UTF-8 text without byte order mark into columns.

    Parameters
    ----------
    path : Path
        The text; read once or twice.
    limits : Limits
        Bounds on rows, columns, cells and decoded bytes.
    remarks : Remarks
        Takes what was noticed.
    quoted : bool
        Whether a quotation mark occurs anywhere in the text.

    Raises
    ------
    InputError
        ``DATASET_EMPTY``, ``DELIMITER_AMBIGUOUS``, ``RAGGED_ROWS``, ``SHORT_ROWS``, ``MALFORMED_CSV``,
        ``CELL_TOO_LONG``, ``TOO_MANY_COLUMNS``, ``TOO_MANY_ROWS`` or ``DECODED_TOO_LARGE``.
    """
    csv.field_size_limit(limits.cell)
    delimiter = _sniff(path, limits)
    with path.open(encoding="utf-8", newline="") as text:
        names, offset = _header(text, delimiter)
    if len(names) > limits.columns:
        raise InputError(
            f"the table has {len(names)} columns, at most {limits.columns} are read", code="TOO_MANY_COLUMNS"
        )
    plain = not quoted or _plain_quotes(path, offset, delimiter)
    columns = _fast(path, names, offset, delimiter, limits, quoted=quoted) if plain else None
    if columns is None:
        columns = _careful(path, len(names), delimiter, limits, remarks)
    return Split(names, columns, delimiter)


def _sniff(path: Path, limits: Limits) -> str:
    with path.open("rb") as raw:
        start = raw.read(MIB).lstrip(b"\r\n")
    if not start.strip():
        raise InputError("the file holds no text", code="DATASET_EMPTY")
    first = start.splitlines()[0]
    most = max(first.count(d.encode()) for d in DELIMITERS)
    if most >= limits.columns * 2:
        raise InputError(
            f"the first line has more than {limits.columns} columns, at most {limits.columns} are read",
            code="TOO_MANY_COLUMNS",
        )
    text = start.decode("utf-8", errors="ignore")
    scores = {d: score for d in DELIMITERS if (score := _agreement(text, d, whole=len(start) < MIB)) is not None}
    if not scores:
        return ","
    best = max(scores.values())
    winners = [d for d, score in scores.items() if score == best]
    if len(winners) > 1:
        listed = " and ".join(repr(d) for d in winners)
        raise InputError(
            f"the delimiter could be {listed}; use one only, or quote the cells", code="DELIMITER_AMBIGUOUS"
        )
    return winners[0]


def _agreement(text: str, delimiter: str, *, whole: bool) -> float | None:
    """Return the share of sampled rows as wide as the header, or None where the header is one cell."""
    widths: list[int] = []
    try:
        for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True):
            if row:
                widths.append(len(row))
            if len(widths) > 100:
                break
    except csv.Error:
        pass  # the reading proper says what is wrong and where
    else:
        if not whole and len(widths) <= 100 and len(widths) > 1:
            widths.pop()
    if not widths or widths[0] < 2:
        return None
    rows = widths[1:]
    return sum(width == widths[0] for width in rows) / len(rows) if rows else 1.0


def _header(text: io.TextIOBase, delimiter: str) -> tuple[list[str], int]:
    """Return the names and the offset in bytes of the line behind them."""
    consumed = 0

    def lines() -> Iterator[str]:
        nonlocal consumed
        for line in text:
            consumed += len(line.encode("utf-8"))
            yield line

    try:
        names = next((row for row in csv.reader(lines(), delimiter=delimiter, strict=True) if row), [])
    except csv.Error as exc:
        raise _malformed(exc, 1) from exc
    return names, consumed


def _plain_quotes(path: Path, offset: int, delimiter: str) -> bool:
    """Return whether every quote behind `offset` either opens or closes a cell.

    Call a quote *opening* if a separator (delimiter or line end) stands before it and *closing* if one stands behind
    it. If each is exactly one of the two, and there are as many of either kind, a reader that meets no literal quote
    in a cell has met a well-formed text: of its s quoted sections, C end at a closing quote, k at an opening one (an
    error) and u at the end of the file (an error), so that s + k = O and s = C + k + u; O = C gives k = u = 0.
    """
    separator = np.zeros(256, dtype=bool)
    separator[[ord(delimiter), ord("\n"), ord("\r")]] = True
    opening = closing = 0
    before = b"\n"
    with path.open("rb") as raw:
        raw.seek(offset)
        block = raw.read(8 * MIB)
        while block:
            ahead = raw.read(8 * MIB)
            text = np.frombuffer(before + block + (ahead[:1] or b"\n"), dtype=np.uint8)
            quotes = np.flatnonzero(text[1:-1] == ord('"')) + 1
            opens, closes = separator[text[quotes - 1]], separator[text[quotes + 1]]
            if (opens == closes).any():
                return False
            opening += int(opens.sum())
            closing += int(closes.sum())
            before, block = block[-1:], ahead
    return opening == closing


def _fast(
    path: Path, names: list[str], offset: int, delimiter: str, limits: Limits, *, quoted: bool
) -> list[Any] | None:
    """Return the columns, or None where Arrow cannot split the text or finds rows of another width."""
    with path.open("rb") as raw:
        raw.seek(offset)
        if not raw.read(4096).strip():
            return None
        raw.seek(offset)
        aliases = [f"x{i}" for i in range(len(names))]
        try:
            reader = pyarrow.csv.open_csv(
                raw,
                read_options=pyarrow.csv.ReadOptions(use_threads=False, column_names=aliases, block_size=8 * MIB),
                parse_options=pyarrow.csv.ParseOptions(
                    delimiter=delimiter,
                    quote_char='"' if quoted else False,
                    newlines_in_values=quoted,
                    ignore_empty_lines=True,
                ),
                convert_options=pyarrow.csv.ConvertOptions(
                    column_types=dict.fromkeys(aliases, pa.string()), null_values=[], strings_can_be_null=False
                ),
            )
            batches = list(_metered(reader, limits))
        except pa.ArrowInvalid:
            return None
    columns = [pa.chunked_array([batch.column(i) for batch in batches], pa.string()) for i in range(len(names))]
    if quoted and any(pc.any(pc.match_substring(column, '"')).as_py() for column in columns):
        return None
    return columns


def _metered(reader: Any, limits: Limits) -> Iterator[Any]:
    rows = size = 0
    for batch in reader:
        rows += batch.num_rows
        size += batch.nbytes
        check_size(rows, size, limits)
        yield batch


def check_size(rows: int, size: int, limits: Limits) -> None:
    """Refuse a table that has grown beyond its bounds.

    Raises
    ------
    InputError
        ``TOO_MANY_ROWS`` or ``DECODED_TOO_LARGE``.
    """
    if rows > limits.rows:
        raise InputError(
            f"the table has more than {limits.rows} rows, at most that many are read", code="TOO_MANY_ROWS"
        )
    if size > limits.decoded_bytes:
        raise InputError(
            f"the table takes more than {limits.decoded_bytes} bytes once decoded, at most that many are read",
            code="DECODED_TOO_LARGE",
        )


def _careful(path: Path, width: int, delimiter: str, limits: Limits, remarks: Remarks) -> list[Any]:
    chunks: list[list[Any]] = [[] for _ in range(width)]
    rows = short = size = 0
    first_short = None
    buffer: list[list[str]] = []
    with path.open(encoding="utf-8", newline="") as text:
        reader = csv.reader(text, delimiter=delimiter, strict=True)
        try:
            next(row for row in reader if row)
            for row in reader:
                if len(row) != width:
                    if not row:
                        continue
                    if len(row) > width:
                        raise _ragged(reader.line_num, len(row), width)
                    short += 1
                    first_short = first_short or reader.line_num
                    row = row + [""] * (width - len(row))
                buffer.append(row)
                rows += 1
                if len(buffer) >= CHUNK_ROWS:
                    size += _flush(buffer, chunks)
                    check_size(rows, size, limits)
            size += _flush(buffer, chunks)
        except csv.Error as exc:
            raise _malformed(exc, reader.line_num) from exc
    check_size(rows, size, limits)
    if short:
        _judge_short(short, rows, first_short, limits, remarks)
    return [pa.chunked_array(parts, pa.string()) for parts in chunks]


def _flush(buffer: list[list[str]], chunks: list[list[Any]]) -> int:
    size = 0
    for parts, cells in zip(chunks, zip(*buffer, strict=True), strict=False):
        parts.append(pa.array(cells, pa.string()))
        size += parts[-1].nbytes
    buffer.clear()
    return size


def _ragged(line: int, found: int, width: int) -> InputError:
    return InputError(
        f"line {line} has {found} fields, the header has {width}; give every field a name and quote cells that hold "
        "the delimiter",
        code="RAGGED_ROWS",
        details={"line": line, "fields": found, "header": width},
    )


def _malformed(exc: csv.Error, line: int) -> InputError:
    if "field larger" in str(exc):
        return InputError(
            f"a cell near line {line} is longer than {csv.field_size_limit()} characters, or a quotation mark is never "
            "closed",
            code="CELL_TOO_LONG",
            details={"line": line},
        )
    return InputError(
        f"the quotation marks near line {line} do not add up; double those inside of quoted cells",
        code="MALFORMED_CSV",
        details={"line": line},
    )


def _judge_short(short: int, rows: int, first: int | None, limits: Limits, remarks: Remarks) -> None:
    told = f"{short} of {rows} rows have fewer fields than the header (the first in line {first})"
    if short > limits.short_rows * rows:
        raise InputError(
            f"{told}, more than {limits.short_rows:.0%}; write empty fields out",
            code="SHORT_ROWS",
            details={"count": short, "line": first},
        )
    remarks.notes.append(Note(code="SHORT_ROWS", message=f"{told}; their last cells were read as missing"))

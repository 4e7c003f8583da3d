"""From text to typed columns, by one written policy instead of a parser's guesses.

A column becomes numbers, booleans or times only if every cell is one, or is empty, or is a word that cannot be
anything but a missing value there. Whatever is left over stays text and is remarked on, never parsed in silence:

==============================  ===================================================================================
empty cells                     missing
numbers                         ``[+-]digits[.digits][e±digits]``; whole numbers of at most 18 digits are int64
``NA NaN nan null NULL N/A``    missing among numbers, dates and booleans (``MISSING_TOKENS``), text elsewhere
``. - ? #N/A`` and blanks       missing among numbers, with the warning ``SENTINEL_SUSPECT``
``None``, ``none``              always text: it is the name of many a control arm (``LEVEL_LOOKS_MISSING``)
``007``, more than 18 digits    text: an identifier (``ID_LIKE``, ``PRECISION``)
``1,234`` ``$5`` ``5%`` `` 7``  text (``NUMERIC_AS_TEXT``)
``inf``, ``1e400``              refused (``NON_FINITE``)
``true/false yes/no y/n t/f``   boolean if exactly one such pair occurs, whatever its case
``2024-01-31`` and the like     time; day and month must be evident, a date that does not exist is refused
==============================  ===================================================================================
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from causal_orchestrator.datasets.remarks import Remarks
from causal_orchestrator.errors import InputError
from causal_orchestrator.question import shown

NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,6})?$"
WHOLE = r"^[+-]?[0-9]+$"
PADDED = r"^[+-]?0[0-9]"
INFINITE = r"(?i)^[+-]?inf(inity)?$"
# A number behind separators, units, blanks, full-width digits or a decimal comma.
DRESSED = r"^\s*[($€£¥+-]*\s*[0-9０-９][0-9０-９.,_'\s]*\s*[)%€£¥]?\s*$"
ISO = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]{1,9})?)?(Z|[+-][0-9]{2}:?[0-9]{2})?)?$"
YEAR_FIRST = r"^[0-9]{4}/[0-9]{1,2}/[0-9]{1,2}$"
YEAR_LAST = r"^[0-9]{1,2}([/.-])[0-9]{1,2}[/.-][0-9]{4}$"
MISSING = ("NA", "N/A", "n/a", "NaN", "nan", "NULL", "null", "<NA>", "NaT")
SENTINELS = (".", "-", "?", "--", "*", "#N/A", "#NULL!", "#VALUE!")
LOOKS_MISSING = frozenset(("na", "n/a", "nan", "null", "none", "<na>", "nat", "nil", "missing", "#n/a", "."))
PAIRS = (frozenset(("true", "false")), frozenset(("yes", "no")), frozenset(("y", "n")), frozenset(("t", "f")))
TRUE = frozenset(("true", "yes", "y", "t"))
BOOLEAN_WORDS = frozenset().union(*PAIRS) | {"0", "1"}
EXACT = 1 << 53
MOST_SPELLINGS = 64  # a column with more distinct words is no column of booleans


@dataclass(frozen=True)
class _Cells:
    """A column as its distinct texts, the code of each row, and which texts are blank or words for missing."""

    name: str
    levels: Any
    codes: Any
    counts: Any
    blank: Any
    missing: Any


def parse(name: str, values: Any, remarks: Remarks, *, only_dates: bool = False) -> Any:
    """Give a column of text its type.

    Parameters
    ----------
    name : str
        The column's name, for remarks and errors.
    values : pyarrow.ChunkedArray of string, length n
    remarks : Remarks
        Takes what was noticed.
    only_dates : bool
        Whether texts may only become times (for formats that have numbers and booleans of their own).

    Returns
    -------
    pyarrow.ChunkedArray, length n
        Of int64, float64, bool, timestamp[us] or string; missing cells are null.

    Raises
    ------
    InputError
        ``NON_FINITE`` or ``DATE_PARSE``, with the number of cells or the rows.
    """
    levels, codes = encode(values)
    counts = np.bincount(codes, minlength=len(levels) + 1)[: len(levels)]
    blank = _matches(levels, r"^\s*$")
    cells = _Cells(name, levels, codes, counts, blank, missing=blank | _among(levels, MISSING))
    if blank.all():
        return _spread(pa.nulls(len(levels), pa.float64()), codes)
    if not only_dates:
        typed = _numbers_or_booleans(cells, remarks)
        if typed is not None:
            return typed
    style = _date_style(cells)
    return _text(cells, remarks) if style is None else _dates(cells, style, remarks)


def encode(values: Any) -> tuple[Any, Any]:
    """Return the distinct values (an Array) and the code of every row (int64; missing is len(levels))."""
    encoded = values.dictionary_encode()
    chunks = encoded.chunks if isinstance(encoded, pa.ChunkedArray) else [encoded]
    if not chunks:
        return pa.array(np.empty(0), pa.float64()).cast(values.type), np.empty(0, dtype=np.int64)
    levels = chunks[-1].dictionary
    codes = [
        pc.fill_null(chunk.indices.cast(pa.int64()), len(levels)).to_numpy(zero_copy_only=False) for chunk in chunks
    ]
    return levels, np.concatenate(codes)


def looks_missing(levels: Any) -> Any:
    """Return which distinct texts are words for a missing value (mask over `levels`)."""
    words = pc.utf8_lower(pc.utf8_trim_whitespace(levels))
    return _among(words, sorted(LOOKS_MISSING))


def dressed(levels: Any) -> Any:
    """Return which distinct texts are numbers in disguise or plain (mask over `levels`)."""
    return _matches(levels, DRESSED) | _matches(levels, NUMBER)


def _numbers_or_booleans(cells: _Cells, remarks: Remarks) -> Any:
    """Return the typed column, or None where it is neither."""
    number, infinite = _matches(cells.levels, NUMBER), _matches(cells.levels, INFINITE)
    absent = cells.missing | _among(cells.levels, SENTINELS)
    if (number | infinite).any() and (number | infinite | absent).all():
        return _numbers(cells, number, infinite, remarks)
    if (~cells.missing).sum() > MOST_SPELLINGS:
        return None
    words = {word.casefold() for word in cells.levels.filter(pa.array(~cells.missing)).to_pylist()}
    if words in PAIRS:
        return _booleans(cells, remarks)
    if words <= BOOLEAN_WORDS and not any(words <= pair for pair in PAIRS):
        remarks.add("BINARY_AMBIGUOUS", cells.name)
    return None


def _numbers(cells: _Cells, number: Any, infinite: Any, remarks: Remarks) -> Any:
    kept = cells.levels.filter(pa.array(number | infinite))
    whole = bool(_matches(kept, WHOLE).all())
    refuse_infinite(cells.name, int(cells.counts[infinite].sum()))
    if whole and (_matches(kept, PADDED).any() or not _fits(kept)):
        remarks.add("ID_LIKE" if _fits(kept) else "PRECISION", cells.name)
        return _text(cells, remarks)
    typed = _cast(cells.levels, number, pa.int64() if whole else pa.float64())
    if whole:
        bounds = pc.min_max(typed).as_py()
        if max(-bounds["min"], bounds["max"]) > EXACT:
            remarks.add("PRECISION", cells.name)
    else:
        refuse_infinite(cells.name, int(cells.counts[np.isinf(typed.to_numpy(zero_copy_only=False))].sum()))
    _remark_missing(cells, remarks)
    odd = (~number & ~cells.missing) | (cells.blank & _matches(cells.levels, r"^\s+$"))
    if cells.counts[odd].sum():
        remarks.add("SENTINEL_SUSPECT", cells.name, int(cells.counts[odd].sum()))
    return _spread(typed, cells.codes)


def refuse_infinite(name: str, count: int) -> None:
    """Refuse a column with infinite values.

    Raises
    ------
    InputError
        ``NON_FINITE``, if `count` is not 0.
    """
    if count:
        raise InputError(
            f"column {shown(name)!r} holds {count} infinite or overflowing values; leave such cells empty or correct them",
            code="NON_FINITE",
            details={"column": shown(name), "count": count},
        )


def _fits(numbers: Any) -> bool:
    longest = pc.max(pc.binary_length(numbers)).as_py()
    if longest <= 18:
        return True
    long = numbers.filter(pc.greater(pc.binary_length(numbers), 18)).to_pylist()
    return all(len(text) <= 20 and -(1 << 63) <= int(text) < 1 << 63 for text in long)


def _cast(levels: Any, kept: Any, kind: Any) -> Any:
    plain = pc.replace_substring_regex(levels, pattern=r"^\+", replacement="")
    return pc.if_else(pa.array(kept), plain, pa.scalar(None, levels.type)).cast(kind)


def _remark_missing(cells: _Cells, remarks: Remarks) -> None:
    count = int(cells.counts[cells.missing & ~cells.blank].sum())
    if count:
        remarks.add("MISSING_TOKENS", cells.name, count)


def _booleans(cells: _Cells, remarks: Remarks) -> Any:
    known = zip(cells.levels.to_pylist(), cells.missing, strict=True)
    typed = [None if gone else word.casefold() in TRUE for word, gone in known]
    remarks.add("BOOLEAN_READ", cells.name)
    _remark_missing(cells, remarks)
    return _spread(pa.array(typed, pa.bool_()), cells.codes)


def _date_style(cells: _Cells) -> str | None:
    kept = cells.levels.filter(pa.array(~cells.missing))
    styles = {
        "iso": _matches(kept, ISO),
        "year first": _matches(kept, YEAR_FIRST),
        "year last": _matches(kept, YEAR_LAST),
    }
    found = [style for style, mask in styles.items() if mask.any()]
    if not found or not np.logical_or.reduce(list(styles.values())).all():
        return None
    return found[0] if len(found) == 1 else "mixed"


def _dates(cells: _Cells, style: str, remarks: Remarks) -> Any:
    told = np.flatnonzero(~cells.missing)
    texts = cells.levels.take(pa.array(told)).to_pylist()
    if style == "mixed":
        _refuse_dates(cells, "mixes several ways of writing dates", told[-1:])
    order = {"iso": None, "year first": "ymd"}[style] if style != "year last" else _day_month_order(cells, told, texts)
    if style == "year last" and order is None:
        remarks.add("DATE_AMBIGUOUS", cells.name)
        return _text(cells, remarks)
    times = [_time(text if order is None else _reorder(text, order)) for text in texts]
    bad = [i for i, time in zip(told, times, strict=True) if time is None]
    if bad:
        _refuse_dates(cells, "holds dates that do not exist", bad)
    found = _to_utc(cells, [time for time in times if time is not None], told, remarks)
    if any(time.year in (1, 9999) for time in found):
        remarks.add("SENTINEL_SUSPECT", cells.name)
    remarks.add("DATE_READ", cells.name)
    _remark_missing(cells, remarks)
    typed: list[datetime | None] = [None] * len(cells.levels)
    for i, time in zip(told, found, strict=True):
        typed[i] = time
    return _spread(pa.array(typed, pa.timestamp("us")), cells.codes)


def _to_utc(cells: _Cells, times: list[datetime], told: Any, remarks: Remarks) -> list[datetime]:
    aware = {time.tzinfo is not None for time in times}
    if len(aware) > 1:
        _refuse_dates(cells, "mixes times with and without a time zone", told[-1:])
    if aware == {False}:
        return times
    remarks.add("TIMEZONE", cells.name)
    return [_utc(time) for time in times]


def _day_month_order(cells: _Cells, told: Any, texts: Sequence[str]) -> str | None:
    parts = [[int(part) for part in re.split("[/.-]", text)] for text in texts]
    day_first = [i for i, (first, _, _) in zip(told, parts, strict=True) if first > 12]
    month_first = [i for i, (_, second, _) in zip(told, parts, strict=True) if second > 12]
    if day_first and month_first:
        _refuse_dates(cells, "mixes day/month with month/day", min((day_first, month_first), key=len))
    return "dmy" if day_first else "mdy" if month_first else None


def _reorder(text: str, order: str) -> str:
    part = dict(zip(order, re.split("[/.-]", text), strict=True))
    return f"{part['y']}-{int(part['m']):02d}-{int(part['d']):02d}"


def _time(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def _utc(time: datetime) -> datetime:
    try:
        return time.astimezone(UTC).replace(tzinfo=None)
    except OverflowError:  # the first and the last day of the calendar have no neighbour
        return time.replace(tzinfo=None)


def _refuse_dates(cells: _Cells, what: str, bad: Any) -> None:
    rows = [int(i) + 1 for i in np.flatnonzero(np.isin(cells.codes, bad))[:5]]
    raise InputError(
        f"column {shown(cells.name)!r} {what} (data rows {', '.join(map(str, rows))}, …); write all of them as YYYY-MM-DD",
        code="DATE_PARSE",
        details={"column": shown(cells.name), "rows": rows},
    )


def _text(cells: _Cells, remarks: Remarks) -> Any:
    remark_text(cells.name, cells.levels, cells.counts, cells.blank, remarks)
    empty = pc.equal(cells.levels, "")
    return _spread(pc.if_else(empty, pa.scalar(None, cells.levels.type), cells.levels), cells.codes)


def remark_text(name: str, levels: Any, counts: Any, blank: Any, remarks: Remarks) -> None:
    """Remark on words for missing values and on numbers in disguise among the distinct texts of a column."""
    words = looks_missing(levels)
    if counts[words].sum():
        remarks.add("LEVEL_LOOKS_MISSING", name, int(counts[words].sum()))
    told = ~(words | blank | _among(levels, SENTINELS))
    # Four fifths: one odd cell must not hide that a column is meant to be numbers.
    hidden = dressed(levels) & told
    plain = _matches(levels, PADDED) & _matches(levels, WHOLE)
    if told.any() and hidden.sum() >= 0.8 * told.sum() and not plain.any():
        remarks.add("NUMERIC_AS_TEXT", name, int(counts[hidden].sum()))


def _matches(levels: Any, pattern: str) -> Any:
    return pc.fill_null(pc.match_substring_regex(levels, pattern=pattern), False).to_numpy(zero_copy_only=False)


def _among(levels: Any, words: Sequence[str]) -> Any:
    return pc.is_in(levels, value_set=pa.array(words, levels.type)).to_numpy(zero_copy_only=False)


def _spread(typed: Any, codes: Any) -> Any:
    indices = pa.array(codes, mask=codes == len(typed))
    return pa.chunked_array([typed.take(indices)])

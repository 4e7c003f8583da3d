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
    if blank.all():
        return _spread(pa.nulls(len(levels), pa.float64()), codes)
    missing = blank | _among(levels, MISSING)
    if not only_dates:
        typed = _numbers_or_booleans(name, levels, codes, counts, missing, blank, remarks)
        if typed is not None:
            return typed
    style = _date_style(levels, missing)
    if style and not missing.all():
        return _dates(name, levels, codes, counts, missing, blank, style, remarks)
    return _text(name, levels, codes, counts, blank, remarks)


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


def _numbers(
    name: str,
    levels: Any,
    codes: Any,
    counts: Any,
    number: Any,
    infinite: Any,
    missing: Any,
    blank: Any,
    remarks: Remarks,
) -> Any:
    kept = levels.filter(pa.array(number | infinite))
    if _matches(kept, PADDED).any() and _matches(kept, WHOLE).all():
        remarks.add("ID_LIKE", name)
        return _text(name, levels, codes, counts, blank, remarks)
    refuse_infinite(name, int(counts[infinite].sum()))
    whole = bool(_matches(kept, WHOLE).all())
    if whole and not _fits(kept):
        remarks.add("PRECISION", name)
        return _text(name, levels, codes, counts, blank, remarks)
    typed = _cast(levels, number, pa.int64() if whole else pa.float64())
    if whole and pc.max(pc.abs(typed)).as_py() > EXACT:
        remarks.add("PRECISION", name)
    if not whole:
        values = typed.to_numpy(zero_copy_only=False)
        refuse_infinite(name, int(counts[np.isinf(values)].sum()))
    _remark_missing(name, counts, missing & ~blank, remarks)
    sentinels = int(counts[~number & ~missing].sum()) + int(
        counts[blank & (np.asarray(pc.binary_length(levels)) > 0)].sum()
    )
    if sentinels:
        remarks.add("SENTINEL_SUSPECT", name, sentinels)
    return _spread(typed, codes)


def _numbers_or_booleans(
    name: str, levels: Any, codes: Any, counts: Any, missing: Any, blank: Any, remarks: Remarks
) -> Any:
    number = _matches(levels, NUMBER)
    absent = missing | _among(levels, SENTINELS)
    infinite = _matches(levels, INFINITE)
    if (number | infinite).any() and (number | infinite | absent).all():
        return _numbers(name, levels, codes, counts, number, infinite, missing, blank, remarks)
    words = {word.casefold() for word in levels.filter(pa.array(~missing)).to_pylist()[:64]}
    if words in PAIRS and (~missing).sum() <= 64:
        return _booleans(name, levels, codes, counts, missing, blank, remarks)
    if words and words <= BOOLEAN_WORDS and not number.all():
        remarks.add("BINARY_AMBIGUOUS", name)
    return None


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


def _remark_missing(name: str, counts: Any, tokens: Any, remarks: Remarks) -> None:
    if counts[tokens].sum():
        remarks.add("MISSING_TOKENS", name, int(counts[tokens].sum()))


def _booleans(name: str, levels: Any, codes: Any, counts: Any, missing: Any, blank: Any, remarks: Remarks) -> Any:
    typed = [None if gone else word.casefold() in TRUE for word, gone in zip(levels.to_pylist(), missing, strict=True)]
    remarks.add("BOOLEAN_READ", name)
    _remark_missing(name, counts, missing & ~blank, remarks)
    return _spread(pa.array(typed, pa.bool_()), codes)


def _date_style(levels: Any, missing: Any) -> str | None:
    kept = levels.filter(pa.array(~missing))
    styles = {
        "iso": _matches(kept, ISO),
        "year first": _matches(kept, YEAR_FIRST),
        "year last": _matches(kept, YEAR_LAST),
    }
    found = [style for style, mask in styles.items() if mask.any()]
    if not found or not np.logical_or.reduce(list(styles.values())).all():
        return None
    return found[0] if len(found) == 1 else "mixed"


def _dates(
    name: str, levels: Any, codes: Any, counts: Any, missing: Any, blank: Any, style: str, remarks: Remarks
) -> Any:
    texts = [None if gone else text for text, gone in zip(levels.to_pylist(), missing, strict=True)]
    if style == "mixed":
        _refuse_dates(name, "mixes several ways of writing dates", codes, np.flatnonzero(~missing)[-1:])
    if style == "year last":
        order = _day_month_order(name, texts, codes)
        if order is None:
            remarks.add("DATE_AMBIGUOUS", name)
            return _text(name, levels, codes, counts, blank, remarks)
        texts = [None if t is None else _reorder(t, order) for t in texts]
    elif style == "year first":
        texts = [None if t is None else _reorder(t, "ymd") for t in texts]
    times = [None if t is None else _time(t) for t in texts]
    bad = np.array(
        [i for i, (t, time) in enumerate(zip(texts, times, strict=True)) if t is not None and time is None], int
    )
    if bad.size:
        _refuse_dates(name, "holds dates that do not exist", codes, bad)
    aware = {time.tzinfo is not None for time in times if time is not None}
    if len(aware) > 1:
        _refuse_dates(name, "mixes times with and without a time zone", codes, np.flatnonzero(~missing)[-1:])
    if aware == {True}:
        remarks.add("TIMEZONE", name)
        times = [None if t is None else _utc(t) for t in times]
    if any(t is not None and t.year in (1, 9999) for t in times):
        remarks.add("SENTINEL_SUSPECT", name)
    remarks.add("DATE_READ", name)
    _remark_missing(name, counts, missing & ~blank, remarks)
    return _spread(pa.array(times, pa.timestamp("us")), codes)


def _day_month_order(name: str, texts: Sequence[str | None], codes: Any) -> str | None:
    parts = {i: [int(p) for p in re.split("[/.-]", text)] for i, text in enumerate(texts) if text is not None}
    day_first = [i for i, (first, _, _) in parts.items() if first > 12]
    month_first = [i for i, (_, second, _) in parts.items() if second > 12]
    if day_first and month_first:
        fewer = min((day_first, month_first), key=len)
        _refuse_dates(name, "mixes day/month with month/day", codes, np.array(fewer))
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


def _refuse_dates(name: str, what: str, codes: Any, bad: Any) -> None:
    rows = [int(i) + 1 for i in np.flatnonzero(np.isin(codes, bad))[:5]]
    raise InputError(
        f"column {shown(name)!r} {what} (data rows {', '.join(map(str, rows))}, …); write all of them as YYYY-MM-DD",
        code="DATE_PARSE",
        details={"column": shown(name), "rows": rows},
    )


def _text(name: str, levels: Any, codes: Any, counts: Any, blank: Any, remarks: Remarks) -> Any:
    remark_text(name, levels, counts, blank, remarks)
    empty = pa.array(np.asarray(pc.equal(levels, "")))
    return _spread(pc.if_else(empty, pa.scalar(None, levels.type), levels), codes)


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

"""Column names: what is refused, what is only noted."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

from causal_orchestrator.datasets.limits import Limits
from causal_orchestrator.datasets.remarks import Remarks
from causal_orchestrator.errors import InputError
from causal_orchestrator.question import shown
from causal_orchestrator.results import Note

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def check(names: Sequence[str], limits: Limits, remarks: Remarks) -> None:
    """Refuse names that cannot be told apart or shown; remark on those that may mislead.

    Raises
    ------
    InputError
        ``TOO_MANY_COLUMNS``, ``EMPTY_COLUMN_NAME``, ``NAME_TOO_LONG``, ``NUL_BYTE``, ``ENCODING`` or
        ``DUPLICATE_COLUMN``.
    """
    if len(names) > limits.columns:
        raise InputError(
            f"the table has {len(names)} columns, at most {limits.columns} are read", code="TOO_MANY_COLUMNS"
        )
    for position, name in enumerate(names, start=1):
        _check_one(name, position, limits)
    repeated = sorted(name for name, n in Counter(names).items() if n > 1)
    if repeated:
        listed = ", ".join(repr(shown(name)) for name in repeated[:5])
        raise InputError(f"columns share a name: {listed}; rename them", code="DUPLICATE_COLUMN")
    _remark(names, remarks)


def check_header(names: Sequence[str], remarks: Remarks) -> None:
    """Refuse a first line that is all numbers (data without a header); remark where some of it is.

    Raises
    ------
    InputError
        ``HEADER_SUSPECT``.
    """
    numeric = [name for name in names if NUMBER.fullmatch(name)]
    if numeric and len(numeric) == len(names):
        raise InputError(
            "the first line holds numbers only, so the file seems to have no header; add a line of column names",
            code="HEADER_SUSPECT",
        )
    if numeric:
        remarks.notes.append(_header_note(numeric))


def nearest(name: str, names: Sequence[str]) -> str | None:
    """Return the column that was probably meant by `name`, or None."""
    folded = {fold(other): other for other in names}
    found = folded.get(fold(name)) or next(iter(difflib.get_close_matches(name, names, n=1, cutoff=0.6)), None)
    if found is None:
        close = difflib.get_close_matches(fold(name), list(folded), n=1, cutoff=0.6)
        found = folded[close[0]] if close else None
    return found


def fold(name: str) -> str:
    """Return `name` without what people overlook: case, outer blanks, Unicode form."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).strip().casefold())


def _check_one(name: str, position: int, limits: Limits) -> None:
    if not name.strip():
        raise InputError(f"column {position} has no name; give every column one", code="EMPTY_COLUMN_NAME")
    if "\0" in name:
        raise InputError(f"the name of column {position} holds a NUL byte", code="NUL_BYTE")
    try:
        size = len(name.encode("utf-8"))
    except UnicodeEncodeError as exc:
        raise InputError(f"the name of column {position} is not valid Unicode", code="ENCODING") from exc
    if size > limits.name:
        raise InputError(
            f"the name of column {position} is {size} bytes long, at most {limits.name} are read", code="NAME_TOO_LONG"
        )


def _remark(names: Sequence[str], remarks: Remarks) -> None:
    folded = Counter(fold(name) for name in names)
    for name in names:
        if folded[fold(name)] > 1:
            remarks.add("AMBIGUOUS_COLUMNS", name)
        if _confusable(name):
            remarks.add("CONFUSABLE", name)


def _confusable(name: str) -> bool:
    if name.isascii():
        return False
    if any(unicodedata.category(c) == "Cf" for c in name):
        return True
    # A word that mixes Latin with Cyrillic or Greek letters is the usual homoglyph.
    for word in re.findall(r"\w+", name):
        scripts = {unicodedata.name(c, "?").split()[0] for c in word if c.isalpha()}
        if "LATIN" in scripts and scripts & {"CYRILLIC", "GREEK"}:
            return True
    return False


def _header_note(numeric: Sequence[str]) -> Note:
    return Note(
        code="HEADER_SUSPECT",
        message=f"{len(numeric)} column names are numbers; check that the first line is a header",
        columns=tuple(numeric),
    )

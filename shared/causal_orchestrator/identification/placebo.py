"""Outcomes that the treatment cannot have moved, recognised by their names (HON-3)."""

from __future__ import annotations

import re
from collections.abc import Sequence

# A stem of letters and a year of two or four digits: re78, wage_1990, income.85.
_YEARED = re.compile(r"^(?P<stem>.*?[^\W\d_])[\s_.\-]*(?P<year>(?:19|20)?\d{2})$")
# "x12" numbers a column, it does not date it.
_NUMBERING_STEMS = frozenset({"x", "v", "z", "w", "q", "var", "col", "column", "feature", "item", "cov", "f", "u"})
_BEFORE = frozenset({"baseline", "before", "lag", "lag1", "lagged", "last", "pre", "previous", "prior", "t0"})
_AFTER = frozenset({"after", "endline", "final", "followup", "outcome", "post", "t1"})


def words(name: str) -> tuple[str, ...]:
    """Return the lower-case words of a column's name (split at underscores, blanks, dots, hyphens and camel case)."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    return tuple(part for part in re.split(r"[^0-9a-z]+", spaced.lower()) if part)


def dated(name: str) -> tuple[str, int] | None:
    """Return stem and year of a name that ends in a year (two digits are of the twentieth century), or None."""
    match = _YEARED.match(name.strip().lower())
    if match is None or match["stem"] in _NUMBERING_STEMS:
        return None
    year = int(match["year"])
    return match["stem"], year if year >= 100 else 1900 + year


def year(name: str) -> int | None:
    """Return the year of four digits that a name holds, or None if it holds none or several."""
    found = {int(number) for number in re.findall(r"(?<!\d)(?:19|20)\d{2}(?!\d)", name)}
    return found.pop() if len(found) == 1 else None


def lagged_outcomes(outcome: str, columns: Sequence[str]) -> tuple[str, ...]:
    """Return the columns that by their names are earlier measurements of the outcome, the latest first.

    A column counts if it has the outcome's stem and an earlier year (``re75`` for ``re78``), or the outcome's words
    with a word for "before" in place of one for "after" (``score_pre`` for ``score`` or ``score_post``).
    """
    target = dated(outcome)
    years: list[tuple[int, str]] = []
    core = tuple(word for word in words(outcome) if word not in _AFTER)
    named = []
    for column in columns:
        when = dated(column)
        if target is not None and when is not None and when[0] == target[0] and when[1] < target[1]:
            years.append((-when[1], column))
            continue
        parts = words(column)
        rest = tuple(word for word in parts if word not in _BEFORE)
        if core and rest == core and len(rest) < len(parts):
            named.append(column)
    return tuple(column for _, column in sorted(years)) + tuple(named)

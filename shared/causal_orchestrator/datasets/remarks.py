"""What reading noticed about columns: collected by code, told in one sentence each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from causal_orchestrator.question import shown
from causal_orchestrator.results import Note

# For every code: its severity and what it says about the columns that follow.
SENTENCES: dict[str, tuple[Literal["info", "warning"], str]] = {
    "AMBIGUOUS_COLUMNS": ("warning", "names differ only by case, blanks or Unicode form; roles match exactly"),
    "BINARY_AMBIGUOUS": ("warning", "several spellings of true and false are mixed; the column was left as text"),
    "BOOLEAN_READ": ("info", "pairs of words for true and false were read as 1 and 0"),
    "COLLINEAR": ("warning", "columns are exact copies of one another"),
    "CONFUSABLE": ("warning", "names hold invisible, direction-changing or look-alike characters"),
    "DATE_AMBIGUOUS": ("warning", "day and month cannot be told apart; the column was left as text"),
    "DATE_SERIAL_SUSPECT": ("warning", "whole numbers look like a spreadsheet's days and were left as numbers"),
    "DATE_READ": ("info", "dates were read from text"),
    "EMPTY_COLUMN": ("warning", "columns hold no value at all"),
    "ID_LIKE": ("warning", "columns look like identifiers and are no covariates"),
    "INDEX_DROPPED": ("info", "a column of row numbers was left out"),
    "LEVEL_LOOKS_MISSING": ("warning", "words such as NA or None were kept as text, not read as missing"),
    "MISSING_TOKENS": ("info", "words such as NA in columns of numbers, dates or booleans were read as missing"),
    "MIXED_TYPES": ("warning", "columns mix numbers, text or other types and were read as text"),
    "MOSTLY_MISSING": ("warning", "half of the values or more are missing"),
    "NUMERIC_AS_TEXT": ("warning", "numbers are written as text (separators, units, blanks) and were left as text"),
    "NUMERIC_OVERFLOW": ("warning", "values are so large that their moments overflow; those are not reported"),
    "PII_SUSPECT": ("warning", "columns look like personal data; their values are shown nowhere"),
    "PRECISION": ("warning", "numbers have more digits than a double holds exactly"),
    "SENTINEL_SUSPECT": ("warning", "values look like codes for a missing value"),
    "TIMEZONE": ("info", "times were converted to UTC"),
}


@dataclass(frozen=True)
class Remark:
    """One observation on one column: its code and how many cells it concerns (None where that says nothing)."""

    code: str
    column: str
    count: int | None = None


@dataclass(frozen=True)
class Remarks:
    """An appendable list of remarks beside notes on the file as a whole."""

    items: list[Remark] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)

    def add(self, code: str, column: str, count: int | None = None) -> None:
        """Remember that `code` holds for `column`."""
        self.items.append(Remark(code, column, count))

    def tell(self) -> tuple[Note, ...]:
        """Return one note per code, in alphabetical order of the codes, after those on the file."""
        codes = sorted({item.code for item in self.items})
        return (*self.notes, *(_note(code, [i for i in self.items if i.code == code]) for code in codes))

    def flags(self) -> Mapping[str, tuple[str, ...]]:
        """Return the warnings' codes of each column."""
        found: dict[str, tuple[str, ...]] = {}
        for item in self.items:
            if SENTENCES[item.code][0] == "warning" and item.code not in found.get(item.column, ()):
                found[item.column] = (*found.get(item.column, ()), item.code)
        return found


def _note(code: str, items: Iterable[Remark]) -> Note:
    severity, sentence = SENTENCES[code]
    counts: dict[str, int | None] = {}
    for item in items:
        counts[item.column] = item.count if item.count is None else item.count + (counts.get(item.column) or 0)
    named = [shown(c) if n is None else f"{shown(c)} ({n} cells)" for c, n in list(counts.items())[:8]]
    more = f" and {len(counts) - 8} more" if len(counts) > 8 else ""
    return Note(code=code, message=f"{sentence}: {', '.join(named)}{more}", columns=tuple(counts), severity=severity)

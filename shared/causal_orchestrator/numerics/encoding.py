"""Turn the columns of a table into numbers, by one documented rule for every method.

* Numbers stay as they are; booleans become 0 and 1; text that is all numbers becomes numbers.
* Dates become days since the earliest one.
* Text of at most ``MAX_LEVELS`` levels becomes indicators; the most frequent level is left out (ties: the first in
  alphabetical order). Levels with fewer than ``RARE`` rows are merged into ``(other)``, or where that would still have
  too few, into the level left out.
* A missing number becomes the median and, from ``RARE`` rows, gets an indicator of its own; a missing category is a level. That is an
  assumption (missingness is as good as a further confounder) and is stated in a note.
* Text with more levels, and columns that name the rows, are left out, with a note.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from causal_orchestrator.errors import InputError
from causal_orchestrator.question import shown
from causal_orchestrator.results import Note

Floats = NDArray[np.float64]

MAX_LEVELS = 50
RARE = 10
OTHER = "(other)"
MISSING = "(missing)"


@dataclass(frozen=True)
class Encoding:
    """Encoded columns: `values` (n, p), a name for each and the column that each comes from."""

    values: Floats
    names: tuple[str, ...]
    sources: tuple[str, ...]
    notes: tuple[Note, ...]


def encode(frame: pd.DataFrame, columns: Sequence[str]) -> Encoding:
    """Encode `columns` of `frame` in alphabetical order, so that their order in the question does not matter.

    Raises
    ------
    InputError
        If a number is infinite (``NON_FINITE``).
    """
    parts: list[tuple[str, str, Floats]] = []
    notes: list[Note] = []
    for column in sorted(columns):
        found, said = _encode_one(column, frame[column])
        parts += [(name, column, values) for name, values in found]
        notes += said
    values = np.column_stack([part[2] for part in parts]) if parts else np.zeros((len(frame), 0))
    return Encoding(values, tuple(p[0] for p in parts), tuple(p[1] for p in parts), tuple(notes))


def as_numbers(series: pd.Series) -> Floats | None:
    """Return the column as float64 with NaN where it is missing, or None where it is not numeric at heart."""
    if pd.api.types.is_bool_dtype(series) or pd.api.types.is_numeric_dtype(series):
        return np.asarray(series.to_numpy(dtype=np.float64, na_value=np.nan)) + 0.0
    if pd.api.types.is_datetime64_any_dtype(series):
        return _days(series)
    present = series.dropna()
    if isinstance(series.dtype, pd.CategoricalDtype):
        present = present.astype(object)
    if present.empty:
        return np.full(len(series), np.nan)
    parsed = pd.to_numeric(present.astype(str) if not _all_numbers(present) else present, errors="coerce")
    if parsed.isna().any():
        return None
    values = np.full(len(series), np.nan)
    values[series.notna().to_numpy()] = parsed.to_numpy(dtype=np.float64)
    return values + 0.0


def _all_numbers(present: pd.Series) -> bool:
    return all(issubclass(kind, int | float | bool | np.number) for kind in present.map(type).unique())


def _days(series: pd.Series) -> Floats:
    since = (series - series.min()) / pd.Timedelta(days=1)
    return np.asarray(since.to_numpy(dtype=np.float64, na_value=np.nan))


def _encode_one(column: str, series: pd.Series) -> tuple[list[tuple[str, Floats]], list[Note]]:
    numbers = as_numbers(series)
    if numbers is not None:
        return _encode_numbers(column, numbers)
    return _encode_levels(column, series)


def _encode_numbers(column: str, numbers: Floats) -> tuple[list[tuple[str, Floats]], list[Note]]:
    if np.isinf(numbers).any():
        raise InputError(
            f"covariate {shown(column)!r} has {int(np.isinf(numbers).sum())} infinite values; declare them missing",
            code="NON_FINITE",
            details={"column": column},
        )
    missing = np.isnan(numbers)
    if missing.all():
        return [], [_note("COVARIATE_EMPTY", column, "has no values and is left out")]
    parts = []
    notes = []
    if missing.any():
        median = float(np.median(numbers[~missing]))
        numbers = np.where(missing, median, numbers)
        if min(missing.sum(), (~missing).sum()) >= RARE:
            parts.append((f"{column} {MISSING}", missing.astype(np.float64)))
        notes.append(_note("MISSING_FILLED", column, f"has {int(missing.sum())} missing values: filled with the median{', with an indicator' if parts else ''}"))  # fmt: skip
    if np.ptp(numbers) == 0:
        notes.append(_note("COVARIATE_CONSTANT", column, "has one value and is left out", "info"))
        return parts, notes
    return [(column, numbers), *parts], notes


def _encode_levels(column: str, series: pd.Series) -> tuple[list[tuple[str, Floats]], list[Note]]:
    labels = series.astype(object).where(series.notna(), MISSING).astype(str)
    counts = labels.value_counts()
    notes: list[Note] = []
    if MISSING in counts.index:
        notes.append(_note("MISSING_LEVEL", column, f"has {int(counts[MISSING])} missing values: a level of their own"))
    rare = sorted(counts.index[counts < RARE])
    in_rare = int(counts[rare].sum())
    if len(counts) - len(rare) > MAX_LEVELS or in_rare > len(labels) / 2:
        text = f"has {len(counts)} different texts and is left out; group them into at most {MAX_LEVELS} to use it"
        return [], [_note("COVARIATE_TEXT", column, text)]
    if rare:
        # Too few rows for an indicator of their own would only be predicted perfectly.
        home = OTHER if in_rare >= RARE else _most_frequent(counts)
        labels = labels.where(~labels.isin(rare), home)
        text = f"has {len(rare)} levels with fewer than {RARE} rows: merged into {shown(home)!r}"
        notes.append(_note("LEVELS_MERGED", column, text, "info"))
        counts = labels.value_counts()
    base = _most_frequent(counts)
    levels = [level for level in sorted(counts.index) if level != base]
    return [(f"{column}={level}", (labels == level).to_numpy(dtype=np.float64)) for level in levels], notes


def _most_frequent(counts: pd.Series) -> str:
    return str(min(counts.index[counts == counts.max()]))


def _note(code: str, column: str, what: str, severity: str = "warning") -> Note:
    return Note.model_validate(
        {"code": code, "message": f"{shown(column)!r} {what}", "columns": (column,), "severity": severity}
    )

"""Columns that name the arms of the treatment, and whether they say the same as its codes."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from causal_orchestrator.profiling.quality import as_number
from causal_orchestrator.profiling.text import stem, words
from causal_orchestrator.question import Question, shown

Floats = NDArray[np.float64]

# Correlation of two indicators from which one is taken to label the other: less, and it may name another treatment.
RELABELS = 0.5
# Words for time go with a treatment that came in for everyone at once, and with no other, nearly without exception.
RELABELS_TIME = 0.9
READABLE = 0.9  # share of a column's rows whose word must be known
FEW_LEVELS = 10
SLIPS = 0.01  # share of contradicting rows below which they are slips, which move an effect by some hundredths

_TREATED = frozenset(stem(w) for w in ("treated", "treatment", "intervention", "exposed", "active", "experimental"))
_CONTROL = frozenset(
    stem(w) for w in ("control", "controls", "ctrl", "untreated", "placebo", "comparison", "unexposed", "sham")
)
_NEGATION = frozenset(("no", "not", "non", "without", "never"))
_YES, _NO = frozenset(("yes", "y", "true", "on")), frozenset(("no", "n", "false", "off"))
_AFTER, _BEFORE = frozenset(("after", "post")), frozenset(("before", "pre"))
_RECEIVED = frozenset(stem(w) for w in ("received", "took", "taken", "used", "attended", "complied", "actual", "uptake", "completed"))  # fmt: skip
_GENERIC = frozenset(
    stem(w) for w in ("group", "arm", "status", "label", "name", "text", "word", "flag", "indicator", "dummy", "is",
                      "was", "yn", "code", "type", "condition", "treated", "treatment", "treat")
)  # fmt: skip


@dataclass(frozen=True)
class Label:
    """A column that names the arms: the share of rows in which it denies the codes, and what was found in words."""

    denied: float
    reason: str


def compare(column: pd.Series, codes: pd.Series, question: Question, *, name: str) -> Label | None:
    """Compare the words of a column that names the arms with a two-valued treatment's (or instrument's) codes.

    Of numbers the larger counts as treated, unless it is the reference level. Where the question has a time, a treated
    group that is not yet treated is no contradiction.

    Parameters
    ----------
    column, codes : shape (n,)
    name : the name of `codes`.

    Returns
    -------
    Label or None
        None where the column does not name these arms, or the codes' meaning is unknown.
    """
    treated = coded(codes, question, name)
    if treated is None or _received(str(column.name)) > _received(name):
        return None
    said, least = _read(column, name, numbers=as_number(codes) is None)
    known = ~np.isnan(said) & ~np.isnan(treated)
    if not known.any() or known.sum() < READABLE * (column.notna() & ~np.isnan(treated)).sum():
        return None
    said, treated = said[known], treated[known]
    if not np.ptp(said) or not np.ptp(treated) or abs(np.corrcoef(said, treated)[0, 1]) < least:
        return None
    denied, claimed = (said == 0) & (treated == 1), (said == 1) & (treated == 0)
    wrong = denied if question.time is not None else denied | claimed
    return Label(float(wrong.mean()), _sentence(denied, claimed, treated, name))


def coded(codes: pd.Series, question: Question, name: str) -> Floats | None:
    """Return 1 for treated, 0 for control and NaN for missing (n,), or None where two values or their meaning lack."""
    levels = codes.dropna().unique()
    if len(levels) != 2:
        return None
    number, reference = as_number(codes), question.reference_level if name == question.treatment else None
    if reference is not None:
        control = codes.astype(str) == str(reference) if number is None else number == pd.to_numeric(reference, errors="coerce")  # fmt: skip
        return np.where(codes.isna(), np.nan, 1.0 - np.asarray(control, dtype=np.float64))
    if number is not None:
        return np.where(np.isnan(number), np.nan, (number == np.nanmax(number)) * 1.0)
    for reader in (_arm(name), _yes):
        sides = {level: reader(str(level)) for level in levels}
        if set(sides.values()) == {0.0, 1.0}:
            return _apply(codes, sides)
    return None


def _read(column: pd.Series, name: str, *, numbers: bool) -> tuple[Floats, float]:
    """Return which arm each row's word names (n,), NaN where none, and how closely it must go with the treatment."""
    number, levels = as_number(column), column.dropna().unique()
    nothing = np.full(len(column), np.nan)
    if len(levels) > FEW_LEVELS:
        return nothing, 1.0
    about = _about(str(column.name), name)
    if number is not None:
        named = numbers and about and set(np.unique(number[~np.isnan(number)])) == {0.0, 1.0}
        return (number if named else nothing), RELABELS
    readers: list[tuple[Callable[[str], float], float]] = [(_arm(name), RELABELS), (_time, RELABELS_TIME)]
    for reader, least in [*readers, *([(_yes, RELABELS)] if about else [])]:
        sides = {level: reader(str(level)) for level in levels}
        if {0.0, 1.0} <= set(sides.values()):
            return _apply(column, sides), least
    return nothing, 1.0


def _apply(column: pd.Series, sides: dict[object, float]) -> Floats:
    return np.asarray(column.map(sides).to_numpy(dtype=np.float64, na_value=np.nan))


def _arm(name: str) -> Callable[[str], float]:
    """Return a reader of words for arms, the treatment's own name among them: *control*, *treated*, *no training*."""
    own = _telling(name)

    def read(value: str) -> float:
        parts = words(value)
        found = {stem(w) for w in parts}
        control, treated = bool(found & _CONTROL), bool(found & (_TREATED | own))
        if control == treated:
            return np.nan
        return 0.0 if control or found & _NEGATION else 1.0

    return read


def _yes(value: str) -> float:
    return _either(value, _YES, _NO)


def _time(value: str) -> float:
    return _either(value, _AFTER, _BEFORE)


def _either(value: str, one: Collection[str], zero: Collection[str]) -> float:
    parts = set(words(value))
    return np.nan if len(parts) != 1 else 1.0 if parts & set(one) else 0.0 if parts & set(zero) else np.nan


def _telling(name: str) -> frozenset[str]:
    return frozenset(stem(w) for w in words(name) if not w.isdigit()) - _GENERIC


def _about(column: str, name: str) -> bool:
    """Return whether a column's name says nothing but the treatment's."""
    own, parts = _telling(column), frozenset(stem(w) for w in words(column))
    return own == _telling(name) if own else bool(parts & (_TREATED | {stem("treat")}))


def _received(name: str) -> bool:
    return bool(frozenset(stem(w) for w in words(name)) & _RECEIVED)


def _sentence(denied: NDArray[np.bool_], claimed: NDArray[np.bool_], treated: Floats, name: str) -> str:
    n1, n0 = int(treated.sum()), int((1 - treated).sum())
    return (
        f"its words say control in {int(denied.sum()):,} of the {n1:,} rows that {shown(name)!r} codes as treated, "
        f"and treated in {int(claimed.sum()):,} of the {n0:,} others"
    )

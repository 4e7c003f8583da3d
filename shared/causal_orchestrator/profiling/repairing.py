"""Repairs of single columns, each found from that column's own values and applied only by a stated rule."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from causal_orchestrator.profiling.quality import SMALL_CELL, as_number
from causal_orchestrator.profiling.text import words
from causal_orchestrator.question import Question, shown
from causal_orchestrator.results import ColumnSummary, Note, Repair, Repairs, Snapshot

MAX_IMPOSSIBLE = 0.05  # a larger share of "impossible" values means that the column is not what its name says
MOSTLY_MISSING = 0.5
ROWS = "*"  # the column of a repair that concerns whole rows
SENTINELS = (-9.0, -99.0, -999.0, -9999.0, -99999.0, 99.0, 999.0, 9999.0, 99999.0)
TOKENS = frozenset({"?", ".", "-", "--", "na", "n/a", "#n/a", "nan", "null", "none", "missing", "unknown", ""})
YES = frozenset({"yes", "y", "true", "t", "1"})
NO = frozenset({"no", "n", "false", "f", "0"})

_THOUSANDS = re.compile(r"[+-]?\d{1,3}(?:,\d{3})+(?:\.\d+)?")
_POINT = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
_COMMA = re.compile(r"[+-]?\d+,\d+")
_CURRENCY = re.compile(r"^[$€£¥]\s*|\s*[$€£¥]$")
_LEADING_ZERO = re.compile(r"0\d+")


def worth_reading(columns: Sequence[ColumnSummary], question: Question) -> list[str]:
    """Return the columns whose values may need a repair: words, suspect numbers, covariates with missing values."""
    covariates = set(question.covariates or ())
    return [
        c.name
        for c in columns
        if (c.kind not in ("empty", "constant", "identifier") or "NUMERIC_AS_TEXT" in c.flags)
        and not c.personal_data
        and (
            (c.name in covariates and (c.n_missing or c.n_rare or c.kind == "categorical"))
            or c.flags
            or (c.kind == "numeric" and (_extreme_code(c) or _limits(c.name) is not None))
        )
    ]


def column_repairs(column: pd.Series, summary: ColumnSummary, question: Question) -> list[Repair]:
    """Find the repairs of one column, in the order in which they are to be applied.

    Types first, then codes for missing values, impossible values, imputation, rare categories. Only covariates are
    imputed, and only their doubtful values are set to missing; for every other role such a change is only proposed.

    Parameters
    ----------
    column : Series, shape (n,)
        The column's values in any order.
    """
    covariate = summary.name in (question.covariates or ())
    told = f"{question.description} {question.dictionary.get(summary.name, '')}"
    found: list[Repair] = []
    current = column
    for find in (_numbers_as_text, _sentinels, _impossible):
        for repair in find(current, summary.name, covariate, told):
            found.append(repair)
            if repair.applied:
                current = _preview(current, repair)
    if covariate:
        found += _imputation(current, summary.name)
        found += _rare_levels(current, summary.name)
    return found


def _preview(column: pd.Series, repair: Repair) -> pd.Series:
    if repair.action == "to_missing":
        gone = column.isin(list(repair.parameters.get("values", ())))
        if "below" in repair.parameters:
            gone |= (column < repair.parameters["below"]) | (column > repair.parameters["above"])
        return column.mask(gone)
    if repair.action == "to_numeric":
        return parse_numbers(column, **repair.parameters)
    return column


def parse_numbers(
    column: pd.Series,
    *,
    decimal: str = ".",
    thousands: str | None = None,
    percent: bool = False,
    currency: bool = False,
) -> pd.Series:
    """Turn numbers written as text into floats; what is not a number in this form becomes missing.

    Parameters
    ----------
    decimal, thousands : str
        The marks before the fraction and between thousands.
    percent, currency : bool
        Whether a percent sign or a currency sign is taken off (a percentage is not divided by 100).
    """
    text = column.astype("string").str.strip()
    if currency:
        text = text.str.replace(_CURRENCY, "", regex=True)
    if percent:
        text = text.str.replace(r"\s*%$", "", regex=True)
    if thousands:
        text = text.str.replace(thousands, "", regex=False)
    if decimal != ".":
        text = text.str.replace(decimal, ".", regex=False)
    return pd.to_numeric(text, errors="coerce").astype(np.float64)


def _numbers_as_text(column: pd.Series, name: str, covariate: bool, told: str) -> list[Repair]:
    if as_number(column) is not None:
        return []
    values = column.dropna().astype("string").str.strip()
    levels = values.unique()
    numbers = [v for v in levels if v.lower() not in TOKENS]
    form = _number_form(numbers)
    if len(numbers) < 2 or form is None:
        return []
    tokens = sorted(v for v in levels if v.lower() in TOKENS)
    repairs = []
    if tokens:
        n = int(values.isin(tokens).sum())
        raw = sorted({str(v) for v in column.dropna().unique() if str(v).strip() in tokens})
        repairs.append(
            Repair(
                column=name,
                action="to_missing",
                parameters={"values": raw},
                before={"missing": int(column.isna().sum())},
                after={"missing": int(column.isna().sum()) + n},
                reason="every other value is a number, so these words stand for a missing one",
            )
        )
    ambiguous = form["decimal"] == ","
    repairs.append(
        Repair(
            column=name,
            action="to_numeric",
            parameters=form,
            before={"text": len(values)},
            after={"numbers": int(len(values) - values.isin(tokens).sum())},
            reason="numbers written as text" + (" (the comma could also separate thousands)" if ambiguous else ""),
            applied=not ambiguous,
        )
    )
    return repairs


def _number_form(values: Sequence[str]) -> dict[str, Any] | None:
    """Return the one form in which all values are numbers, None if there is none or they look like codes (``00501``)."""
    currency = any(_CURRENCY.search(v) for v in values)
    percent = any(v.endswith("%") for v in values)
    bare = [re.sub(r"\s*%$", "", _CURRENCY.sub("", v)).strip() for v in values]
    if any(_LEADING_ZERO.fullmatch(v) for v in bare):
        return None
    form = {"decimal": ".", "thousands": None, "percent": percent, "currency": currency}
    if all(_POINT.fullmatch(v) for v in bare):
        return form
    if all(_POINT.fullmatch(v) or _THOUSANDS.fullmatch(v) for v in bare):
        return {**form, "thousands": ","}
    if all(_POINT.fullmatch(v) or _COMMA.fullmatch(v) for v in bare) and not any("." in v for v in bare):
        return {**form, "decimal": ","}
    return None


def _extreme_code(summary: ColumnSummary) -> bool:
    return summary.minimum in SENTINELS or summary.maximum in SENTINELS


def _sentinels(column: pd.Series, name: str, covariate: bool, told: str) -> list[Repair]:
    """Find codes such as -99: applied to a covariate if the text says so or the code lies far outside all the rest."""
    number = as_number(column)
    if number is None:
        return _word_codes(column, name)
    known = number[np.isfinite(number)]
    found = []
    for code in SENTINELS:
        n, rest = int((known == code).sum()), known[~np.isin(known, SENTINELS)]
        if not n or len(rest) < SMALL_CELL or rest.min() <= code <= rest.max():
            continue
        reach = float(rest.max() - rest.min())
        distance = float(min(abs(code - rest.min()), abs(code - rest.max())))
        documented = re.search(rf"{re.escape(f'{code:g}')}\b[^.;]{{0,40}}\b(?:missing|unknown|not available|no answer|refused)|\b(?:missing|unknown|not available)\b[^.;]{{0,40}}{re.escape(f'{code:g}')}\b", told, re.IGNORECASE)  # fmt: skip
        clear = n >= 2 and distance > max(reach, 1.0)
        if not (documented or distance > reach / 4):
            continue
        reason = "the description says that it means missing" if documented else f"a usual code for missing, {distance:g} away from all other values, which span {reach:g}"  # fmt: skip
        found.append(
            Repair(
                column=name,
                action="to_missing",
                parameters={"values": [code]},
                before={"missing": len(number) - len(known), "code": n},
                after={"missing": len(number) - len(known) + n, "code": 0},
                reason=reason,
                applied=bool(covariate and (documented or clear)),
            )
        )
    return found


def _word_codes(column: pd.Series, name: str) -> list[Repair]:
    values = column.dropna().astype("string")
    codes = sorted(v for v in values.unique() if v.strip().lower() in TOKENS)
    if not codes:
        return []
    n, missing = int(values.isin(codes).sum()), int(column.isna().sum())
    return [
        Repair(
            column=name,
            action="to_missing",
            parameters={"values": codes},
            before={"missing": missing},
            after={"missing": missing + n},
            reason="words that often stand for a missing value, but may be a category of their own",
            applied=False,
        )
    ]


def _limits(name: str) -> tuple[float, float] | None:
    """Return the range outside which a column of this name cannot be."""
    parts = set(words(name))
    if "age" in parts:
        return 0.0, 120.0
    if parts & {"percent", "percentage"} and not parts & {"change", "growth", "difference"}:
        return 0.0, 100.0
    if parts & {"height", "bmi", "number", "count", "duration"} and not parts & {"change", "z", "difference"}:
        return 0.0, 1e300
    return None


def _impossible(column: pd.Series, name: str, covariate: bool, told: str) -> list[Repair]:
    number, limits = as_number(column), _limits(name)
    if number is None or limits is None:
        return []
    with np.errstate(invalid="ignore"):
        wrong = (number < limits[0]) | (number > limits[1])
    known = int(np.isfinite(number).sum())
    if not wrong.any() or wrong.sum() > MAX_IMPOSSIBLE * known:
        return []
    n, missing = int(wrong.sum()), len(number) - known
    return [
        Repair(
            column=name,
            action="to_missing",
            parameters={"below": limits[0], "above": limits[1]},
            before={"missing": missing, "impossible": n},
            after={"missing": missing + n, "impossible": 0},
            reason=f"below {limits[0]:g} or above {limits[1]:g}, which its name does not allow",
            applied=covariate,
        )
    ]


def _imputation(column: pd.Series, name: str) -> list[Repair]:
    missing = int(column.isna().sum())
    if not missing or missing == len(column):
        return []
    number = as_number(column)
    two_valued = column.nunique() <= 2
    if pd.api.types.is_datetime64_any_dtype(column):
        return []
    strategy, value = _typical(column, number, two_valued=two_valued)
    return [
        Repair(
            column=name,
            action="impute",
            parameters={"strategy": strategy, "value": value, "indicator": f"{name}__missing"},
            before={"missing": missing},
            after={"missing": 0},
            reason=f"{missing} of {len(column)} values of a covariate are missing; the indicator keeps the rows apart",
        )
    ]


def _typical(column: pd.Series, number: NDArray[np.float64] | None, *, two_valued: bool) -> tuple[str, float | str]:
    if number is not None and not two_valued:
        return "median", float(np.nanmedian(number))
    # Ties go to the level that sorts first, whatever the order of the rows.
    mode = column.mode(dropna=True).iloc[0]
    return "mode", float(mode) if number is not None else str(mode)


def _rare_levels(column: pd.Series, name: str) -> list[Repair]:
    if as_number(column) is not None or pd.api.types.is_datetime64_any_dtype(column):
        return []
    counts = column.dropna().astype("string").value_counts()
    rare = counts[counts < SMALL_CELL]
    if len(counts) <= 2 or len(rare) < 2:
        return []
    return [
        Repair(
            column=name,
            action="merge_rare",
            parameters={"minimum": SMALL_CELL, "into": "(other)"},
            before={"levels": len(counts)},
            after={"levels": len(counts) - len(rare) + 1},
            reason=f"{len(rare)} categories with fewer than {SMALL_CELL} rows each, {int(rare.sum())} rows together",
        )
    ]


def duplicate_rows(snapshot: Snapshot) -> list[Repair]:
    """Propose to drop exact copies of rows; do it only where a column identifies the rows but for these copies."""
    n = snapshot.n_duplicate_rows
    if not n:
        return []
    left = snapshot.n_rows - n
    keys = [c.name for c in snapshot.columns if c.n_unique == left and not c.n_missing and _names_rows(c)]
    reason = (
        f"{shown(keys[0])!r} identifies the rows, and only exact copies repeat it"
        if keys
        else "rows may be alike by chance, and nothing in the table identifies them"
    )
    return [
        Repair(
            column=ROWS,
            action="drop_duplicates",
            before={"rows": snapshot.n_rows},
            after={"rows": left},
            reason=f"{n} rows are exact copies of an earlier one; {reason}",
            applied=bool(keys),
        )
    ]


def _names_rows(summary: ColumnSummary) -> bool:
    return summary.kind == "identifier" or "ID_LIKE" in summary.flags or words(summary.name)[-1:] == ["id"]


def missing_data(
    columns: Sequence[ColumnSummary], question: Question, repairs: Sequence[Repair]
) -> tuple[str, tuple[Note, ...]]:
    """State the mechanism that is assumed for missing values, and warn where it is strained."""
    by_name = {c.name: c for c in columns}
    covariates = [by_name[n] for n in question.covariates or () if n in by_name]
    gaps = any(c.n_missing for c in covariates) or any(r.action == "impute" and r.applied for r in repairs)
    ends = [by_name[n] for n in (question.treatment, question.outcome) if n in by_name and by_name[n].n_missing]
    said = []
    if gaps:
        said.append(
            "covariates: filled with a typical value, with an indicator where one was missing; assumes that being "
            "missing is as good as a further covariate (the confounders' values, where missing, do not confound)"
        )
    if ends:
        named = " and ".join(repr(shown(c.name)) for c in ends)
        said.append(
            f"{named}: rows with a missing value are left out, nothing is imputed; assumes missing at random given "
            "treatment and covariates"
        )
    notes = [
        Note(code="MOSTLY_MISSING", message=f"{c.n_missing} of {c.n} values are missing", columns=(c.name,))
        for c in [*covariates, *ends]
        if c.n_missing > MOSTLY_MISSING * c.n
    ]
    return "; ".join(said) or "none", tuple(notes)


def indicators(repairs: Repairs, covariates: Sequence[str]) -> tuple[str, ...]:
    """Return the missingness indicators that applied repairs add beside `covariates`, in their order."""
    added: Mapping[str, str] = {
        r.column: str(r.parameters["indicator"])
        for r in repairs.repairs
        if r.applied and r.action == "impute" and r.parameters.get("indicator")
    }
    return tuple(added[name] for name in covariates if name in added)

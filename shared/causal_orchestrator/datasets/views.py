"""What a step may see of a snapshot: the columns it names, repaired and filtered, under one view (HON-2).

Repairs are declarative and applied in their order whenever data are read; `parameters` of each action:

===================  ==============================================================================================
``to_numeric``       ``decimal`` (default "."), ``thousands`` (default none); units and blanks are dropped, and what
                     is still no number becomes missing
``to_missing``       ``values`` (cells to blank), ``below`` and ``above`` (numbers beyond become missing)
``impute``           ``strategy`` (median, mean, mode), ``value`` (fixed beforehand; computed where absent),
                     ``indicator`` (name of a new column that is 1 where a value was missing; none where absent)
``merge_rare``       ``levels`` (to be merged) or ``minimum`` (default 10: merge what is rarer), ``into`` ("other")
``drop_duplicates``  ``columns`` (default: all); the repair's column is ``*``; the first of equal rows stays
``to_datetime``      ``format`` (as of strptime); what does not fit becomes missing
``to_binary``        ``true`` and ``false`` (levels; others become missing) or ``threshold`` (above it is 1)
===================  ==============================================================================================
"""

from __future__ import annotations

import operator
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from causal_orchestrator.datasets.fingerprint import fingerprint
from causal_orchestrator.datasets.names import nearest
from causal_orchestrator.errors import BlindnessError, InputError
from causal_orchestrator.question import Filter, shown
from causal_orchestrator.results import Repair

if TYPE_CHECKING:
    from causal_orchestrator.agents import View

ALL = "*"
COMPARE: Mapping[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip


def load(
    path: Path, columns: Sequence[str] | None = None, repairs: Sequence[Repair] = (), filters: Sequence[Filter] = ()
) -> pd.DataFrame:
    """Read columns of a snapshot, repaired and filtered, in the order of its rows.

    Parameters
    ----------
    path : Path
        A snapshot (Parquet).
    columns : sequence of str, optional
        Names as the data spell them, or indicators of imputed columns (default: all, then the indicators).
    repairs : sequence of Repair
        Applied in order where `applied` is true, before the filters.
    filters : sequence of Filter
        Rows for which every filter holds are kept; a row whose cell is missing is not.

    Returns
    -------
    DataFrame
        Numbers as int64 or (with missing cells) float64, booleans as 1 and 0, times as datetime64[us], texts as str.

    Raises
    ------
    InputError
        ``COLUMN_UNKNOWN`` or ``FILTER_TYPE``.
    """
    known = pq.read_schema(path).names
    in_force = [repair for repair in repairs if repair.applied]
    indicators = _indicators(in_force, known)
    wanted = list(columns) if columns is not None else [*known, *indicators]
    require(wanted, [*known, *indicators])
    require([r.column for r in in_force if r.column != ALL] + [f.column for f in filters], [*known, *indicators])
    needed = _needed(wanted, in_force, filters, indicators, known)
    frame = to_frame(pq.read_table(path, columns=[name for name in known if name in needed], use_threads=False))
    for repair in in_force:
        if repair.column == ALL or repair.column in needed:
            frame = apply(frame, repair)
    for rule in filters:
        frame = frame[_holds(frame[rule.column], rule)]
    return frame[wanted].reset_index(drop=True)


def table(
    path: Path,
    columns: Sequence[str],
    view: View,
    *,
    treatment: str | None = None,
    outcome: str | None = None,
    repairs: Sequence[Repair] = (),
    filters: Sequence[Filter] = (),
    seed: int = 0,
) -> pd.DataFrame:
    """Read columns of a snapshot under one view, which hides what a blind stage must not see.

    Under ``marginals`` every column is permuted on its own, so that no joint structure is left.

    Raises
    ------
    BlindnessError
        If a column is not allowed under the view.
    InputError
        As `load` does.
    """
    hidden = {"covariates_treatment": outcome, "covariates_outcome": treatment}.get(view)
    unseen = {hidden, *(name for name, column in _indicators(repairs, ()).items() if column == hidden)}
    if hidden is not None and unseen & set(columns):
        role = "outcome" if hidden == outcome else "treatment"
        raise BlindnessError(f"the {role} {shown(hidden)!r} is not visible under the view {view}")
    frame = load(path, columns, repairs, filters)
    return _scrambled(frame, seed) if view == "marginals" else frame


def read_hash(frame: pd.DataFrame) -> str:
    """Return the SHA-256 of what was read: names, types and values, row by row."""
    return fingerprint(pa.Table.from_pandas(frame, preserve_index=False))


def require(columns: Sequence[str], known: Sequence[str]) -> None:
    """Refuse names that are not in the data.

    Raises
    ------
    InputError
        ``COLUMN_UNKNOWN``, with the nearest name.
    """
    present = set(known)
    for name in columns:
        if name not in present:
            near = nearest(name, list(known))
            hint = f"did you mean {shown(near)!r}?" if near else f"the table has {len(known)} columns, none is similar"
            raise InputError(
                f"there is no column {shown(name)!r}; {hint}",
                code="COLUMN_UNKNOWN",
                details={"column": shown(name), "nearest": near and shown(near)},
            )


def to_frame(arrow: Any) -> pd.DataFrame:
    """Turn a snapshot's Arrow table into a data frame of plain numbers, times and texts."""
    columns = {}
    for name, column in zip(arrow.column_names, arrow.columns, strict=True):
        if pa.types.is_boolean(column.type):
            column = column.cast(pa.int64())
        columns[name] = column.to_pandas()
    frame = pd.DataFrame(columns, copy=False)
    frame.columns = pd.Index(arrow.column_names)
    return frame


def apply(frame: pd.DataFrame, repair: Repair) -> pd.DataFrame:
    """Return the frame with one repair done; the caller's frame stays as it is.

    Raises
    ------
    InputError
        ``REPAIR_INVALID`` if the action's parameters do not fit the column.
    """
    if repair.action == "drop_duplicates":
        return frame.drop_duplicates(subset=list(repair.parameters.get("columns", ())) or None)
    column = frame[repair.column]
    try:
        repaired = _ACTIONS[repair.action](column, repair.parameters)
    except (TypeError, ValueError, KeyError) as exc:
        raise InputError(
            f"the repair {repair.action} does not fit column {shown(repair.column)!r}", code="REPAIR_INVALID"
        ) from exc
    frame = frame.copy(deep=False)
    frame[repair.column] = repaired
    if repair.action == "impute" and repair.parameters.get("indicator"):
        frame[repair.parameters["indicator"]] = column.isna().astype("int64")
    return frame


def _indicators(repairs: Sequence[Repair], known: Sequence[str]) -> dict[str, str]:
    """Return the columns that imputations add, each with the column that it tells of."""
    imputed = [r for r in repairs if r.action == "impute" and r.parameters.get("indicator")]
    added = {str(r.parameters["indicator"]): r.column for r in imputed}
    if clash := set(added) & set(known):
        name = shown(min(clash))
        raise InputError(f"an imputation would add the column {name!r}, which is there already", code="REPAIR_INVALID")
    return added


def _needed(
    wanted: Sequence[str],
    repairs: Sequence[Repair],
    filters: Sequence[Filter],
    indicators: Mapping[str, str],
    known: Sequence[str],
) -> set[str]:
    needed = {indicators.get(name, name) for name in wanted} | {indicators.get(f.column, f.column) for f in filters}
    for repair in repairs:
        if repair.action == "drop_duplicates":
            needed |= set(repair.parameters.get("columns", ()) or known)
    return needed


def _holds(column: pd.Series, rule: Filter) -> pd.Series:
    values = rule.value if isinstance(rule.value, tuple) else (rule.value,)
    textual = not pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_datetime64_any_dtype(column)
    if any(isinstance(value, str) != textual for value in values) and not pd.api.types.is_datetime64_any_dtype(column):
        wants = "text" if textual else "a number"
        raise InputError(f"the filter on {shown(rule.column)!r} must compare with {wants}", code="FILTER_TYPE")
    if pd.api.types.is_datetime64_any_dtype(column):
        try:
            values = tuple(pd.Timestamp(value) for value in values)
        except ValueError as exc:
            raise InputError(
                f"the filter on {shown(rule.column)!r} must compare with a date", code="FILTER_TYPE"
            ) from exc
    if rule.op == "in":
        return column.isin(values) & column.notna()
    if len(values) != 1:
        raise InputError(f"the filter on {shown(rule.column)!r} must compare with one value", code="FILTER_TYPE")
    return COMPARE[rule.op](column, values[0]) & column.notna()


def _scrambled(frame: pd.DataFrame, seed: int) -> pd.DataFrame:
    streams = np.random.SeedSequence(seed).spawn(frame.shape[1])
    permuted = {}
    for stream, (position, name) in zip(streams, enumerate(frame.columns), strict=True):
        order = np.random.default_rng(stream).permutation(len(frame))
        permuted[name] = frame.iloc[:, position].take(order).reset_index(drop=True)
    return pd.DataFrame(permuted, columns=frame.columns)


def _to_numeric(column: pd.Series, parameters: Mapping[str, Any]) -> pd.Series:
    if pd.api.types.is_numeric_dtype(column):
        return column
    decimal, thousands = parameters.get("decimal", "."), parameters.get("thousands")

    def number(cell: str) -> float:
        text = unicodedata.normalize("NFKC", cell).strip()
        negative = text.startswith("(") and text.endswith(")")
        text = "".join(c for c in text if c not in "()$€£¥%_'\u2019" and not c.isspace())
        text = text.replace(thousands, "") if thousands else text
        text = text.replace(decimal, ".").replace("\u2212", "-")
        try:
            value = float(text)
        except ValueError:
            return np.nan
        return np.nan if not np.isfinite(value) else -value if negative else value

    levels = {cell: number(cell) for cell in column.dropna().unique()}
    return column.map(levels).astype("float64")


def _to_missing(column: pd.Series, parameters: Mapping[str, Any]) -> pd.Series:
    gone = column.isin(list(parameters.get("values", ())))
    if "below" in parameters:
        gone |= column < parameters["below"]
    if "above" in parameters:
        gone |= column > parameters["above"]
    return column.mask(gone)


def _impute(column: pd.Series, parameters: Mapping[str, Any]) -> pd.Series:
    if "value" in parameters:
        return column.fillna(parameters["value"])
    strategy = parameters.get("strategy", "median" if pd.api.types.is_numeric_dtype(column) else "mode")
    if column.notna().sum() == 0:
        return column
    value = {"median": column.median, "mean": column.mean, "mode": lambda: column.mode().iloc[0]}[strategy]()
    return column.fillna(value)


def _merge_rare(column: pd.Series, parameters: Mapping[str, Any]) -> pd.Series:
    counts = column.value_counts()
    rare = parameters.get("levels", list(counts.index[counts < parameters.get("minimum", 10)]))
    return column.mask(column.isin(list(rare)), parameters.get("into", "other"))


def _to_datetime(column: pd.Series, parameters: Mapping[str, Any]) -> pd.Series:
    return pd.to_datetime(column, format=parameters.get("format"), errors="coerce").astype("datetime64[us]")


def _to_binary(column: pd.Series, parameters: Mapping[str, Any]) -> pd.Series:
    if "threshold" in parameters:
        return (column > parameters["threshold"]).astype("float64").where(column.notna())
    levels = dict.fromkeys(parameters["false"], 0.0) | dict.fromkeys(parameters["true"], 1.0)
    return column.map(levels).astype("float64")


_ACTIONS: Mapping[str, Callable[[pd.Series, Mapping[str, Any]], pd.Series]] = {
    "to_numeric": _to_numeric, "to_missing": _to_missing, "impute": _impute, "merge_rare": _merge_rare,
    "to_datetime": _to_datetime, "to_binary": _to_binary,
}  # fmt: skip

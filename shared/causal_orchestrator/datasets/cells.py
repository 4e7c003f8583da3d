"""From Python values to typed columns: for formats whose cells have a type each (JSON, Excel, objects in a frame)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa

from causal_orchestrator.datasets import columnar, text
from causal_orchestrator.datasets.limits import Limits
from causal_orchestrator.datasets.remarks import Remarks
from causal_orchestrator.errors import InputError
from causal_orchestrator.question import shown

PLAIN = (bool, int, float, str, datetime, date, Decimal)
KINDS = {
    bool: "boolean",
    int: "number",
    float: "number",
    Decimal: "number",
    str: "text",
    datetime: "time",
    date: "time",
}


def type_column(
    name: str, values: Sequence[Any], limits: Limits, remarks: Remarks, *, dates_as_text: bool = False
) -> Any:
    """Give a column of Python values its type.

    Values of one kind keep it. Where kinds are mixed, each value is written as text and the policy of `text` decides
    (numbers beside "NA" are numbers with missing cells; True beside 1 is ambiguous and stays text).

    Parameters
    ----------
    name : str
        The column's name, for remarks and errors.
    values : sequence, length n
        None and NaN are missing.
    dates_as_text : bool
        Whether the format has no dates of its own (JSON), so that texts which are dates are read as such.

    Returns
    -------
    pyarrow.ChunkedArray, length n

    Raises
    ------
    InputError
        ``NESTED_TYPE``, ``UNSUPPORTED_TYPE``, or as `columnar.convert` and `text.parse` do.
    """
    types = {type(value) for value in values} - {type(None)}
    _refuse(name, types)
    kinds = {KINDS[kind] for kind in types}
    if not kinds:
        return pa.chunked_array([pa.nulls(len(values), pa.float64())])
    if len(kinds) > 1:
        return _mixed(name, values, limits, remarks)
    if kinds == {"number"}:
        return _numbers(name, values, types, limits, remarks)
    if kinds == {"time"}:
        return columnar.convert(name, pa.chunked_array([_times(name, values)]), limits, remarks)
    column = pa.chunked_array([_arrow(name, values, pa.bool_() if kinds == {"boolean"} else pa.string())])
    if dates_as_text and kinds == {"text"}:
        columnar.check_cells(name, column, limits)
        return text.parse(name, column, remarks, only_dates=True)
    return columnar.convert(name, column, limits, remarks)


def _refuse(name: str, types: set[type]) -> None:
    if any(issubclass(kind, (list, dict, tuple, set)) for kind in types):
        raise InputError(
            f"column {shown(name)!r} holds lists or records; flatten them to one value a cell",
            code="NESTED_TYPE",
            details={"columns": [shown(name)]},
        )
    odd = sorted(kind.__name__ for kind in types if kind not in KINDS)
    if odd:
        raise InputError(
            f"column {shown(name)!r} holds values of the type {odd[0]}; store numbers, text or dates",
            code="UNSUPPORTED_TYPE",
            details={"columns": [shown(name)]},
        )


def _arrow(name: str, values: Sequence[Any], kind: Any) -> Any:
    try:
        return pa.array(values, kind)
    except UnicodeEncodeError as exc:
        raise InputError(f"a text in column {shown(name)!r} is not valid Unicode", code="ENCODING") from exc


def _numbers(name: str, values: Sequence[Any], types: set[type], limits: Limits, remarks: Remarks) -> Any:
    if types == {int}:
        if all(value is None or -(1 << 63) <= value < 1 << 63 for value in values):
            return columnar.convert(name, pa.chunked_array([pa.array(values, pa.int64())]), limits, remarks)
        remarks.add("PRECISION", name)
        return pa.chunked_array([pa.array([None if v is None else str(v) for v in values], pa.string())])
    floats = [None if value is None else _float(value) for value in values]
    if any(type(v) is int and abs(v) > text.EXACT for v in values):
        remarks.add("PRECISION", name)
    return columnar.convert(name, pa.chunked_array([pa.array(floats, pa.float64())]), limits, remarks)


def _float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _times(name: str, values: Sequence[Any]) -> Any:
    aware = {isinstance(v, datetime) and v.tzinfo is not None for v in values if v is not None}
    if len(aware) > 1:
        raise InputError(f"column {shown(name)!r} mixes times with and without a time zone", code="DATE_PARSE")
    if aware == {True}:
        return pa.array([None if v is None else v.astimezone(UTC) for v in values], pa.timestamp("us", tz="UTC"))
    whole = [v if v is None or isinstance(v, datetime) else datetime(v.year, v.month, v.day) for v in values]
    return pa.array(whole, pa.timestamp("us"))


def _mixed(name: str, values: Sequence[Any], limits: Limits, remarks: Remarks) -> Any:
    written = pa.chunked_array([_arrow(name, [_written(value) for value in values], pa.string())])
    columnar.check_cells(name, written, limits)
    typed = text.parse(name, written, remarks)
    if pa.types.is_string(typed.type):
        remarks.add("MIXED_TYPES", name)
    return typed


def _written(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, float) and value.is_integer() and abs(value) < text.EXACT:
        return str(int(value))
    return value.isoformat() if isinstance(value, date) else str(value)

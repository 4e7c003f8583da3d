"""Data frames, from memory or from Stata, under the policy that holds for files."""

from __future__ import annotations

import struct
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from causal_orchestrator.datasets import cells, columnar, names
from causal_orchestrator.datasets.delimited import check_size
from causal_orchestrator.datasets.limits import Limits
from causal_orchestrator.datasets.read import Reading, checked
from causal_orchestrator.datasets.remarks import Remarks
from causal_orchestrator.errors import InputError
from causal_orchestrator.question import shown
from causal_orchestrator.results import Note

# What pandas' reader raises on malformed bytes.
DAMAGE = (
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    OSError,
    EOFError,
    StopIteration,
    struct.error,
)


def read(frame: pd.DataFrame, limits: Limits, remarks: Remarks | None = None) -> Reading:
    """Bring a data frame to the types that snapshots have; the caller's frame stays as it is.

    Raises
    ------
    InputError
        ``COLUMN_NAMES`` (several levels, or names that are no text), ``NESTED_TYPE``, ``UNSUPPORTED_TYPE`` or as files.
    """
    remarks = remarks or Remarks()
    if isinstance(frame.columns, pd.MultiIndex):
        raise InputError("the frame's columns have several levels; give every column one name", code="COLUMN_NAMES")
    odd = [name for name in frame.columns if not isinstance(name, str)]
    if odd:
        raise InputError(f"{len(odd)} column names are no text; rename the columns", code="COLUMN_NAMES")
    columns = [str(name) for name in frame.columns]
    names.check(columns, limits, remarks)
    check_size(len(frame), 0, limits)
    if not isinstance(frame.index, pd.RangeIndex) and frame.index.names != [None]:
        message = "the frame's index is no column and was left out; reset_index() keeps it"
        remarks.notes.append(Note(code="INDEX_DROPPED", message=message, severity="info"))
    typed = [_column(name, frame.iloc[:, i], limits, remarks) for i, name in enumerate(columns)]
    return checked(Reading(pa.table(typed, names=columns), "frame", remarks), limits)


def stata(path: Path, limits: Limits, remarks: Remarks) -> Reading:
    """Read a Stata file; complete value labels replace their codes, unless the codes are 0 and 1.

    Raises
    ------
    InputError
        ``UNREADABLE``, or as `read` does.
    """
    frame = _decode(path, remarks, convert_categoricals=False)
    labelled = _labels(path, frame)
    if labelled:
        told = ", ".join(shown(name) for name in list(labelled)[:8])
        message = f"value labels replaced the codes of {told}"
        remarks.notes.append(Note(code="VALUE_LABELS", message=message, columns=tuple(labelled), severity="info"))
    return read(frame.assign(**labelled) if labelled else frame, limits, remarks)


def _decode(path: Path, remarks: Remarks, **options: bool) -> pd.DataFrame:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            frame = pd.read_stata(path, **options)
        except DAMAGE as exc:
            message = "the Stata file is damaged or of a version that is not read"
            raise InputError(message, code="UNREADABLE") from exc
    if any(issubclass(warning.category, UnicodeWarning) for warning in told):
        message = "texts of the Stata file are not UTF-8; they were read as latin-1; check names and labels"
        remarks.notes.append(Note(code="ENCODING_GUESSED", message=message))
    return frame


def _labels(path: Path, codes: pd.DataFrame) -> dict[str, Any]:
    try:
        frame = _decode(path, Remarks(), convert_categoricals=True, order_categoricals=False)
    except InputError as exc:
        if isinstance(exc.__cause__, ValueError):  # two codes share a label: the codes are what can be told apart
            return {}
        raise
    found = {}
    for name in frame.columns:
        column = frame[name]
        if isinstance(column.dtype, pd.CategoricalDtype) and not set(codes[name].dropna().unique()) <= {0, 1}:
            used = column.cat.remove_unused_categories()
            if all(isinstance(label, str) for label in used.cat.categories):
                found[name] = used.astype("str").where(column.notna())
    return found


def _column(name: str, column: pd.Series, limits: Limits, remarks: Remarks) -> Any:
    dtype = column.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        levels = _column(name, pd.Series(dtype.categories), limits, remarks)
        codes = np.asarray(column.cat.codes)
        return pa.chunked_array([levels.combine_chunks().take(pa.array(codes.astype(np.int64), mask=codes < 0))])
    if isinstance(dtype, pd.DatetimeTZDtype):
        remarks.add("TIMEZONE", name)
        column = column.dt.tz_convert("UTC").dt.tz_localize(None)
    if isinstance(column.dtype, np.dtype) and column.dtype.kind in "biufM":
        return columnar.convert(
            name, pa.chunked_array([pa.array(column.to_numpy(), from_pandas=True)]), limits, remarks
        )
    if isinstance(dtype, pd.ArrowDtype):
        arrow = pa.chunked_array(column.array.__arrow_array__())
        columnar.check_schema(pa.schema([pa.field(name, arrow.type)]), limits)
        return columnar.convert(name, arrow, limits, remarks)
    number = pd.api.types.is_numeric_dtype(dtype) and dtype.kind in "biuf"
    if pd.api.types.is_object_dtype(dtype) or isinstance(dtype, pd.StringDtype) or number:
        return cells.type_column(name, [_plain(value) for value in column.tolist()], limits, remarks)
    raise InputError(
        f"column {shown(name)!r} has the type {dtype}; store numbers, text or dates",
        code="UNSUPPORTED_TYPE",
        details={"columns": [shown(name)]},
    )


def _plain(value: Any) -> Any:
    """Return a cell of an object column as a plain Python value."""
    if value is None or value is pd.NaT or value is pd.NA or (isinstance(value, float) and np.isnan(value)):
        return None
    if isinstance(value, pd.Timestamp):
        return value.to_pydatetime(warn=False)
    return value.item() if isinstance(value, np.generic) else value

"""Data frames from memory, under the policy of files."""

from __future__ import annotations

import datetime
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from causal_orchestrator.datasets.snapshot import snapshot_frame
from causal_orchestrator.errors import InputError
from causal_orchestrator.results import Snapshot


def codes(found: Snapshot) -> set[str]:
    return {note.code for note in found.warnings}


def test_the_callers_frame_stays_as_it_is() -> None:
    frame = pd.DataFrame({"t": [0, 1, 0], "o": [1, "NA", 2.5], "c": pd.Categorical(["a", "b", None])})
    before = frame.copy(deep=True)
    snapshot_frame(frame)
    pd.testing.assert_frame_equal(frame, before)


@pytest.mark.parametrize(
    ("cells", "dtype", "n_missing"),
    [
        (pd.array([1, None, 3], "Int64"), "int64", 1),
        (pd.array([True, None, False], "boolean"), "bool", 1),
        (pd.array([1.5, None, 2], "Float64"), "float64", 1),
        (pd.Categorical(["a", None, "b"]), "string", 1),
        (pd.Categorical([3, 1, None]), "int64", 1),
        (np.array([1, 2, 3], np.int8), "int64", 0),
        (np.array([1, np.nan, 3], np.float32), "float64", 1),
        (pd.to_datetime(["2024-01-01", None, "2024-01-03"]), "datetime64[us]", 1),
        ([1, None, "NA"], "int64", 2),
        ([datetime.date(2024, 1, 1), None, datetime.date(2024, 1, 2)], "datetime64[us]", 1),
        (["x", None, "y"], "string", 1),
    ],
)
def test_every_usual_dtype_is_read(cells: object, dtype: str, n_missing: int) -> None:
    found, _ = snapshot_frame(pd.DataFrame({"t": [0, 1, 0], "x": cells}))
    assert (found.columns[1].dtype, found.columns[1].n_missing) == (dtype, n_missing)


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda: pd.DataFrame([[1, 2], [3, 4]], columns=["a", "a"]), "DUPLICATE_COLUMN"),
        (lambda: pd.DataFrame([[1, 2], [3, 4]]), "COLUMN_NAMES"),
        (
            lambda: pd.DataFrame([[1, 2], [3, 4]], columns=pd.MultiIndex.from_tuples([("a", "b"), ("a", "c")])),
            "COLUMN_NAMES",
        ),
        (lambda: pd.DataFrame([[1, 2], [3, 4]], columns=["", "b"]), "EMPTY_COLUMN_NAME"),
        (lambda: pd.DataFrame({"a": [[1], [2]]}), "NESTED_TYPE"),
        (lambda: pd.DataFrame({"a": [object(), object()]}), "UNSUPPORTED_TYPE"),
        (lambda: pd.DataFrame({"a": [b"x", b"y"]}), "UNSUPPORTED_TYPE"),
        (lambda: pd.DataFrame({"a": [1j, 2j]}), "UNSUPPORTED_TYPE"),
        (lambda: pd.DataFrame({"a": pd.to_timedelta([1, 2], unit="s")}), "UNSUPPORTED_TYPE"),
        (lambda: pd.DataFrame({"a": pd.period_range("2024", periods=2, freq="M")}), "UNSUPPORTED_TYPE"),
        (lambda: pd.DataFrame({"a": [1.0, np.inf]}), "NON_FINITE"),
        (lambda: pd.DataFrame({"a": ["x\0", "y"]}), "NUL_BYTE"),
        (lambda: pd.DataFrame({"a": ["\ud800", "y"]}, dtype=object), "ENCODING"),
        (lambda: pd.DataFrame({"a": pd.Series([], dtype=float)}), "NO_ROWS"),
        (lambda: pd.DataFrame({"a": [1]}), "TOO_FEW_ROWS"),
    ],
)
def test_what_is_no_table_of_values_is_refused(make: Callable[[], pd.DataFrame], code: str) -> None:
    with pytest.raises(InputError) as caught:
        snapshot_frame(make())
    assert caught.value.code == code


def test_a_named_index_is_left_out_and_said_so() -> None:
    found, _ = snapshot_frame(pd.DataFrame({"a": [1, 2]}, index=pd.Index(["u", "v"], name="unit")))
    assert "INDEX_DROPPED" in codes(found)


def test_mixed_cells_are_text_and_said_so() -> None:
    found, _ = snapshot_frame(pd.DataFrame({"a": [1, "one", 2.5]}))
    assert found.columns[0].dtype == "string"
    assert "MIXED_TYPES" in codes(found)

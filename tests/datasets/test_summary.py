"""What is said about each column on its own."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from causal_orchestrator import question
from causal_orchestrator.datasets.roles import check_roles
from causal_orchestrator.datasets.snapshot import snapshot_frame
from causal_orchestrator.errors import InputError
from causal_orchestrator.results import ColumnSummary

RTOL = 1e-12  # the same sums in another order
N = 300


def column(values: object, name: str = "x") -> ColumnSummary:
    found, _ = snapshot_frame(pd.DataFrame({name: values, "other": range(len(values))}))  # type: ignore[arg-type]
    return found.columns[0]


def test_moments_and_quantiles_are_those_of_numpy() -> None:
    values = np.random.default_rng(2).gamma(2.0, size=N).round(2)
    values[:9] = 0
    found = column(np.append(values, np.nan))
    assert (found.n, found.n_missing) == (N + 1, 1)
    np.testing.assert_allclose([found.mean, found.std], [values.mean(), values.std(ddof=1)], rtol=RTOL)
    np.testing.assert_allclose(list(found.quantiles.values()), np.quantile(values, [float(q) for q in found.quantiles]))
    centred = values - values.mean()
    np.testing.assert_allclose(found.skewness, np.mean(centred**3) / values.std(ddof=1) ** 3, rtol=RTOL)
    assert found.share_zero == 9 / N


@pytest.mark.parametrize(
    ("values", "name", "kind"),
    [
        (np.linspace(0, 1, N), "x", "numeric"),
        (np.arange(N) % 2, "x", "binary"),
        (["yes", "no"] * 150, "x", "binary"),
        (["a", "b", "c"] * 100, "x", "categorical"),
        (np.arange(N), "case", "identifier"),
        (np.arange(N), "month", "numeric"),
        (np.arange(N) * 7, "patient_id", "identifier"),
        ([f"u{i}" for i in range(N)], "x", "identifier"),
        ([f"a long remark about the case of number {i}" for i in range(N)], "x", "text"),
        (pd.date_range("2020-01-01", periods=N), "x", "datetime"),
        ([3.5] * N, "x", "constant"),
        ([None] * N, "x", "empty"),
    ],
)
def test_the_kind_is_inferred(values: object, name: str, kind: str) -> None:
    assert column(values, name).kind == kind


def test_small_cells_are_only_counted() -> None:
    found = column(["a"] * 50 + ["b"] * 10 + ["c"] * 9 + ["d"])
    assert found.levels == {"a": 50, "b": 10}
    assert found.n_rare == 10


def test_mass_points_of_a_continuous_column_are_found() -> None:
    values = np.random.default_rng(3).normal(size=N)
    values[:60] = 0
    assert column(values).mass_points == {"0": 60}


@pytest.mark.parametrize(
    "values",
    [
        [f"person{i}@example.org" for i in range(N)],
        ["4111-1111-1111-1111", "none"] * 150,
        [4111111111111111, 5500000000000004] * 150,
        [f"call 555-{i:03d}-0199 later please" for i in range(N)],
        [f"{i:03d}-12-3456" for i in range(N)],
    ],
)
def test_personal_data_are_flagged_and_never_shown(values: object) -> None:
    found = column(values)
    assert found.personal_data
    assert "PII_SUSPECT" in found.flags
    assert not found.levels


@pytest.mark.parametrize("values", [[1234567890123456 + i for i in range(N)], ["a", "b", "c"] * 100])
def test_ordinary_columns_are_not_personal(values: object) -> None:
    assert not column(values).personal_data


@pytest.mark.parametrize(
    ("values", "suspect"),
    [
        ([*range(18, 80), 999], True), ([*range(18, 80), -99], True), ([*range(18, 98), 99], False),
        ([*range(-200, 200), -99], False), ([*range(9000, 10_100)], False), ([0, 1, 99] * 20, True),
    ],
)  # fmt: skip
def test_codes_for_missing_are_suspected_where_they_stand_apart(values: list[int], suspect: bool) -> None:
    assert ("SENTINEL_SUSPECT" in column(values * 2).flags) is suspect


def test_duplicate_rows_are_counted_with_missing_equal_to_missing() -> None:
    frame = pd.DataFrame({"a": [1, 1, 1, 2, 2], "b": [None, None, "x", "x", "x"], "c": [0.5, 0.5, 0.5, 1.5, 1.5]})
    assert snapshot_frame(frame)[0].n_duplicate_rows == int(frame.duplicated().sum()) == 2


def test_a_summary_survives_json() -> None:
    found, _ = snapshot_frame(pd.DataFrame({"a": [1e308, -1e308, 1.7e308] * 20, "b": ["x", "ü", None] * 20}))
    assert type(found).model_validate_json(found.model_dump_json()) == found


class TestRoles:
    """Roles against columns."""

    found, _ = snapshot_frame(
        pd.DataFrame(
            {
                "t": [0, 1] * 150,
                "y": np.linspace(0, 1, N),
                "g": ["a", "b", "c"] * 100,
                "k": [f"u{i}" for i in range(N)],
                "one": [1] * N,
                "arm": ["drug", "placebo"] * 150,
            }
        )
    )

    @pytest.mark.parametrize(
        ("asked", "code"),
        [
            ({"treatment": "t", "outcome": "Y"}, "COLUMN_UNKNOWN"),
            ({"treatment": "t", "outcome": "y", "covariates": ["gg"]}, "COLUMN_UNKNOWN"),
            ({"filters": [{"column": "q", "op": "==", "value": 1}]}, "COLUMN_UNKNOWN"),
            ({"treatment": "one"}, "TREATMENT_CONSTANT"),
            ({"outcome": "one"}, "OUTCOME_CONSTANT"),
            ({"treatment": "k"}, "TREATMENT_LEVELS"),
            ({"treatment": "t", "weights": "g"}, "ROLE_NOT_NUMERIC"),
            ({"treatment": "arm", "reference_level": "none"}, "LEVEL_UNKNOWN"),
        ],
    )
    def test_a_role_that_cannot_be_played_is_refused(self, asked: dict[str, object], code: str) -> None:
        with pytest.raises(InputError) as caught:
            check_roles(question.ask(asked), self.found)
        assert caught.value.code == code

    @pytest.mark.parametrize(
        ("asked", "code"),
        [
            ({"treatment": "t", "outcome": "y", "covariates": ["k"]}, "ID_LIKE"),
            ({"treatment": "t", "outcome": "y", "covariates": ["one"]}, "COVARIATE_CONSTANT"),
            ({"outcome": "y", "filters": [{"column": "y", "op": ">", "value": 0.5}]}, "FILTER_ON_OUTCOME"),
        ],
    )
    def test_what_should_be_known_is_noted(self, asked: dict[str, object], code: str) -> None:
        assert code in {note.code for note in check_roles(question.ask(asked), self.found)}

    def test_a_sound_question_gives_no_notes(self) -> None:
        asked = {"treatment": "arm", "outcome": "y", "covariates": ["g"], "reference_level": "placebo"}
        assert check_roles(question.ask(asked), self.found) == ()

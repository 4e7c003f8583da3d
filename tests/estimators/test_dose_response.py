"""Dose and response: curve, bands and average derivative; the parametric forms; what is refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from causal_orchestrator import estimators
from causal_orchestrator.errors import CausalError
from causal_orchestrator.problem import build
from causal_orchestrator.question import Question
from causal_orchestrator.simulate import SIMULATIONS

GRID = (-1.0, 0.0, 1.0)
ALARM = 1e-3


def bent(n, seed):
    """A sine of the dose: E[Y(a)] = 2 sin a, average derivative 2 exp(-0.79)."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, 3))
    t = x @ [0.7, 0.3, 0.0] + rng.standard_normal(n)
    y = x.sum(axis=1) + 2 * np.sin(t) + 0.5 * x[:, 0] * t + rng.standard_normal(n)
    question = Question(treatment="t", outcome="y", covariates=("x0", "x1", "x2"))
    return build(pd.DataFrame({"t": t, "y": y, "x0": x[:, 0], "x1": x[:, 1], "x2": x[:, 2]}), question, seed=seed)


def test_a_bent_curve_is_found_and_its_band_is_wider_than_its_points():
    found = estimators.estimate("dose_response", bent(3_000, 1), grid=GRID)
    assert abs(found.estimate - 2 * np.exp(-0.79)) < 4 * found.std_error
    rows = [row for row in found.rows if row.dose is not None]
    for row, dose in zip(rows, GRID, strict=True):
        assert abs(row.estimate - 2 * np.sin(dose)) < 4 * row.std_error
    inside = found.details["pointwise"]
    assert np.all(inside["ci_lower"] > [row.ci_lower for row in rows])
    assert np.all(inside["ci_upper"] < [row.ci_upper for row in rows])


def test_bands_and_derivative_cover():
    held = np.zeros(2)
    for seed in range(30):
        found = estimators.estimate("dose_response", bent(600, seed), grid=GRID, folds=2)
        rows = [row for row in found.rows if row.dose is not None]
        held[0] += all(row.ci_lower <= 2 * np.sin(row.dose) <= row.ci_upper for row in rows)
        held[1] += found.ci_lower <= 2 * np.exp(-0.79) <= found.ci_upper
    for count in held:
        assert stats.binomtest(int(count), 30, 0.95).pvalue > ALARM


def test_a_marginal_structural_quadratic_finds_a_straight_line():
    made = SIMULATIONS["confounded_dose"](2_000, seed=2)
    found = estimators.estimate("dose_response", build(made.frame, made.question), grid=GRID, method="msm")
    assert abs(found.estimate - 1) < 4 * found.std_error
    for row in found.rows[1:]:
        assert abs(row.estimate - row.dose) < 4 * row.std_error


def test_a_dose_that_many_could_not_have_had_is_named():
    made = SIMULATIONS["confounded_dose"](1_000, seed=3)
    found = estimators.estimate("dose_response", build(made.frame, made.question), grid=(-3.0, 0.0))
    assert not found.diagnostics["dose_support"]["passed"]
    assert any("-3" in note for note in found.notes)


def test_doses_that_crowd_at_one_end_are_named():
    rng = np.random.default_rng(4)
    frame = pd.DataFrame({"t": rng.exponential(size=500) ** 3, "x": rng.standard_normal(500)})
    question = Question(treatment="t", outcome="y", covariates=("x",))
    found = estimators.estimate("dose_response", build(frame.assign(y=frame["x"] + rng.standard_normal(500)), question))
    assert not found.diagnostics["edge_mass"]["passed"]


@pytest.mark.parametrize("options", [{"grid": (0.0, 99.0)}, {"grid": ()}, {"folds": 1}, {"method": "gps", "draws": 3}])
def test_options_outside_their_range_are_refused(options):
    with pytest.raises(CausalError) as raised:
        estimators.estimate("dose_response", bent(200, 5), **options)
    assert raised.value.code == "OPTION_INVALID"


def test_too_few_rows_are_refused():
    with pytest.raises(CausalError) as raised:
        estimators.estimate("dose_response", bent(50, 6))
    assert raised.value.code == "TOO_FEW_ROWS"

"""Dose and response: curve, bands and average derivative; the parametric forms; what is refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from causal_orchestrator import estimators
from causal_orchestrator.errors import CausalError
from causal_orchestrator.estimators import dose_response
from causal_orchestrator.numerics import gps
from causal_orchestrator.problem import build
from causal_orchestrator.question import Question
from causal_orchestrator.simulate import SIMULATIONS

GRID = (-1.0, 0.0, 1.0)
DOSES = (0.1, 0.5, 1.0, 2.0, 3.0)
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
    found = estimators.estimate("dose_response", bent(2_000, 1), grid=GRID)
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


def test_one_far_row_does_not_make_the_average_derivative():
    made = SIMULATIONS["confounded_dose"](400, seed=100_006)
    found = estimators.estimate("dose_response", build(made.frame, made.question, seed=100_006))
    assert found.std_error < 0.1  # a row's learned weight of 260, where the true one is 1, made it 2.2
    assert abs(found.estimate - 1) < 4 * found.std_error


def test_a_marginal_structural_quadratic_finds_a_straight_line():
    made = SIMULATIONS["confounded_dose"](2_000, seed=2)
    found = estimators.estimate("dose_response", build(made.frame, made.question), grid=GRID, method="msm")
    assert abs(found.estimate - 1) < 4 * found.std_error
    for row in found.rows[1:]:
        assert abs(row.estimate - row.dose) < 4 * row.std_error


def test_a_dose_that_many_could_not_have_had_has_no_interval():
    made = SIMULATIONS["confounded_dose"](1_000, seed=3)
    found = estimators.estimate("dose_response", build(made.frame, made.question), grid=(-3.0, 0.0))
    assert not found.diagnostics["dose_support"]["passed"]
    assert any("-3" in note for note in found.notes)
    beyond, inside = found.rows[1:]
    assert (beyond.estimate, beyond.ci_lower, beyond.ci_upper) == (None, None, None)
    assert inside.ci_lower < inside.estimate < inside.ci_upper


def crowded(n, seed):
    """Hirano and Imbens' design: E[Y(a)] = a + 2 / (1 + a)³; doses are exponential with the covariates' sum as rate."""
    rng = np.random.default_rng(seed)
    x = rng.exponential(size=(n, 2))
    rate = x.sum(axis=1)
    t = rng.exponential(size=n) / rate
    y = t + rate * np.exp(-rate * t) + rng.standard_normal(n)
    question = Question(treatment="t", outcome="y", covariates=("x0", "x1"))
    problem = build(pd.DataFrame({"t": t, "y": y, "x0": x[:, 0], "x1": x[:, 1]}), question, seed=seed)
    rate = problem.covariates.sum(axis=1)
    return problem, 1 - rate**2 * np.exp(-rate * problem.treatment)


@pytest.fixture(scope="module")
def hirano_imbens():
    problem, _ = crowded(1_000, 7)
    return estimators.estimate("dose_response", problem, grid=DOSES)


def test_every_interval_of_a_crowded_design_holds_the_truth_or_is_not_given(hirano_imbens):
    rows = hirano_imbens.rows[1:]
    assert sum(row.estimate is not None for row in rows) >= 3
    for row, dose in zip(rows, DOSES, strict=True):
        assert row.estimate is None or row.ci_lower <= dose + 2 / (1 + dose) ** 3 <= row.ci_upper
    assert rows[-1].estimate is None  # more than two in five rows could not have had it


@pytest.mark.exhaustive
def test_a_small_crowded_design_covers_where_it_speaks():
    """The derivative is held against that of the population over the doses that the estimate names."""
    many = np.random.default_rng(0).exponential(size=(400_000, 3))
    rate = many[:, :2].sum(axis=1)
    dose = many[:, 2] / rate
    slope = 1 - rate**2 * np.exp(-rate * dose)
    curve, derivative = 0, 0
    for seed in range(100, 200):
        problem, _ = crowded(500, seed)
        found = estimators.estimate("dose_response", problem, grid=DOSES)
        start, full = np.quantile(problem.treatment, (0.05, 0.2))
        counted = np.clip((dose - start) / (full - start), 0, 1) * (dose <= problem.treatment.max())
        derivative += found.ci_lower <= np.average(slope, weights=counted) <= found.ci_upper
        told = [(row, at + 2 / (1 + at) ** 3) for row, at in zip(found.rows[1:], DOSES, strict=True) if row.estimate is not None]  # fmt: skip
        curve += all(row.ci_lower <= truth <= row.ci_upper for row, truth in told)
    for count in (curve, derivative):  # 91 and 94 of 100
        assert stats.binomtest(count, 100, 0.95).pvalue > ALARM, f"{curve} and {derivative} of 100"


def test_the_average_derivative_says_which_doses_it_is_over(hirano_imbens):
    problem, slopes = crowded(1_000, 7)
    low, high = hirano_imbens.details["derivative_over"]
    start, full = np.quantile(problem.treatment, (0.05, 0.2))
    assert start < low < high <= problem.treatment.max()
    truth = np.average(slopes, weights=np.clip((problem.treatment - start) / (full - start), 0, 1))
    assert abs(hirano_imbens.estimate - truth) < 4 * hirano_imbens.std_error
    assert f"{low:.4g}" in hirano_imbens.rows[0].term
    assert any(f"{low:.4g}" in note for note in hirano_imbens.notes)
    assert not hirano_imbens.diagnostics["edge_mass"]["passed"]


def test_extrapolation_widens_the_curves_interval(hirano_imbens):
    below, above = hirano_imbens.details["extrapolation"]
    row = hirano_imbens.rows[3]
    margin = hirano_imbens.details["critical_value"] * row.std_error
    assert row.ci_upper - row.estimate == pytest.approx(margin + above[2])
    assert row.estimate - row.ci_lower == pytest.approx(margin + below[2])
    assert below[2] + above[2] > 0


def cubic(n, seed, bend):
    """A dose that a covariate moves; the response is cubic, and nothing else, so that without a bend both forms hold."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(n)
    t = 0.5 * x + rng.standard_normal(n)
    frame = pd.DataFrame({"t": t, "x": x, "y": t + bend * t**3 + rng.standard_normal(n)})
    return build(frame, Question(treatment="t", outcome="y", covariates=("x",)), seed=seed)


@pytest.mark.parametrize("method", ["gps", "msm"])
def test_a_parametric_curve_of_the_wrong_form_is_found_out(method):
    wrong = estimators.estimate("dose_response", cubic(800, 8, 1.0), grid=GRID, method=method, draws=50)
    assert not wrong.diagnostics["specification"]["passed"]


@pytest.mark.parametrize("method", ["gps", "msm"])
def test_the_test_of_form_is_of_its_level(method):
    rejected = 0
    for seed in range(60):
        problem = cubic(400, seed, 0.0)
        fit = gps.hirano_imbens if method == "gps" else gps.weighted_quadratic
        fitted = fit(gps.rows_of(problem), np.array(GRID))
        rejected += not dose_response._specification(problem, fitted.score)["passed"]
    assert stats.binomtest(rejected, 60, 0.05).pvalue > ALARM


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

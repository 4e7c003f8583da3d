"""Cinelli and Hazlett's numbers for Darfur, and their formulas against regressions with the confounder added."""

import numpy as np
import pandas as pd
import pytest
from tests.sensitivity.problems import linear, refit_with

from causal_orchestrator.errors import NotApplicable
from causal_orchestrator.numerics.linear import covariance, least_squares
from causal_orchestrator.problem import build
from causal_orchestrator.question import Question
from causal_orchestrator.sensitivity import robustness_value as rv
from causal_orchestrator.sensitivity import unobserved_common_cause as ucc

# Cinelli and Hazlett (2020), section 5: effect of violence on attitudes to peace in Darfur.
DARFUR = {"estimate": 0.09731582, "std_error": 0.02325654, "dof": 783}
PUBLISHED = 0.0005  # three printed decimals
EXACT = 1e-8  # an algebraic identity


def test_the_published_robustness_values_of_darfur_are_reproduced():
    t = DARFUR["estimate"] / DARFUR["std_error"]
    assert rv.robustness_value(t=t, dof=DARFUR["dof"]) == pytest.approx(0.139, abs=PUBLISHED)
    assert rv.robustness_value(t=t, dof=DARFUR["dof"], alpha=0.05) == pytest.approx(0.076, abs=PUBLISHED)
    assert t**2 / (t**2 + DARFUR["dof"]) == pytest.approx(0.022, abs=PUBLISHED)


@pytest.mark.parametrize(
    ("r2_treatment", "r2_outcome", "estimate", "std_error", "t"),
    [(0.00916, 0.12464, 0.0752, 0.0219, 3.44), (0.01833, 0.24930, 0.0529, 0.0204, 2.60)],
)
def test_the_published_bounds_of_darfur_are_reproduced(r2_treatment, r2_outcome, estimate, std_error, t):
    # Once and twice as strong as `female`, from the same example.
    moved, error = rv.adjusted(**DARFUR, r2_treatment=r2_treatment, r2_outcome=r2_outcome)
    assert moved == pytest.approx(estimate, abs=1e-4)
    assert error == pytest.approx(std_error, abs=1e-4)
    assert moved / error == pytest.approx(t, abs=0.01)


@pytest.mark.parametrize("share", [0.05, 0.3])
def test_the_adjusted_effect_is_that_of_the_regression_with_the_confounder(share):
    problem = linear()
    fit = rv.companion(problem)
    parts = ucc._parts(problem, refit_with("ols", se="classical")(problem), 0)
    cause = ucc._cause(parts, share)
    design = np.column_stack([np.ones(problem.n), problem.covariates, cause, problem.treatment])
    with_cause = least_squares(design, problem.outcome)
    moved, error = rv.adjusted(
        estimate=fit.estimate, std_error=fit.std_error, dof=fit.dof, r2_treatment=share, r2_outcome=share
    )
    assert moved == pytest.approx(float(with_cause.coefficients[-1]), rel=EXACT)
    assert error == pytest.approx(float(np.sqrt(covariance(with_cause, "classical")[-1, -1])), rel=EXACT)


def test_a_confounder_of_the_robustness_value_brings_the_effect_to_zero():
    problem = linear()
    fit = rv.companion(problem)
    share = rv.robustness_value(t=fit.estimate / fit.std_error, dof=fit.dof)
    moved, _ = rv.adjusted(
        estimate=fit.estimate, std_error=fit.std_error, dof=fit.dof, r2_treatment=share, r2_outcome=share
    )
    assert moved == pytest.approx(0.0, abs=EXACT)


def test_an_omitted_covariate_is_bounded_by_its_own_strength():
    # Benchmarking a covariate against itself: dropped covariates as strong as `a` must lie within the bound.
    problem = linear(n=2000, seed=3)
    result = rv.analyse(problem, refit_with("ols")(problem))
    by_name = {b["covariate"]: b for b in result.details["bounds"] if b["multiple"] == 1}
    assert set(by_name) == {"a", "b", "c"}
    assert by_name["a"]["r2_outcome"] > by_name["b"]["r2_outcome"] > by_name["c"]["r2_outcome"]


def test_the_breakdown_multiple_brings_the_estimate_to_zero():
    problem = linear(confounding=1.0)
    fit = rv.companion(problem)
    at = dict(zip(fit.names, zip(fit.r2_treatment, fit.r2_outcome, strict=True), strict=True))
    found = rv.breakdown(fit)
    assert "a" in found
    for name, multiple in found.items():
        strength = rv.benchmark(r2_treatment=at[name][0], r2_outcome=at[name][1], multiple=multiple)
        moved, _ = rv.adjusted(
            estimate=fit.estimate,
            std_error=fit.std_error,
            dof=fit.dof,
            r2_treatment=strength[0],
            r2_outcome=strength[1],
        )
        assert moved == pytest.approx(0.0, abs=1e-3 * fit.std_error) or strength[1] == 1.0


def test_a_categorical_covariate_is_one_benchmark():
    rng = np.random.default_rng(0)
    region = rng.choice(["n", "s", "w"], size=400)
    t = (rng.random(400) < 0.3 + 0.3 * (region == "s")).astype(int)
    frame = pd.DataFrame({"region": region, "t": t, "y": t + (region == "s") + rng.standard_normal(400)})
    problem = build(frame, Question(treatment="t", outcome="y", covariates=("region",)))
    assert problem.covariates.shape[1] == 2
    fit = rv.companion(problem)
    assert fit.names == ("region",)
    # The group's partial R² is the share of the short regression's residual variation that the group explains.
    short = least_squares(np.column_stack([np.ones(400), problem.treatment]), problem.outcome)
    long = least_squares(np.column_stack([np.ones(400), problem.covariates, problem.treatment]), problem.outcome)
    share = 1 - (long.residuals**2).sum() / (short.residuals**2).sum()
    assert fit.r2_outcome[0] == pytest.approx(share, rel=EXACT)


def test_a_strong_effect_passes_a_confounded_one_fails_and_no_effect_has_no_gate():
    strong = linear(effect=5.0, n=1000)
    assert rv.analyse(strong, refit_with("ols")(strong)).passed is True
    weak = linear(effect=0.3, confounding=1.0, n=1000)
    assert rv.analyse(weak, refit_with("ols")(weak)).passed is False
    none = linear(effect=0.0, n=1000, seed=2)
    assert rv.analyse(none, refit_with("ols")(none)).passed is None


def test_without_covariates_there_is_nothing_to_benchmark_against():
    problem = linear()
    bare = problem.change(covariates=problem.covariates[:, :0], covariate_names=(), covariate_sources=())
    with pytest.raises(NotApplicable):
        rv.analyse(bare, refit_with("difference_in_means")(bare))


def test_the_simulated_cause_tips_least_squares_at_its_robustness_value():
    problem = linear()
    refit = refit_with("ols", se="classical")
    estimate = refit(problem)
    expected = rv.analyse(problem, estimate).value
    found = ucc.analyse(problem, estimate, refit=refit, seed=0, steps=20).value
    assert found == pytest.approx(expected, abs=1e-5)  # the bisection's last step

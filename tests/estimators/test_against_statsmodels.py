"""Regressions and stacked standard errors against statsmodels."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from statsmodels.treatment.treatment_effects import TreatmentEffect

from causal_orchestrator import estimators
from causal_orchestrator.problem import build
from causal_orchestrator.simulate import SIMULATIONS

RTOL = 1e-9  # the same formulas; sums in another order
GMM_RTOL = 2e-5  # statsmodels takes the derivatives of its moments numerically
SAMPLE = 1e-3  # HC0 against n/(n-1)


@pytest.fixture(scope="module")
def made():
    return SIMULATIONS["confounded_heterogeneous"](1_000, seed=1)


def design(frame, names, treatment=True):
    columns = [frame["t"]] if treatment else []
    return sm.add_constant(np.column_stack([*columns, *(frame[name] for name in names)]))


@pytest.mark.parametrize("se", ["classical", "hc1", "hc3"])
def test_ols_has_the_coefficient_and_errors_of_statsmodels(made, se):
    frame, names = made.frame, made.question.covariates
    reference = sm.OLS(frame["y"].to_numpy(), design(frame, names)).fit(
        cov_type="nonrobust" if se == "classical" else se.upper(), use_t=True
    )
    found = estimators.estimate("ols", build(frame, made.question), se=se)
    assert found.estimate == pytest.approx(reference.params[1], rel=RTOL)
    assert found.std_error == pytest.approx(reference.bse[1], rel=RTOL)
    assert (found.ci_lower, found.ci_upper) == pytest.approx(tuple(reference.conf_int()[1]), rel=RTOL)
    assert found.p_value == pytest.approx(reference.pvalues[1], rel=1e-6)


def test_clustered_ols_has_the_errors_of_statsmodels():
    made = SIMULATIONS["confounded_clusters"](600, seed=2)
    reference = sm.OLS(made.frame["y"].to_numpy(), design(made.frame, made.question.covariates)).fit(
        cov_type="cluster", cov_kwds={"groups": made.frame["g"]}, use_t=True
    )
    found = estimators.estimate("ols", build(made.frame, made.question))
    assert found.std_error == pytest.approx(reference.bse[1], rel=RTOL)
    assert found.p_value == pytest.approx(reference.pvalues[1], rel=1e-6)


def test_weighted_ols_has_the_errors_of_statsmodels(made):
    weights = np.exp(made.frame["x3"].to_numpy() / 3)
    question = made.question.model_copy(update={"weights": "w"})
    frame = made.frame.assign(w=weights)
    reference = sm.WLS(frame["y"].to_numpy(), design(frame, made.question.covariates), weights=weights).fit(
        cov_type="HC1", use_t=True
    )
    found = estimators.estimate("ols", build(frame, question))
    assert found.estimate == pytest.approx(reference.params[1], rel=RTOL)
    assert found.std_error == pytest.approx(reference.bse[1], rel=RTOL)


def test_clustered_difference_in_means_has_the_errors_of_statsmodels():
    made = SIMULATIONS["randomized_clusters"](600, seed=3)
    reference = sm.OLS(made.frame["y"].to_numpy(), design(made.frame, [])).fit(
        cov_type="cluster", cov_kwds={"groups": made.frame["g"]}, use_t=True
    )
    found = estimators.estimate("difference_in_means", build(made.frame, made.question))
    assert found.std_error == pytest.approx(reference.bse[1], rel=RTOL)


@pytest.mark.parametrize(
    ("method", "estimator", "estimand"),
    [
        ("ipw", "ipw", "ATE"),
        ("ipw", "ipw", "ATT"),
        ("regression_adjustment", "ra", "ATE"),
        ("regression_adjustment", "ra", "ATT"),
    ],
)
def test_stacked_errors_are_those_of_the_method_of_moments(made, method, estimator, estimand):
    frame, names = made.frame, made.question.covariates
    outcome = sm.OLS(frame["y"].to_numpy(), design(frame, names, treatment=False))
    t = frame["t"].to_numpy().astype(int)
    treatment = sm.Logit(t, design(frame, names, treatment=False)).fit(disp=False, tol=1e-14)
    effect = TreatmentEffect(outcome, t, results_select=treatment)
    reference = getattr(effect, estimator)(effect_group="all" if estimand == "ATE" else 1)
    found = estimators.estimate(method, build(frame, made.question), estimand=estimand)
    assert found.estimate == pytest.approx(reference.results_gmm.params[0], rel=1e-6)
    assert found.std_error == pytest.approx(reference.results_gmm.bse[0], rel=GMM_RTOL)


@pytest.mark.parametrize("family", ["logit", "poisson"])
def test_marginal_effects_of_nonlinear_models_are_those_of_statsmodels(family):
    made = SIMULATIONS["confounded_binary"](1_000, seed=4)
    x = design(made.frame, made.question.covariates)
    model = (sm.Logit if family == "logit" else sm.Poisson)(made.frame["y"].to_numpy(), x)
    fit = model.fit(disp=False, tol=1e-14)
    treated, control = x.copy(), x.copy()
    treated[:, 1], control[:, 1] = 1.0, 0.0
    reference = (fit.predict(treated) - fit.predict(control)).mean()
    found = estimators.estimate("ols", build(made.frame, made.question), family=family)
    assert found.estimate == pytest.approx(reference, rel=1e-8)

"""Bayesian causal forest: the package's own model, called as its documentation does, with the same seed and priors."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy.special import ndtr

from causal_orchestrator import estimators
from causal_orchestrator.numerics.nuisance import propensity_alone, recipe
from causal_orchestrator.problem import build
from causal_orchestrator.simulate import SIMULATIONS

stochtree = pytest.importorskip("stochtree")

SEED, WARM, DRAWS = 5, 8, 40
RTOL = 1e-9  # the same chain; the outcome is standardised once here and once more there
LEARNED = {"learners": ("linear",), "folds": 2, "repeats": 1}


def both(kind, outcome=None, **options):
    """Return our estimate, the problem, and the package's model on the rows and propensities that it saw."""
    made = SIMULATIONS[kind](250, seed=2)
    problem = build(made.frame, made.question, seed=SEED)
    ours = estimators.estimate("bayesian_causal_forest", problem, draws=DRAWS, warm=WARM, **LEARNED, **options)
    propensity = propensity_alone(problem, recipe(problem.n, **LEARNED))[0][:, 1]
    general = {"random_seed": SEED, "num_threads": 1}
    if outcome is not None:
        general["outcome_model"] = outcome
    model = stochtree.BCFModel()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        model.sample(
            problem.covariates, problem.treatment, problem.outcome, propensity_train=propensity,
            num_gfr=WARM, num_mcmc=DRAWS, general_params=general,
        )  # fmt: skip
    return ours, problem, model, propensity


def test_the_posterior_of_each_row_is_that_of_the_package():
    ours, _, model, _ = both("confounded_heterogeneous")
    tau = np.asarray(model.tau_hat_train)
    assert tau.shape == (250, DRAWS)
    np.testing.assert_allclose(ours.cate, tau.mean(axis=1), rtol=RTOL)
    np.testing.assert_allclose(ours.cate_interval, np.quantile(tau, [0.025, 0.975], axis=1).T, rtol=RTOL)
    assert ours.details["posterior"]["uncorrected"]["mean"] == pytest.approx(tau.mean(), rel=RTOL)


@pytest.mark.parametrize("estimand", ["ATE", "ATT", "ATC"])
def test_the_average_is_corrected_by_what_the_package_s_draws_miss(estimand):
    ours, problem, model, e = both("confounded_heterogeneous", estimand=estimand)
    t, tau = problem.treatment, np.asarray(model.tau_hat_train)
    fitted = np.asarray(model.y_hat_train)
    centre = fitted.mean(axis=1)
    pull = fitted.var(axis=1) / np.mean((problem.outcome[:, None] - fitted) ** 2)
    missed = (centre + (problem.outcome - centre) / (1 - np.minimum(pull, 0.5)))[:, None] - fitted
    of_treated, of_controls, own = {
        "ATE": (1 / e, 1 / (1 - e), np.ones(problem.n)),
        "ATT": (np.ones(problem.n), e / (1 - e), t),
        "ATC": ((1 - e) / e, np.ones(problem.n), 1 - t),
    }[estimand]
    scores = own[:, None] * tau + (t * of_treated - (1 - t) * of_controls)[:, None] * missed
    rng = np.random.default_rng(SEED)
    shares = np.array([rng.standard_exponential(problem.n) for _ in range(DRAWS)])
    expected = (shares * scores.T).sum(axis=1) / (shares @ own)
    assert ours.estimate == pytest.approx(expected.mean(), rel=RTOL)
    assert (ours.ci_lower, ours.ci_upper) == pytest.approx(np.quantile(expected, [0.025, 0.975]), rel=RTOL)


def test_with_a_binary_outcome_effects_are_the_package_s_differences_of_probabilities():
    link = stochtree.OutcomeModel(outcome="binary", link="probit")
    ours, problem, model, propensity = both("confounded_binary", link)
    n = problem.n
    under = [
        model.predict(problem.covariates, np.full(n, arm), propensity, terms="y_hat", scale="linear")
        for arm in (0.0, 1.0)
    ]
    tau = ndtr(np.asarray(under[1])) - ndtr(np.asarray(under[0]))
    np.testing.assert_allclose(ours.cate, tau.mean(axis=1), rtol=1e-6)  # probit written out, not the package's contrast
    assert ours.details["posterior"]["uncorrected"]["mean"] == pytest.approx(tau.mean(), rel=1e-6)

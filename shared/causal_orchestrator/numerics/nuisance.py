"""Nuisance functions of a problem: parametric ones, and learned ones by cross-fitting."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from causal_orchestrator.numerics.folds import folds
from causal_orchestrator.numerics.linear import least_squares
from causal_orchestrator.numerics.logit import fit_multinomial

if TYPE_CHECKING:
    from causal_orchestrator.problem import Nuisances, Problem

Floats = NDArray[np.float64]


def with_intercept(covariates: Floats) -> Floats:
    """Return the design (n, 1 + p) of an intercept and centred covariates."""
    return np.column_stack([np.ones(len(covariates)), covariates - covariates.mean(axis=0)])


def parametric(problem: Problem) -> Nuisances:
    """Fit a (multinomial) logit of the treatment and least squares of the outcome, by arm and overall."""
    from causal_orchestrator.problem import Nuisances

    design = with_intercept(problem.covariates)
    treatment, outcome, weights = problem.treatment, problem.outcome, problem.weights
    levels = len(problem.treatment_levels)
    propensity = fit_multinomial(design, treatment, levels, weights) if levels else np.zeros((problem.n, 0))
    by_level = [_predicted(design, outcome, weights, treatment == k) for k in range(levels)]
    everyone = np.ones(problem.n, dtype=bool)
    expected = propensity @ np.arange(levels) if levels else _predicted(design, treatment, weights, everyone)
    return Nuisances(
        kind="parametric",
        propensity=propensity[None],
        outcome_by_level=np.stack(by_level, axis=1)[None] if levels else np.zeros((1, problem.n, 0)),
        outcome=_predicted(design, outcome, weights, everyone)[None],
        treatment=expected[None],
        fold=np.zeros((1, problem.n), dtype=np.int64),
        learners={"propensity": {"logit": 1.0}, "outcome": {"least squares": 1.0}},
    )


def _predicted(design: Floats, target: Floats, weights: Floats | None, rows: NDArray[np.bool_]) -> Floats:
    fit = least_squares(design[rows], target[rows], None if weights is None else weights[rows])
    return np.asarray(design @ fit.coefficients)


def learned(problem: Problem) -> Nuisances:
    """Cross-fit linear learners on five folds."""
    from sklearn.linear_model import LinearRegression, LogisticRegression

    from causal_orchestrator.problem import Nuisances

    x, t, y = problem.covariates, problem.treatment, problem.outcome
    x = (x - x.mean(axis=0)) / x.std(axis=0) if x.shape[1] else np.zeros((problem.n, 1))
    fold = folds(t, 5, seed=problem.seed, cluster=problem.cluster)
    levels = len(problem.treatment_levels)
    propensity, by_level = np.zeros((problem.n, levels)), np.zeros((problem.n, levels))
    outcome, expected = np.zeros(problem.n), np.zeros(problem.n)
    for k in range(int(fold.max()) + 1):
        out, into = fold == k, fold != k
        outcome[out] = LinearRegression().fit(x[into], y[into]).predict(x[out])
        if levels:
            propensity[out] = LogisticRegression(max_iter=1000).fit(x[into], t[into]).predict_proba(x[out])
            expected[out] = propensity[out] @ np.arange(levels)
        else:
            expected[out] = LinearRegression().fit(x[into], t[into]).predict(x[out])
        for level in range(levels):
            arm = into & (t == level)
            by_level[out, level] = LinearRegression().fit(x[arm], y[arm]).predict(x[out])
    return Nuisances(
        kind="learned",
        propensity=propensity[None],
        outcome_by_level=by_level[None],
        outcome=outcome[None],
        treatment=expected[None],
        fold=fold[None],
        learners={"propensity": {"logistic": 1.0}, "outcome": {"linear": 1.0}},
    )

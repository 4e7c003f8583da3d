"""Regress what the covariates leave of the outcome on what they leave of the treatment."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from causal_orchestrator.errors import EstimationError
from causal_orchestrator.estimators import per_unit
from causal_orchestrator.numerics.inference import median_over_repeats
from causal_orchestrator.problem import Estimate, Problem, conclude

Floats = NDArray[np.float64]

EXPLAINED = 0.01  # residual share of the treatment's variance below which too little is left to compare


def estimate(
    problem: Problem,
    *,
    learners: Sequence[str] | None = None,
    folds: int | None = None,
    repeats: int | None = None,
    linear: bool = False,
) -> Estimate:
    """Estimate the coefficient of the treatment in the partially linear model by double machine learning.

    Assumes no unmeasured confounding. The estimand weights effects by the treatment's conditional variance (labelled
    PLR); it is the ATE if effects do not vary with the covariates.

    Parameters
    ----------
    learners, folds, repeats : see `numerics.nuisance.recipe`.
    linear : a treatment with few numeric levels enters as a number, with one coefficient per unit.

    Raises
    ------
    EstimationError
        If the covariates determine the treatment (``POSITIVITY``).

    References
    ----------
    Robinson (1988); Chernozhukov et al. (2018), https://doi.org/10.1111/ectj.12097, equation 4.4 (partialling out).
    """
    problem = per_unit(problem) if linear else problem
    found = problem.learned(learners=learners, folds=folds, repeats=repeats)
    weights = np.ones(problem.n) if problem.weights is None else problem.weights
    values, influences, compared = [], [], np.zeros(problem.n)
    for r in range(len(found.outcome)):
        left = _treatment_residuals(problem, found.propensity[r], found.treatment[r])
        unexplained = problem.outcome - found.outcome[r]
        compared += left[:, 0] / len(found.outcome)
        bread = (left * weights[:, None]).T @ left / problem.n
        if np.linalg.eigvalsh(bread)[0] <= EXPLAINED * problem.treatment.var():
            raise EstimationError("the covariates determine the treatment; nothing is left to compare", code="POSITIVITY")  # fmt: skip
        value = np.linalg.solve(bread, (left * weights[:, None]).T @ unexplained / problem.n)
        scores = left * (weights * (unexplained - left @ value))[:, None]
        values.append(value)
        influences.append(scores @ np.linalg.inv(bread))
    joined = median_over_repeats(np.array(values), np.array(influences), problem.cluster)
    return conclude(
        problem,
        method="double_ml",
        estimand="PLR",
        estimates=joined.estimates,
        covariance=joined.covariance,
        inference="influence function" + ("" if problem.cluster is None else ", clustered"),
        details={
            "learners": dict(found.learners),
            "repeats": len(values),
            "folds": int(found.fold.max()) + 1,
            "weights": np.where(problem.treatment > 0, 1.0, -1.0) * compared * weights,
        },
        notes=("a variance-weighted effect: the ATE only if the effect does not vary with the covariates",),
        influence=joined.influence,
    )


def _treatment_residuals(problem: Problem, propensity: Floats, expected: Floats) -> Floats:
    if problem.treatment_kind == "continuous":
        return np.asarray((problem.treatment - expected)[:, None])
    levels = np.arange(1, len(problem.treatment_levels))
    return np.asarray((problem.treatment[:, None] == levels) - propensity[:, 1:])

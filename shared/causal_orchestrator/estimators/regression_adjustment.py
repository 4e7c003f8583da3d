"""Predict everyone's outcome under each level of the treatment, and compare the averages."""

from __future__ import annotations

from typing import Literal

import numpy as np

from causal_orchestrator.errors import NotApplicable
from causal_orchestrator.numerics.balance import regression_weights
from causal_orchestrator.numerics.glm import Family, standardised_means
from causal_orchestrator.numerics.inference import influence_covariance
from causal_orchestrator.numerics.nuisance import with_intercept
from causal_orchestrator.problem import Estimate, Problem, conclude


def estimate(
    problem: Problem, *, estimand: Literal["ATE", "ATT", "ATC"] = "ATE", family: Family = "gaussian"
) -> Estimate:
    """Estimate the effect by one outcome regression per arm, averaged over the target population (g-computation).

    Assumes no unmeasured confounding and a right outcome model. Standard errors stack the regressions' estimating
    equations under the average's.

    Parameters
    ----------
    estimand : whom the average is over: everyone, the treated (of each level), the controls.
    family : ``gaussian``, ``logit`` (binary outcome) or ``poisson`` (outcome of at least zero).

    References
    ----------
    Robins (1986); Wooldridge (2010), Econometric Analysis, 21.3.
    """
    if family == "logit" and problem.outcome_kind != "binary":
        raise NotApplicable("family='logit' needs a binary outcome", code="OUTCOME_KIND")
    if family == "poisson" and problem.outcome.min() < 0:
        raise NotApplicable("family='poisson' needs an outcome of at least zero", code="OUTCOME_KIND")
    levels = len(problem.treatment_levels)
    weights = np.ones(problem.n) if problem.weights is None else problem.weights
    rows = problem.treatment[None, :] == np.arange(levels)[:, None]
    designs = np.broadcast_to(with_intercept(problem.covariates), (levels, problem.n, problem.covariates.shape[1] + 1))
    estimates, columns = [], []
    for level in range(1, levels):
        if level == 1 or estimand == "ATT":
            target = weights if estimand == "ATE" else weights * rows[level if estimand == "ATT" else 0]
            found = standardised_means(family, designs, problem.outcome, rows, weights=weights, target=target)
        estimates.append(found.means[level] - found.means[0])
        columns.append(found.influence[:, level] - found.influence[:, 0])
    contrast = np.column_stack(columns)
    return conclude(
        problem,
        method="regression_adjustment",
        estimand=estimand,
        estimates=estimates,
        covariance=influence_covariance(contrast, problem.cluster, of_scores=False),
        inference="stacked estimating equations" + ("" if problem.cluster is None else ", clustered"),
        details={
            "family": family,
            "weights": regression_weights(designs[0], rows, target @ designs[0] / target.sum(), weights),
        },
        influence=contrast,
        means=found.means if levels == 2 or estimand != "ATT" else None,
        means_influence=found.influence,
    )

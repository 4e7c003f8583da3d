"""Reweight each arm so that its covariates' moments are exactly those of the target population."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from causal_orchestrator.errors import InputError
from causal_orchestrator.numerics.balance import weighting_diagnostics
from causal_orchestrator.numerics.calibration import calibrate, calibrated_mean_influence
from causal_orchestrator.numerics.inference import influence_covariance
from causal_orchestrator.problem import Estimate, Problem, conclude

Floats = NDArray[np.float64]

MOST_MOMENTS = 3


def estimate(problem: Problem, *, estimand: Literal["ATT", "ATE", "ATC"] = "ATT", moments: int = 1) -> Estimate:
    """Estimate the effect by entropy balancing.

    Assumes no unmeasured confounding, overlap, and that the log odds of treatment or the outcome is linear in the
    balanced moments. Standard errors stack the weights' estimating equations under the means'.

    Parameters
    ----------
    moments : 1 balances means, 2 also squares, 3 also cubes (of covariates with more than two values).

    Raises
    ------
    DesignError
        If an arm cannot be weighted to the target (``INFEASIBLE``).

    References
    ----------
    Hainmueller (2012), https://doi.org/10.1093/pan/mpr025; Zhao & Percival (2017),
    https://doi.org/10.1515/jci-2016-0010.
    """
    if not 1 <= moments <= MOST_MOMENTS:
        raise InputError(f"moments must be 1, 2 or 3, found {moments}", code="OPTION_INVALID", details={"option": "moments"})  # fmt: skip
    x, names = _moments(problem, moments)
    sampling = np.ones(problem.n) if problem.weights is None else problem.weights
    levels = len(problem.treatment_levels)
    values, influence = np.zeros(levels - 1), np.zeros((problem.n, levels - 1))
    weights, means, by_arm = np.zeros(problem.n), np.zeros(levels), np.zeros((problem.n, levels))
    # With ATT every level has a target of its own; else all levels share one.
    for group in range(1, levels) if estimand == "ATT" else (0,):
        inside = {"ATT": problem.treatment == group, "ATC": problem.treatment == 0, "ATE": np.ones(problem.n, dtype=bool)}[estimand]  # fmt: skip
        arms = (0, group) if estimand == "ATT" else tuple(range(levels))
        for arm in arms:
            means[arm], by_arm[:, arm], own = _mean(problem, x, names, sampling, inside, arm)
            if group <= 1 or arm:
                weights[problem.treatment == arm] = own * problem.n
        for k in (group,) if estimand == "ATT" else range(1, levels):
            values[k - 1] = means[k] - means[0]
            influence[:, k - 1] = by_arm[:, k] - by_arm[:, 0]
    shared = estimand != "ATT" or levels == 2
    return conclude(
        problem,
        method="entropy_balancing",
        estimand=estimand,
        estimates=values,
        covariance=influence_covariance(influence, problem.cluster, of_scores=False),
        inference="stacked estimating equations" + ("" if problem.cluster is None else ", clustered"),
        diagnostics=weighting_diagnostics(problem.covariates, problem.treatment, problem.treatment_levels, weights),
        details={"weights": weights, "moments": list(names)},
        influence=influence,
        means=means if shared else None,
        means_influence=by_arm,
    )


def _mean(
    problem: Problem, x: Floats, names: tuple[str, ...], sampling: Floats, inside: NDArray[np.bool_], arm: int
) -> tuple[float, Floats, Floats]:
    """Return the arm's mean outcome in the target population, its influence (n,) and the arm's weights."""
    rows = problem.treatment == arm
    share = sampling * inside
    target = share @ x / share.sum()
    whose = f"the rows at level {problem.treatment_levels[arm]!r}"
    weights = calibrate(x[rows], target, sampling[rows], names, whose=whose).weights
    moved = share[:, None] * (x - target) / share.mean()
    mean, own, influence = calibrated_mean_influence(x[rows], target, problem.outcome[rows], weights, moved)
    influence[rows] += problem.n * own
    return mean, influence, weights


def _moments(problem: Problem, most: int) -> tuple[Floats, tuple[str, ...]]:
    """Return standardised covariates with their powers (n, k), and words for them."""
    x = problem.covariates
    scale = x.std(axis=0)
    z = (x - x.mean(axis=0)) / np.where(scale > 0, scale, 1.0)
    columns, names = [z], list(problem.covariate_names)
    many = [j for j in range(z.shape[1]) if len(np.unique(z[:, j])) > 2]
    for power in range(2, most + 1):
        columns.append(z[:, many] ** power)
        names += [f"{problem.covariate_names[j]} to the power {power}" for j in many]
    return np.column_stack(columns), tuple(names)

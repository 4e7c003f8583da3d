"""Quantile effects: what a treatment does along the distribution of the outcome."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from causal_orchestrator.errors import EstimationError, InputError
from causal_orchestrator.numerics.inference import p_value, simultaneous_critical_value
from causal_orchestrator.problem import Estimate, Problem, conclude

Floats = NDArray[np.float64]

LEAST_DRAWS, MOST_DRAWS = 50, 10_000
LOST = 0.1  # largest share of resamples in which the propensity may fail


def estimate(
    problem: Problem, *, quantiles: tuple[float, ...] = (0.1, 0.25, 0.5, 0.75, 0.9), draws: int = 200
) -> Estimate:
    """Estimate the differences between quantiles of the outcome under treatment and under control.

    Assumes no unmeasured confounding and overlap. Each arm's distribution is weighted by a logit propensity and
    augmented by a normal linear outcome model: right if either is. These are quantiles of the arms, not of effects.

    Parameters
    ----------
    quantiles : probabilities in (0, 1).
    draws : number of bootstrap samples (of clusters, where there are any) behind the bands.

    Returns
    -------
    Estimate
        The effect on the median, or on the first quantile where 0.5 is not among them (``QTE``), in units of the
        outcome. One row per quantile, with intervals that hold together (sup-t).

    Raises
    ------
    InputError
        If quantiles or draws are out of their range (``OPTION_INVALID``).
    EstimationError
        If the propensity fails in too many bootstrap samples (``BOOTSTRAP_FAILED``).

    References
    ----------
    Firpo (2007), https://doi.org/10.1111/j.1468-0262.2007.00738.x; Zhang, Chen, Troendle & Zhang (2012),
    https://doi.org/10.1111/j.1541-0420.2011.01712.x, for the augmentation.
    """
    wanted = np.array(sorted(set(quantiles)))
    if not len(wanted) or not np.all((wanted > 0) & (wanted < 1)):
        raise InputError("quantiles must lie strictly between 0 and 1", code="OPTION_INVALID", details={"option": "quantiles"})  # fmt: skip
    if not LEAST_DRAWS <= draws <= MOST_DRAWS:
        raise InputError(f"draws must lie between {LEAST_DRAWS} and {MOST_DRAWS}", code="OPTION_INVALID", details={"option": "draws"})  # fmt: skip
    arms = _quantiles(problem, wanted)
    effects = arms[1] - arms[0]
    resampled = _bootstrap(problem, wanted, draws)
    covariance = np.atleast_2d(np.cov(resampled, rowvar=False))
    main = int(np.argmin(np.abs(wanted - 0.5))) if 0.5 in wanted else 0
    told = conclude(
        problem,
        method="quantile_effects",
        estimand="QTE",
        estimates=[effects[main]],
        covariance=covariance[[main]][:, [main]],
        inference=f"bootstrap of {'rows' if problem.cluster is None else 'clusters'}, {len(resampled)} draws",
        details={"quantiles": wanted.tolist(), "control": arms[0].tolist(), "treated": arms[1].tolist()},
        notes=("differences between quantiles of the arms, not quantiles of single effects",),
    )
    together = simultaneous_critical_value(covariance, problem.confidence_level, seed=problem.seed)
    order = [main, *(i for i in range(len(wanted)) if i != main)]
    rows = []
    for i in order:
        error = float(np.sqrt(covariance[i, i]))
        numbers = {"quantile": float(wanted[i]), "estimate": float(effects[i]), "std_error": error, "p_value": p_value(effects[i], error)}  # fmt: skip
        rows.append(told.rows[0].model_copy(update={**numbers, "ci_lower": float(effects[i] - together * error), "ci_upper": float(effects[i] + together * error)}))  # fmt: skip
    return replace(told, rows=tuple(rows))


def _quantiles(problem: Problem, wanted: Floats) -> Floats:
    """Return the quantiles (2, q) of the outcome under control and under treatment."""
    nuisances = problem.parametric()
    weights = np.ones(problem.n) if problem.weights is None else problem.weights
    share = weights / weights.sum()
    order = np.argsort(problem.outcome, kind="stable")
    found = np.empty((2, len(wanted)))
    for arm in (0, 1):
        inside = problem.treatment == arm
        chance, mean = nuisances.propensity[0, :, arm], nuisances.outcome_by_level[0, :, arm]
        pull = np.where(inside, share / chance, 0.0)
        pull = pull / pull.sum()
        sd = float(np.sqrt(np.average((problem.outcome - mean)[inside] ** 2, weights=weights[inside])))
        for j, level in enumerate(wanted):
            found[arm, j] = _solve(problem.outcome, order, pull, share, mean, sd, float(level))
    return found


def _solve(outcome: Floats, order: NDArray[np.int64], pull: Floats, share: Floats, mean: Floats, sd: Floats | float, level: float) -> float:  # fmt: skip
    """Return the least outcome of the arm at which its augmented distribution function reaches `level`."""
    candidates = outcome[order][pull[order] > 0]
    low, high = 0, len(candidates) - 1
    while low < high:
        middle = (low + high) // 2
        q = candidates[middle]
        model = stats.norm.cdf((q - mean) / sd) if sd > 0 else (mean <= q) * 1.0
        if pull @ (outcome <= q) - pull @ model + share @ model >= level - 1e-12:
            high = middle
        else:
            low = middle + 1
    return float(candidates[low])


def _bootstrap(problem: Problem, wanted: Floats, draws: int) -> Floats:
    rng = np.random.default_rng(problem.seed)
    # By outcome, so that the draws do not depend on the covariates' units.
    order = np.lexsort((problem.treatment, problem.outcome))
    groups = None
    if problem.cluster is not None:
        groups = [np.flatnonzero(problem.cluster == g) for g in range(int(problem.cluster.max()) + 1)]
    found = []
    for _ in range(draws):
        if groups is None:
            rows = order[rng.integers(0, problem.n, problem.n)]
        else:
            rows = np.concatenate([groups[g] for g in rng.integers(0, len(groups), len(groups))])
        if len(np.unique(problem.treatment[rows])) < 2:
            continue
        try:
            arms = _quantiles(problem.take(rows), wanted)
        except EstimationError:
            continue
        found.append(arms[1] - arms[0])
    if len(found) < (1 - LOST) * draws:
        raise EstimationError(f"the propensity failed in {draws - len(found)} of {draws} bootstrap samples; fewer covariates would do", code="BOOTSTRAP_FAILED")  # fmt: skip
    return np.array(found)

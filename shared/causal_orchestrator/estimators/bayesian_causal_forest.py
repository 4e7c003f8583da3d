"""A posterior of each row's effect from Bayesian forests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from causal_orchestrator.errors import InputError, NotApplicable
from causal_orchestrator.numerics import nuisance
from causal_orchestrator.numerics.forests import sample_effects
from causal_orchestrator.numerics.weighting import balancing_weights
from causal_orchestrator.problem import Estimate, Problem, conclude

Floats = NDArray[np.float64]

LEAST_DRAWS, MOST_DRAWS = 20, 5_000
MOST_CELLS = 5e7  # rows times draws that are held in memory
MOST_PULL = 0.5  # of a row on its own posterior mean
TRIM = 0.01  # how near a propensity may come to 0 or 1
ENOUGH = 50.0  # effective draws from which quantiles of a posterior are steady


def estimate(
    problem: Problem,
    *,
    estimand: Literal["ATE", "ATT", "ATC"] = "ATE",
    draws: int = 200,
    warm: int = 10,
    learners: Sequence[str] | None = None,
    folds: int | None = None,
    repeats: int | None = None,
) -> Estimate:
    """Estimate the effect of each row and their average by a Bayesian causal forest.

    Assumes no unmeasured confounding and overlap. One forest holds what the covariates (the propensity among
    them) make of the outcome, another the effect. The average is that of the population: each draw weighs the rows by
    a Bayesian bootstrap and adds what the draw would miss of outcomes that it had not seen, weighted to the target by the propensity, for
    the forests' prior draws the average to where the covariates confound it. The interval is a credible one; there
    is no standard error.

    Parameters
    ----------
    draws : from the posterior, after `warm` grow-from-root iterations.
    learners, folds, repeats : of the propensity, see `numerics.nuisance.recipe`; the outcome has no part in it.

    Returns
    -------
    Estimate
        The mean of the corrected posterior; ``cate`` has each row's effect as the forests have it, ``cate_interval``
        its credible interval, ``details`` the average without the correction. The forests saw every row's outcome, so
        their effects are not judged by scores of the same rows.

    Raises
    ------
    NotApplicable
        If stochtree is not installed (``EXTRA_MISSING``), or with clusters or sampling weights
        (``NEEDS_INDEPENDENT_ROWS``).
    InputError
        If `draws` or `warm` are out of their range (``OPTION_INVALID``).

    References
    ----------
    Hahn, Murray & Carvalho (2020), https://doi.org/10.1214/19-BA1195; Yiu, Fong, Holmes & Rousseau (2023),
    https://arxiv.org/abs/2306.06059, for the correction; Rubin (1981), "The Bayesian bootstrap".
    """
    if problem.cluster is not None or problem.weights is not None:
        raise NotApplicable("a Bayesian causal forest takes rows as independent draws of equal weight", code="NEEDS_INDEPENDENT_ROWS")  # fmt: skip
    _check(problem.n, draws, warm)
    how = nuisance.recipe(problem.n, learners=learners, folds=folds, repeats=repeats)
    propensity, shares = nuisance.propensity_alone(problem, how)
    posterior = sample_effects(
        problem.covariates, problem.treatment, problem.outcome, propensity[:, 1],
        binary=problem.outcome_kind == "binary", draws=draws, warm=warm, seed=problem.seed,
    )  # fmt: skip
    whose = {"ATE": np.ones(problem.n, dtype=bool), "ATT": problem.treatment == 1, "ATC": problem.treatment == 0}[
        estimand
    ]
    toward = np.where(problem.treatment == 1, 1.0, -1.0) * balancing_weights(
        problem.treatment, np.clip(propensity, TRIM, 1 - TRIM), estimand
    )
    effects, missed = posterior.effects, _missed(problem.outcome, posterior.fitted)
    average = _population(whose[:, None] * effects + toward[:, None] * missed, whose, seed=problem.seed)
    tail = (1 - problem.confidence_level) / 2
    lower, upper = np.quantile(average, [tail, 1 - tail])
    effective = effective_draws(effects[whose].mean(axis=0))
    told = conclude(
        problem,
        method="bayesian_causal_forest",
        estimand=estimand,
        estimates=[float(average.mean())],
        covariance=None,
        inference=f"posterior: credible interval from {draws} draws, corrected by the Bayesian bootstrap",
        diagnostics={"effective draws": {"value": effective, "threshold": ENOUGH, "passed": effective >= ENOUGH, "detail": f"of the average effect, of {draws}"}},
        details={"posterior": _posterior(average, effects[whose], tail), "learners": {"propensity": shares}, "draws": draws, "warm": warm},
        notes=("intervals are credible ones: probability statements under the prior of the forests",),
        cate=effects.mean(axis=1),
        cate_interval=np.quantile(effects, [tail, 1 - tail], axis=1).T,
    )  # fmt: skip
    row = told.rows[0].model_copy(update={"ci_lower": float(lower), "ci_upper": float(upper)})
    return replace(told, ci_lower=float(lower), ci_upper=float(upper), rows=(row,))


def _check(n: int, draws: int, warm: int) -> None:
    most = int(min(MOST_DRAWS, max(LEAST_DRAWS, MOST_CELLS / n)))
    if not LEAST_DRAWS <= draws <= most:
        raise InputError(f"draws must lie between {LEAST_DRAWS} and {most} for {n} rows, found {draws}", code="OPTION_INVALID", details={"option": "draws"})  # fmt: skip
    if not 1 <= warm <= MOST_DRAWS:
        raise InputError(f"warm must lie between 1 and {MOST_DRAWS}, found {warm}", code="OPTION_INVALID", details={"option": "warm"})  # fmt: skip


def _missed(outcome: Floats, fitted: Floats) -> Floats:
    """Return what each draw (n, S) would miss of a row's outcome had it not seen the row.

    What it misses of the rows that it saw is too little. A row pulls its own posterior mean by the share that its
    posterior variance is of the noise's: exact for a linear smoother, where it is the leverage.
    """
    mean = fitted.mean(axis=1)
    pull = np.minimum(fitted.var(axis=1) / np.mean((outcome[:, None] - fitted) ** 2), MOST_PULL)
    return np.asarray((mean + (outcome - mean) / (1 - pull))[:, None] - fitted)


def _population(scores: Floats, whose: NDArray[np.bool_], *, seed: int) -> Floats:
    """Return the average over those `whose` it is for each draw of the rows' scores (n, S): a Bayesian bootstrap."""
    rng = np.random.default_rng(seed)
    average = np.zeros(scores.shape[1])
    for s in range(scores.shape[1]):
        share = rng.standard_exponential(len(scores))
        average[s] = share @ scores[:, s] / share[whose].sum()
    return average


def _posterior(average: Floats, effects: Floats, tail: float) -> dict[str, Any]:
    uncorrected, spread = effects.mean(axis=0), effects.std(axis=0)
    return {
        "mean": float(average.mean()),
        "standard_deviation": float(average.std(ddof=1)),
        "probability_positive": float((average > 0).mean()),
        "uncorrected": {
            "mean": float(uncorrected.mean()),
            "interval": np.quantile(uncorrected, [tail, 1 - tail]).tolist(),
        },
        "spread_of_effects": {"mean": float(spread.mean()), "interval": np.quantile(spread, [tail, 1 - tail]).tolist()},
    }


def effective_draws(chain: Floats) -> float:
    """Return the number of independent draws that a chain is worth (initial positive sequence).

    References
    ----------
    Geyer (1992), https://doi.org/10.1214/ss/1177011137.
    """
    n = len(chain)
    centred = chain - chain.mean()
    variance = float(centred @ centred) / n
    if not variance > 0:
        return float(n)
    rho = np.array([centred[: n - lag] @ centred[lag:] for lag in range(n)]) / (n * variance)
    pairs = rho[: n - n % 2].reshape(-1, 2).sum(axis=1)
    ends = np.flatnonzero(pairs <= 0)
    time = 2 * float(pairs[: ends[0] if len(ends) else len(pairs)].sum()) - 1
    return float(min(n, n / max(time, 1 / n)))

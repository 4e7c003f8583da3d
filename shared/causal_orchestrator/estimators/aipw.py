"""Augment outcome predictions by weighted residuals: right if either nuisance is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from causal_orchestrator.errors import DesignError, InputError
from causal_orchestrator.numerics.inference import median_over_repeats
from causal_orchestrator.numerics.weighting import balancing_weights
from causal_orchestrator.problem import Estimate, Problem, conclude

Floats = NDArray[np.float64]

MOST = 0.5  # share of propensities that may be moved


def estimate(
    problem: Problem,
    *,
    estimand: Literal["ATE", "ATT", "ATC"] = "ATE",
    learners: Sequence[str] | Literal["parametric"] | None = None,
    folds: int | None = None,
    repeats: int | None = None,
    trim: float = 0.01,
) -> Estimate:
    """Estimate the effect by the doubly robust score with cross-fitted nuisances.

    Assumes no unmeasured confounding and overlap. The standard error is that of the score (influence function);
    repeated cross-fits are joined by their median, and their spread enters the standard error.

    Parameters
    ----------
    learners, folds, repeats : see `numerics.nuisance.recipe`; ``parametric`` takes logit and least squares without
        cross-fitting.
    trim : propensities are moved into [trim, 1 - trim]; the share moved is reported.

    Raises
    ------
    DesignError
        If more than half of the propensities would have to be moved (``POSITIVITY``).

    References
    ----------
    Robins, Rotnitzky & Zhao (1994); Chernozhukov et al. (2018), https://doi.org/10.1111/ectj.12097, with their median
    aggregation (definition 3.3).
    """
    if not 0 <= trim < 0.5:
        raise InputError(f"trim must lie in [0, 0.5), found {trim}", code="OPTION_INVALID", details={"option": "trim"})
    if learners == "parametric":
        found = problem.parametric()
    else:
        found = problem.learned(learners=learners, folds=folds, repeats=repeats)
    moved = float(((found.propensity < trim) | (found.propensity > 1 - trim)).any(axis=2).mean())
    if moved > MOST:
        raise DesignError(f"{moved:.0%} of the estimated propensities lie outside [{trim:g}, {1 - trim:g}]: there is no overlap", code="POSITIVITY")  # fmt: skip
    values, influences, means, by_arm = [], [], [], []
    for propensity, outcomes in zip(found.propensity, found.outcome_by_level, strict=True):
        clipped = np.clip(propensity, max(trim, 1e-12), 1 - trim)
        score = _ate_scores(problem, clipped, outcomes) if estimand == "ATE" else None
        if score is not None:
            means.append(score.mean(axis=0))
            by_arm.append(score - score.mean(axis=0))
            contrast = score[:, 1:] - score[:, [0]]
            values.append(contrast.mean(axis=0))
            influences.append(contrast - values[-1])
        else:
            value, influence = _effect_on(problem, clipped, outcomes, estimand)
            values.append(value)
            influences.append(influence)
    joined = median_over_repeats(np.array(values), np.array(influences), problem.cluster)
    return conclude(
        problem,
        method="aipw",
        estimand=estimand,
        estimates=joined.estimates,
        covariance=joined.covariance,
        inference="influence function" + ("" if problem.cluster is None else ", clustered"),
        diagnostics={"propensities moved": {"value": moved, "detail": f"share outside [{trim:g}, {1 - trim:g}]"}},
        details={
            "learners": dict(found.learners),
            "repeats": len(values),
            "folds": int(found.fold.max()) + 1,
            "weights": balancing_weights(
                problem.treatment, np.clip(found.propensity.mean(axis=0), max(trim, 1e-12), 1 - trim), estimand
            ),
        },
        notes=(f"{moved:.1%} of propensities were moved into [{trim:g}, {1 - trim:g}]",) if moved > 0 else (),
        influence=joined.influence,
        means=np.median(np.array(means), axis=0) if means else None,
        means_influence=np.mean(np.array(by_arm), axis=0) if by_arm else None,
    )


def _ate_scores(problem: Problem, propensity: Floats, outcomes: Floats) -> Floats:
    """Doubly robust scores (n, K) of the mean outcome under each level, times sampling weights."""
    own = problem.treatment[:, None] == np.arange(propensity.shape[1])
    scores = outcomes + own * (problem.outcome[:, None] - outcomes) / propensity
    if problem.weights is None:
        return np.asarray(scores)
    mean = problem.weights @ scores / problem.n
    return np.asarray(mean + problem.weights[:, None] * (scores - mean))


def _effect_on(problem: Problem, propensity: Floats, outcomes: Floats, estimand: str) -> tuple[Floats, Floats]:
    """Return effects (K-1,) on the treated of each level (ATT) or on the controls (ATC), with influence."""
    w = np.ones(problem.n) if problem.weights is None else problem.weights
    levels = propensity.shape[1]
    values, influence = np.zeros(levels - 1), np.zeros((problem.n, levels - 1))
    for k in range(1, levels):
        here, there, sign = (k, 0, 1.0) if estimand == "ATT" else (0, k, -1.0)
        at, away = problem.treatment == here, problem.treatment == there
        odds = propensity[:, here] / propensity[:, there]
        score = sign * (at - away * odds) * (problem.outcome - outcomes[:, there]) * w
        share = (w * at).mean()
        values[k - 1] = score.mean() / share
        influence[:, k - 1] = (score - values[k - 1] * w * at) / share
    return values, influence

"""Combine doubly robust estimates that rest on different learners, with shares fixed beforehand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from causal_orchestrator.numerics.doubly_robust import DoublyRobust, doubly_robust
from causal_orchestrator.numerics.inference import influence_covariance
from causal_orchestrator.numerics.influence import combine, differences
from causal_orchestrator.numerics.nuisance import Nuisances, recipe
from causal_orchestrator.problem import Estimate, Problem, conclude


def estimate(
    problem: Problem,
    *,
    estimand: Literal["ATE", "ATT", "ATC"] = "ATE",
    learners: Sequence[str] | None = None,
    folds: int | None = None,
    repeats: int | None = None,
    trim: float = 0.01,
) -> Estimate:
    """Estimate the effect by the mean of doubly robust estimates, one per learner and one on logit and least squares.

    Assumes no unmeasured confounding and overlap. Every member has the same share, so nothing is chosen by looking at
    the estimates, and the interval is that of the combined influence function. The cross-fits of each learner are
    joined by their median; what they differ by is added to the variance.

    Parameters
    ----------
    learners, folds, repeats : see `numerics.nuisance.recipe`; each learner stands alone.
    trim : propensities are moved into [trim, 1 - trim]; the largest share moved is reported.

    Raises
    ------
    DesignError
        If more than half of the propensities would have to be moved (``POSITIVITY``).

    References
    ----------
    Ahrens, Hansen, Schaffer & Wiemann (2025), https://doi.org/10.1002/jae.3103, on stacking in orthogonal scores;
    Chernozhukov et al. (2018), https://doi.org/10.1111/ectj.12097, on the score.
    """
    members = _members(problem, learners, folds, repeats)
    told = {name: doubly_robust(problem, found, estimand=estimand, trim=trim) for name, found in members.items()}
    shares = np.full(len(told), 1 / len(told))
    values = np.array([t.joined.estimates for t in told.values()])
    influences = np.array([t.joined.influence for t in told.values()])
    estimates, influence = combine(values, influences, shares)
    covariance = influence_covariance(influence, problem.cluster) * _spread(problem, list(told.values()))
    moved = max(t.moved for t in told.values())
    return conclude(
        problem,
        method="short_stack",
        estimand=estimand,
        estimates=estimates,
        covariance=covariance,
        inference="combined influence function" + ("" if problem.cluster is None else ", clustered"),
        diagnostics={
            "members agree": _agreement(problem, values[:, 0], influences[:, :, 0]),
            "propensities moved": {"value": moved, "detail": f"largest share outside [{trim:g}, {1 - trim:g}]"},
        },
        details={
            "members": {name: float(t.joined.estimates[0]) for name, t in told.items()},
            "shares": dict(zip(told, shares.tolist(), strict=True)),
            "weights": np.mean([t.weights for t in told.values()], axis=0),
        },
        notes=(f"up to {moved:.1%} of propensities were moved into [{trim:g}, {1 - trim:g}]",) if moved > 0 else (),
        influence=influence,
        **_means(list(told.values()), shares),
    )


def _members(
    problem: Problem, learners: Sequence[str] | None, folds: int | None, repeats: int | None
) -> dict[str, Nuisances]:
    """Return the nuisances of each member: every learner alone, cross-fitted, and the parametric ones."""
    names = recipe(problem.n, learners=learners).learners
    alone = {name: problem.learned(learners=(name,), folds=folds, repeats=repeats) for name in names}
    return {**alone, "parametric": problem.parametric()}


def _spread(problem: Problem, members: Sequence[DoublyRobust]) -> float:
    """Return by how much repeated cross-fitting raises a member's variance, for the member where it does most."""
    ratios = [
        float(np.max(np.diag(m.joined.covariance) / np.diag(influence_covariance(m.joined.influence, problem.cluster))))
        for m in members
    ]
    return max(1.0, *ratios)


def _agreement(problem: Problem, values: Any, influences: Any) -> dict[str, Any]:
    """Test that all members estimate the same number (the first contrast)."""
    apart = differences(
        values, influences.T, problem.cluster, confidence_level=problem.confidence_level, seed=problem.seed
    )
    largest = float(np.ptp(values))
    return {"value": largest, "p_value": apart.joint_p, "df": apart.df, "detail": "largest gap between members; joint test that there is none"}  # fmt: skip


def _means(members: Sequence[DoublyRobust], shares: Any) -> dict[str, Any]:
    means = [m.means for m in members if m.means is not None]
    influences = [m.means_influence for m in members if m.means_influence is not None]
    if len(means) < len(members):
        return {}
    joined, influence = combine(np.array(means), np.array(influences), shares)
    return {"means": joined, "means_influence": influence}

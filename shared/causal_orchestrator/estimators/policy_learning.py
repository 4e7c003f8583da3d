"""Whom to treat: a shallow tree on doubly robust scores, valued on rows that it did not see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from causal_orchestrator.numerics.doubly_robust import limited
from causal_orchestrator.numerics.inference import critical_value, influence_covariance, simultaneous_critical_value
from causal_orchestrator.numerics.learned_policy import costs, deciding, learned, scores
from causal_orchestrator.numerics.policy_tree import Learned
from causal_orchestrator.problem import Estimate, Problem, conclude
from causal_orchestrator.results import EffectRow, finite

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]

GAIN, LEARNED, BEST_CONSTANT, OBSERVED = "gain over the best constant policy", "learned", "best constant", "as observed"


def estimate(
    problem: Problem,
    *,
    depth: Literal[1, 2] = 2,
    budget: float | None = None,
    learners: Sequence[str] | Literal["parametric"] | None = None,
    folds: int | None = None,
    repeats: int | None = None,
    trim: float = 0.01,
) -> Estimate:
    """Learn a policy of the covariates (the effect modifiers, where the question names any) and estimate its gain.

    Assumes no unmeasured confounding and overlap. The tree maximises the sum of doubly robust scores, less costs where
    the question names a cost in the outcome's unit. Its value is honest: five trees, each learned without a fifth of
    the rows, decide about that fifth, and so does the best constant policy beside them.

    Parameters
    ----------
    depth : splits on the way to a leaf; the search over all trees is exact on up to 32 thresholds per covariate.
    budget : largest mean cost per row; without a cost column the largest share of rows that may be treated.
    learners, folds, repeats : see `numerics.nuisance.recipe`; ``parametric`` takes logit and least squares without
        cross-fitting.
    trim : propensities are moved into [trim, 1 - trim].

    Returns
    -------
    Estimate
        The gain of the learned over the best constant policy (``POLICY_GAIN``), net of costs; then one row per policy
        with its value. ``details`` holds the tree from all rows, whom it treats, and what it costs. The gain is that of
        the folds' trees, each valued on the fold that it did not see; its standard error is a bound from above where
        these trees differ. Where none departs from the best constant there is no gain to estimate, and no standard error.

    Raises
    ------
    InputError
        If the budget is negative (``OPTION_INVALID``) or a cost is unusable (``COST_INVALID``).
    DesignError
        If more than half of the propensities would have to be moved (``POSITIVITY``).

    References
    ----------
    Athey & Wager (2021), https://doi.org/10.3982/ECTA15732; Zhou, Athey & Wager (2023),
    https://doi.org/10.1287/opre.2022.2271.
    """
    found = problem.parametric() if learners == "parametric" else problem.learned(learners=learners, folds=folds, repeats=repeats)  # fmt: skip
    policy = learned(problem, found, depth=depth, budget=budget, trim=trim)
    charged = costs(problem)
    worth = scores(problem, found, trim=trim)
    net = worth if charged is None else worth - charged
    names, rewards = _policies(problem, policy, net, charged)
    s = np.ones(problem.n) if problem.weights is None else problem.weights
    values = s @ rewards / s.sum()
    influence = s[:, None] * (rewards - values)
    gain, moved = float(values[0] - values[1]), influence[:, :1] - influence[:, 1:2]
    features = problem.covariates[:, deciding(problem)]
    by_fold = np.stack([tree.assign(features) for tree in policy.trees])
    together = _together(by_fold, s[:, None] * (rewards[:, :1] - rewards[:, 1:2]), problem.cluster)
    departs = bool((policy.assigned != policy.constant).any())
    told = conclude(
        problem,
        method="policy_learning",
        estimand="POLICY_GAIN",
        estimates=[gain],
        covariance=influence_covariance(moved, problem.cluster) + together if departs else None,
        inference=_inference(problem, departs=departs),
        diagnostics={
            "stability": {"value": float((by_fold == policy.tree.assign(features)).mean()), "detail": "mean share of rows about whom the tree and those of the folds agree"},
            "propensities moved": {"value": limited(found, trim)[0], "detail": f"share outside [{trim:g}, {1 - trim:g}]"},
        },
        details={**_details(problem, policy, charged, s), "budget": budget, "depth": depth, "learners": dict(found.learners)},
        notes=() if departs else ("no tree departs from treating everyone alike",),
        influence=None,
    )  # fmt: skip
    own = told.rows[0].model_copy(update={"term": GAIN, "level": None, "reference": None})
    covariance = influence_covariance(influence, problem.cluster)
    covariance[0, 0] += together[0, 0]
    return replace(told, rows=(own, *_rows(problem, names, values, covariance)))


def _policies(
    problem: Problem, policy: Learned, net: Floats, charged: Floats | None
) -> tuple[list[str], NDArray[np.float64]]:
    """Return the policies' names and what each row earns under each (n, policies), costs taken off."""
    at, levels = np.arange(problem.n), problem.treatment_levels
    given = problem.treatment.astype(np.int64)
    observed = problem.outcome if charged is None else problem.outcome - charged[at, given]
    binary = len(levels) == 2
    everyone = ["treat_none", "treat_all"] if binary else [f"everyone {level}" for level in levels]
    order = (*range(1, len(levels)), 0)
    columns = [net[at, policy.assigned], net[at, policy.constant], *(net[:, k] for k in order), observed]
    return [LEARNED, BEST_CONSTANT, *(everyone[k] for k in order), OBSERVED], np.column_stack(columns)


def _together(by_fold: Codes, differences: Floats, cluster: Codes | None) -> Floats:
    """Return what the errors of the folds may add to the variance (1, 1) by going together, at the most.

    Chance in one fold moves the trees of the others. Where all trees agree it can't; over the rows where they don't, the
    variance of the folds' sum is at most their number times the sum of their variances (Cauchy and Schwarz).

    Parameters
    ----------
    by_fold : shape (K, n)
        What the tree of each fold does with each row.
    differences : shape (n, 1)
        What a row earns under the policy beyond the constant one, times its weight.
    """
    contested = (by_fold != by_fold[0]).any(axis=0)
    return (len(by_fold) - 1) * influence_covariance(contested[:, None] * differences, cluster)


def _inference(problem: Problem, *, departs: bool) -> str:
    if not departs:
        return "none: the learned policy is the best constant one in every fold"
    clustered = "" if problem.cluster is None else ", clustered"
    return f"influence function of doubly robust scores, policies learned on other rows, a bound from above where these differ{clustered}"


def _details(problem: Problem, policy: Learned, charged: Floats | None, s: Floats) -> dict[str, Any]:
    chosen = deciding(problem)
    names = [problem.covariate_names[j] for j in chosen]
    levels = problem.treatment_levels
    counts = np.bincount(policy.assigned, s, len(levels)) / s.sum()
    told: dict[str, Any] = {
        "tree": policy.tree.told(problem.covariates[:, chosen], names, levels),
        "share": dict(zip(levels, counts.tolist(), strict=True)),
        "assigned": np.array(levels, dtype=object)[policy.assigned],
    }
    if charged is not None:
        told["spent"] = float(np.average(charged[np.arange(problem.n), policy.assigned], weights=s))
    return told


def _rows(problem: Problem, names: Sequence[str], values: Floats, covariance: Floats) -> tuple[EffectRow, ...]:
    """Return each policy's value, with intervals that hold together."""
    level, errors = problem.confidence_level, np.sqrt(np.diag(covariance))
    critical = max(critical_value(level), simultaneous_critical_value(covariance, level, seed=problem.seed))
    return tuple(
        EffectRow(term=name, estimate=float(v), std_error=finite(e), ci_lower=finite(v - critical * e), ci_upper=finite(v + critical * e), n=problem.n)
        for name, v, e in zip(names, values, errors, strict=True)
    )  # fmt: skip

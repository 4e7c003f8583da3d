"""Effects by row from an honest forest, averaged by the doubly robust score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from causal_orchestrator.numerics.doubly_robust import doubly_robust
from causal_orchestrator.numerics.folds import folds as make_folds
from causal_orchestrator.numerics.forests import grow
from causal_orchestrator.numerics.heterogeneity import describe
from causal_orchestrator.numerics.learned_effects import doubly_robust_scores
from causal_orchestrator.problem import Estimate, Problem, conclude

FORESTS = 5


def estimate(
    problem: Problem,
    *,
    estimand: Literal["ATE", "ATT", "ATC"] = "ATE",
    trees: int = 200,
    learners: Sequence[str] | None = None,
    folds: int | None = None,
    repeats: int | None = None,
    trim: float = 0.01,
) -> Estimate:
    """Estimate each row's effect by an honest causal forest, and their average by the doubly robust score.

    Assumes no unmeasured confounding and overlap. Outcome and treatment are residualised by the shared learners; five
    forests, each without a fifth of the rows, give the effects of that fifth. The average is that of the doubly robust
    score whose outcome predictions hold the forest's effects, not the mean of the forest.

    Parameters
    ----------
    trees : per forest, a multiple of four.
    learners, folds, repeats : of the shared nuisances, see `numerics.nuisance.recipe`.
    trim : propensities are moved into [trim, 1 - trim]; the share moved is reported.

    Returns
    -------
    Estimate
        ``cate`` has each row's effect and ``cate_std_error`` its pointwise standard error (bootstrap of little bags,
        rows taken as independent); ``details["heterogeneity"]`` says what doubly robust scores make of them.

    Raises
    ------
    NotApplicable
        If econml is not installed (``EXTRA_MISSING``).
    DesignError
        If more than half of the propensities would have to be moved (``POSITIVITY``).

    References
    ----------
    Athey, Tibshirani & Wager (2019), https://doi.org/10.1214/18-AOS1709; Athey & Wager (2019),
    https://doi.org/10.1353/obs.2019.0001, for the average.
    """
    found = problem.learned(learners=learners, folds=folds, repeats=repeats)
    apart = make_folds(problem.treatment, FORESTS, seed=problem.seed, cluster=problem.cluster)
    grown = grow(
        problem.covariates, problem.treatment - found.e, problem.outcome - found.m, problem.weights, apart,
        trees=trees, seed=problem.seed,
    )  # fmt: skip
    e = found.propensity[:, :, 1]
    by_level = np.stack([found.outcome - e * grown.effect, found.outcome + (1 - e) * grown.effect], axis=2)
    with_forest = replace(found, outcome_by_level=by_level)
    told = doubly_robust(problem, with_forest, estimand=estimand, trim=trim)
    scores = doubly_robust_scores(problem, with_forest)
    return conclude(
        problem,
        method="causal_forest",
        estimand=estimand,
        estimates=told.joined.estimates,
        covariance=told.joined.covariance,
        inference="influence function of the doubly robust score" + ("" if problem.cluster is None else ", clustered"),
        diagnostics={"propensities moved": {"value": told.moved, "detail": f"share outside [{trim:g}, {1 - trim:g}]"}},
        details={
            "cate_mean": float(np.average(grown.effect, weights=problem.weights)),
            "heterogeneity": describe(grown.effect, scores, weights=problem.weights, cluster=problem.cluster, confidence_level=problem.confidence_level, seed=problem.seed),
            "importance": dict(zip(problem.covariate_names, grown.importance.tolist(), strict=True)),
            "trees": trees * FORESTS,
            "learners": dict(found.learners),
            "weights": told.weights,
        },
        notes=("the interval is that of the average; those of single rows hold pointwise",),
        influence=told.joined.influence,
        cate=grown.effect,
        cate_std_error=grown.std_error,
    )  # fmt: skip

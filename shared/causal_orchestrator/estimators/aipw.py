"""Augment outcome predictions by weighted residuals: right if either nuisance is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from causal_orchestrator.numerics.doubly_robust import described, doubly_robust
from causal_orchestrator.problem import Estimate, Problem, conclude


def estimate(
    problem: Problem,
    *,
    estimand: Literal["ATE", "ATT", "ATC", "SATE", "SATT"] = "ATE",
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
    estimand : SATE and SATT are the sample's effects: same estimate, variance given its covariates and treatments.
    learners, folds, repeats : see `numerics.nuisance.recipe`; ``parametric`` takes logit and least squares without
        cross-fitting.
    trim : propensities are moved into [trim, 1 - trim]; the share moved is reported.

    Raises
    ------
    DesignError
        If more than half of the propensities would have to be moved (``POSITIVITY``).
    NotApplicable
        If a sample's effect is asked for with sampling weights (``SAMPLE_WEIGHTED``).

    References
    ----------
    Robins, Rotnitzky & Zhao (1994); Chernozhukov et al. (2018), https://doi.org/10.1111/ectj.12097, with their median
    aggregation (definition 3.3).
    """
    if learners == "parametric":
        found = problem.parametric()
    else:
        found = problem.learned(learners=learners, folds=folds, repeats=repeats)
    told = doubly_robust(problem, found, estimand=estimand, trim=trim)
    return conclude(
        problem,
        method="aipw",
        estimand=estimand,
        estimates=told.joined.estimates,
        covariance=told.joined.covariance,
        inference=described(estimand, problem.cluster),
        diagnostics={"propensities moved": {"value": told.moved, "detail": f"share outside [{trim:g}, {1 - trim:g}]"}},
        details={
            "learners": dict(found.learners),
            "repeats": len(found.propensity),
            "folds": int(found.fold.max()) + 1,
            "weights": told.weights,
        },
        notes=(f"{told.moved:.1%} of propensities were moved into [{trim:g}, {1 - trim:g}]",) if told.moved > 0 else (),
        influence=told.joined.influence,
        means=told.means,
        means_influence=told.means_influence,
    )

"""Fluctuate outcome predictions until they solve the efficient score's equation; then average them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from causal_orchestrator.numerics.doubly_robust import described, doubly_robust, targeted
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
    """Estimate the effect by targeted maximum likelihood on the shared nuisances.

    Assumes no unmeasured confounding and overlap. Predictions stay within the outcome's range. The standard error is
    that of the efficient influence function; repeated cross-fits are joined by their median.

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
    EstimationError
        If an arm's outcomes all lie on one bound (``NO_VARIATION``).

    References
    ----------
    van der Laan & Rubin (2006), https://doi.org/10.2202/1557-4679.1043; Gruber & van der Laan (2010),
    https://doi.org/10.2202/1557-4679.1260; Zheng & van der Laan (2011) on cross-validated targeting.
    """
    if learners == "parametric":
        found = problem.parametric()
    else:
        found = problem.learned(learners=learners, folds=folds, repeats=repeats)
    fluctuated = targeted(problem, found, estimand=estimand, trim=trim)
    told = doubly_robust(problem, fluctuated, estimand=estimand, trim=trim)
    return conclude(
        problem,
        method="tmle",
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

"""Regress the outcome on covariates and treatment at once; move the treatment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from causal_orchestrator.numerics.learned_effects import effects
from causal_orchestrator.problem import Estimate, Problem, conclude


def estimate(
    problem: Problem,
    *,
    learners: Sequence[str] | Literal["parametric"] | None = None,
    folds: int | None = None,
    repeats: int | None = None,
    score: Literal["mean", "dr"] = "mean",
) -> Estimate:
    """Estimate each row's effect by one outcome regression that sees the treatment among the covariates, and its mean.

    Assumes no unmeasured confounding and overlap. ``cate`` is cross-fitted; ``details["heterogeneity"]`` says what
    doubly robust scores make of it.

    Parameters
    ----------
    learners, folds, repeats : see `numerics.nuisance.recipe`; ``parametric`` takes logit and least squares without
        cross-fitting.
    score : ``mean`` returns the mean of the effect function, which has no interval; ``dr`` the doubly robust effect
        with its interval (the estimate of `aipw`), labelled so.

    References
    ----------
    Künzel, Sekhon, Bickel & Yu (2019), https://doi.org/10.1073/pnas.1804597116, equation 4.
    """
    found = effects(problem, "s_learner", learners=learners, folds=folds, repeats=repeats, score=score)
    return conclude(problem, method="s_learner", estimand="ATE", **found)

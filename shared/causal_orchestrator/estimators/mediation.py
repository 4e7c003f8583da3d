"""Causal mediation: how much of an effect goes through a mediator."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from causal_orchestrator.errors import DesignError, InputError, NotApplicable
from causal_orchestrator.numerics import mediation
from causal_orchestrator.problem import Estimate, Problem, conclude

Floats = NDArray[np.float64]

LEAST_DRAWS, MOST_DRAWS = 100, 100_000
CORRELATIONS = np.round(np.arange(-9, 10) / 10, 1)


def estimate(problem: Problem, *, draws: int = 1000, models: Literal["additive", "interaction"] = "additive") -> Estimate:  # fmt: skip
    """Split the effect of a binary treatment into what goes through a mediator and what does not.

    Assumes sequential ignorability: given the covariates nobody unmeasured moves treatment and outcome or mediator, and
    given treatment and covariates nothing unmeasured moves mediator and outcome. Models are linear, or probit where
    mediator or outcome is 0/1. Rows without the mediator are left out.

    Parameters
    ----------
    draws : number of coefficients drawn from their sampling distribution (quasi-Bayesian).
    models : whether the mediator's effect may differ between the arms (``interaction``).

    Returns
    -------
    Estimate
        The total effect (``ATE``) in units of the outcome. Rows: total, average causal mediation effect (ACME) and
        direct effect (ADE) under control, treatment and their mean, and the proportion mediated. ``details`` hold the
        ACME under correlated errors (linear models) and the correlation at which it would be zero.

    Raises
    ------
    NotApplicable
        Without a mediator, or with several (``NEEDS_MEDIATORS``, ``ONE_MEDIATOR``).
    DesignError
        If the mediator has one value (``MEDIATOR_CONSTANT``).
    InputError
        If the mediator is text, or `draws` is out of its range.
    EstimationError
        If a probit does not settle (``NOT_CONVERGED``).

    References
    ----------
    Imai, Keele & Tingley (2010), https://doi.org/10.1037/a0020761; Imai, Keele & Yamamoto (2010),
    https://doi.org/10.1214/10-STS321.
    """
    if not LEAST_DRAWS <= draws <= MOST_DRAWS:
        raise InputError(f"draws must lie between {LEAST_DRAWS} and {MOST_DRAWS}", code="OPTION_INVALID", details={"option": "draws"})  # fmt: skip
    whole, m = _with_mediator(problem)
    weights = np.ones(whole.n) if whole.weights is None else whole.weights
    t, x, one = whole.treatment, _standardised(whole.covariates), np.ones(whole.n)
    crossed = t * m if models == "interaction" else np.zeros(whole.n)
    first, second = np.column_stack([one, t, x]), np.column_stack([one, t, m, crossed, x])
    binary = bool(np.isin(m, (0, 1)).all())
    mediator = (mediation.fit_probit if binary else mediation.fit_linear)(first, m, weights, whole.cluster)
    probit = whole.outcome_kind == "binary"
    outcome = (mediation.fit_probit if probit else mediation.fit_linear)(second, whole.outcome, weights, whole.cluster)

    def effects(gamma: Floats, theta: Floats) -> Floats:
        return _effects(mediation.crossed_means(mediator, outcome, x, weights, gamma=gamma, theta=theta))

    point = effects(mediator.coefficients, outcome.coefficients)
    rng = np.random.default_rng(problem.seed)
    drawn = zip(*(_draw(rng, model, draws) for model in (mediator, outcome)), strict=True)
    spread = np.array([effects(gamma, theta) for gamma, theta in drawn])
    told = conclude(
        whole,
        method="mediation",
        estimand="ATE",
        estimates=[point[0]],
        covariance=np.array([[spread[:, 0].var(ddof=1)]]),
        inference=f"quasi-Bayesian, {draws:,} draws, percentiles",
        details=_details(whole, m, weights, mediator, outcome, linear=not binary and not probit, models=models),
        notes=("the parts rest on no unmeasured cause of mediator and outcome, which randomising the treatment does not give",),
    )  # fmt: skip
    rows = tuple(
        told.rows[0].model_copy(update=_numbers(term, value, values, problem.confidence_level))
        for term, value, values in zip(TERMS, point, spread.T, strict=True)
    )
    return replace(told, rows=rows, ci_lower=rows[0].ci_lower, ci_upper=rows[0].ci_upper, p_value=rows[0].p_value)


TERMS = (
    "total", "ACME (control)", "ACME (treated)", "ACME", "ADE (control)", "ADE (treated)", "ADE", "proportion mediated",
)  # fmt: skip


def _with_mediator(problem: Problem) -> tuple[Problem, Floats]:
    mediators, names = problem.roles.get("mediators"), problem.question.mediators
    if mediators is None:
        raise NotApplicable("the method needs a mediator", code="NEEDS_MEDIATORS")
    if mediators.shape[1] != 1:
        raise NotApplicable(f"the method takes one mediator, not {mediators.shape[1]}", code="ONE_MEDIATOR")
    if mediators.dtype == object:
        raise InputError(f"mediator {names[0]!r} must be a number", code="NOT_NUMERIC", details={"column": names[0]})
    present = np.isfinite(mediators[:, 0])
    whole = problem if present.all() else problem.take(present)
    m = whole.roles["mediators"][:, 0]
    if not np.ptp(m) > 0:
        raise DesignError(f"mediator {names[0]!r} has a single value; nothing goes through it", code="MEDIATOR_CONSTANT", details={"column": names[0]})  # fmt: skip
    return whole, m


def _standardised(covariates: Floats) -> Floats:
    """Centre and scale, so that draws do not depend on the covariates' units."""
    spread = covariates.std(axis=0)
    return np.asarray((covariates - covariates.mean(axis=0)) / np.where(spread > 0, spread, 1.0))


def _draw(rng: np.random.Generator, model: mediation.Model, draws: int) -> Floats:
    values, vectors = np.linalg.eigh(model.covariance)
    root = (vectors * np.sqrt(np.clip(values, 0.0, None))) @ vectors.T
    return np.asarray(model.coefficients + rng.standard_normal((draws, len(values))) @ root)


def _effects(means: Floats) -> Floats:
    """Return the effects in the order of `TERMS` from the crossed means."""
    total = means[1, 1] - means[0, 0]
    mediated, direct = means[:, 1] - means[:, 0], means[1] - means[0]
    return np.array([total, *mediated, mediated.mean(), *direct, direct.mean(), mediated.mean() / total])


def _numbers(term: str, value: float, values: Floats, level: float) -> dict[str, Any]:
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    chance = 2 * min(float((values > 0).mean()), float((values < 0).mean()))
    error = None if term == "proportion mediated" else float(values.std(ddof=1))  # a ratio has no variance to speak of
    return {"term": term, "estimate": float(value), "std_error": error, "ci_lower": float(low), "ci_upper": float(high), "p_value": max(chance, 1 / len(values))}  # fmt: skip


def _details(
    problem: Problem, m: Floats, weights: Floats, mediator: mediation.Model, outcome: mediation.Model, *, linear: bool, models: str
) -> dict[str, Any]:  # fmt: skip
    forms = {"mediator": "linear" if mediator.sd else "probit", "outcome": "linear" if outcome.sd else "probit"}
    told: dict[str, Any] = {"models": {**forms, "interaction": models == "interaction"}}
    if models == "interaction" or mediator.sd is None:
        return told
    if not linear:
        pull = outcome.coefficients[2] * mediator.sd
        return {**told, "sensitivity": {"rho_at_zero": float(pull / np.sqrt(1 + pull**2))}}
    design = np.column_stack([np.ones(problem.n), problem.covariates])
    found = mediation.sensitivity(design, problem.treatment, m, problem.outcome, weights, rho=CORRELATIONS)
    return {**told, "sensitivity": {"rho_at_zero": found.zero, "rho": found.rho.tolist(), "acme": found.acme.tolist()}}

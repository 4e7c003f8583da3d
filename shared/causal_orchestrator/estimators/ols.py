"""Regress the outcome on treatment and covariates."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from causal_orchestrator.errors import EstimationError, InputError, NotApplicable
from causal_orchestrator.estimators import per_unit
from causal_orchestrator.numerics.balance import regression_weights
from causal_orchestrator.numerics.glm import Family, fit_glm, mean_of, slope_of, standardised_means
from causal_orchestrator.numerics.inference import influence_covariance
from causal_orchestrator.numerics.linear import CR2, LeastSquares, errors_of, few_degrees, least_squares
from causal_orchestrator.numerics.mestimation import glm_influence
from causal_orchestrator.numerics.nuisance import with_intercept
from causal_orchestrator.problem import Estimate, Problem, conclude

Floats = NDArray[np.float64]
StandardError = Literal["hc0", "hc1", "hc2", "hc3", "classical", "cluster", "cr2"]

SMALL = 250  # rows below which HC3 is the default


def estimate(
    problem: Problem,
    *,
    adjustment: Literal["additive", "lin"] | None = None,
    family: Family = "gaussian",
    se: StandardError | None = None,
    estimand: Literal["ATE", "SATE"] | None = None,
    linear: bool = False,
) -> Estimate:
    """Estimate the effect of the treatment by regression.

    Parameters
    ----------
    adjustment : ``additive``: one coefficient per level; the ATE under randomisation, else a variance-weighted effect
        (labelled PLR); ``lin``: covariates centred and fully interacted with the treatment, the ATE. The default is
        additive unless an estimand is asked for that only ``lin`` has.
    family : ``gaussian``, or ``logit`` and ``poisson`` with the average marginal effect (difference in means).
    se : ``hc1`` (default from 250 rows), ``hc3`` (default below), ``hc0``, ``hc2``, ``classical``, ``cluster`` (CR1,
        default with clusters) or ``cr2`` (bias-reduced, with Satterthwaite's degrees of freedom, for few clusters).
        Logit and Poisson always take the stacked sandwich, clustered where clusters are given.
    linear : a treatment with few numeric levels enters as a number, with one coefficient per unit; else each level
        has its own against the reference.
    estimand : ``SATE`` leaves out the variance of the covariates' means (Lin's design-based error, ``lin`` only).

    Returns
    -------
    Estimate
        In units of the outcome; per unit of a continuous treatment.

    References
    ----------
    Lin (2013), https://doi.org/10.1214/12-AOAS583; Negi & Wooldridge (2021),
    https://doi.org/10.1080/07474938.2020.1824732; Angrist (1998) on the variance weights; Pustejovsky & Tipton (2018),
    https://doi.org/10.1080/07350015.2016.1247004, on CR2.
    """
    problem = per_unit(problem) if linear else problem
    if adjustment is None:
        adjustment = (
            "lin" if estimand == "SATE" or (estimand == "ATE" and _label(problem, "additive") == "PLR") else "additive"
        )
    if adjustment == "lin" and problem.treatment_kind == "continuous":
        raise NotApplicable("adjustment='lin' needs a treatment with levels", code="NEEDS_LEVELS")
    if estimand == "SATE" and adjustment != "lin":
        raise InputError(
            "estimand='SATE' needs adjustment='lin'", code="OPTION_INVALID", details={"option": "estimand"}
        )
    kind = se or ("cluster" if problem.cluster is not None else "hc3" if problem.n < SMALL else "hc1")
    if kind in ("cluster", "cr2") and problem.cluster is None:
        raise InputError(f"se={kind!r} needs a cluster column", code="OPTION_INVALID", details={"option": "se"})
    label = "SATE" if estimand == "SATE" else _label(problem, adjustment)
    if family != "gaussian":
        return _marginal(problem, adjustment, family, label)
    arms = _treatment_columns(problem)
    x = with_intercept(problem.covariates)
    design = np.column_stack([x, arms])
    if adjustment == "lin":
        design = _interacted(problem, design, arms)
    fit = least_squares(design, problem.outcome, problem.weights)
    places = np.arange(x.shape[1], x.shape[1] + arms.shape[1])
    if not np.isin(places, fit.kept).all():
        raise EstimationError("the covariates determine the treatment exactly; its coefficient is not identified", code="COLLINEAR")  # fmt: skip
    errors = errors_of(fit, kind, places, problem.cluster)
    joint = errors.covariance
    influence = _influence(problem, fit, places)
    if adjustment == "lin" and label != "SATE":
        varying = _heterogeneity(problem, fit, arms.shape[1])
        joint, influence = joint + influence_covariance(varying, problem.cluster), influence + varying
    return conclude(
        problem,
        method="ols",
        estimand=label,
        estimates=fit.coefficients[places],
        covariance=joint,
        df=errors.df.tolist(),
        inference={"cluster": "CR1 clustered, t", "cr2": CR2, "classical": "classical, t"}.get(
            kind, f"{kind.upper()}, t"
        ),
        details={
            "coefficients": _named(problem, fit),
            "r_squared": _r_squared(problem, fit),
            "weights": _weights(problem, x, arms, adjustment),
        },
        influence=influence,
        notes=(*_notes(problem, fit, label), *few_degrees(errors.df if kind == "cr2" else None)),
    )


def _label(problem: Problem, adjustment: str) -> str:
    plain = problem.question.randomized or not problem.covariates.shape[1] or adjustment == "lin"
    return "ATE" if plain and problem.treatment_kind != "continuous" else "PLR"


def _treatment_columns(problem: Problem) -> Floats:
    if problem.treatment_kind == "continuous":
        return problem.treatment[:, None]
    levels = np.arange(1, len(problem.treatment_levels))
    return np.asarray(problem.treatment[:, None] == levels, dtype=np.float64)


def _centred(problem: Problem) -> Floats:
    weights = np.ones(problem.n) if problem.weights is None else problem.weights
    return np.asarray(problem.covariates - weights @ problem.covariates / weights.sum())


def _interacted(problem: Problem, design: Floats, arms: Floats) -> Floats:
    centred = _centred(problem)
    return np.column_stack([design, *(arm[:, None] * centred for arm in arms.T)])


def _heterogeneity(problem: Problem, fit: LeastSquares, contrasts: int) -> Floats:
    """How each row's own covariates move the average effect: w (x - x̄)'δ, (n, contrasts)."""
    p = problem.covariates.shape[1]
    slopes = fit.coefficients[1 + p + contrasts :].reshape(contrasts, p)
    moved = _centred(problem) @ slopes.T
    return np.asarray(moved if problem.weights is None else moved * problem.weights[:, None])


def _weights(problem: Problem, x: Floats, arms: Floats, adjustment: str) -> Floats:
    """Return the weights (n,) with which the regression compares the arms of the first contrast."""
    w = np.ones(problem.n) if problem.weights is None else problem.weights
    if adjustment == "lin":
        rows = np.stack([problem.treatment == k for k in range(arms.shape[1] + 1)])
        return regression_weights(x, rows, w @ x / w.sum(), w)
    left = least_squares(np.column_stack([x, arms[:, 1:]]), arms[:, 0], problem.weights).residuals
    return np.asarray(np.where(problem.treatment > 0, 1.0, -1.0) * left * w)


def _influence(problem: Problem, fit: LeastSquares, places: NDArray[np.int64]) -> Floats:
    weights = np.ones(problem.n) if problem.weights is None else problem.weights
    inside = np.searchsorted(fit.kept, places)
    scores = fit.design[:, fit.kept] * (weights * fit.residuals)[:, None]
    return np.asarray(problem.n * scores @ fit.bread[:, inside])


def _named(problem: Problem, fit: LeastSquares) -> dict[str, float]:
    levels = problem.treatment_levels[1:] or ("treatment",)
    names = ("intercept", *problem.covariate_names, *(f"treatment: {level}" for level in levels))
    return {name: float(value) for name, value in zip(names, fit.coefficients, strict=False)}


def _r_squared(problem: Problem, fit: LeastSquares) -> float:
    weights = np.ones(problem.n) if problem.weights is None else problem.weights
    spread = problem.outcome - np.average(problem.outcome, weights=weights)
    return float(1 - weights @ fit.residuals**2 / (weights @ spread**2))


def _notes(problem: Problem, fit: LeastSquares, label: str) -> tuple[str, ...]:
    notes = []
    if label == "PLR":
        notes.append("a variance-weighted effect: the ATE only if the effect does not vary with the covariates")
    if problem.treatment_kind == "multivalued" and all(
        level.lstrip("-").isdigit() for level in problem.treatment_levels
    ):
        notes.append(
            "each level of the treatment is compared with the reference; linear=True gives one effect per unit"
        )
    dropped = fit.design.shape[1] - len(fit.kept)
    if dropped:
        notes.append(f"{dropped} regressors repeat others and were left out")
    return tuple(notes)


def _marginal(problem: Problem, adjustment: str, family: Family, label: str) -> Estimate:
    if problem.treatment_kind == "continuous":
        raise NotApplicable(f"family={family!r} needs a treatment with levels", code="NEEDS_LEVELS")
    if family == "logit" and problem.outcome_kind != "binary":
        raise NotApplicable("family='logit' needs a binary outcome", code="OUTCOME_KIND")
    if family == "poisson" and problem.outcome.min() < 0:
        raise NotApplicable("family='poisson' needs an outcome of at least zero", code="OUTCOME_KIND")
    x = with_intercept(problem.covariates)
    levels = len(problem.treatment_levels)
    arms = _treatment_columns(problem)
    weights = np.ones(problem.n) if problem.weights is None else problem.weights
    if adjustment == "lin":
        designs = np.stack([x] * levels)
        rows = problem.treatment[None, :] == np.arange(levels)[:, None]
        found = standardised_means(family, designs, problem.outcome, rows, weights=weights, target=weights)
        means, influence = found.means, found.influence
    else:
        means, influence = _common_model(problem, family, x, arms, weights)
    contrast = influence[:, 1:] - influence[:, [0]]
    return conclude(
        problem,
        method="ols",
        estimand=label,
        estimates=means[1:] - means[0],
        covariance=influence_covariance(contrast, problem.cluster, of_scores=False),
        inference="stacked estimating equations" + ("" if problem.cluster is None else ", clustered"),
        details={"family": family},
        influence=contrast,
        means=means,
        means_influence=influence,
    )


def _common_model(problem: Problem, family: Family, x: Floats, arms: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Return means under each level, and their influence, of one model with the treatment as regressors."""
    levels = arms.shape[1] + 1
    own = np.column_stack([x, arms])
    coefficients = fit_glm(family, own, problem.outcome, weights)
    fitted = mean_of(family, own @ coefficients)
    first = glm_influence(own, problem.outcome - fitted, slope_of(family, fitted), weights)
    means, influence = np.zeros(levels), np.zeros((problem.n, levels))
    for k in range(levels):
        as_if = np.column_stack([x, np.tile(np.arange(1, levels) == k, (problem.n, 1)).astype(np.float64)])
        predicted = mean_of(family, as_if @ coefficients)
        means[k] = weights @ predicted / weights.sum()
        gradient = (weights * slope_of(family, predicted)) @ as_if / weights.sum()
        influence[:, k] = weights * (predicted - means[k]) + first @ gradient
    return means, influence

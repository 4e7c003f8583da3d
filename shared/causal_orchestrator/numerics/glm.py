"""Generalised linear models with canonical link, and means under each level of the treatment (g-computation)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import special

from causal_orchestrator.errors import EstimationError
from causal_orchestrator.numerics.linear import independent_columns, least_squares
from causal_orchestrator.numerics.logit import fit_logit
from causal_orchestrator.numerics.mestimation import glm_influence

Floats = NDArray[np.float64]
Family = Literal["gaussian", "logit", "poisson"]

MAX_STEPS = 100


@dataclass(frozen=True)
class Standardised:
    """Mean outcome per arm over the target population: `means` (K,) and their `influence` (n, K)."""

    means: Floats
    influence: Floats


def mean_of(family: Family, predictor: Floats) -> Floats:
    """Return the mean at a linear predictor."""
    if family == "gaussian":
        return predictor
    return np.asarray(special.expit(predictor) if family == "logit" else np.exp(predictor))


def slope_of(family: Family, mean: Floats) -> Floats:
    """Return the derivative of the mean with respect to the linear predictor."""
    if family == "gaussian":
        return np.ones_like(mean)
    return np.asarray(mean * (1 - mean) if family == "logit" else mean)


def fit_glm(family: Family, design: Floats, outcome: Floats, weights: Floats) -> Floats:
    """Return the maximum-likelihood coefficients (k,), zero for columns that repeat earlier ones."""
    if family == "gaussian":
        return least_squares(design, outcome, weights).coefficients
    if family == "logit":
        return fit_logit(design, outcome, weights).coefficients
    return _poisson(design, outcome, weights)


def _poisson(design: Floats, outcome: Floats, weights: Floats) -> Floats:
    kept = independent_columns(design)
    x = design[:, kept]
    start = np.log(max(float(np.average(outcome, weights=weights)), 1e-8))
    beta = least_squares(x, np.full(len(outcome), start)).coefficients
    for _ in range(MAX_STEPS):
        mean = np.exp(x @ beta)
        hessian = (x * (weights * mean)[:, None]).T @ x
        step = np.linalg.solve(hessian, x.T @ (weights * (outcome - mean)))
        step /= max(1.0, float(np.abs(x @ step).max()) / 2)
        beta = beta + step
        if np.abs(x @ step).max() < 1e-11:
            coefficients = np.zeros(design.shape[1])
            coefficients[kept] = beta
            return coefficients
    raise EstimationError("the Poisson regression did not settle", code="NOT_CONVERGED")


def standardised_means(
    family: Family,
    designs: Floats,
    outcome: Floats,
    arms: NDArray[np.bool_],
    *,
    weights: Floats,
    target: Floats,
) -> Standardised:
    """Fit an outcome model and average its prediction under each level over the target population.

    Parameters
    ----------
    designs : shape (K, n, k)
        The regressors as if every row were at level k.
    arms : shape (K, n)
        Rows that the model of level k is fitted on. Where all levels share one model, the rows' own arms, and the
        coefficients are common; where they differ, one model per arm.
    target : shape (n,)
        Weight of each row in the average.

    References
    ----------
    Robins (1986), g-computation; standard errors by stacking the estimating equations.
    """
    levels, n, _ = designs.shape
    means, influence = np.zeros(levels), np.zeros((n, levels))
    for k in range(levels):
        rows = arms[k]
        if rows.sum() <= designs.shape[2]:
            raise EstimationError(
                f"an arm has {int(rows.sum())} rows for {designs.shape[2]} regressors; use fewer covariates",
                code="TOO_FEW_ROWS",
            )
        coefficients = fit_glm(family, designs[k][rows], outcome[rows], weights[rows])
        fitted = mean_of(family, designs[k] @ coefficients)
        slope = slope_of(family, fitted)
        first = glm_influence(designs[k], outcome - fitted, slope, weights * rows)
        means[k] = target @ fitted / target.sum()
        gradient = (target * slope) @ designs[k] / target.sum()
        influence[:, k] = target * (fitted - means[k]) / target.mean() + first @ gradient
    return Standardised(means, influence)

"""Least squares with classical, heteroskedasticity-robust and clustered covariances."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from causal_orchestrator.numerics.inference import sum_by

Floats = NDArray[np.float64]
Covariance = Literal["classical", "hc0", "hc1", "hc2", "hc3", "cluster"]

RANK_TOLERANCE = 1e-10  # squared length of what earlier columns leave of one, all scaled to unit length
REFINEMENTS = 3


@dataclass(frozen=True)
class LeastSquares:
    """A fitted regression. `kept` are the columns that are not linear combinations of earlier ones.

    `coefficients` has one entry per column of the design, zero where the column was dropped; `bread` is
    ``(X'WX)^-1`` over the kept columns.
    """

    design: Floats
    weights: Floats | None
    kept: NDArray[np.int64]
    coefficients: Floats
    residuals: Floats
    bread: Floats


def independent_columns(design: Floats) -> NDArray[np.int64]:
    """Return the indices of columns that are linearly independent of the columns before them."""
    return _pivots(_correlations(design.T @ design)[0])


def _correlations(gram: Floats) -> tuple[Floats, Floats]:
    """Return the Gram matrix of the columns scaled to unit length, and their lengths."""
    scale = np.sqrt(np.diag(gram))
    scale = np.where(scale > 0, scale, 1.0)
    return np.asarray(gram / np.outer(scale, scale)), scale


def _pivots(gram: Floats) -> NDArray[np.int64]:
    """Return the columns that a Cholesky factorisation keeps; those without a pivot repeat earlier ones."""
    kept: list[int] = []
    factor = np.zeros_like(gram)
    for j in range(len(gram)):
        k = len(kept)
        solved = linalg.solve_triangular(factor[:k, :k], gram[kept, j], lower=True) if k else np.zeros(0)
        pivot = gram[j, j] - solved @ solved
        if pivot > RANK_TOLERANCE:
            factor[k, :k], factor[k, k] = solved, np.sqrt(pivot)
            kept.append(j)
    return np.array(kept, dtype=np.int64)


def least_squares(design: Floats, outcome: Floats, weights: Floats | None = None) -> LeastSquares:
    """Fit a (weighted) linear regression; columns that repeat earlier ones are left out.

    Solves the normal equations of columns scaled to unit length, refined on the residuals; what is nearly collinear
    has been left out before, so no digit is lost that matters.

    Parameters
    ----------
    design : shape (n, k)
        Regressors, the intercept among them.
    outcome : shape (n,)
    weights : shape (n,), optional
        Positive sampling weights.
    """
    weighted = design if weights is None else design * weights[:, None]
    gram, scale = _correlations(weighted.T @ design)
    kept = _pivots(gram)
    x, scale = (design, scale) if len(kept) == design.shape[1] else (design[:, kept], scale[kept])
    factor = linalg.cho_factor(gram[np.ix_(kept, kept)], lower=True)
    solution = np.zeros(len(kept))
    residuals = outcome
    for _ in range(REFINEMENTS):
        moment = x.T @ (residuals if weights is None else weights * residuals)
        solution = solution + linalg.cho_solve(factor, moment / scale) / scale
        residuals = outcome - x @ solution
    coefficients = np.zeros(design.shape[1])
    coefficients[kept] = solution
    bread = linalg.cho_solve(factor, np.eye(len(kept))) / np.outer(scale, scale)
    return LeastSquares(design, weights, kept, coefficients, residuals, bread)


def covariance(fit: LeastSquares, kind: Covariance, cluster: NDArray[np.int64] | None = None) -> Floats:
    """Return the covariance (k, k) of all coefficients, zero for dropped columns.

    References
    ----------
    MacKinnon & White (1985) for HC1–HC3; Liang & Zeger (1986) with the small-sample factor
    ``G/(G-1) · (n-1)/(n-k)`` for clusters.
    """
    x = fit.design[:, fit.kept]
    n, k = x.shape
    weights = np.ones(n) if fit.weights is None else fit.weights
    if kind == "classical":
        small = fit.bread * float(weights @ fit.residuals**2) / (n - k)
    elif kind == "cluster" and cluster is not None:
        scores = sum_by(cluster, x * (weights * fit.residuals)[:, None])
        groups = scores.shape[0]
        meat = scores.T @ scores * groups / (groups - 1) * (n - 1) / (n - k)
        small = fit.bread @ meat @ fit.bread
    else:
        small = _robust(fit, x, weights, kind)
    full = np.zeros((fit.design.shape[1],) * 2)
    full[np.ix_(fit.kept, fit.kept)] = small
    return full


def _robust(fit: LeastSquares, x: Floats, weights: Floats, kind: Covariance) -> Floats:
    n, k = x.shape
    squared = (weights * fit.residuals) ** 2
    if kind in ("hc2", "hc3"):
        leverage = ((x @ fit.bread) * x).sum(axis=1) * weights
        squared = squared / np.clip(1 - leverage, 1e-10, None) ** (1 if kind == "hc2" else 2)
    factor = n / (n - k) if kind == "hc1" else 1.0
    meat = (x * squared[:, None]).T @ x * factor
    small: Floats = fit.bread @ meat @ fit.bread
    return small

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

RANK_TOLERANCE = 1e-10  # relative to the largest pivot of columns scaled to unit length


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
    scale = np.linalg.norm(design, axis=0)
    scale[scale == 0] = 1.0
    gram = (design / scale).T @ (design / scale)
    kept: list[int] = []
    factor = np.zeros((0, 0))
    for j in range(design.shape[1]):
        solved = linalg.solve_triangular(factor, gram[kept, j], lower=True) if kept else np.zeros(0)
        pivot = gram[j, j] - solved @ solved
        if pivot > RANK_TOLERANCE:
            grown = np.zeros((len(kept) + 1, len(kept) + 1))
            grown[:-1, :-1] = factor
            grown[-1, :-1] = solved
            grown[-1, -1] = np.sqrt(pivot)
            factor = grown
            kept.append(j)
    return np.array(kept, dtype=np.int64)


def least_squares(design: Floats, outcome: Floats, weights: Floats | None = None) -> LeastSquares:
    """Fit a (weighted) linear regression; columns that repeat earlier ones are left out.

    Parameters
    ----------
    design : shape (n, k)
        Regressors, the intercept among them.
    outcome : shape (n,)
    weights : shape (n,), optional
        Positive sampling weights.
    """
    root = None if weights is None else np.sqrt(weights)
    scaled = design if root is None else design * root[:, None]
    kept = independent_columns(scaled)
    q, r = np.linalg.qr(scaled[:, kept])
    target = outcome if root is None else outcome * root
    solution = linalg.solve_triangular(r, q.T @ target)
    inverse = linalg.solve_triangular(r, np.eye(len(kept)))
    coefficients = np.zeros(design.shape[1])
    coefficients[kept] = solution
    residuals = outcome - design[:, kept] @ solution
    return LeastSquares(design, weights, kept, coefficients, residuals, inverse @ inverse.T)


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
        leverage = np.einsum("ij,jk,ik->i", x, fit.bread, x, optimize=True) * weights
        squared = squared / np.clip(1 - leverage, 1e-10, None) ** (1 if kind == "hc2" else 2)
    factor = n / (n - k) if kind == "hc1" else 1.0
    meat = (x * squared[:, None]).T @ x * factor
    small: Floats = fit.bread @ meat @ fit.bread
    return small

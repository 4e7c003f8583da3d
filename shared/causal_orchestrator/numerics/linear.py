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
CR2 = "CR2 clustered (Bell–McCaffrey), t with Satterthwaite's degrees of freedom"
ENOUGH_DEGREES = 4.0  # below, Satterthwaite's approximation of the tails is poor (Tipton 2015)
SINGULAR = 1e-10  # what a cluster of its own parameters leaves of its residuals


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

    @property
    def leverage(self) -> Floats:
        """Each row's share (n,) in its own fitted value."""
        x = self.design[:, self.kept]
        own = ((x @ self.bread) * x).sum(axis=1)
        return np.asarray(own if self.weights is None else own * self.weights)


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
        squared = squared / np.clip(1 - fit.leverage, 1e-10, None) ** (1 if kind == "hc2" else 2)
    factor = n / (n - k) if kind == "hc1" else 1.0
    meat = (x * squared[:, None]).T @ x * factor
    small: Floats = fit.bread @ meat @ fit.bread
    return small


@dataclass(frozen=True)
class Errors:
    """Covariance (m, m) of some coefficients, and the degrees of freedom (m,) of each one's t statistic."""

    covariance: Floats
    df: Floats


def errors_of(
    fit: LeastSquares, kind: Covariance | Literal["cr2"], places: NDArray[np.int64], cluster: NDArray[np.int64] | None
) -> Errors:
    """Return the errors of the coefficients at `places`, all of them kept, and the t statistics' degrees of freedom.

    Of ``cr2`` without clusters each row is its own, which is HC2 with the degrees of freedom of Bell & McCaffrey.
    """
    if kind == "cr2":
        return bias_reduced(fit, np.arange(len(fit.design)) if cluster is None else cluster, places)
    joint = covariance(fit, kind, cluster)[np.ix_(places, places)]
    df = int(cluster.max()) if kind == "cluster" and cluster is not None else len(fit.design) - len(fit.kept)
    return Errors(joint, np.full(len(places), float(df)))


def bias_reduced(fit: LeastSquares, cluster: NDArray[np.int64], places: NDArray[np.int64]) -> Errors:
    """Return the CR2 covariance of the coefficients at `places`, with Satterthwaite's degrees of freedom.

    Residuals of a cluster are multiplied by the root of what makes their covariance right where errors are
    independent and alike, A = (I - H)(I - H)' of the cluster to the power -1/2; so the variance is free of bias there,
    and the degrees of freedom are those with which it varies there. Sampling weights enter as those of least squares,
    not as inverse variances. Effects that were taken out of the design by demeaning need not be in it where clusters
    hold all rows of each and there are no weights.

    Parameters
    ----------
    cluster : shape (n,)
        Codes 0…G-1.
    places : shape (m,)
        Columns of the design, all kept.

    References
    ----------
    Bell & McCaffrey (2002); Imbens & Kolesár (2016), https://doi.org/10.1162/REST_a_00552, section IV; Pustejovsky &
    Tipton (2018), https://doi.org/10.1080/07350015.2016.1247004, equations 4, 6 and 11, theorem 2.
    """
    x = fit.design[:, fit.kept]
    w = np.ones(len(x)) if fit.weights is None else fit.weights
    columns = fit.bread[:, np.searchsorted(fit.kept, places)]  # (k, m)
    pair = np.column_stack([x, x * w[:, None]])
    spread = fit.bread @ (x * (w**2)[:, None]).T @ x @ fit.bread
    inner = np.block(
        [[spread, -fit.bread], [-fit.bread, np.zeros_like(fit.bread)]]
    )  # (I-H)(I-H)' = I + pair inner pair'
    order = np.argsort(cluster, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(cluster[order])) + 1)
    adjusted = [_adjust(pair[rows], inner, (x * w[:, None])[rows] @ columns) for rows in groups]
    scores = np.stack([fit.residuals[rows] @ u for rows, u in zip(groups, adjusted, strict=True)])  # (G, m)
    own = np.stack([(u**2).sum(axis=0) for u in adjusted])  # (G, m)
    moved = np.stack([pair[rows].T @ u for rows, u in zip(groups, adjusted, strict=True)])  # (G, 2k, m)
    df = [_satterthwaite(own[:, j], moved[:, :, j], inner) for j in range(len(places))]
    return Errors(np.asarray(scores.T @ scores), np.array(df))


def few_degrees(df: Floats | None) -> tuple[str, ...]:
    """Return what must be said of few degrees of freedom, nothing where there are enough or none were estimated.

    References
    ----------
    Tipton (2015), https://doi.org/10.1037/met0000011
    """
    if df is None or df.min() >= ENOUGH_DEGREES:
        return ()
    return (
        f"{df.min():.1f} degrees of freedom are left: below {ENOUGH_DEGREES:.0f} the interval is only roughly at its level",
    )


def _adjust(pair: Floats, inner: Floats, scores: Floats) -> Floats:
    """Return (I + pair inner pair')^(-1/2) @ scores (n_g, m), the root taken where the matrix is not singular."""
    basis, upper = np.linalg.qr(pair)
    values, vectors = np.linalg.eigh(upper @ inner @ upper.T)
    left = 1 + values
    root = np.where(left > SINGULAR, 1 / np.sqrt(np.maximum(left, SINGULAR)), 0.0)
    turned = basis @ vectors
    return np.asarray(scores + turned @ ((root - 1)[:, None] * (turned.T @ scores)))


def _satterthwaite(own: Floats, moved: Floats, inner: Floats) -> float:
    """Return (tr Q)²/tr Q² of Q = diag(own) + moved inner moved' (G, G), without forming it."""
    lowered = moved @ inner
    diagonal = own + (lowered * moved).sum(axis=1)
    squared = own @ own + 2 * own @ (diagonal - own) + np.trace(np.linalg.matrix_power(moved.T @ lowered, 2))
    return float(diagonal.sum() ** 2 / squared)

"""Linear NOTEARS: continuous optimisation under a smooth acyclicity constraint (Zheng et al. 2018)."""

from __future__ import annotations

import numpy as np
from scipy.linalg import expm
from scipy.optimize import minimize

from causal_orchestrator.discovery.knowledge import Knowledge, Votes, equivalence_class, respect

PENALTY = 0.1
SMALLEST_EFFECT = 0.2
_TOLERANCE = 1e-6
_LARGEST_RHO = 1e16


def search(data: Votes, *, knowledge: Knowledge, alpha: float = 0.05, seed: int = 0) -> Votes:
    """Search for the weights W that fit X = XW + E best with W acyclic (`alpha` and `seed` are not used).

    Among DAGs that fit alike the optimum's directions follow from the columns' scales alone (Reisach et al. 2021), so
    that on standardised columns only its equivalence class is evidence, and only that votes.

    Parameters
    ----------
    data : NDArray, shape (n, p)
        Columns, centred here and not scaled.
    knowledge : Knowledge
        Forbidden and required edges; forbidden weights are held at zero in the search.

    Returns
    -------
    NDArray, shape (p, p)
        ``votes[i, j]`` for ``i → j``.

    References
    ----------
    Zheng, Aragam, Ravikumar and Xing (2018), Algorithm 1, https://arxiv.org/abs/1803.01422
    Reisach, Seiler and Weichwald (2021), https://arxiv.org/abs/2102.13647
    """
    weights = fit(np.cov(data, rowvar=False, bias=True), forbidden=knowledge.forbidden)
    return respect(equivalence_class(np.abs(weights) > SMALLEST_EFFECT), knowledge)


def fit(covariance: Votes, *, forbidden: np.ndarray, penalty: float = PENALTY) -> Votes:
    """Minimise tr((I-W)ᵀS(I-W))/2 + penalty·|W|₁ over acyclic W by an augmented Lagrangian.

    Parameters
    ----------
    covariance : NDArray, shape (p, p)
        S, the covariance of the columns; the least-squares loss depends on the data through it alone.
    forbidden : NDArray of bool, shape (p, p)
        Weights that are held at zero.
    penalty : float
        λ of the lasso term.

    Returns
    -------
    NDArray, shape (p, p)
        ``W[i, j]`` is the effect of column i on column j; small weights may remain that close a cycle.
    """
    p = len(covariance)
    closed = (forbidden | np.eye(p, dtype=bool)).ravel()
    bounds = [(0.0, 0.0 if shut else None) for shut in closed] * 2
    split = np.zeros(2 * p * p)  # the positive and the negative part of W
    rho, multiplier, violation = 1.0, 0.0, np.inf
    while violation > _TOLERANCE and rho < _LARGEST_RHO:
        while rho < _LARGEST_RHO:
            step = minimize(
                _lagrangian,
                split,
                args=(covariance, penalty, rho, multiplier),
                method="L-BFGS-B",
                jac=True,
                bounds=bounds,
            ).x
            now, _ = _acyclicity(_join(step, p))
            if now <= 0.25 * violation:
                break
            rho *= 10.0
        split, violation = step, now
        multiplier += rho * violation
    return _join(split, p)


def _join(split: Votes, p: int) -> Votes:
    return (split[: p * p] - split[p * p :]).reshape(p, p)


def _acyclicity(weights: Votes) -> tuple[float, Votes]:
    """Return h(W) = tr(exp(W∘W)) - p and its gradient (Zheng et al. 2018, Theorem 1)."""
    power = expm(weights * weights)
    return float(np.trace(power)) - len(weights), power.T * weights * 2.0


def _lagrangian(split: Votes, covariance: Votes, penalty: float, rho: float, multiplier: float) -> tuple[float, Votes]:
    p = len(covariance)
    weights = _join(split, p)
    unexplained = np.eye(p) - weights
    slope = -covariance @ unexplained
    loss = -0.5 * float(np.sum(unexplained * slope))
    h, h_slope = _acyclicity(weights)
    value = loss + 0.5 * rho * h * h + multiplier * h + penalty * float(split.sum())
    smooth = (slope + (rho * h + multiplier) * h_slope).ravel()
    return value, np.concatenate([smooth + penalty, -smooth + penalty])

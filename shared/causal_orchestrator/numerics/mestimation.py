"""Influence functions of first-stage fits, stacked under those of the effect (M-estimation).

If θ̂ depends on the data through a fitted β̂, its influence function is its own plus (∂θ/∂β) times that of β̂; the
mean of squares is the sandwich of the stacked estimating equations.

References
----------
Stefanski & Boos (2002), "The calculus of M-estimation", https://doi.org/10.1198/000313002753631330
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def least_squares_influence(design: Floats, residuals: Floats, weights: Floats) -> Floats:
    """Return the influence (n, k) of weighted least-squares coefficients; `weights` are zero outside the sample."""
    return glm_influence(design, residuals, np.ones(len(design)), weights)


def glm_influence(design: Floats, residuals: Floats, slope: Floats, weights: Floats) -> Floats:
    """Return the influence (n, k) of a generalised linear model.

    Parameters
    ----------
    residuals, slope : shape (n,)
        Outcome minus mean, and derivative of the mean with respect to the linear predictor (canonical link); else the
        first derivative of the log likelihood by the predictor, and minus the second.
    """
    information = (design * (weights * slope)[:, None]).T @ design / len(design)
    return np.asarray((design * (weights * residuals)[:, None]) @ inverse(information))


def inverse(information: Floats) -> Floats:
    """Return the (pseudo-)inverse of a symmetric information matrix, whatever the units of its columns."""
    scale = np.sqrt(np.diag(information))
    scale = np.where(scale > 0, scale, 1.0)
    return np.asarray(np.linalg.pinv(information / np.outer(scale, scale), hermitian=True) / np.outer(scale, scale))


def multinomial_influence(design: Floats, codes: Floats, probability: Floats, weights: Floats) -> Floats:
    """Return the influence (n, (K-1)·k) of multinomial-logit coefficients, level by level (binary: K = 2)."""
    n, k = design.shape
    levels = probability.shape[1]
    scores = [design * (weights * ((codes == a) - probability[:, a]))[:, None] for a in range(1, levels)]
    information = np.zeros(((levels - 1) * k,) * 2)
    for a in range(1, levels):
        for b in range(1, levels):
            v = weights * probability[:, a] * ((a == b) - probability[:, b])
            information[(a - 1) * k : a * k, (b - 1) * k : b * k] = (design * v[:, None]).T @ design / n
    return np.asarray(np.hstack(scores) @ inverse(information))

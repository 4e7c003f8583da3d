"""Recalibration of cross-fitted predictions on the rows that did not make them, with a handful of parameters.

Learners shrink: their predictions vary less than what they predict, in the outcome and in the treatment alike, and in
the doubly robust score the two shortfalls multiply into bias. Predictions whose errors can't be told from the
predictions themselves leave none of that first order.

References
----------
van der Laan, Luedtke & Carone (2024), "Doubly robust inference via calibration", https://arxiv.org/abs/2411.02771;
Benkeser, Carone, van der Laan & Gilbert (2017), https://doi.org/10.1093/biomet/asx053; Platt (1999).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import special

Floats = NDArray[np.float64]

CLEAR = 1e-3  # how near a probability may come to 0 or 1 before it is recalibrated
STEPS = 50
SETTLED = 1e-10
FARTHEST = 2.0  # the most that one step moves a linear predictor


def mean(predictions: Floats, target: Floats, weights: Floats | None, own: NDArray[np.bool_]) -> Floats:
    """Return `predictions` (n,) on the line that fits `target` best by least squares on the rows of `own`.

    Where the line falls the predictions tell nothing, and the mean of the rows stands in their place.
    """
    w = np.ones(int(own.sum())) if weights is None else weights[own]
    w = w / w.sum()
    seen, y = predictions[own], target[own]
    level, centre = float(w @ y), float(w @ seen)
    spread = float(w @ (seen - centre) ** 2)
    slope = max(0.0, float(w @ ((seen - centre) * (y - level))) / spread) if spread > 0 else 0.0
    return np.asarray(level + slope * (predictions - centre))


def probability(
    predictions: Floats, target: Floats, weights: Floats | None, own: NDArray[np.bool_], beside: Floats | None = None
) -> Floats:
    """Return `predictions` (n,) moved by a logit in their log odds and in the columns of `beside` (n, q).

    It is fitted on the rows of `own`, starts from the predictions as they are, and is drawn to them by a penalty that
    weighs as one row does, so that it exists where a column tells the target's values apart.
    """
    offset = special.logit(np.clip(predictions, CLEAR, 1 - CLEAR))
    columns = offset[:, None] if beside is None else np.column_stack([offset, beside])
    centre, scale = columns[own].mean(axis=0), columns[own].std(axis=0)
    everyone = np.column_stack([np.ones(len(target)), (columns - centre)[:, scale > 0] / scale[scale > 0]])
    beta = _departure(everyone[own], offset[own], target[own], None if weights is None else weights[own])
    return np.asarray(special.expit(offset + everyone @ beta))


def _departure(design: Floats, offset: Floats, target: Floats, weights: Floats | None) -> Floats:
    """Return the coefficients, beside `offset`, of the penalised likelihood, by Newton's method."""
    w = np.ones(len(target)) if weights is None else weights / weights.mean()
    penalty = np.eye(design.shape[1])
    penalty[0, 0] = 0.0
    beta = np.zeros(design.shape[1])
    for _ in range(STEPS):
        fitted = special.expit(offset + design @ beta)
        curvature = (design * (w * fitted * (1 - fitted))[:, None]).T @ design + penalty
        step = np.linalg.solve(curvature, design.T @ (w * (target - fitted)) - penalty @ beta)
        farthest = float(np.abs(design @ step).max())
        beta = beta + min(1.0, FARTHEST / max(farthest, SETTLED)) * step
        if farthest < SETTLED:
            break
    return beta

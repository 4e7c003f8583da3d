"""Logistic regression by iteratively reweighted least squares, binary and multinomial; probit for two levels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from causal_orchestrator.errors import EstimationError
from causal_orchestrator.numerics.linear import independent_columns

Floats = NDArray[np.float64]

MAX_STEPS = 100
TOLERANCE = 1e-12  # on the largest change of the linear predictor
SEPARATED = 30.0  # |linear predictor| beyond which a fitted probability is 0 or 1 in double precision


@dataclass(frozen=True)
class Logit:
    """A fitted logit: `coefficients` (k,) over all columns (zero where dropped) and `probability` (n,)."""

    coefficients: Floats
    probability: Floats
    kept: NDArray[np.int64]
    separated: bool


def fit_logit(design: Floats, target: Floats, weights: Floats | None = None) -> Logit:
    """Fit P(target = 1) = expit(design @ coefficients) by maximum likelihood.

    Parameters
    ----------
    design : shape (n, k)
        Regressors, the intercept among them; columns that repeat earlier ones are left out.
    target : shape (n,)
        In [0, 1].
    weights : shape (n,), optional
        Positive sampling weights.

    Raises
    ------
    EstimationError
        If the iterations do not settle although the arms are not separated (``NOT_CONVERGED``).
    """
    kept, scale, x, w = _prepared(design, weights)
    beta = np.zeros(len(kept))
    deviance = np.inf
    for _ in range(MAX_STEPS):
        predictor = x @ beta
        if np.abs(predictor).max() > SEPARATED and deviance < 1e-6 * len(target):
            break
        probability = special.expit(predictor)
        gradient = x.T @ (w * (target - probability))
        hessian = (x * (w * probability * (1 - probability))[:, None]).T @ x
        step = np.linalg.lstsq(hessian, gradient, rcond=None)[0]
        beta, deviance, change = _ascend(x, target, w, beta, step)
        if change < TOLERANCE:
            break
    else:
        if np.abs(x @ beta).max() < SEPARATED / 2:
            raise EstimationError("the logit did not settle; rescale or drop covariates", code="NOT_CONVERGED")
    predictor = x @ beta
    coefficients = np.zeros(design.shape[1])
    coefficients[kept] = beta / scale
    return Logit(coefficients, special.expit(predictor), kept, bool(np.abs(predictor).max() > SEPARATED / 2))


def _prepared(design: Floats, weights: Floats | None) -> tuple[NDArray[np.int64], Floats, Floats, Floats]:
    """Return the columns kept, the root mean square of each, those columns divided by it, and every row's weight."""
    kept = independent_columns(design)
    scale = np.linalg.norm(design[:, kept], axis=0) / np.sqrt(len(design))
    return kept, scale, design[:, kept] / scale, np.ones(len(design)) if weights is None else weights


def _ascend(x: Floats, target: Floats, w: Floats, beta: Floats, step: Floats) -> tuple[Floats, float, float]:
    """Halve the Newton step until the likelihood does not fall; return coefficients, deviance and change."""
    before = _deviance(x @ beta, target, w)
    size = 1.0
    for _ in range(30):
        predictor = x @ (beta + size * step)
        after = _deviance(predictor, target, w)
        if after <= before + 1e-12 * abs(before):
            return beta + size * step, after, float(np.abs(size * (x @ step)).max())
        size /= 2
    return beta, before, 0.0


def _deviance(predictor: Floats, target: Floats, w: Floats) -> float:
    return float(2 * (w @ (np.logaddexp(0.0, predictor) - target * predictor)))


@dataclass(frozen=True)
class Link:
    """A fitted propensity of two levels: `probability` (n,), and its derivative (n,) by the linear predictor.

    `score` and `curvature` (n,) are the first derivative of each row's log likelihood by the predictor and minus the
    second, by which the coefficients' influence is told.
    """

    probability: Floats
    slope: Floats
    score: Floats
    curvature: Floats


def fit_probit(design: Floats, target: Floats, weights: Floats | None = None) -> Link:
    """Fit P(target = 1) = Φ(design @ coefficients) by maximum likelihood (Newton's method).

    Parameters
    ----------
    design : shape (n, k)
        Regressors, the intercept among them; columns that repeat earlier ones are left out.
    target : shape (n,), 0/1.

    Raises
    ------
    EstimationError
        If the iterations do not settle, as where the arms are separated (``NOT_CONVERGED``).
    """
    _, _, x, w = _prepared(design, weights)
    sign = 2 * target - 1
    beta = np.zeros(x.shape[1])
    for _ in range(MAX_STEPS):
        predictor = x @ beta
        # The inverse Mills ratio by logarithms: far out both its parts vanish.
        ratio = sign * np.exp(-(predictor**2) / 2 - np.log(2 * np.pi) / 2 - special.log_ndtr(sign * predictor))
        curvature = ratio * (ratio + predictor)
        step = np.linalg.lstsq((x * (w * curvature)[:, None]).T @ x, x.T @ (w * ratio), rcond=None)[0]
        if np.abs(x @ step).max() < TOLERANCE:
            slope = np.exp(-(predictor**2) / 2) / np.sqrt(2 * np.pi)
            return Link(np.asarray(special.ndtr(predictor)), slope, ratio, curvature)
        beta = beta + step / max(1.0, float(np.abs(x @ step).max()) / 5)
    raise EstimationError("the probit did not settle; the covariates may separate the arms, which the logit bears", code="NOT_CONVERGED")  # fmt: skip


def fit_multinomial(design: Floats, codes: Floats, levels: int, weights: Floats | None = None) -> Floats:
    """Return P(code = k | design) (n, levels) of a multinomial logit fitted by maximum likelihood (Newton).

    With two levels this is `fit_logit`.
    """
    if levels == 2:
        probability = fit_logit(design, codes, weights).probability
        return np.column_stack([1 - probability, probability])
    _, _, x, w = _prepared(design, weights)
    target = (codes[:, None] == np.arange(levels)).astype(np.float64)
    k = x.shape[1]
    beta = np.zeros((k, levels - 1))
    for _ in range(MAX_STEPS):
        probability = _softmax(x @ beta)
        gradient = x.T @ (w[:, None] * (target - probability)[:, 1:])
        hessian = np.zeros((k * (levels - 1),) * 2)
        for a in range(1, levels):
            for b in range(1, levels):
                v = w * probability[:, a] * ((a == b) - probability[:, b])
                hessian[(a - 1) * k : a * k, (b - 1) * k : b * k] = (x * v[:, None]).T @ x
        step = np.linalg.lstsq(hessian, gradient.T.ravel(), rcond=None)[0].reshape(levels - 1, k).T
        step /= max(1.0, float(np.abs(x @ step).max()) / 5)
        beta = beta + step
        if np.abs(x @ step).max() < TOLERANCE or np.abs(x @ beta).max() > SEPARATED:
            break
    return _softmax(x @ beta)


def _softmax(predictor: Floats) -> Floats:
    full = np.column_stack([np.zeros(len(predictor)), predictor])
    return np.asarray(special.softmax(full, axis=1))

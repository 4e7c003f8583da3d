"""Models of a mediator and an outcome, and the mean outcomes under crossed treatments that follow from them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from causal_orchestrator.errors import EstimationError
from causal_orchestrator.numerics.inference import sum_by
from causal_orchestrator.numerics.linear import independent_columns, least_squares

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]

MAX_STEPS = 100
TOLERANCE = 1e-10


@dataclass(frozen=True)
class Model:
    """A linear (`sd` of the residuals) or probit (`sd` None) regression: coefficients (k,), their robust covariance."""

    coefficients: Floats
    covariance: Floats
    sd: float | None


def fit_linear(design: Floats, target: Floats, weights: Floats, cluster: Codes | None) -> Model:
    """Fit least squares with HC1 (or CR1) covariance."""
    fit = least_squares(design, target, weights)
    scores = design[:, fit.kept] * (weights * fit.residuals)[:, None]
    freedom = len(target) - len(fit.kept)
    sd = float(np.sqrt(weights @ fit.residuals**2 / freedom))
    return Model(fit.coefficients, _sandwich(fit.bread, scores, fit.kept, design.shape[1], cluster), sd)


def fit_probit(design: Floats, target: Floats, weights: Floats, cluster: Codes | None) -> Model:
    """Fit P(target = 1) = Φ(design @ coefficients) by Fisher scoring, with a sandwich covariance.

    Raises
    ------
    EstimationError
        If the iterations do not settle, as where a covariate predicts the target perfectly (``NOT_CONVERGED``).
    """
    kept = independent_columns(design)
    x = design[:, kept]
    beta = np.zeros(len(kept))
    for _ in range(MAX_STEPS):
        index = x @ beta
        chance = np.clip(stats.norm.cdf(index), 1e-12, 1 - 1e-12)
        slope = stats.norm.pdf(index)
        pull = weights * slope / (chance * (1 - chance))
        bread = np.linalg.inv((x * (pull * slope)[:, None]).T @ x)
        scores = x * (pull * (target - chance))[:, None]
        step = bread @ scores.sum(axis=0)
        beta = beta + step
        if np.abs(x @ step).max() < TOLERANCE:
            full = np.zeros(design.shape[1])
            full[kept] = beta
            return Model(full, _sandwich(bread, scores, kept, design.shape[1], cluster), None)
    raise EstimationError("the probit did not settle; a covariate may predict the target perfectly", code="NOT_CONVERGED")  # fmt: skip


def _sandwich(bread: Floats, scores: Floats, kept: Codes, columns: int, cluster: Codes | None) -> Floats:
    n, k = scores.shape
    factor = n / (n - k)
    if cluster is not None:
        scores = sum_by(cluster, scores)
        factor = len(scores) / (len(scores) - 1) * (n - 1) / (n - k)
    full = np.zeros((columns, columns))
    full[np.ix_(kept, kept)] = bread @ (scores.T @ scores) @ bread * factor
    return full


def crossed_means(
    mediator: Model, outcome: Model, covariates: Floats, weights: Floats, *, gamma: Floats, theta: Floats
) -> Floats:
    """Return the mean outcome (2, 2) under treatment t (first index) with the mediator as under t' (second index).

    The mediator's noise is integrated out exactly. Designs are (1, t, covariates) for the mediator and (1, t, m, t·m,
    covariates) for the outcome.

    Parameters
    ----------
    gamma, theta : coefficients of mediator and outcome, the models' own or drawn ones.

    References
    ----------
    Imai, Keele & Tingley (2010), https://doi.org/10.1037/a0020761, theorem 1.
    """
    means = np.empty((2, 2))
    share = weights / weights.sum()
    for other in (0, 1):
        index = gamma[0] + gamma[1] * other + covariates @ gamma[2:]
        for t in (0, 1):
            base = theta[0] + theta[1] * t + covariates @ theta[4:]
            slope = theta[2] + theta[3] * t
            if mediator.sd is None:
                chance = stats.norm.cdf(index)
                value = chance * _mean(outcome, base + slope) + (1 - chance) * _mean(outcome, base)
            elif outcome.sd is None:
                value = stats.norm.cdf((base + slope * index) / np.sqrt(1 + (slope * mediator.sd) ** 2))
            else:
                value = base + slope * index
            means[t, other] = share @ value
    return means


def _mean(outcome: Model, index: Floats) -> Floats:
    return np.asarray(stats.norm.cdf(index) if outcome.sd is None else index)


@dataclass(frozen=True)
class Sensitivity:
    """ACME (m,) under correlations `rho` (m,) of the two models' errors; `zero` is the correlation at which it is zero."""

    rho: Floats
    acme: Floats
    zero: float


def sensitivity(design: Floats, treatment: Floats, mediator: Floats, outcome: Floats, weights: Floats, *, rho: Floats) -> Sensitivity:  # fmt: skip
    """Return the ACME of linear models without interaction under unmeasured mediator–outcome confounding.

    References
    ----------
    Imai, Keele & Yamamoto (2010), https://doi.org/10.1214/10-STS321, theorem 4.
    """
    both = np.column_stack([design, treatment])
    first, second = least_squares(both, outcome, weights), least_squares(both, mediator, weights)
    variances = [float(weights @ fit.residuals**2) for fit in (first, second)]
    shared = float(weights @ (first.residuals * second.residuals)) / np.sqrt(variances[0] * variances[1])
    scale = second.coefficients[-1] * np.sqrt(variances[0] / variances[1])
    return Sensitivity(rho, scale * (shared - rho * np.sqrt((1 - shared**2) / (1 - rho**2))), shared)

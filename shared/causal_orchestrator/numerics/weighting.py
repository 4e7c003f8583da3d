"""Contrasts of weighted means whose weights come from a fitted logit or probit, with stacked standard errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from causal_orchestrator.numerics.logit import Link
from causal_orchestrator.numerics.mestimation import glm_influence, multinomial_influence

Floats = NDArray[np.float64]
Target = Literal["ATE", "ATT", "ATC", "ATO"]


@dataclass(frozen=True)
class WeightedMeans:
    """Mean outcome per arm in the target population: `means` (K,), their `influence` (n, K), `weights` (n,)."""

    means: Floats
    influence: Floats
    weights: Floats


def balancing_weights(codes: Floats, probability: Floats, target: Target, level: int = 1) -> Floats:
    """Return the weight (n,) that takes each row's arm to the target population.

    Parameters
    ----------
    codes : shape (n,)
        Level of the treatment, 0…K-1.
    probability : shape (n, K)
        P(level | covariates).
    target : ATE 1/e_k; ATT (of `level`) e_level/e_k; ATC e_0/e_k; ATO h/e_k with h = 1/Σ 1/e_k (Li & Li 2019).
    """
    own = np.take_along_axis(probability, codes.astype(np.int64)[:, None], axis=1)[:, 0]
    return _tilt(probability, target, level) / own


def _tilt(probability: Floats, target: Target, level: int) -> Floats:
    if target == "ATE":
        return np.ones(len(probability))
    if target == "ATO":
        return np.asarray(1 / (1 / probability).sum(axis=1))
    return probability[:, level if target == "ATT" else 0]


def _log_slope(probability: Floats, target: Target, level: int, arm: int, a: int) -> Floats:
    """∂ log weight of `arm` / ∂ linear predictor of level a."""
    slope = np.zeros(len(probability))
    if target == "ATO":
        slope = _tilt(probability, target, level) / probability[:, a] - probability[:, a]
    elif target != "ATE":
        slope = float(a == (level if target == "ATT" else 0)) - probability[:, a]
    return np.asarray(slope - (float(a == arm) - probability[:, a]))


def weighted_means(
    design: Floats,
    codes: Floats,
    outcome: Floats,
    probability: Floats,
    *,
    target: Target,
    level: int = 1,
    sampling: Floats | None = None,
    kept: NDArray[np.bool_] | None = None,
    normalized: bool = True,
    link: Link | None = None,
) -> WeightedMeans:
    """Estimate the arms' mean outcomes in the target population.

    Parameters
    ----------
    design : shape (n, k)
        Regressors of the logit that gave `probability`, or of the `link` of two levels that did.
    kept : shape (n,), optional
        Rows that enter the means (trimming); the logit was fitted on all rows.
    normalized : weights sum to one within each arm (Hájek), else Horvitz–Thompson.

    References
    ----------
    Lunceford & Davidian (2004), https://doi.org/10.1002/sim.1903; Li, Morgan & Zaslavsky (2018),
    https://doi.org/10.1080/01621459.2016.1260466.
    """
    n, levels = probability.shape
    w = np.ones(n) if sampling is None else sampling
    balancing = w * balancing_weights(codes, probability, target, level)
    if kept is not None:
        balancing = np.where(kept, balancing, 0.0)
    if link is None:
        fitted, stretch = multinomial_influence(design, codes, probability, w), np.ones(n)
    else:
        fitted = glm_influence(design, link.score, link.curvature, w)
        stretch = link.slope / np.maximum(link.probability * (1 - link.probability), np.finfo(np.float64).tiny)
    if not normalized:
        size = w * _tilt(probability, target, level) * (1.0 if kept is None else kept)
    means, influence = np.zeros(levels), np.zeros((n, levels))
    for arm in range(levels):
        mine = balancing * (codes == arm)
        total = mine.mean() if normalized else size.mean()
        means[arm] = (mine @ outcome) / n / total
        residual = mine * (outcome - means[arm]) if normalized else mine * outcome - size * means[arm]
        graded = mine * (outcome - means[arm]) if normalized else mine * outcome
        slopes = [
            design.T @ (graded * stretch * _log_slope(probability, target, level, arm, a)) / n for a in range(1, levels)
        ]
        influence[:, arm] = (residual + fitted @ np.concatenate(slopes)) / total
    return WeightedMeans(means, influence, balancing)

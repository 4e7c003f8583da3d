"""From an estimate and its covariance to intervals: normal or t, clustered influence functions, simultaneous bands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]

SIMULTANEOUS_DRAWS = 20_000  # Monte Carlo error of a 95 % critical value is then below 0.02


def critical_value(confidence_level: float, df: float | None = None) -> float:
    """Return the two-sided critical value of the normal (``df=None``) or the t distribution."""
    tail = 0.5 + confidence_level / 2
    return float(stats.norm.ppf(tail) if df is None else stats.t.ppf(tail, df))


def p_value(estimate: float, std_error: float, df: float | None = None) -> float | None:
    """Return the two-sided p-value of ``estimate = 0``, or None where the standard error is zero."""
    if not std_error > 0:
        return None
    z = abs(estimate) / std_error
    return float(2 * (stats.norm.sf(z) if df is None else stats.t.sf(z, df)))


def bracket(turned: Callable[[float], bool], low: float, high: float, *, steps: int) -> tuple[float, float]:
    """Halve an interval `steps` times around where `turned` becomes true; it is false at `low` and true at `high`."""
    for _ in range(steps):
        middle = (low + high) / 2
        low, high = (low, middle) if turned(middle) else (middle, high)
    return low, high


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for being several, in the order given (Holm 1979)."""
    adjusted, running = [0.0] * len(p_values), 0.0
    for place, k in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        running = max(running, min(1.0, p_values[k] * (len(p_values) - place)))
        adjusted[k] = running
    return adjusted


def simultaneous_critical_value(covariance: Floats, confidence_level: float, *, seed: int) -> float:
    """Return the critical value that makes intervals for all contrasts hold together (sup-t).

    Parameters
    ----------
    covariance : shape (k, k)
        Joint covariance of the k estimates.

    References
    ----------
    Montiel Olea & Plagborg-Møller (2019), "Simultaneous confidence bands", https://doi.org/10.1002/jae.2656
    """
    k = covariance.shape[0]
    scale = np.sqrt(np.diag(covariance))
    if k == 1 or not np.all(scale > 0):
        return critical_value(confidence_level)
    correlation = covariance / np.outer(scale, scale)
    values, vectors = np.linalg.eigh(correlation)
    root = vectors * np.sqrt(np.clip(values, 0.0, None))
    draws = np.random.default_rng(seed).standard_normal((SIMULTANEOUS_DRAWS, k)) @ root.T
    return float(np.quantile(np.abs(draws).max(axis=1), confidence_level))


def sum_by(codes: NDArray[np.int64], values: Floats) -> Floats:
    """Return the sums of `values` (n,) or (n, k) within the groups that `codes` 0…G-1 name: (G,) or (G, k)."""
    groups = int(codes.max()) + 1
    if values.ndim == 1:
        return np.asarray(np.bincount(codes, weights=values, minlength=groups), dtype=np.float64)
    return np.column_stack([np.bincount(codes, weights=column, minlength=groups) for column in values.T])


def effective_clusters(
    moved: Floats, cluster: NDArray[np.int64], weights: Floats | None = None, *, shared: bool | None = None
) -> float:
    """Return how many clusters of equal influence the variance of a regressor's coefficient rests on.

    G/(1 + Γ), where Γ is the squared coefficient of variation of the clusters' parts in that variance.

    Parameters
    ----------
    moved : shape (n,)
        The regressor.
    cluster : shape (n,)
        Codes 0…G-1.
    shared : whether a cluster's rows share all their shocks, so that its part is a squared sum, or none, so that it is
        a sum of squares; None for the first where the regressor is constant within clusters, else the second.

    References
    ----------
    Carter, Schnepel & Steigerwald (2017), https://doi.org/10.1162/REST_a_00639
    """
    w = np.ones(len(moved)) if weights is None else weights
    centred = moved - w @ moved / w.sum()
    if shared is None:
        within = moved - (sum_by(cluster, moved) / np.maximum(np.bincount(cluster), 1))[cluster]
        shared = bool(np.abs(within).max() <= 1e-12 * max(np.abs(moved).max(), 1.0))
    parts = sum_by(cluster, w * centred) ** 2 if shared else sum_by(cluster, (w * centred) ** 2)
    return float(parts.sum() ** 2 / (parts**2).sum())


def influence_covariance(
    influence: Floats, cluster: NDArray[np.int64] | None = None, *, of_scores: bool = True
) -> Floats:
    """Return the covariance (k, k) of estimators from their influence functions.

    Parameters
    ----------
    influence : shape (n, k)
        Row i's influence on each estimate; the estimator is asymptotically its mean.
    cluster : shape (n,), optional
        Codes 0…G-1; influences are summed within clusters and G/(G-1) is applied.
    of_scores : whether, without clusters, n/(n-1) is applied, as to a mean of scores; not to stacked estimating
        equations, whose sandwich has no such factor (Stefanski & Boos 2002; Stata's teffects).
    """
    psi = np.atleast_2d(influence.T).T
    n = psi.shape[0]
    psi = psi - psi.mean(axis=0)
    if cluster is not None:
        psi = sum_by(cluster, psi)
    groups = len(psi)
    return np.asarray(psi.T @ psi / n**2 * (groups / (groups - 1) if cluster is not None or of_scores else 1.0))


@dataclass(frozen=True)
class Joined:
    """Repeated estimates joined: `estimates` (k,), their `covariance` (k, k) and mean `influence` (n, k)."""

    estimates: Floats
    covariance: Floats
    influence: Floats


def median_over_repeats(estimates: Floats, influence: Floats, cluster: NDArray[np.int64] | None = None) -> Joined:
    """Join R repetitions by their median, adding their spread to the variance.

    Parameters
    ----------
    estimates : shape (R, k)
    influence : shape (R, n, k)

    References
    ----------
    Chernozhukov et al. (2018), https://doi.org/10.1111/ectj.12097, definition 3.3; off-diagonal entries keep the
    correlation of the mean influence.
    """
    middle = np.median(estimates, axis=0)
    variances = np.array([np.diag(influence_covariance(psi, cluster)) for psi in influence])
    variance = np.median(variances + (estimates - middle) ** 2, axis=0)
    mean = influence.mean(axis=0)
    covariance = influence_covariance(mean, cluster)
    scale = np.sqrt(variance / np.diag(covariance))
    return Joined(middle, covariance * np.outer(scale, scale), mean)

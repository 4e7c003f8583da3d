"""Effects under hidden confounding from two kinds of proxies, by instrumented bridge functions.

W (outcome proxies) stand in for the hidden confounder in a bridge h(W, A, X) with E[Y - h | Z, A, X] = 0; Z (treatment
proxies) are its instruments. With h linear in features that is a linear GMM problem.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, stats

from causal_orchestrator.numerics.inference import sum_by
from causal_orchestrator.numerics.linear import independent_columns

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]


@dataclass(frozen=True)
class Bridge:
    """Moments of a bridge: regressors (n, k), what one more unit of treatment changes in them (n, k), instruments."""

    regressors: Floats
    change: Floats
    instruments: Floats


@dataclass(frozen=True)
class Solved:
    """The effect with its variance and influence (n, 1); Hansen's J with degrees of freedom, where overidentified."""

    effect: float
    variance: float
    influence: Floats
    j: float
    df: int

    @property
    def j_p_value(self) -> float | None:
        """Probability of a larger J if every moment holds."""
        return float(stats.chi2.sf(self.j, self.df)) if self.df else None


def moments_of(treatment: Floats, covariates: Floats, w: Floats, z: Floats, *, rich: bool) -> Bridge:
    """Return the moments of a bridge that is linear in (1, X, A, W), or where `rich` has A·X, A·W and squares of W too.

    The instruments repeat the form with Z in the place of W.
    """
    a, x = treatment[:, None], _standard(covariates)
    outcome, assigned = _standard(w), _standard(z)
    one = np.ones_like(a)
    if not rich:
        zero = np.zeros_like
        return Bridge(
            np.column_stack([one, x, a, outcome]),
            np.column_stack([0 * one, zero(x), one, zero(outcome)]),
            np.column_stack([one, x, a, assigned]),
        )
    square, squared = _squares(outcome), _squares(assigned)
    flat = np.zeros_like(np.column_stack([one, x]))
    return Bridge(
        np.column_stack([one, x, a, outcome, a * x, a * outcome, square]),
        np.column_stack([flat, one, 0 * outcome, x, outcome, 0 * square]),
        np.column_stack([one, x, a, assigned, a * x, a * assigned, squared]),
    )


def _standard(values: Floats) -> Floats:
    spread = values.std(axis=0)
    return np.asarray((values - values.mean(axis=0)) / np.where(spread > 0, spread, 1.0))


def _squares(values: Floats) -> Floats:
    """Return squares, less their mean, of the columns that have more than two values."""
    kept = [j for j in range(values.shape[1]) if len(np.unique(values[:, j])) > 2]
    return np.asarray(values[:, kept] ** 2 - (values[:, kept] ** 2).mean(axis=0))


def identified(moments: Bridge) -> bool:
    """Return whether there are instruments enough for the regressors that are not repeats of others."""
    return len(independent_columns(moments.instruments)) >= len(independent_columns(moments.regressors))


def solve(
    outcome: Floats, moments: Bridge, *, weights: Floats | None, cluster: Codes | None, efficient: bool
) -> Solved:
    """Return the effect by two-stage least squares, or by two-step GMM where `efficient`, with its sandwich variance.

    The effect is the weighted mean of the change of the bridge with the treatment, so its variance counts that mean
    too. A factor of n/(n-k), or G/(G-1)·(n-1)/(n-k) with clusters, corrects for small samples (HC1, CR1).

    References
    ----------
    Hansen (1982), https://doi.org/10.2307/1912775; Miao, Geng & Tchetgen Tchetgen (2018),
    https://doi.org/10.1093/biomet/asy038; Tchetgen Tchetgen, Ying, Cui, Shi & Miao (2024),
    https://doi.org/10.1214/23-STS911.
    """
    n = len(outcome)
    w = np.ones(n) if weights is None else weights
    keep = independent_columns(moments.regressors)
    r, d = moments.regressors[:, keep], moments.change[:, keep]
    q = moments.instruments[:, independent_columns(moments.instruments)]
    cross, aim = (q * w[:, None]).T @ r / n, q.T @ (w * outcome) / n
    weighting = linalg.inv((q * w[:, None]).T @ q / n)
    theta = _minimum(cross, aim, weighting)
    moved = q * (w * (outcome - r @ theta))[:, None]
    if efficient and q.shape[1] > r.shape[1]:
        weighting = linalg.inv(_meat(moved, cluster))
        theta = _minimum(cross, aim, weighting)
        moved = q * (w * (outcome - r @ theta))[:, None]
    contrast = np.average(d, axis=0, weights=w)
    effect = float(contrast @ theta)
    pull = linalg.solve(cross.T @ weighting @ cross, cross.T @ weighting)
    influence = moved @ (contrast @ pull) + w * (d @ theta - effect) / w.mean()
    groups = n if cluster is None else int(cluster.max()) + 1
    small = groups / (groups - 1) * (n - 1) / (n - r.shape[1])
    variance = float(_meat(influence[:, None], cluster)[0, 0]) / n * small
    mean = moved.mean(axis=0)
    j = float(n * mean @ linalg.solve(_meat(moved, cluster), mean)) if q.shape[1] > r.shape[1] else 0.0
    return Solved(effect, variance, influence[:, None], j, q.shape[1] - r.shape[1])


def _minimum(cross: Floats, aim: Floats, weighting: Floats) -> Floats:
    return np.asarray(linalg.solve(cross.T @ weighting @ cross, cross.T @ weighting @ aim))


def _meat(scores: Floats, cluster: Codes | None) -> Floats:
    summed = scores if cluster is None else sum_by(cluster, scores)
    return np.asarray(summed.T @ summed / len(scores))


def strength(treatment: Floats, covariates: Floats, w: Floats, z: Floats, weights: Floats | None) -> float:
    """Return the Cragg–Donald statistic of Z for W given A and X: the first-stage F where W is one column.

    References
    ----------
    Cragg & Donald (1993), https://doi.org/10.1017/S0266466600007519; Stock & Yogo (2005).
    """
    n = len(treatment)
    root = np.ones(n) if weights is None else np.sqrt(weights)
    controls = np.column_stack([np.ones(n), covariates, treatment]) * root[:, None]
    controls = controls[:, independent_columns(controls)]
    basis, _ = linalg.qr(controls, mode="economic")
    left = [(part := values * root[:, None]) - basis @ (basis.T @ part) for values in (_standard(w), _standard(z))]
    proxies, instruments = (part[:, independent_columns(part)] for part in left)
    if not proxies.shape[1] or not instruments.shape[1]:
        return 0.0
    fitted = instruments @ linalg.lstsq(instruments, proxies)[0]
    df = n - controls.shape[1] - instruments.shape[1]
    noise = (proxies - fitted).T @ (proxies - fitted) / df
    return float(linalg.eigvalsh(fitted.T @ fitted, noise)[0] / instruments.shape[1])

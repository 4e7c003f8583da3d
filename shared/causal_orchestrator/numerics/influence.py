"""What influence functions give once for all methods: bootstrap by multipliers, differences, and combinations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from causal_orchestrator.numerics.inference import (
    influence_covariance,
    p_value,
    simultaneous_critical_value,
    sum_by,
)

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]

DRAWS = 999
FEW_CLUSTERS = 12  # below which two-point multipliers make too few distinct draws (Webb 2023)
SIX_POINTS = np.sqrt([0.5, 1.0, 1.5])
BLOCK = 64  # draws at once, so that memory stays small
NEGLIGIBLE = 1e-10  # of the largest eigenvalue; below it a direction is one that all estimates share


@dataclass(frozen=True)
class Bootstrap:
    """Multiplier bootstrap of k estimates: `covariance` (k, k) and the two-sided `critical` values.

    `critical` (k,) are quantiles of each |t|, `simultaneous` of the largest of them; `draws` is their number.
    """

    covariance: Floats
    critical: Floats
    simultaneous: float
    draws: int


def multiplier_bootstrap(
    influence: Floats, cluster: Codes | None = None, *, confidence_level: float, seed: int, draws: int = DRAWS
) -> Bootstrap:
    """Bootstrap estimates by random signs on their influence functions, whole clusters at once.

    Parameters
    ----------
    influence : shape (n, k)
        Row i's influence on each estimate.
    cluster : shape (n,), optional
        Codes 0…G-1. With fewer than `FEW_CLUSTERS` the multipliers take six values instead of two.

    References
    ----------
    Chernozhukov, Chetverikov & Kato (2013), https://doi.org/10.1214/13-AOS1161; Callaway & Sant'Anna (2021);
    Webb (2023), https://doi.org/10.1111/caje.12661, for few clusters.
    """
    psi = np.atleast_2d(influence.T).T
    psi = psi - psi.mean(axis=0)
    scores = psi if cluster is None else sum_by(cluster, psi)
    groups = len(scores)
    scores = scores * np.sqrt(groups / (groups - 1)) / len(psi)
    rng = np.random.default_rng(seed)
    made = np.vstack(
        [_multipliers(rng, min(BLOCK, draws - start), groups) @ scores for start in range(0, draws, BLOCK)]
    )
    covariance = np.atleast_2d(np.cov(made, rowvar=False, ddof=1))
    errors = np.sqrt(np.diag(covariance))
    t = np.abs(np.divide(made, errors, out=np.zeros_like(made), where=errors > 0))
    critical = np.quantile(t, confidence_level, axis=0)
    return Bootstrap(covariance, critical, float(np.quantile(t.max(axis=1), confidence_level)), draws)


def _multipliers(rng: np.random.Generator, draws: int, groups: int) -> Floats:
    signs = rng.choice([-1.0, 1.0], size=(draws, groups))
    return np.asarray(signs if groups >= FEW_CLUSTERS else signs * rng.choice(SIX_POINTS, size=(draws, groups)))


@dataclass(frozen=True)
class Differences:
    """How far estimates of one thing lie from the one at `reference`.

    `values`, `std_errors`, `lower`, `upper` (k - 1,) leave the reference out; the intervals hold together. `p_values`
    are each one's own; `joint_p` tests that all are zero, with `df` degrees of freedom (None where nothing varies).
    """

    values: Floats
    std_errors: Floats
    lower: Floats
    upper: Floats
    p_values: tuple[float | None, ...]
    joint_p: float | None
    df: int


def differences(
    estimates: Sequence[float] | Floats,
    influence: Floats,
    cluster: Codes | None = None,
    *,
    reference: int = 0,
    confidence_level: float,
    seed: int,
) -> Differences:
    """Compare estimates with one of them, by the influence function of each difference.

    Parameters
    ----------
    estimates : shape (k,)
    influence : shape (n, k)
        From the same n rows, so that what the estimates share cancels.

    Notes
    -----
    Two estimates with the same influence function differ by less than any standard error can tell: their interval is
    the point itself, and they add no degree of freedom to the joint test.
    """
    values = np.asarray(estimates, dtype=np.float64)
    others = np.delete(np.arange(len(values)), reference)
    gaps = values[others] - values[reference]
    covariance = influence_covariance(influence[:, others] - influence[:, [reference]], cluster)
    errors = np.sqrt(np.diag(covariance))
    varies = errors > 0
    critical = 0.0
    if varies.any():
        critical = simultaneous_critical_value(covariance[np.ix_(varies, varies)], confidence_level, seed=seed)
    joint, df = _wald(gaps, covariance)
    each = tuple(p_value(float(gap), float(error)) for gap, error in zip(gaps, errors, strict=True))
    return Differences(gaps, errors, gaps - critical * errors, gaps + critical * errors, each, joint, df)


def _wald(values: Floats, covariance: Floats) -> tuple[float | None, int]:
    """Test that all values are zero, in the directions in which they vary."""
    scale = np.sqrt(np.diag(covariance))
    kept = scale > 0
    if not kept.any():
        return None, 0
    correlation = covariance[np.ix_(kept, kept)] / np.outer(scale[kept], scale[kept])
    eigenvalues, vectors = np.linalg.eigh(correlation)
    real = eigenvalues > NEGLIGIBLE * eigenvalues.max()
    along = vectors[:, real].T @ (values[kept] / scale[kept])
    df = int(real.sum())
    return float(stats.chi2.sf((along**2 / eigenvalues[real]).sum(), df)), df


def combine(estimates: Floats, influence: Floats, shares: Floats) -> tuple[Floats, Floats]:
    """Return combined estimates (k,) and their influence (n, k) of m estimators.

    Parameters
    ----------
    estimates : shape (m, k)
    influence : shape (m, n, k)
    shares : shape (m,)
        With sum one, fixed before the estimates were seen.
    """
    return np.einsum("m,mk->k", shares, estimates), np.einsum("m,mnk->nk", shares, influence)

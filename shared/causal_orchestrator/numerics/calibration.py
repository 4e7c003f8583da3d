"""Weights of least divergence that meet moments exactly (entropy balancing)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from causal_orchestrator.errors import DesignError
from causal_orchestrator.numerics.linear import independent_columns
from causal_orchestrator.numerics.mestimation import inverse
from causal_orchestrator.question import shown

Floats = NDArray[np.float64]

EXACT = 1e-6  # largest difference of moments, in standard deviations, that still counts as rounding
SETTLED = 1e-12
MAX_STEPS = 500
UNBOUNDED = 500.0  # log weights this far apart mean that the target lies outside what the rows can reach


@dataclass(frozen=True)
class Calibrated:
    """Weights (m,) with sum one whose moments are the target's, and the number of solver steps."""

    weights: Floats
    steps: int


def calibrate(moments: Floats, target: Floats, base: Floats, names: Sequence[str], *, whose: str) -> Calibrated:
    """Return the weights nearest to `base` in relative entropy under which the rows' mean moments are the target's.

    The dual is convex: its minimum over the multipliers λ of log Σ base·exp((moments - target)·λ) has the moment
    conditions as its gradient.

    Parameters
    ----------
    moments : shape (m, k)
        Moment functions of the rows to weight.
    target : shape (k,)
    base : shape (m,)
        Positive starting weights.
    names, whose : words for the error.

    Raises
    ------
    DesignError
        If no weights of these rows meet the target (``INFEASIBLE``).

    References
    ----------
    Hainmueller (2012), https://doi.org/10.1093/pan/mpr025, equations 6-10.
    """
    away = moments - target
    scale = np.sqrt(base @ away**2 / base.sum())
    away = away / np.where(scale > 0, scale, 1.0)
    kept = independent_columns(np.column_stack([np.ones(len(away)), away]))[1:] - 1
    start = np.log(base / base.sum())
    weights, steps = _solve(away[:, kept], start)
    left = np.abs(weights @ away)
    if left.size and left.max() > EXACT:
        worst = shown(names[int(left.argmax())])
        raise DesignError(
            f"no weights of {whose} reach the target's mean of {worst!r} together with the other moments: the target lies "
            "outside what these rows span; balance fewer moments or use overlap_weighting",
            code="INFEASIBLE",
            details={"moment": worst, "largest_difference": float(left.max())},
        )
    return Calibrated(weights, steps)


def _solve(away: Floats, start: Floats) -> tuple[Floats, int]:
    """Minimise the dual with scipy's trust region; the moments left are its gradient."""
    if not away.shape[1]:
        return np.exp(start), 0

    def weights(multipliers: Floats) -> tuple[Floats, float]:
        exponent = start + away @ multipliers
        top = float(exponent.max())
        raw = np.exp(exponent - top)
        total = float(raw.sum())
        return raw / total, top + float(np.log(total))

    def hessian(multipliers: Floats) -> Floats:
        w = weights(multipliers)[0]
        mean = w @ away
        return np.asarray((away * w[:, None]).T @ away - np.outer(mean, mean))

    steps, multipliers = 0, np.zeros(away.shape[1])
    found = optimize.minimize(
        lambda at: weights(at)[1],
        multipliers,
        jac=lambda at: weights(at)[0] @ away,
        hess=hessian,
        method="trust-exact",
        options={"gtol": 1e-7, "maxiter": MAX_STEPS},
    )
    multipliers, steps = found.x, int(found.nit)
    # The last digits by Newton: near the minimum the dual's value no longer tells points apart.
    for _ in range(20):
        w = weights(multipliers)[0]
        gradient = w @ away
        if np.abs(gradient).max() < SETTLED or np.ptp(away @ multipliers) > UNBOUNDED:
            break
        step = inverse(hessian(multipliers)) @ gradient
        if np.abs(weights(multipliers - step)[0] @ away).max() >= np.abs(gradient).max():
            break
        multipliers, steps = multipliers - step, steps + 1
    return weights(multipliers)[0], steps


def calibrated_mean_influence(
    moments: Floats, target: Floats, outcome: Floats, weights: Floats, moved: Floats
) -> tuple[float, Floats, Floats]:
    """Return a calibrated mean, what its own rows (m,) and what the target's rows (N,) do to it.

    Stacked estimating equations: the weighted regression of the outcome on the moments is what the multipliers'
    estimation takes away; the target's own sampling error enters through its slope.

    Parameters
    ----------
    weights : shape (m,)
        With sum one.
    moved : shape (N, k)
        Influence of each row of the target's population on `target`.

    References
    ----------
    Zhao & Percival (2017), https://doi.org/10.1515/jci-2016-0010; Chan, Yam & Zhang (2016),
    https://doi.org/10.1111/rssb.12129.
    """
    away = moments - target
    mean = float(weights @ outcome)
    slope = inverse((away * weights[:, None]).T @ away) @ (away.T @ (weights * (outcome - mean)))
    return mean, weights * (outcome - mean - away @ slope), moved @ slope

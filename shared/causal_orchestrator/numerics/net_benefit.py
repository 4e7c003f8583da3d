"""What treating everyone, nobody, or those with an effect worth its cost is worth per unit, costs taken off."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from causal_orchestrator.numerics.inference import critical_value, influence_covariance, simultaneous_critical_value

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]

STEPS = 5  # thresholds where no cost is given
POLICIES = ("treat_all", "treat_by_effect", "by_effect_less_all")


def thresholds(effect: Floats) -> Floats:
    """Return costs of treating one unit at which decisions differ: from zero to the top twentieth of effects' sizes."""
    return np.linspace(0.0, float(np.quantile(np.abs(effect), 0.95)), STEPS)


def net_benefit(
    effect: Floats,
    scores: Floats,
    costs: Floats,
    *,
    weights: Floats | None,
    cluster: Codes | None,
    confidence_level: float,
    seed: int,
) -> list[dict[str, Any]]:
    """Return mean outcome gained over treating nobody, less costs, where more of the outcome is better.

    Parameters
    ----------
    effect : shape (n,)
        Learned on other rows; ``treat_by_effect`` treats where it exceeds the cost.
    scores : shape (n,)
        Doubly robust scores of the effect.
    costs : shape (n, m)
        Cost of treating each row, in units of the outcome, in each of m cases.

    Returns
    -------
    list of dict
        For every case its mean cost (``threshold``) and each of `POLICIES`: ``share`` treated, estimate and interval;
        intervals hold together over all of them. Nobody treated has neither benefit nor cost.

    References
    ----------
    Vickers & Elkin (2006), https://doi.org/10.1177/0272989X06295361, of which this is the form with a continuous
    outcome; Athey & Wager (2021), https://doi.org/10.3982/ECTA15732, for values of policies by scores.
    """
    w = np.ones(len(effect)) if weights is None else weights
    chosen = (effect[:, None] > costs).astype(np.float64)
    net = scores[:, None] - costs
    rewards = np.stack([net, chosen * net, (chosen - 1) * net], axis=2).reshape(len(effect), -1)  # (n, 3m)
    values = w @ rewards / w.sum()
    covariance = influence_covariance(w[:, None] / w.mean() * (rewards - values), cluster)
    errors = np.sqrt(np.diag(covariance))
    moving = np.flatnonzero(errors > 0)
    critical = simultaneous_critical_value(covariance[np.ix_(moving, moving)], confidence_level, seed=seed) if len(moving) else 0.0  # fmt: skip
    critical = max(critical, critical_value(confidence_level))
    shares = np.average(chosen, axis=0, weights=w)
    means = np.average(costs, axis=0, weights=w)
    return [
        {
            "threshold": float(means[k // 3]),
            "policy": POLICIES[k % 3],
            "share": float(1.0 if k % 3 == 0 else shares[k // 3]),
            "estimate": float(values[k]),
            "std_error": float(errors[k]),
            "ci_lower": float(values[k] - critical * errors[k]),
            "ci_upper": float(values[k] + critical * errors[k]),
        }
        for k in range(len(values))
    ]

"""How far the arms' covariates differ, before and after weighting."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from causal_orchestrator.numerics.mestimation import inverse

Floats = NDArray[np.float64]

BALANCED = 0.1  # GATE-1's limit of a standardised difference


def standardized_differences(covariates: Floats, treated: NDArray[np.bool_], weights: Floats | None = None) -> Floats:
    """Return the standardised mean difference (p,) of each covariate, treated minus control.

    Parameters
    ----------
    covariates : shape (n, p)
    treated : shape (n,)
        Rows of one arm; the others are the other arm.
    weights : shape (n,), optional
        Weights of the means. The scale is always the unweighted pooled SD √((s₁² + s₀²)/2), so that numbers before and
        after weighting can be compared; a column without variance has difference zero.

    References
    ----------
    Austin (2009), https://doi.org/10.1002/sim.3697
    """
    w = np.ones(len(treated)) if weights is None else weights
    means = [w[arm] @ covariates[arm] / w[arm].sum() for arm in (treated, ~treated)]
    pooled = np.sqrt((covariates[treated].var(axis=0, ddof=1) + covariates[~treated].var(axis=0, ddof=1)) / 2)
    return np.asarray(np.divide(means[0] - means[1], pooled, out=np.zeros_like(pooled), where=pooled > 0))


def effective_sample_size(weights: Floats) -> float:
    """Return Kish's (Σw)²/Σw²."""
    return float(weights.sum() ** 2 / (weights**2).sum())


def weighting_diagnostics(
    covariates: Floats, codes: Floats, levels: Sequence[str], weights: Floats
) -> dict[str, dict[str, Any]]:
    """Return effective sample sizes per arm and the largest standardised difference before and after weighting."""
    found: dict[str, dict[str, Any]] = {}
    for k, level in enumerate(levels):
        mine = weights[codes == k]
        found[f"ess {level}"] = {"value": effective_sample_size(mine), "detail": f"of {len(mine)} rows"}
    if covariates.shape[1]:
        worst = {"before": 0.0, "after": 0.0}
        for k in range(1, len(levels)):
            pair = (codes == k) | (codes == 0)
            for when, w in (("before", None), ("after", weights[pair])):
                differences = standardized_differences(covariates[pair], codes[pair] == k, w)
                worst[when] = max(worst[when], float(np.abs(differences).max()))
        found["max smd before"] = {"value": worst["before"], "threshold": BALANCED}
        found["max smd after"] = {"value": worst["after"], "threshold": BALANCED, "passed": worst["after"] < BALANCED}
    return found


def regression_weights(design: Floats, arms: NDArray[np.bool_], target: Floats, weights: Floats) -> Floats:
    """Return the weights (n,) with which a regression per arm compares the rows; they may be negative.

    Parameters
    ----------
    design : shape (n, k)
    arms : shape (K, n)
    target : shape (k,)
        Mean of the design over the target population, which each arm is weighted to exactly.

    References
    ----------
    Chattopadhyay & Zubizarreta (2023), https://doi.org/10.1093/biomet/asac058
    """
    found = np.zeros(len(design))
    for rows in arms:
        x = design[rows]
        gram = (x * weights[rows, None]).T @ x
        found[rows] = len(x) * weights[rows] * (x @ (inverse(gram) @ target))
    return found

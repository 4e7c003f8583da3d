"""How far the arms' covariates differ, before and after weighting."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations_with_replacement
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from causal_orchestrator.numerics.linear import least_squares
from causal_orchestrator.numerics.mestimation import inverse

Floats = NDArray[np.float64]

BALANCED = 0.1  # GATE-1's limit of a standardised difference
HEAVIEST = 0.01  # share of an arm's rows whose weight is looked at
MOST_ROWS = 20_000  # that are read for squares and products
MOST_COLUMNS = 20  # whose products are formed; of more, the squares alone
ROWS_PER_COLUMN = 5
ALPHA = 0.01  # that chance alone sets any square or product of an arm apart


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


def heaviest_share(weights: Floats) -> tuple[float, float]:
    """Return the share of all weight that the heaviest hundredth of the rows (one at least) carries, and their share."""
    size = np.abs(weights)
    k = max(1, round(HEAVIEST * len(size)))
    return float(np.partition(size, len(size) - k)[-k:].sum() / size.sum()), k / len(size)


def moments_apart(covariates: Floats, treated: NDArray[np.bool_], weights: Floats) -> tuple[float, float, tuple[int, ...]]:  # fmt: skip
    """Return the largest standardised difference of a square or product of covariates under weights.

    Rows are read from the front, up to `MOST_ROWS`; of a problem they stand in an order that has nothing to do with
    the data.

    Returns
    -------
    value, chance, columns
        The absolute difference in pooled SDs; what chance exceeds for any of them in a hundredth of samples at most
        (Bonferroni, normal); and the places of the columns multiplied (empty where there is none with variance).
    """
    rows = slice(0, MOST_ROWS)
    x, arm, w = covariates[rows], treated[rows], weights[rows]
    products, pairs = _products(x)
    if not pairs or min(arm.sum(), (~arm).sum()) < 2:
        return 0.0, 0.0, ()
    apart = np.abs(standardized_differences(products, arm, w))
    error = np.sqrt(sum((w[side] ** 2).sum() / w[side].sum() ** 2 for side in (arm, ~arm)))
    chance = stats.norm.isf(ALPHA / (2 * len(pairs))) * error
    worst = int(apart.argmax())
    return float(apart[worst]), float(chance), tuple(dict.fromkeys(pairs[worst]))


def prognosis_apart(
    covariates: Floats, outcome: Floats, treated: NDArray[np.bool_], weights: Floats
) -> tuple[float, float] | None:
    """Return how far the weighted arms differ in what bends in the outcome that controls of their covariates have.

    The outcome of controls is regressed on covariates, their squares and products, and what is linear in the covariates
    is taken off; rows are read as by `moments_apart`.

    Returns
    -------
    value, chance
        Treated minus controls, in units of the outcome, and what chance exceeds in a hundredth of samples; None
        where there is nothing to multiply, or too few controls for the regression.

    References
    ----------
    Stuart, Lee & Leacy (2013), https://doi.org/10.1016/j.jclinepi.2013.01.013
    """
    rows = slice(0, MOST_ROWS)
    x, y, arm, w = covariates[rows], outcome[rows], treated[rows], weights[rows]
    products, pairs = _products(x)
    linear = np.column_stack([np.ones(len(x)), x - x.mean(axis=0)])
    design = np.column_stack([linear, products])
    if not pairs or (~arm).sum() < ROWS_PER_COLUMN * design.shape[1]:
        return None
    expected = design @ least_squares(design[~arm], y[~arm]).coefficients
    bent = least_squares(linear, expected).residuals
    shares = [np.where(side, w, 0.0) / w[side].sum() for side in (arm, ~arm)]
    value = float((shares[0] - shares[1]) @ bent)
    error = np.sqrt(sum((share**2) @ (bent - share @ bent) ** 2 for share in shares))
    return value, float(stats.norm.isf(ALPHA / 2) * error)


def _products(covariates: Floats) -> tuple[Floats, list[tuple[int, int]]]:
    """Return the squares and products (n, m) of standardised covariates, and which columns each multiplies."""
    spread = covariates.std(axis=0)
    usable = [int(j) for j in np.flatnonzero(spread > 0)]
    z = (covariates - covariates.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    every = combinations_with_replacement(usable, 2) if len(usable) <= MOST_COLUMNS else ((j, j) for j in usable)
    # The square of an indicator is the indicator.
    pairs = [(a, b) for a, b in every if a != b or len(np.unique(z[:, a])) > 2]
    return np.column_stack([z[:, a] * z[:, b] for a, b in pairs]) if pairs else np.zeros((len(z), 0)), pairs


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

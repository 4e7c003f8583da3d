"""How far the arms' covariates differ, before and after weighting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from causal_orchestrator.numerics.linear import covariance, least_squares
from causal_orchestrator.numerics.mestimation import inverse

Floats = NDArray[np.float64]

BALANCED = 0.1  # GATE-1's limit of a standardised difference
HEAVIEST = 0.01  # share of an arm's rows whose weight is looked at
MOST_ROWS = 20_000  # that are read for squares and products
MOST_COLUMNS = 20  # whose products are formed; of more, the squares alone
ROWS_PER_COLUMN = 5
ALPHA = 0.01  # that chance alone sets any square or product of an arm apart
SUSPECT = 0.05  # that it sets what bends in the outcome apart
KNOTS = (0.1, 0.5, 0.9)  # quantiles of a covariate at which its line may bend


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
    sides = [(w[arm], covariates[arm]) for arm in (treated, ~treated)]
    means = [share @ x / share.sum() for share, x in sides]
    pooled = np.sqrt(sum(x.var(axis=0, ddof=1) for _, x in sides) / 2)
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


@dataclass(frozen=True)
class Prognosis:
    """What the weighted arms differ by in the outcome that their covariates predict, treated minus controls.

    bent, chance : what is not linear in the covariates, in units of the outcome, and what chance exceeds in a
        twentieth of samples.
    straight, noise : what is linear in them, and the same of the noise in its coefficients.
    """

    bent: float
    chance: float
    straight: float
    noise: float


def prognosis_apart(
    covariates: Floats, outcome: Floats, treated: NDArray[np.bool_], weights: Floats
) -> Prognosis | None:
    """Return how far the weighted arms differ in the outcome that a regression with bends predicts, effects apart.

    The outcome is regressed on the arm, the covariates in each arm, and what bends in both: squares, products, and
    hinges at three quantiles of each covariate. If the weights mean what the method needs, or the outcome is linear,
    what bends does not differ beyond chance: the error of its coefficients (HC1), and that of the arms' means of it,
    beyond what goes with the covariates, which weights balance. The difference is the one between the estimate and
    a doubly robust one with this regression (a directed specification test in the sense of Hausman). Rows are read
    as by `moments_apart`.

    Returns
    -------
    Prognosis
        None where there is nothing to multiply, or too few rows for the regression.

    References
    ----------
    Hausman (1978), https://doi.org/10.2307/1913827; Stuart, Lee & Leacy (2013),
    https://doi.org/10.1016/j.jclinepi.2013.01.013; Robins & Rotnitzky (2001) on the two ways to be right.
    """
    rows = slice(0, MOST_ROWS)
    x, y, arm, w = covariates[rows], outcome[rows], treated[rows], weights[rows]
    centred = x - x.mean(axis=0)
    linear = np.column_stack([np.ones(len(x)), centred])
    own = np.column_stack([arm, arm[:, None] * centred])
    bends = _bends(x, most=len(x) // ROWS_PER_COLUMN - 2 * linear.shape[1])
    if bends is None:
        return None
    bends = bends - linear @ (inverse(linear.T @ linear) @ (linear.T @ bends))
    fit = least_squares(np.column_stack([linear, own, bends]), y)
    joint = covariance(fit, "hc1")
    shares = [np.where(side, w, 0.0) / w[side].sum() for side in (arm, ~arm)]
    at = {"straight": np.arange(1, linear.shape[1]), "bent": np.arange(2 * linear.shape[1], fit.design.shape[1])}
    apart = {name: (shares[0] - shares[1]) @ fit.design[:, places] for name, places in at.items()}
    value = {name: float(apart[name] @ fit.coefficients[places]) for name, places in at.items()}
    noise = {name: float(apart[name] @ joint[np.ix_(places, places)] @ apart[name]) for name, places in at.items()}
    predicted = bends @ fit.coefficients[at["bent"]]
    drawn = sum(_drawn(predicted[side], linear[side], share[side]) for side, share in zip((arm, ~arm), shares, strict=True))  # fmt: skip
    critical = float(stats.norm.isf(SUSPECT / 2))
    return Prognosis(value["bent"], critical * np.sqrt(noise["bent"] + drawn), value["straight"], critical * np.sqrt(noise["straight"]))  # fmt: skip


def _drawn(predicted: Floats, linear: Floats, share: Floats) -> float:
    """Return the variance of a weighted mean of what is left of `predicted` by a weighted regression on `linear`."""
    weighted = linear * np.abs(share)[:, None]
    left = predicted - linear @ (inverse(weighted.T @ linear) @ (weighted.T @ predicted))
    return float((share**2) @ left**2)


def _bends(covariates: Floats, *, most: int) -> Floats | None:
    """Return squares, products and hinges (n, m), the hinges left out where m would be beyond `most`; None if still."""
    products, pairs = _products(covariates)
    spread = covariates.std(axis=0)
    z = (covariates - covariates.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    curved = sorted({a for a, b in pairs if a == b})
    hinges = [np.maximum(z[:, j] - knot, 0.0) for j in curved for knot in np.quantile(z[:, j], KNOTS)]
    if not pairs or len(pairs) > most:
        return None
    return products if len(pairs) + len(hinges) > most else np.column_stack([products, *hinges])


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

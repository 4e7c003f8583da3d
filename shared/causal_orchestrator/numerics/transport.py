"""Carry an effect from the rows of a study to a target population of which only covariates are known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from causal_orchestrator.numerics.linear import independent_columns, least_squares
from causal_orchestrator.numerics.logit import Logit, fit_logit
from causal_orchestrator.numerics.mestimation import glm_influence, least_squares_influence
from causal_orchestrator.numerics.nuisance import with_intercept

Floats = NDArray[np.float64]
Score = Literal["dr", "ipsw", "om"]


@dataclass(frozen=True)
class Stacked:
    """Source rows (treatment, outcome) above target rows (zeros there), with one design (N, k) and weights (N,)."""

    design: Floats
    source: Floats
    treatment: Floats
    outcome: Floats
    weights: Floats


@dataclass(frozen=True)
class Transported:
    """Mean outcome in the target under control and treatment: `means` (2,) and their `influence` (N, 2).

    `participation` (N,) is P(source | covariates), `odds` (N,) the weights that turn the source into the target (zero
    in the target).
    """

    means: Floats
    influence: Floats
    participation: Floats
    odds: Floats
    separated: bool


def stack(source: tuple[Floats, Floats, Floats, Floats | None], target: tuple[Floats, Floats | None]) -> Stacked:
    """Stack covariates, treatment, outcome and weights of the source over covariates and weights of the target."""
    x, treatment, outcome, w = source
    n, m = len(outcome), len(target[0])
    design = with_intercept(np.concatenate([x, target[0]]))
    kept = independent_columns(design[:n])
    ones, zeros = np.ones(n), np.zeros(m)
    return Stacked(
        design=design[:, kept],
        source=np.concatenate([ones, zeros]),
        treatment=np.concatenate([treatment, zeros]),
        outcome=np.concatenate([outcome, zeros]),
        weights=np.concatenate([ones if w is None else w, np.ones(m) if target[1] is None else target[1]]),
    )


def transport(data: Stacked, *, score: Score, normalized: bool) -> Transported:
    """Return the target's mean outcome under each treatment, by weighting, by an outcome model or by both.

    Participation and propensity are logits, the outcome is linear in each arm of the source. The influence is that of
    the stacked estimating equations, so it accounts for all of them being estimated.

    References
    ----------
    Dahabreh, Robertson, Steingrimsson, Stuart & Hernán (2020), https://doi.org/10.1002/sim.8426, sections 4 and 5:
    outcome model, inverse odds of participation (unnormalised and normalised) and doubly robust.
    """
    s, w = data.source, data.weights
    took_part = fit_logit(data.design, s, w)
    into = s > 0
    treated = fit_logit(data.design[into], data.treatment[into], w[into])
    odds = np.exp(-data.design @ took_part.coefficients)  # (1 - p) / p
    found = [_mean(data, took_part, treated, odds, arm, score, normalized) for arm in (0, 1)]
    return Transported(
        means=np.array([mean for mean, _ in found]),
        influence=np.column_stack([influence for _, influence in found]),
        participation=took_part.probability,
        odds=s * odds,
        separated=took_part.separated,
    )


def _mean(
    data: Stacked, took_part: Logit, treated: Logit, odds: Floats, arm: int, score: Score, normalized: bool
) -> tuple[float, Floats]:
    """Return one arm's mean in the target, and its influence (N,) on the scale of a mean over all N rows."""
    x, s, w = data.design, data.source, data.weights
    own = s * (data.treatment == arm)
    e = _propensity(data, treated)
    chance = e if arm else 1 - e
    pull = own * odds / chance * w
    share = (1 - s) * w
    fit = least_squares(x[own > 0], data.outcome[own > 0], w[own > 0])
    predicted = x @ fit.coefficients if score != "ipsw" else np.zeros(len(x))
    left = data.outcome - predicted
    size = (pull if normalized and score != "om" else share).mean()
    weighted = 0.0 if score == "om" else float((pull * left).mean() / size)
    modelled = 0.0 if score == "ipsw" else float((share * predicted).mean() / share.mean())
    influence = np.zeros(len(x))
    if score != "om":
        centre = weighted if normalized else 0.0
        influence += (pull * (left - centre) - (0.0 if normalized else weighted) * share) / size
        moved = pull * (left - centre) / size
        influence -= (
            glm_influence(x, s - took_part.probability, _slope(took_part.probability), w) @ (moved @ x) / len(x)
        )
        tilt = moved * np.where(arm == 1, -(1 - e), e)
        influence += glm_influence(x, s * (data.treatment - e), _slope(e), s * w) @ (tilt @ x) / len(x)
    if score != "ipsw":
        influence += share * (predicted - modelled) / share.mean()
        lean = share / share.mean() - (pull / size if score == "dr" else 0.0)
        influence += least_squares_influence(x, own * left, own * w) @ (lean @ x) / len(x)
    return weighted + modelled, influence


def _propensity(data: Stacked, treated: Logit) -> Floats:
    return np.asarray(1 / (1 + np.exp(-data.design @ treated.coefficients)))


def _slope(probability: Floats) -> Floats:
    return probability * (1 - probability)

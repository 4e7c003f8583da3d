"""Doubly robust scores of average effects, from cross-fitted nuisances, joined over repetitions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

from causal_orchestrator.errors import DesignError, EstimationError, InputError, NotApplicable
from causal_orchestrator.numerics.inference import Joined, median_over_repeats
from causal_orchestrator.numerics.linear import least_squares
from causal_orchestrator.numerics.nuisance import Nuisances, with_intercept
from causal_orchestrator.numerics.weighting import balancing_weights

Floats = NDArray[np.float64]
Estimand = Literal["ATE", "ATT", "ATC", "SATE", "SATT"]
Population = Literal["ATE", "ATT", "ATC"]
POPULATION: dict[Estimand, Population] = {"ATE": "ATE", "ATT": "ATT", "ATC": "ATC", "SATE": "ATE", "SATT": "ATT"}

MOST = 0.5  # share of propensities that may be moved
NONZERO = 1e-12
EDGE = 0.0005  # how near predictions of an outcome in [0, 1] may come to its bounds (default of R's tmle)
MOST_COLUMNS = 0.5  # of the treated rows, for a regression of their effects
LEAST_FREE = 0.01  # of a residual; below, its row has a parameter of its own
FARTHEST = 40.0  # a fluctuation on the logit scale beyond which a probability is 0 or 1 in double precision


class Sample(Protocol):
    """What scores need of a problem."""

    @property
    def outcome(self) -> Floats: ...  # noqa: D102
    @property
    def covariates(self) -> Floats: ...  # noqa: D102
    @property
    def treatment(self) -> Floats: ...  # noqa: D102
    @property
    def weights(self) -> Floats | None: ...  # noqa: D102
    @property
    def cluster(self) -> NDArray[np.int64] | None: ...  # noqa: D102


@dataclass(frozen=True)
class DoublyRobust:
    """Effects with covariance and influence; for the ATE also `means` (K,) by level with `means_influence` (n, K).

    `moved` is the share of propensities brought into the limits, `weights` (n,) those of the residuals.
    """

    joined: Joined
    moved: float
    weights: Floats
    means: Floats | None
    means_influence: Floats | None


def doubly_robust(sample: Sample, found: Nuisances, *, estimand: Estimand, trim: float) -> DoublyRobust:
    """Return the effects of each level by the doubly robust score.

    Parameters
    ----------
    estimand : SATE and SATT have the estimates of ATE and ATT, and a variance without that of the effects among rows.
    trim : propensities are moved into [trim, 1 - trim].

    Raises
    ------
    InputError
        If `trim` is not in [0, 0.5) (``OPTION_INVALID``).
    DesignError
        If more than half of the propensities would have to be moved (``POSITIVITY``).
    NotApplicable
        If a sample's effect is asked for with sampling weights, which speak of a population (``SAMPLE_WEIGHTED``).

    References
    ----------
    Robins, Rotnitzky & Zhao (1994); Chernozhukov et al. (2018), https://doi.org/10.1111/ectj.12097; for the variance
    given the covariates Imbens (2004), https://doi.org/10.1162/003465304323023651, section II.D; for how much of the
    effects' variance the covariates let one leave out Ding, Feller & Miratrix (2019),
    https://doi.org/10.1080/01621459.2017.1407322.
    """
    target = POPULATION[estimand]
    if target != estimand and sample.weights is not None:
        raise NotApplicable(f"sampling weights speak of a population: ask for {target}, not {estimand}", code="SAMPLE_WEIGHTED")  # fmt: skip
    moved, propensities = limited(found, trim)
    values, influences, means, by_arm = [], [], [], []
    for propensity, outcomes in zip(propensities, found.outcome_by_level, strict=True):
        if target == "ATE":
            score = level_scores(sample, propensity, outcomes)
            means.append(score.mean(axis=0))
            by_arm.append(_centred(score - outcomes) if estimand == "SATE" else score - means[-1])
            values.append(means[-1][1:] - means[-1][0])
            influences.append(by_arm[-1][:, 1:] - by_arm[-1][:, [0]])
        else:
            value, influence = effect_on(sample, propensity, outcomes, target)
            values.append(value)
            influences.append(influence if target == estimand else _of_sample(sample, outcomes, influence))
    return DoublyRobust(
        joined=median_over_repeats(np.array(values), np.array(influences), sample.cluster),
        moved=moved,
        weights=balancing_weights(
            sample.treatment, np.clip(found.propensity.mean(axis=0), max(trim, NONZERO), 1 - trim), target
        ),
        means=np.median(np.array(means), axis=0) if means else None,
        means_influence=np.mean(np.array(by_arm), axis=0) if by_arm else None,
    )


def described(estimand: Estimand, cluster: NDArray[np.int64] | None) -> str:
    """Return where the standard error comes from, in words."""
    given = " given the sample's covariates and treatments" if estimand in ("SATE", "SATT") else ""
    return f"influence function{given}" + ("" if cluster is None else ", clustered")


def limited(found: Nuisances, trim: float) -> tuple[float, Floats]:
    """Return the share of propensities outside [trim, 1 - trim], and the propensities (R, n, K) moved inside."""
    if not 0 <= trim < 0.5:
        raise InputError(f"trim must lie in [0, 0.5), found {trim}", code="OPTION_INVALID", details={"option": "trim"})
    moved = float(((found.propensity < trim) | (found.propensity > 1 - trim)).any(axis=2).mean())
    if moved > MOST:
        raise DesignError(f"{moved:.0%} of the estimated propensities lie outside [{trim:g}, {1 - trim:g}]: there is no overlap", code="POSITIVITY")  # fmt: skip
    return moved, np.clip(found.propensity, max(trim, NONZERO), 1 - trim)


def level_scores(sample: Sample, propensity: Floats, outcomes: Floats) -> Floats:
    """Return doubly robust scores (n, K) of the mean outcome under each level, times sampling weights."""
    own = sample.treatment[:, None] == np.arange(propensity.shape[1])
    scores = outcomes + own * (sample.outcome[:, None] - outcomes) / propensity
    if sample.weights is None:
        return np.asarray(scores)
    mean = sample.weights @ scores / len(scores)
    return np.asarray(mean + sample.weights[:, None] * (scores - mean))


def effect_on(sample: Sample, propensity: Floats, outcomes: Floats, estimand: str) -> tuple[Floats, Floats]:
    """Return effects (K-1,) on the treated of each level (ATT) or on the controls (ATC), with influence."""
    n, levels = propensity.shape
    w = np.ones(n) if sample.weights is None else sample.weights
    values, influence = np.zeros(levels - 1), np.zeros((n, levels - 1))
    for k in range(1, levels):
        here, there, sign = (k, 0, 1.0) if estimand == "ATT" else (0, k, -1.0)
        at, away = sample.treatment == here, sample.treatment == there
        odds = propensity[:, here] / propensity[:, there]
        score = sign * (at - away * odds) * (sample.outcome - outcomes[:, there]) * w
        share = (w * at).mean()
        values[k - 1] = score.mean() / share
        influence[:, k - 1] = (score - values[k - 1] * w * at) / share
    return values, influence


def _centred(influence: Floats) -> Floats:
    return np.asarray(influence - influence.mean(axis=0))


def _of_sample(sample: Sample, outcomes: Floats, influence: Floats) -> Floats:
    """Return the influence (n, K-1) on the mean effect of the treated rows themselves.

    A treated row's effect is not an error there, but what the prediction of its outcome without treatment misses is.
    The two can't be told apart in one row; learned effects miss what the prediction misses. So only what a linear
    regression on the covariates explains counts as the rows' effects; with more than half as many columns as treated
    rows only their mean does.
    """
    out = influence.copy()
    for k in range(1, outcomes.shape[1]):
        treated = sample.treatment == k
        gained = sample.outcome[treated] - outcomes[treated, 0]
        fit = least_squares(with_intercept(sample.covariates[treated]), gained)
        if len(fit.kept) > MOST_COLUMNS * len(gained):
            fit = least_squares(np.ones((len(gained), 1)), gained)
        out[treated, k - 1] = fit.residuals / np.sqrt(np.clip(1 - fit.leverage, LEAST_FREE, None)) / treated.mean()
    return _centred(out)


# --- targeting ------------------------------------------------------------------------------------------------------


def targeted(sample: Sample, found: Nuisances, *, estimand: Estimand, trim: float) -> Nuisances:
    """Return the nuisances with outcome predictions that a logistic fluctuation has made solve the score equation.

    The outcome is scaled to [0, 1] by its range; in each arm that stands in for another population one intercept is
    fitted on the logit scale, with the predictions as offset and the arm's balancing weights. The plug-in mean of the
    fluctuated predictions is then the doubly robust estimate, and lies within the outcome's range. Binary treatment.

    References
    ----------
    Gruber & van der Laan (2010), https://doi.org/10.2202/1557-4679.1260; van der Laan & Rose (2011), chapters 4 and 8.
    """
    target = POPULATION[estimand]
    low, width = float(sample.outcome.min()), float(np.ptp(sample.outcome))
    y = (sample.outcome - low) / width
    w = np.ones(len(y)) if sample.weights is None else sample.weights
    fluctuated = found.outcome_by_level.copy()
    for r, propensity in enumerate(limited(found, trim)[1]):
        balancing = w * balancing_weights(sample.treatment, propensity, target)
        for k in {"ATE": (0, 1), "ATT": (0,), "ATC": (1,)}[target]:
            own = sample.treatment == k
            start = special.logit(np.clip((fluctuated[r, :, k] - low) / width, EDGE, 1 - EDGE))
            shift = _fluctuation(y[own], start[own], balancing[own])
            fluctuated[r, :, k] = low + width * special.expit(start + shift)
    return replace(found, outcome_by_level=fluctuated)


def _fluctuation(y: Floats, start: Floats, weights: Floats) -> float:
    """Return the intercept at which weighted residuals sum to zero; their sum falls in it."""
    share = weights / weights.sum()

    def left(shift: float) -> float:
        return float(share @ (y - special.expit(start + shift)))

    if not left(-FARTHEST) > 0 > left(FARTHEST):
        raise EstimationError("an arm's outcomes all lie on one bound; there is nothing to target", code="NO_VARIATION")
    return float(optimize.brentq(left, -FARTHEST, FARTHEST, xtol=1e-14, rtol=1e-14, maxiter=200))

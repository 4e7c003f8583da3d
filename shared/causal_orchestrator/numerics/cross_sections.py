"""The effect on the treated from two cross-sections of different rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Propensity:
    """Odds of being in the cohort (n,), and the linear representation (n, k) of the logit's coefficients."""

    odds: Floats
    linear: Floats


@dataclass(frozen=True)
class CrossSectional:
    """An ATT, in units of the outcome, and each row's influence (n,) on it."""

    value: float
    influence: Floats


@dataclass(frozen=True)
class _Line:
    """A regression within one cohort and period: fitted values (n,) everywhere, and its linear representation (n, k)."""

    fitted: Floats
    linear: Floats


def att(
    outcome: Floats,
    *,
    treated: Floats,
    after: Floats,
    x: Floats,
    weights: Floats,
    propensity: Propensity | None,
    regress: bool,
) -> CrossSectional:
    """Estimate the effect on the treated where other rows are seen before and after.

    Assumes parallel trends given the covariates, and that who is sampled does not change over time. With a propensity
    and regressions the locally efficient doubly robust estimator; with one of them outcome regression or normalised
    weighting.

    Parameters
    ----------
    outcome : shape (n,)
    treated, after : shape (n,), 0/1: the cohort, and the later cross-section.
    x : shape (n, k), the intercept first.
    weights : shape (n,)
    propensity : None for outcome regression.
    regress : whether outcomes are regressed on `x` in every cohort and period.

    References
    ----------
    Sant'Anna & Zhao (2020), https://doi.org/10.1016/j.jeconom.2020.06.003, equations 2.5, 2.8 and 3.4 (locally
    efficient); influence functions by the chain rule through every nuisance.
    """
    on, off = weights * treated, weights * (1 - treated)
    times = (1 - after, after)
    none = _Line(np.zeros(len(x)), np.zeros_like(x))
    value, influence = 0.0, np.zeros(len(x))
    for sign, time in zip((-1.0, 1.0), times, strict=True):
        control = _line(outcome, x, off * time) if regress else none
        if propensity is None:
            terms = [(1.0, on * time, outcome), (-1.0, on, control.fitted)]
            slopes = [(control, -_mean(on, x))]
        else:
            back = off * propensity.odds * time
            gap = outcome - control.fitted
            terms = [(1.0, on * time, gap), (-1.0, back, gap)]
            slopes = []
            if regress:
                cohort = _line(outcome, x, on * time)
                apart = cohort.fitted - control.fitted
                terms += [(1.0, on, apart), (-1.0, on * time, apart)]
                slopes = [(control, _mean(back, x) - _mean(on, x)), (cohort, _mean(on, x) - _mean(on * time, x))]
            level = float(back @ gap / back.sum())
            influence -= sign * propensity.linear @ _mean(back, (gap - level)[:, None] * x)
        for factor, weight, values in terms:
            centre = float(weight @ values / weight.sum())
            value += sign * factor * centre
            influence += sign * factor * weight * (values - centre) / weight.mean()
        for line, gradient in slopes:
            influence += sign * line.linear @ gradient
    return CrossSectional(value, influence)


def _mean(weight: Floats, values: Floats) -> Floats:
    return np.asarray(weight @ values / weight.sum())


def _line(outcome: Floats, x: Floats, weight: Floats) -> _Line:
    inverse = np.linalg.inv((x * weight[:, None]).T @ x / len(x))
    fitted = x @ (inverse @ (x.T @ (weight * outcome) / len(x)))
    return _Line(fitted, np.asarray((weight * (outcome - fitted))[:, None] * x @ inverse))

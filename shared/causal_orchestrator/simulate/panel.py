"""Panels: units are followed over time and some begin treatment."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from causal_orchestrator.question import Question
from causal_orchestrator.simulate.record import Simulated, make, names, same

PERIODS = 6


def _noise(rng: np.random.Generator, units: int, periods: int, persistence: float) -> NDArray[np.float64]:
    """Return stationary AR(1) noise (units, periods) with variance one."""
    shocks = rng.standard_normal((units, periods))
    noise = shocks.copy()
    for t in range(1, periods):
        noise[:, t] = persistence * noise[:, t - 1] + np.sqrt(1 - persistence**2) * shocks[:, t]
    return noise


def staggered(
    n: int, *, seed: int, effect: float = 1.0, growth: float = 0.0, persistence: float = 0.4, trend: float = 0.0
) -> Simulated:
    """Start treatment in the third or the fifth of six periods, or never; those who start are the better off.

    growth : what the effect gains with every period under treatment; the truth is this sample's mean over treated rows,
        and for the dynamic aggregate over the times since the start.
    trend : how much faster units with a large x0 grow; they also start sooner, so that trends are parallel given x0.
    """
    rng = np.random.default_rng(seed)
    units = n // PERIODS
    x = rng.standard_normal((units, 2))
    cohort = rng.choice(3, size=units, p=[0.4, 0.3, 0.3])
    if trend:
        cohort = np.where(rng.random(units) < 0.5, cohort, np.where(x[:, 0] > 0, 1, 0))
    first = np.array([np.inf, 3.0, 5.0])[cohort]
    time = np.arange(1, PERIODS + 1)
    since = time - first[:, None]
    gain = np.where(since >= 0, effect + growth * np.maximum(since, 0.0), 0.0)
    level = x.sum(axis=1) + 1.5 * (cohort > 0) + rng.standard_normal(units)
    y = level[:, None] + 0.3 * time + trend * x[:, [0]] * time + gain + _noise(rng, units, PERIODS, persistence)
    t = since >= 0
    cell = {
        "t": t.ravel() * 1.0,
        "y": y.ravel(),
        "x0": np.repeat(x[:, 0], PERIODS),
        "x1": np.repeat(x[:, 1], PERIODS),
        "unit": np.repeat(np.arange(units) * 1.0, PERIODS),
        "period": np.tile(time * 1.0, units),
        "first": np.repeat(np.where(np.isinf(first), 0.0, first), PERIODS),
    }
    question = Question(treatment="t", outcome="y", covariates=names(2), unit="unit", time="period", first_treated="first")  # fmt: skip
    by_duration = [effect + growth * e for e in np.unique(since[t])]
    truth = (
        same(effect) | ({"ATT": float(gain[t].mean())} if growth else {}) | {"ATT_DYNAMIC": float(np.mean(by_duration))}
    )
    return make(cell, question, gain.ravel(), t.ravel(), **truth)


def interrupted(n: int, *, seed: int, effect: float = 1.0, persistence: float = 0.3) -> Simulated:
    """Interrupt one series with a trend after three fifths of its times; noise is correlated in time."""
    rng = np.random.default_rng(seed)
    time = np.arange(n) * 1.0
    t = time >= round(0.6 * n)
    x = rng.standard_normal((n, 2))
    y = 3.0 * time / n + x.sum(axis=1) / 2 + effect * t + _noise(rng, 1, n, persistence)[0]
    question = Question(treatment="t", outcome="y", covariates=names(2), time="period")
    cell = {"t": t * 1.0, "y": y, "x0": x[:, 0], "x1": x[:, 1], "period": time}
    return make(cell, question, effect * t.astype(np.float64), t, **same(effect))


def forecastable(n: int, *, seed: int, effect: float = 1.0, walk: float = 0.01) -> Simulated:
    """Interrupt one series near its end; its level walks at random and two control series move with it."""
    rng = np.random.default_rng(seed)
    time = np.arange(n) * 1.0
    t = time >= n - min(40, n // 5)
    x = np.cumsum(rng.standard_normal((n, 2)), axis=0) / 4 + rng.standard_normal((n, 2))
    y = x.sum(axis=1) + np.cumsum(walk * rng.standard_normal(n)) + effect * t + 0.3 * rng.standard_normal(n)
    question = Question(treatment="t", outcome="y", covariates=names(2), time="period")
    cell = {"t": t * 1.0, "y": y, "x0": x[:, 0], "x1": x[:, 1], "period": time}
    return make(cell, question, effect * t.astype(np.float64), t, **same(effect))


def block(n: int, *, seed: int, effect: float = 1.0, persistence: float = 0.4) -> Simulated:
    """Start treatment in the fourth of six periods in half of the units, the better off; no time of start is given."""
    made = staggered(n, seed=seed, effect=0.0, persistence=persistence)
    frame = made.frame.drop(columns="first")
    ever = made.frame["first"] > 0
    t = (ever & (frame["period"] >= 4)).to_numpy()
    frame = frame.assign(t=t * 1.0, y=frame["y"] + effect * t)
    question = made.question.model_copy(update={"first_treated": None})
    return make(
        {name: frame[name].to_numpy() for name in frame}, question, effect * t.astype(np.float64), t, **same(effect)
    )

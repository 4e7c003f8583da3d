"""Observational data: treatment depends on covariates that move the outcome too."""

from __future__ import annotations

import numpy as np
from scipy import special

from causal_orchestrator.question import Question
from causal_orchestrator.simulate.record import Simulated, make, names, same, with_names


def linear(n: int, *, seed: int, effect: float = 1.0, p: int = 4) -> Simulated:
    """Treat by a logit of the covariates; outcome linear in them, one effect for all; good overlap."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, p))
    index = x[:, :2].sum(axis=1)
    t = rng.random(n) < special.expit(0.6 * index - 0.2)
    y = x.sum(axis=1) + effect * t + rng.standard_normal(n)
    question = Question(treatment="t", outcome="y", covariates=names(p))
    return make({"t": t * 1.0, "y": y, **with_names(x)}, question, np.full(n, effect), t, **same(effect))


def nonlinear(n: int, *, seed: int, effect: float = 1.0, p: int = 6) -> Simulated:
    """Treat and respond by the same bends and products of the covariates, so that linear adjustment is biased."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, p))
    bend = x[:, 0] * x[:, 1] + np.abs(x[:, 2]) - 0.8
    t = rng.random(n) < special.expit(0.8 * bend)
    y = 1.5 * bend + 0.5 * x[:, 3] + effect * t + rng.standard_normal(n)
    question = Question(treatment="t", outcome="y", covariates=names(p))
    return make({"t": t * 1.0, "y": y, **with_names(x)}, question, np.full(n, effect), t, **same(effect))


def heterogeneous(n: int, *, seed: int, p: int = 4) -> Simulated:
    """Treat those more who gain more: the effect is 1 + x0 (ATE 1), the ATT is above it."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, p))
    t = rng.random(n) < special.expit(0.8 * x[:, 0] + 0.4 * x[:, 1])
    effect = 1 + x[:, 0]
    y = x.sum(axis=1) + effect * t + rng.standard_normal(n)
    question = Question(treatment="t", outcome="y", covariates=names(p))
    return make({"t": t * 1.0, "y": y, **with_names(x)}, question, effect, t, ATE=1.0)


def policy(n: int, *, seed: int, p: int = 4) -> Simulated:
    """Add to `heterogeneous` a policy that treats those with x0 above zero: they gain 1 + x0."""
    made = heterogeneous(n, seed=seed, p=p)
    gain = 0.5 + 1 / np.sqrt(2 * np.pi)  # E[(1 + x0) 1(x0 > 0)]; without treatment the mean outcome is zero
    return Simulated(
        made.frame.assign(best=(made.frame["x0"] > 0) * 1.0),
        made.question.model_copy(update={"policy": "best"}),
        {**made.truth, "POLICY_VALUE": gain},
        made.effect,
    )


def binary(n: int, *, seed: int) -> Simulated:
    """Treat by a logit, with an outcome of yes or no; truth is this sample's mean risk difference."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, 3))
    t = rng.random(n) < special.expit(x @ [0.6, 0.4, 0.0])
    base = x @ [0.8, 0.5, 0.3] - 0.5
    effect = special.expit(base + 0.7) - special.expit(base)
    y = rng.random(n) < special.expit(base + 0.7 * t)
    question = Question(treatment="t", outcome="y", covariates=names(3))
    return make({"t": t * 1.0, "y": y * 1.0, **with_names(x)}, question, effect, t, ATE=float(effect.mean()))


def arms(n: int, *, seed: int, effects: tuple[float, ...] = (0.5, 1.0)) -> Simulated:
    """Give one of several treatments by a multinomial logit; truth is the first one's effect."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, 3))
    slopes = np.linspace(0.0, 0.8, len(effects) + 1)
    chance = special.softmax(x[:, [0]] * slopes, axis=1)
    arm = (rng.random(n)[:, None] > np.cumsum(chance, axis=1)).sum(axis=1)
    y = x.sum(axis=1) + np.array([0.0, *effects])[arm] + rng.standard_normal(n)
    question = Question(treatment="t", outcome="y", covariates=names(3))
    columns = {"t": arm * 1.0, "y": y, **with_names(x)}
    return make(columns, question, np.full(n, effects[0]), arm > 0, **same(effects[0]))


def dose(n: int, *, seed: int, effect: float = 1.0) -> Simulated:
    """Give a continuous dose that rises with the covariates; the outcome is linear in the dose."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, 3))
    t = x @ [0.7, 0.3, 0.0] + rng.standard_normal(n)
    y = x.sum(axis=1) + effect * t + rng.standard_normal(n)
    question = Question(treatment="t", outcome="y", covariates=names(3))
    return make({"t": t, "y": y, **with_names(x)}, question, np.full(n, effect), t > 0, **same(effect))


def clusters(n: int, *, seed: int, effect: float = 1.0, size: int = 10) -> Simulated:
    """Treat rows by a logit; covariates and outcome share shocks within clusters."""
    rng = np.random.default_rng(seed)
    cluster = np.arange(n) // size
    groups = int(cluster.max()) + 1
    shock = rng.standard_normal((groups, 3))[cluster]
    x = rng.standard_normal((n, 2)) + shock[:, :2]
    t = rng.random(n) < special.expit(0.4 * x.sum(axis=1))
    y = x.sum(axis=1) + effect * t + shock[:, 2] + rng.standard_normal(n)
    question = Question(treatment="t", outcome="y", covariates=names(2), cluster="g")
    columns = {"t": t * 1.0, "y": y, "g": cluster * 1.0, **with_names(x)}
    return make(columns, question, np.full(n, effect), t, **same(effect))


def weak_overlap(n: int, *, seed: int, effect: float = 1.0, strength: float = 2.5) -> Simulated:
    """Treat almost surely at one end of a covariate and hardly at the other."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, 3))
    t = rng.random(n) < special.expit(strength * x[:, 0])
    y = x.sum(axis=1) + effect * t + rng.standard_normal(n)
    question = Question(treatment="t", outcome="y", covariates=names(3))
    return make({"t": t * 1.0, "y": y, **with_names(x)}, question, np.full(n, effect), t, **same(effect))


def unmeasured(n: int, *, seed: int, effect: float = 0.0, strength: float = 1.0) -> Simulated:
    """Confound by a variable that is not in the table: every estimate is wrong, and rightly so."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, 3))
    hidden = rng.standard_normal(n)
    t = rng.random(n) < special.expit(0.5 * x[:, 0] + strength * hidden)
    y = x.sum(axis=1) + strength * hidden + effect * t + rng.standard_normal(n)
    question = Question(treatment="t", outcome="y", covariates=names(3))
    return make({"t": t * 1.0, "y": y, **with_names(x)}, question, np.full(n, effect), t, **same(effect))

"""Experiments: treatment is assigned by chance."""

from __future__ import annotations

import numpy as np
from scipy import special

from causal_orchestrator.question import Question
from causal_orchestrator.simulate.record import Simulated, make, names, same, with_names


def randomized(n: int, *, seed: int, effect: float = 1.0, share: float = 0.4, p: int = 4) -> Simulated:
    """Assign a share by coin; covariates explain half of the outcome; noise is larger under treatment."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, p))
    t = rng.random(n) < share
    y = x.sum(axis=1) / np.sqrt(p) + effect * t + rng.standard_normal(n) * np.where(t, 1.5, 1.0)
    question = Question(treatment="t", outcome="y", covariates=names(p), randomized=True)
    return make({"t": t * 1.0, "y": y, **with_names(x)}, question, np.full(n, effect), t, **same(effect))


def randomized_heterogeneous(n: int, *, seed: int, p: int = 4) -> Simulated:
    """Assign a third by coin; the effect is 1 + 1.5 x0, so its mean is 1."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, p))
    t = rng.random(n) < 1 / 3
    effect = 1 + 1.5 * x[:, 0]
    y = x.sum(axis=1) / np.sqrt(p) + effect * t + rng.standard_normal(n)
    question = Question(treatment="t", outcome="y", covariates=names(p), randomized=True)
    return make({"t": t * 1.0, "y": y, **with_names(x)}, question, effect, t, **same(1.0))


def randomized_clusters(n: int, *, seed: int, effect: float = 1.0, size: int = 20) -> Simulated:
    """Assign whole clusters; outcomes within one share a shock of half the variance."""
    rng = np.random.default_rng(seed)
    cluster = np.arange(n) // size
    groups = int(cluster.max()) + 1
    assigned = rng.permutation(groups) < groups / 2
    t = assigned[cluster]
    x = rng.standard_normal((n, 2)) + rng.standard_normal((groups, 2))[cluster]
    y = x @ [0.5, -0.5] + effect * t + rng.standard_normal(groups)[cluster] + rng.standard_normal(n)
    question = Question(treatment="t", outcome="y", covariates=names(2), cluster="g", randomized=True)
    columns = {"t": t * 1.0, "y": y, "g": cluster * 1.0, **with_names(x)}
    return make(columns, question, np.full(n, effect), t, **same(effect))


def randomized_arms(n: int, *, seed: int, effects: tuple[float, ...] = (0.5, 1.0)) -> Simulated:
    """Assign a control and several treatments with equal chance; truth is that of the first."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, 3))
    arm = rng.integers(0, len(effects) + 1, n)
    y = x.sum(axis=1) + np.array([0.0, *effects])[arm] + rng.standard_normal(n)
    question = Question(treatment="t", outcome="y", covariates=names(3), randomized=True)
    columns = {"t": arm * 1.0, "y": y, **with_names(x)}
    return make(columns, question, np.full(n, effects[0]), arm > 0, **same(effects[0]))


def randomized_binary(n: int, *, seed: int) -> Simulated:
    """Assign half by coin; the outcome is yes or no with a logit of the covariates; truth is this sample's mean."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, 3))
    t = rng.random(n) < 0.5
    base = x @ [0.8, -0.5, 0.3] - 0.5
    effect = special.expit(base + 0.8) - special.expit(base)
    y = rng.random(n) < np.where(t, special.expit(base + 0.8), special.expit(base))
    question = Question(treatment="t", outcome="y", covariates=names(3), randomized=True)
    return make({"t": t * 1.0, "y": y * 1.0, **with_names(x)}, question, effect, t, ATE=float(effect.mean()))


def no_effect(n: int, *, seed: int) -> Simulated:
    """Assign by coin a treatment that does nothing."""
    return randomized(n, seed=seed, effect=0.0)

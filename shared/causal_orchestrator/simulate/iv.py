"""Instruments: a lottery moves a treatment that hidden causes move too."""

from __future__ import annotations

import numpy as np

from causal_orchestrator.question import Question
from causal_orchestrator.simulate.record import Simulated, make, names, same, with_names


def encouraged(n: int, *, seed: int, effect: float = 1.0, strength: float = 1.6, p: int = 3) -> Simulated:
    """Encourage half by coin; a hidden cause moves take-up and outcome; one effect for all."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, p))
    hidden = rng.standard_normal(n)
    z = rng.random(n) < 0.5
    t = strength * (z - 0.5) + 0.3 * x[:, 0] + 0.6 * hidden + 0.3 * rng.standard_normal(n) > 0
    y = x.sum(axis=1) + hidden + effect * t + 0.5 * rng.standard_normal(n)
    question = Question(treatment="t", outcome="y", covariates=names(p), instruments=("z",))
    truth = {**same(effect), "LATE": effect, "WLATE": effect}
    return make({"t": t * 1.0, "y": y, "z": z * 1.0, **with_names(x)}, question, np.full(n, effect), t, **truth)


def dose(n: int, *, seed: int, effect: float = 1.0, strength: float = 0.5, k: int = 3) -> Simulated:
    """Move a dose by several instruments, each by `strength`; noise is larger where the first one is high."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, 2))
    z = rng.standard_normal((n, k))
    hidden = rng.standard_normal(n)
    t = strength * z.sum(axis=1) + 0.3 * x[:, 0] + hidden + rng.standard_normal(n)
    y = x.sum(axis=1) + hidden + effect * t + rng.standard_normal(n) * np.exp(0.4 * z[:, 0])
    labels = tuple(f"z{j}" for j in range(k))
    question = Question(treatment="t", outcome="y", covariates=names(2), instruments=labels)
    columns = {"t": t, "y": y, **dict(zip(labels, z.T, strict=True)), **with_names(x)}
    truth = {**same(effect), "LATE": effect, "WLATE": effect}
    return make(columns, question, np.full(n, effect), t > 0, **truth)


def types(n: int, *, seed: int) -> Simulated:
    """Mix always-takers (20 %, effect 3), never-takers (30 %) and compliers (50 %, effect 1); x0 is higher in the latter."""
    rng = np.random.default_rng(seed)
    kind = rng.choice(3, size=n, p=[0.2, 0.3, 0.5])
    z = rng.random(n) < 0.4
    t = (kind == 0) | ((kind == 2) & z)
    effect = np.where(kind == 0, 3.0, 1.0)
    x = rng.standard_normal(n) + (kind == 2)
    y = kind + effect * t + rng.standard_normal(n)
    question = Question(treatment="t", outcome="y", covariates=(), instruments=("z",))
    columns = {"t": t * 1.0, "y": y, "z": z * 1.0, "x0": x}
    return make(columns, question, effect, t, LATE=1.0, ATE=1.4)

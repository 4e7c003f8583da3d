"""Discontinuities: a running variable decides a treatment, or its chance, at zero."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from causal_orchestrator.question import Question
from causal_orchestrator.simulate.record import Simulated, make, names, with_names

Floats = NDArray[np.float64]


def sharp(n: int, *, seed: int, effect: float = 1.0, p: int = 3) -> Simulated:
    """Treat from zero on; the outcome bends smoothly with the running variable and the effect grows with it."""
    rng = np.random.default_rng(seed)
    x, r = rng.standard_normal((n, p)), rng.uniform(-1, 1, n)
    t = r >= 0
    each = effect + 0.5 * r
    y = _curve(r) + each * t + 0.2 * x[:, 0] + 0.35 * rng.standard_normal(n)
    question = Question(treatment="t", outcome="y", covariates=names(p), running_variable="r", cutoff=0.0)
    return make({"t": t * 1.0, "y": y, "r": r, **with_names(x)}, question, each, t, LATE=effect)


def fuzzy(n: int, *, seed: int, effect: float = 1.0, p: int = 3) -> Simulated:
    """Raise the chance of treatment from 0.15 to 0.85 at zero; a hidden cause moves take-up and outcome."""
    rng = np.random.default_rng(seed)
    x, r = rng.standard_normal((n, p)), rng.uniform(-1, 1, n)
    hidden = rng.random(n)
    t = hidden < np.where(r >= 0, 0.85, 0.15) + 0.1 * r
    y = _curve(r) + effect * t - 0.5 * hidden + 0.2 * x[:, 0] + 0.2 * rng.standard_normal(n)
    question = Question(treatment="t", outcome="y", covariates=names(p), running_variable="r", cutoff=0.0)
    return make({"t": t * 1.0, "y": y, "r": r, **with_names(x)}, question, np.full(n, effect), t, LATE=effect)


def _curve(r: Floats) -> Floats:
    return np.asarray(np.sin(1.5 * r) + 0.5 * r**2)

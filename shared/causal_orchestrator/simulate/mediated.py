"""Mediation: part of the effect goes through a variable in between."""

from __future__ import annotations

import numpy as np

from causal_orchestrator.question import Question
from causal_orchestrator.simulate.record import Simulated, make, names, same, with_names


def mediated(n: int, *, seed: int, through: float = 0.6, direct: float = 0.4, hidden: float = 0.0) -> Simulated:
    """Assign by coin; `through` of the effect goes by the mediator, `direct` does not; `hidden` moves both."""
    rng = np.random.default_rng(seed)
    x, t = rng.standard_normal((n, 3)), rng.random(n) < 0.5
    unseen = rng.standard_normal(n)
    m = 0.8 * t + 0.5 * x[:, 0] + hidden * unseen + rng.standard_normal(n)
    y = through / 0.8 * m + direct * t + x.sum(axis=1) + hidden * unseen + rng.standard_normal(n)
    question = Question(treatment="t", outcome="y", covariates=names(3), mediators=("m",), randomized=True)
    effect = through + direct
    return make({"t": t * 1.0, "y": y, "m": m, **with_names(x)}, question, np.full(n, effect), t, **same(effect))

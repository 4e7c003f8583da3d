"""Hidden confounding of which the table has proxies."""

from __future__ import annotations

import numpy as np
from scipy import special

from causal_orchestrator.question import Question
from causal_orchestrator.simulate.record import Simulated, make, names, same, with_names


def proxied(n: int, *, seed: int, effect: float = 1.0, strength: float = 1.0) -> Simulated:
    """Confound by a variable seen only with noise, once beside the treatment and once beside the outcome."""
    rng = np.random.default_rng(seed)
    x, hidden = rng.standard_normal((n, 3)), rng.standard_normal(n)
    t = rng.random(n) < special.expit(0.5 * x[:, 0] + 0.8 * hidden)
    z = strength * hidden + 0.5 * t + 0.3 * x[:, 1] + 0.7 * rng.standard_normal(n)
    w = strength * hidden + 0.3 * x[:, 1] + 0.7 * rng.standard_normal(n)
    y = x.sum(axis=1) + hidden + effect * t + rng.standard_normal(n)
    question = Question(treatment="t", outcome="y", covariates=names(3), treatment_proxies=("proxy_t",), outcome_proxies=("proxy_y",))  # fmt: skip
    return make({"t": t * 1.0, "y": y, "proxy_t": z, "proxy_y": w, **with_names(x)}, question, np.full(n, effect), t, **same(effect))  # fmt: skip

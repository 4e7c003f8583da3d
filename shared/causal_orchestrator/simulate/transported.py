"""Transport: an experiment in one population, and another population that is asked about."""

from __future__ import annotations

import numpy as np

from causal_orchestrator.question import Question
from causal_orchestrator.simulate.record import Simulated, make, names, with_names


def transported(n: int, *, seed: int, shift: float = 0.5) -> Simulated:
    """Treat half of a source, whose covariates lie `shift` above the target's; the effect 1 + x0 is 1 in the target.

    Outcome and treatment of the target are not in the table.
    """
    rng = np.random.default_rng(seed)
    source = np.arange(n) < n // 2
    x = rng.standard_normal((n, 3)) + shift * source[:, None]
    t = rng.random(n) < 0.5
    effect = 1 + x[:, 0]
    y = x.sum(axis=1) + effect * t + rng.standard_normal(n)
    seen = {"t": np.where(source, t * 1.0, np.nan), "y": np.where(source, y, np.nan), "s": source * 1.0}
    question = Question(treatment="t", outcome="y", covariates=names(3), population="s")
    return make({**seen, **with_names(x)}, question, effect, source & t, ATE=1.0)

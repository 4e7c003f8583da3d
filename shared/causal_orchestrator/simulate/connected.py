"""An experiment among units that are connected: treatment reaches neighbours too."""

from __future__ import annotations

import numpy as np

from causal_orchestrator.question import Question
from causal_orchestrator.simulate.record import Simulated, make, names, same, with_names


def connected(n: int, *, seed: int, effect: float = 1.0, spillover: float = 0.5) -> Simulated:
    """Treat three tenths of the units of a ring with chords; a treated neighbour adds `spillover`."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, 3))
    t = np.zeros(n, dtype=bool)
    t[rng.permutation(n)[: round(0.3 * n)]] = True
    place = rng.permutation(n)
    near: list[set[int]] = [set() for _ in range(n)]
    for a, b in [*zip(place, np.roll(place, 1), strict=True), *rng.integers(0, n, (n // 4, 2))]:
        if a != b:
            near[a].add(int(b))
            near[b].add(int(a))
    exposed = np.array([any(t[j] for j in others) for others in near])
    y = x.sum(axis=1) + effect * t + spillover * exposed + rng.standard_normal(n)
    friends = np.array([" ".join(map(str, sorted(others))) for others in near], dtype=object)
    question = Question(treatment="t", outcome="y", covariates=names(3), unit="unit", network="friends", randomized=True)  # fmt: skip
    columns = {"t": t * 1.0, "y": y, "unit": np.arange(n) * 1.0, "friends": friends, **with_names(x)}
    return make(columns, question, np.full(n, effect), t, **same(effect))

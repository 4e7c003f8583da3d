"""Small problems that the tests of the sensitivity analyses share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from causal_orchestrator import estimators
from causal_orchestrator.problem import Estimate, Problem, build
from causal_orchestrator.question import Question


def linear(n: int = 300, *, seed: int = 0, effect: float = 1.0, confounding: float = 0.5, **roles: Any) -> Problem:
    """Return a problem with three covariates, the first two of which move treatment and outcome."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, 3))
    treatment = (confounding * (x[:, 0] + x[:, 1]) + rng.standard_normal(n) > 0).astype(int)
    outcome = effect * treatment + x[:, 0] + 0.5 * x[:, 1] + rng.standard_normal(n) * (1 + 0.5 * treatment)
    frame = pd.DataFrame({"a": x[:, 0], "b": x[:, 1], "c": x[:, 2], "t": treatment, "y": outcome})
    frame["g"] = np.arange(n) % (n // 10)
    return build(frame, Question(treatment="t", outcome="y", covariates=("a", "b", "c"), **roles))


def refit_with(method: str, **options: Any) -> Callable[[Problem], Estimate]:
    return lambda problem: estimators.estimate(method, problem, **options)

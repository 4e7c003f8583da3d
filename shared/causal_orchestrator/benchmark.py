"""How well methods find a known effect: bias, error and coverage on simulated designs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from causal_orchestrator import api, estimators
from causal_orchestrator.errors import CausalError, InputError
from causal_orchestrator.problem import Estimate
from causal_orchestrator.simulate import SIMULATIONS


@dataclass(frozen=True)
class Row:
    """One method on one design: draws that gave a number, bias and RMSE in units of the outcome, coverage, seconds."""

    method: str
    design: str
    estimand: str
    draws: int
    bias: float
    rmse: float
    coverage: float | None
    seconds: float


@dataclass(frozen=True)
class _Draw:
    estimand: str
    error: float
    covered: bool | None
    seconds: float


def run(design: str, methods: Sequence[str], *, rows: int, draws: int, seed: int = 0) -> list[Row]:
    """Run methods on draws of a simulated design; a method that does not apply there is left out.

    Raises
    ------
    InputError
        If there is no such design (``DESIGN_UNKNOWN``) or method (``METHOD_UNKNOWN``).
    """
    if design not in SIMULATIONS:
        raise InputError(f"there is no design {design!r}; there are {', '.join(SIMULATIONS)}", code="DESIGN_UNKNOWN")
    keys = [estimators.resolve(method) for method in methods]
    found = {key: [_draw(key, design, rows, seed + k) for k in range(draws)] for key in keys}
    return [_row(key, design, [draw for draw in made if draw is not None]) for key, made in found.items() if any(made)]


def _draw(method: str, design: str, rows: int, seed: int) -> _Draw | None:
    """Return how far one estimate is from the truth; None where the method gives no number of which it is known."""
    made = SIMULATIONS[design](rows, seed=seed)
    began = time.perf_counter()
    try:
        estimate: Estimate = api.estimate(method, made.frame, made.question, seed=seed)
    except CausalError:
        return None
    seconds = time.perf_counter() - began
    truth = made.truth.get(estimate.estimand)
    if truth is None or estimate.estimate is None:
        return None
    covered = None
    if estimate.ci_lower is not None and estimate.ci_upper is not None:
        covered = bool(estimate.ci_lower <= truth <= estimate.ci_upper)
    return _Draw(estimate.estimand, float(estimate.estimate) - truth, covered, seconds)


def _row(method: str, design: str, draws: Sequence[_Draw]) -> Row:
    errors = np.array([draw.error for draw in draws])
    covered = [draw.covered for draw in draws if draw.covered is not None]
    return Row(
        method=method, design=design, estimand=draws[0].estimand, draws=len(draws), bias=float(errors.mean()),
        rmse=float(np.sqrt((errors**2).mean())), coverage=float(np.mean(covered)) if covered else None,
        seconds=median(draw.seconds for draw in draws),
    )  # fmt: skip

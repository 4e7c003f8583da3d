"""Interruptions where nothing happened: a segmented regression must find none before the true one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from causal_orchestrator.errors import CausalError, NotApplicable
from causal_orchestrator.numerics.panel import series
from causal_orchestrator.results import SensitivityResult

if TYPE_CHECKING:
    from causal_orchestrator.problem import Estimate, Problem

SHARES = (0.35, 0.5, 0.65)  # of the times before, where an interruption is pretended
FEWEST = 12  # times before


def analyse(
    problem: Problem,
    estimate: Estimate,
    *,
    refit: Callable[[Problem], Estimate],
    seed: int = 0,
) -> SensitivityResult:
    """Run the headline's method on the times before the interruption, with interruptions that never were.

    Returns
    -------
    SensitivityResult
        `value` is the largest placebo effect as a share of the headline's. ``details``: `rows`, `gate_p_value` (the
        smallest p-value times their number).

    Raises
    ------
    NotApplicable
        If there are too few times before the interruption.
    """
    line = series(problem.roles, problem.treatment, None)
    before = line.order[~line.after]
    if len(before) < FEWEST:
        raise NotApplicable(f"{len(before)} times before the interruption are too few to pretend one among them")
    rows = [_row(problem, before, round(share * len(before)), refit) for share in SHARES]
    tested = [row for row in rows if row.get("p_value") is not None]
    if not tested:
        raise NotApplicable("no interruption before the true one gave a test")
    p = min(1.0, len(tested) * min(float(row["p_value"]) for row in tested))
    share = max(abs(row["estimate"]) for row in tested) / abs(estimate.estimate) if estimate.estimate else None
    ending = "none differs from chance" if p >= 0.05 else "the trend before was not what the method takes it for"
    return SensitivityResult(
        method="placebo_interruptions",
        value=share,
        interpretation=f"Of {len(tested)} interruptions that never were, {ending} (p = {p:.2g}).",
        passed=p >= 0.05,
        details={"rows": rows, "gate_p_value": p},
    )


def _row(problem: Problem, before: Any, place: int, refit: Callable[[Problem], Estimate]) -> dict[str, Any]:
    fake = np.zeros(problem.n)
    fake[before[place:]] = 1.0
    cut = problem.change(treatment=fake).take(before)
    when = problem.roles["time"][before[place]]
    try:
        found = refit(cut)
    except CausalError as exc:
        return {"time": str(when), "missing": exc.message}
    return {"time": str(when), "estimate": found.estimate, "ci_lower": found.ci_lower, "ci_upper": found.ci_upper, "p_value": found.p_value}  # fmt: skip

"""What the data say without any assumption about who was treated: worst-case bounds for a bounded outcome."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from causal_orchestrator.errors import NotApplicable
from causal_orchestrator.results import SensitivityResult

if TYPE_CHECKING:
    from causal_orchestrator.problem import Estimate, Problem


def analyse(
    problem: Problem, estimate: Estimate, *, refit: Callable[[Problem], Estimate] | None = None, seed: int = 0
) -> SensitivityResult:
    """Bound the effect by giving every unseen potential outcome its smallest or largest possible value.

    Only for an outcome that is bounded by nature (0/1); the range of a sample bounds nothing beyond it. For ATT the
    treated's outcomes are known and only their untreated ones are bounded. Sampling error is not included.

    Returns
    -------
    SensitivityResult
        `value` is the width; ``details``: `lower`, `upper`.

    Raises
    ------
    NotApplicable
        If the outcome is not 0/1 or the treatment not binary.

    References
    ----------
    Manski (1990), American Economic Review 80:319.
    """
    if problem.outcome_kind != "binary" or problem.treatment_kind != "binary":
        raise NotApplicable("only a 0/1 outcome of a binary treatment is bounded by nature")
    weights = np.ones(problem.n) if problem.weights is None else problem.weights
    treated = problem.treatment == 1
    share = float(weights[treated].sum() / weights.sum())
    y1 = float(np.average(problem.outcome[treated], weights=weights[treated]))
    y0 = float(np.average(problem.outcome[~treated], weights=weights[~treated]))
    if estimate.estimand in ("ATT", "SATT"):
        lower, upper = y1 - 1, y1
    else:
        lower = share * y1 - (1 - share) * y0 - share
        upper = share * y1 + (1 - share) - (1 - share) * y0
    return SensitivityResult(
        method="manski_bounds",
        value=upper - lower,
        interpretation=(
            f"Without any assumption about who was treated the effect lies between {lower:.3g} and {upper:.3g}, sampling "
            "error apart."
        ),
        passed=None,
        details={"lower": lower, "upper": upper, "estimand": estimate.estimand},
    )

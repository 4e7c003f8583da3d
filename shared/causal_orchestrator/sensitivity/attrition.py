"""Are outcomes missing more often in one arm? Then the arms that are left may no longer be comparable."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from causal_orchestrator.errors import NotApplicable
from causal_orchestrator.results import SensitivityResult
from causal_orchestrator.sensitivity.draws import LEVEL

if TYPE_CHECKING:
    from causal_orchestrator.problem import Estimate, Problem

Floats = NDArray[np.float64]


def analyse(
    problem: Problem,
    estimate: Estimate,
    *,
    refit: Callable[[Problem], Estimate] | None = None,
    seed: int = 0,
    arm: Floats,
    observed: NDArray[np.bool_],
) -> SensitivityResult:
    """Compare the shares of missing outcomes between the arms, and bound the effect where they differ.

    The bounds trim the arm with more outcomes by the excess share from above or below; they hold for those whose
    outcome would be seen in either arm, if the treatment moves attrition in one direction only. Sampling error and
    sampling weights are not included.

    Parameters
    ----------
    arm : shape (m,)
        0 or 1 for every row that has a treatment, also where the outcome is missing.
    observed : shape (m,)
        Whether the outcome is there.

    Returns
    -------
    SensitivityResult
        `value` is the difference in the share of observed outcomes (treated minus control). Passes unless it is
        beyond chance. ``details``: `lower`, `upper` (Lee bounds), `gate_p_value`, shares by arm.

    Raises
    ------
    NotApplicable
        If no outcome is missing, or the treatment is not binary.

    References
    ----------
    Lee (2009), Review of Economic Studies 76:1071, https://doi.org/10.1111/j.1467-937X.2009.00536.x
    """
    if problem.treatment_kind != "binary" or observed.all():
        raise NotApplicable("no outcome is missing" if observed.all() else "needs a binary treatment")
    shares = [float(observed[arm == k].mean()) for k in (0, 1)]
    p = _p_value(arm, observed)
    lower, upper = lee_bounds(problem.outcome, problem.treatment, shares[0], shares[1])
    passed = p >= LEVEL
    return SensitivityResult(
        method="attrition",
        value=shares[1] - shares[0],
        interpretation=(
            f"The outcome is missing for {1 - shares[1]:.1%} of the treated and {1 - shares[0]:.1%} of the others, a "
            f"difference that arises by chance with p = {p:.3g}; for those seen in either arm the difference in means "
            f"lies between {lower:.4g} and {upper:.4g} whoever is missing."
        ),
        passed=passed,
        details={
            "lower": lower,
            "upper": upper,
            "observed_treated": shares[1],
            "observed_control": shares[0],
            "gate_p_value": p,
        },
    )


def lee_bounds(outcome: Floats, treatment: Floats, share_control: float, share_treated: float) -> tuple[float, float]:
    """Return the bounds on the difference in means when the arm with the larger share is trimmed to the smaller."""
    treated, control = np.sort(outcome[treatment == 1]), np.sort(outcome[treatment == 0])
    more = treated if share_treated >= share_control else control
    excess = abs(share_treated - share_control) / max(share_treated, share_control)
    kept = len(more) - round(excess * len(more))
    low, high = float(more[:kept].mean()), float(more[len(more) - kept :].mean())
    if share_treated >= share_control:
        return low - float(control.mean()), high - float(control.mean())
    return float(treated.mean()) - high, float(treated.mean()) - low


def _p_value(arm: Floats, observed: NDArray[np.bool_]) -> float:
    """Return the two-sided p-value of equal shares (pooled two-sample test of proportions)."""
    counts = [int((arm == k).sum()) for k in (0, 1)]
    shares = [float(observed[arm == k].mean()) for k in (0, 1)]
    pooled = float(observed.mean())
    spread = math.sqrt(pooled * (1 - pooled) * (1 / counts[0] + 1 / counts[1]))
    return float(2 * stats.norm.sf(abs(shares[1] - shares[0]) / spread))

"""Whether the effect at the cutoff depends on the bandwidth or on the rows nearest to the cutoff."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from causal_orchestrator.errors import NotApplicable
from causal_orchestrator.numerics.inference import p_value
from causal_orchestrator.results import SensitivityResult

if TYPE_CHECKING:
    from causal_orchestrator.problem import Estimate, Problem

NARROW = 0.5  # of the bandwidth: fewer rows, less bias


def analyse(
    problem: Problem,
    estimate: Estimate,
    *,
    refit: Callable[[Problem], Estimate] | None = None,
    seed: int = 0,
) -> SensitivityResult:
    """Compare the headline with the estimates at other bandwidths and without the rows nearest to the cutoff.

    What is compared are bias-corrected estimates. Only half the bandwidth and the donuts can pass or fail: an estimate
    from a wider window may differ for no fault of the design. They take part of the headline's rows, so the variance of
    a difference is at most about that of the estimate from fewer rows, which is used.

    Returns
    -------
    SensitivityResult
        `value` is the largest difference in standard errors. ``details``: `rows` (kind, size, estimate, interval), and
        `gate_p_value`, the smallest p-value times their number; `breakdown`, the share of rows at the cutoff that,
        sorted there with outcomes one standard deviation away, would explain the effect.

    Raises
    ------
    NotApplicable
        If the estimate holds no bandwidth curve.
    """
    curve, donuts = estimate.details.get("bandwidth_curve"), estimate.details.get("donut")
    if not curve or not donuts or estimate.ci_lower is None or estimate.ci_upper is None:
        raise NotApplicable("the estimate holds no bandwidth curve")
    sign = 1.0 if estimate.details.get("treated_above", True) else -1.0
    centre = (estimate.ci_lower + estimate.ci_upper) / 2
    width = float(max(estimate.details["bandwidths"]["h"]))
    rows = [_row("bandwidth", entry["bandwidth"], entry, sign) for entry in curve if "missing" not in entry]
    rows += [_row("donut", entry["radius"], entry, sign) for entry in donuts if "missing" not in entry]
    judged = [row for row in rows if row["kind"] == "donut" or np.isclose(row["size"], NARROW * width)]
    gaps = [abs(row["centre"] - centre) / row["std_error"] for row in judged if row["std_error"]]
    if not gaps:
        raise NotApplicable("no other window holds enough rows")
    chance = min(1.0, len(gaps) * float(p_value(max(gaps), 1.0) or 1.0))
    spread = float(np.std(problem.outcome, ddof=1))
    return SensitivityResult(
        method="discontinuity",
        value=max(gaps),
        interpretation=_sentence(len(judged), max(gaps), chance),
        passed=chance >= 0.05,
        details={
            "rows": [*rows, {"kind": "headline", "size": width, "estimate": estimate.estimate, "ci_lower": estimate.ci_lower, "ci_upper": estimate.ci_upper, "centre": centre, "std_error": estimate.std_error}],
            "gate_p_value": chance,
            "breakdown": {"share_sorted": _breakdown(estimate, spread)},
        },
    )  # fmt: skip


def _row(kind: str, size: float, entry: Mapping[str, Any], sign: float) -> dict[str, Any]:
    ends = sorted((sign * entry["ci_lower"], sign * entry["ci_upper"]))
    return {
        "kind": kind, "size": float(size), "estimate": sign * entry["estimate"], "ci_lower": ends[0],
        "ci_upper": ends[1], "centre": sum(ends) / 2, "std_error": entry["std_error"],
    }  # fmt: skip


def _breakdown(estimate: Estimate, spread: float) -> float | None:
    """Return the end of the interval nearest to zero in standard deviations of the outcome, zero where it holds zero."""
    low, high = estimate.ci_lower or 0.0, estimate.ci_upper or 0.0
    return max(low, -high, 0.0) / spread if spread > 0 else None


def _sentence(count: int, worst: float, chance: float) -> str:
    ending = "none differs by more than chance" if chance >= 0.05 else "they do not agree"
    return (
        f"Of {count} estimates from half the bandwidth and without the rows nearest to the cutoff the one that differs "
        f"most lies {worst:.1f} standard errors away: {ending} (p = {chance:.2g})."
    )

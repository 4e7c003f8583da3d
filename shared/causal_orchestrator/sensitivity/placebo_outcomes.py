"""Outcomes that the treatment cannot have moved: the method must find no effect on them (HON-3)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats

from causal_orchestrator.errors import NotApplicable
from causal_orchestrator.question import shown
from causal_orchestrator.results import SensitivityResult

if TYPE_CHECKING:
    from causal_orchestrator.problem import Estimate, Problem


def analyse(
    problem: Problem,
    estimate: Estimate,
    *,
    refit: Callable[[Problem], Estimate],
    seed: int = 0,
    placebos: Mapping[str, Callable[[], Problem]],
    band: float = 0.1,
    familywise_alpha: float = 0.05,
) -> SensitivityResult:
    """Run the headline's method on each placebo outcome.

    `placebos` maps each to a function that builds its problem: the placebo as outcome, not among the covariates.

    Passes only if every placebo's whole interval lies inside ± `band` standard deviations of it. A placebo whose
    interval, widened to hold for all placebos together, lies wholly outside the band refutes the design.

    Returns
    -------
    SensitivityResult
        `value` is the largest placebo effect in standard deviations. ``details``: `rows` (one per placebo), `outside`
        (the refuting ones), `p_value` (the smallest, corrected for their number), `band`.

    Raises
    ------
    NotApplicable
        If there is no placebo outcome with an interval.
    """
    if not placebos:
        raise NotApplicable("the plan names no placebo outcome")
    corrected = 1 - familywise_alpha / len(placebos)
    rows = [_row(name, build(), refit, band, corrected) for name, build in placebos.items()]
    inside = all(row["inside"] for row in rows)
    outside = [row["name"] for row in rows if row["outside"]]
    worst = max(rows, key=lambda row: abs(row["standardized"]))
    p_values = [row["p_value"] for row in rows if row["p_value"] is not None]
    return SensitivityResult(
        method="placebo_outcomes",
        value=worst["standardized"],
        interpretation=_sentence(worst, len(rows), inside, bool(outside), band),
        passed=inside,
        details={
            "rows": rows,
            "outside": outside,
            "band": band,
            "p_value": min(1.0, min(p_values) * len(rows)) if p_values else None,
        },
    )


def _row(
    name: str, problem: Problem, refit: Callable[[Problem], Estimate], band: float, corrected: float
) -> dict[str, Any]:
    found = refit(problem)
    spread = float(np.std(problem.outcome, ddof=1))
    if found.ci_lower is None or found.ci_upper is None or not spread > 0:
        raise NotApplicable(f"the placebo outcome {shown(name)!r} gave no interval")
    half = (found.ci_upper - found.ci_lower) / 2
    ratio = stats.norm.ppf(0.5 + corrected / 2) / stats.norm.ppf(0.5 + found.confidence_level / 2)
    wide = half * max(1.0, float(ratio))
    return {
        "name": name,
        "estimate": found.estimate,
        "ci_lower": found.ci_lower,
        "ci_upper": found.ci_upper,
        "standardized": found.estimate / spread,
        "standardized_lower": found.ci_lower / spread,
        "standardized_upper": found.ci_upper / spread,
        "p_value": found.p_value,
        "inside": bool(-band * spread <= found.ci_lower and found.ci_upper <= band * spread),
        "outside": bool(found.estimate - wide > band * spread or found.estimate + wide < -band * spread),
    }


def _sentence(worst: Mapping[str, Any], count: int, inside: bool, refuted: bool, band: float) -> str:
    lower, upper = worst["standardized_lower"], worst["standardized_upper"]
    state = (
        "every interval lies within the band" if inside
        else "the design is refuted" if refuted
        else "the interval is not inside the band, so a bias of that size is not excluded"
    )  # fmt: skip
    return (
        f"On {count} outcome{'s' if count > 1 else ''} that the treatment cannot have moved the largest effect is "
        f"{worst['standardized']:.2f} SD [{lower:.2f}, {upper:.2f}] (on {shown(worst['name'])!r}, band ± {band:g} SD): "
        f"{state}."
    )

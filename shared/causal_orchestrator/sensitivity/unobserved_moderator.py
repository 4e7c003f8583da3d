"""How much effects may differ between source and target by what was not measured before the conclusion breaks."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from causal_orchestrator.errors import CausalError, NotApplicable
from causal_orchestrator.question import shown
from causal_orchestrator.results import SensitivityResult

if TYPE_CHECKING:
    from causal_orchestrator.problem import Estimate, Problem

POINTS = 21
TOP = 2.0  # biases are drawn up to this many times the one that ends the conclusion


def analyse(
    problem: Problem,
    estimate: Estimate,
    *,
    refit: Callable[[Problem], Estimate],
    seed: int = 0,
) -> SensitivityResult:
    """Let source and target units with the same covariates differ in their mean effect by a constant.

    If effects in the source exceed those of like units in the target by δ, the target's effect is the estimate less δ
    (a bias function that is constant). The breakdown is the smallest δ with which the interval holds zero. It is held
    against what each observed covariate did: how far the estimate moves where that covariate is left out. Passes if a
    hidden moderator as strong as the strongest of them would change nothing.

    Returns
    -------
    SensitivityResult
        `value` is the breakdown in standard deviations of the outcome (zero where the interval holds zero). ``details``:
        `breakdown` in units of the outcome, `left_out` (per covariate the estimate without it and how far it moved),
        `curve` (bias, interval).

    Raises
    ------
    NotApplicable
        If no target is marked, or the estimate has no interval.

    References
    ----------
    Dahabreh, Robins, Haneuse, Saeed, Robertson, Stuart & Hernán (2023), https://doi.org/10.1002/sim.9550; Nguyen,
    Ebnesajjad, Cole & Stuart (2017), https://doi.org/10.1214/16-AOAS1001.
    """
    if "covariates" not in problem.unobserved or estimate.ci_lower is None or estimate.ci_upper is None:
        raise NotApplicable("needs a target population and an interval")
    low, high = estimate.ci_lower, estimate.ci_upper
    breakdown = max(low, -high, 0.0)
    spread = float(np.std(problem.outcome, ddof=1))
    left = _left_out(problem, estimate.estimate, refit)
    moved = [row for row in left if row["moved"] is not None]
    strongest = max(moved, key=lambda row: abs(row["moved"]), default=None)
    passed = None if breakdown == 0 or strongest is None else breakdown > abs(strongest["moved"])
    edge = TOP * max(breakdown, high - low)
    return SensitivityResult(
        method="unobserved_moderator",
        value=breakdown / spread if spread > 0 else None,
        interpretation=_sentence(breakdown, spread, strongest, passed=passed),
        passed=passed,
        details={
            "breakdown": breakdown,
            "left_out": left,
            "curve": [{"bias": float(b), "ci_lower": low - float(b), "ci_upper": high - float(b)} for b in np.linspace(-edge, edge, POINTS)],
        },
    )  # fmt: skip


def _left_out(problem: Problem, value: float, refit: Callable[[Problem], Estimate]) -> list[dict[str, Any]]:
    """Return for each covariate the estimate without it."""
    found: list[dict[str, Any]] = []
    for source in dict.fromkeys(problem.covariate_sources):
        kept = [j for j, name in enumerate(problem.covariate_sources) if name != source]
        try:
            without = refit(_only(problem, kept)).estimate if kept else None
        except CausalError:  # what remains tells source and target apart, say
            without = None
        found.append({"covariate": source, "estimate": without, "moved": None if without is None else without - value})
    return found


def _only(problem: Problem, kept: list[int]) -> Problem:
    return problem.change(
        covariates=problem.covariates[:, kept],
        covariate_names=tuple(problem.covariate_names[j] for j in kept),
        covariate_sources=tuple(problem.covariate_sources[j] for j in kept),
        unobserved={**problem.unobserved, "covariates": problem.unobserved["covariates"][:, kept]},
    )


def _sentence(breakdown: float, spread: float, strongest: dict[str, Any] | None, passed: bool | None) -> str:
    if breakdown == 0:
        return "The interval holds zero, so no difference between the populations is needed to explain the effect."
    said = (
        f"The conclusion stands until effects differ between source and target, among units with the same covariates, by "
        f"{breakdown:.3g} ({breakdown / spread:.2f} SD of the outcome)"
    )
    if strongest is None:
        return said + "; there is no second covariate to hold it against."
    verb = "would not" if passed else "would"
    return f"{said}; without {shown(strongest['covariate'])!r} the estimate moves by {strongest['moved']:.3g}, so that a hidden moderator as strong {verb} overturn it."  # fmt: skip

"""Which methods of the table apply to a situation, in which order, and with which options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from causal_orchestrator import estimators
from causal_orchestrator.estimators import Situation
from causal_orchestrator.results import Applicability

# In OLS fits; what costs more waits for `profile="full"`.
HEAVY_COST = 2_000.0
# Below this many rows HC1 is too small (Long and Ervin 2000, https://doi.org/10.1080/00031305.2000.10474549).
HC3_BELOW = 250


def rank(situation: Situation, *, full: bool = False) -> tuple[Applicability, ...]:
    """Judge every method of the table and order the admissible ones, the best first.

    The score is the declared credibility plus the weights of the evidence; ties go to the cheaper method, then to
    the alphabet. A method whose estimand is not the situation's stays admissible and says so: its number is shown
    apart (HON-5).
    """
    judged = [_judge(key, situation, full=full) for key in estimators.ESTIMATORS]
    return tuple(
        sorted(judged, key=lambda a: (not a.admissible, -a.score, cost(a.method, situation), a.method)),
    )


def cost(key: str, situation: Situation) -> float:
    """Return the declared cost of a method here, in OLS fits."""
    return float(estimators.ESTIMATORS[key].cost(situation.n, situation.n_covariates))


def targets(key: str, estimand: str) -> bool:
    """Return whether the method estimates `estimand`."""
    return estimand in estimators.ESTIMATORS[key].estimands


def options(key: str, situation: Situation) -> dict[str, Any]:
    """Return the options that the plan fixes for a method."""
    spec = estimators.ESTIMATORS[key]
    chosen: dict[str, Any] = {}
    if situation.estimand in spec.estimands and len(spec.estimands) > 1:
        chosen["estimand"] = situation.estimand
    if "se" in spec.options and situation.n < HC3_BELOW and not situation.clustered:
        chosen["se"] = "hc3"
    if "adjustment" in spec.options and situation.design == "randomized" and situation.n_covariates:
        chosen["adjustment"] = "lin"
    return chosen


def all_options(keys: tuple[str, ...], situation: Situation) -> Mapping[str, Mapping[str, Any]]:
    """Return the options of each method that has any."""
    found = {key: options(key, situation) for key in keys}
    return {key: value for key, value in found.items() if value}


def _judge(key: str, situation: Situation, *, full: bool) -> Applicability:
    spec = estimators.ESTIMATORS[key]
    lacks = estimators.missing(key, replace(situation, estimand=None))
    if lacks is None and not full and cost(key, situation) > HEAVY_COST:
        lacks = "is heavy; ask for profile='full'"
    evidence = spec.evidence(situation)
    reasons = [f"declared credibility {spec.credibility:g}", *(text for _, text in evidence)]
    if situation.estimand is not None and situation.estimand not in spec.estimands:
        reasons.append(f"estimates {' or '.join(spec.estimands)}, not the plan's {situation.estimand}: shown apart")
    return Applicability(
        method=key,
        admissible=lacks is None,
        score=round(spec.credibility + sum(weight for weight, _ in evidence), 6),
        reasons=tuple(reasons),
        missing=lacks,
    )

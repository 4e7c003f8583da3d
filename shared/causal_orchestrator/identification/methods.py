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


def rank(situation: Situation, *, full: bool = False, combinations: bool = False) -> tuple[Applicability, ...]:
    """Judge every method of the table and order the admissible ones, the best first.

    The score is the declared credibility plus the weights of the evidence; ties go to the cheaper method, then to
    the alphabet. A method whose estimand is not the situation's stays admissible and says so: its number is shown
    apart (HON-5).
    """
    judged = [_judge(key, situation, full=full, combinations=combinations) for key in estimators.ESTIMATORS]
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
    """Return the options that the plan fixes for a method: those that make it estimate the plan's estimand.

    A regression needs the fully interacted form for an average effect (Lin 2013); the other methods are told.
    Standard errors are left to the methods' own rule (HC3 below 250 rows, clustered where there are clusters).
    """
    spec = estimators.ESTIMATORS[key]
    if situation.estimand not in spec.estimands:
        return {}
    if key == "event_study":
        return {"aggregation": "simple"}  # the mean over treated rows, as the other panel methods have it
    if key == "its" and situation.outcome_kind == "count" and "offset" in situation.roles:
        return {"family": "quasipoisson"}
    if "adjustment" in spec.options:
        lin = situation.estimand == "ATE" and situation.n_covariates and situation.treatment_kind != "continuous"
        return {"adjustment": "lin"} if lin else {}
    return {"estimand": situation.estimand} if "estimand" in spec.options else {}


def all_options(keys: tuple[str, ...], situation: Situation) -> Mapping[str, Mapping[str, Any]]:
    """Return the options of each method that has any."""
    found = {key: options(key, situation) for key in keys}
    return {key: value for key, value in found.items() if value}


def _judge(key: str, situation: Situation, *, full: bool, combinations: bool) -> Applicability:
    spec = estimators.ESTIMATORS[key]
    lacks = estimators.missing(key, replace(situation, estimand=None))
    if lacks is None and situation.clustered and not spec.clusters:
        lacks = "cannot account for clusters"
    if lacks is None and not full and cost(key, situation) > HEAVY_COST:
        lacks = "is heavy; ask for profile='full'"
    if lacks is None and spec.combines and not combinations:
        lacks = "combines other estimates; ask for selection_strategy='ensemble'"
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

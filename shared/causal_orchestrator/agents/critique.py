"""Judge the analysis: a verdict from the gates, scores, and whether another round could improve it (AG-9)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from causal_orchestrator import verdict as gates
from causal_orchestrator.agents import Ask, JobView, Output, Reader, Turn
from causal_orchestrator.errors import InputError, ModelUnavailable
from causal_orchestrator.question import canonical_json, shown
from causal_orchestrator.results import (
    Critique,
    Diagnostic,
    Effect,
    Effects,
    Exploration,
    Plan,
    Profile,
    PropensityDiagnostics,
    Repairs,
    Sensitivities,
    Verdict,
)

# In the order in which they are asked for. What stands at or before the latest one asked for has had its turn, so
# that no action is ever asked for twice and the loop ends.
ACTIONS: Mapping[str, str] = {
    "add_adjustment_sets": "the methods' agreement over other adjustment sets is unknown or poor",
    "add_methods": "few methods of the headline's estimand were run",
    "more_repeats": "the headline depends on how the rows were split into folds",
}
ENOUGH_METHODS = 3
MAX_COMMENTS = 5


class Comment(BaseModel):
    """What a model may say: remarks, and which of the open actions to ask for."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    comments: tuple[str, ...] = Field(default=(), max_length=MAX_COMMENTS)
    actions: tuple[str, ...] | None = Field(default=None, max_length=len(ACTIONS))


def run(job: JobView, step: Turn, read: Reader, ask: Ask) -> Output:
    """Compute verdict and scores, and decide: REJECT if the verdict refuses, ITERATE if useful new work is open, else APPROVE.

    Raises
    ------
    InputError
        If there is no plan to judge (``NO_PLAN``).
    """
    plan = job.get("study_design", Plan)
    if plan is None:
        raise InputError("there is no plan to judge", code="NO_PLAN")
    effects = job.get("effect_estimator", Effects)
    sensitivities = job.get("sensitivity_analyst", Sensitivities)
    exploration, propensity = job.get("eda", Exploration), job.get("ps_diagnostics", PropensityDiagnostics)
    profile = job.get("data_profiler", Profile)
    # The plan may have narrowed the job's question; the profile still holds what the person asked.
    asked = (profile.question if profile else job.question).estimand
    judged = gates.decide(plan, effects, sensitivities, propensity, exploration, asked=asked)
    evidence = gates.Evidence(plan, effects, sensitivities, propensity, exploration, asked)
    open_actions = _open_actions(job, plan, effects, judged)
    comment = _heard(judged, open_actions, ask)
    actions = tuple(a for a in open_actions if comment.actions is None or a in comment.actions)
    critique = Critique(
        decision=_decision(judged.verdict, actions),
        scores=scores(evidence, judged.diagnostics, job.get("data_repair", Repairs)),
        verdict=judged.verdict,
        diagnostics=judged.diagnostics,
        actions=actions if _decision(judged.verdict, actions) == "ITERATE" else (),
        # A comment with a digit would be a number that no one computed.
        comments=tuple(shown(c, 500) for c in comment.comments if not any(x.isdigit() for x in c)),
        iteration=job.iteration,
    )
    return Output(result=critique)


def _decision(verdict: Verdict, actions: tuple[str, ...]) -> Literal["APPROVE", "ITERATE", "REJECT"]:
    if verdict.decision == "refuse":
        return "REJECT"
    return "ITERATE" if actions else "APPROVE"


# --- another round ------------------------------------------------------------------------------------------------


def _open_actions(job: JobView, plan: Plan, effects: Effects | None, judged: gates.Judgement) -> tuple[str, ...]:
    """Return the first action that would be new work and could change the verdict, or none."""
    if judged.verdict.decision != "limited" or effects is None:
        return ()
    if job.iteration >= job.question.preferences.max_iterations:
        return ()
    last = job.get("critique", Critique)
    asked = list(ACTIONS).index(last.actions[-1]) if last and last.actions and last.actions[-1] in ACTIONS else -1
    wanted = _wanted(plan, effects, judged)
    return tuple(action for action in list(ACTIONS)[asked + 1 :] if action in wanted)[:1]


def _wanted(plan: Plan, effects: Effects, judged: gates.Judgement) -> frozenset[str]:
    failed = {d.name for d in judged.diagnostics if d.passed is False}
    ran = {e.method for e in effects.effects}
    admissible = {a.method for a in plan.applicability if a.admissible}
    found = set()
    if plan.design == "unconfoundedness" and failed & {"agreement", "robustness"} and not effects.specification_curve:
        found.add("add_adjustment_sets")
    if "agreement" in failed and len(ran) < ENOUGH_METHODS and admissible - ran:
        found.add("add_methods")
    if failed & {"data_subset", "bootstrap"} and "repeats" in _options(plan):
        found.add("more_repeats")
    return frozenset(found)


def _options(plan: Plan) -> tuple[str, ...]:
    from causal_orchestrator.estimators import ESTIMATORS

    return ESTIMATORS[plan.primary].options if plan.primary in ESTIMATORS else ()


# --- scores -------------------------------------------------------------------------------------------------------


def scores(evidence: gates.Evidence, diagnostics: tuple[Diagnostic, ...], repairs: Repairs | None) -> dict[str, float]:
    """Return the scores in [0, 1]; what was not measured has none.

    `data_quality`: exploration's quality over 100. `method_fit`: the plan's score of the primary against the best.
    `assumptions`: share of the gates that hold. `balance`: 1 at no imbalance, 0 at an SMD of 0.2. `overlap`: as
    measured. `precision`: 1 at an interval of no width, 0.5 at a half-width of the `precision` threshold. `agreement`:
    share of other methods of the same estimand whose interval holds the headline. `sensitivity`: share of the
    analyses with a gate that passed. `completeness`: share of planned methods and analyses that gave a result.
    """
    by_name = {d.name: d for d in diagnostics}
    found = {
        "data_quality": None if evidence.exploration is None else evidence.exploration.quality_score / 100,
        "method_fit": _method_fit(evidence.plan),
        "assumptions": _share([d.passed for d in diagnostics if d.passed is not None]),
        "balance": _balance(by_name),
        "overlap": None if evidence.propensity is None else evidence.propensity.overlap,
        "precision": _precision(by_name.get("precision")),
        "agreement": _agreement(evidence),
        "sensitivity": _sensitivity(evidence.sensitivities),
        "completeness": _completeness(evidence),
    }
    return {name: min(1.0, max(0.0, value)) for name, value in found.items() if value is not None}


def _share(outcomes: list[bool]) -> float | None:
    return sum(outcomes) / len(outcomes) if outcomes else None


def _method_fit(plan: Plan) -> float | None:
    admissible = {a.method: a.score for a in plan.applicability if a.admissible}
    best = max(admissible.values(), default=0.0)
    if plan.primary not in admissible or best <= 0:
        return None
    return admissible[plan.primary] / best


def _balance(by_name: Mapping[str, Diagnostic]) -> float | None:
    gate = by_name.get("balance") or by_name.get("balance_randomized")
    return None if gate is None or gate.value is None or not gate.threshold else 1 - gate.value / (2 * gate.threshold)


def _precision(gate: Diagnostic | None) -> float | None:
    if gate is None or gate.value is None or not gate.threshold:
        return None
    return math.exp(-math.log(2) * gate.value / gate.threshold)


def _agreement(evidence: gates.Evidence) -> float | None:
    primary = evidence.primary
    if primary is None or evidence.effects is None or primary.estimate is None:
        return None
    others = [e for e in evidence.effects.effects if _comparable(e, primary)]
    return _share([(e.ci_lower or 0.0) <= primary.estimate <= (e.ci_upper or 0.0) for e in others])


def _comparable(effect: Effect, primary: Effect) -> bool:
    same = effect.method != primary.method and effect.estimand == primary.estimand and effect.status == "ok"
    return same and effect.ci_lower is not None and effect.ci_upper is not None


def _sensitivity(sensitivities: Sensitivities | None) -> float | None:
    results = sensitivities.results if sensitivities else ()
    return _share([r.passed for r in results if r.passed is not None])


def _completeness(evidence: gates.Evidence) -> float | None:
    ran = {e.method for e in evidence.effects.effects if e.status == "ok"} if evidence.effects else set()
    outcomes = [method in ran for method in evidence.plan.methods]
    outcomes += [r.error is None for r in (evidence.sensitivities.results if evidence.sensitivities else ())]
    return _share(outcomes)


# --- the model ----------------------------------------------------------------------------------------------------


def _heard(judged: gates.Judgement, open_actions: tuple[str, ...], ask: Ask) -> Comment:
    """Let a model comment and pick among the open actions; it can neither add one nor change the verdict."""
    try:
        return ask(_prompt(judged, open_actions), Comment)
    except ModelUnavailable:
        return Comment()


def _prompt(judged: gates.Judgement, open_actions: tuple[str, ...]) -> str:
    view = {
        "verdict": judged.verdict.decision,
        "codes": judged.verdict.codes,
        "gates": {d.name: d.passed for d in judged.diagnostics},
        "open_actions": {action: ACTIONS[action] for action in open_actions},
    }
    return (
        "Comment on a causal analysis in at most five sentences, one an entry, without any number. The verdict is "
        "computed and stands. `actions` may list open actions worth another round, or be empty for none.\n"
        f"{canonical_json(view)}"
    )

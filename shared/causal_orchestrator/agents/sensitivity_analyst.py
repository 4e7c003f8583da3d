"""Try to break the headline in every way that fits the design (AG-8, SENS-1 to SENS-8)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from causal_orchestrator import estimators, sensitivity
from causal_orchestrator.agents import Ask, JobView, Output, Reader, Turn
from causal_orchestrator.errors import CausalError, EstimationError, InputError, NotApplicable
from causal_orchestrator.estimators import Situation
from causal_orchestrator.problem import Estimate, Problem, build, plain
from causal_orchestrator.question import Question, shown
from causal_orchestrator.results import Effects, Note, Plan, Sensitivities, SensitivityResult

Refit = Callable[[Problem], Estimate]

# The headline is computed again here; it must be the same number.
REPRODUCED_RTOL = 1e-8


def run(job: JobView, step: Turn, read: Reader, ask: Ask) -> Output:
    """Run every sensitivity analysis that the design admits against the primary's estimate.

    A failing analysis becomes a result with its error and a warning; it never fails the step (SENS-8).

    Raises
    ------
    InputError
        If there is no plan with a primary method to test (``NO_PRIMARY``).
    """
    plan, effects = job.get("study_design", Plan), job.get("effect_estimator", Effects)
    if plan is None or effects is None or effects.primary is None:
        raise InputError("there is no primary estimate to test", code="NO_PRIMARY")
    columns = tuple(dict.fromkeys((*plan.question.columns(), *plan.placebo_outcomes)))
    frame = read(columns, "all")
    problem = build(frame, plan.question, seed=job.seed, confidence_level=plan.question.preferences.confidence_level)
    refit = _refit(effects.primary, plan)
    headline = refit(problem)
    placebos = {name: _placebo(frame, plan.question, name, problem) for name in plan.placebo_outcomes}
    situation = _situation(plan, problem)
    results, notes = [], list(_reproduced(headline, effects))
    for key in sensitivity.SENSITIVITY:
        if sensitivity.missing(key, situation, effects.primary) is not None:
            continue
        extra = {"placebos": placebos, "band": plan.thresholds.get("placebo_band", 0.1)} if key == "placebo_outcomes" else {}  # fmt: skip
        result = _attempt(key, problem, headline, refit=refit, seed=job.seed, extra=extra)
        results.append(result)
        if result.error is not None:
            notes.append(Note(code="SENSITIVITY_FAILED", message=f"{sensitivity.SENSITIVITY[key].title}: {result.error}"))  # fmt: skip
    return Output(result=Sensitivities(results=tuple(results), warnings=tuple(notes)))


def _attempt(
    key: str, problem: Problem, headline: Estimate, *, refit: Refit, seed: int, extra: Mapping[str, Any]
) -> SensitivityResult:
    """Run one analysis; what it cannot do becomes its entry's error."""
    try:
        result = _translated(key, problem, headline, refit=refit, seed=seed, extra=extra)
    except CausalError as exc:
        why = exc.message if isinstance(exc, NotApplicable) else f"{exc.code}: {exc.message}"
        return SensitivityResult(
            method=key, value=None, interpretation=f"Could not be run: {why}", passed=None, error=why
        )
    return result.model_copy(update={"details": plain(result.details)})


def _translated(
    key: str, problem: Problem, headline: Estimate, *, refit: Refit, seed: int, extra: Mapping[str, Any]
) -> SensitivityResult:
    """Turn the numerical libraries' own errors into ours: singular matrices, overflow, a failed search."""
    try:
        return sensitivity.load(key)(problem, headline, refit=refit, seed=seed, **extra)
    except (np.linalg.LinAlgError, FloatingPointError, ZeroDivisionError, OverflowError) as exc:
        raise EstimationError(f"the numbers broke down ({exc})", code="NUMERICAL") from exc


def _refit(method: str, plan: Plan) -> Refit:
    options = dict(plan.options.get(method, {}))
    return lambda problem: estimators.estimate(method, problem, **options)


def _placebo(frame: Any, question: Question, name: str, problem: Problem) -> Problem:
    """Return the same rows with the placebo as the outcome and no longer among the covariates."""
    covariates = tuple(c for c in question.covariates or () if c != name)
    changed = question.model_copy(
        update={
            "outcome": name,
            "covariates": covariates,
            "negative_controls": tuple(c for c in question.negative_controls if c != name),
        }
    )
    rows = frame.iloc[np.sort(problem.rows)]
    return build(rows, changed, seed=problem.seed, confidence_level=problem.confidence_level)


def _situation(plan: Plan, problem: Problem) -> Situation:
    roles = {"covariates"} if problem.covariates.shape[1] else set()
    roles |= {"placebos"} if plan.placebo_outcomes else set()
    return Situation(
        design=plan.design,
        n=problem.n,
        n_covariates=problem.covariates.shape[1],
        treatment_kind=problem.treatment_kind,
        outcome_kind=problem.outcome_kind,
        roles=frozenset(roles),
        clustered=problem.cluster is not None,
        weighted=problem.weights is not None,
    )


def _reproduced(headline: Estimate, effects: Effects) -> tuple[Note, ...]:
    reported = next((e.estimate for e in effects.effects if e.method == effects.primary and e.status == "ok"), None)
    if reported is None or np.isclose(headline.estimate, reported, rtol=REPRODUCED_RTOL, atol=0.0):
        return ()
    message = f"the headline of {shown(headline.method)} was {reported:.10g} and is {headline.estimate:.10g} here"
    return (Note(code="NOT_REPRODUCED", message=message),)

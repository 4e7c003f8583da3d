"""Try to break the headline in every way that fits the design (AG-8, SENS-1 to SENS-8)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from causal_orchestrator import estimators, sensitivity
from causal_orchestrator.agents import Ask, JobView, Output, Reader, Turn
from causal_orchestrator.errors import CausalError, EstimationError, InputError, NotApplicable, NotFound
from causal_orchestrator.estimators import Situation
from causal_orchestrator.numerics.nuisance import from_parquet
from causal_orchestrator.problem import Estimate, Problem, build, plain
from causal_orchestrator.question import Question
from causal_orchestrator.results import Effects, Note, Plan, Sensitivities, SensitivityResult

Refit = Callable[[Problem], Estimate]

REPRODUCED_RTOL = 1e-8  # the headline is computed again here; it must be the same number
# Rows times refits (in units of one least-squares fit) of one analysis: a minute or so on one core.
MAX_ROW_FITS = 1e8
MIN_DRAWS = 20
# A method with learned nuisances is redrawn with parametric ones, which cost about this many least-squares fits.
LIGHT_COST = 4.0
HEAVY_COST = 2_000.0  # from here the method itself, not its nuisances, is what costs
LEARNER_OPTIONS = ("learners", "folds", "repeats")
# What makes a method with donors skip the placebos of its own.
QUICK: Mapping[str, Mapping[str, Any]] = {"synthetic_control": {"placebo": False}}


@dataclass(frozen=True)
class _Headline:
    """The primary's estimate, how to obtain it on other data, and the lighter form in which it is redrawn.

    `light` is `full` for methods without learned nuisances.
    """

    estimate: Estimate
    full: Refit
    light: Refit
    light_estimate: Estimate
    cost: float


def run(job: JobView, step: Turn, read: Reader, ask: Ask) -> Output:
    """Run every sensitivity analysis that the design admits against the primary's estimate.

    A failing analysis becomes a result with its error and a warning; it never fails the step (SENS-8).

    Raises
    ------
    InputError
        If there is no plan with a primary estimate to test (``NO_PRIMARY``).
    """
    plan, effects = job.get("study_design", Plan), job.get("effect_estimator", Effects)
    if plan is None or effects is None or effects.primary is None:
        raise InputError("there is no primary estimate to test", code="NO_PRIMARY")
    frame = read(tuple(dict.fromkeys((*plan.question.columns(), *plan.placebo_outcomes))), "all")
    level = plan.question.preferences.confidence_level
    problem = _with_nuisances(build(frame, plan.question, seed=job.seed, confidence_level=level), read)
    headline = _headline(effects.primary, plan, problem)
    situation = _situation(plan, problem, frame)
    results: list[SensitivityResult] = []
    notes = list(_reproduced(headline.estimate, effects))
    for key in sensitivity.SENSITIVITY:
        if sensitivity.missing(key, situation, effects.primary) is None:
            _collect(_attempt(key, problem, headline, _extra(key, frame, plan, problem), job.seed), key, results, notes)
    return Output(result=Sensitivities(results=tuple(results), warnings=tuple(notes)))


def _collect(
    outcome: SensitivityResult | NotApplicable, key: str, results: list[SensitivityResult], notes: list[Note]
) -> None:
    title = sensitivity.SENSITIVITY[key].title
    if isinstance(outcome, NotApplicable):
        notes.append(Note(code="NOT_APPLICABLE", message=f"{title}: {outcome.message}", severity="info"))
        return
    results.append(outcome)
    if outcome.error is not None:
        notes.append(Note(code="SENSITIVITY_FAILED", message=f"{title}: {outcome.error}"))


# --- one analysis -------------------------------------------------------------------------------------------------


def _attempt(
    key: str, problem: Problem, headline: _Headline, extra: Mapping[str, Any], seed: int
) -> SensitivityResult | NotApplicable:
    """Run one analysis; what it cannot do becomes its entry's error."""
    try:
        result = _translated(key, problem, headline, extra, seed)
    except NotApplicable as exc:
        return exc
    except CausalError as exc:
        why = f"{exc.code}: {exc.message}"
        return SensitivityResult(method=key, value=None, interpretation="Could not be run.", passed=None, error=why)
    return result.model_copy(update={"details": plain(result.details)})


def _translated(
    key: str, problem: Problem, headline: _Headline, extra: Mapping[str, Any], seed: int
) -> SensitivityResult:
    """Turn the numerical libraries' own errors into ours: singular matrices, overflow, a failed search."""
    try:
        return _run(key, problem, headline, extra, seed)
    except (np.linalg.LinAlgError, ArithmeticError) as exc:
        raise EstimationError(f"the numbers broke down ({exc})", code="NUMERICAL") from exc


def _run(key: str, problem: Problem, headline: _Headline, extra: Mapping[str, Any], seed: int) -> SensitivityResult:
    analyse, wanted = sensitivity.load(key), sensitivity.SENSITIVITY[key].draws
    redrawn = wanted > 0 or key == "unobserved_common_cause"
    if not redrawn:
        return analyse(problem, headline.estimate, refit=headline.full, seed=seed, **extra)
    draws = {"draws": _affordable(wanted, problem, headline.cost)} if wanted else {}
    result = analyse(problem, headline.light_estimate, refit=headline.light, seed=seed, **draws, **extra)
    if headline.light is headline.full:
        return result
    told = f"{result.interpretation} (Redrawn with parametric nuisances in place of the learned ones.)"
    return result.model_copy(update={"interpretation": told, "details": {**result.details, "nuisances": "parametric"}})


def _affordable(wanted: int, problem: Problem, cost: float) -> int:
    """Return as many draws as are wanted, or fewer where the data are large and the method is slow."""
    draws = int(min(wanted, MAX_ROW_FITS / (problem.n * max(cost, 0.1))))
    if draws < min(wanted, MIN_DRAWS):
        raise NotApplicable(f"{problem.n:,} rows are too many to refit this method {MIN_DRAWS} times")
    return draws


def _extra(key: str, frame: pd.DataFrame, plan: Plan, problem: Problem) -> Mapping[str, Any]:
    """Return what one analysis takes beyond the problem."""
    if key == "attrition":
        return _attrition(frame, problem)
    if key == "honest_did":
        return {"event_study": _event_study(plan), "precision": plan.thresholds.get("precision", 0.2)}
    if key == "instrument_confounding":
        return {"robustness": sensitivity.load("robustness_value")}
    if key == "exposure_mapping":
        return {"other": _other_exposure(plan)}
    if key == "donors":
        return {"quick": _quick(plan)}
    if key != "placebo_outcomes":
        return {}
    return {
        "placebos": {name: _placebo(frame, plan.question, name, problem) for name in plan.placebo_outcomes},
        "band": plan.thresholds.get("placebo_band", 0.1),
        "familywise_alpha": plan.thresholds.get("familywise_alpha", 0.05),
    }


def _event_study(plan: Plan) -> Refit:
    """Return how to estimate by event time, every period against the one before treatment, as the headline does it."""
    method = estimators.resolve(plan.primary or "")
    options = dict(plan.options.get(plan.primary or "", {}))
    if method == "callaway_santanna":
        options |= {"aggregation": "dynamic", "base_period": "universal"}
    else:
        known = estimators.ESTIMATORS["event_study"].options
        method, options = "event_study", {k: v for k, v in options.items() if k in known and k != "aggregation"}
    return lambda problem: estimators.estimate(method, problem, **options)


def _other_exposure(plan: Plan) -> Refit:
    """Return the headline's method with the exposure that it does not have."""
    options = dict(plan.options.get(plan.primary or "", {}))
    options["exposure"] = "any" if options.get("exposure") == "half" else "half"
    return lambda problem: estimators.estimate(plan.primary or "", problem, **options)


def _quick(plan: Plan) -> Refit:
    """Return the headline's method without its own placebos."""
    method = plan.primary or ""
    options = {**plan.options.get(method, {}), **QUICK.get(estimators.resolve(method), {})}
    return lambda problem: estimators.estimate(method, problem, **options)


def _attrition(frame: pd.DataFrame, problem: Problem) -> Mapping[str, Any]:
    """Return the arm of every row with a treatment, and whether its outcome is there."""
    assigned = frame[problem.question.treatment]
    codes = dict(zip(assigned.iloc[problem.rows], problem.treatment, strict=True))
    arm = assigned.map(codes).to_numpy(dtype=np.float64, na_value=np.nan)
    known = ~np.isnan(arm)
    return {"arm": arm[known], "observed": frame[problem.question.outcome].notna().to_numpy()[known]}


def _placebo(frame: pd.DataFrame, question: Question, name: str, problem: Problem) -> Callable[[], Problem]:
    """Return how to build the same rows with the placebo as the outcome and no longer among the covariates.

    Built only when it is its turn, so that a placebo that cannot be used fails its own analysis and no other.
    """
    covariates = tuple(c for c in question.covariates or () if c != name)
    others = tuple(c for c in question.negative_controls if c != name)
    changed = question.model_copy(
        update={"outcome": name, "covariates": covariates, "negative_controls": others, "filters": ()}
    )
    rows = frame.iloc[np.sort(problem.rows)]
    return lambda: build(rows, changed, seed=problem.seed, confidence_level=problem.confidence_level)


# --- the headline -------------------------------------------------------------------------------------------------


def _headline(method: str, plan: Plan, problem: Problem) -> _Headline:
    options = dict(plan.options.get(method, {}))
    spec = estimators.ESTIMATORS[estimators.resolve(method)]

    def full(changed: Problem) -> Estimate:
        return estimators.estimate(method, changed, **options)

    estimate = full(problem)
    if spec.nuisances != "learned":
        return _Headline(estimate, full, full, estimate, spec.cost(problem.n, problem.covariates.shape[1]))
    rest = {name: value for name, value in options.items() if name not in LEARNER_OPTIONS}

    def light(changed: Problem) -> Estimate:
        return estimators.estimate(method, changed.with_learned(changed.parametric()), **rest)

    own = spec.cost(problem.n, problem.covariates.shape[1])
    return _Headline(estimate, full, light, light(problem), own if own > HEAVY_COST else LIGHT_COST)


def _with_nuisances(problem: Problem, read: Reader) -> Problem:
    """Take the learned nuisances that the estimator stored, where they are for exactly these rows."""
    try:
        nuisances, rows, _ = from_parquet(read.file("effect_estimator", "nuisances.parquet"))
    except NotFound:
        return problem
    return problem.with_learned(nuisances) if np.array_equal(rows, problem.rows) else problem


def _situation(plan: Plan, problem: Problem, frame: pd.DataFrame) -> Situation:
    facts = {
        "covariates": problem.covariates.shape[1] > 0,
        "placebos": bool(plan.placebo_outcomes),
        "missing_outcomes": bool(frame[problem.question.outcome].isna().any()),
        "instruments": bool(plan.instruments),
        "cluster": plan.question.cluster is not None,
    }
    return Situation(
        design=plan.design,
        n=problem.n,
        n_covariates=problem.covariates.shape[1],
        treatment_kind=problem.treatment_kind,
        outcome_kind=problem.outcome_kind,
        roles=frozenset(fact for fact, holds in facts.items() if holds),
        clustered=problem.cluster is not None,
        weighted=problem.weights is not None,
    )


def _reproduced(headline: Estimate, effects: Effects) -> tuple[Note, ...]:
    reported = next((e.estimate for e in effects.effects if e.method == effects.primary and e.status == "ok"), None)
    if reported is None or np.isclose(headline.estimate, reported, rtol=REPRODUCED_RTOL, atol=0.0):
        return ()
    message = f"the headline of {headline.method} was {reported:.10g} and is {headline.estimate:.10g} here"
    return (Note(code="NOT_REPRODUCED", message=message),)

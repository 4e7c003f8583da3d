"""Run the plan's methods on one problem, compare them, and look where the effect differs (AG-7)."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from causal_orchestrator import estimators, log, selection
from causal_orchestrator.agents import Ask, JobView, Output, Reader, Turn
from causal_orchestrator.cautions import cautioned
from causal_orchestrator.errors import CausalError, EstimationError, InputError, NotApplicable
from causal_orchestrator.numerics import heterogeneity, net_benefit
from causal_orchestrator.numerics.inference import critical_value, holm, p_value, simultaneous_critical_value
from causal_orchestrator.numerics.learned_policy import costs
from causal_orchestrator.problem import Estimate, Problem, build, nuisances_to_parquet, plain
from causal_orchestrator.question import Question
from causal_orchestrator.results import (
    Confounders,
    Diagnostic,
    Effect,
    Effects,
    Note,
    Plan,
    Rehearsal,
    Selection,
    Snapshot,
)

Floats = NDArray[np.float64]
Role = Literal["primary", "planned", "exploratory"]

MORE_REPEATS = 20
MAX_MODIFIERS = 8
MIN_SUBGROUP = 30
MAX_GROUPS = 6
ALPHA = 0.05
# Rows and costs (in least-squares fits) above which a learned and any method run with the plan's adjustment set only.
CURVE_ROWS, CURVE_COST = 50_000, 2_000.0


def run(job: JobView, step: Turn, read: Reader, ask: Ask) -> Output:
    """Estimate with every method of the plan; the headline is the plan's primary, whatever the others say.

    A method that fails or does not apply becomes an entry that says so. ``step.parameters["actions"]`` (add_methods,
    add_adjustment_sets, more_repeats) add exploratory entries.

    Raises
    ------
    InputError
        If there is no plan (``NO_PLAN``), or the data cannot be used as `problem.build` says.
    DesignError
        If an arm is empty or treatment or outcome do not vary.
    """
    plan = job.get("study_design", Plan)
    if plan is None or not plan.methods:
        raise InputError("there is no plan with methods to run", code="NO_PLAN")
    actions = tuple(step.parameters.get("actions", ()))
    sets = _adjustment_sets(job, plan)
    columns = dict.fromkeys((*plan.question.columns(), *(c for chosen in sets.values() for c in chosen)))
    frame = read(tuple(columns), "all")
    level = plan.question.preferences.confidence_level
    problem = build(frame, plan.question, seed=job.seed, confidence_level=level)
    attempts = [_attempt(method, problem, plan, _role(method, plan)) for method in _methods(plan)]
    attempts += _more(problem, plan, actions)
    found = {a.effect.method: a.estimate for a in attempts if a.estimate is not None and a.effect.role != "exploratory"}
    chosen = _select(problem, plan, attempts, found)
    curve = _specification_curve(frame, problem, plan, sets, found)
    differs, by_row = _heterogeneity(frame, problem, plan, found)
    scored = {e.method: e for e in chosen.evaluations}
    effects = tuple(_finished(a.effect, problem, scored.get(a.effect.method)) for a in attempts)
    result = Effects(
        effects=effects,
        primary=plan.primary,
        selection=chosen.model_copy(
            update={
                "agreement": plain({**chosen.agreement, "drivers": selection.drivers(curve)}),
                "rehearsal": _rehearsed(job),
            }
        ),
        heterogeneity=plain(differs),
        specification_curve=tuple(plain(row) for row in curve),
        diagnostics=_diagnostics(chosen),
        outcome_scale=_outcome_scale(problem),
        warnings=(*problem.notes, *_notes(effects, plan)),
    )
    files = _files(job, problem, by_row, found.get("policy_learning"))
    return Output(result, files | {"evaluations.json": _evaluations(chosen, attempts)})


@dataclass(frozen=True)
class _Attempt:
    effect: Effect
    estimate: Estimate | None = None
    seconds: float = 0.0


# --- methods --------------------------------------------------------------------------------------------------------


def _methods(plan: Plan) -> tuple[str, ...]:
    """Return the primary first, then the plan's order; the offline planner's primary is always among them."""
    named = (plan.primary, plan.offline_primary, *plan.methods)
    return tuple(dict.fromkeys(name for name in named if name is not None))


def _role(method: str, plan: Plan) -> Role:
    return "primary" if method == plan.primary else "planned"


def _attempt(method: str, problem: Problem, plan: Plan, role: Role, **changed: Any) -> _Attempt:
    options, began = {**plan.options.get(method, {}), **changed}, time.perf_counter()
    try:
        estimate = _translated(method, problem, options)
    except CausalError as exc:
        return _Attempt(_without(method, plan, role, exc), seconds=time.perf_counter() - began)
    except Exception as exc:  # a defect of one method costs its line, told with the error's kind, and not the analysis
        if role == "primary":
            raise
        log.event("defect", severity="ERROR", method=method, error=type(exc).__name__, frames=log.frames(exc))
        error = EstimationError(f"the method broke ({type(exc).__name__})", code="DEFECT")
        return _Attempt(_without(method, plan, role, error), seconds=time.perf_counter() - began)
    return _Attempt(estimate.to_effect(role=role), estimate, time.perf_counter() - began)


def _translated(method: str, problem: Problem, options: Mapping[str, Any]) -> Estimate:
    """Run a method; what its numerical libraries raise becomes an error of ours."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            estimate = cautioned(problem, estimators.estimate(method, problem, **options))
    except (np.linalg.LinAlgError, FloatingPointError, ZeroDivisionError, OverflowError) as exc:
        raise EstimationError(f"the numbers broke down ({exc})", code="NUMERICAL") from exc
    if not np.isfinite(estimate.estimate):
        raise EstimationError("the estimate is not a finite number", code="NUMERICAL")
    return estimate


def _without(method: str, plan: Plan, role: Role, exc: CausalError) -> Effect:
    spec = estimators.ESTIMATORS.get(method)
    own = spec.estimands if spec is not None else ()
    estimand = plan.estimand if plan.estimand in own or not own else own[0]
    status = "not_applicable" if isinstance(exc, NotApplicable) else "failed"
    return Effect.model_validate({"method": method, "estimand": estimand, "role": role, "status": status, "error": f"{exc.code}: {exc.message}"})  # fmt: skip


def _more(problem: Problem, plan: Plan, actions: Sequence[str]) -> list[_Attempt]:
    """Exploratory entries that the critique asked for; the headline stays."""
    added: list[_Attempt] = []
    if "add_methods" in actions:
        others = [a.method for a in plan.applicability if a.admissible and a.method not in _methods(plan)]
        added += [_attempt(method, problem, plan, "exploratory") for method in others]
    if "more_repeats" in actions:
        learned = [m for m in _methods(plan) if "repeats" in estimators.ESTIMATORS[m].options]
        added += [_attempt(method, problem, plan, "exploratory", repeats=MORE_REPEATS) for method in learned]
    return added


def _select(problem: Problem, plan: Plan, attempts: Sequence[_Attempt], found: Mapping[str, Estimate]) -> Selection:
    primary = found.get(plan.primary or "")
    failures = {a.effect.method: a.effect.error or "" for a in attempts if a.estimate is None}
    return selection.select(
        problem,
        found,
        headline=plan.primary,
        estimand=primary.estimand if primary is not None else plan.estimand,
        strategy=plan.question.preferences.selection_strategy,
        failures=failures,
    )


def _evaluations(chosen: Selection, attempts: Sequence[_Attempt]) -> bytes:
    """Return every evaluation with how long it took; durations differ from run to run and stay out of the results."""
    seconds = {a.effect.method: a.seconds for a in reversed(attempts)}
    rows = [e.model_dump(mode="json") | {"duration_ms": round(1000 * seconds.get(e.method, 0.0), 3)} for e in chosen.evaluations]  # fmt: skip
    return json.dumps({"strategy": chosen.strategy, "evaluations": rows}, sort_keys=True).encode()


def _rehearsed(job: JobView) -> dict[str, Any]:
    """Return how the methods fared in the rehearsal, where there was one."""
    found = job.get("rehearsal", Rehearsal)
    if found is None:
        return {}
    told = found.model_dump(mode="json", exclude={"trials", "warnings"})
    return told | {"methods": [{k: v for k, v in row.items() if k != "errors"} for row in told["methods"]]}


def _finished(effect: Effect, problem: Problem, evaluation: Any) -> Effect:
    """Add the energy score and the effect in SDs of the controls' outcome."""
    if effect.status != "ok" or effect.estimate is None:
        return effect
    scale = _outcome_scale(problem).get("control_std") or _outcome_scale(problem)["std"]
    score = {"energy_score": evaluation.score, "energy_components": evaluation.parts} if evaluation is not None and effect.role != "exploratory" else {}  # fmt: skip
    differs = effect.estimand != "POLICY_VALUE"  # a mean outcome is no difference of two
    return effect.model_copy(update={**score, "standardized": effect.estimate / scale if scale and differs else None})


def _outcome_scale(problem: Problem) -> dict[str, float]:
    y = problem.outcome
    found = {"mean": y.mean(), "std": y.std(ddof=1), "minimum": y.min(), "maximum": y.max()}
    if problem.treatment_kind != "continuous":
        control = y[problem.treatment == 0]
        found |= {"control_mean": control.mean(), "control_std": control.std(ddof=1)}
    return {name: float(value) for name, value in found.items()}


# --- specification curve --------------------------------------------------------------------------------------------


def _adjustment_sets(job: JobView, plan: Plan) -> dict[str, tuple[str, ...]]:
    """No covariates, the plan's, each other set that was found, and all that may be adjusted for."""
    sets: dict[str, tuple[str, ...]] = {"none": (), "plan": plan.adjustment_set}
    confounders = job.get("confounder_discovery", Confounders)
    for chosen in confounders.sets if confounders else ():
        sets.setdefault(chosen.kind, chosen.columns)
    excluded = set(confounders.excluded) if confounders else set()
    taken = {plan.question.treatment, plan.question.outcome, *plan.instruments}
    everything = dict.fromkeys(c for columns in sets.values() for c in columns if c not in excluded and c not in taken)
    sets["all"] = tuple(everything)
    distinct: dict[frozenset[str], str] = {}
    for name, columns in sets.items():
        distinct.setdefault(frozenset(columns), name)
    return {name: sets[name] for name in distinct.values()}


def _specification_curve(
    frame: pd.DataFrame,
    problem: Problem,
    plan: Plan,
    sets: Mapping[str, tuple[str, ...]],
    found: Mapping[str, Estimate],
) -> list[dict[str, Any]]:
    """Every method that gave an estimate, with every adjustment set (SEL-3)."""
    rows: list[dict[str, Any]] = []
    for name, columns in sets.items():
        if set(columns) == set(plan.adjustment_set):
            rows += [_specification(name, columns, e) for e in found.values() if e.estimand not in selection.POLICIES]
            continue
        other = _adjusted(frame, problem, plan.question, columns)
        for method in (name for name, e in found.items() if e.estimand not in selection.POLICIES):
            spec = estimators.ESTIMATORS[method]
            blind = not columns and "covariates" in spec.needs
            slow = spec.nuisances == "learned" and problem.n > CURVE_ROWS
            if blind or slow or method == "difference_in_means" or spec.cost(problem.n, len(columns)) > CURVE_COST:
                continue
            attempt = _attempt(method, other, plan, "exploratory")
            if attempt.estimate is not None:
                rows.append(_specification(name, columns, attempt.estimate))
    return rows


def _adjusted(frame: pd.DataFrame, problem: Problem, question: Question, columns: tuple[str, ...]) -> Problem:
    changed = question.model_copy(update={"covariates": columns})
    return build(frame, changed, seed=problem.seed, confidence_level=problem.confidence_level)


def _specification(name: str, columns: Sequence[str], estimate: Estimate) -> dict[str, Any]:
    return {
        "method": estimate.method,
        "adjustment_set": name,
        "covariates": list(columns),
        "estimand": estimate.estimand,
        "estimate": estimate.estimate,
        "std_error": estimate.std_error,
        "ci_lower": estimate.ci_lower,
        "ci_upper": estimate.ci_upper,
        "n": estimate.n,
    }


# --- where the effect differs ---------------------------------------------------------------------------------------


def _heterogeneity(
    frame: pd.DataFrame, problem: Problem, plan: Plan, found: Mapping[str, Estimate]
) -> tuple[dict[str, Any], Estimate | None]:
    """Return what doubly robust scores say about who gains more, and the estimate that gives each row's effect.

    The effects by row are those of the most credible method that learned them on other rows, whatever they look like.
    """
    learned = found.get("policy_learning")
    told: dict[str, Any] = {"policy": _policy(learned)} if learned is not None else {}
    if problem.treatment_kind != "binary" or not problem.covariates.shape[1]:
        return told, None
    modifiers = plan.question.effect_modifiers or plan.adjustment_set[:MAX_MODIFIERS]
    scores = selection.pseudo_outcomes(problem)
    told |= _subgroups(frame, problem, modifiers, scores)
    chosen = [j for j, source in enumerate(problem.covariate_sources) if source in modifiers]
    names = [problem.covariate_names[j] for j in chosen]
    told["projection"] = heterogeneity.projection(
        scores, problem.covariates[:, chosen], names, weights=problem.weights, cluster=problem.cluster,
        confidence_level=problem.confidence_level, seed=problem.seed,
    )  # fmt: skip
    by_row = _by_row(found)
    if by_row is not None and by_row.cate is not None:
        told["cate"] = {"method": by_row.method, **by_row.details["heterogeneity"]}
        told["net_benefit"] = _net_benefit(problem, by_row.cate, scores)
        told["landscape"] = _landscape(problem, by_row.cate, told["projection"])
    told["evidence"] = _evidence(told, float(plan.thresholds.get("familywise_alpha", ALPHA)))
    return told, by_row


def _by_row(found: Mapping[str, Estimate]) -> Estimate | None:
    # What a method without folds (parametric) says of its own rows flatters it.
    able = [
        e
        for e in found.values()
        if e.cate is not None and "heterogeneity" in e.details and e.details.get("folds", 2) > 1
    ]
    return min(able, key=lambda e: (-estimators.ESTIMATORS[e.method].credibility, e.method), default=None)


def _policy(estimate: Estimate) -> dict[str, Any]:
    """Return whom the learned policy treats and what it is worth, beside the other policies."""
    gain = {key: getattr(estimate, key) for key in ("estimate", "std_error", "ci_lower", "ci_upper", "p_value")}
    details = {
        key: value for key, value in estimate.details.items() if key in ("tree", "share", "spent", "budget", "depth")
    }
    values = [row.model_dump(include={"term", "estimate", "std_error", "ci_lower", "ci_upper"}) for row in estimate.rows[1:]]  # fmt: skip
    return {"gain": gain, "values": values, **details, "stability": estimate.diagnostics["stability"]["value"]}


def _net_benefit(problem: Problem, cate: Floats, scores: Floats) -> dict[str, Any]:
    """Return the net benefit of whom to treat at the costs given, or over a range of costs where there are none."""
    try:
        charged = costs(problem)
    except InputError as exc:
        return {"costs": "unusable", "reason": exc.message, "rows": []}
    cases = charged[:, [1]] if charged is not None else np.tile(net_benefit.thresholds(cate), (problem.n, 1))
    rows = net_benefit.net_benefit(cate, scores, cases, weights=problem.weights, cluster=problem.cluster, confidence_level=problem.confidence_level, seed=problem.seed)  # fmt: skip
    return {"costs": "given" if charged is not None else "range", "rows": rows}


def _landscape(problem: Problem, cate: Floats, projected: Mapping[str, Any]) -> dict[str, Any]:
    """Return mean effects over the two covariates of more than two values with which the effects go most."""
    rows = sorted(projected.get("rows", ()), key=lambda row: -abs(row["estimate"]) / (row["std_error"] or np.inf))
    places = [problem.covariate_names.index(row["term"]) for row in rows]
    smooth = [j for j in places if len(np.unique(problem.covariates[:2_000, j])) > MAX_GROUPS][:2]
    if len(smooth) < 2:
        return {}
    drawn = heterogeneity.landscape(cate, *(problem.covariates[:, j] for j in smooth))
    return {"covariates": [problem.covariate_names[j] for j in smooth], **drawn} if drawn else {}


def _evidence(told: Mapping[str, Any], alpha: float) -> dict[str, Any]:
    """Return the tests of equal effects (Holm over all), and whether one of them finds a difference."""
    tests = {}
    if told.get("projection"):
        tests["linear in the modifiers"] = told["projection"]["p_value"]
    for name, key in (("calibration", "best_linear_predictor"), ("ranking", "autoc")):
        if key in told.get("cate", {}):
            tests[name] = _upper(told["cate"][key])
    ranked = sorted((p, name) for name, p in tests.items() if p is not None)
    adjusted = dict(zip((name for _, name in ranked), holm([p for p, _ in ranked]), strict=True))
    return {"p_values_holm": adjusted, "alpha": alpha, "detected": any(p < alpha for p in adjusted.values())}


def _upper(row: Mapping[str, Any]) -> float | None:
    """Return the one-sided p-value: a learner that sorts rows the wrong way has found nothing."""
    p, value = row["p_value"], row.get("slope", row.get("estimate"))
    return None if p is None or value is None else p / 2 if value > 0 else 1 - p / 2


def _subgroups(frame: pd.DataFrame, problem: Problem, modifiers: Sequence[str], scores: Floats) -> dict[str, Any]:
    """Average effects in subgroups, with intervals that hold together."""
    labels, members, of = [], [], []
    for modifier in modifiers:
        for label, inside in _groups(modifier, frame[modifier].iloc[problem.rows]):
            if min((inside & (problem.treatment == k)).sum() for k in (0, 1)) >= MIN_SUBGROUP // 2:
                labels.append(label)
                members.append(inside)
                of.append(modifier)
    if not labels:
        return {}
    means, covariance = heterogeneity.subgroups(scores, np.column_stack(members).astype(np.float64), weights=problem.weights, cluster=problem.cluster)  # fmt: skip
    critical = simultaneous_critical_value(covariance, problem.confidence_level, seed=problem.seed)
    errors = np.sqrt(np.diag(covariance))
    rows = [
        {
            "subgroup": label,
            "modifier": modifier,
            "estimate": float(mean),
            "std_error": float(error),
            "ci_lower": float(mean - critical * error),
            "ci_upper": float(mean + critical * error),
            "n": int(inside.sum()),
        }
        for label, modifier, mean, error, inside in zip(labels, of, means, errors, members, strict=True)
    ]
    return {
        "subgroups": rows,
        "tests": _tests(of, means, covariance),
        "inference": "doubly robust scores, simultaneous intervals over all subgroups",
        "method": "gates",
    }


def _groups(modifier: str, series: pd.Series) -> list[tuple[str, NDArray[np.bool_]]]:
    """Return the levels of a column, or its thirds where it has more values."""
    if series.nunique() <= MAX_GROUPS:
        levels = sorted(series.dropna().unique(), key=str)
        return [(f"{modifier} = {_short(level)}", (series == level).to_numpy()) for level in levels]
    if not pd.api.types.is_numeric_dtype(series):
        return []
    values = series.to_numpy(dtype=np.float64)
    cuts = np.unique(np.nanquantile(values, [1 / 3, 2 / 3]))
    names = [f"{modifier} ≤ {cuts[0]:g}", *(f"{a:g} < {modifier} ≤ {b:g}" for a, b in pairwise(cuts)), f"{modifier} > {cuts[-1]:g}"]  # fmt: skip
    which = np.where(np.isnan(values), -1, np.searchsorted(cuts, values, side="left"))
    return [(name, which == k) for k, name in enumerate(names)]


def _short(level: object) -> str:
    return f"{level:g}" if isinstance(level, float) else str(level)


def _tests(of: Sequence[str], means: Floats, covariance: Floats) -> list[dict[str, Any]]:
    """Whether the first and the last group of each modifier differ (Holm over modifiers)."""
    found: list[dict[str, Any]] = []
    for modifier in dict.fromkeys(of):
        places = [i for i, name in enumerate(of) if name == modifier]
        if len(places) < 2:
            continue
        a, b = places[0], places[-1]
        error = float(np.sqrt(covariance[a, a] + covariance[b, b] - 2 * covariance[a, b]))
        gap = float(means[b] - means[a])
        found.append({"modifier": modifier, "difference": gap, "std_error": error, "p_value": p_value(gap, error)})
    tested = [row for row in found if row["p_value"] is not None]
    for row, adjusted in zip(tested, holm([row["p_value"] for row in tested]), strict=True):
        row["p_value_holm"] = adjusted
    return found


# --- notes and files ------------------------------------------------------------------------------------------------


def _diagnostics(chosen: Selection) -> tuple[Diagnostic, ...]:
    headline = next((e for e in chosen.evaluations if e.method == chosen.headline and e.score is not None), None)
    if headline is None or headline.score is None:
        return ()
    return (Diagnostic(name="energy_score", value=headline.score, threshold=selection.WARNING, passed=headline.score <= selection.WARNING, detail=f"{headline.method}: {headline.tier}"),)  # fmt: skip


def _notes(effects: Sequence[Effect], plan: Plan) -> tuple[Note, ...]:
    failed = [e for e in effects if e.status == "failed"]
    notes = [Note(code="METHOD_FAILED", message=f"{e.method}: {e.error}") for e in failed]
    headline = next((e for e in effects if e.role == "primary" and e.status == "ok"), None)
    notes += [Note(code="PRIMARY_NOTE", message=f"{headline.method}: {note}") for note in headline.notes] if headline else []  # fmt: skip
    if any(e.method == plan.primary for e in failed):
        notes.append(Note(code="PRIMARY_FAILED", message=f"the primary method {plan.primary} gave no estimate; no other takes its place"))  # fmt: skip
    return tuple(notes)


def _files(job: JobView, problem: Problem, by_row: Estimate | None, policy: Estimate | None) -> dict[str, Any]:
    """Return the learned nuisances, where they were fitted, and each row's effect and treatment by the policy."""
    snapshot = job.get("dataset_fetcher", Snapshot)
    if problem.treatment_kind != "binary" or not problem.covariates.shape[1]:
        return {}
    files = {"nuisances.parquet": nuisances_to_parquet(problem, snapshot_sha256=snapshot.sha256 if snapshot else "")}
    if by_row is not None and by_row.cate is not None:
        files["cate.parquet"] = _cate_file(problem, by_row, by_row.cate, policy)
    return files


def _cate_file(problem: Problem, by_row: Estimate, cate: Floats, policy: Estimate | None) -> bytes:
    """Return a Parquet file: row of the table, its effect, pointwise interval where there is one, and the policy's."""
    columns: dict[str, Any] = {"row": problem.rows, "effect": cate}
    if by_row.cate_std_error is not None:
        margin = critical_value(problem.confidence_level) * by_row.cate_std_error
        columns |= {"std_error": by_row.cate_std_error, "ci_lower": cate - margin, "ci_upper": cate + margin}
    if policy is not None:
        columns["policy"] = policy.details["assigned"].astype(str)
    table = pd.DataFrame(columns).assign(method=by_row.method).sort_values("row", ignore_index=True)
    return bytes(table.to_parquet(None, index=False, compression="zstd"))

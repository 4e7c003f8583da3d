"""Rehearse the candidate methods on copies of the data whose effect is known, before any outcome is joined (AG-15, SEL-4).

The step looks at covariates and treatment alone. A copy keeps them, draws the treatment anew from the estimated
propensity (or by permutation, in an experiment), and makes up how the outcome goes with the covariates; of the real
outcome it knows only the marginal distribution that the fetcher wrote down. So the primary may follow from what is
found here without anyone having looked at the answer. Real control outcomes would need covariates, treatment and
outcome at once, which no view before the freeze gives.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from causal_orchestrator import estimators, selection
from causal_orchestrator.agents import Ask, JobView, Output, Reader, Turn
from causal_orchestrator.errors import CausalError, InputError
from causal_orchestrator.estimators import Situation
from causal_orchestrator.identification import methods
from causal_orchestrator.numerics import nuisance
from causal_orchestrator.problem import Problem, build_blind
from causal_orchestrator.profiling.repairing import indicators
from causal_orchestrator.question import Question
from causal_orchestrator.results import (
    ColumnSummary,
    Confounders,
    Note,
    Profile,
    PropensityDiagnostics,
    Rehearsal,
    Rehearsed,
    Repairs,
    Snapshot,
    Trial,
)
from causal_orchestrator.simulate.semisynthetic import EFFECTS, SURFACES, Copy, Marginal, Template, copy

Floats = NDArray[np.float64]

DRAWS = 12  # copies in each part: two of every surface and effect
ROWS = 2_000  # rows of a copy; of more, a sample without repeats is drawn for each
HEAVY = 100.0  # in OLS fits; dearer methods are not rehearsed
POOR_OVERLAP = 0.8
EDGES = (0.5, 0.9, 0.99)  # share of a tail at which its exponential is read off
FAILED = (CausalError, np.linalg.LinAlgError, FloatingPointError, ZeroDivisionError, OverflowError)


def run(job: JobView, step: Turn, read: Reader, ask: Ask) -> Output:
    """Run one part's copies, or join the parts into each method's bias, RMSE and coverage.

    Raises
    ------
    InputError
        If roles are open (``ROLES_OPEN``), nothing was fetched (``NO_SNAPSHOT``) or the data cannot be used as
        `problem.build` says.
    DesignError
        If an arm has fewer than ten units.
    """
    question = _question(job)
    situation, candidates = _candidates(job, question)
    if step.part is not None:
        return Output(Rehearsal(trials=tuple(_trials(job, step, read, question, situation, candidates))))
    found = [Rehearsal.model_validate(part) for part in read.parts()]
    trials = [trial for part in found for trial in part.trials]
    return Output(_joined(trials, situation, candidates, question.preferences.confidence_level))


# --- what is rehearsed ----------------------------------------------------------------------------------------------


def _question(job: JobView) -> Question:
    """Return the question with the covariates that the plan would adjust for."""
    profile = job.get("data_profiler", Profile)
    question = profile.question if profile is not None else job.question
    if question.treatment is None or question.outcome is None:
        raise InputError("the question names no treatment or no outcome; give both", code="ROLES_OPEN")
    confounders, repairs = job.get("confounder_discovery", Confounders), job.get("data_repair", Repairs)
    covariates = confounders.recommended if confounders is not None else question.covariates or ()
    covariates = (*covariates, *(indicators(repairs, covariates) if repairs is not None else ()))
    needed = ("treatment", "outcome", "weights", "cluster", "reference_level", "filters", "estimand", "preferences", "randomized")  # fmt: skip
    return Question(**{name: getattr(question, name) for name in needed}, covariates=covariates)


def _candidates(job: JobView, question: Question) -> tuple[Situation, tuple[str, ...]]:
    """Return the situation, and the methods that could be its primary and give an interval, the best first."""
    situation = _situation(job, question)
    ranked = methods.rank(situation)
    able = [
        a.method
        for a in ranked
        if a.admissible
        and methods.targets(a.method, situation.estimand or "")
        and methods.cost(a.method, situation) <= HEAVY
        and "score" not in estimators.ESTIMATORS[a.method].options  # learners of each row's effect give no interval
    ]
    return situation, tuple(able)


def _situation(job: JobView, question: Question) -> Situation:
    profile, propensity = job.get("data_profiler", Profile), job.get("ps_diagnostics", PropensityDiagnostics)
    snapshot = job.get("dataset_fetcher", Snapshot)
    overlap = propensity.overlap if propensity else None
    design = "randomized" if question.randomized else "unconfoundedness"
    poor = design == "unconfoundedness" and overlap is not None and overlap < POOR_OVERLAP
    return Situation(
        design=design,
        n=snapshot.n_rows if snapshot else 0,
        n_covariates=len(question.covariates or ()),
        treatment_kind="binary",
        outcome_kind=(profile.outcome_kind if profile else None) or "continuous",
        roles=frozenset({"covariates"} if question.covariates else ()),
        overlap=overlap,
        separated=bool(propensity and propensity.separated),
        clustered=question.cluster is not None,
        weighted=question.weights is not None,
        estimand=question.estimand or ("ATT" if poor else "ATE"),
    )


# --- one part -------------------------------------------------------------------------------------------------------


def _trials(
    job: JobView, step: Turn, read: Reader, question: Question, situation: Situation, candidates: Sequence[str]
) -> list[Trial]:
    columns = [c for c in question.columns() if c != question.outcome]
    problem = build_blind(read(columns, "covariates_treatment"), question, seed=job.seed)
    template = _template(problem, question, _marginal(job, question))
    options = methods.all_options(tuple(candidates), situation)
    trials: list[Trial] = []
    for k, seed in enumerate(np.random.SeedSequence(step.seed).spawn(DRAWS)):
        draw = (step.part or 0) * DRAWS + k
        made, which, surface = _copy(problem, template, draw, seed)
        trials += [_trial(method, made, which, draw, surface, options.get(method, {})) for method in candidates]
    return trials


def _template(problem: Problem, question: Question, marginal: Marginal) -> Template:
    chance = None
    if not question.randomized and problem.covariates.shape[1]:
        cross = nuisance.cross_fitter(problem, nuisance.recipe(problem.n), seed=problem.seed)
        chance = nuisance.cross_fit_propensity(cross, problem.treatment, 2)[0][:, 1]
    return Template(problem.covariates, problem.treatment, chance, marginal, problem.cluster, problem.weights)


def _marginal(job: JobView, question: Question) -> Marginal:
    """Return what the fetcher wrote down of the outcome's own distribution."""
    snapshot, profile = job.get("dataset_fetcher", Snapshot), job.get("data_profiler", Profile)
    column = next((c for c in snapshot.columns if c.name == question.outcome), None) if snapshot else None
    if column is None:
        raise InputError("nothing is known of the outcome's distribution", code="NO_SNAPSHOT")
    if profile is not None and profile.outcome_kind == "binary":
        rarer = min(column.levels.values(), default=0) / max(1, column.n - column.n_missing)
        share = column.mean if column.minimum == 0 and column.maximum == 1 else rarer
        return Marginal(share=min(max(share or 0.5, 0.01), 0.99))
    return Marginal(quantiles=_quantiles(column))


def _quantiles(column: ColumnSummary) -> Mapping[float, float] | None:
    """Return the outcome's quantiles by level, with exponential tails from the outermost ones to the extremes."""
    known = {float(level): value for level, value in column.quantiles.items()}
    if not known or column.minimum is None or column.maximum is None:
        return None
    low, high = min(known), max(known)
    reach = np.log(max(column.n * low, 2.0))
    tails = {0.0: column.minimum, 1.0: column.maximum}
    for edge in EDGES:
        share = min(1.0, float(-np.log(1 - edge) / reach))
        tails[low * (1 - edge)] = known[low] + share * (column.minimum - known[low])
        tails[1 - (1 - high) * (1 - edge)] = known[high] + share * (column.maximum - known[high])
    return known | tails


def _copy(problem: Problem, template: Template, draw: int, seed: np.random.SeedSequence) -> tuple[Problem, Copy, str]:
    """Return the problem of one copy; its scenario goes by its number, so that every part has all of them."""
    rows, chances = seed.spawn(2)
    which = np.sort(np.random.default_rng(rows).permutation(problem.n)[:ROWS])
    part = problem if len(which) == problem.n else problem.take(which)
    kept = replace(
        template,
        covariates=part.covariates,
        treatment=part.treatment,
        chance=None if template.chance is None else template.chance[which],
        cluster=part.cluster,
        weights=part.weights,
    )
    surface, effect = SURFACES[draw % len(SURFACES)], EFFECTS[draw // len(SURFACES) % len(EFFECTS)]
    made = copy(kept, surface=surface, effect=effect, seed=chances)
    kind = "binary" if template.marginal.share is not None else "continuous"
    return part.change(treatment=made.treatment, outcome=made.outcome, outcome_kind=kind), made, surface


def _trial(method: str, problem: Problem, made: Copy, draw: int, surface: str, options: Mapping[str, object]) -> Trial:
    """Run one method; learned nuisances are cross-fitted once per copy, not repeatedly."""
    told: dict[str, Any] = {"method": method, "draw": draw, "surface": surface}
    if estimators.ESTIMATORS[method].nuisances == "learned":
        problem = problem.with_learned(problem.learned(repeats=1))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            found = estimators.estimate(method, problem, **options)
    except FAILED as exc:
        return Trial(**told, failure=exc.code if isinstance(exc, CausalError) else type(exc).__name__)
    truth, scale = made.truth.get(found.estimand), float(made.outcome.std()) or 1.0
    if truth is None or not np.isfinite(found.estimate):
        return Trial(**told, failure="NUMERICAL" if truth is not None else "ESTIMAND")
    covered, width = None, None
    if found.ci_lower is not None and found.ci_upper is not None:
        covered, width = found.ci_lower <= truth <= found.ci_upper, (found.ci_upper - found.ci_lower) / scale
    return Trial(**told, error=(found.estimate - truth) / scale, covered=covered, width=width)


# --- joining the parts ----------------------------------------------------------------------------------------------


def _joined(trials: Sequence[Trial], situation: Situation, candidates: Sequence[str], level: float) -> Rehearsal:
    by_method = {method: [t for t in trials if t.method == method] for method in candidates}
    rows = tuple(_rehearsed(method, found) for method, found in by_method.items() if found)
    choice = selection.rehearsed_choice(rows, level)
    draws = len({trial.draw for trial in trials})
    notes = () if rows else (Note(code="NOTHING_REHEARSED", message="no method could be rehearsed", severity="info"),)
    return Rehearsal(
        design=situation.design, estimand=situation.estimand or "", n=min(situation.n, ROWS), draws=draws,
        methods=rows, against=choice.against, preferred=choice.preferred, reasons=choice.reasons, warnings=notes,
    )  # fmt: skip


def _rehearsed(method: str, trials: Sequence[Trial]) -> Rehearsed:
    trials = sorted(trials, key=lambda t: t.draw)
    errors = np.array([t.error for t in trials if t.error is not None])
    covered = [t.covered for t in trials if t.covered is not None]
    widths = [t.width for t in trials if t.width is not None]
    lower, upper = selection.exact_limits(sum(covered), len(covered)) if covered else (None, None)
    return Rehearsed(
        method=method,
        draws=len(trials),
        failures=sum(t.failure is not None for t in trials),
        bias=float(errors.mean()) if len(errors) else None,
        rmse=float(np.sqrt((errors**2).mean())) if len(errors) else None,
        coverage=float(np.mean(covered)) if covered else None,
        coverage_lower=lower,
        coverage_upper=upper,
        width=float(np.mean(widths)) if widths else None,
        by_surface={name: _on(name, trials) for name in SURFACES},
        errors=tuple(t.error for t in trials),
    )


def _on(surface: str, trials: Sequence[Trial]) -> dict[str, float | None]:
    errors = [t.error for t in trials if t.surface == surface and t.error is not None]
    covered = [t.covered for t in trials if t.surface == surface and t.covered is not None]
    return {
        "bias": float(np.mean(errors)) if errors else None,
        "coverage": float(np.mean(covered)) if covered else None,
    }

"""Judge, blind to the outcome, whether the arms can be compared at all (AG-6)."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from causal_orchestrator.agents import Ask, JobView, Output, Reader, Turn
from causal_orchestrator.errors import CausalError, InputError
from causal_orchestrator.numerics import nuisance
from causal_orchestrator.numerics.balance import effective_sample_size, standardized_differences
from causal_orchestrator.numerics.logit import fit_logit
from causal_orchestrator.numerics.weighting import balancing_weights
from causal_orchestrator.problem import Problem, build_blind
from causal_orchestrator.question import Question
from causal_orchestrator.results import (
    Balance,
    Confounders,
    Note,
    Profile,
    PropensityDiagnostics,
    PropensityModel,
)
from causal_orchestrator.selection import calibration_error

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

LOW, HIGH = 0.05, 0.95
CLIP = 1e-3
SEPARATED_AUC = 0.995
BINS = 20
GROUPS = 10
SMALL_CELL = 10
VIOLATION = 0.2  # share of a subgroup outside [LOW, HIGH] from which it is listed
MAX_VIOLATIONS = 20


def run(job: JobView, step: Turn, read: Reader, ask: Ask) -> Output:
    """Fit models of the treatment, compare them out of sample, and report overlap, support and balance.

    Raises
    ------
    InputError
        If roles are open (``ROLES_OPEN``) or the data cannot be used as `problem.build` says.
    DesignError
        If an arm has fewer than ten units.
    """
    question = _question(job)
    columns = [c for c in question.columns() if c != question.outcome]
    frame = read(columns, "covariates_treatment")
    problem = build_blind(frame, question, seed=job.seed)
    if problem.treatment_kind == "continuous" or not problem.covariates.shape[1]:
        return Output(_nothing_to_model(problem))
    how = nuisance.recipe(problem.n)
    cross = nuisance.cross_fitter(problem, how, seed=problem.seed)
    propensity, shares = nuisance.cross_fit_propensity(cross, problem.treatment, len(problem.treatment_levels))
    models = _models(problem, propensity, shares)
    return Output(_diagnostics(frame, problem, propensity, models), {"nuisances.parquet": _stored(problem, propensity, cross.fold)})  # fmt: skip


def _question(job: JobView) -> Question:
    profile = job.get("data_profiler", Profile)
    question = profile.question if profile is not None else job.question
    if question.treatment is None or question.outcome is None:
        raise InputError("the question names no treatment or no outcome; give both", code="ROLES_OPEN")
    confounders = job.get("confounder_discovery", Confounders)
    covariates = confounders.recommended if confounders is not None else question.covariates or ()
    needed = (
        "treatment",
        "outcome",
        "weights",
        "cluster",
        "population",
        "reference_level",
        "filters",
        "estimand",
        "preferences",
    )
    return Question(**{name: getattr(question, name) for name in needed}, covariates=covariates)


def _nothing_to_model(problem: Problem) -> PropensityDiagnostics:
    why = "the treatment is continuous" if problem.treatment_kind == "continuous" else "there are no covariates"
    note = Note(code="NO_PROPENSITY", message=f"no propensity was modelled: {why}", severity="info")
    return PropensityDiagnostics(models=(), overlap=None, separated=False, warnings=(*problem.notes, note))


# --- models ---------------------------------------------------------------------------------------------------------


def _models(problem: Problem, propensity: Floats, shares: Mapping[str, float]) -> tuple[PropensityModel, ...]:
    """Every learner of the library alone, the plain logit, and their mixture, which the methods use."""
    treated = (problem.treatment > 0).astype(np.float64)
    everyone = np.ones(problem.n, dtype=bool)
    names = tuple(shares)
    how = nuisance.Recipe(("mean", *names), nuisance.recipe(problem.n).folds, 1)
    cross = nuisance.cross_fitter(problem, how, seed=problem.seed)
    each = cross.separately(treated, kind="probability", rows=everyone)
    found = [_scored(name, each[:, j], treated) for j, name in enumerate(how.learners)]
    logit = _logit_out_of_fold(problem, treated, cross.fold)
    if logit is not None:
        found.append(_scored("logit", logit, treated))
    return (*found, _scored("mixture", 1 - propensity[:, 0], treated, chosen=True))


def _logit_out_of_fold(problem: Problem, treated: Floats, fold: NDArray[np.int64]) -> Floats | None:
    design = nuisance.with_intercept(problem.covariates)
    out = np.zeros(problem.n)
    for k in range(int(fold.max()) + 1):
        into = fold != k
        try:
            fitted = fit_logit(design[into], treated[into], None if problem.weights is None else problem.weights[into])
        except CausalError:
            return None  # a separated logit has no maximum; the mixture stands without it
        out[~into] = 1 / (1 + np.exp(-np.clip(design[~into] @ fitted.coefficients, -35, 35)))
    return out


def _scored(name: str, predicted: Floats, treated: Floats, *, chosen: bool = False) -> PropensityModel:
    p = np.clip(predicted, 1e-9, 1 - 1e-9)
    return PropensityModel(
        name=name,
        log_loss=float(-(treated * np.log(p) + (1 - treated) * np.log(1 - p)).mean()),
        auc=area_under_curve(predicted, treated),
        brier=float(((predicted - treated) ** 2).mean()),
        calibration_error=calibration_error(predicted, treated),
        chosen=chosen,
    )


def area_under_curve(predicted: Floats, treated: Floats) -> float:
    """Return the probability that a treated row's prediction exceeds a control's (ties count half)."""
    _, which, count = np.unique(predicted, return_inverse=True, return_counts=True)
    rank = (np.cumsum(count) - (count - 1) / 2)[which]
    n1 = treated.sum()
    n0 = len(treated) - n1
    return float((rank[treated == 1].sum() - n1 * (n1 + 1) / 2) / (n1 * n0))


# --- diagnostics ----------------------------------------------------------------------------------------------------


def _diagnostics(
    frame: pd.DataFrame, problem: Problem, propensity: Floats, models: tuple[PropensityModel, ...]
) -> PropensityDiagnostics:
    treated = np.asarray(problem.treatment > 0)
    any_level = 1 - propensity[:, 0]
    target = problem.question.estimand or "ATE"
    whose = treated if target == "ATT" else ~treated if target == "ATC" else np.ones(problem.n, dtype=bool)
    inside: Mask = np.all((propensity >= LOW) & (propensity <= HIGH), axis=1)
    return PropensityDiagnostics(
        models=models,
        overlap=float(inside[whose].mean()),
        separated=(models[-1].auc or 0.0) > SEPARATED_AUC,
        ess=_sample_sizes(problem, propensity),
        support=_support(any_level, treated),
        trimming=_trimming(any_level, problem.n),
        balance=_balance(problem, propensity, target),
        violations=_violations(frame, problem, ~inside),
        histogram=_histogram(any_level, treated),
        calibration=_calibration(any_level, treated),
        overlap_by_target=_by_target(inside, treated),
        warnings=(*problem.notes, *_warnings(problem, inside[whose], target)),
    )


def _by_target(inside: Mask, treated: Mask) -> dict[str, float]:
    """Return the overlap of everyone, of the treated and of the controls."""
    whose = {"ATE": np.ones(len(inside), dtype=bool), "ATT": treated, "ATC": ~treated}
    return {target: float(inside[rows].mean()) for target, rows in whose.items() if rows.any()}


def _sample_sizes(problem: Problem, propensity: Floats) -> dict[str, float]:
    weights = balancing_weights(problem.treatment, np.clip(propensity, CLIP, 1), "ATE")
    sizes: dict[str, float] = {}
    for k, level in enumerate(problem.treatment_levels):
        mine = weights[problem.treatment == k]
        sizes[level] = effective_sample_size(mine)
        sizes[f"{level} rows"] = float(len(mine))
    return sizes


def _support(e: Floats, treated: Mask) -> dict[str, float]:
    low = max(e[treated].min(), e[~treated].min())
    high = min(e[treated].max(), e[~treated].max())
    return {"low": float(low), "high": float(high), "share_inside": float(((e >= low) & (e <= high)).mean())}


def _trimming(e: Floats, n: int) -> dict[str, float]:
    """Advise a cut by the variance-minimising rule of Crump et al. (2009), https://doi.org/10.1093/biomet/asn055."""
    g = np.sort(1 / np.clip(e * (1 - e), 1e-12, None))
    mean = np.cumsum(g) / np.arange(1, n + 1)
    holds = np.flatnonzero(g <= 2 * mean)
    gamma = 2 * mean[holds[-1]]
    cut = 0.0 if gamma >= g[-1] or gamma < 4 else float(0.5 - np.sqrt(0.25 - 1 / gamma))
    return {"cut": cut, "share_left_out": float(((e < cut) | (e > 1 - cut)).mean()), "share_outside_0.1": float(((e < 0.1) | (e > 0.9)).mean())}  # fmt: skip


def _balance(problem: Problem, propensity: Floats, target: str) -> tuple[Balance, ...]:
    """Differences of each encoded covariate between the first treated level and the reference."""
    pair = problem.treatment <= 1
    x, treated = problem.covariates[pair], problem.treatment[pair] == 1
    known: Any = target if target in ("ATT", "ATC", "ATO") else "ATE"
    weights = balancing_weights(problem.treatment, np.clip(propensity, CLIP, 1), known)[pair]
    before, after = standardized_differences(x, treated), standardized_differences(x, treated, weights)
    spread = [x[arm].var(axis=0, ddof=1) for arm in (treated, ~treated)]
    ratio = np.divide(spread[0], spread[1], out=np.full(x.shape[1], np.nan), where=spread[1] > 0)
    return tuple(
        Balance(
            covariate=name,
            smd=float(before[j]),
            variance_ratio=float(ratio[j]) if np.isfinite(ratio[j]) else None,
            ks=_kolmogorov(x[treated, j], x[~treated, j]),
            smd_adjusted=float(after[j]),
        )
        for j, name in enumerate(problem.covariate_names)
    )


def _kolmogorov(first: Floats, second: Floats) -> float:
    both = np.concatenate([first, second])
    gaps = [np.searchsorted(np.sort(side), both, side="right") / len(side) for side in (first, second)]
    return float(np.abs(gaps[0] - gaps[1]).max())


def _violations(frame: pd.DataFrame, problem: Problem, outside: Mask) -> tuple[dict[str, Any], ...]:
    """Subgroups (levels, or thirds of numeric columns) in which many propensities are extreme, the worst first."""
    found = []
    for column in problem.question.covariates or ():
        series = frame[column].iloc[problem.rows]
        if pd.api.types.is_numeric_dtype(series) and series.nunique() > GROUPS:
            labels = pd.qcut(series, 3, duplicates="drop").astype(str).to_numpy()
        elif series.nunique() <= GROUPS:
            labels = series.astype(str).to_numpy()
        else:
            continue
        for label in sorted(set(labels)):
            rows = labels == label
            n, share = int(rows.sum()), float(outside[rows].mean())
            if n >= SMALL_CELL and share >= VIOLATION:
                treated = float((problem.treatment[rows] > 0).mean())
                found.append({"column": column, "subgroup": f"{column} = {label}", "n": n, "share_outside": share, "share_treated": treated})  # fmt: skip
    found.sort(key=lambda row: (-float(str(row["share_outside"])), str(row["subgroup"])))
    return tuple(found[:MAX_VIOLATIONS])


def _histogram(e: Floats, treated: Mask) -> dict[str, tuple[float, ...]]:
    edges = np.linspace(0, 1, BINS + 1)
    arms = {"treated": treated, "control": ~treated}
    counts = {name: tuple(float(c) for c in np.histogram(e[rows], edges)[0]) for name, rows in arms.items()}
    return {"edges": tuple(float(edge) for edge in edges), **counts}


def _calibration(e: Floats, treated: Mask) -> tuple[tuple[float, float, int], ...]:
    cuts = np.unique(np.quantile(e, np.linspace(0, 1, GROUPS + 1)[1:-1]))
    which = np.searchsorted(cuts, e, side="right")
    bins = [which == k for k in range(len(cuts) + 1)]
    return tuple((float(e[b].mean()), float(treated[b].mean()), int(b.sum())) for b in bins if b.any())


def _warnings(problem: Problem, inside: Mask, target: str) -> tuple[Note, ...]:
    share = float(inside.mean())
    if share > 0.8:
        return ()
    message = f"only {share:.0%} of the {target} population have a propensity within [{LOW}, {HIGH}]"
    return (Note(code="OVERLAP", message=message, columns=(problem.question.treatment or "",)),)


def _stored(problem: Problem, propensity: Floats, fold: NDArray[np.int64]) -> bytes:
    """Return a Parquet file with row, fold and the propensity of each level (e for a binary treatment)."""
    levels = propensity.shape[1]
    columns: dict[str, NDArray[Any]] = {"row": problem.rows, "fold": fold}
    columns |= {"e" if levels == 2 else f"e{k}": propensity[:, k] for k in range(1, levels)}
    sink = io.BytesIO()
    pd.DataFrame(columns).to_parquet(sink, index=False, compression="zstd")
    return sink.getvalue()

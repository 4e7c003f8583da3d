"""Impute what the treated would have had from a model of untreated rows, and average the differences."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from causal_orchestrator.errors import DesignError, InputError
from causal_orchestrator.numerics.inference import simultaneous_critical_value, sum_by
from causal_orchestrator.numerics.linear import independent_columns
from causal_orchestrator.numerics.panel import AGGREGATES, Panel, effect_row, layout, two_way, wald
from causal_orchestrator.problem import Estimate, Problem, conclude
from causal_orchestrator.results import EffectRow

Floats = NDArray[np.float64]

ALPHA = 0.05
MAX_LEADS = 5


def estimate(
    problem: Problem,
    *,
    aggregation: Literal["simple", "dynamic", "group", "calendar"] = "simple",
    anticipation: int = 0,
) -> Estimate:
    """Estimate the effect on treated rows by imputation from effects of unit and time fitted to untreated rows.

    Assumes parallel trends (in all periods and cohorts) and no anticipation beyond `anticipation` periods; effects may
    differ freely. Covariates enter the untreated outcome additively. Standard errors are conservative and clustered.
    Treated rows whose unit or period has no untreated row are left out, with a note.

    Parameters
    ----------
    aggregation : the scalar: ``simple``, the mean over treated rows; ``dynamic``, ``group``, ``calendar``, the plain
        mean over event times, the mean over cohorts weighted by treated units, or the plain mean over periods.

    Returns
    -------
    Estimate
        The ATT in units of the outcome. Rows: the scalar, then its parts (event times for ``simple``) with
        simultaneous intervals. ``diagnostics["pre-trends"]`` is the test on untreated rows alone.

    Raises
    ------
    NotApplicable, DesignError
        As `numerics.panel.layout`; if no treated row can be imputed (``NO_PRE_PERIOD``).

    References
    ----------
    Borusyak, Jaravel & Spiess (2024), https://doi.org/10.1093/restud/rdae007: theorems 1 and 3, equation 8 with the
    averages by cohort and period, and their section 4.2 for the test.
    """
    if anticipation < 0:
        raise InputError(f"anticipation must not be negative, found {anticipation}", code="OPTION_INVALID", details={"option": "anticipation"})  # fmt: skip
    roles = problem.roles
    panel = layout(unit=roles.get("unit"), time=roles.get("time"), treatment=problem.treatment, first_treated=roles.get("first_treated"))  # fmt: skip
    model = _untreated(problem, panel, anticipation)
    names, weights = _targets(panel, model, problem, aggregation)
    values, joint = _estimates(problem, panel, model, weights)
    level = problem.confidence_level
    errors = np.sqrt(np.diag(joint))
    band = simultaneous_critical_value(joint[1:, 1:], level, seed=problem.seed) if len(values) > 2 else None
    rows = [effect_row("overall", values[0], errors[0], confidence_level=level, n=int(model.untreated.sum() + model.imputed.sum()))]  # fmt: skip
    rows += [
        effect_row(term, values[k], errors[k], confidence_level=level, critical=band, n=int((weights[:, k] != 0).sum()), **where)
        for k, (term, where) in enumerate(names) if k
    ]  # fmt: skip
    tested, leads = _pre_trends(problem, panel, model.untreated)
    found = conclude(
        problem,
        method="did_imputation",
        estimand=AGGREGATES[aggregation],
        estimates=values[:1],
        covariance=joint[:1, :1],
        inference="conservative clustered variance of the imputation estimator",
        diagnostics=tested,
        details={"aggregation": aggregation, "leads": [row.model_dump() for row in leads]},
        notes=_notes(panel, model),
    )
    return replace(
        found, rows=tuple(rows), n=int(model.untreated.sum() + model.imputed.sum()), n_treated=int(model.imputed.sum())
    )


@dataclass(frozen=True)
class _Untreated:
    """The model of untreated rows: regressors beside unit effects (n, k) demeaned within untreated rows of a unit.

    `untreated` rows fit it; `imputed` are the treated rows that it reaches; `dropped` those that it does not.
    """

    untreated: NDArray[np.bool_]
    imputed: NDArray[np.bool_]
    dropped: int
    regressors: Floats
    unit_means: Floats
    count: Floats
    inverse: Floats
    weights: Floats


def _untreated(problem: Problem, panel: Panel, anticipation: int) -> _Untreated:
    treated = panel.event_time >= 0
    untreated = panel.event_time < -anticipation
    w = np.ones(problem.n) if problem.weights is None else problem.weights
    own = w * untreated
    count = np.asarray(np.bincount(panel.unit, weights=own, minlength=panel.n_units), dtype=np.float64)
    periods = np.bincount(panel.time, weights=own, minlength=panel.n_periods)
    reached = (count[panel.unit] > 0) & (periods[panel.time] > 0)
    imputed = treated & reached
    if not imputed.any():
        raise DesignError("no treated row has untreated rows of its unit and of its period", code="NO_PRE_PERIOD")
    later = np.flatnonzero(periods > 0)[1:]
    design = np.column_stack([(panel.time[:, None] == later).astype(np.float64), problem.covariates])
    means = np.zeros((panel.n_units, design.shape[1]))
    safe: Floats = np.where(count > 0, count, 1.0)
    for j in range(design.shape[1]):
        means[:, j] = np.bincount(panel.unit, weights=own * design[:, j], minlength=panel.n_units) / safe
    demeaned = design - means[panel.unit]
    root = np.sqrt(own)[:, None]
    kept = independent_columns(demeaned[untreated] * root[untreated])
    lost = [t for j, t in enumerate(later) if j not in kept and t in panel.time[imputed]]
    if lost:
        raise DesignError("untreated rows do not connect all periods of treated rows", code="NOT_CONNECTED")
    demeaned, means = demeaned[:, kept], means[:, kept]
    inverse: Floats = np.linalg.inv((demeaned * own[:, None]).T @ demeaned).astype(np.float64)
    return _Untreated(untreated, imputed, int((treated & ~reached).sum()), demeaned, means, safe, inverse, w)


def _targets(
    panel: Panel, model: _Untreated, problem: Problem, aggregation: str
) -> tuple[list[tuple[str, dict[str, Any]]], Floats]:
    """Return the estimands' names and their weights (n, K) on imputed rows, each column summing to one."""
    w = model.weights * model.imputed
    first = panel.first[panel.unit]
    by = {"group": first, "calendar": panel.time.astype(np.float64)}.get(aggregation, panel.event_time)
    keys = np.unique(by[model.imputed])
    parts = np.column_stack([w * (by == key) for key in keys])
    parts = parts / parts.sum(axis=0)
    overall = w / w.sum()
    if aggregation in ("dynamic", "calendar"):
        overall = parts.mean(axis=1)
    if aggregation == "group":
        sizes = np.array([np.count_nonzero(panel.first == key) for key in keys], dtype=np.float64)
        overall = parts @ (sizes / sizes.sum())
    return [("overall", {}), *(_named(panel, aggregation, float(key)) for key in keys)], np.column_stack([overall, parts])  # fmt: skip


def _named(panel: Panel, aggregation: str, key: float) -> tuple[str, dict[str, Any]]:
    if aggregation == "group":
        return f"group {panel.periods[int(key)]:g}", {"group": f"{panel.periods[int(key)]:g}"}
    if aggregation == "calendar":
        return f"time {panel.periods[int(key)]:g}", {"time": float(panel.periods[int(key)])}
    return f"event time {key:g}", {"event_time": key}


def _estimates(problem: Problem, panel: Panel, model: _Untreated, weights: Floats) -> tuple[Floats, Floats]:
    """Return the estimates (K,) and their conservative covariance (K, K)."""
    own = model.weights * model.untreated
    unit_mean = np.bincount(panel.unit, weights=own * problem.outcome, minlength=panel.n_units) / model.count
    y = problem.outcome - unit_mean[panel.unit]
    effect = y - model.regressors @ (model.inverse @ (model.regressors.T @ (own * y)))
    values = weights.T @ effect
    # What each untreated outcome contributes (theorem 1): minus its weight in the imputed ones.
    units = np.zeros((panel.n_units, weights.shape[1]))
    np.add.at(units, panel.unit, weights)
    slopes = model.inverse @ (model.regressors.T @ weights)
    influence = weights - own[:, None] * (units[panel.unit] / model.count[panel.unit, None] + model.regressors @ slopes)
    cluster = panel.unit if problem.cluster is None else problem.cluster
    spread = np.empty_like(influence)
    for k in range(weights.shape[1]):
        residual = np.where(model.untreated, effect, effect - _cell_average(panel, model, weights[:, k], effect))
        spread[:, k] = influence[:, k] * residual
    scores = sum_by(cluster, spread)
    return values, scores.T @ scores


def _cell_average(panel: Panel, model: _Untreated, weight: Floats, effect: Floats) -> Floats:
    """Average effects within cohorts and periods by squared weights (equation 8)."""
    cell = np.where(model.imputed, panel.first[panel.unit] * panel.n_periods + panel.time, -1.0)
    codes = np.unique(cell, return_inverse=True)[1].astype(np.int64)
    squared = weight**2 * model.imputed
    total = np.bincount(codes, weights=squared)
    mean = np.bincount(codes, weights=squared * effect) / np.where(total > 0, total, 1.0)
    return np.asarray(mean[codes])


def _pre_trends(
    problem: Problem, panel: Panel, untreated: NDArray[np.bool_]
) -> tuple[dict[str, dict[str, Any]], list[EffectRow]]:
    """Regress untreated outcomes on the last periods before treatment; the leads are tested together."""
    rows = np.flatnonzero(untreated)
    event = panel.event_time[rows]
    seen = [e for e in np.unique(event[np.isfinite(event)])[1:] if e < 0][-MAX_LEADS:]
    if not seen:
        return {}, []
    cut = problem.take(rows)
    dummies = (event[:, None] == np.array(seen)).astype(np.float64)
    unit, time = (np.unique(codes[rows], return_inverse=True)[1].astype(np.int64) for codes in (panel.unit, panel.time))
    cluster = unit if cut.cluster is None else cut.cluster
    fit = two_way(cut.outcome, dummies, cut.covariates, unit=unit, time=time, weights=cut.weights, cluster=cluster, se="cluster")  # fmt: skip
    free = fit.identified
    statistic, df, p = wald(fit.coefficients[free], fit.covariance[np.ix_(free, free)])
    leads = [
        effect_row(f"event time {e:g}", float(fit.coefficients[i]), float(np.sqrt(fit.covariance[i, i])), confidence_level=problem.confidence_level, df=fit.df, event_time=float(e))
        for i, e in enumerate(seen) if free[i]
    ]  # fmt: skip
    told = {"value": statistic, "df": df, "p_value": p, "threshold": ALPHA, "passed": p > ALPHA, "detail": "Wald test on untreated rows that the last periods before treatment do not differ"}  # fmt: skip
    return ({"pre-trends": told}, leads) if df else ({}, [])


def _notes(panel: Panel, model: _Untreated) -> tuple[str, ...]:
    said = []
    if model.dropped:
        said.append(f"{model.dropped} treated rows are left out: their unit or period has no untreated row")
    alone = sum(int((panel.first == g).sum() == 1) for g in panel.cohorts)
    if alone:
        said.append(
            f"{alone} cohorts have one unit, whose own noise the standard error cannot know: it may be too small"
        )
    if not np.isinf(panel.first).any():
        said.append("no unit is never treated: later cohorts stand in until they start")
    return tuple(said)

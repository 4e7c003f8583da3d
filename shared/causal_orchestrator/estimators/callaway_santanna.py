"""Compare each cohort with units not (yet) treated, period by period, then average."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from causal_orchestrator.errors import DesignError, InputError, NotApplicable
from causal_orchestrator.numerics import cross_sections
from causal_orchestrator.numerics.inference import sum_by
from causal_orchestrator.numerics.linear import independent_columns
from causal_orchestrator.numerics.logit import fit_logit
from causal_orchestrator.numerics.panel import (
    AGGREGATES,
    cluster_of_units,
    effect_row,
    layout,
    multiplier_critical_value,
    wald,
)
from causal_orchestrator.problem import Estimate, Problem, conclude
from causal_orchestrator.results import EffectRow

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
Aggregation = Literal["simple", "dynamic", "group", "calendar"]

ALPHA = 0.05
TRIM = 0.995  # propensities of controls above it are left out, as in DRDID
FEW_UNITS = 5  # a cohort beyond its covariates


def estimate(
    problem: Problem,
    *,
    control_group: Literal["never_treated", "not_yet_treated"] | None = None,
    base_period: Literal["varying", "universal"] = "varying",
    anticipation: int = 0,
    aggregation: Aggregation = "simple",
    score: Literal["dr", "reg", "ipw"] = "dr",
) -> Estimate:
    """Estimate the effect on each cohort in each period, and average the effects.

    Assumes parallel trends given the covariates (their values in the earlier of the two periods compared), no
    anticipation beyond `anticipation` periods, and overlap of cohorts and controls in the covariates. The standard
    errors come from influence functions of units, clustered where a cluster is declared. Units not seen in every
    period are left out. Without a unit rows are repeated cross-sections: it is
    also assumed that who is sampled does not change over time.

    Parameters
    ----------
    control_group : ``never_treated`` (default where there are any) or ``not_yet_treated``.
    base_period : before treatment compare with the period before (``varying``) or always with the last one before
        treatment (``universal``).
    aggregation : the scalar and its rows: ``simple``, the mean over treated cohorts and periods; ``dynamic``, by event
        time; ``group``, by cohort; ``calendar``, by period.
    score : ``dr`` doubly robust (logit and least squares), ``reg`` outcome regression, ``ipw`` normalised weights.

    Returns
    -------
    Estimate
        The ATT in units of the outcome, or the aggregate under its own name (``ATT_DYNAMIC`` …). Rows: the scalar, its parts, then every ATT(g, t); the intervals of the parts
        and those of the ATT(g, t) each hold together (multiplier bootstrap).

    Raises
    ------
    NotApplicable
        If units are seen several times in a period (``REPEATED_ROWS``), or for cross-sections without the time of
        first treatment (``NEEDS_FIRST_TREATED``).
    DesignError
        As `numerics.panel.layout`; without controls (``NO_CONTROLS``) or a period before treatment (``NO_PRE_PERIOD``);
        if a cohort is separated from its controls by the covariates (``POSITIVITY``).

    References
    ----------
    Callaway & Sant'Anna (2021), https://doi.org/10.1016/j.jeconom.2020.12.001; Sant'Anna & Zhao (2020),
    https://doi.org/10.1016/j.jeconom.2020.06.003, for the scores.
    """
    if anticipation < 0:
        raise InputError(f"anticipation must not be negative, found {anticipation}", code="OPTION_INVALID", details={"option": "anticipation"})  # fmt: skip
    data, notes = _data(problem)
    control = control_group or ("never_treated" if np.isinf(data.first).any() else "not_yet_treated")
    if control == "never_treated" and not np.isinf(data.first).any():
        raise DesignError("every unit is treated at some time; take control_group='not_yet_treated'", code="NO_CONTROLS")  # fmt: skip
    cells = [
        cell
        for g in np.unique(data.first[np.isfinite(data.first)]).astype(int)
        for cell in _cohort(data, int(g), control, base_period, anticipation, score)
    ]
    if not any(cell.t >= cell.g for cell in cells):
        raise DesignError("no treated cohort is seen beside controls after its start", code="NO_CONTROLS")
    return _finish(problem, data, cells, aggregation, anticipation, f"{control.replace('_', ' ')} controls", notes)


@dataclass(frozen=True)
class _Data:
    """Units (N,) by periods (T,), all seen throughout: `outcome` (N, T), `covariates` (N, T, p), `weights` (N, T).

    Of repeated cross-sections rows are units with one column, seen at `time` (N,).
    """

    outcome: Floats
    covariates: Floats
    first: Floats
    weights: Floats
    cluster: NDArray[np.int64]
    periods: Floats
    time: NDArray[np.int64] | None = None


@dataclass(frozen=True)
class _Cell:
    """ATT(g, t) with its influence (N,)."""

    g: int
    t: int
    value: float
    influence: Floats
    n: int


def _data(problem: Problem) -> tuple[_Data, list[str]]:
    roles = problem.roles
    if roles.get("unit") is None:
        return _cross_sections(problem)
    panel = layout(unit=roles["unit"], time=roles.get("time"), treatment=problem.treatment, first_treated=roles.get("first_treated"))  # fmt: skip
    if panel.repeated:
        raise NotApplicable("units must be seen once in a period; for repeated cross-sections name no unit, or name it as the cluster", code="REPEATED_ROWS")  # fmt: skip
    outcome, notes = panel.wide(problem.outcome), []
    seen = ~np.isnan(outcome).any(axis=1)
    early = panel.first == 0
    if not seen.all():
        notes.append(f"{int((~seen).sum())} units that are not seen in every period are left out")
    if (early & seen).any():
        notes.append(f"{int((early & seen).sum())} units treated from the first period on are left out")
    keep = seen & ~early
    weights = np.ones_like(outcome) if problem.weights is None else panel.wide(problem.weights)
    if not (np.isfinite(panel.first) & keep).any():
        raise DesignError("no treated unit is seen before and after its start", code="NO_PRE_PERIOD")
    cluster = cluster_of_units(panel, problem.cluster if problem.question.cluster else None)[keep]
    covariates = panel.wide(problem.covariates)[keep]
    return (
        _Data(
            outcome[keep],
            covariates,
            panel.first[keep],
            weights[keep] / weights[keep].mean(),
            np.unique(cluster, return_inverse=True)[1].astype(np.int64),
            panel.periods,
        ),
        notes,
    )


def _cross_sections(problem: Problem) -> tuple[_Data, list[str]]:
    first_treated = problem.roles.get("first_treated")
    if first_treated is None:
        raise NotApplicable("the method needs a unit, or for repeated cross-sections the column first_treated", code="NEEDS_FIRST_TREATED")  # fmt: skip
    every = np.arange(problem.n)
    panel = layout(unit=every, time=problem.roles.get("time"), treatment=problem.treatment, first_treated=first_treated)
    keep = panel.first[panel.unit] != 0
    notes = ["rows are repeated cross-sections" + ("" if problem.cluster is None else ", clustered")]
    if not keep.all():
        notes.append(f"{int((~keep).sum())} rows treated from the first period on are left out")
    if not np.isfinite(panel.first[keep]).any():
        raise DesignError("no treated cohort is seen before and after its start", code="NO_PRE_PERIOD")
    weights = np.ones(problem.n) if problem.weights is None else problem.weights
    cluster = every if problem.cluster is None else problem.cluster
    data = _Data(
        problem.outcome[keep, None],
        problem.covariates[keep, None, :],
        panel.first[keep],
        weights[keep, None] / weights[keep].mean(),
        np.unique(cluster[keep], return_inverse=True)[1].astype(np.int64),
        panel.periods,
        panel.time[keep],
    )
    return data, notes


# --- one cohort, one period -----------------------------------------------------------------------------------------


def _cohort(data: _Data, g: int, control: str, base_period: str, anticipation: int, score: str) -> list[_Cell]:
    """Every ATT(g, t) of a cohort that has a base period and controls."""
    last = g - anticipation - 1
    if last < 0:
        return []
    cells = []
    for t in range(len(data.periods)):
        base = last if base_period == "universal" or t > last else t - 1
        if base < 0:
            continue
        treated = data.first == g
        if base == t:
            cells.append(_Cell(g, t, 0.0, np.zeros(len(data.first)), int(treated.sum())))
            continue
        others = np.isinf(data.first)
        if control == "not_yet_treated":
            others = others | ((data.first > max(t, base) + anticipation) & ~treated)
        if data.time is not None:
            cells += _contrast(data, g, t, treated, others, data.time == t, data.time == base, score)
        elif others.any():
            cells.append(_compare(data, g, t, base, treated, others, score))
    return cells


def _compare(data: _Data, g: int, t: int, base: int, treated: Mask, others: Mask, score: str) -> _Cell:
    index = np.flatnonzero(treated | others)
    change = data.outcome[index, t] - data.outcome[index, base]
    x = data.covariates[index, min(t, base)]
    spread = x.std(axis=0)
    # Free of the covariates' units, so that the sums below lose no digits.
    x = np.column_stack([np.ones(len(index)), (x - x.mean(axis=0)) / np.where(spread > 0, spread, 1.0)])
    x = x[:, independent_columns(x[others[index]])]
    value, influence = _att(change, treated[index].astype(np.float64), x, data.weights[index, min(t, base)], score)
    full = np.zeros(len(treated))
    full[index] = influence * len(treated) / len(index)
    return _Cell(g, t, value, full, len(index))


def _contrast(
    data: _Data, g: int, t: int, treated: Mask, others: Mask, now: Mask, then: Mask, score: str
) -> list[_Cell]:
    """Return ATT(g, t) of two cross-sections; none where a cohort or the controls have no rows in one of them."""
    index = np.flatnonzero((treated | others) & (now | then))
    x = data.covariates[index, 0]
    spread = x.std(axis=0) if len(index) else np.ones(x.shape[1])
    x = np.column_stack([np.ones(len(index)), (x - x.mean(axis=0)) / np.where(spread > 0, spread, 1.0)])
    on, after, weights = treated[index].astype(np.float64), now[index].astype(np.float64), data.weights[index, 0]
    for cell in ((on == d) & (after == s) for d in (0, 1) for s in (0, 1)):
        if not cell.any():
            return []
        x = x[:, independent_columns(x[cell])]
    found = cross_sections.att(
        data.outcome[index, 0],
        treated=on,
        after=after,
        x=x,
        weights=weights,
        propensity=None if score == "reg" else cross_sections.Propensity(*_odds(x, on, weights)),
        regress=score != "ipw",
    )
    full = np.zeros(len(treated))
    full[index] = found.influence * len(treated) / len(index)
    return [_Cell(g, t, found.value, full, len(index))]


def _att(change: Floats, treated: Floats, x: Floats, weights: Floats, score: str) -> tuple[float, Floats]:
    """Return the ATT of two periods and its influence (n,), by one of the scores of Sant'Anna & Zhao (2020).

    Parameters
    ----------
    change : shape (n,), the outcome's change.
    treated : shape (n,), 0/1.
    x : shape (n, k), the intercept first.
    weights : shape (n,)
    score : ``dr`` (equation 3.1 with their section 3.1 influence function), ``reg`` or ``ipw`` (normalised).
    """
    n = len(change)
    on, off = weights * treated, weights * (1 - treated)
    fitted, alr_outcome = np.zeros(n), np.zeros_like(x)
    if score != "ipw":
        gram = (x * off[:, None]).T @ x / n
        inverse = np.linalg.inv(gram)
        beta = inverse @ (x.T @ (off * change) / n)
        fitted = x @ beta
        alr_outcome = (off * (change - fitted))[:, None] * x @ inverse
    gap = change - fitted
    if score == "reg":
        eta_on, eta_off = (on @ change) / on.sum(), (on @ fitted) / on.sum()
        moment = (on[:, None] * x).mean(axis=0)
        psi = on * (change - eta_on) - (on * (fitted - eta_off) + alr_outcome @ moment)
        return float(eta_on - eta_off), np.asarray(psi / on.mean())
    odds, alr_propensity = _odds(x, treated, weights)
    back = off * odds
    eta_on, eta_off = (on @ gap) / on.sum(), (back @ gap) / back.sum()
    from_on = on * (gap - eta_on) - alr_outcome @ (on[:, None] * x).mean(axis=0)
    from_off = (
        back * (gap - eta_off)
        + alr_propensity @ ((back * (gap - eta_off))[:, None] * x).mean(axis=0)
        - alr_outcome @ (back[:, None] * x).mean(axis=0)
    )
    return float(eta_on - eta_off), np.asarray(from_on / on.mean() - from_off / back.mean())


def _odds(x: Floats, treated: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Return the odds of treatment and the linear representation (n, k) of the logit's coefficients."""
    e = np.minimum(fit_logit(x, treated, weights).probability, 1 - 1e-6)
    if e[treated == 1].min() > TRIM:
        raise DesignError("the covariates separate a cohort from its controls; use fewer, or score='reg'", code="POSITIVITY")  # fmt: skip
    hessian = np.linalg.pinv((x * (weights * e * (1 - e))[:, None]).T @ x / len(e))
    linear = (weights * (treated - e))[:, None] * x @ hessian
    return np.where((treated == 0) & (e >= TRIM), 0.0, e / (1 - e)), np.asarray(linear)


# --- averages -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Average:
    term: str
    value: float
    influence: Floats
    n: int
    where: dict[str, Any]


def _average(data: _Data, cells: Sequence[_Cell], term: str, **where: Any) -> _Average:
    """Average cells by the size of their cohorts, whose being estimated enters the influence."""
    weights = data.weights[:, 0] / data.weights[:, 0].mean()
    share = np.array([(weights * (data.first == c.g)).mean() for c in cells])
    own = np.column_stack([weights * (data.first == c.g) for c in cells]) - share
    total = share.sum()
    values = np.array([c.value for c in cells])
    influence = np.column_stack([c.influence for c in cells]) @ (share / total)
    influence = influence + (own / total - own.sum(axis=1, keepdims=True) * share / total**2) @ values
    return _Average(term, float(share @ values / total), np.asarray(influence), sum(c.n for c in cells), where)


def _mean(parts: Sequence[_Average]) -> _Average:
    return _Average("overall", float(np.mean([p.value for p in parts])), np.mean([p.influence for p in parts], axis=0), 0, {})  # fmt: skip


def _aggregate(data: _Data, cells: Sequence[_Cell], how: str) -> tuple[_Average, list[_Average]]:
    after = [c for c in cells if c.t >= c.g]
    if how == "simple":
        return _average(data, after, "overall"), []
    if how == "dynamic":
        events = sorted({c.t - c.g for c in cells})
        parts = [_average(data, [c for c in cells if c.t - c.g == e], f"event time {e}", event_time=float(e)) for e in events]  # fmt: skip
        return _mean([p for p, e in zip(parts, events, strict=True) if e >= 0]), parts
    if how == "calendar":
        times = sorted({c.t for c in after})
        parts = [_average(data, [c for c in after if c.t == t], f"time {data.periods[t]:g}", time=float(data.periods[t])) for t in times]  # fmt: skip
        return _mean(parts), parts
    groups = sorted({c.g for c in after})
    by_group = []
    for g in groups:
        own = [c for c in after if c.g == g]
        by_group.append(_Average(f"group {data.periods[g]:g}", float(np.mean([c.value for c in own])), np.mean([c.influence for c in own], axis=0), own[0].n, {"group": f"{data.periods[g]:g}"}))  # fmt: skip
    as_cells = [_Cell(g, g, p.value, p.influence, p.n) for g, p in zip(groups, by_group, strict=True)]
    return _average(data, as_cells, "overall"), by_group


def _finish(
    problem: Problem, data: _Data, cells: list[_Cell], how: Aggregation, anticipation: int, controls: str,
    notes: list[str],
) -> Estimate:  # fmt: skip
    overall, parts = _aggregate(data, cells, how)
    each = [_Average(f"ATT({data.periods[c.g]:g}, {data.periods[c.t]:g})", c.value, c.influence, c.n, {"group": f"{data.periods[c.g]:g}", "time": float(data.periods[c.t]), "event_time": float(c.t - c.g)}) for c in cells]  # fmt: skip
    variance = _covariance(data, [overall])
    found = conclude(
        problem,
        method="callaway_santanna",
        estimand=AGGREGATES[how],
        estimates=[overall.value],
        covariance=variance,
        inference="influence function" + _source(problem, data),
        diagnostics=_pre_trends(data, cells, anticipation),
        details={"aggregation": how, "control_group": controls, "n_units": len(data.first), **_dynamic(data, cells)},
        notes=(*notes, *_small(data)),
    )
    head = effect_row("overall", overall.value, float(np.sqrt(variance[0, 0])), confidence_level=problem.confidence_level, n=data.outcome.size)  # fmt: skip
    rows = (head, *_rows(problem, data, parts), *_rows(problem, data, each))
    treated = sum(int((data.first == c.g).sum()) for c in cells if c.t >= c.g)
    return replace(found, rows=rows, n=data.outcome.size, n_treated=treated)


def _source(problem: Problem, data: _Data) -> str:
    clustered = problem.cluster is not None if data.time is not None else bool(problem.question.cluster)
    return ", clustered" if clustered else " of units" if data.time is None else " of rows"


def _summed(data: _Data, parts: Sequence[_Average]) -> Floats:
    """Return the influence on the parts, summed over clusters (G, number of parts)."""
    influence = np.column_stack([p.influence for p in parts])
    return sum_by(data.cluster, influence - influence.mean(axis=0))


def _covariance(data: _Data, parts: Sequence[_Average]) -> Floats:
    """Return the sandwich of the influence, without a small-sample factor, as `did` and csdid have it."""
    summed = _summed(data, parts)
    return np.asarray(summed.T @ summed / len(data.first) ** 2)


def _rows(problem: Problem, data: _Data, parts: Sequence[_Average]) -> list[EffectRow]:
    if not parts:
        return []
    band = multiplier_critical_value(_summed(data, parts), problem.confidence_level, seed=problem.seed)
    errors = np.sqrt(np.diag(_covariance(data, parts)))
    return [
        effect_row(p.term, p.value, float(error), confidence_level=problem.confidence_level, critical=band, n=p.n, **p.where)
        for p, error in zip(parts, errors, strict=True)
    ]  # fmt: skip


def _dynamic(data: _Data, cells: Sequence[_Cell]) -> dict[str, Any]:
    """Event times with their covariance, for what is asked of pre-trends later."""
    parts = _aggregate(data, cells, "dynamic")[1]
    return {
        "event_times": [p.where["event_time"] for p in parts],
        "event_estimates": [p.value for p in parts],
        "event_covariance": _covariance(data, parts).tolist(),
    }


def _pre_trends(data: _Data, cells: Sequence[_Cell], anticipation: int) -> dict[str, dict[str, Any]]:
    before = [_Average("", c.value, c.influence, c.n, {}) for c in cells if c.t < c.g - anticipation and c.influence.any()]  # fmt: skip
    if not before:
        return {}
    statistic, df, p = wald(np.array([c.value for c in before]), _covariance(data, before))
    return {"pre-trends": {"value": statistic, "df": df, "p_value": p, "threshold": ALPHA, "passed": p > ALPHA, "detail": "Wald test that every ATT(g, t) before treatment is zero"}}  # fmt: skip


def _small(data: _Data) -> list[str]:
    least = data.covariates.shape[2] + FEW_UNITS
    small = [g for g in np.unique(data.first) if (data.first == g).sum() < least]
    return [f"{len(small)} cohorts have fewer than {least} units: their effects are uncertain beyond their standard errors"] if small else []  # fmt: skip

"""Follow the effect through time since treatment began, each cohort on its own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from causal_orchestrator.errors import DesignError, InputError
from causal_orchestrator.numerics.inference import simultaneous_critical_value
from causal_orchestrator.numerics.panel import AGGREGATES, Panel, TwoWay, effect_row, layout, two_way, wald
from causal_orchestrator.problem import Estimate, Problem, conclude

Floats = NDArray[np.float64]

ALPHA = 0.05


def estimate(
    problem: Problem,
    *,
    aggregation: Literal["simple", "dynamic"] = "simple",
    anticipation: int = 0,
    se: Literal["cluster", "hc1", "classical"] = "cluster",
) -> Estimate:
    """Estimate effects by event time from a regression saturated in cohorts and event times.

    Assumes parallel trends of all cohorts and no anticipation beyond `anticipation` periods. Each cohort has its own
    leads and lags, so that no cohort serves as control of another after its start; they are averaged by the cohorts'
    sizes. Units that are never treated are the controls; without any, the last cohort is, until it starts. Covariates
    enter additively.

    Parameters
    ----------
    aggregation : the scalar: ``simple``, the mean over treated rows, as fixest's ``sunab(att = TRUE)`` and the other panel
        methods have it; ``dynamic``, the mean over event times from 0 on, as ``aggte(type = "dynamic")`` of R's did. Where
        effects grow and units start at different times these are two things, and the second is called ``ATT_DYNAMIC``.
    anticipation : periods before the start in which units may already respond; the reference is the period before.
    se : clustered by the declared cluster, else by unit; ``hc1``; ``classical``.

    Returns
    -------
    Estimate
        The aggregate in units of the outcome; one row per event time, with simultaneous intervals (sup-t);
        ``diagnostics["pre-trends"]`` tests all leads together, and says how large a lead the data leave possible.

    Raises
    ------
    NotApplicable, DesignError
        As `numerics.panel.layout`; also without a period before treatment (``NO_PRE_PERIOD``) or without controls
        (``NO_CONTROLS``).

    References
    ----------
    Sun & Abraham (2021), https://doi.org/10.1016/j.jeconom.2020.09.006.
    """
    if anticipation < 0:
        raise InputError(f"anticipation must not be negative, found {anticipation}", code="OPTION_INVALID", details={"option": "anticipation"})  # fmt: skip
    roles = problem.roles
    panel = layout(unit=roles.get("unit"), time=roles.get("time"), treatment=problem.treatment, first_treated=roles.get("first_treated"))  # fmt: skip
    sample = _sample(panel, anticipation)
    cells = _cells(sample, anticipation)
    cut = problem.take(sample.index)
    dummies = np.column_stack([(sample.cohort == g) & (sample.event == e) for g, e in cells]).astype(np.float64)
    fit = two_way(
        cut.outcome,
        dummies,
        cut.covariates,
        unit=np.unique(panel.unit[sample.index], return_inverse=True)[1].astype(np.int64),
        time=np.unique(panel.time[sample.index], return_inverse=True)[1].astype(np.int64),
        weights=cut.weights,
        cluster=cut.cluster,
        se=se,
    )
    return _finish(problem, cut, fit, cells, dummies, aggregation, anticipation, se, _said(panel, sample))


@dataclass(frozen=True)
class _Sample:
    """Rows used, with each row's cohort and event time (NaN for controls)."""

    index: NDArray[np.int64]
    cohort: Floats
    event: Floats


def _sample(panel: Panel, anticipation: int) -> _Sample:
    """Leave out what cannot be compared: units treated from the first periods on, and the time without controls."""
    first = panel.first[panel.unit]
    keep = first - anticipation > 0
    last = np.inf
    if not np.isinf(first).any():
        last = float(panel.cohorts[-1])
        keep &= panel.time < last - anticipation
    cohort = np.where(first < last, first, np.nan)
    if not keep.any() or np.isnan(cohort[keep]).all():
        raise DesignError("no treated unit is seen before its treatment beside others", code="NO_PRE_PERIOD")
    if not np.isnan(cohort[keep]).any():
        raise DesignError("every unit is treated by then; there are no controls", code="NO_CONTROLS")
    index = np.flatnonzero(keep)
    return _Sample(index, cohort[index], (panel.time - first)[index])


def _cells(sample: _Sample, anticipation: int) -> list[tuple[float, float]]:
    """Cohorts' event times but for each cohort's reference, the last one before it can respond."""
    cells = []
    for g in np.unique(sample.cohort[~np.isnan(sample.cohort)]):
        seen = np.unique(sample.event[sample.cohort == g])
        before = seen[seen < -anticipation]
        if not len(before):
            raise DesignError("a cohort is not seen before its treatment", code="NO_PRE_PERIOD")
        cells += [(float(g), float(e)) for e in seen if e != before[-1]]
    return cells


def _said(panel: Panel, sample: _Sample) -> tuple[str, ...]:
    notes = []
    dropped = panel.n_units - len(np.unique(panel.unit[sample.index]))
    if dropped:
        notes.append(f"{dropped} units treated from the first period on are left out")
    if not np.isinf(panel.first).any():
        notes.append("no unit is never treated: the last cohort is the control, until it starts")
    return tuple(notes)


def _finish(
    problem: Problem, cut: Problem, fit: TwoWay, cells: list[tuple[float, float]], dummies: Floats,
    aggregation: str, anticipation: int, se: str, notes: tuple[str, ...],
) -> Estimate:  # fmt: skip
    size = dummies.T @ (np.ones(cut.n) if cut.weights is None else cut.weights) * fit.identified
    events = sorted({e for (_, e), s in zip(cells, size, strict=True) if s > 0})
    shares = np.array([[s * (cell[1] == e) for cell, s in zip(cells, size, strict=True)] for e in events])
    counts = [int(sum(d for d, cell in zip(dummies.sum(axis=0), cells, strict=True) if cell[1] == e)) for e in events]
    mean = shares / shares.sum(axis=1, keepdims=True)
    post = np.array([e >= 0 for e in events])
    if not post.any():
        raise DesignError("no treated unit is seen beside controls after its start", code="NO_CONTROLS")
    overall = (mean if aggregation == "dynamic" else shares)[post].sum(axis=0)
    overall = overall / overall.sum()
    values, joint = mean @ fit.coefficients, mean @ fit.covariance @ mean.T
    level, band = problem.confidence_level, _band(joint, problem)
    rows = [
        effect_row(
            "overall",
            float(overall @ fit.coefficients),
            float(np.sqrt(overall @ fit.covariance @ overall)),
            confidence_level=level,
            df=fit.df,
            n=cut.n,
        )
    ]
    rows += [
        effect_row(f"event time {e:g}", float(v), float(np.sqrt(joint[i, i])), confidence_level=level, df=fit.df, critical=band, event_time=e, n=counts[i])
        for i, (e, v) in enumerate(zip(events, values, strict=True))
    ]  # fmt: skip
    lead = np.array([e < -anticipation for e in events])
    found = conclude(
        problem,
        method="event_study",
        estimand=AGGREGATES[aggregation],
        estimates=[float(overall @ fit.coefficients)],
        covariance=np.array([[overall @ fit.covariance @ overall]]),
        df=fit.df,
        inference={"cluster": "CR1 clustered, t", "hc1": "HC1, t", "classical": "classical, t"}[se],
        diagnostics=_pre_trends(values[lead], joint[np.ix_(lead, lead)], band),
        details={"event_times": events, "event_covariance": joint.tolist(), "aggregation": aggregation, "cohorts": len({g for g, _ in cells})},
        notes=notes,
    )  # fmt: skip
    treated = sum(counts[i] for i in np.flatnonzero(post))
    return replace(found, rows=tuple(rows), n=cut.n, n_treated=treated)


def _band(joint: Floats, problem: Problem) -> float | None:
    return (
        simultaneous_critical_value(joint, problem.confidence_level, seed=problem.seed) if joint.shape[0] > 1 else None
    )


def _pre_trends(values: Floats, joint: Floats, band: float | None) -> dict[str, dict[str, Any]]:
    """Test all leads together, and say the largest lead that the simultaneous intervals leave possible (equivalence)."""
    if not len(values):
        return {}
    statistic, df, p = wald(values, joint)
    bound = float((np.abs(values) + (band or 1.96) * np.sqrt(np.diag(joint))).max())
    return {
        "pre-trends": {"value": statistic, "df": df, "p_value": p, "threshold": ALPHA, "passed": p > ALPHA, "detail": "Wald test that all leads are zero"},
        "largest lead possible": {"value": bound, "detail": "bound of the simultaneous intervals of the leads, in units of the outcome"},
    }  # fmt: skip

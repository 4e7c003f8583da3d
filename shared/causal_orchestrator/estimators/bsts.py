"""Forecast one series from its past and from control series, and compare it with what came."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from causal_orchestrator.errors import DesignError, InputError, NotApplicable
from causal_orchestrator.numerics import structural
from causal_orchestrator.numerics.linear import independent_columns
from causal_orchestrator.numerics.panel import Series, effect_row, series
from causal_orchestrator.numerics.structural import Forecast, Form, forecast
from causal_orchestrator.problem import Estimate, Problem, conclude

Floats = NDArray[np.float64]
Trend = Literal["auto", "level", "drift", "trend", "fixed"]

MIN_BEFORE, MIN_AFTER = 10, 1
MOST_LAGS = 6
MOST_GAPS = 1.0  # times that may be missing, as a share of those there
LJUNG_LAGS = 10


def estimate(
    problem: Problem,
    *,
    interruption: float | str | date | None = None,
    seasonality: int | None = None,
    period: float = 12.0,
    lags: int | None = None,
    trend: Trend = "auto",
) -> Estimate:
    """Estimate the effect of an interruption as what came after less a structural time-series forecast.

    Assumes that the series would have gone on as before, and that nothing else changed and the interruption did not
    move the covariates: they are control series, whose coefficients are learned before and applied after. The
    interval is that of the forecast: noise, states, coefficients and how much level and slope may walk; the other
    variances are taken as estimated.

    Parameters
    ----------
    interruption : the first time under treatment (a number or a date, as times are); by default the first time
        with treatment.
    seasonality : number of pairs of sine and cosine waves, which may change over time, of the given `period` (in
        steps of time).
    lags : order of autoregressive noise; by default 1 around a straight line and none beside a walking level.
    trend : ``level`` walks at random, ``drift`` with a constant slope beside it, ``trend`` has a slope that walks too,
        ``fixed`` is a straight line; ``auto`` takes the one with the least BIC before the interruption, which tells a
        line from a walk where its rise stands out from a walk of the size of the noise.

    Returns
    -------
    Estimate
        The mean effect per time after the interruption (``ATT``), in units of the outcome. One row per time, and the
        cumulative effect.

    Raises
    ------
    NotApplicable
        If there is no time, several rows share one (``SEVERAL_SERIES``), or there are sampling weights.
    DesignError
        With fewer than ten times before or none after (``SERIES_TOO_SHORT``), or a treatment that ends.
    EstimationError
        If no form of the series can be fitted (``NOT_CONVERGED``).

    References
    ----------
    Brodersen, Gallusser, Koehler, Remy & Scott (2015), https://doi.org/10.1214/14-AOAS788; their prior of spikes and
    slabs over the controls is not used.
    """
    if problem.weights is not None:
        raise NotApplicable("bsts cannot use sampling weights", code="WEIGHTS")
    if (seasonality is not None and seasonality < 1) or not period >= 2:
        raise InputError("seasonality must be at least 1, and period at least 2", code="OPTION_INVALID", details={"option": "seasonality"})  # fmt: skip
    if seasonality is not None and seasonality > period / 2:
        raise InputError(f"a period of {period:g} has at most {int(period // 2)} waves", code="OPTION_INVALID", details={"option": "seasonality"})  # fmt: skip
    if lags is not None and not 0 <= lags <= MOST_LAGS:
        raise InputError(f"lags must lie between 0 and {MOST_LAGS}", code="OPTION_INVALID", details={"option": "lags"})
    table = series(problem.roles, problem.treatment, interruption)
    before, after = int((~table.after).sum()), int(table.after.sum())
    if before < MIN_BEFORE or after < MIN_AFTER:
        raise DesignError(f"{before} times before and {after} after the interruption; {MIN_BEFORE} and {MIN_AFTER} are needed", code="SERIES_TOO_SHORT")  # fmt: skip
    y, x, here = _even(problem, table)
    start = int(here[before])
    x = x[:, _told_before(x, here[:before])]
    found = forecast(y, x, start, _forms(trend, lags, seasonality or 0, period))
    return _finish(problem, table, y, here[before:], start, found)


def _even(problem: Problem, table: Series) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """Return the series at even steps, NaN where a time is missing, and the places of the times that there are."""
    y, x = problem.outcome[table.order], problem.covariates[table.order]
    steps = np.diff(table.time)
    places = np.concatenate([[0.0], np.cumsum(steps / steps.min())])
    whole = np.allclose(places, np.round(places), atol=1e-6) and places[-1] < (1 + MOST_GAPS) * len(y)
    here = np.round(places).astype(np.int64) if whole else np.arange(len(y))
    even, controls = np.full(int(here[-1]) + 1, np.nan), np.zeros((int(here[-1]) + 1, x.shape[1]))
    even[here], controls[here] = y, x
    return even, controls, here


def _told_before(x: Floats, before: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the controls that vary before the interruption, and not as others or a straight line do."""
    line = np.column_stack([np.ones(len(before)), before, x[before]])
    return np.array([j - 2 for j in independent_columns(line) if j >= 2], dtype=np.int64)


def _forms(trend: Trend, lags: int | None, waves: int, period: float) -> list[Form]:
    shapes: tuple[structural.Trend, ...] = ("level", "fixed", "drift", "trend") if trend == "auto" else (trend,)
    return [Form(shape, lags if lags is not None else int(shape == "fixed"), waves, period) for shape in shapes]


def _finish(
    problem: Problem, table: Series, y: Floats, after: NDArray[np.int64], start: int, found: Forecast
) -> Estimate:
    at = after - start
    gap = y[after] - found.mean[at]
    joint = found.covariance[np.ix_(at, at)]
    m, level, times = len(at), problem.confidence_level, table.time[table.after]
    mean, variance = float(gap.mean()), float(joint.sum() / m**2)
    told = conclude(
        problem,
        method="bsts",
        estimand="ATT",
        estimates=[mean],
        covariance=np.array([[variance]]),
        df=found.df,
        inference="forecast covariance of the state-space model, averaged over the posterior of its walk, t",
        diagnostics=_diagnostics(found),
        details={
            "trend": found.form.trend,
            "lags": found.form.lags,
            "seasonality": found.form.waves or None,
            "interruption": float(times[0]),
            "bic": found.bic,
            "variances": found.variances,
            "relative_effect": mean / float(found.mean[at].mean()) if found.mean[at].mean() else None,
            "counterfactual": {"time": times, "forecast": found.mean[at], "std_error": np.sqrt(np.diag(joint))},
        },
    )
    row = {"confidence_level": level, "df": found.df}
    rows = [told.rows[0].model_copy(update={"term": "overall"})]
    rows.append(effect_row("cumulative", float(gap.sum()), float(np.sqrt(joint.sum())), **row))
    rows += [
        effect_row(f"time {t:g}", float(g), float(np.sqrt(v)), **row, time=float(t), event_time=float(k))
        for k, (t, g, v) in enumerate(zip(times, gap, np.diag(joint), strict=True))
    ]
    return replace(told, rows=tuple(rows), n_treated=m)


def _diagnostics(found: Forecast) -> dict[str, dict[str, Any]]:
    """Say whether the one-step errors before the interruption are free of correlation (Ljung & Box 1978)."""
    e = found.errors - found.errors.mean() if len(found.errors) else found.errors
    n, reach = len(e), min(LJUNG_LAGS, len(e) // 5)
    if reach < 1 or not e @ e > 0:
        return {}
    r = np.array([e[k:] @ e[:-k] for k in range(1, reach + 1)]) / (e @ e)
    value = float(n * (n + 2) * (r**2 / (n - np.arange(1, reach + 1))).sum())
    df = max(reach - found.form.lags, 1)
    p = float(stats.chi2.sf(value, df))
    return {"ljung_box": {"value": value, "p_value": p, "df": float(df), "threshold": 0.05, "passed": p >= 0.05, "detail": "one-step errors before the interruption are not correlated"}}  # fmt: skip

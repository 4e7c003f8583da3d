"""Panels as arrays: who is seen when, who is treated since when, and regressions with effects of unit and time."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from causal_orchestrator.errors import DesignError, InputError, NotApplicable
from causal_orchestrator.numerics.inference import critical_value, p_value, sum_by
from causal_orchestrator.numerics.linear import LeastSquares, covariance, least_squares
from causal_orchestrator.results import EffectRow, finite

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]

NEVER = np.inf
MULTIPLIER_DRAWS = 1_000
# What each aggregate of the cohorts' effects averages over: they differ where effects do, so each has its own name.
AGGREGATES = {"simple": "ATT", "dynamic": "ATT_DYNAMIC", "group": "ATT_GROUP", "calendar": "ATT_CALENDAR"}
_QUARTER = (re.compile(r"^(?P<y>\d{4})\D?[qQ](?P<q>[1-4])$"), re.compile(r"^[qQ](?P<q>[1-4])\D?(?P<y>\d{4})$"))
_BEFORE = frozenset({"before", "pre", "pretest", "baseline"})


@dataclass(frozen=True)
class Panel:
    """Rows as cells of units and periods.

    unit, time : shape (n,)
        Codes 0…N-1 (in the order of the labels) and 0…T-1 (in time).
    periods : shape (T,)
        The values of time.
    first : shape (N,)
        Index of the period in which each unit is first treated, `NEVER` where it is not; periods count as evenly
        spaced.
    treated : shape (n,)
        Whether the row's unit is under treatment in the row's period.
    """

    unit: Codes
    time: Codes
    labels: tuple[str, ...]
    periods: Floats
    first: Floats
    treated: NDArray[np.bool_]

    @property
    def n_units(self) -> int:
        """Number of units."""
        return len(self.labels)

    @property
    def n_periods(self) -> int:
        """Number of periods."""
        return len(self.periods)

    @property
    def repeated(self) -> bool:
        """Whether some unit has several rows in one period."""
        return len(np.unique(self.unit * self.n_periods + self.time)) < len(self.unit)

    @property
    def balanced(self) -> bool:
        """Whether every unit has one row in every period."""
        return not self.repeated and len(self.unit) == self.n_units * self.n_periods

    @property
    def cohorts(self) -> list[int]:
        """The periods' indices in which units are first treated, in time."""
        return [int(g) for g in np.unique(self.first[np.isfinite(self.first)])]

    @property
    def event_time(self) -> Floats:
        """Periods since the first treated one of each row's unit, -inf for units that are never treated."""
        return np.asarray(self.time - self.first[self.unit])

    def wide(self, values: NDArray[Any]) -> Floats:
        """Return values (n,) or (n, k) as (N, T) or (N, T, k), NaN where a unit is not seen."""
        table = np.full((self.n_units, self.n_periods, *values.shape[1:]), np.nan)
        table[self.unit, self.time] = values
        return table


# --- reading --------------------------------------------------------------------------------------------------------


def ordered_times(values: NDArray[Any], role: str = "time") -> Floats:
    """Return times as numbers that keep their order: numbers, dates, quarters, or the words before and after.

    Raises
    ------
    DesignError
        If texts have no order (``TIME_NOT_ORDERED``).
    """
    if values.dtype != object:
        return np.asarray(values, dtype=np.float64)
    texts = ["" if pd.isna(v) else str(v).strip() for v in values]
    distinct = sorted(set(texts) - {""})
    found = {text: _quarter(text) for text in distinct}
    if any(value is None for value in found.values()):
        dates = pd.to_datetime(pd.Series(distinct), format="ISO8601", errors="coerce")
        if dates.notna().all():
            found = dict(zip(distinct, (dates - pd.Timestamp(0)) / pd.Timedelta(days=1), strict=True))
        elif len(distinct) == 2 and sum(text.lower() in _BEFORE for text in distinct) == 1:
            found = {text: float(text.lower() not in _BEFORE) for text in distinct}
        else:
            raise DesignError(f"{role} has texts without an order, such as {distinct[0][:32]!r}; give numbers or ISO dates", code="TIME_NOT_ORDERED")  # fmt: skip
    return np.array([np.nan if text == "" else float(cast(float, found[text])) for text in texts])


def _quarter(text: str) -> float | None:
    match = next((m for m in (pattern.match(text) for pattern in _QUARTER) if m), None)
    return None if match is None else int(match["y"]) * 4.0 + int(match["q"]) - 1


def layout(
    *,
    unit: NDArray[Any] | None,
    time: NDArray[Any] | None,
    treatment: Floats,
    first_treated: NDArray[Any] | None = None,
    absorbing: bool = True,
) -> Panel:
    """Lay rows out as a panel.

    The first treated period of a unit is `first_treated` where given (missing, infinite, after the last period, or 0
    where 0 is no period: never), else the first period with treatment. A treatment that no unit changes marks a group;
    with two periods, the group is treated in the second. Without `unit`, the treatment's groups are the units.

    Parameters
    ----------
    unit, time, first_treated : shape (n,), labels or numbers.
    treatment : shape (n,), 0/1.
    absorbing : whether a treatment that ends is refused.

    Raises
    ------
    NotApplicable
        If there is no time (``NEEDS_TIME``).
    DesignError
        If a unit or a time is missing (``PANEL_KEY_MISSING``), there is one period (``ONE_PERIOD``), the first treated
        period is not one per unit (``FIRST_TREATED_VARIES``) or cannot be known (``FIRST_TREATED_MISSING``), the
        treatment ends (``TREATMENT_REVERSES``), or nobody is treated, or everybody always is (``POSITIVITY``).
    """
    if time is None:
        raise NotApplicable("a panel method needs the column of time", code="NEEDS_TIME")
    who = treatment if unit is None else unit
    when = ordered_times(time)
    if pd.isna(who).any() or np.isnan(when).any():
        raise DesignError("some rows have no unit or no time; leave them out or fill them in", code="PANEL_KEY_MISSING")
    labels, codes = _codes(who)
    periods, times = np.unique(when, return_inverse=True)
    if len(periods) < 2:
        raise DesignError("there is one period; a panel method needs at least two", code="ONE_PERIOD")
    codes, times = codes.astype(np.int64), times.astype(np.int64)
    first = (
        _from_treatment(codes, times, treatment, len(labels), len(periods), absorbing)
        if first_treated is None
        else _declared(codes, ordered_times(first_treated, "first_treated"), periods, treatment, len(labels))
    )
    since = times >= first[codes]
    mark = first_treated is None and not bool(np.any((treatment > 0) & ~since))
    treated = treatment > 0 if mark and not absorbing else since
    if not np.isfinite(first).any() or treated.all():
        raise DesignError("no unit begins treatment after the first period beside others without it", code="POSITIVITY")
    return Panel(codes, times, labels, periods, first, treated)


def _codes(who: NDArray[Any]) -> tuple[tuple[str, ...], Codes]:
    if who.dtype == object:
        who = np.array([str(value) for value in who], dtype=object)
    distinct, codes = np.unique(who, return_inverse=True)
    return tuple(f"{v:g}" if isinstance(v, float) else str(v) for v in distinct.tolist()), codes.astype(np.int64)


def _declared(unit: Codes, first: Floats, periods: Floats, treatment: Floats, n_units: int) -> Floats:
    value = np.where(np.isnan(first), NEVER, first)
    low, high = np.full(n_units, np.inf), np.full(n_units, -np.inf)
    np.minimum.at(low, unit, value)
    np.maximum.at(high, unit, value)
    if np.any(low != high):
        raise DesignError(f"{int((low != high).sum())} units have several values of first_treated; one per unit is needed", code="FIRST_TREATED_VARIES")  # fmt: skip
    ever = sum_by(unit, (treatment > 0).astype(np.float64)) > 0
    low[(low == 0) & (~np.isin(0.0, periods) | ~ever)] = NEVER
    low[low > periods[-1]] = NEVER
    known = np.isfinite(low)
    low[known] = np.searchsorted(periods, low[known])
    return low


def _from_treatment(
    unit: Codes, time: Codes, treatment: Floats, n_units: int, n_periods: int, absorbing: bool
) -> Floats:
    on = treatment > 0
    first, last_off = np.full(n_units, np.inf), np.full(n_units, -np.inf)
    np.minimum.at(first, unit[on], time[on].astype(np.float64))
    np.maximum.at(last_off, unit[~on], time[~on].astype(np.float64))
    if not np.any(np.isfinite(first) & np.isfinite(last_off)):
        if n_periods != 2:
            raise DesignError("no unit changes treatment, so when it began is unknown; give first_treated", code="FIRST_TREATED_MISSING")  # fmt: skip
        return np.where(np.isfinite(first), 1.0, NEVER)
    if absorbing and np.any(last_off > first):
        raise DesignError(f"treatment ends in {int((last_off > first).sum())} units; this method needs one that stays", code="TREATMENT_REVERSES")  # fmt: skip
    return first


@dataclass(frozen=True)
class Series:
    """One series in time: the rows' `order`, their `time` (n,) and whether they lie `after` the interruption."""

    order: Codes
    time: Floats
    after: NDArray[np.bool_]


def series(roles: Mapping[str, NDArray[Any]], treatment: Floats, interruption: float | str | date | None) -> Series:
    """Order the rows of one series in time; an `interruption` may be a date where times are dates.

    Raises
    ------
    NotApplicable
        If there is no time (``NEEDS_TIME``), or several rows share one (``SEVERAL_SERIES``).
    DesignError
        If times are missing or without order, or the treatment ends (``TREATMENT_REVERSES``).
    """
    if "time" not in roles:
        raise NotApplicable("a time series needs the column of time", code="NEEDS_TIME")
    time = ordered_times(roles["time"])
    if np.isnan(time).any():
        raise DesignError("some rows have no time", code="PANEL_KEY_MISSING")
    order = np.argsort(time, kind="stable").astype(np.int64)
    if np.any(np.diff(time[order]) == 0):
        raise NotApplicable("several rows share a time; add them up to one series first", code="SEVERAL_SERIES")
    on = treatment[order] > 0
    start = interruption if interruption is None or isinstance(interruption, float) else _moment(str(interruption))
    after = on if start is None else time[order] >= start
    if np.any(np.diff(after.astype(np.int64)) < 0):
        raise DesignError("the treatment ends; one interruption is needed", code="TREATMENT_REVERSES")
    return Series(order, time[order], after)


def _moment(text: str) -> float:
    """Return a time as `ordered_times` has it, a plain number as itself."""
    try:
        return float(text)
    except ValueError:
        return float(ordered_times(np.array([text], dtype=object), "interruption")[0])


def by_unit(panel: Panel, values: NDArray[Any]) -> NDArray[Any]:
    """Return the value of each unit's first row, for what does not vary within units."""
    _, at = np.unique(panel.unit, return_index=True)
    return np.asarray(values[at])


def cluster_of_units(panel: Panel, cluster: Codes | None) -> Codes:
    """Return the cluster (N,) of each unit; without clusters each unit is its own.

    Raises
    ------
    InputError
        If a unit lies in several clusters (``CLUSTER_SPLITS_UNITS``).
    """
    if cluster is None:
        return np.arange(panel.n_units)
    found = by_unit(panel, cluster)
    if np.any(found[panel.unit] != cluster):
        raise InputError("some units lie in several clusters", code="CLUSTER_SPLITS_UNITS")
    return np.unique(found, return_inverse=True)[1].astype(np.int64)


# --- regressions ----------------------------------------------------------------------------------------------------


def within(values: Floats, unit: Codes, weights: Floats | None = None) -> Floats:
    """Return values (n, k) less their (weighted) mean within units."""
    w = np.ones(len(unit)) if weights is None else weights
    means = sum_by(unit, values * w[:, None]) / sum_by(unit, w)[:, None]
    return np.asarray(values - means[unit])


@dataclass(frozen=True)
class TwoWay:
    """A regression with effects of unit and time: what concerns the first `k` regressors, and the whole fit."""

    coefficients: Floats
    covariance: Floats
    df: float
    fit: LeastSquares
    identified: NDArray[np.bool_]


def two_way(
    outcome: Floats,
    regressors: Floats,
    controls: Floats,
    *,
    unit: Codes,
    time: Codes,
    weights: Floats | None,
    cluster: Codes | None,
    se: str,
) -> TwoWay:
    """Regress the outcome on regressors and controls beside effects of unit and time.

    Unit effects are taken out by demeaning within units; indicators of time stay in the design. Clustered covariances
    count the unit effects as parameters only where units are not nested in clusters, as fixest does.

    References
    ----------
    Frisch & Waugh (1933); Cameron & Miller (2015), https://doi.org/10.3368/jhr.50.2.317, section II.
    """
    k = regressors.shape[1]
    n, n_units = len(outcome), int(unit.max()) + 1
    periods = (time[:, None] == np.arange(1, int(time.max()) + 1)).astype(np.float64)
    # Time comes first, so that a regressor that time explains is the one to drop.
    design = np.column_stack([periods, controls, regressors])
    demeaned = within(np.column_stack([outcome, design]), unit, weights)
    fit = least_squares(demeaned[:, 1:], demeaned[:, 0], weights)
    here = slice(design.shape[1] - k, None)
    kind = cast(Any, "cluster" if se == "cluster" else se)
    joint = covariance(fit, kind, cluster)[here, here]
    rank = len(fit.kept)
    groups = 0 if cluster is None else int(cluster.max()) + 1
    lost = 1 if se == "cluster" and cluster is not None and nested(unit, cluster) else n_units
    if n - rank - lost < 1:
        raise DesignError("no degrees of freedom are left beside the effects of unit and time", code="TOO_FEW_ROWS")
    joint = joint * (n - rank) / (n - rank - lost)
    df = groups - 1.0 if se == "cluster" else float(n - rank - lost)
    kept = np.isin(np.arange(design.shape[1]), fit.kept)[here]
    return TwoWay(fit.coefficients[here], joint, df, fit, kept)


def nested(unit: Codes, cluster: Codes) -> bool:
    """Return whether every unit lies in one cluster."""
    return len(np.unique(np.column_stack([unit, cluster]), axis=0)) == int(unit.max()) + 1


# --- weights that make one series out of several -------------------------------------------------------------------


def simplex_weights(columns: Floats, target: Floats, *, ridge: float = 0.0, intercept: bool = True) -> Floats:
    """Return weights, not negative and summing to one, that bring columns (m, k) closest to a target (m,).

    Minimises ``|target - columns @ w|² + m·ridge²·|w|²``, where an intercept is taken out first if asked. Solved
    exactly: over the simplex the residual is ``(columns - target 1') @ w``, and the minimiser of
    ``|C v|² + (1'v - 1)²`` over v ≥ 0 is that of ``|C w|²`` up to scale, which is non-negative least squares.

    References
    ----------
    Lawson & Hanson (1974), Solving Least Squares Problems, chapter 23.
    """
    from scipy import optimize

    m, k = columns.shape
    gap = columns - target[:, None]
    if intercept:
        gap = gap - gap.mean(axis=0)
    if ridge > 0:
        gap = np.vstack([gap, np.sqrt(m) * ridge * np.eye(k)])
    if len(gap) > k:
        gap = np.asarray(np.linalg.qr(gap)[1])
    scale = np.sqrt((gap**2).sum(axis=0).mean()) or 1.0
    stacked = np.vstack([gap / scale, np.ones(k)])
    found, _ = optimize.nnls(stacked, np.r_[np.zeros(len(gap)), 1.0], maxiter=100 * k)
    return np.asarray(found / found.sum())


# --- rows of a result -----------------------------------------------------------------------------------------------


def effect_row(
    term: str,
    value: float,
    error: float | None,
    *,
    confidence_level: float,
    df: float | None = None,
    critical: float | None = None,
    **fields: Any,
) -> EffectRow:
    """Return one row with its interval; `critical` replaces the pointwise critical value (simultaneous bands)."""
    if error is None or not np.isfinite(error) or error <= 0:
        return EffectRow(term=term, estimate=finite(value), **fields)
    margin = error * (critical_value(confidence_level, df) if critical is None else critical)
    return EffectRow(
        term=term,
        estimate=finite(value),
        std_error=finite(error),
        ci_lower=finite(value - margin),
        ci_upper=finite(value + margin),
        p_value=p_value(value, error, df),
        **fields,
    )


def wald(values: Floats, joint: Floats) -> tuple[float, int, float]:
    """Return the Wald statistic of ``values = 0``, its degrees of freedom and p-value (chi-squared)."""
    from scipy import stats

    rank = int(np.linalg.matrix_rank(joint, hermitian=True))
    statistic = float(values @ np.linalg.pinv(joint, hermitian=True) @ values)
    return statistic, rank, float(stats.chi2.sf(statistic, rank)) if rank else 1.0


def multiplier_critical_value(influence: Floats, confidence_level: float, *, seed: int) -> float:
    """Return the critical value that makes bands hold together, by a multiplier bootstrap of influence functions.

    Parameters
    ----------
    influence : shape (G, k)
        One row per unit, or per cluster (summed).

    References
    ----------
    Callaway & Sant'Anna (2021), https://doi.org/10.1016/j.jeconom.2020.12.001, algorithm 1, with Mammen's weights; the
    scale is the interquartile range of the draws.
    """
    from scipy import stats

    psi = influence - influence.mean(axis=0)
    keep = np.sqrt((psi**2).mean(axis=0)) > 1e-12 * max(1.0, float(np.abs(psi).max(initial=0.0)))
    psi = psi[:, keep]
    if psi.shape[1] < 2:
        return critical_value(confidence_level)
    rng = np.random.default_rng(seed)
    low, root = (1 - np.sqrt(5)) / 2, np.sqrt(5)
    draws = []
    for size in _chunks(MULTIPLIER_DRAWS, max(1, 4_000_000 // psi.shape[0])):
        v = np.where(rng.random((size, psi.shape[0])) < (root + 1) / (2 * root), low, (1 + root) / 2)
        draws.append(v @ psi)
    drawn = np.vstack(draws)
    upper, lower = np.quantile(drawn, [0.75, 0.25], axis=0)
    spread = (upper - lower) / (stats.norm.ppf(0.75) - stats.norm.ppf(0.25))
    return max(
        float(np.quantile(np.abs(drawn / spread).max(axis=1), confidence_level)), critical_value(confidence_level)
    )


def _chunks(total: int, size: int) -> Sequence[int]:
    return [min(size, total - start) for start in range(0, total, size)]

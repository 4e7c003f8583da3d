"""Continue the trend before an interruption, and measure what came after against it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, optimize

from causal_orchestrator.errors import DesignError, InputError, NotApplicable
from causal_orchestrator.numerics.inference import critical_value
from causal_orchestrator.numerics.linear import independent_columns
from causal_orchestrator.numerics.panel import effect_row, series
from causal_orchestrator.problem import Estimate, Problem, conclude

Floats = NDArray[np.float64]

MIN_BEFORE, MIN_AFTER = 6, 3
MOST_TIMES = 2_000  # of a longer series the bias of the variance is small and its matrices are large
MOST_DEPENDENT = 0.98  # AR(1) coefficient of the working model
STEPS, TOLERANCE = 100, 1e-12
Family = Literal["gaussian", "poisson", "quasipoisson"]


def estimate(
    problem: Problem,
    *,
    interruption: float | str | date | None = None,
    seasonality: int | None = None,
    period: float = 12.0,
    lags: int | None = None,
    family: Family = "gaussian",
    slope: bool = True,
) -> Estimate:
    """Estimate the change in level, and in slope, of one series at an interruption by segmented regression.

    Assumes that the trend and the season before would have gone on, and that nothing else changed at the interruption.
    Covariates (a control series among them) enter additively; an offset enters as its logarithm (``poisson``) or is
    not used (``gaussian``).

    Parameters
    ----------
    interruption : the first time under treatment (a number or a date, as times are); by default the first time
        with treatment.
    seasonality : number of pairs of sine and cosine waves of the given `period` (in units of time).
    lags : lags of the Newey–West covariance (``gaussian``; the Poisson families take the model's own variance, with
        the dispersion estimated in ``quasipoisson``). By default ⌊4 (n/100)^(2/9)⌋, and variances are freed of the bias
        that they have under AR(1) errors, whose residuals show too little of their dependence, with Satterthwaite's
        degrees of freedom. With `lags` given the variance is as other packages have it, and too small in short series.
    family : ``gaussian``; ``poisson`` and ``quasipoisson`` model the logarithm of the expected count or rate.
    slope : whether the slope may change.

    Returns
    -------
    Estimate
        The mean effect over the times after the interruption: in units of the outcome for ``gaussian``, in log points
        (exponentiate for a rate ratio) for the Poisson families; level and slope in the rows.

    Raises
    ------
    NotApplicable
        If there is no time, several rows share one, or the outcome cannot be negative (``OUTCOME_KIND``).
    DesignError
        With fewer than six times before or three after (``SERIES_TOO_SHORT``), or a treatment that ends.

    References
    ----------
    Lopez Bernal, Cummins & Gasparrini (2017), https://doi.org/10.1093/ije/dyw098; Newey & West (1987),
    https://doi.org/10.2307/1913610; Bell & McCaffrey (2002) for the correction, with AR(1) as the working model.
    """
    if problem.weights is not None:
        raise NotApplicable("its cannot use sampling weights", code="WEIGHTS")
    table = series(problem.roles, problem.treatment, interruption)
    before, after = int((~table.after).sum()), int(table.after.sum())
    if before < MIN_BEFORE or after < MIN_AFTER:
        raise DesignError(f"{before} times before and {after} after the interruption; {MIN_BEFORE} and {MIN_AFTER} are needed", code="SERIES_TOO_SHORT")  # fmt: skip
    if seasonality is not None and (seasonality < 1 or not period > 0):
        raise InputError("seasonality must be at least 1, and period positive", code="OPTION_INVALID", details={"option": "seasonality"})  # fmt: skip
    y, x = problem.outcome[table.order], problem.covariates[table.order]
    design = _design(table.time, table.after, x, seasonality, period, slope)
    kept = independent_columns(design)
    if not {1, *([2] if slope else [])} <= set(kept.tolist()):
        raise DesignError("the covariates or the season explain the interruption", code="NOT_IDENTIFIED")
    fit = _fit(design[:, kept], y, _offset(problem, table.order, family), family, lags, slope)
    return _finish(problem, table.time, table.after, fit, slope, family, seasonality)


@dataclass(frozen=True)
class _Fit:
    """Coefficients of intercept, level, (slope,) trend and the rest, with covariance; `df` of the t distribution."""

    coefficients: Floats
    covariance: Floats
    df: float | None
    residuals: Floats
    inference: str
    dispersion: float | None
    working: _Working | None = None


@dataclass(frozen=True)
class _Working:
    """Variances (m, m) at `places` under the working model: `true`, and `expected` of Newey–West with its `spread` (m², m²)."""

    places: NDArray[np.int64]
    true: Floats
    expected: Floats
    spread: Floats


def _design(
    time: Floats, after: NDArray[np.bool_], x: Floats, seasonality: int | None, period: float, slope: bool
) -> Floats:
    step = after.astype(np.float64)
    columns = [np.ones(len(time)), step]
    if slope:
        columns.append(step * (time - time[after][0]))
    columns.append(time - time[0])
    for k in range(1, (seasonality or 0) + 1):
        angle = 2 * np.pi * k * time / period
        columns += [np.sin(angle), np.cos(angle)]
    spread = x.std(axis=0)
    return np.column_stack([*columns, (x - x.mean(axis=0)) / np.where(spread > 0, spread, 1.0)])


def _offset(problem: Problem, order: NDArray[np.int64], family: str) -> Floats | None:
    size = problem.roles.get("offset")
    if size is None or family == "gaussian":
        return None
    size = np.asarray(size, dtype=np.float64)[order]
    if not np.all(size > 0):
        raise InputError("the offset must be positive: it enters as its logarithm", code="OFFSET_INVALID")
    return np.log(size)


def _fit(design: Floats, y: Floats, offset: Floats | None, family: Family, lags: int | None, slope: bool) -> _Fit:
    return _newey_west(design, y, lags, slope) if family == "gaussian" else _poisson(design, y, offset, family)


def _newey_west(design: Floats, y: Floats, lags: int | None, slope: bool) -> _Fit:
    n, k = design.shape
    reach = int(4 * (n / 100) ** (2 / 9)) if lags is None else lags
    if not 0 <= reach < n or n <= k:
        raise InputError(f"{reach} lags and {k} terms for {n} times", code="OPTION_INVALID", details={"option": "lags"})  # fmt: skip
    bread = np.linalg.inv(design.T @ design)
    beta = np.linalg.lstsq(design, y, rcond=None)[0]
    scores = design * (y - design @ beta)[:, None]
    meat = scores.T @ scores
    for lag in range(1, reach + 1):
        cross = scores[lag:].T @ scores[:-lag]
        meat = meat + (1 - lag / (reach + 1)) * (cross + cross.T)
    joint = bread @ meat @ bread
    residuals = _floats(y - design @ beta)
    told = f"Newey–West, {reach} lags"
    if lags is not None or n > MOST_TIMES:
        return _Fit(_floats(beta), _floats(joint * n / (n - k)), float(n - k), residuals, f"{told}, t", None)
    working = _working(design, residuals, reach, np.arange(1, 3 if slope else 2))
    told = f"{told}, freed of its bias under AR(1) errors, t with Satterthwaite's degrees of freedom"
    return _Fit(_floats(beta), _floats(joint), float(n - k), residuals, told, None, working)


def _working(design: Floats, residuals: Floats, reach: int, places: NDArray[np.int64]) -> _Working:
    """Return what Newey–West estimates on average, and how it varies, where errors are AR(1) as the residuals say."""
    n, m = len(residuals), len(places)
    basis = np.linalg.qr(design)[0]
    omega = linalg.toeplitz(_dependence(basis, residuals) ** np.arange(n))
    left = _left(basis, omega)
    scores = design @ np.linalg.inv(design.T @ design)[:, places]  # (n, m)
    products = [
        scores[:, [i]] * _bartlett(scores[:, [j]] * left, reach) for i in range(m) for j in range(m)
    ]  # A_ij (I-H) omega (I-H), with e'A_ij e the entry of the covariance
    expected = np.array([np.trace(product) for product in products]).reshape(m, m)
    spread = np.array([[2 * (a * b.T).sum() for b in products] for a in products])
    return _Working(places, _floats(scores.T @ omega @ scores), expected, spread)


def _left(basis: Floats, omega: Floats) -> Floats:
    """Return (I-H) omega (I-H) for the projection H on an orthonormal basis."""
    half = omega - basis @ (basis.T @ omega)
    return _floats(half - (half @ basis) @ basis.T)


def _bartlett(values: Floats, reach: int) -> Floats:
    """Return K @ values (n, k) of the Toeplitz matrix K of Bartlett's weights."""
    total = values.copy()
    for lag in range(1, reach + 1):
        weight = 1 - lag / (reach + 1)
        total[lag:] += weight * values[:-lag]
        total[:-lag] += weight * values[lag:]
    return total


def _dependence(basis: Floats, residuals: Floats) -> float:
    """Return the AR(1) coefficient under which residuals would be as correlated as they are, on average."""
    if not residuals.any():
        return 0.0
    seen = float(residuals[1:] @ residuals[:-1] / (residuals @ residuals))

    def gap(rho: float) -> float:
        left = _left(basis, linalg.toeplitz(rho ** np.arange(len(residuals))))
        return float(np.trace(left, offset=1) / np.trace(left)) - seen

    if gap(-MOST_DEPENDENT) >= 0:
        return -MOST_DEPENDENT
    if gap(MOST_DEPENDENT) <= 0:
        return MOST_DEPENDENT
    return float(optimize.brentq(gap, -MOST_DEPENDENT, MOST_DEPENDENT, xtol=1e-4))


def _error(fit: _Fit, contrast: Floats) -> tuple[float, float | None]:
    """Return the standard error of a contrast and the degrees of freedom of its t statistic."""
    variance = float(contrast @ fit.covariance @ contrast)
    if fit.working is None:
        return float(np.sqrt(variance)), fit.df
    c = contrast[fit.working.places]
    expected, pairs = float(c @ fit.working.expected @ c), np.kron(c, c)
    factor = float(c @ fit.working.true @ c) / expected
    return float(np.sqrt(variance * factor)), float(2 * expected**2 / (pairs @ fit.working.spread @ pairs))


def _poisson(design: Floats, y: Floats, offset: Floats | None, family: Family) -> _Fit:
    """Fit a log-linear model by iteratively reweighted least squares."""
    if y.min() < 0:
        raise NotApplicable(f"{family} needs an outcome that is not negative", code="OUTCOME_KIND")
    n, k = design.shape
    base = np.zeros(n) if offset is None else offset
    beta = np.linalg.lstsq(design, np.log(np.maximum(y, 0.5)) - base, rcond=None)[0]
    for _ in range(STEPS):
        mu = np.exp(np.clip(base + design @ beta, -700, 700))
        step = np.linalg.solve((design * mu[:, None]).T @ design, design.T @ (y - mu))
        beta = beta + step
        if np.abs(design @ step).max() < TOLERANCE:
            break
    mu = np.exp(base + design @ beta)
    joint = np.linalg.inv((design * mu[:, None]).T @ design)
    dispersion = float(((y - mu) ** 2 / mu).sum() / (n - k))
    residuals = (y - mu) / np.sqrt(mu)
    if family == "quasipoisson":
        return _Fit(_floats(beta), _floats(joint * dispersion), None, residuals, "quasi-likelihood, dispersion estimated, normal", dispersion)  # fmt: skip
    return _Fit(_floats(beta), _floats(joint), None, residuals, "Poisson likelihood, normal", dispersion)


def _floats(values: Any) -> Floats:
    return np.asarray(values, dtype=np.float64)


def _finish(
    problem: Problem, time: Floats, after: NDArray[np.bool_], fit: _Fit, slope: bool, family: Family, season: int | None
) -> Estimate:
    since = time[after] - time[after][0]
    k = len(fit.coefficients)
    contrasts: list[tuple[str, Floats, dict[str, Any]]] = []
    at = np.zeros((len(since), k))
    at[:, 1] = 1
    if slope:
        at[:, 2] = since
    contrasts.append(("overall", at.mean(axis=0), {}))
    contrasts.append(("level change", np.eye(k)[1], {}))
    contrasts += [("slope change", np.eye(k)[2], {})] if slope else []
    contrasts += [(f"time {t:g}", row, {"time": float(t)}) for t, row in zip(time[after], at, strict=True) if slope]
    level = problem.confidence_level
    rows = []
    for term, c, where in contrasts:
        error, df = _error(fit, c)
        rows.append(effect_row(term, float(c @ fit.coefficients), error, confidence_level=level, df=df, n=problem.n, **where))  # fmt: skip
    mean = contrasts[0][1]
    error, df = _error(fit, mean)
    ratios = {} if family == "gaussian" else {"rate_ratio": _ratio(rows[1].estimate, rows[1].std_error, level)}
    found = conclude(
        problem,
        method="its",
        estimand="ATT",
        estimates=[float(mean @ fit.coefficients)],
        covariance=np.array([[error**2]]),
        df=df,
        inference=fit.inference,
        diagnostics=_diagnostics(fit),
        details={"family": family, "seasonality": season, "interruption": float(time[after][0]), **ratios},
        notes=("effects are in log points: exponentiate for rate ratios",) if family != "gaussian" else (),
    )
    return replace(found, rows=tuple(rows), n_treated=int(after.sum()))


def _ratio(value: float | None, error: float | None, level: float) -> dict[str, float]:
    """Return the rate ratio of the level change with its interval."""
    centre, margin = float(value or 0.0), critical_value(level) * float(error or 0.0)
    return {
        "estimate": float(np.exp(centre)),
        "ci_lower": float(np.exp(centre - margin)),
        "ci_upper": float(np.exp(centre + margin)),
    }


def _diagnostics(fit: _Fit) -> dict[str, dict[str, Any]]:
    """Say how much of the residuals' dependence is left, and whether counts vary more than Poisson."""
    e = fit.residuals - fit.residuals.mean()
    told: dict[str, dict[str, Any]] = {
        "durbin_watson": {"value": float((np.diff(e) ** 2).sum() / (e**2).sum()), "detail": "2 where residuals are not correlated"}
    }  # fmt: skip
    if fit.dispersion is not None:
        told["dispersion"] = {"value": fit.dispersion, "threshold": 1.5, "passed": fit.dispersion < 1.5, "detail": "Pearson; 1 for Poisson counts"}  # fmt: skip
    return told

"""Weigh donors so that together they moved like the treated unit before, and measure the gap after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from causal_orchestrator.errors import DesignError, InputError, NotApplicable
from causal_orchestrator.numerics.encoding import MISSING
from causal_orchestrator.numerics.panel import Panel, effect_row, layout, simplex_weights
from causal_orchestrator.problem import Estimate, Problem, conclude
from causal_orchestrator.question import shown

Floats = NDArray[np.float64]
Predictor = tuple[str, float, float]

RIDGE = 1e-2  # of the augmented variant, times the donors' mean squared outcome before
ROBUST_RIDGE = 1e-3  # of the robust variant, likewise


def estimate(
    problem: Problem,
    *,
    predictors: Sequence[Predictor] | None = None,
    fit_period: tuple[float, float] | None = None,
    variant: Literal["classic", "augmented", "penalized", "robust"] = "classic",
    rank: int | None = None,
    placebo: bool = True,
) -> Estimate:
    """Estimate the effect on the treated unit by a synthetic control.

    Assumes that a weighted mean of donors would have gone on like the treated unit, and no anticipation. Several units
    treated at the same time are taken as their mean. There is no standard error: the p-value ranks the ratio of the gap
    after to the gap before among that of every donor treated in its place, (1 + count) / (donors + 1).

    Parameters
    ----------
    predictors : (column, from, to): means of a covariate, or of the outcome, over times; their weights minimise the gap
        before (over `fit_period`). Without any, every outcome before treatment is matched with equal weight.
    fit_period : first and last time over which the fit is judged; by default all times before treatment.
    variant : ``augmented`` corrects the remaining gap by a ridge regression on outcomes before; ``penalized`` prefers
        donors that are themselves near the treated unit; ``robust`` regresses (ridge, weights of either sign) on the
        donors' outcomes without noise, their `rank` largest singular values, and takes no predictors.
    rank : of the robust variant; by default Gavish and Donoho's threshold decides.
    placebo : whether the placebos are run.

    Returns
    -------
    Estimate
        The mean gap after treatment began, in units of the outcome, and one row per time; donor and predictor weights
        in ``details``.

    Raises
    ------
    NotApplicable
        If units are seen several times in a period, or sampling weights are given.
    DesignError
        As `numerics.panel.layout`; if units start at different times (``STAGGERED``), with fewer than two donors
        (``NO_CONTROLS``) or two times before (``NO_PRE_PERIOD``).
    InputError
        If a predictor is no numeric covariate or has no values in its time (``PREDICTOR_UNKNOWN``).

    References
    ----------
    Abadie & Gardeazabal (2003), https://doi.org/10.1257/000282803321455188; Abadie, Diamond & Hainmueller (2010),
    https://doi.org/10.1198/jasa.2009.ap08746; Ben-Michael, Feller & Rothstein (2021),
    https://doi.org/10.1080/01621459.2021.1929245; Abadie & L'Hour (2021), https://doi.org/10.1080/01621459.2021.1971535;
    Amjad, Shah & Shen (2018), https://jmlr.org/papers/v19/17-777.html, algorithm 1; Gavish & Donoho (2014),
    https://doi.org/10.1109/TIT.2014.2323359, equation 5 for noise of unknown size.
    """
    if problem.weights is not None:
        raise NotApplicable("synthetic_control cannot use sampling weights", code="WEIGHTS")
    roles = problem.roles
    panel = layout(unit=roles.get("unit"), time=roles.get("time"), treatment=problem.treatment, first_treated=roles.get("first_treated"))  # fmt: skip
    if variant == "robust" and predictors:
        raise InputError("the robust variant takes no predictors", code="OPTION_INVALID", details={"option": "predictors"})  # fmt: skip
    data = _data(problem, panel, predictors, fit_period, rank)
    fit = _fit(data.outcome, data.predictors, data, variant)
    places = [_placebo(data, j, variant) for j in range(1, len(data.outcome))] if placebo else []
    return _finish(problem, data, fit, places, variant)


@dataclass(frozen=True)
class _Data:
    """Treated unit first, then donors: `outcome` (1 + J, T), `predictors` (1 + J, k) in SD, `judged` times (T,)."""

    outcome: Floats
    predictors: Floats
    names: tuple[str, ...]
    start: int
    judged: NDArray[np.bool_]
    periods: Floats
    donors: tuple[str, ...]
    dropped: int
    n_treated: int
    rank: int | None


@dataclass(frozen=True)
class _Fit:
    """Donor weights (J,), predictor weights (k,), and the gap in every time (T,)."""

    weights: Floats
    importance: Floats
    gap: Floats


def _data(
    problem: Problem, panel: Panel, predictors: Sequence[Predictor] | None, fit_period: tuple[float, float] | None,
    rank: int | None,
) -> _Data:  # fmt: skip
    if panel.repeated:
        raise NotApplicable("units must be seen once in a period", code="REPEATED_ROWS")
    if len(panel.cohorts) != 1:
        raise DesignError("units start treatment at different times; see sdid or did_imputation", code="STAGGERED")
    start = panel.cohorts[0]
    if start < 2:
        raise DesignError("two times before treatment are needed", code="NO_PRE_PERIOD")
    wide = panel.wide(problem.outcome)
    treated = np.asarray(panel.first == start)
    complete = np.asarray(~np.isnan(wide).any(axis=1))
    donors = np.flatnonzero(~treated & complete)
    if len(donors) < 2 or not complete[treated].all():
        raise DesignError("fewer than two donors, or no treated unit, are seen throughout", code="NO_CONTROLS")
    if rank is not None and not 1 <= rank <= min(len(donors) - 1, len(panel.periods)):
        raise InputError(f"rank must lie between 1 and {min(len(donors) - 1, len(panel.periods))}", code="OPTION_INVALID", details={"option": "rank"})  # fmt: skip
    rows: list[NDArray[np.int64]] = [np.flatnonzero(treated), *(np.array([j]) for j in donors)]
    outcome = np.array([wide[r].mean(axis=0) for r in rows])
    judged = np.arange(len(panel.periods)) < start
    if fit_period is not None:
        judged &= (panel.periods >= fit_period[0]) & (panel.periods <= fit_period[1])
    if not judged.any():
        raise InputError("no time before treatment lies in fit_period", code="OPTION_INVALID", details={"option": "fit_period"})  # fmt: skip
    names, values = _predictors(problem, panel, predictors or (), wide)
    chosen = np.array([values[r].mean(axis=0) for r in rows]) if names else np.zeros((len(rows), 0))
    if np.isnan(chosen).any():
        raise InputError("a predictor has no value for some units in its time", code="PREDICTOR_UNKNOWN")
    spread = chosen.std(axis=0, ddof=1)
    return _Data(outcome, chosen / np.where(spread > 0, spread, 1.0), names, start, judged, panel.periods, tuple(panel.labels[j] for j in donors), int((~complete).sum()), int(treated.sum()), rank)  # fmt: skip


def _predictors(
    problem: Problem, panel: Panel, predictors: Sequence[Predictor], wide: Floats
) -> tuple[tuple[str, ...], Floats]:
    """Return the mean of each predictor over its times (N, k), of the values that are there."""
    names, columns = [], []
    for column, first, last in predictors:
        table = wide
        if column != problem.question.outcome:
            if column not in problem.covariate_names:
                raise InputError(f"predictor {shown(column)!r} is neither a numeric covariate nor the outcome", code="PREDICTOR_UNKNOWN", details={"column": column})  # fmt: skip
            values = problem.covariates[:, problem.covariate_names.index(column)].copy()
            filled = f"{column} {MISSING}"
            if filled in problem.covariate_names:
                values[problem.covariates[:, problem.covariate_names.index(filled)] == 1] = np.nan
            table = panel.wide(values)
        inside = (panel.periods >= first) & (panel.periods <= last)
        known = ~np.isnan(table[:, inside])
        total = np.where(known, table[:, inside], 0.0).sum(axis=1)
        columns.append(np.where(known.any(axis=1), total / np.maximum(known.sum(axis=1), 1), np.nan))
        names.append(f"{column} {first:g}–{last:g}")
    return tuple(names), np.column_stack(columns) if columns else np.zeros((len(wide), 0))


# --- weights --------------------------------------------------------------------------------------------------------


def _fit(outcome: Floats, predictors: Floats, data: _Data, variant: str) -> _Fit:
    """Fit the first row by the others."""
    before = outcome[:, data.judged]
    if variant == "robust":
        return _robust(outcome, data)
    penalty = 0.0
    if variant == "penalized":
        penalty = float(((before[1:] - before[0]) ** 2).sum(axis=1).min()) / before.shape[1]
    if predictors.shape[1]:
        importance = _importance(before, predictors)
        weights = _weights(predictors, importance)
    else:
        importance = np.zeros(0)
        weights = _penalised(before, penalty)
    gap = outcome[0] - weights @ outcome[1:]
    if variant == "augmented":
        gap = gap - _ridge(before, weights) @ outcome[1:]
    return _Fit(weights, importance, np.asarray(gap))


def _weights(predictors: Floats, importance: Floats) -> Floats:
    root = np.sqrt(importance)[:, None]
    return simplex_weights(predictors[1:].T * root, predictors[0] * root[:, 0], intercept=False)


def _penalised(before: Floats, penalty: float) -> Floats:
    """Return simplex weights; with a penalty on each donor's own distance, added as one more squared row."""
    columns, target = before[1:].T, before[0]
    if penalty > 0:
        own = np.sqrt(((before[1:] - before[0]) ** 2).mean(axis=1))
        columns, target = np.vstack([columns, np.sqrt(penalty) * own / own.mean()]), np.r_[target, 0.0]
    return simplex_weights(columns, target, intercept=False)


def _importance(before: Floats, predictors: Floats) -> Floats:
    """Return predictor weights, summing to one, that make the outcome before fit well (nested optimisation).

    Searched as the R package Synth does: by Nelder–Mead and BFGS, from equal weights and from those of a regression of
    outcomes on predictors; the best of the four. It need not be the global optimum.
    """
    k = predictors.shape[1]

    def loss(raw: Floats) -> float:
        importance = np.abs(raw) / np.abs(raw).sum()
        weights = _weights(predictors, importance)
        return float(((before[0] - weights @ before[1:]) ** 2).mean())

    design = np.column_stack([np.ones(len(predictors)), predictors])
    slopes = np.linalg.lstsq(design, before, rcond=None)[0][1:]
    guess = (slopes**2).sum(axis=1)
    starts = (np.full(k, 1 / k), guess / guess.sum())
    found = [optimize.minimize(loss, start, method=method) for start in starts for method in ("Nelder-Mead", "BFGS")]
    best = np.abs(min(found, key=lambda f: float(f.fun)).x)
    return np.asarray(best / best.sum())


def _ridge(before: Floats, weights: Floats) -> Floats:
    """Return the correction (J,) to donor weights that a ridge regression on outcomes before makes."""
    centred = before[1:] - before[1:].mean(axis=0)
    left = before[0] - weights @ before[1:]
    gram = centred.T @ centred
    return np.asarray(centred @ np.linalg.solve(gram + RIDGE * np.trace(gram) / len(gram) * np.eye(len(gram)), left))


def _robust(outcome: Floats, data: _Data) -> _Fit:
    """Regress the first row on the others' low-rank part, which also tells what would have been."""
    left, sizes, right = np.linalg.svd(outcome[1:], full_matrices=False)
    shape = min(outcome[1:].shape) / max(outcome[1:].shape)
    threshold = (0.56 * shape**3 - 0.95 * shape**2 + 1.82 * shape + 1.43) * np.median(sizes)
    rank = data.rank or max(1, int((sizes > threshold).sum()))
    donors = (left[:, :rank] * sizes[:rank]) @ right[:rank]
    before = donors[:, data.judged]
    gram = before @ before.T
    ridge = ROBUST_RIDGE * np.trace(gram) / len(gram)
    weights = np.linalg.solve(gram + ridge * np.eye(len(gram)), before @ outcome[0, data.judged])
    return _Fit(weights, np.zeros(0), np.asarray(outcome[0] - weights @ donors))


# --- placebos -------------------------------------------------------------------------------------------------------


def _placebo(data: _Data, j: int, variant: str) -> _Fit:
    """Treat donor j instead, among the other donors."""
    order = [j, *(i for i in range(1, len(data.outcome)) if i != j)]
    return _fit(data.outcome[order], data.predictors[order], data, variant)


def _ratio(fit: _Fit, data: _Data) -> float:
    before = float(np.sqrt((fit.gap[data.judged] ** 2).mean()))
    after = float(np.sqrt((fit.gap[data.start :] ** 2).mean()))
    return after / before if before > 0 else np.inf


def _finish(problem: Problem, data: _Data, fit: _Fit, places: Sequence[_Fit], variant: str) -> Estimate:
    value = float(fit.gap[data.start :].mean())
    ratio = _ratio(fit, data)
    ratios = [_ratio(p, data) for p in places]
    p = (1 + sum(r >= ratio for r in ratios)) / (len(ratios) + 1) if places else None
    rmspe = float(np.sqrt((fit.gap[data.judged] ** 2).mean()))
    found = conclude(
        problem,
        method="synthetic_control",
        estimand="ATT",
        estimates=[value],
        covariance=None,
        inference="placebo in space: rank of the RMSPE ratio" if places else "none: placebos were not run",
        diagnostics={
            "rmspe before": {"value": rmspe, "detail": "root mean squared gap before treatment, in units of the outcome"},
            "rmspe ratio": {"value": ratio if np.isfinite(ratio) else None, "p_value": p, "detail": "gap after over gap before"},
            "effective donors": {"value": float(1 / (fit.weights**2).sum()), "detail": "one over the sum of squared weights"},
        },
        details={
            "donor_weights": {d: float(w) for d, w in zip(data.donors, fit.weights, strict=True) if abs(w) > 1e-4},
            "predictor_weights": dict(zip(data.names, fit.importance.tolist(), strict=True)),
            "gap": {f"{t:g}": float(g) for t, g in zip(data.periods, fit.gap, strict=True)},
            "placebo_gaps": {d: p.gap.tolist() for d, p in zip(data.donors, places, strict=False)},
            "placebo_ratios": {d: r for d, r in zip(data.donors, ratios, strict=False) if np.isfinite(r)},
            "variant": variant,
        },
        notes=_notes(data, ratios),
    )  # fmt: skip
    rows = [effect_row("overall", value, None, confidence_level=0.95, n=data.outcome.size).model_copy(update={"p_value": p})]  # fmt: skip
    for t in range(data.start, len(data.periods)):
        rows.append(effect_row(f"time {data.periods[t]:g}", float(fit.gap[t]), None, confidence_level=0.95, time=float(data.periods[t])))  # fmt: skip
    treated = data.n_treated * (len(data.periods) - data.start)
    return replace(found, rows=tuple(rows), p_value=p, n=data.outcome.size, n_treated=treated)


def _notes(data: _Data, ratios: Sequence[Any]) -> tuple[str, ...]:
    said = []
    if data.dropped:
        said.append(f"{data.dropped} units that are not seen in every period are left out")
    if data.n_treated > 1:
        said.append(f"the {data.n_treated} treated units are taken as their mean")
    if 0 < len(ratios) < 19:
        said.append(f"with {len(ratios)} placebos no p-value can be below {1 / (len(ratios) + 1):.3f}")
    return tuple(said)

"""Weight controls and periods so that treated and controls moved alike before, then take differences."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from causal_orchestrator.errors import DesignError, NotApplicable
from causal_orchestrator.numerics.linear import least_squares
from causal_orchestrator.numerics.panel import effect_row, layout, simplex_weights
from causal_orchestrator.problem import Estimate, Problem, conclude

Floats = NDArray[np.float64]

PLACEBO_DRAWS = 200


def estimate(problem: Problem, *, inference: Literal["placebo", "jackknife"] | None = None) -> Estimate:
    """Estimate the effect on the treated by synthetic difference in differences.

    Assumes that without treatment the treated would have moved like the weighted controls (a low-rank structure of
    units and times), and no anticipation. Cohorts that start at different times are compared with never-treated units
    each on their own and averaged by their treated cells. Covariates that vary in time are taken out beforehand by a
    two-way regression on untreated cells. Units that are not seen in every period are left out.

    Parameters
    ----------
    inference : ``jackknife`` over units (default where every cohort has two units or more; conservative), or
        ``placebo`` (default otherwise): the spread of estimates where controls stand in for the treated, which assumes
        that both are equally noisy.

    Returns
    -------
    Estimate
        The ATT in units of the outcome; one row per period after treatment began (without errors of its own) and per
        cohort; unit and time weights in ``details``.

    Raises
    ------
    NotApplicable
        If units are seen several times in a period, or sampling weights are given.
    DesignError
        As `numerics.panel.layout`; with fewer than two never-treated units (``NO_CONTROLS``) or two periods before
        treatment (``NO_PRE_PERIOD``); with too few units for the inference asked for (``TOO_FEW_UNITS``).

    References
    ----------
    Arkhangelsky, Athey, Hirshberg, Imbens & Wager (2021), https://doi.org/10.1257/aer.20190159, algorithms 1, 3 and 4;
    staggered starts as in their appendix A.
    """
    data, notes = _data(problem)
    fits = [_fit(data.outcome, data.first, g) for g in data.cohorts]
    value = _pooled(data, fits)
    kind = inference or ("jackknife" if min(data.sizes) > 1 else "placebo")
    variance = _jackknife(data, fits) if kind == "jackknife" else _placebo(data, problem.seed)
    found = conclude(
        problem,
        method="sdid",
        estimand="ATT",
        estimates=[value],
        covariance=np.array([[variance]]),
        inference={"jackknife": "jackknife over units, weights kept", "placebo": f"placebo spread over {PLACEBO_DRAWS} draws of controls"}[kind],
        diagnostics=_diagnostics(fits),
        details=_details(data, fits),
        notes=tuple(notes),
    )  # fmt: skip
    rows = [effect_row("overall", value, float(np.sqrt(variance)), confidence_level=problem.confidence_level, n=data.outcome.size)]  # fmt: skip
    rows += [effect_row(f"group {data.periods[f.g]:g}", f.value, None, confidence_level=0.95, group=f"{data.periods[f.g]:g}", n=f.n_treated) for f in fits if len(fits) > 1]  # fmt: skip
    rows += [effect_row(f"time {data.periods[t]:g}", _at(data, fits, t), None, confidence_level=0.95, time=float(data.periods[t])) for t in range(fits[0].g, len(data.periods))]  # fmt: skip
    treated = int((np.arange(len(data.periods)) >= data.first[:, None]).sum())
    return replace(found, rows=tuple(rows), n=data.outcome.size, n_treated=treated)


@dataclass(frozen=True)
class _Data:
    """Units (N,) by periods (T,): `outcome` (N, T) less covariates, `first` (N,) infinite for controls."""

    outcome: Floats
    first: Floats
    periods: Floats
    labels: tuple[str, ...]

    @property
    def cohorts(self) -> list[int]:
        return [int(g) for g in np.unique(self.first[np.isfinite(self.first)])]

    @property
    def sizes(self) -> list[int]:
        return [int((self.first == g).sum()) for g in self.cohorts]


@dataclass(frozen=True)
class _Fit:
    """One cohort: ATT, gap of each period (T,), weights of controls `omega` and of periods before `lam`."""

    g: int
    value: float
    gap: Floats
    omega: Floats
    lam: Floats
    n_treated: int
    rmse: float


def _data(problem: Problem) -> tuple[_Data, list[str]]:
    if problem.weights is not None:
        raise NotApplicable("sdid cannot use sampling weights", code="WEIGHTS")
    roles = problem.roles
    panel = layout(unit=roles.get("unit"), time=roles.get("time"), treatment=problem.treatment, first_treated=roles.get("first_treated"))  # fmt: skip
    if panel.repeated:
        raise NotApplicable("units must be seen once in a period", code="REPEATED_ROWS")
    wide, notes = panel.wide(problem.outcome), []
    if problem.covariates.shape[1]:
        x = panel.wide(problem.covariates)
        moves = [j for j in range(x.shape[2]) if np.nanmax(np.ptp(x[:, :, j], axis=1)) > 0]
        wide = wide - _explained(wide, x[:, :, moves], panel.first) if moves else wide
    seen, early = ~np.isnan(wide).any(axis=1), panel.first == 0
    for some, why in ((~seen, "not seen in every period"), (early & seen, "treated from the first period on")):
        if some.any():
            notes.append(f"{int(some.sum())} units {why} are left out")
    keep = seen & ~early
    data = _Data(
        wide[keep],
        panel.first[keep],
        panel.periods,
        tuple(label for label, kept in zip(panel.labels, keep, strict=True) if kept),
    )
    if int(np.isinf(data.first).sum()) < 2:
        raise DesignError("fewer than two units are never treated; they are the controls", code="NO_CONTROLS")
    if not data.cohorts or min(data.cohorts) < 2:
        raise DesignError("two periods before treatment are needed, in all cohorts", code="NO_PRE_PERIOD")
    return data, notes


def _explained(wide: Floats, x: Floats, first: Floats) -> Floats:
    """Return what covariates (N, T, p) explain of the outcome, by a two-way regression on untreated cells."""
    cell = (np.arange(wide.shape[1]) < first[:, None]) & ~np.isnan(wide)
    unit, time = np.nonzero(cell)
    design = np.column_stack([time[:, None] == np.arange(1, wide.shape[1]), x[unit, time]]).astype(np.float64)
    both = np.column_stack([wide[unit, time], design])
    count = np.bincount(unit, minlength=len(first))
    means = np.column_stack([np.bincount(unit, weights=c, minlength=len(first)) for c in both.T]) / np.maximum(count, 1)[:, None]  # fmt: skip
    both = both - means[unit]
    slopes = least_squares(both[:, 1:], both[:, 0]).coefficients[-x.shape[2] :]
    return np.asarray(x @ slopes)


# --- one cohort -----------------------------------------------------------------------------------------------------


def _fit(outcome: Floats, first: Floats, g: int) -> _Fit:
    control, treated = outcome[np.isinf(first)], outcome[first == g]
    n1, t1 = len(treated), outcome.shape[1] - g
    noise = np.diff(control[:, :g], axis=1).std(ddof=1)
    ridge = (n1 * t1) ** 0.25 * noise
    omega = simplex_weights(control[:, :g].T, treated[:, :g].mean(axis=0), ridge=ridge)
    lam = simplex_weights(control[:, :g], control[:, g:].mean(axis=1), ridge=1e-6 * noise)
    return _with_weights(control, treated, g, omega, lam)


def _with_weights(control: Floats, treated: Floats, g: int, omega: Floats, lam: Floats) -> _Fit:
    difference = treated.mean(axis=0) - omega @ control
    gap = difference - lam @ difference[:g]
    rmse = float(np.std(difference[:g]))
    return _Fit(g, float(gap[g:].mean()), gap, omega, lam, len(treated), rmse)


def _shares(fits: list[_Fit]) -> Floats:
    cells = np.array([f.n_treated * (len(f.gap) - f.g) for f in fits], dtype=np.float64)
    return np.asarray(cells / cells.sum())


def _pooled(data: _Data, fits: list[_Fit]) -> float:
    return float(_shares(fits) @ [f.value for f in fits])


def _at(data: _Data, fits: list[_Fit], t: int) -> float:
    here = [f for f in fits if f.g <= t]
    return float(np.average([f.gap[t] for f in here], weights=[f.n_treated for f in here]))


# --- inference ------------------------------------------------------------------------------------------------------


def _jackknife(data: _Data, fits: list[_Fit]) -> float:
    """Leave units out one by one with the weights kept, those of the remaining controls made to sum to one."""
    if min(data.sizes) < 2:
        raise DesignError("the jackknife needs two treated units in every cohort", code="TOO_FEW_UNITS")
    n = len(data.first)
    controls = np.flatnonzero(np.isinf(data.first))
    values = np.zeros(n)
    for i in range(n):
        keep = np.arange(n) != i
        left = data.outcome[keep], data.first[keep]
        at = np.flatnonzero(controls == i)
        again = []
        for f in fits:
            omega = np.delete(f.omega, at)
            if not omega.sum() > 0:
                raise DesignError("one control carries all weight; the jackknife is undefined", code="TOO_FEW_UNITS")
            again.append(_with_weights(left[0][np.isinf(left[1])], left[0][left[1] == f.g], f.g, omega / omega.sum(), f.lam))  # fmt: skip
        values[i] = _pooled(data, again)
    return float((n - 1) / n * ((values - values.mean()) ** 2).sum())


def _placebo(data: _Data, seed: int) -> float:
    """Let controls stand in for the treated, with the same starts, and take the spread of the estimates."""
    control = data.outcome[np.isinf(data.first)]
    starts = data.first[np.isfinite(data.first)]
    if len(control) <= len(starts) + 1:
        raise DesignError(f"{len(control)} controls cannot stand in for {len(starts)} treated units", code="TOO_FEW_UNITS")  # fmt: skip
    rng = np.random.default_rng(seed)
    values = []
    for _ in range(PLACEBO_DRAWS):
        order = rng.permutation(len(control))
        first = np.full(len(control), np.inf)
        first[: len(starts)] = starts
        values.append(_pooled(data, [_fit(control[order], first, g) for g in data.cohorts]))
    return float(np.var(values))


def _diagnostics(fits: list[_Fit]) -> dict[str, dict[str, Any]]:
    effective = min(float(1 / (f.omega**2).sum()) for f in fits)
    return {
        "fit before treatment": {"value": float(max(f.rmse for f in fits)), "detail": "standard deviation of the gap before treatment, in units of the outcome"},
        "effective controls": {"value": effective, "detail": "one over the sum of squared control weights, the least of all cohorts"},
    }  # fmt: skip


def _details(data: _Data, fits: list[_Fit]) -> dict[str, Any]:
    controls = [label for label, f in zip(data.labels, data.first, strict=True) if np.isinf(f)]
    return {
        "cohorts": [
            {
                "first": float(data.periods[f.g]),
                "estimate": f.value,
                "n_treated": f.n_treated,
                "unit_weights": {c: float(w) for c, w in zip(controls, f.omega, strict=True) if w > 1e-6},
                "time_weights": {f"{p:g}": float(w) for p, w in zip(data.periods, f.lam, strict=False) if w > 1e-6},
                "gap": [float(v) for v in f.gap],
            }
            for f in fits
        ]
    }

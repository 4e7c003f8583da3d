"""Match units that begin treatment with units of the same treatment history, and compare their changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from causal_orchestrator.errors import DesignError, InputError, NotApplicable
from causal_orchestrator.numerics.encoding import MISSING
from causal_orchestrator.numerics.panel import effect_row, layout
from causal_orchestrator.problem import Estimate, Problem, conclude

Floats = NDArray[np.float64]

RANK = 1e-10  # size of what counts as a direction without spread
ROUNDING = 5  # decimals at which distances tie, as in PanelMatch


def estimate(
    problem: Problem,
    *,
    lags: int | None = None,
    leads: int | None = None,
    refinement: Literal["mahalanobis", "none"] = "mahalanobis",
    size: int = 5,
    lagged_outcome: bool = True,
    draws: int = 500,
) -> Estimate:
    """Estimate the effect on units that begin treatment by matching on treatment histories and differences.

    Assumes parallel trends among units with the same treatment in the last `lags` periods, and like lagged outcomes
    and covariates, and no anticipation. Treatment may end and begin again; what happens to it after the start is part
    of the effect. Missing lags count as a value of their own (zero with an indicator).

    Parameters
    ----------
    lags : periods of treatment history that must agree, and lags of outcome and covariates in the distance; 4, fewer
        in panels with fewer than 13 periods.
    leads : the last period after the start, which is 0; a set needs outcomes throughout; 3, or fewer likewise.
    refinement : ``mahalanobis``, the `size` nearest of each matched set (ties kept), or ``none``, all of it.
    lagged_outcome : whether lagged outcomes enter the distance. They pull units of different levels together, which
        biases differences by regression to the mean where levels differ for good; then leave them out.
    draws : number of draws of the bootstrap over units, with the weights of the matched sets kept.

    Returns
    -------
    Estimate
        The mean ATT over leads in units of the outcome, and one row per lead; intervals are percentiles.

    Raises
    ------
    NotApplicable
        If units are seen several times in a period, or sampling weights are given.
    DesignError
        As `numerics.panel.layout`; without a matched set (``NO_CONTROLS``).

    References
    ----------
    Imai, Kim & Wang (2023), https://doi.org/10.1111/ajps.12685, equations 11, 14 and section 3.5; on regression
    to the mean Daw & Hatfield (2018), https://doi.org/10.1111/1475-6773.12993.
    """
    if problem.weights is not None:
        raise NotApplicable("panel_matching cannot use sampling weights", code="WEIGHTS")
    data = _data(problem)
    third = max(1, (data.outcome.shape[1] - 1) // 3)
    lags, leads = min(4, third) if lags is None else lags, min(3, third) if leads is None else leads
    for name, number, least in (("lags", lags, 1), ("leads", leads, 0), ("size", size, 1), ("draws", draws, 50)):
        if number < least:
            raise InputError(f"{name} must be at least {least}, found {number}", code="OPTION_INVALID", details={"option": name})  # fmt: skip
    sets = _sets(data, lags, leads)
    if not sets:
        raise DesignError(f"no unit that begins treatment has a match over {lags} periods before and {leads} after", code="NO_CONTROLS")  # fmt: skip
    weights = [_refined(data, s, lags, size if refinement == "mahalanobis" else 0, lagged_outcome) for s in sets]
    total, count = _contributions(data, sets, weights, leads)
    values = total.sum(axis=0) / count.sum()
    drawn = _bootstrap(total, count, draws, problem.seed)
    joint = np.column_stack([drawn.mean(axis=1), drawn])
    return _finish(problem, sets, weights, np.r_[values.mean(), values], joint, draws)


@dataclass(frozen=True)
class _Data:
    """Tables of units by periods, NaN where unknown: treatment (also where the outcome is not), outcome, covariates."""

    treatment: Floats
    outcome: Floats
    covariates: Floats


@dataclass(frozen=True)
class _Set:
    unit: int
    time: int
    controls: NDArray[np.int64]


def _data(problem: Problem) -> _Data:
    roles, lost = problem.roles, problem.unobserved
    both = {
        role: np.concatenate([roles[role], lost[role]]) if role in lost else roles.get(role)
        for role in ("unit", "time")
    }
    treatment = np.concatenate([problem.treatment, lost["treatment"]]) if lost else problem.treatment
    panel = layout(unit=both["unit"], time=both["time"], treatment=treatment, absorbing=False)
    if panel.repeated:
        raise NotApplicable("units must be seen once in a period", code="REPEATED_ROWS")
    hidden = np.full(len(treatment) - problem.n, np.nan)
    known = _unfilled(problem)
    covariates = np.vstack([known, lost["covariates"]]) if lost else known
    keep = [j for j, name in enumerate(problem.covariate_names) if not name.endswith(MISSING)]
    # A group's mark does not switch by itself; `layout` says since when it holds.
    switched = panel.treated.astype(np.float64)
    return _Data(panel.wide(switched), panel.wide(np.r_[problem.outcome, hidden]), panel.wide(covariates[:, keep]))


def _unfilled(problem: Problem) -> Floats:
    """Return the covariates with NaN where the encoding filled a value in."""
    found = problem.covariates.copy()
    names = problem.covariate_names
    for j, name in enumerate(names):
        if name.endswith(MISSING) and name.removesuffix(f" {MISSING}") in names:
            found[found[:, j] == 1, names.index(name.removesuffix(f" {MISSING}"))] = np.nan
    return found


# --- matched sets ---------------------------------------------------------------------------------------------------


def _sets(data: _Data, lags: int, leads: int) -> list[_Set]:
    """Return who begins treatment when, with everybody of the same history who does not (equation 11)."""
    d, y = data.treatment, data.outcome
    sets = []
    for t in range(lags, d.shape[1] - leads):
        starts = (d[:, t] == 1) & (d[:, t - 1] == 0)
        seen = ~np.isnan(y[:, t - 1]) & ~np.isnan(y[:, t : t + leads + 1]).any(axis=1)
        history = d[:, t - lags : t]
        for i in np.flatnonzero(starts & seen & ~np.isnan(history).any(axis=1)):
            same = (d[:, t] == 0) & (history == history[i]).all(axis=1) & seen
            if same.any():
                sets.append(_Set(int(i), t, np.flatnonzero(same)))
    return sets


def _refined(data: _Data, matched: _Set, lags: int, size: int, lagged_outcome: bool) -> Floats:
    """Return the weights of a set's controls: equal among the nearest `size`, and those as near as the last."""
    n = len(matched.controls)
    if size == 0 or n <= size:
        return np.full(n, 1 / n)
    distance = _distance(_lagged(data, matched, lags, lagged_outcome)).round(ROUNDING)
    limit = np.sort(distance)[size]
    near = distance < limit
    if near.sum() < size:
        near = distance <= limit
    return np.asarray(near / near.sum())


def _lagged(data: _Data, matched: _Set, lags: int, lagged_outcome: bool) -> Floats:
    """Return lagged outcomes and covariates of the controls and, last, of the treated unit."""
    rows = np.r_[matched.controls, matched.unit]
    window = matched.time - np.arange(1, lags + 1)
    x = np.concatenate(
        [
            data.outcome[np.ix_(rows, window)],
            data.covariates[np.ix_(rows, window)].transpose(0, 2, 1).reshape(len(rows), -1),
        ],
        axis=1,
    )
    x = x if lagged_outcome else x[:, lags:]
    missing = np.isnan(x)
    return np.concatenate([np.where(missing, 0.0, x), missing], axis=1)


def _distance(x: Floats) -> Floats:
    """Return the Mahalanobis distance of all but the last row from the last, by the others' covariance."""
    controls = x[:-1]
    varies = np.ptp(controls, axis=0) > 0
    if not varies.any():  # also without columns
        return np.zeros(len(controls))
    # Columns that repeat each other, such as indicators of what is missing together, count once.
    once = np.flatnonzero(varies)[np.sort(np.unique(controls[:, varies], axis=1, return_index=True)[1])]
    controls, centre = controls[:, once], x[-1, once]
    spread = controls.std(axis=0)
    scaled = np.atleast_2d(np.cov(controls / spread, rowvar=False))
    if np.linalg.matrix_rank(scaled, hermitian=True, tol=RANK) < len(once):
        # Fewer controls than directions: the generalised inverse in the units given, as PanelMatch takes it.
        spread = np.ones(len(once))
        scaled = np.atleast_2d(np.cov(controls, rowvar=False))
    gap = (controls - centre) / spread
    inverse = np.linalg.pinv(scaled, hermitian=True, rcond=RANK)
    return np.asarray(np.einsum("ij,jk,ik->i", gap, inverse, gap))


# --- estimate -------------------------------------------------------------------------------------------------------


def _contributions(data: _Data, sets: Sequence[_Set], weights: Sequence[Floats], leads: int) -> tuple[Floats, Floats]:
    """Return each unit's part of the sums of effects (N, leads + 1), and its number of starts (N,) (equation 14)."""
    total, count = np.zeros((len(data.outcome), leads + 1)), np.zeros(len(data.outcome))
    for matched, w in zip(sets, weights, strict=True):
        t = matched.time
        change = data.outcome[:, t : t + leads + 1] - data.outcome[:, [t - 1]]
        total[matched.unit] += change[matched.unit]
        total[matched.controls] -= w[:, None] * change[matched.controls]
        count[matched.unit] += 1
    return total, count


def _bootstrap(total: Floats, count: Floats, draws: int, seed: int) -> Floats:
    """Resample units with their weights kept; draws without a treated unit are drawn again."""
    rng, n = np.random.default_rng(seed), len(count)
    found: list[Floats] = []
    while len(found) < draws:
        times = np.bincount(rng.integers(0, n, n), minlength=n)
        if times @ count > 0:
            found.append(times @ total / (times @ count))
    return np.array(found)


def _finish(
    problem: Problem, sets: Sequence[_Set], weights: Sequence[Floats], values: Floats, drawn: Floats, draws: int
) -> Estimate:
    level = problem.confidence_level
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2], axis=0)
    errors = drawn.std(axis=0, ddof=1)
    counts = [len(set(s.controls[w > 0].tolist())) for s, w in zip(sets, weights, strict=True)]
    found = conclude(
        problem,
        method="panel_matching",
        estimand="ATT",
        estimates=values[:1],
        covariance=np.array([[errors[0] ** 2]]),
        inference=f"bootstrap over units, {draws} draws, weights kept; percentiles",
        diagnostics=_diagnostics(sets, counts),
        details={"matched_sets": len(sets), "controls_per_set": {"smallest": min(counts), "median": float(np.median(counts)), "largest": max(counts)}},
    )  # fmt: skip
    names: list[tuple[str, dict[str, Any]]] = [("overall", {})]
    names += [(f"event time {e}", {"event_time": float(e)}) for e in range(len(values) - 1)]
    rows = tuple(
        effect_row(term, float(values[k]), float(errors[k]), confidence_level=level, n=len(sets), **where).model_copy(
            update={"ci_lower": float(low[k]), "ci_upper": float(high[k])}
        )
        for k, (term, where) in enumerate(names)
    )
    return replace(found, rows=rows, ci_lower=float(low[0]), ci_upper=float(high[0]), n_treated=len(sets))


def _diagnostics(sets: Sequence[_Set], counts: Sequence[int]) -> dict[str, dict[str, Any]]:
    return {
        "matched sets": {"value": float(len(sets)), "detail": "starts of treatment with at least one match"},
        "smallest set": {"value": float(min(counts)), "detail": "controls with weight"},
    }

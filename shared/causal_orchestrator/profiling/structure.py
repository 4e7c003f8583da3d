"""The structure of covariates and treatment: panels, rules with a cutoff, groups treated as a whole."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Array = NDArray[np.float64]

MIN_SIDE = 20  # rows on each side of a cutoff, and distinct values of the running variable among all
MIN_JUMP_T = 6.0  # a jump found by search among many cutoffs has to be far beyond chance


@dataclass(frozen=True)
class Panel:
    """How rows repeat over units and times."""

    n_units: int
    n_periods: int
    unique: bool
    balanced: bool
    duplicates: int
    gaps: int


def panel(unit: pd.Series, time: pd.Series) -> Panel:
    """Describe the (unit, time) pairs: are they unique, does every unit have every time, how many are gaps inside.

    A gap is a period that exists in the table, lies between a unit's first and last row and is missing for that unit.
    """
    known = unit.notna() & time.notna()
    units, _ = pd.factorize(unit[known])
    periods, levels = pd.factorize(time[known], sort=True)
    n_units, n_periods = int(units.max(initial=-1)) + 1, len(levels)
    pairs = np.unique(units.astype(np.int64) * max(n_periods, 1) + periods)
    first = np.full(n_units, n_periods)
    last = np.full(n_units, -1)
    np.minimum.at(first, units, periods)
    np.maximum.at(last, units, periods)
    gaps = int((last - first + 1).sum()) - len(pairs)
    return Panel(
        n_units=n_units,
        n_periods=n_periods,
        unique=len(pairs) == len(units),
        balanced=len(pairs) == n_units * n_periods,
        duplicates=len(units) - len(pairs),
        gaps=gaps,
    )


@dataclass(frozen=True)
class Cutoff:
    """A value at which the share of the treated jumps; `t` is the jump over its standard error."""

    cutoff: float
    jump: float
    t: float
    sharp: bool
    share_below: float
    share_above: float


def sharp_cutoff(x: Array, treated: NDArray[np.bool_]) -> Cutoff | None:
    """Find the value that separates treated and untreated without exception, None where there is none.

    Each side must have `MIN_SIDE` rows and five distinct values, so that a column that is itself a form of the
    treatment (a dose that is zero for the controls) is not taken for a rule.
    """
    known = np.isfinite(x)
    x, treated = x[known], treated[known]
    if min(treated.sum(), (~treated).sum()) < MIN_SIDE:
        return None
    one, zero = x[treated], x[~treated]
    if zero.max() < one.min():
        value = float(one.min())  # treated at and above
    elif one.max() < zero.min():
        value = float(zero.min())  # treated strictly below
    else:
        return None
    if min(len(np.unique(one)), len(np.unique(zero))) < 5:
        return None
    above = float(treated[x >= value].mean())
    return Cutoff(value, 2 * above - 1, float("inf"), True, 1 - above, above)


def jump_at(x: Array, treated: Array, cutoff: float, *, share: float = 0.5) -> Cutoff | None:
    """Measure the jump of the treatment's mean at a given cutoff by two local lines.

    On each side the `share` of rows nearest to the cutoff enters, at least `MIN_SIDE`, with triangular weights.

    Parameters
    ----------
    x : NDArray, shape (n,)
        The running variable.
    treated : NDArray, shape (n,)
        The treatment, 0/1 or a dose.
    """
    known = np.isfinite(x) & np.isfinite(treated)
    x, treated = x[known] - cutoff, treated[known]
    below, above = _edge(-x[x < 0], treated[x < 0], share), _edge(x[x >= 0], treated[x >= 0], share)
    if below is None or above is None:
        return None
    jump = above[0] - below[0]
    error = float(np.hypot(above[1], below[1]))
    low, high = treated[x < 0], treated[x >= 0]
    if np.ptp(low) == 0 and np.ptp(high) == 0:
        step = float(high[0] - low[0])
        return Cutoff(cutoff, step, float("inf") if step else 0.0, bool(step), float(low[0]), float(high[0]))
    t = abs(jump) / error if error > 0 else 0.0
    return Cutoff(cutoff, float(jump), float(t), False, float(below[0]), float(above[0]))


def _edge(distance: Array, y: Array, share: float) -> tuple[float, float] | None:
    """Return the local line's value at distance 0 and its standard error (HC1)."""
    if len(distance) < MIN_SIDE or len(np.unique(distance)) < 4:
        return None
    width = float(np.quantile(distance, max(share, MIN_SIDE / len(distance)))) or float(distance.max())
    w = np.clip(1 - distance / (width * (1 + 1e-9)), 0.0, None)
    X = np.column_stack([np.ones(len(distance)), distance])
    gram = X.T @ (X * w[:, None])
    if np.linalg.cond(gram) > 1e12:
        return None
    bread = np.linalg.inv(gram)
    beta = bread @ (X.T @ (w * y))
    score = X * (w * (y - X @ beta))[:, None]
    used = int((w > 0).sum())
    variance = bread @ (score.T @ score) @ bread * used / max(used - 2, 1)
    return float(beta[0]), float(np.sqrt(max(variance[0, 0], 0.0)))


def constant_within(groups: pd.Series, values: pd.Series) -> bool:
    """Say whether `values` never differ inside a group."""
    for rows in (slice(10_000), slice(None)):  # most columns fail early
        codes, _ = pd.factorize(groups.iloc[rows])
        inner, _ = pd.factorize(values.iloc[rows])
        kept = codes >= 0
        width = int(inner.max(initial=0)) + 2
        pairs = np.unique(codes[kept].astype(np.int64) * width + inner[kept])
        if len(pairs) != len(np.unique(codes[kept])):
            return False
    return True

"""Outcome-free measures of a table: balance, collinearity, outliers, missing patterns, distributions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from causal_orchestrator.results import finite

Array = NDArray[np.float64]

SMALL_CELL = 10  # a count below this could point to a person
MAX_LEVELS = 50  # a category with more levels is not expanded into indicators
ROBUST_Z = 3.5  # Iglewicz & Hoaglin (1993): the limit for |0.6745 (x - median)| / MAD


def encode(frame: pd.DataFrame, *, max_levels: int = MAX_LEVELS) -> tuple[Array, tuple[str, ...]]:
    """Turn columns into numbers: numbers and dates stay one column, categories become one indicator per level.

    Parameters
    ----------
    frame : DataFrame
        Covariates, any dtype.
    max_levels : int
        Categorical columns with more levels are left out.

    Returns
    -------
    values : NDArray, shape (n, k)
        NaN where a number is missing; indicators of a missing category are NaN too.
    names : tuple of str
        ``column`` for numbers, ``column=level`` for indicators; of two levels only the second is kept.
    """
    values: list[Array] = []
    names: list[str] = []
    for name in frame.columns:
        column = frame[name]
        number = as_number(column)
        if number is not None:
            values.append(number)
            names.append(str(name))
            continue
        codes, levels = pd.factorize(column.astype("string"), sort=True)
        if not 2 <= len(levels) <= max_levels:
            continue
        missing = codes < 0
        for code in range(1 if len(levels) == 2 else 0, len(levels)):
            indicator = (codes == code).astype(np.float64)
            indicator[missing] = np.nan
            values.append(indicator)
            names.append(f"{name}={levels[code]}")
    matrix = np.column_stack(values) if values else np.empty((len(frame), 0))
    return matrix, tuple(names)


def as_number(column: pd.Series) -> Array | None:
    """Return a column as floats (dates as days since 1970, infinities as NaN), or None if it holds words."""
    if pd.api.types.is_datetime64_any_dtype(column):
        days = (column - pd.Timestamp(0, tz=column.dt.tz)) / pd.Timedelta(days=1)
        return np.asarray(days, dtype=np.float64)
    if not (pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column)):
        return None
    number: Array = column.to_numpy(dtype=np.float64, na_value=np.nan)
    return np.where(np.isfinite(number), number, np.nan)


def standardized_mean_difference(x: Array, treated: NDArray[np.bool_]) -> float | None:
    """Compare two arms in units of their pooled standard deviation, ``sqrt((s1² + s0²) / 2)``.

    Parameters
    ----------
    x : NDArray, shape (n,)
        One covariate; missing values are left out.
    treated : NDArray of bool, shape (n,)

    Returns
    -------
    float or None
        Treated minus control; None where an arm has fewer than two values or neither arm varies.

    References
    ----------
    Austin (2009), Statistics in Medicine 28, 3083-3107. https://doi.org/10.1002/sim.3697
    """
    one, zero = _arms(x, treated)
    if min(len(one), len(zero)) < 2:
        return None
    pooled = float(np.sqrt((one.var(ddof=1) + zero.var(ddof=1)) / 2))
    gap = float(one.mean() - zero.mean())
    return finite(gap / pooled) if pooled > 0 else (0.0 if gap == 0 else None)


def variance_ratio(x: Array, treated: NDArray[np.bool_]) -> float | None:
    """Return the variance among the treated over that among the controls, None where it is not defined."""
    one, zero = _arms(x, treated)
    if min(len(one), len(zero)) < 2 or zero.var(ddof=1) == 0:
        return None
    return finite(float(one.var(ddof=1) / zero.var(ddof=1)))


def ks_distance(x: Array, treated: NDArray[np.bool_]) -> float | None:
    """Return the largest distance between the arms' distribution functions (Kolmogorov-Smirnov), in [0, 1]."""
    one, zero = _arms(x, treated)
    if not len(one) or not len(zero):
        return None
    grid = np.unique(np.concatenate([one, zero]))
    below_one = np.searchsorted(np.sort(one), grid, side="right") / len(one)
    below_zero = np.searchsorted(np.sort(zero), grid, side="right") / len(zero)
    return float(np.abs(below_one - below_zero).max())


def _arms(x: Array, treated: NDArray[np.bool_]) -> tuple[Array, Array]:
    known = np.isfinite(x)
    return x[known & treated], x[known & ~treated]


def variance_inflation(X: Array) -> list[float | None]:
    """Return each column's variance inflation factor, the diagonal of the inverse correlation matrix.

    Missing values are set to their column's mean. None marks a column that the others determine (or that is
    constant).

    Parameters
    ----------
    X : NDArray, shape (n, k)

    References
    ----------
    Belsley, Kuh & Welsch (1980), Regression Diagnostics, section 3.2.
    """
    factors: list[float | None] = [None] * X.shape[1]
    centred = X - np.nanmean(X, axis=0) if X.size else X
    centred = np.where(np.isfinite(centred), centred, 0.0)
    scale = np.sqrt((centred**2).sum(axis=0))
    kept = np.flatnonzero(scale > 0)
    if not len(kept) or len(X) <= len(kept):
        return factors
    unit = centred[:, kept] / scale[kept]
    values, vectors = np.linalg.eigh(unit.T @ unit)
    small = values <= len(kept) * 1e-10  # an exact linear relation, up to rounding
    tied = (vectors[:, small] ** 2).sum(axis=1) > 1e-6
    inverse = (vectors[:, ~small] ** 2 / values[~small]).sum(axis=1)
    for place, column in enumerate(kept):
        factors[column] = None if tied[place] else finite(float(inverse[place]))
    return factors


def outliers(x: Array) -> Mapping[str, float]:
    """Count the values beyond Tukey's fences (1.5 IQR) and beyond a robust z of 3.5; empty for two-valued columns."""
    known = x[np.isfinite(x)]
    if len(known) < 4 or np.isin(known, [known.min(), known.max()]).all():
        return {}
    low, middle, high = np.quantile(known, [0.25, 0.5, 0.75])
    spread = high - low
    deviation = float(np.median(np.abs(known - middle)))
    beyond = (known < low - 1.5 * spread) | (known > high + 1.5 * spread)
    extreme = 0.6745 * np.abs(known - middle) > ROBUST_Z * deviation if deviation > 0 else np.zeros(len(known), bool)
    return {
        "iqr": float(beyond.sum()) if spread > 0 else 0.0,
        "robust_z": float(extreme.sum()),
        "share": float((beyond if spread > 0 else extreme).mean()),
        "lower_fence": float(low - 1.5 * spread),
        "upper_fence": float(high + 1.5 * spread),
    }


def missing_patterns(frame: pd.DataFrame, *, top: int = 10) -> tuple[Mapping[str, Any], ...]:
    """Return the most frequent sets of columns that are missing together, patterns of fewer than ten rows left out."""
    gone = frame.isna()
    gone = gone.loc[:, gone.any()]
    if gone.shape[1] == 0:
        return ()
    counts = gone.value_counts(sort=False)
    kept = [(int(n), pattern) for pattern, n in counts.items() if int(n) >= SMALL_CELL]
    kept.sort(key=lambda item: (-item[0], item[1]))
    names = [str(name) for name in gone.columns]
    return tuple(
        {"missing": [c for c, m in zip(names, pattern, strict=True) if m], "n": n, "share": n / len(frame)}
        for n, pattern in kept[:top]
    )


def top_correlations(X: Array, names: tuple[str, ...], *, top: int = 200) -> Mapping[str, Mapping[str, float]]:
    """Return the largest absolute Pearson correlations over pairwise complete rows, as ``{a: {b: r}}``."""
    k = X.shape[1]
    known = np.isfinite(X)
    spread = np.array([np.nanstd(X[:, j]) if known[:, j].any() else 0.0 for j in range(k)])
    centre = np.array([np.nanmean(X[:, j]) if known[:, j].any() else 0.0 for j in range(k)])
    Z = np.where(known, (X - centre) / np.where(spread > 0, spread, 1.0), 0.0)
    both = known.T.astype(np.float64) @ known.astype(np.float64)
    square = (Z**2).T @ known.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        R = (Z.T @ Z) / np.sqrt(square * square.T)
    a, b = np.triu_indices(k, 1)
    ok = np.isfinite(R[a, b]) & (spread[a] > 0) & (spread[b] > 0) & (both[a, b] >= SMALL_CELL)
    pairs = sorted(zip(a[ok], b[ok], strict=True), key=lambda p: (-abs(round(float(R[p]), 12)), p))[:top]
    table: dict[str, dict[str, float]] = {}
    for i, j in pairs:
        table.setdefault(names[i], {})[names[j]] = float(np.clip(R[i, j], -1.0, 1.0))
    return table


def histogram(x: Array, *, bins: int = 30) -> Mapping[str, Any]:
    """Count values in equal bins between the 0.5th and 99.5th percentile (the tails go to the outer bins).

    Bins with one to nine rows are shown as zero and added to ``suppressed``.
    """
    known = x[np.isfinite(x)]
    if not len(known):
        return {}
    distinct = np.unique(known)
    if len(distinct) <= bins:
        counts = np.bincount(np.searchsorted(distinct, known), minlength=len(distinct))
        common = counts >= SMALL_CELL
        return {
            "values": distinct[common].tolist(),
            "counts": counts[common].tolist(),
            "suppressed": int(counts[~common].sum()),
        }
    low, high = np.quantile(known, [0.005, 0.995])
    if high <= low:
        low, high = float(known.min()), float(known.max())
    edges = np.linspace(low, high, bins + 1)
    counts = np.histogram(np.clip(known, low, high), bins=edges)[0]
    shown_counts, suppressed = suppress(counts)
    return {"edges": edges.tolist(), "counts": shown_counts, "suppressed": suppressed}


def suppress(counts: NDArray[np.int64]) -> tuple[list[int], int]:
    """Set counts of one to nine to zero and return them with the number of rows so hidden."""
    small = (counts > 0) & (counts < SMALL_CELL)
    return np.where(small, 0, counts).tolist(), int(counts[small].sum())

"""Figures of the data as they came."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.colors import LinearSegmentedColormap
from numpy.typing import NDArray

from causal_orchestrator.errors import NotApplicable
from causal_orchestrator.figures.canvas import (
    BLUE,
    CONTROL,
    GRID,
    INK,
    MUTED,
    TREATED,
    VERMILION,
    Drawing,
    horizontal,
    listed,
    number,
    plain,
    sheet,
)
from causal_orchestrator.figures.evidence import Evidence, label

Floats = NDArray[np.float64]

MOST_COLUMNS = 24
MOST_PANELS = 4
MOST_POINTS = 1500
GROUPS = 10
DIVERGING = LinearSegmentedColormap.from_list("blue-white-vermilion", [BLUE, "#ffffff", VERMILION])


def outcome_by_arm(evidence: Evidence) -> Drawing:
    """Draw the outcome's distribution in each arm."""
    treatment, outcome = _roles(evidence)
    data = evidence.read([treatment, outcome]).dropna()
    values = numeric(data[outcome])
    arms = _arms(data[treatment])
    if len(np.unique(values)) <= 2:
        return _rates(values, arms, treatment=treatment, outcome=outcome)
    low, high = np.quantile(values, [0.0, 0.995])
    bins = np.linspace(low, high, min(36, max(10, int(np.sqrt(len(values))))) + 1)
    figure, axes = sheet(2.9)
    for (level, member), colour in zip(arms.items(), (CONTROL, TREATED), strict=True):
        arm = values[member]
        axes.hist(np.clip(arm, low, high), bins=bins, density=True, color=colour, alpha=0.45,
                  label=f"{label(treatment, 18)} = {label(level, 14)}")  # fmt: skip
        axes.axvline(float(arm.mean()), color=colour, linewidth=1.8, linestyle=(0, (4, 2)))
    axes.set_xlabel(label(outcome))
    axes.set_ylabel("density")
    axes.set_yticks([])
    plain(axes)
    axes.legend(loc="upper right")
    means = "; ".join(f"{label(level)}: {number(values[member].mean())}" for level, member in arms.items())
    return Drawing(
        figure,
        "The outcome as observed, without adjustment. Dashed lines are the arms' means; the last bar also holds the "
        "largest half per cent.",
        f"Histograms of {label(outcome)} by {label(treatment)}; means {means}.",
    )


def covariate_outcome(evidence: Evidence) -> Drawing:
    """Draw the outcome against the covariates most correlated with it, with group means for each arm."""
    treatment, outcome = _roles(evidence)
    private = {c.name for c in evidence.snapshot.columns if c.personal_data} if evidence.snapshot else set()
    names = [c for c in (evidence.question.covariates or ()) if c not in private][:MOST_COLUMNS]
    data = evidence.read([treatment, outcome, *names])
    y = numeric(data[outcome])
    strength = {c: _correlation(numeric(data[c]), y) for c in names if data[c].nunique() > 5}
    chosen = sorted(strength, key=lambda c: (-abs(strength[c]), c))[:MOST_PANELS]
    if not chosen:
        raise NotApplicable("no covariate is a number with more than five values")
    arms = _arms(data[treatment])
    columns = 2 if len(chosen) > 1 else 1
    rows = -(-len(chosen) // columns)
    figure, panels = sheet(2.3 * rows, rows=rows, columns=columns, sharey=True, squeeze=False)
    for axes, name in zip(panels.flat, chosen, strict=False):
        _scatter(axes, numeric(data[name]), y, arms)
        axes.set_xlabel(label(name))
    for axes in list(panels.flat)[len(chosen) :]:
        axes.set_visible(False)
    panels.flat[0].set_ylabel(label(outcome))
    ranked = ", ".join(f"{label(c)} {strength[c]:.2f}" for c in chosen)
    return Drawing(
        figure,
        f"The outcome against the covariates that go with it most. Lines join the means of up to {GROUPS} equal "
        "groups, treated in orange and control in blue.",
        f"Scatter plots; correlations with the outcome: {ranked}.",
    )


def missingness(evidence: Evidence) -> Drawing:
    """Draw the share missing in each column, and which columns are missing together."""
    columns = evidence.snapshot.columns if evidence.snapshot else ()
    holed = sorted((c for c in columns if c.n_missing), key=lambda c: (-c.n_missing, c.name))[:MOST_COLUMNS]
    if not holed:
        raise NotApplicable("no value is missing")
    figure, axes = sheet(1.0 + 0.28 * len(holed))
    shares = [100 * c.n_missing / max(c.n, 1) for c in holed]
    axes.barh(range(len(holed)), shares, color=BLUE, height=0.6)
    for row, share in enumerate(shares):
        axes.text(share, row, f" {share:.1f} %", va="center", fontsize=10)
    axes.set_xlim(0, max(5.0, min(100.0, 1.25 * max(shares))))
    listed(axes, [label(c.name) for c in holed])
    axes.set_xlabel("per cent of rows missing")
    patterns = evidence.exploration.missing_patterns if evidence.exploration else ()
    together = [p for p in patterns if len(p.get("missing", ())) > 1]
    words = ""
    if together:
        names = " and ".join(label(str(c)) for c in together[0]["missing"])
        words = f" Most often missing together: {names}, in {together[0]['share']:.1%} of rows."
    return Drawing(
        figure,
        f"Missing values before any repair.{words}",
        "; ".join(f"{label(c.name)} {share:.1f} %" for c, share in zip(holed, shares, strict=True)),
    )


def outliers(evidence: Evidence) -> Drawing:
    """Draw each numeric covariate in units of its interquartile range, with the values beyond Tukey's fences."""
    names = list(evidence.question.covariates or ())[:MOST_COLUMNS]
    if not names:
        raise NotApplicable("there are no covariates")
    data = evidence.read(names)
    scaled = {name: found for name in names if (found := _scaled(numeric(data[name]))) is not None}
    if not scaled:
        raise NotApplicable("no covariate has values to compare with an interquartile range")
    figure, axes = sheet(1.1 + 0.3 * len(scaled))
    for row, values in enumerate(scaled.values()):
        far = np.unique(np.clip(values[np.abs(values) > 2.0], -12, 12).round(2))
        inside = values[np.abs(values) <= 2.0]
        axes.plot([inside.min(), inside.max()], [row, row], color=GRID, linewidth=5, solid_capstyle="round")
        axes.plot([-0.5, 0.5], [row, row], color=BLUE, linewidth=7, solid_capstyle="butt")
        axes.plot(far, np.full(len(far), row), "|", color=VERMILION, markersize=8)
    listed(axes, [label(name) for name in scaled])
    axes.set_xlabel("distance from the middle, in interquartile ranges (cut at 12)")
    worst = max(scaled, key=lambda name: float((np.abs(scaled[name]) > 2.0).mean()))
    share = float((np.abs(scaled[worst]) > 2.0).mean())
    return Drawing(
        figure,
        "Blue is the middle half of the values, grey the range within one and a half interquartile ranges of it; "
        "each orange stroke is a value beyond.",
        f"Most values beyond: {label(worst)} with {share:.1%}.",
    )


def collinearity(evidence: Evidence) -> Drawing:
    """Draw the correlations of the covariates and their variance inflation factors."""
    found = evidence.exploration
    factors = dict(found.vif) if found else {}
    place = {name: i for i, name in enumerate(evidence.question.covariates or ())}
    names = sorted(factors, key=lambda name: (place.get(name, len(place)), name))[:MOST_COLUMNS]
    if len(names) < 2:
        raise NotApplicable("needs two covariates")
    table = _table(found.correlations if found else {}, names)
    size = len(names)
    figure, (left, right) = sheet(max(2.2, 0.9 + 0.27 * size), columns=2, width_ratios=(3, 2), sharey=True)
    left.imshow(table, cmap=DIVERGING, vmin=-1, vmax=1, aspect="auto")
    left.set_xticks(range(size), [label(name, 14) for name in names], rotation=60, ha="right", rotation_mode="anchor")
    left.set_yticks(range(size), [label(name, 18) for name in names])
    left.grid(visible=False)
    if size <= 8:
        for row in range(size):
            for column in range(size):
                if abs(table[row, column]) >= 0.1 and row != column:
                    strong = abs(table[row, column]) > 0.6
                    left.text(column, row, f"{table[row, column]:.2f}".replace("-", "−"), ha="center", va="center",
                              fontsize=9, color="white" if strong else INK)  # fmt: skip
    limit = evidence.plan.thresholds.get("vif", 10.0) if evidence.plan else 10.0
    values = [factors[name] or np.nan for name in names]
    right.barh(range(size), np.minimum(values, 2 * limit), color=[VERMILION if v > limit else BLUE for v in values],
               height=0.6)  # fmt: skip
    right.axvline(limit, color=MUTED, linestyle=(0, (4, 3)), linewidth=1.2)
    right.set_xlabel("variance inflation")
    horizontal(right)
    known = [name for name in names if factors[name] is not None]
    worst = max(known, key=lambda name: factors[name] or 0.0) if known else names[0]
    return Drawing(
        figure,
        f"Left: correlations (blue negative, orange positive). Right: variance inflation factors with the limit of "
        f"{limit:g}; collinear covariates widen intervals and bias nothing.",
        f"The largest variance inflation factor is that of {label(worst)}: {number(factors[worst] or float('nan'))}.",
    )


def numeric(column: pd.Series) -> Floats:
    """Return a column as numbers, NaN where it is none."""
    if column.dtype == bool:
        return np.asarray(column, dtype=np.float64)
    return np.asarray(
        pd.to_numeric(column, errors="coerce").astype("Float64").to_numpy(dtype=np.float64, na_value=np.nan)
    )


def _roles(evidence: Evidence) -> tuple[str, str]:
    treatment, outcome = evidence.question.treatment, evidence.question.outcome
    if treatment is None or outcome is None:
        raise NotApplicable("treatment and outcome are not settled")
    return treatment, outcome


def _arms(column: pd.Series) -> dict[str, NDArray[np.bool_]]:
    """Return the rows of the two arms by their level, the lower level first."""
    codes, levels = pd.factorize(column, sort=True)
    if len(levels) != 2:
        raise NotApplicable(f"needs a treatment of two levels, there are {len(levels)}")
    return {str(level): np.asarray(codes == code) for code, level in enumerate(levels)}


def _rates(values: Floats, arms: dict[str, NDArray[np.bool_]], *, treatment: str, outcome: str) -> Drawing:
    """Draw how often a two-valued outcome has its higher value in each arm."""
    high = float(np.nanmax(values))
    shares = [float((values[member] == high).mean()) for member in arms.values()]
    figure, axes = sheet(1.7)
    axes.barh(range(2), [100 * s for s in shares], color=[CONTROL, TREATED], height=0.6)
    for row, share in enumerate(shares):
        axes.text(100 * share, row, f" {100 * share:.1f} %", va="center", fontsize=10)
    listed(axes, [f"{label(treatment, 18)} = {label(level, 14)}" for level in arms])
    axes.set_xlim(0, min(115.0, max(5.0, 125 * max(shares))))
    axes.set_xlabel(f"per cent with {label(outcome)} = {number(high)}")
    words = "; ".join(f"{label(level)}: {share:.1%}" for level, share in zip(arms, shares, strict=True))
    return Drawing(figure, "Share with the outcome in each arm as observed, without adjustment.", words)


def _correlation(x: Floats, y: Floats) -> float:
    known = np.isfinite(x) & np.isfinite(y)
    if known.sum() < 10 or x[known].std() == 0 or y[known].std() == 0:
        return 0.0
    return float(np.corrcoef(x[known], y[known])[0, 1])


def _scatter(axes: Any, x: Floats, y: Floats, arms: dict[str, NDArray[np.bool_]]) -> None:
    known = np.isfinite(x) & np.isfinite(y)
    for member, colour in zip(arms.values(), (CONTROL, TREATED), strict=True):
        rows = np.flatnonzero(known & member)
        if not len(rows):
            continue
        some = rows[:: -(-len(rows) // MOST_POINTS)]
        axes.plot(x[some], y[some], ".", color=colour, markersize=3, alpha=0.25, rasterized=True)
        order = rows[np.argsort(x[rows], kind="stable")]
        groups = [g for g in np.array_split(order, min(GROUPS, max(1, len(order) // 25))) if len(g)]
        axes.plot([x[g].mean() for g in groups], [y[g].mean() for g in groups], color=colour, linewidth=2)
    plain(axes)
    plain(axes, "y")
    axes.locator_params(axis="x", nbins=4)


def _scaled(values: Floats) -> Floats | None:
    known = values[np.isfinite(values)]
    if len(np.unique(known)) <= 2:
        return None
    low, high = np.quantile(known, [0.25, 0.75])
    if high <= low:
        return None
    centred: Floats = (known - (low + high) / 2) / (high - low)
    return centred


def _table(correlations: Any, names: list[str]) -> Floats:
    """Return the symmetric table of correlations, NaN where one was not computed or kept."""
    place = {name: i for i, name in enumerate(names)}
    table = np.full((len(names), len(names)), np.nan)
    np.fill_diagonal(table, 1.0)
    for a, row in correlations.items():
        for b, value in row.items():
            if a in place and b in place:
                table[place[a], place[b]] = table[place[b], place[a]] = value
    return table

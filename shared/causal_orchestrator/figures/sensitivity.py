"""Figures of the attempts to break the headline."""

from __future__ import annotations

from typing import Any

import numpy as np

from causal_orchestrator.errors import NotApplicable
from causal_orchestrator.figures.canvas import (
    BLUE,
    GREEN,
    INK,
    MUTED,
    SKY,
    VERMILION,
    Drawing,
    listed,
    number,
    plain,
    sheet,
)
from causal_orchestrator.figures.evidence import Evidence, label
from causal_orchestrator.results import SensitivityResult

DASHED = (0, (4, 3))
MOST_LABELS = 6
REFUTERS = ("random_common_cause", "data_subset", "bootstrap")


def e_value_curve(evidence: Evidence) -> Drawing:
    """Draw the pairs of confounding strengths that together would explain the estimate away."""
    found = _result(evidence, "e_value")
    curve = found.details.get("curve") or ()
    if not curve or found.value is None:
        raise NotApplicable("the E-value has no curve")
    x, y = np.array(curve, dtype=float).T
    top = 3.2 * found.value
    figure, axes = sheet(3.2)
    shown_part = (x <= top) & (y <= top)
    axes.fill_between(x[shown_part], y[shown_part], top, color=SKY, alpha=0.25, linewidth=0)
    axes.plot(x[shown_part], y[shown_part], color=BLUE)
    axes.plot([found.value], [found.value], "D", color=VERMILION, markersize=8)
    axes.annotate(f"E-value {found.value:.2f}", (found.value, found.value), (8, 8), textcoords="offset points")
    axes.set_xlim(1, top)
    axes.set_ylim(1, top)
    axes.set_xlabel("risk ratio of confounder and treatment")
    axes.set_ylabel("risk ratio of confounder and outcome")
    return Drawing(
        figure,
        "A confounder as strong as a point on the line would explain the estimate away; anything in the shaded area "
        "more than that.",
        found.interpretation,
    )


def e_value_magnitude(evidence: Evidence) -> Drawing:
    """Draw the E-values of estimate and interval beside the implied risk ratio."""
    found = _result(evidence, "e_value")
    ratio, limit = found.details.get("risk_ratio"), found.details.get("ci_limit")
    if found.value is None or not ratio:
        raise NotApplicable("there is no E-value")
    bars = [("implied risk ratio", max(ratio, 1 / ratio), MUTED), ("E-value of the estimate", found.value, BLUE)]
    if limit is not None:
        bars.append(("E-value of the interval", float(limit), GREEN))
    figure, axes = sheet(0.9 + 0.36 * len(bars))
    for row, (_, value, colour) in enumerate(bars):
        axes.barh(row, value - 1, left=1, color=colour, height=0.55)
        axes.text(value, row, f" {value:.2f}", va="center", fontsize=10)
    listed(axes, [name for name, _, _ in bars])
    axes.set_xlim(1, 1 + 1.2 * max(0.2, max(value for _, value, _ in bars) - 1))
    axes.set_xlabel("risk ratio (1 is no association)")
    return Drawing(
        figure,
        "How strong a hidden confounder must be, beside the effect itself; 1 means that none is needed.",
        "; ".join(f"{name} {value:.2f}" for name, value, _ in bars),
    )


def contours(evidence: Evidence) -> Drawing:
    """Draw the estimate that would be left under a confounder of given strength (Cinelli and Hazlett)."""
    found = _result(evidence, "robustness_value")
    grid = found.details.get("contours") or {}
    if not grid.get("estimate"):
        raise NotApplicable("no contours of confounding were computed")
    x, y = np.array(grid["r2_treatment"]), np.array(grid["r2_outcome"])
    z = np.array(grid["estimate"], dtype=float)
    figure, axes = sheet(3.6)
    lines = axes.contour(x, y, z, levels=8, colors="#7aa6c4", linewidths=1, linestyles="solid")
    axes.clabel(lines, fmt=number, fontsize=9)
    if np.nanmin(z) < 0 < np.nanmax(z):
        axes.contour(x, y, z, levels=[0.0], colors=VERMILION, linewidths=1.8, linestyles="dashed")
    bounds = [b for b in found.details.get("bounds", ()) if b.get("multiple") == 1]
    bounds.sort(key=lambda b: -b["r2_treatment"] * b["r2_outcome"])
    for bound in bounds[:MOST_LABELS]:
        axes.plot([bound["r2_treatment"]], [bound["r2_outcome"]], "o", color=INK, markersize=5)
    for place, bound in enumerate(bounds[:3]):
        axes.annotate(label(bound["covariate"], 18), (bound["r2_treatment"], bound["r2_outcome"]), (6, 4 + 12 * place),
                      textcoords="offset points", fontsize=10)  # fmt: skip
    axes.set_xlabel("share of the treatment explained by the confounder")
    axes.set_ylabel("share of the outcome explained")
    axes.grid(visible=False)
    return Drawing(
        figure,
        "Lines join confounders that would leave the same estimate; on the dashed one nothing would be left. Points "
        "are confounders as strong as the covariates named beside them.",
        found.interpretation,
    )


def rosenbaum(evidence: Evidence) -> Drawing:
    """Draw the p-value bounds over the odds of hidden bias in matched pairs."""
    found = _result(evidence, "rosenbaum_bounds")
    gammas, p_values = _bounds(found.details)
    if len(gammas) < 2:
        raise NotApplicable("no bounds over hidden bias were computed")
    figure, axes = sheet(2.7)
    axes.plot(gammas, p_values, color=BLUE)
    axes.axhline(0.05, color=VERMILION, linestyle=DASHED, linewidth=1.2)
    axes.set_ylim(0, min(1.0, 1.1 * max([0.1, *p_values])))
    axes.set_xlabel("odds of treatment between matched units, at most (Γ)")
    axes.set_ylabel("largest p-value")
    return Drawing(
        figure,
        "How far hidden bias may make two matched units differ in their odds of treatment before the finding could be "
        "chance; dashed is 0.05.",
        found.interpretation,
    )


def placebo(evidence: Evidence) -> Drawing:
    """Draw the effects of permuted treatments and, against them, the estimate."""
    found = _result(evidence, "placebo_treatment")
    histogram = found.details.get("histogram") or {}
    edges, counts, estimate = histogram.get("edges"), histogram.get("counts"), found.details.get("estimate")
    if not edges or not counts or estimate is None:
        raise NotApplicable("no distribution of placebo effects was kept")
    figure, axes = sheet(2.6)
    axes.bar(edges[:-1], counts, np.diff(edges), align="edge", color="#a9c9df", edgecolor="white")
    axes.axvline(estimate, color=VERMILION, linewidth=2)
    axes.annotate("estimate", (estimate, max(counts)), (-6, 0), textcoords="offset points", color=VERMILION, ha="right",
                  va="top")  # fmt: skip
    axes.axvline(0, color=INK, linewidth=0.9)
    axes.set_xlabel("effect of a treatment assigned by chance")
    axes.set_ylabel("draws")
    axes.locator_params(axis="x", nbins=6)
    plain(axes)
    return Drawing(
        figure,
        f"Effects found for {found.details.get('draws', sum(counts))} random reassignments of the treatment, and the "
        "estimate against them.",
        found.interpretation,
    )


def refuters(evidence: Evidence) -> Drawing:
    """Draw where the estimate lies when covariates are added, rows dropped or drawn again."""
    found = [
        r for r in (evidence.sensitivity(name) for name in REFUTERS) if r is not None and r.details.get("quantiles")
    ]
    primary = evidence.primary
    if not found or primary is None or primary.estimate is None:
        raise NotApplicable("no refuter kept the distribution of its estimates")
    figure, axes = sheet(1.0 + 0.36 * len(found))
    for row, result in enumerate(found):
        _quantile_bar(axes, row, result)
    axes.axvline(primary.estimate, color=VERMILION, linewidth=1.4, linestyle=DASHED)
    if min(0.0, primary.estimate) <= 0 <= max(0.0, primary.estimate):
        axes.axvline(0, color=INK, linewidth=0.9)
    listed(axes, [r.method.replace("_", " ") for r in found])
    axes.set_xlabel("estimate")
    axes.locator_params(axis="x", nbins=6)
    plain(axes)
    return Drawing(
        figure,
        "The middle half (thick) and 95% (thin) of the estimates over each refuter's draws; dashed is the headline.",
        "; ".join(f"{r.method.replace('_', ' ')}: {'held' if r.passed else 'did not hold'}" for r in found),
    )


def falsification(evidence: Evidence) -> Drawing:
    """Draw the effects on outcomes that the treatment cannot have moved, against the band of the plan (HON-3)."""
    found = _result(evidence, "placebo_outcomes")
    rows = [r for r in found.details.get("rows", ()) if r.get("standardized") is not None]
    if not rows:
        raise NotApplicable("there is no placebo outcome")
    band = float(found.details.get("band", 0.1))
    figure, axes = sheet(1.0 + 0.36 * len(rows))
    axes.axvspan(-band, band, color=GREEN, alpha=0.13, linewidth=0)
    for place, row in enumerate(rows):
        colour = BLUE if row.get("inside") else VERMILION
        axes.plot([row["standardized_lower"], row["standardized_upper"]], [place, place], color=colour, linewidth=2.4)
        axes.plot([row["standardized"]], [place], "o", color=colour, markeredgecolor="white", markersize=8)
    axes.axvline(0, color=INK, linewidth=0.9)
    listed(axes, [label(str(row["name"])) for row in rows])
    axes.set_xlabel("effect on the placebo outcome, in its standard deviations")
    return Drawing(
        figure,
        f"A placebo passes only if its whole interval lies within ±{band:g} standard deviations (shaded).",
        found.interpretation,
    )


def _result(evidence: Evidence, *methods: str) -> SensitivityResult:
    found = evidence.sensitivity(*methods)
    if found is None:
        raise NotApplicable(f"{methods[0].replace('_', ' ')} was not computed")
    return found


def _quantile_bar(axes: Any, row: int, result: SensitivityResult) -> None:
    at = {float(q): value for q, value in result.details["quantiles"].items()}
    colour = VERMILION if result.passed is False else BLUE
    axes.plot([at[0.025], at[0.975]], [row, row], color=colour, linewidth=2, solid_capstyle="round")
    axes.plot([at[0.25], at[0.75]], [row, row], color=colour, linewidth=7, solid_capstyle="butt", alpha=0.5)
    axes.plot([at[0.5]], [row], "o", color=colour, markeredgecolor="white", markersize=7)


def _bounds(details: Any) -> tuple[list[float], list[float]]:
    """Return odds and p-values, whether they are kept as a list of pairs or of rows."""
    table = details.get("bounds") or details.get("curve") or ()
    pairs = [
        (r.get("gamma"), r.get("p_value", r.get("p_upper"))) if isinstance(r, dict) else tuple(r)[:2] for r in table
    ]
    kept = [(float(g), float(p)) for g, p in pairs if g is not None and p is not None]
    return [g for g, _ in kept], [p for _, p in kept]

"""Figures of effects: what the methods say, and how it depends on choices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy import stats

from causal_orchestrator.errors import NotApplicable
from causal_orchestrator.figures.canvas import (
    BLUE,
    INK,
    SKY,
    VERMILION,
    Drawing,
    listed,
    number,
    plain,
    sheet,
)
from causal_orchestrator.figures.evidence import Evidence, label
from causal_orchestrator.results import Effect, EffectRow

MOST_ROWS = 30
EXPOSED = {
    "neither": "nobody treated",
    "neighbours": "neighbours alone",
    "own": "oneself alone",
    "both": "oneself and neighbours",
}
POLICIES = ("POLICY_VALUE", "POLICY_GAIN")  # no effects of the treatment; `policies.compared` shows them


def forest(evidence: Evidence) -> Drawing:
    """Draw every method's estimate with its interval, the primary first, estimands apart (HON-5)."""
    found = [e for e in (evidence.effects.effects if evidence.effects else ()) if e.status == "ok"]
    known = sorted(
        (e for e in found if e.estimate is not None and e.estimand not in POLICIES),
        key=lambda e: (e.role != "primary", e.estimand),
    )
    if not known:
        raise NotApplicable("no method produced an estimate")
    rows = [
        Row(
            f"{label(e.method.replace('_', ' '))} ({e.estimand})",
            e.estimate,
            e.ci_lower,
            e.ci_upper,
            e.role == "primary",
        )
        for e in known[:MOST_ROWS]
    ]
    figure = _rows(rows, _unit(evidence))
    level = known[0].confidence_level
    return Drawing(
        figure,
        f"Estimates with {level:.0%} intervals; the pre-declared primary method stands first, in orange. Different "
        "estimands answer different questions and are not to be averaged.",
        "; ".join(f"{e.method} ({e.estimand}) {number(e.estimate or 0.0)}" for e in known),
    )


def distribution(evidence: Evidence) -> Drawing:
    """Draw the sampling distribution that estimate and standard error imply, with the interval."""
    primary = evidence.primary
    if primary is None or primary.estimate is None or not primary.std_error:
        raise NotApplicable("the primary has no standard error")
    centre, spread = primary.estimate, primary.std_error
    x = np.linspace(centre - 4 * spread, centre + 4 * spread, 241)
    density = stats.norm.pdf(x, centre, spread)
    figure, axes = sheet(2.5)
    axes.fill_between(x, density, color=SKY, alpha=0.25, linewidth=0)
    if primary.ci_lower is not None and primary.ci_upper is not None:
        inside = (x >= primary.ci_lower) & (x <= primary.ci_upper)
        axes.fill_between(x[inside], density[inside], color=BLUE, alpha=0.55, linewidth=0)
    axes.axvline(centre, color=INK, linewidth=1.4)
    axes.axvline(0, color=VERMILION, linewidth=1.4, linestyle=(0, (4, 3)))
    axes.set_yticks([])
    axes.set_xlabel(_unit(evidence))
    axes.spines["left"].set_visible(False)
    plain(axes)
    return Drawing(
        figure,
        f"The estimate's approximate sampling distribution; dark is the {primary.confidence_level:.0%} interval, "
        "dashed is no effect.",
        f"Estimate {number(centre)} with standard error {number(spread)}.",
    )


def specification_curve(evidence: Evidence) -> Drawing:
    """Draw the estimates over methods and adjustment sets, in order of size (SEL-3)."""
    primary = evidence.primary
    rows = evidence.effects.specification_curve if evidence.effects else ()
    table = [row for row in rows if _value(row) is not None and _comparable(row, primary)]
    if len(table) < 3:
        raise NotApplicable("needs three specifications or more")
    table.sort(key=lambda row: (_value(row) or 0.0, str(row.get("method"))))
    figure, axes = sheet(2.8)
    for place, row in enumerate(table):
        low, high = row.get("ci_lower"), row.get("ci_upper")
        if low is not None and high is not None:
            axes.plot([place, place], [low, high], color="#a9c9df", linewidth=max(1.2, min(6.0, 120 / len(table))))
    axes.plot(range(len(table)), [_value(row) for row in table], "o", color=BLUE, markersize=4.5)
    axes.axhline(0, color=INK, linewidth=0.9)
    if primary is not None and primary.estimate is not None:
        axes.axhline(primary.estimate, color=VERMILION, linewidth=1.2, linestyle=(0, (4, 3)))
    axes.set_xticks([])
    axes.set_xlabel(f"{len(table)} specifications, by size of the estimate")
    axes.set_ylabel("effect")
    plain(axes, "y")
    values = [_value(row) or 0.0 for row in table]
    same = np.mean(np.sign(values) == np.sign(np.median(values)))
    return Drawing(
        figure,
        f"Estimates under other defensible choices; dashed is the headline. {same:.0%} have the sign of the median.",
        f"Estimates range from {number(min(values))} to {number(max(values))}.",
    )


def individual(evidence: Evidence) -> Drawing:
    """Draw how the estimated effects of single units are spread."""
    found = evidence.effects.heterogeneity if evidence.effects else {}
    histogram = found.get("histogram") or (found.get("cate") or {}).get("histogram") or {}
    edges, counts = histogram.get("edges"), histogram.get("counts")
    if not edges or not counts:
        raise NotApplicable("no method estimated effects of single units")
    figure, axes = sheet(2.6)
    widths = np.diff(edges)
    axes.bar(edges[:-1], np.array(counts) * widths.min() / widths, widths, align="edge", color=BLUE, edgecolor="white")
    axes.axvline(0, color=VERMILION, linewidth=1.4, linestyle=(0, (4, 3)))
    axes.set_xlabel(_unit(evidence))
    axes.set_ylabel(f"units per {number(widths.min())}")  # bars of few units were joined: their areas compare
    plain(axes)
    return Drawing(
        figure,
        "Estimated effects given the covariates; their spread mixes true differences with noise. Areas stand for units.",
        f"{sum(counts)} effects between {number(edges[0])} and {number(edges[-1])}.",
    )


def subgroups(evidence: Evidence) -> Drawing:
    """Draw the effects in subgroups."""
    found = [row for row in _effect_rows(evidence) if row.subgroup is not None and row.estimate is not None]
    table = (evidence.effects.heterogeneity.get("subgroups") if evidence.effects else None) or ()
    rows = [Row(label(str(r.subgroup)), r.estimate, r.ci_lower, r.ci_upper) for r in found]
    rows += [
        Row(label(str(r.get("subgroup", r.get("term", ""))), 34), r["estimate"], r.get("ci_lower"), r.get("ci_upper"))
        for r in table
        if r.get("estimate") is not None
    ]
    if not rows:
        raise NotApplicable("no effects in subgroups were estimated")
    rows = rows[:MOST_ROWS]
    return Drawing(
        _rows(rows, _unit(evidence)),
        "Effects in subgroups; each interval is its own or, where the results say so, holds for all together.",
        "; ".join(f"{row.name} {number(row.estimate or 0.0)}" for row in rows),
    )


def quantiles(evidence: Evidence) -> Drawing:
    """Draw the effects on the outcome's quantiles."""
    return _curve(
        evidence,
        "quantile",
        missing="no effects on quantiles were estimated",
        across="quantile of the outcome",
        caption="Differences between the arms' quantiles of the outcome, with intervals.",
    )


def dose_response(evidence: Evidence) -> Drawing:
    """Draw the effect of each dose."""
    return _curve(
        evidence,
        "dose",
        missing="no dose-response curve was estimated",
        across=f"dose of {label(evidence.question.treatment or 'the treatment')}",
        caption="The response to each dose, with intervals.",
    )


def event_study(evidence: Evidence) -> Drawing:
    """Draw the effects by time since treatment; before it there should be none."""
    drawing = _curve(
        evidence,
        "event_time",
        missing="no effects by time since treatment were estimated",
        across="periods since treatment",
        caption="Effects by time since treatment, with intervals; left of the dashed line there should be none.",
    )
    drawing.figure.axes[0].axvline(-0.5, color=VERMILION, linewidth=1.2, linestyle=(0, (4, 3)))
    return drawing


def over_time(evidence: Evidence) -> Drawing:
    """Draw the effect at each time after treatment began."""
    return _curve(
        evidence,
        "time",
        missing="no effects by time were estimated",
        across=label(evidence.question.time or "time"),
        caption="The effect at each time under treatment, with intervals.",
    )


def exposures(evidence: Evidence) -> Drawing:
    """Draw the mean outcome under each exposure to treatment, one's own and one's neighbours'."""
    effects = evidence.effects.effects if evidence.effects else ()
    found = next((e.details["exposures"] for e in effects if e.status == "ok" and "exposures" in e.details), None)
    if not found:
        raise NotApplicable("no exposures on a network were compared")
    rows = [
        Row(f"{EXPOSED.get(each['exposure'], each['exposure'])} ({each['n']})", each["mean"], *_around(each))
        for each in found
    ]
    return Drawing(
        _rows(rows, f"mean of {label(evidence.question.outcome or 'the outcome')}"),
        "Mean outcome of units in each exposure, weighted by how improbable it was, with 95% intervals; in brackets how "
        "many units.",
        "; ".join(f"{row.name} {number(row.estimate or 0.0)}" for row in rows),
    )


def _around(each: Mapping[str, Any]) -> tuple[float, float]:
    margin = float(stats.norm.ppf(0.975)) * float(each["std_error"])
    return each["mean"] - margin, each["mean"] + margin


def _curve(
    evidence: Evidence,
    along: Literal["quantile", "dose", "event_time", "time"],
    *,
    missing: str,
    across: str,
    caption: str,
) -> Drawing:
    """Draw the first method's rows that have a value of `along`, with a band."""
    rows: list[EffectRow] = []
    for effect in evidence.effects.effects if evidence.effects else ():
        found = [r for r in effect.rows if getattr(r, along) is not None and r.estimate is not None and r.group is None]
        # Of several event studies the one that shows what was before, too.
        longer = along == "event_time" and len(found) > len(rows)
        rows = found if effect.status == "ok" and (not rows or longer) else rows
    if len(rows) < 2:
        raise NotApplicable(missing)
    rows = sorted(rows, key=lambda r: getattr(r, along))
    x = [float(getattr(r, along)) for r in rows]
    figure, axes = sheet(2.7)
    if all(r.ci_lower is not None and r.ci_upper is not None for r in rows):
        axes.fill_between(x, [r.ci_lower or 0.0 for r in rows], [r.ci_upper or 0.0 for r in rows], color=SKY, alpha=0.3)
    axes.plot(x, [r.estimate or 0.0 for r in rows], "o-", color=BLUE, markersize=5)
    axes.axhline(0, color=INK, linewidth=0.9)
    axes.set_xlabel(across)
    axes.set_ylabel("effect")
    plain(axes)
    plain(axes, "y")
    said = "; ".join(f"{at:g}: {number(r.estimate or 0.0)}" for at, r in zip(x, rows, strict=True))
    return Drawing(figure, caption, said)


@dataclass(frozen=True)
class Row:
    """One row of a forest plot."""

    name: str
    estimate: float | None
    lower: float | None
    upper: float | None
    headline: bool = False


def _rows(rows: Sequence[Row], unit: str) -> Any:
    figure, axes = sheet(1.0 + 0.36 * len(rows))
    for place, row in enumerate(rows):
        colour = VERMILION if row.headline else BLUE
        if row.lower is not None and row.upper is not None:
            axes.plot([row.lower, row.upper], [place, place], color=colour, linewidth=2.4, solid_capstyle="round")
        axes.plot([row.estimate], [place], "D" if row.headline else "o", color=colour, markeredgecolor="white",
                  markersize=8)  # fmt: skip
    axes.axvline(0, color=INK, linewidth=0.9)
    listed(axes, [row.name for row in rows])
    axes.set_xlabel(unit)
    axes.locator_params(axis="x", nbins=6)
    plain(axes)
    return figure


def _effect_rows(evidence: Evidence) -> list[EffectRow]:
    return [row for e in (evidence.effects.effects if evidence.effects else ()) if e.status == "ok" for row in e.rows]


def _unit(evidence: Evidence) -> str:
    return f"effect on {label(evidence.question.outcome or 'the outcome')}"


def _comparable(row: Mapping[str, Any], primary: Effect | None) -> bool:
    """Estimands are never compared as if they were one thing (HON-5)."""
    return primary is None or row.get("estimand") in (None, primary.estimand)


def _value(row: Any) -> float | None:
    value = row.get("estimate")
    return float(value) if isinstance(value, int | float) else None

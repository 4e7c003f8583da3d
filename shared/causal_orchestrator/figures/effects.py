"""Figures of effects: what the methods say, and how it depends on choices."""

from __future__ import annotations

from causal_orchestrator.errors import NotApplicable
from causal_orchestrator.figures.canvas import BLUE, INK, MUTED, VERMILION, Drawing, Evidence, horizontal, plain, sheet
from causal_orchestrator.figures.evidence import label
from causal_orchestrator.results import Effect


def forest(evidence: Evidence) -> Drawing:
    """Draw every method's estimate with its interval, one group for each estimand (HON-5)."""
    found = [e for e in (evidence.effects.effects if evidence.effects else ()) if e.estimate is not None]
    shown_effects = [e for e in found if e.status == "ok"]
    if not shown_effects:
        raise NotApplicable("no method produced an estimate")
    shown_effects.sort(key=lambda e: (e.role != "primary", e.estimand))
    figure, axes = sheet(1.1 + 0.34 * len(shown_effects))
    for row, effect in enumerate(shown_effects):
        _interval(axes, row, effect)
    axes.axvline(0, color=INK, linewidth=0.9)
    names = [f"{label(e.method)} ({e.estimand})" for e in shown_effects]
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlabel(f"effect on {label(evidence.question.outcome or 'the outcome')}, in its own units")
    plain(axes)
    horizontal(axes)
    level = shown_effects[0].confidence_level
    return Drawing(
        figure,
        f"Estimates with {level:.0%} intervals; the pre-declared primary method is drawn in orange and first. "
        "Different estimands answer different questions and are not to be averaged.",
        "; ".join(f"{e.method} ({e.estimand}) {e.estimate:.4g}" for e in shown_effects),
    )


def _interval(axes: object, row: int, effect: Effect) -> None:
    colour = VERMILION if effect.role == "primary" else BLUE
    if effect.ci_lower is not None and effect.ci_upper is not None:
        axes.plot([effect.ci_lower, effect.ci_upper], [row, row], color=colour, linewidth=2.2)  # type: ignore[attr-defined]
    marker = "D" if effect.role == "primary" else "o"
    axes.plot([effect.estimate], [row], marker, color=colour, markeredgecolor="white", markersize=7)  # type: ignore[attr-defined]
    _ = MUTED

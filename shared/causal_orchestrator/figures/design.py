"""Figures of the design: can the arms be compared."""

from __future__ import annotations

from causal_orchestrator.errors import NotApplicable
from causal_orchestrator.figures.canvas import (
    BLUE,
    CONTROL,
    MUTED,
    TREATED,
    VERMILION,
    Drawing,
    Evidence,
    horizontal,
    sheet,
)
from causal_orchestrator.figures.evidence import label

MOST_ROWS = 30


def balance(evidence: Evidence) -> Drawing:
    """Draw each covariate's standardised difference between the arms (Love plot)."""
    rows = evidence.exploration.balance if evidence.exploration else ()
    known = sorted((b for b in rows if b.smd is not None), key=lambda b: -abs(b.smd or 0.0))[:MOST_ROWS]
    if not known:
        raise NotApplicable("no covariate has a standardised difference")
    threshold = evidence.plan.thresholds.get("smd", 0.1) if evidence.plan else 0.1
    figure, axes = sheet(1.2 + 0.28 * len(known))
    for row, entry in enumerate(known):
        axes.plot([abs(entry.smd or 0.0)], [row], "o", color=BLUE, markersize=7)
    axes.axvline(threshold, color=VERMILION, linestyle=(0, (4, 3)), linewidth=1.2)
    axes.axvline(0, color=MUTED, linewidth=0.8)
    axes.set_yticks(range(len(known)), [label(entry.covariate) for entry in known])
    axes.invert_yaxis()
    axes.set_xlabel("absolute standardised mean difference")
    horizontal(axes)
    worst = known[0]
    return Drawing(
        figure,
        f"Differences between the arms in pooled standard deviations; the dashed line is the limit of {threshold:g}.",
        f"The largest difference is that of {label(worst.covariate)} with {abs(worst.smd or 0.0):.3f}.",
    )


def overlap(evidence: Evidence) -> Drawing:
    """Draw the estimated propensities of both arms, mirrored."""
    histogram = evidence.propensity.histogram if evidence.propensity else {}
    edges, treated, control = (histogram.get(key) for key in ("edges", "treated", "control"))
    if not edges or treated is None or control is None:
        raise NotApplicable("no histogram of propensities was made")
    figure, axes = sheet(3.0)
    widths = [right - left for left, right in zip(edges, edges[1:], strict=False)]
    axes.bar(edges[:-1], treated, widths, align="edge", color=TREATED, alpha=0.85, label="treated", edgecolor="white")
    axes.bar(edges[:-1], [-c for c in control], widths, align="edge", color=CONTROL, alpha=0.85, label="control",
             edgecolor="white")  # fmt: skip
    axes.axhline(0, color=MUTED, linewidth=0.8)
    axes.set_xlim(0, 1)
    axes.set_xlabel("estimated probability of treatment")
    axes.set_ylabel("units (control below)")
    axes.yaxis.set_major_formatter(lambda value, _: f"{abs(value):,.0f}")
    axes.legend(loc="upper right")
    share = evidence.propensity.overlap if evidence.propensity else None
    words = "" if share is None else f" {share:.0%} of the target population lies between 0.05 and 0.95."
    return Drawing(
        figure,
        f"Where the two halves cover the same range, like can be compared with like.{words}",
        f"Histogram of propensities, treated above and control below.{words}",
    )

"""Figures that sum the analysis up."""

from __future__ import annotations

import numpy as np

from causal_orchestrator.errors import NotApplicable
from causal_orchestrator.figures.canvas import BLUE, GRID, INK, MUTED, WIDTH, Drawing
from causal_orchestrator.figures.evidence import Evidence, label

LEAST = 3


def radar(evidence: Evidence) -> Drawing:
    """Draw the critique's scores around a circle, one spoke each."""
    from matplotlib.figure import Figure

    scores = evidence.critique.scores if evidence.critique else {}
    names = sorted(scores)
    if len(names) < LEAST:
        raise NotApplicable("needs three scores or more")
    values = [min(1.0, max(0.0, scores[name])) for name in names]
    angles = np.linspace(0, 2 * np.pi, len(names), endpoint=False)
    figure = Figure(figsize=(WIDTH, 4.0), layout="constrained")
    axes = figure.add_subplot(projection="polar")
    around = [*angles, angles[0]]
    axes.plot(around, [*values, values[0]], color=BLUE)
    axes.fill(around, [*values, values[0]], color=BLUE, alpha=0.2)
    axes.set_theta_offset(np.pi / 2)  # type: ignore[attr-defined]
    axes.set_theta_direction(-1)  # type: ignore[attr-defined]
    axes.set_ylim(0, 1)
    axes.set_yticks([0.25, 0.5, 0.75, 1.0], ["", "0.5", "", "1"], color=MUTED, fontsize=8)
    axes.set_xticks(angles, [f"{label(n.replace('_', ' '))}\n{v:.2f}" for n, v in zip(names, values, strict=True)])
    axes.tick_params(axis="x", pad=26, colors=INK)
    axes.spines["polar"].set_color(GRID)
    return Drawing(
        figure,
        "Scores of the critique between 0 and 1; they describe the analysis and do not enter the verdict.",
        "; ".join(f"{label(n.replace('_', ' '))} {v:.2f}" for n, v in zip(names, values, strict=True)),
    )

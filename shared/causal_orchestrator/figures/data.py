"""Figures of the data as they came."""

from __future__ import annotations

import numpy as np

from causal_orchestrator.errors import NotApplicable
from causal_orchestrator.figures.canvas import CONTROL, TREATED, Drawing, Evidence, plain, sheet
from causal_orchestrator.figures.evidence import label


def outcome_by_arm(evidence: Evidence) -> Drawing:
    """Draw the outcome's distribution in each arm."""
    treatment, outcome = evidence.question.treatment, evidence.question.outcome
    if treatment is None or outcome is None:
        raise NotApplicable("treatment and outcome are not settled")
    data = evidence.read([treatment, outcome]).dropna()
    values = data[outcome].to_numpy(float)
    levels = sorted(data[treatment].unique())
    if len(levels) != 2:
        raise NotApplicable("the treatment does not have two levels")
    bins = np.histogram_bin_edges(values, bins=min(40, max(10, int(np.sqrt(len(values))))))
    figure, axes = sheet(3.0)
    for level, colour in zip(levels, (CONTROL, TREATED), strict=True):
        arm = values[(data[treatment] == level).to_numpy()]
        axes.hist(arm, bins=bins, density=True, color=colour, alpha=0.5, label=f"{label(treatment)} = {level}")
        axes.axvline(float(arm.mean()), color=colour, linewidth=1.6, linestyle=(0, (4, 2)))
    axes.set_xlabel(label(outcome))
    axes.set_ylabel("density")
    axes.set_yticks([])
    plain(axes)
    axes.legend(loc="upper right")
    return Drawing(
        figure,
        "Distribution of the outcome in each arm as observed, without adjustment; dashed lines are the arms' means.",
        f"Histograms of {label(outcome)} in the two arms of {label(treatment)}.",
    )

"""Figure of the three systems of outcome models that a consensus is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from causal_orchestrator.errors import NotApplicable
from causal_orchestrator.figures.canvas import BLUE, CONTROL, GREEN, INK, MUTED, PURPLE, TREATED, Drawing, number, sheet
from causal_orchestrator.figures.canvas import plain as numbered
from causal_orchestrator.figures.evidence import Evidence

COLOURS = (BLUE, GREEN, PURPLE)


def compared(evidence: Evidence) -> Drawing:
    """Draw in five panels where three outcome models agree: averages, outcomes, single units, ranks, and fit."""
    effects = evidence.effects.effects if evidence.effects else ()
    found = next((e.details for e in effects if e.status == "ok" and "compared" in e.details), None)
    if not found:
        raise NotApplicable("no consensus of counterfactual systems was estimated")
    systems, told = found["systems"], found["compared"]
    names = list(systems)
    figure, axes = sheet(6.6, rows=3, columns=2)
    _averages(axes[0, 0], names, systems, found["agreement"]["mean"])
    _outcomes(axes[0, 1], names, told["means"])
    _units(axes[1, 0], names, told["quantiles"])
    _together(axes[1, 1], names, told["together"])
    _fit(axes[2, 0], names, told["fit"])
    axes[2, 1].set_axis_off()
    level = found["agreement"]["level"]
    axes[2, 1].text(0.5, 0.5, f"agreement: {level}\n(spread of {found['agreement']['relative_standard_deviation']:.3f} SD)", ha="center", va="center", transform=axes[2, 1].transAxes)  # fmt: skip
    said = "; ".join(f"{name} {number(systems[name])} (fit {told['fit'][name]:.2f})" for name in names)
    return Drawing(
        figure,
        "Three outcome models on the same covariates, each predicting rows that it did not see; outcomes without treatment are "
        "round, with it square, bars are the share of variance predicted within the arms. Where the models agree, the "
        "answer does not hang on the model; a confounder that all of them lack is in all of them.",
        f"Average effects: {said}. Agreement is {level}.",
    )


def _rows(axes: Any, names: Sequence[str], title: str) -> None:
    axes.set_title(title)
    axes.set_yticks(range(len(names)), [name.replace(" ", "\n") for name in names])
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    axes.locator_params(axis="x", nbins=4)
    numbered(axes)


def _averages(axes: Any, names: Sequence[str], systems: Mapping[str, float], mean: float) -> None:
    axes.axvline(mean, color=MUTED, linewidth=1.2, linestyle=(0, (4, 3)))
    for place, (name, colour) in enumerate(zip(names, COLOURS, strict=True)):
        axes.plot([systems[name]], [place], "o", color=colour, markersize=9, markeredgecolor="white")
    _rows(axes, names, "average effect")
    axes.margins(x=0.15)


def _outcomes(axes: Any, names: Sequence[str], means: Mapping[str, Sequence[float]]) -> None:
    for place, name in enumerate(names):
        control, treated = means[name]
        axes.plot([control, treated], [place, place], color="#b8c0c8", linewidth=2)
        axes.plot([control], [place], "o", color=CONTROL, markersize=8, markeredgecolor="white")
        axes.plot([treated], [place], "D", color=TREATED, markersize=7, markeredgecolor="white")
    _rows(axes, names, "mean outcomes")
    axes.margins(x=0.15)


def _units(axes: Any, names: Sequence[str], quantiles: Mapping[str, Sequence[float]]) -> None:
    axes.axvline(0, color=INK, linewidth=0.9)
    for place, (name, colour) in enumerate(zip(names, COLOURS, strict=True)):
        low, first, middle, third, high = quantiles[name]
        axes.plot([low, high], [place, place], color=colour, linewidth=1.6)
        axes.plot([first, third], [place, place], color=colour, linewidth=7, alpha=0.5, solid_capstyle="butt")
        axes.plot([middle], [place], "o", color=colour, markersize=6, markeredgecolor="white")
    _rows(axes, names, "effects of single units")


def _together(axes: Any, names: Sequence[str], together: Sequence[Sequence[float]] | None) -> None:
    axes.set_title("do they go together?")
    axes.grid(visible=False)
    if together is None:
        axes.set_axis_off()
        axes.text(0.5, 0.5, "one effect for all", ha="center", va="center", color=MUTED, transform=axes.transAxes)
        return
    values = np.array(together)
    axes.imshow(values, cmap="RdBu", vmin=-1, vmax=1, aspect="auto")
    for i, row in enumerate(values):
        for j, value in enumerate(row):
            axes.text(j, i, f"{value:.2f}", ha="center", va="center", fontsize=10, color="white" if abs(value) > 0.6 else INK)  # fmt: skip
    short = [name.split()[0] for name in names]
    axes.set_xticks(range(len(names)), short, fontsize=9)
    axes.set_yticks(range(len(names)), short, fontsize=9)


def _fit(axes: Any, names: Sequence[str], fit: Mapping[str, float]) -> None:
    axes.barh(range(len(names)), [fit[name] for name in names], color=COLOURS, height=0.6)
    axes.axvline(0, color=INK, linewidth=0.9)
    _rows(axes, names, "variance predicted")

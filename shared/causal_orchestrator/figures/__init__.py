"""The figures: what exists, what each needs and who draws it (product section 14).

A figure is a function ``draw(evidence) -> Drawing`` and one line in ``FIGURES``. This module is light.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from causal_orchestrator.figures.canvas import Drawing
    from causal_orchestrator.figures.evidence import Evidence

Section = Literal["data", "design", "effects", "heterogeneity", "sensitivity", "graph", "summary"]


@dataclass(frozen=True)
class Spec:
    """Where a kind of figure belongs, who draws it and which records (fields of Evidence) it needs."""

    section: Section
    title: str
    function: str
    needs: tuple[str, ...] = ()


FIGURES: dict[str, Spec] = {
    "effect_forest": Spec("effects", "What each method says", "effects.forest", ("effects",)),
    "covariate_balance": Spec("design", "How alike the arms are", "design.balance", ("exploration",)),
    "propensity_overlap": Spec("design", "Overlap of the arms", "design.overlap", ("propensity",)),
    "outcome_by_arm": Spec("data", "The outcome in each arm", "data.outcome_by_arm", ("plan",)),
}


def load(spec: Spec) -> Callable[[Evidence], Drawing]:
    """Import the figure's module, now and not before, and return its function."""
    module, function = spec.function.split(".")
    draw: Callable[[Evidence], Drawing] = getattr(importlib.import_module(f"{__name__}.{module}"), function)
    return draw

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
    """Where a kind of figure belongs, who draws it, and which records (fields of Evidence) and roles it needs.

    A kind without a `function` is known and not drawn yet.
    """

    section: Section
    title: str
    function: str = ""
    needs: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()


FIGURES: dict[str, Spec] = {
    "outcome_by_arm": Spec("data", "The outcome in each arm", "data.outcome_by_arm", ("plan",)),
    "covariate_outcome": Spec("data", "Covariates and the outcome", "data.covariate_outcome", ("plan",)),
    "missingness": Spec("data", "What is missing", "data.missingness", ("snapshot",)),
    "outliers": Spec("data", "Values far from the rest", "data.outliers", ("plan",)),
    "collinearity": Spec("data", "How covariates hang together", "data.collinearity", ("exploration",)),
    "covariate_balance": Spec("design", "How alike the arms are", "design.balance", ("exploration",)),
    "propensity_overlap": Spec("design", "Where the arms overlap", "design.overlap", ("propensity",)),
    "propensity_calibration": Spec("design", "Is the propensity right?", "design.calibration", ("propensity",)),
    "propensity_balance": Spec("design", "Balance before and after weighting", "design.weighted_balance", ("propensity",)),
    "residuals": Spec("design", "Residuals of the linear model", "design.residuals", ("plan", "effects")),
    "effect_forest": Spec("effects", "What each method says", "effects.forest", ("effects",)),
    "effect_distribution": Spec("effects", "How sure the estimate is", "effects.distribution", ("effects",)),
    "specification_curve": Spec("effects", "Does it depend on choices?", "effects.specification_curve", ("effects",)),
    "cate_distribution": Spec("heterogeneity", "Effects of single units", "effects.individual", ("effects",)),
    "subgroup_forest": Spec("heterogeneity", "Effects in subgroups", "effects.subgroups", ("effects",)),
    "quantile_effects": Spec("heterogeneity", "Effects along the outcome", "effects.quantiles", ("effects",)),
    "e_value_curve": Spec("sensitivity", "Confounding that would explain the effect", "sensitivity.e_value_curve", ("sensitivities",)),
    "e_value_magnitude": Spec("sensitivity", "The E-value in proportion", "sensitivity.e_value_magnitude", ("sensitivities",)),
    "confounding_contours": Spec("sensitivity", "What a hidden confounder would do", "sensitivity.contours", ("sensitivities",)),
    "rosenbaum_bounds": Spec("sensitivity", "Hidden bias in matched pairs", "sensitivity.rosenbaum", ("sensitivities",)),
    "placebo_distribution": Spec("sensitivity", "Against effects by chance", "sensitivity.placebo", ("sensitivities",)),
    "refuters": Spec("sensitivity", "Does the estimate stay where it is?", "sensitivity.refuters", ("sensitivities",)),
    "falsification": Spec("sensitivity", "Outcomes that cannot have moved", "sensitivity.falsification", ("sensitivities",)),
    "causal_graph": Spec("graph", "The causal graph", "graph.causal_graph", ("graph",)),
    "quality_radar": Spec("summary", "Scores of the critique", "summary.radar", ("critique",)),
    "parallel_trends": Spec("design", "Trends before treatment", "designs.parallel_trends", ("plan",), ("time", "unit")),
    "event_study": Spec("effects", "Before and after treatment", "effects.event_study", ("effects",)),
    "panel_series": Spec("data", "Series over time", "designs.panel_series", ("plan",), ("time",)),
    "rd_plot": Spec("effects", "The jump at the cutoff", "designs.rd_plot", roles=("running_variable", "cutoff")),
    "rd_density": Spec("design", "Density at the cutoff", "designs.rd_density", roles=("running_variable", "cutoff")),
    "rd_bandwidth": Spec("sensitivity", "Sensitivity to the bandwidth", "designs.rd_bandwidth", roles=("running_variable", "cutoff")),
    "first_stage": Spec("design", "First stage", "designs.first_stage", ("plan",), ("instruments",)),
    "synthetic_control_path": Spec("effects", "Treated unit and its synthetic control", "designs.synthetic_control_path", ("effects",), ("time", "unit")),
    "synthetic_control_gaps": Spec("sensitivity", "Placebo gaps", "designs.synthetic_control_gaps", ("effects",), ("time", "unit")),
    "interrupted_series": Spec("effects", "Interrupted time series", "designs.interrupted_series", ("plan",), ("time",)),
    "honest_did": Spec("sensitivity", "Bounds under diverging trends", "designs.honest_did", ("sensitivities",), ("time", "unit")),
    "uplift_curve": Spec("heterogeneity", "Uplift curve", "policies.uplift", ("effects",)),
    "policy_tree": Spec("heterogeneity", "Whom to treat", "policies.tree", ("effects",)),
    "cate_shap": Spec("heterogeneity", "What the effect goes by", "drivers.cate_shap", ("effects",)),
    "dose_response": Spec("effects", "Dose and response", "effects.dose_response", ("effects",)),
    "cate_surface": Spec("heterogeneity", "Effect over two covariates", "policies.surface", ("effects",)),
    "cate_landscape": Spec("heterogeneity", "Landscape of effects", "policies.landscape", ("effects",)),
    "driver_ranking": Spec("graph", "Causes and predictors", "drivers.ranking", ("graph", "plan")),
    "spillover_graph": Spec("graph", "Spillover graph", "spillover.graph", roles=("network",)),
    "spillover_exposure": Spec("effects", "Spillover by exposure", "effects.exposures", ("effects",), ("network",)),
    "net_benefit": Spec("summary", "Net benefit", "policies.net_benefit", ("effects",), ("cost",)),
    "policy_matrix": Spec("summary", "Policies compared", "policies.compared", ("effects",)),
    "counterfactual_systems": Spec("summary", "Counterfactual systems compared", "systems.compared", ("effects",)),
    "effect_over_time": Spec("effects", "Effect over time", "effects.over_time", ("effects",), ("time",)),
    "spillover_spread": Spec("graph", "Spread of spillovers", "spillover.spread", ("sensitivities",), ("network",)),
}  # fmt: skip


def load(spec: Spec) -> Callable[[Evidence], Drawing]:
    """Import the figure's module, now and not before, and return its function."""
    module, function = spec.function.split(".")
    draw: Callable[[Evidence], Drawing] = getattr(importlib.import_module(f"{__name__}.{module}"), function)
    return draw


def lacking(spec: Spec, evidence: Evidence) -> str | None:
    """Return what a figure lacks here, in words, or None if it can be tried."""
    absent = [need for need in spec.needs if getattr(evidence, need) is None]
    absent += [role for role in spec.roles if getattr(evidence.question, role) in (None, ())]
    if absent:
        return f"needs {' and '.join(name.replace('_', ' ') for name in absent)}"
    return None if spec.function else "is not drawn in this version"

"""The sensitivity analyses: what exists, for which designs, and what each needs.

An analysis is a module with one public function ``analyse(problem, estimate, *, refit, seed, …) -> SensitivityResult``
and one line in ``SENSITIVITY``. This module is light (no science): the planner and the docs read the same table.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from causal_orchestrator.estimators import Situation
    from causal_orchestrator.results import SensitivityResult

CONFOUNDING = ("unconfoundedness",)
EXCHANGEABLE = ("randomized", "unconfoundedness")
WEIGHTED_DONORS = ("synthetic_control", "sdid")
PARALLEL = ("did", "event_study", "callaway_santanna", "did_imputation", "panel_matching")


@dataclass(frozen=True)
class Spec:
    """What an analysis declares about itself.

    `designs` are those whose key assumption it probes. `needs` are roles, "placebos" (outcomes that the treatment
    cannot move) or "missing_outcomes". `not_methods` are estimators of the headline that it says nothing about. `draws` is how many refits of
    drawn data its distribution takes (0: it draws nothing); `gate` says whether it can pass or fail at all.
    """

    module: str
    designs: tuple[str, ...]
    title: str
    needs: tuple[str, ...] = ()
    treatments: tuple[str, ...] = ("binary", "multivalued", "continuous")
    outcomes: tuple[str, ...] = ("continuous", "binary", "count")
    not_methods: tuple[str, ...] = ()
    draws: int = 0
    gate: bool = False


SENSITIVITY: dict[str, Spec] = {
    "e_value": Spec("e_value", CONFOUNDING, "E-value", treatments=("binary", "continuous")),
    "robustness_value": Spec("robustness_value", CONFOUNDING, "Robustness value (Cinelli-Hazlett)", needs=("covariates",), treatments=("binary", "continuous"), gate=True),
    "unobserved_common_cause": Spec("unobserved_common_cause", CONFOUNDING, "Tipping point of an unobserved common cause", needs=("covariates",), treatments=("binary", "continuous"), not_methods=("difference_in_means",)),
    "rosenbaum_bounds": Spec("rosenbaum_bounds", CONFOUNDING, "Rosenbaum bounds", needs=("covariates",), treatments=("binary",)),
    "oster": Spec("oster", CONFOUNDING, "Oster's delta", needs=("covariates",), treatments=("binary", "continuous"), outcomes=("continuous", "count")),
    "balance_test": Spec("balance_test", ("randomized",), "Omnibus balance test", needs=("covariates",), treatments=("binary",), gate=True),
    "attrition": Spec("attrition", EXCHANGEABLE, "Attrition and Lee bounds", needs=("missing_outcomes",), treatments=("binary",), gate=True),
    "interference": Spec("interference", EXCHANGEABLE, "Spillover within groups", needs=("cluster",), treatments=("binary",), gate=True),
    "placebo_treatment": Spec("placebo_treatment", EXCHANGEABLE, "Placebo treatment (permutation)", draws=100, gate=True),
    "random_common_cause": Spec("random_common_cause", EXCHANGEABLE, "Random common cause", needs=("covariates",), not_methods=("difference_in_means",), draws=10, gate=True),
    "data_subset": Spec("data_subset", EXCHANGEABLE, "Random subsets of the data", draws=20, gate=True),
    "bootstrap": Spec("bootstrap", EXCHANGEABLE, "Bootstrap of the headline", not_methods=("psm", "cem"), draws=30, gate=True),
    "manski_bounds": Spec("manski_bounds", CONFOUNDING, "Worst-case bounds", treatments=("binary",), outcomes=("binary",)),
    "placebo_outcomes": Spec("placebo_outcomes", (*EXCHANGEABLE, "panel", "instrument", "discontinuity"), "Placebo outcomes", needs=("placebos",), gate=True),
    "honest_did": Spec("honest_did", ("panel",), "Bounds where trends are not parallel (Rambachan-Roth)", not_methods=WEIGHTED_DONORS, gate=True),
    "donors": Spec("donors", ("panel",), "Donors left out and earlier starts", not_methods=PARALLEL, gate=True),
    "discontinuity": Spec("discontinuity", ("discontinuity",), "Other bandwidths and donuts", gate=True),
    "instrument": Spec("instrument", ("instrument",), "Weak and plausibly exogenous instruments", needs=("instruments",), gate=True),
    "instrument_confounding": Spec("instrument_confounding", ("instrument",), "Robustness value of the reduced form", needs=("instruments", "covariates"), gate=True),
    "instrument_validity": Spec("instrument_validity", ("instrument",), "Testable side of the instrument's assumptions", needs=("instruments",), treatments=("binary",), gate=True),
    "unobserved_moderator": Spec("unobserved_moderator", ("transport",), "Hidden moderator between source and target", needs=("covariates",), treatments=("binary",), gate=True),
    "exposure_mapping": Spec("exposure_mapping", ("network",), "Other exposures, and treatment further away", treatments=("binary",), gate=True),
    "proxies": Spec("proxies", ("proximal",), "Strength, absence and exclusion of the proxies", treatments=("binary", "continuous"), gate=True),
    "placebo_interruptions": Spec("placebo_interruptions", ("interrupted_time_series",), "Interruptions that never were", gate=True),
}  # fmt: skip


def missing(key: str, situation: Situation, method: str) -> str | None:
    """Return what the analysis lacks beside `method` in this situation, in words, or None if it can be run."""
    spec = SENSITIVITY[key]
    lacks = [role for role in spec.needs if role not in situation.roles]
    if situation.design not in spec.designs:
        return f"is for the design {' or '.join(spec.designs)}, not {situation.design}"
    if lacks:
        return f"needs {' and '.join(lacks)}"
    if situation.treatment_kind not in spec.treatments:
        return f"needs a {' or '.join(spec.treatments)} treatment, not a {situation.treatment_kind} one"
    if situation.outcome_kind not in spec.outcomes:
        return f"needs a {' or '.join(spec.outcomes)} outcome, not a {situation.outcome_kind} one"
    if method in spec.not_methods:
        return f"does not apply beside {method}"
    return None


def load(key: str) -> Callable[..., SensitivityResult]:
    """Import the analysis's module, now and not before, and return its function."""
    function: Callable[..., SensitivityResult] = importlib.import_module(
        f"causal_orchestrator.sensitivity.{SENSITIVITY[key].module}"
    ).analyse
    return function

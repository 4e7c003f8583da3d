"""The methods: what exists, where it applies and what speaks for it.

An estimator is a module with one public function ``estimate(problem, *, options…) -> Estimate`` and one line in
``ESTIMATORS``. This module is light (no science): the planner, ``causal methods`` and the docs read the same table.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args, get_type_hints

from pydantic import TypeAdapter, ValidationError

from causal_orchestrator.errors import InputError, NotApplicable

if TYPE_CHECKING:
    from causal_orchestrator.problem import Estimate, Problem


@dataclass(frozen=True)
class Situation:
    """What is known before the freeze, as far as a method's applicability depends on it (aggregates only)."""

    design: str
    n: int
    n_covariates: int
    treatment_kind: Literal["binary", "multivalued", "continuous"]
    outcome_kind: Literal["continuous", "binary", "count", "categorical"]
    per_arm: tuple[int, ...] = ()
    roles: frozenset[str] = frozenset()
    overlap: float | None = None
    separated: bool = False
    estimand: str | None = None
    clustered: bool = False
    weighted: bool = False
    treated_units: int | None = None  # of a panel, where the treatment says so
    against_cutoff: float | None = None  # share of rows whose treatment the cutoff does not decide
    saturated: bool = False  # no covariates, or a cell for each of their values


# Reasons in words with a signed weight each; the sum over reasons orders the admissible methods.
Reasons = tuple[tuple[float, str], ...]


def _no_evidence(situation: Situation) -> Reasons:
    return ()


@dataclass(frozen=True)
class Spec:
    """What a method declares about itself.

    `needs` are roles (names of Question's fields). `credibility` in [0, 1] is what the method is worth where its
    assumptions hold; `evidence` adds what the situation says for or against it. `cost` is in units of one OLS fit.
    `assumes` are in words. `nuisances` says which of the shared fits it takes. `library` is what it cannot do
    without, which `extra` brings. A method that `combines` estimates of others runs where the plan's strategy is
    ``ensemble`` or a person names it, and is left out where methods are compared.
    """

    module: str
    estimands: tuple[str, ...]
    designs: tuple[str, ...]
    needs: tuple[str, ...] = ()
    treatments: tuple[str, ...] = ("binary",)
    outcomes: tuple[str, ...] = ("continuous", "binary", "count")
    min_per_arm: int = 10
    nuisances: Literal["none", "parametric", "learned"] = "none"
    cost: Callable[[int, int], float] = lambda n, p: 1.0
    assumes: tuple[str, ...] = ()
    evidence: Callable[[Situation], Reasons] = _no_evidence
    credibility: float = 0.5
    title: str = ""
    options: tuple[str, ...] = ()
    extra: str | None = None
    library: str | None = None
    clusters: bool = True
    weights: bool = True
    combines: bool = False


def _experiment(situation: Situation) -> Reasons:
    if situation.design == "randomized":
        return ((0.3, "the assignment is randomised: the arms differ by chance alone"),)
    return ((-0.4, "without randomisation nothing is adjusted for"),)


def _regression(situation: Situation) -> Reasons:
    if situation.design == "randomized":
        return ((0.25, "in an experiment covariates only sharpen the estimate"),)
    return ((-0.1, "one coefficient for everyone: a variance-weighted effect"),)


def _outcome_model(situation: Situation) -> Reasons:
    rich = situation.n >= 20 * max(situation.n_covariates, 1)
    rows = (0.05, "rows enough for a regression in each arm") if rich else (-0.2, "few rows per covariate in an arm")
    if situation.separated:
        return (rows, (-0.4, "somewhere one arm is all there is, and its regression is extrapolated to the other"))
    if situation.overlap is not None and situation.overlap < 0.8:
        return (
            rows,
            (-0.2, f"only {situation.overlap:.0%} of propensities lie in [0.05, 0.95]: beyond, it extrapolates"),
        )
    return (rows,)


def _needs_overlap(situation: Situation) -> Reasons:
    if situation.separated:
        return ((-0.6, "covariates predict the treatment perfectly somewhere"),)
    if situation.overlap is None:
        return ()
    if situation.overlap < 0.8:
        return ((-0.3, f"only {situation.overlap:.0%} of propensities lie in [0.05, 0.95]"),)
    return ((0.1, f"{situation.overlap:.0%} of propensities lie in [0.05, 0.95]"),)


def _survives_poor_overlap(situation: Situation) -> Reasons:
    if situation.overlap is not None and situation.overlap < 0.8:
        return ((0.15, "asks only about those whom both arms could have had"),)
    return ()


def _matching(situation: Situation) -> Reasons:
    crowded = ((-0.1, "matching is slow and noisy among so many rows"),) if situation.n > 200_000 else ()
    return (*_needs_overlap(situation), *crowded)


def _cells(situation: Situation) -> Reasons:
    if situation.n_covariates > 6:
        return ((-0.2, f"{situation.n_covariates} covariates make more cells than rows can fill"),)
    return _survives_poor_overlap(situation)


def _learns(situation: Situation) -> Reasons:
    few = ((-0.1, f"{situation.n} rows are few to learn nuisances from"),) if situation.n < 200 else ()
    return (*_needs_overlap(situation), (0.1, "right if either the outcome or the treatment is learned well"), *few)


def _dose(situation: Situation) -> Reasons:
    few = ((-0.1, f"{situation.n} rows are few for a curve"),) if situation.n < 200 else ()
    return ((0.1, "right if either the outcome or the density of the dose is learned well, whatever the curve"), *few)


def _discontinuity(situation: Situation) -> Reasons:
    few = ((-0.3, f"{situation.n} rows are few for a discontinuity"),) if situation.n < 200 else ()
    return ((0.25, "a rule at a cutoff decides the treatment"), *few)


def _sharp(situation: Situation) -> Reasons:
    if situation.against_cutoff:
        blurred = (-0.6, f"{situation.against_cutoff:.1%} of rows contradict the cutoff, which does not decide alone")
        return (*_discontinuity(situation), blurred)
    return _discontinuity(situation)


def _instrument(situation: Situation) -> Reasons:
    few = ((-0.2, f"{situation.n} rows are few for an instrument"),) if situation.n < 200 else ()
    return ((0.2, "an instrument moves the treatment apart from its hidden causes"), *few)


FEW_TREATED = 5  # units, below which their clustered errors say nothing


def _few_treated(situation: Situation) -> bool:
    return situation.treated_units is not None and situation.treated_units < FEW_TREATED


def _panel(situation: Situation) -> Reasons:
    known = ((0.1, "it is known when each unit began treatment"),) if "first_treated" in situation.roles else ()
    return (*known, *_clustered(situation))


def _clustered(situation: Situation) -> Reasons:
    if _few_treated(situation):
        return ((-0.5, f"errors cannot be clustered over {situation.treated_units} treated units"),)
    return ()


def _donors(situation: Situation) -> Reasons:
    known = ((0.1, "it is known when each unit began treatment"),) if "first_treated" in situation.roles else ()
    if _few_treated(situation):
        return (*known, (0.2, "made for few treated units among many that are not"))
    return known


def _one_treated(situation: Situation) -> Reasons:
    if situation.treated_units == 1:
        return (*_donors(situation), (0.1, "one unit is treated, and its course can be followed"))
    return _donors(situation)


def _fixed_effects(situation: Situation) -> Reasons:
    if "first_treated" in situation.roles:
        varied = (-0.2, "units may begin at different times, which two-way fixed effects do not bear")
        return (varied, *_clustered(situation))
    return _clustered(situation)


_UNCONFOUNDED = "no unmeasured confounding given the covariates"
_OVERLAP = "every unit could have had either treatment"
_INTERFERENCE = "no interference between units"
_TRENDS = ("parallel trends", "no anticipation")
_BOTH = ("randomized", "unconfoundedness")
_LEVELS = ("binary", "multivalued")
_CUTOFF = ("what else moves the outcome is continuous at the cutoff", "nobody chooses the side exactly", _INTERFERENCE)
_INSTRUMENT = ("the instruments are as good as random given the covariates", "they move the outcome through the treatment alone", "they move nobody's treatment against the others'", _INTERFERENCE)  # fmt: skip

ESTIMATORS: dict[str, Spec] = {
    "difference_in_means": Spec("difference_in_means", ("ATE",), ("randomized",), treatments=_LEVELS, cost=lambda n, p: 0.1, assumes=("assignment is random", _INTERFERENCE), evidence=_experiment, credibility=0.9, title="Difference in means", options=("se",)),
    "ols": Spec("ols", ("ATE", "SATE", "PLR"), _BOTH, treatments=(*_LEVELS, "continuous"), assumes=(_UNCONFOUNDED, "a linear model with one coefficient for everyone", _INTERFERENCE), evidence=_regression, credibility=0.6, title="Linear regression", options=("adjustment", "family", "se", "estimand", "linear")),
    "regression_adjustment": Spec("regression_adjustment", ("ATE", "ATT", "ATC"), _BOTH, needs=("covariates",), treatments=_LEVELS, nuisances="parametric", cost=lambda n, p: 2.0, assumes=(_UNCONFOUNDED, "a right outcome model in each arm", _INTERFERENCE), evidence=_outcome_model, credibility=0.65, title="Regression adjustment (g-computation)", options=("estimand", "family")),
    "stratification": Spec("stratification", ("ATE", "ATT", "ATC"), _BOTH, needs=("covariates",), nuisances="parametric", cost=lambda n, p: 3.0, assumes=(_UNCONFOUNDED, _OVERLAP, "little confounding is left within strata", _INTERFERENCE), evidence=_needs_overlap, credibility=0.45, title="Propensity stratification", options=("estimand", "strata")),
    "psm": Spec("psm", ("ATT", "ATE", "ATC"), _BOTH, needs=("covariates",), nuisances="parametric", cost=lambda n, p: 10.0 + n / 1e4, assumes=(_UNCONFOUNDED, _OVERLAP, "a right propensity model", _INTERFERENCE), evidence=_matching, credibility=0.5, title="Propensity-score matching", options=("estimand", "distance", "caliper", "replace", "ties", "ratio", "distance_tolerance", "bias_adjustment", "variance", "propensity", "kernel", "bandwidth"), clusters=False, weights=False),
    "ipw": Spec("ipw", ("ATE", "ATT", "ATC"), _BOTH, needs=("covariates",), treatments=_LEVELS, nuisances="parametric", cost=lambda n, p: 3.0, assumes=(_UNCONFOUNDED, _OVERLAP, "a right propensity model", _INTERFERENCE), evidence=_needs_overlap, credibility=0.55, title="Inverse-probability weighting", options=("estimand", "trim", "stabilized", "normalized", "propensity")),
    "overlap_weighting": Spec("overlap_weighting", ("ATO",), _BOTH, needs=("covariates",), treatments=_LEVELS, nuisances="parametric", cost=lambda n, p: 3.0, assumes=(_UNCONFOUNDED, "a right propensity model", _INTERFERENCE), evidence=_survives_poor_overlap, credibility=0.6, title="Overlap weighting", options=("trim", "stabilized", "normalized")),
    "aipw": Spec("aipw", ("ATE", "ATT", "ATC", "SATE", "SATT"), _BOTH, needs=("covariates",), treatments=_LEVELS, min_per_arm=20, nuisances="learned", cost=lambda n, p: 50.0, assumes=(_UNCONFOUNDED, _OVERLAP, "the outcome or the treatment is learned well", _INTERFERENCE), evidence=_learns, credibility=0.85, title="Augmented inverse-probability weighting (doubly robust)", options=("estimand", "learners", "folds", "repeats", "trim")),
    "double_ml": Spec("double_ml", ("PLR",), _BOTH, needs=("covariates",), treatments=(*_LEVELS, "continuous"), min_per_arm=20, nuisances="learned", cost=lambda n, p: 50.0, assumes=(_UNCONFOUNDED, "the effect is added to what covariates explain", _INTERFERENCE), evidence=_learns, credibility=0.75, title="Double machine learning (partially linear)", options=("learners", "folds", "repeats", "linear")),
    "entropy_balancing": Spec("entropy_balancing", ("ATT", "ATE", "ATC"), _BOTH, needs=("covariates",), treatments=_LEVELS, cost=lambda n, p: 10.0, assumes=(_UNCONFOUNDED, _OVERLAP, "the odds of treatment or the outcome follow the balanced moments", _INTERFERENCE), evidence=_needs_overlap, credibility=0.6, title="Entropy balancing", options=("estimand", "moments")),
    "cem": Spec("cem", ("ATT", "ATE", "ATC"), _BOTH, needs=("covariates",), cost=lambda n, p: 3.0, assumes=(_UNCONFOUNDED, "little confounding is left within cells of coarsened covariates", _INTERFERENCE), evidence=_cells, credibility=0.45, title="Coarsened exact matching", options=("estimand", "bins", "bias_adjustment"), clusters=False),
    "short_stack": Spec("short_stack", ("ATE", "ATT", "ATC"), _BOTH, needs=("covariates",), treatments=_LEVELS, min_per_arm=20, nuisances="learned", cost=lambda n, p: 100.0, assumes=(_UNCONFOUNDED, _OVERLAP, "the outcome or the treatment is learned well", _INTERFERENCE), evidence=_learns, credibility=0.84, title="Combination of doubly robust estimates, one per learner", options=("estimand", "learners", "folds", "repeats", "trim"), combines=True),
    "tmle": Spec("tmle", ("ATE", "ATT", "ATC", "SATE", "SATT"), _BOTH, needs=("covariates",), min_per_arm=20, nuisances="learned", cost=lambda n, p: 50.0, assumes=(_UNCONFOUNDED, _OVERLAP, "the outcome or the treatment is learned well", _INTERFERENCE), evidence=_learns, credibility=0.82, title="Targeted maximum likelihood", options=("estimand", "learners", "folds", "repeats", "trim")),
    "double_ml_irm": Spec("double_ml_irm", ("ATE", "ATT"), _BOTH, needs=("covariates",), treatments=_LEVELS, min_per_arm=20, nuisances="learned", cost=lambda n, p: 50.0, assumes=(_UNCONFOUNDED, _OVERLAP, "the outcome or the treatment is learned well", _INTERFERENCE), evidence=_learns, credibility=0.8, title="Double machine learning (interactive)", options=("estimand", "learners", "folds", "repeats", "trim")),
    "double_ml_iv": Spec("double_ml_iv", ("WLATE",), ("instrument",), needs=("instruments", "covariates"), treatments=("binary", "continuous"), min_per_arm=20, nuisances="learned", cost=lambda n, p: 60.0, assumes=(*_INSTRUMENT, "the effect is added to what covariates explain"), evidence=_instrument, credibility=0.57, title="Double machine learning with instruments (partially linear)", options=("learners", "folds", "repeats")),
    "double_ml_iivm": Spec("double_ml_iivm", ("LATE",), ("instrument",), needs=("instruments", "covariates"), min_per_arm=20, nuisances="learned", cost=lambda n, p: 100.0, assumes=(*_INSTRUMENT, "everyone could have met either value of the instrument"), evidence=_instrument, credibility=0.57, title="Double machine learning of the compliers' effect", options=("learners", "folds", "repeats", "trim")),
    "t_learner": Spec("t_learner", ("ATE",), _BOTH, needs=("covariates",), min_per_arm=20, nuisances="learned", cost=lambda n, p: 50.0, assumes=(_UNCONFOUNDED, _OVERLAP, "the outcome is learned well in each arm", _INTERFERENCE), evidence=_learns, credibility=0.55, title="T-learner (effect by row)", options=("learners", "folds", "repeats", "score")),
    "s_learner": Spec("s_learner", ("ATE",), _BOTH, needs=("covariates",), min_per_arm=20, nuisances="learned", cost=lambda n, p: 55.0, assumes=(_UNCONFOUNDED, _OVERLAP, "the outcome is learned well", _INTERFERENCE), evidence=_learns, credibility=0.5, title="S-learner (effect by row)", options=("learners", "folds", "repeats", "score")),
    "x_learner": Spec("x_learner", ("ATE",), _BOTH, needs=("covariates",), min_per_arm=20, nuisances="learned", cost=lambda n, p: 60.0, assumes=(_UNCONFOUNDED, _OVERLAP, "the outcome is learned well in the larger arm", _INTERFERENCE), evidence=_learns, credibility=0.57, title="X-learner (effect by row)", options=("learners", "folds", "repeats", "score")),
    "r_learner": Spec("r_learner", ("ATE",), _BOTH, needs=("covariates",), min_per_arm=20, nuisances="learned", cost=lambda n, p: 55.0, assumes=(_UNCONFOUNDED, _OVERLAP, "outcome and treatment are learned well", _INTERFERENCE), evidence=_learns, credibility=0.6, title="R-learner (effect by row)", options=("learners", "folds", "repeats", "score")),
    "dr_learner": Spec("dr_learner", ("ATE",), _BOTH, needs=("covariates",), min_per_arm=20, nuisances="learned", cost=lambda n, p: 55.0, assumes=(_UNCONFOUNDED, _OVERLAP, "the outcome or the treatment is learned well", _INTERFERENCE), evidence=_learns, credibility=0.6, title="DR-learner (effect by row)", options=("learners", "folds", "repeats", "score")),
    "causal_forest": Spec("causal_forest", ("ATE", "ATT", "ATC"), _BOTH, needs=("covariates",), min_per_arm=50, nuisances="learned", cost=lambda n, p: 5_000.0, assumes=(_UNCONFOUNDED, _OVERLAP, "the outcome or the treatment is learned well", _INTERFERENCE), evidence=_learns, credibility=0.7, title="Causal forest", options=("estimand", "trees", "learners", "folds", "repeats", "trim"), extra="methods", library="econml"),
    "bayesian_causal_forest": Spec("bayesian_causal_forest", ("ATE", "ATT", "ATC"), _BOTH, needs=("covariates",), outcomes=("continuous", "binary"), min_per_arm=50, nuisances="learned", cost=lambda n, p: 20_000.0, assumes=(_UNCONFOUNDED, _OVERLAP, "the outcome is learned well", _INTERFERENCE), evidence=_learns, credibility=0.65, title="Bayesian causal forest", options=("estimand", "draws", "warm", "learners", "folds", "repeats"), extra="methods", library="stochtree", clusters=False, weights=False),
    "off_policy": Spec("off_policy", ("POLICY_VALUE",), _BOTH, needs=("covariates", "policy"), treatments=_LEVELS, min_per_arm=20, nuisances="learned", cost=lambda n, p: 55.0, assumes=(_UNCONFOUNDED, _OVERLAP, "the outcome or the treatment is learned well", "the policy was not fitted to these outcomes", _INTERFERENCE), evidence=_learns, credibility=0.55, title="Value of a policy (off-policy evaluation)", options=("policy", "score", "depth", "budget", "learners", "folds", "repeats", "trim")),
    "policy_learning": Spec("policy_learning", ("POLICY_GAIN",), _BOTH, needs=("covariates",), treatments=_LEVELS, min_per_arm=50, nuisances="learned", cost=lambda n, p: 200.0, assumes=(_UNCONFOUNDED, _OVERLAP, "the outcome or the treatment is learned well", _INTERFERENCE), evidence=_learns, credibility=0.5, title="Whom to treat (policy tree)", options=("depth", "budget", "learners", "folds", "repeats", "trim")),
    "counterfactual_consensus": Spec("counterfactual_consensus", ("ATE",), _BOTH, needs=("covariates",), min_per_arm=20, cost=lambda n, p: 4_000.0, assumes=(_UNCONFOUNDED, "the outcome is learned well in each arm", _INTERFERENCE), evidence=_outcome_model, credibility=0.35, title="Consensus of counterfactual predictions", options=("folds",)),
    "iv_2sls": Spec("iv_2sls", ("LATE", "WLATE"), ("instrument",), needs=("instruments",), treatments=("binary", "continuous"), cost=lambda n, p: 3.0, assumes=_INSTRUMENT, evidence=_instrument, credibility=0.6, title="Two-stage least squares", options=("se",)),
    "iv_liml": Spec("iv_liml", ("LATE", "WLATE"), ("instrument",), needs=("instruments",), treatments=("binary", "continuous"), cost=lambda n, p: 3.0, assumes=_INSTRUMENT, evidence=_instrument, credibility=0.58, title="Limited-information maximum likelihood", options=("se", "fuller")),
    "iv_gmm": Spec("iv_gmm", ("LATE", "WLATE"), ("instrument",), needs=("instruments",), treatments=("binary", "continuous"), cost=lambda n, p: 3.0, assumes=_INSTRUMENT, evidence=_instrument, credibility=0.55, title="Two-step GMM with instruments", options=("se",)),
    "did": Spec("did", ("ATT",), ("panel",), needs=("time",), min_per_arm=1, cost=lambda n, p: 3.0, assumes=(*_TRENDS, "one effect for all cohorts and durations, where units start at different times", _INTERFERENCE), evidence=_fixed_effects, credibility=0.65, title="Difference in differences (two-way fixed effects)", options=("se",)),
    "event_study": Spec("event_study", ("ATT", "ATT_DYNAMIC"), ("panel",), needs=("unit", "time"), min_per_arm=1, cost=lambda n, p: 10.0, assumes=(*_TRENDS, _INTERFERENCE), evidence=_panel, credibility=0.7, title="Event study (saturated in cohorts)", options=("aggregation", "anticipation", "se")),
    "callaway_santanna": Spec("callaway_santanna", ("ATT", "ATT_DYNAMIC", "ATT_GROUP", "ATT_CALENDAR"), ("panel",), needs=("unit", "time"), min_per_arm=1, cost=lambda n, p: 20.0, assumes=("parallel trends given the covariates", "no anticipation", "cohorts and controls overlap in the covariates", _INTERFERENCE), evidence=_panel, credibility=0.8, title="Staggered difference in differences (Callaway–Sant'Anna)", options=("control_group", "base_period", "anticipation", "aggregation", "score")),
    "did_imputation": Spec("did_imputation", ("ATT", "ATT_DYNAMIC", "ATT_GROUP", "ATT_CALENDAR"), ("panel",), needs=("unit", "time"), min_per_arm=1, cost=lambda n, p: 5.0, assumes=(*_TRENDS, _INTERFERENCE), evidence=_panel, credibility=0.75, title="Imputation of untreated outcomes (Borusyak–Jaravel–Spiess)", options=("aggregation", "anticipation")),
    "rdd": Spec("rdd", ("LATE",), ("discontinuity",), needs=("running_variable", "cutoff"), cost=lambda n, p: 30.0 + 2 * p, assumes=_CUTOFF, evidence=_sharp, credibility=0.7, title="Regression discontinuity (sharp)", options=("bandwidth", "kernel", "polynomial", "bandwidth_rule", "donut", "covariate_adjusted"), weights=False),
    "rdd_fuzzy": Spec("rdd_fuzzy", ("LATE",), ("discontinuity",), needs=("running_variable", "cutoff"), cost=lambda n, p: 30.0 + 2 * p, treatments=("binary", "continuous"), assumes=(*_CUTOFF, "passing the cutoff moves nobody's treatment against the others'"), evidence=_discontinuity, credibility=0.6, title="Regression discontinuity (fuzzy)", options=("bandwidth", "kernel", "polynomial", "bandwidth_rule", "donut", "covariate_adjusted", "sharpbw"), weights=False),
    "mediation": Spec("mediation", ("ATE",), ("mediation",), needs=("mediators",), outcomes=("continuous", "binary"), cost=lambda n, p: 20.0 + n / 1e3, assumes=(_UNCONFOUNDED, "nothing unmeasured moves mediator and outcome", "right models of mediator and outcome", _INTERFERENCE), credibility=0.5, title="Causal mediation", options=("draws", "models")),
    "quantile_effects": Spec("quantile_effects", ("QTE",), _BOTH, needs=("covariates",), outcomes=("continuous", "count"), min_per_arm=30, nuisances="parametric", cost=lambda n, p: 600.0, assumes=(_UNCONFOUNDED, _OVERLAP, "a right propensity or a right outcome model", _INTERFERENCE), evidence=_needs_overlap, credibility=0.4, title="Quantile effects", options=("quantiles", "draws")),
    "dose_response": Spec("dose_response", ("AD",), _BOTH, needs=("covariates",), treatments=("continuous",), nuisances="learned", cost=lambda n, p: 60.0, assumes=(_UNCONFOUNDED, "every dose of the grid was possible for everyone", "the outcome or the density of the dose is learned well", "a curve without jumps", _INTERFERENCE), evidence=_dose, credibility=0.7, title="Dose and response", options=("grid", "method", "folds", "draws")),
    "sdid": Spec("sdid", ("ATT",), ("panel",), needs=("unit", "time"), min_per_arm=1, cost=lambda n, p: 100.0, assumes=("weighted controls would move like the treated", "no anticipation", _INTERFERENCE), evidence=_donors, credibility=0.7, title="Synthetic difference in differences", options=("inference",), weights=False),
    "panel_matching": Spec("panel_matching", ("ATT",), ("panel",), needs=("unit", "time"), min_per_arm=1, cost=lambda n, p: 200.0, assumes=("parallel trends among units with the same treatment history and like covariates", "no anticipation", _INTERFERENCE), evidence=_panel, credibility=0.55, title="Matching on treatment histories (Imai–Kim–Wang)", options=("lags", "leads", "refinement", "size", "lagged_outcome", "draws"), weights=False),
    "its": Spec("its", ("ATT",), ("interrupted_time_series",), needs=("time",), min_per_arm=3, cost=lambda n, p: 2.0, assumes=("the trend before would have gone on", "nothing else changed at the interruption"), credibility=0.5, title="Interrupted time series (segmented regression)", options=("interruption", "seasonality", "period", "lags", "family", "slope"), clusters=False, weights=False),
    "proximal": Spec("proximal", ("ATE",), ("proximal",), needs=("treatment_proxies", "outcome_proxies"), treatments=("binary", "continuous"), cost=lambda n, p: 4.0, assumes=("treatment proxies move the outcome only with the hidden confounder and the treatment", "the treatment does not move outcome proxies", "the proxies tell of every side of the hidden confounder", "the bridge between outcome and proxies has the form given", _INTERFERENCE), credibility=0.5, title="Proximal inference (proxies of a hidden confounder)", options=("bridge",)),
    "network": Spec("network", ("SATE",), ("network",), needs=("network", "unit"), cost=lambda n, p: 300.0, assumes=("the assignment was random as declared", "treatment reaches a unit from its neighbours alone, and by the exposure given"), credibility=0.7, title="Effects on a network (exposure mapping)", options=("exposure", "draws"), weights=False),
    "transportability": Spec("transportability", ("ATE",), ("transport",), needs=("population", "covariates"), nuisances="parametric", cost=lambda n, p: 8.0, assumes=("within the source the treatment is as good as random given the covariates", "nothing but the covariates makes effects differ between source and target", "every kind of target unit is found in the source", "a right model of participation or a right outcome model", _INTERFERENCE), credibility=0.6, title="Transport to a target population", options=("score", "normalized")),
    "bsts": Spec("bsts", ("ATT",), ("interrupted_time_series",), needs=("time",), min_per_arm=1, cost=lambda n, p: 1_000.0, assumes=("the series would have gone on as before, with the control series as before", "the interruption did not move the control series", "nothing else changed at the interruption"), credibility=0.55, title="Structural time-series forecast", options=("interruption", "seasonality", "period", "lags", "trend"), clusters=False, weights=False),
    "synthetic_control": Spec("synthetic_control", ("ATT",), ("panel",), needs=("unit", "time"), min_per_arm=1, cost=lambda n, p: 500.0, assumes=("a weighted mean of donors would have moved like the treated", "no anticipation", _INTERFERENCE), evidence=_one_treated, credibility=0.6, title="Synthetic control", options=("predictors", "fit_period", "variant", "rank", "placebo"), weights=False),
}  # fmt: skip

ALIASES = {
    "tvce": "double_ml", "ope": "double_ml_irm", "regression": "ols", "2sls": "iv_2sls", "iv": "iv_2sls", "rd": "rdd",
    "sc": "synthetic_control", "cate": "causal_forest",
}  # fmt: skip


# Names of options, and of their values, that other packages use.
OPTION_ALIASES = {
    "cov_type": "se", "vcov": "se", "vce": "se", "h": "bandwidth", "p": "polynomial", "bwselect": "bandwidth_rule",
    "est_method": "score", "n_folds": "folds", "n_rep": "repeats", "distance.tolerance": "distance_tolerance",
    "n_estimators": "trees", "num_trees": "trees", "num.trees": "trees", "n_trees": "trees", "n_neighbors": "ratio",
    "sims": "draws", "nboot": "draws", "n_boot": "draws", "n_bootstrap": "draws",
}  # fmt: skip
VALUE_ALIASES = {
    "robust": "hc1", "hetero": "hc1", "heteroskedastic": "hc1", "iid": "classical", "unadjusted": "classical",
    "nonrobust": "classical", "homoskedastic": "classical", "clustered": "cluster", "cr1": "cluster", "crv1": "cluster",
    "neyman": "welch", "nevertreated": "never_treated", "never": "never_treated",
    "notyettreated": "not_yet_treated", "notyet": "not_yet_treated", "tri": "triangular", "uni": "uniform",
    "rectangular": "uniform", "epa": "epanechnikov", "atet": "ATT", "atte": "ATT", "atu": "ATC", "atut": "ATC", "event": "dynamic",
}  # fmt: skip


def resolve(name: str) -> str:
    """Return the key of a method given by key or alias.

    Raises
    ------
    InputError
        If there is no such method (``METHOD_UNKNOWN``).
    """
    key = ALIASES.get(name, name)
    if key not in ESTIMATORS:
        raise InputError(
            f"there is no method {name!r}; there are {', '.join(sorted(ESTIMATORS))}", code="METHOD_UNKNOWN"
        )
    return key


def missing(key: str, situation: Situation) -> str | None:
    """Return what the method lacks in this situation, in words, or None if it is admissible."""
    spec = ESTIMATORS[key]
    lacks = [role for role in spec.needs if role not in situation.roles]
    if lacks:
        return f"needs {' and '.join(lacks)}"
    if situation.design not in spec.designs:
        return f"is for the design {' or '.join(spec.designs)}, not {situation.design}"
    if situation.treatment_kind not in spec.treatments:
        return f"needs a {' or '.join(spec.treatments)} treatment, not a {situation.treatment_kind} one"
    if situation.outcome_kind not in spec.outcomes:
        return f"needs a {' or '.join(spec.outcomes)} outcome, not a {situation.outcome_kind} one"
    if situation.per_arm and min(situation.per_arm) < spec.min_per_arm:
        return f"needs {spec.min_per_arm} units in each arm, the smallest has {min(situation.per_arm)}"
    if situation.estimand is not None and situation.estimand not in spec.estimands:
        return f"estimates {' or '.join(spec.estimands)}, not {situation.estimand}"
    if situation.weighted and not spec.weights:
        return "cannot use sampling weights"
    if spec.library is not None and importlib.util.find_spec(spec.library) is None:
        return f"needs {spec.library}; the extra `{spec.extra}` brings it"
    return None


def load(key: str) -> Callable[..., Estimate]:
    """Import the method's module, now and not before, and return its function."""
    function: Callable[..., Estimate] = importlib.import_module(
        f"causal_orchestrator.estimators.{ESTIMATORS[key].module}"
    ).estimate
    return function


def estimate(key: str, problem: Problem, **options: Any) -> Estimate:
    """Run one method on a problem; ``se="bootstrap"`` is an option of every method with an influence function.

    Options and their values may be spelled as other packages do (``cov_type="HC1"``, ``control_group="notyettreated"``).
    A treatment with few numeric levels is a number to methods that take numbers and no levels.

    Raises
    ------
    NotApplicable, DesignError, EstimationError
        As the method declares; also if the treatment's or the outcome's kind is not one that it can take.
    InputError
        If an option is unknown (``OPTION_UNKNOWN``) or its value is not one that the method takes
        (``OPTION_INVALID``).
    """
    name = resolve(key)
    function, spec = load(name), ESTIMATORS[name]
    if (
        problem.treatment_kind == "multivalued"
        and "multivalued" not in spec.treatments
        and "continuous" in spec.treatments
    ):
        problem = per_unit(problem)
    options = _common(name, problem, _named(name, function, options))
    for kind, taken, what in (
        (problem.treatment_kind, spec.treatments, "treatment"),
        (problem.outcome_kind, spec.outcomes, "outcome"),
    ):
        if kind not in taken:
            raise NotApplicable(
                f"{name} needs a {' or '.join(taken)} {what}, not a {kind} one", code=f"{what.upper()}_KIND"
            )
    if "covariates" in spec.needs and not problem.covariates.shape[1]:
        raise NotApplicable(f"{name} needs covariates", code="NEEDS_COVARIATES")
    if options.get("se") != "bootstrap":
        return function(problem, **_checked(name, function, options))
    from causal_orchestrator.problem import bootstrapped

    options.pop("se")
    found = function(problem, **_checked(name, function, options))
    return found if "bootstrap" in found.inference else bootstrapped(problem, found)


def _common(key: str, problem: Problem, options: Mapping[str, Any]) -> dict[str, Any]:
    """Take ``estimand`` and ``se`` of a method that has one of each: they may be said, and not be others.

    Raises
    ------
    NotApplicable
        If the method does not estimate the estimand (``ESTIMAND``).
    InputError
        If it does not have the standard error (``OPTION_INVALID``).
    """
    spec, left = ESTIMATORS[key], dict(options)
    wanted, error = left.get("estimand"), left.get("se")
    if wanted is not None and "estimand" not in spec.options:
        named = VALUE_ALIASES.get(str(wanted).lower(), str(wanted)).upper()
        if named not in spec.estimands:
            raise NotApplicable(f"{key} estimates {' or '.join(spec.estimands)}, not {str(wanted)[:64]!r}", code="ESTIMAND")  # fmt: skip
        left.pop("estimand")
    if error in (None, "bootstrap") or "se" in spec.options:
        return left
    word = VALUE_ALIASES.get(str(error).strip().lower(), str(error).strip().lower())
    if word != "cluster" or not spec.clusters or problem.cluster is None:
        having = ", ".join(other for other, its in ESTIMATORS.items() if "se" in its.options)
        own = " (`inference` names it)" + (
            ", se='bootstrap', or with a cluster column 'cluster'" if spec.clusters else ""
        )
        raise InputError(f"{key} has a standard error of its own{own}; se={str(error)[:64]!r} is for {having}", code="OPTION_INVALID", details={"option": "se"})  # fmt: skip
    left.pop("se")
    return left


def per_unit(problem: Problem) -> Problem:
    """Return the problem with a treatment of numeric levels as a number, so that its effect is per unit.

    Raises
    ------
    NotApplicable
        If a level is no number (``NEEDS_NUMBERS``).
    """
    if problem.treatment_kind == "continuous":
        return problem
    try:
        values = [float(level) for level in problem.treatment_levels]
    except ValueError as exc:
        raise NotApplicable("the levels of the treatment are no numbers, so there is no effect per unit", code="NEEDS_NUMBERS") from exc  # fmt: skip
    import numpy as np

    taken = np.array(values)[problem.treatment.astype(np.int64)]
    return problem.change(treatment=taken, treatment_kind="continuous", treatment_levels=())


def _named(key: str, function: Callable[..., Estimate], options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options by the names and values that the method has for them."""
    hints, named = get_type_hints(function), dict[str, Any]()
    for option, value in options.items():
        name = option if option in ESTIMATORS[key].options else OPTION_ALIASES.get(option, option)
        if name in named:
            raise InputError(f"{key}: option {name!r} is given twice", code="OPTION_INVALID", details={"option": name})
        named[name] = _several(name, _spelled(value, hints.get(name)))
    return named


def _several(name: str, value: Any) -> Any:
    """Take one learner, or one quantile, for a list of one."""
    alone = (name == "learners" and isinstance(value, str) and value != "parametric") or (
        name == "quantiles" and isinstance(value, int | float)
    )
    return (value,) if alone else value


def _spelled(value: Any, hint: Any) -> Any:
    if not isinstance(value, str):
        return value
    known = {text.lower(): text for text in _texts(hint)}
    word = value.strip().lower()
    return known.get(word) or known.get(VALUE_ALIASES.get(word, "").lower()) or value


def _texts(hint: Any) -> list[str]:
    """Return the texts that an annotation allows, those within unions among them."""
    return [text for part in get_args(hint) for text in ([part] if isinstance(part, str) else _texts(part))]


def choices(key: str, option: str) -> tuple[str, ...]:
    """Return the texts that an option of a method may be; none where it has no such option."""
    return tuple(_texts(get_type_hints(load(key)).get(option))) if option in ESTIMATORS[key].options else ()


def _checked(key: str, function: Callable[..., Estimate], options: Mapping[str, Any]) -> dict[str, Any]:
    """Check options against the function's annotations, as strictly as its types say."""
    hints = get_type_hints(function)
    checked = {}
    for option, value in options.items():
        if option not in ESTIMATORS[key].options:
            has = ", ".join(ESTIMATORS[key].options) or "none"
            raise InputError(f"{key} has no option {option!r}; it has {has}", code="OPTION_UNKNOWN", details={"option": option})  # fmt: skip
        try:
            checked[option] = TypeAdapter(hints[option]).validate_python(value)
        except ValidationError as exc:
            said = exc.errors(include_url=False, include_input=False)[0]["msg"]
            raise InputError(f"{key}: option {option!r}: {said}, found {str(value)[:64]!r}", code="OPTION_INVALID", details={"option": option}) from exc  # fmt: skip
    return checked

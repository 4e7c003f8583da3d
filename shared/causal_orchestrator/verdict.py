"""From gates to a verdict: whether the headline may be believed (HON-1, GATE-1).

The rules, fixed before any data set was looked at. Each gate has one effect: it refuses, it limits, or it is a note.

===================== ======================= ======================================================= ========
gate                  designs                 holds if                                                effect
===================== ======================= ======================================================= ========
identified            all                     the plan identifies the effect                          refuse
estimated             all                     the primary gave an estimate with an interval           refuse
overlap_minimum       unconfoundedness        at least half of the population that the question asks   refuse
                                              about has a propensity in [0.05, 0.95], and no covariate
                                              separates the arms (to narrow the estimand after overlap
                                              was seen answers another question)
placebo_refuted       unconfoundedness,       no placebo outcome moves by more than the band:          refuse
                      panel, instrument,      its whole interval lies outside ± `placebo_band` SD
                      discontinuity           (intervals widened by Holm's correction)
overlap               unconfoundedness        share with propensity in [0.05, 0.95] above `overlap`    limit
balance               unconfoundedness        largest |SMD| after adjustment below `smd`               limit
balance_randomized    randomized              the same before adjustment                              note
randomisation         randomized              omnibus balance test (Holm)                             limit
declared_randomised   not randomized          no declared randomisation was refuted by the data        limit
placebo_outcomes      unconfoundedness        every placebo outcome's interval lies inside the band,   limit
                                              and there is at least one
placebo_outcomes_rct  randomized              the same                                                note
placebo_refuted_rct   randomized              no placebo outcome differs between the arms (Holm)       limit
robustness            unconfoundedness        a confounder as strong as the strongest observed         limit
                                              covariate would change nothing; no gate where neither
                                              headline nor linear companion finds an effect
bad_controls          all                     no covariate of the primary is suspected to be           limit
                                              post-treatment, leaked or a collider (score >= 0.5)
labels                all                     no column that names the arms contradicts the treatment's     limit
                                              codes in a hundredth of the rows or more
refuters              all                     placebo treatment, subsets, bootstrap, random common     limit
                                              cause hold (Holm)
attrition             randomized,             outcomes are missing as often in both arms (Holm)       limit
                      unconfoundedness
interference          randomized,             the share of treated others in the group does not tell  limit
                      unconfoundedness        the outcome (Holm); not checked without groups of mixed
                                              treatment
clusters_minimum      all                     clustered errors rest on ten effective clusters or more  limit
clusters              all                     the same, forty                                          note
weights               unconfoundedness        the heaviest hundredth of an arm carries less than ten   note
                                              times its share of the weight
moments               unconfoundedness        squares and products of covariates are balanced by the   note
                                              primary's weights (|SMD| below `smd`, chance allowed for)
prognosis             unconfoundedness        a regression with squares and products finds less than    note
                                              half a standard error of difference between the weighted
                                              arms (chance allowed for; methods that learn apart)
agreement             unconfoundedness        no planned method of the same estimand differs (Holm) by limit
                                              more than `placebo_band` SD, or at all where it says
                                              otherwise of zero; errors of the difference where both
                                              have influence functions, and else as if independent;
                                              those that share score and nuisances count once
primary_choice        all                     the offline planner's primary says the same              limit
precision             all                     the interval excludes zero, or its half-width is at      limit
                                              most `precision` SD of the outcome (a precise zero)
assumptions_tested    all                     no check of the primary's own assumptions failed (Holm)  limit
credible_design       all                     the design's assumptions can be probed at all            limit
checked               all                     the sensitivity analysis ran                            limit
anderson_rubin        instrument              the Anderson-Rubin set is bounded and not empty                refuse
parallel_trends       panel, not with donors  the conclusion stands if trends part when treatment starts by    limit
                                              as much as they ever did before from one period to the next
                                              (Rambachan and Roth's M = 1: what happened may happen again),
                                              and if a linear difference in trends goes on; without a period
                                              before there is no evidence
pre_trend             panel, not with donors  no linear trend of the differences before treatment (Holm)       limit
donors                panel, with donors      no single donor carries half of the effect, no earlier start     limit
                                              shows half of it, and the gap before is at most 0.25 SD of the
                                              donors (a usual width for a match)
discontinuity         discontinuity           half the bandwidth and donuts say the same (Holm)                limit
weak_instrument       instrument              the Anderson-Rubin set says of zero what the interval says       limit
instrument_confounded instrument              a hidden cause of instrument and outcome as strong as the        limit
                                              strongest observed covariate would change nothing; no gate
                                              without covariates or without an effect
instrument_validity   instrument              treated and untreated with any outcome move the way the          limit
                                              instrument pushes (Holm)
unobserved_moderator  transport               a hidden difference between source and target that moves effects as        limit
                                              much as the strongest observed one would change nothing; no gate
                                              without a second covariate or without an effect
exposure_mapping      network                 treated units two or three steps away do nothing, nor turns the          limit
                                              direct effect round where more counts as exposure (Holm)
proxies               proximal                the proxies tell of each other (first-stage F of ten), and without       limit
                                              any one of them the effect is not turned round
placebo_interruptions interrupted time series no interruption before the true one is found (Holm)              limit
vif                   all                     largest variance inflation below `vif`                  note
===================== ======================= ======================================================= ========

A gate without its evidence is left open; where the table asks for the evidence ("there is at least one") its absence
limits. Randomisation is declared, never inferred: balance can only refute it. Sample-ratio mismatch is not tested,
since the intended ratio is not known. p-values of all gates of a job are judged together by Holm's method at
`familywise_alpha`. `answer` needs every refusing and limiting gate to hold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from statistics import NormalDist
from typing import Literal

from causal_orchestrator.question import shown
from causal_orchestrator.results import (
    Balance,
    Diagnostic,
    Effect,
    Effects,
    Exploration,
    Plan,
    PropensityDiagnostics,
    Sensitivities,
    SensitivityResult,
    Verdict,
    settled_sign,
)

# Limits that hold where the plan does not name its own.
THRESHOLDS: Mapping[str, float] = {
    "smd": 0.1,
    "vif": 10.0,
    "overlap": 0.8,
    "overlap_minimum": 0.5,
    "placebo_band": 0.1,
    "precision": 0.2,
    "familywise_alpha": 0.05,
    "suspicion": 0.5,
}
POWER = 0.8
EFFECTIVE_CLUSTERS = "effective clusters"
# Published simulations of CR1 with t(G - 1): close to its level from some forty clusters, far beyond it below ten.
FEWEST_CLUSTERS, ENOUGH_CLUSTERS = 10.0, 40.0
SPILLOVER = "Spillover within groups: "
REFUTERS = ("placebo_treatment", "random_common_cause", "data_subset", "bootstrap")
PROBED = ("randomized", "discontinuity", "instrument", "panel", "unconfoundedness")
QUASI = ("unconfoundedness", "panel", "instrument", "discontinuity")
WITH_DONORS = ("synthetic_control", "sdid")  # they do not rest on parallel trends
CONFOUNDED = ("unconfoundedness",)
RANDOMIZED = ("randomized",)
EXCHANGEABLE = ("randomized", "unconfoundedness")
PANEL, INSTRUMENT, CUTOFF = ("panel",), ("instrument",), ("discontinuity",)

Consequence = Literal["refuse", "limit", "note"]


@dataclass(frozen=True)
class Judgement:
    """The verdict and every gate that led to it."""

    verdict: Verdict
    diagnostics: tuple[Diagnostic, ...]


@dataclass(frozen=True)
class Evidence:
    """Everything that the gates may look at."""

    plan: Plan
    effects: Effects | None = None
    sensitivities: Sensitivities | None = None
    propensity: PropensityDiagnostics | None = None
    exploration: Exploration | None = None
    asked: str | None = None

    def limit(self, name: str) -> float:
        """Return the plan's threshold, or the default."""
        return float(self.plan.thresholds.get(name, THRESHOLDS[name]))

    def effect(self, method: str | None) -> Effect | None:
        """Return the planned effect of `method` that gave a number, or None."""
        found = self.effects.effects if self.effects else ()
        able = [e for e in found if e.method == method and e.status == "ok" and e.estimate is not None]
        return next((e for e in able if e.role != "exploratory"), next(iter(able), None))

    @property
    def primary(self) -> Effect | None:
        """The headline's effect."""
        return self.effect(self.plan.primary)

    def sensitivity(self, method: str) -> SensitivityResult | None:
        """Return the result of one sensitivity analysis that did not fail."""
        found = self.sensitivities.results if self.sensitivities else ()
        return next((r for r in found if r.method == method and r.error is None), None)


@dataclass(frozen=True)
class Reading:
    """What one gate measured; `passed` None with a `p_value` leaves the decision to Holm's method."""

    passed: bool | None
    detail: str
    value: float | None = None
    threshold: float | None = None
    p_value: float | None = None


@dataclass(frozen=True)
class Gate:
    """One gate: what it reads, for which designs (none named: all), and what a failure does."""

    name: str
    read: Callable[[Evidence], Reading | None]
    consequence: Consequence
    code: str
    help: str = ""
    designs: tuple[str, ...] = ()


def decide(
    plan: Plan,
    effects: Effects | None = None,
    sensitivities: Sensitivities | None = None,
    propensity: PropensityDiagnostics | None = None,
    exploration: Exploration | None = None,
    *,
    asked: str | None = None,
) -> Judgement:
    """Judge the headline by the table of gates above.

    Parameters
    ----------
    asked : the estimand that the person asked for, None for everyone's (ATE). Where ATO was asked for, poor overlap
        is no objection: that is the population in which both arms occur.

    Returns
    -------
    Judgement
        The verdict (`answer`, `limited` or `refuse`, with codes, reasons and what would help) and one diagnostic per
        gate that could be read.
    """
    evidence = Evidence(plan, effects, sensitivities, propensity, exploration, asked)
    readings = [(gate, reading) for gate in GATES if (reading := _read(gate, evidence)) is not None]
    judged = _holm(readings, evidence.limit("familywise_alpha"))
    diagnostics = tuple(
        Diagnostic(
            name=gate.name, value=reading.value, threshold=reading.threshold, passed=reading.passed,
            p_value=reading.p_value, detail=reading.detail,
        )
        for gate, reading in judged
    )  # fmt: skip
    return Judgement(verdict=_conclude(evidence, judged), diagnostics=diagnostics)


def sentence(verdict: Verdict) -> str:
    """Return the verdict in one sentence that no model writes."""
    if verdict.decision == "answer":
        return "Verdict: the question is answered; every gate that could limit it holds."
    if verdict.decision == "limited":
        limits = "; ".join(verdict.caps)
        return f"Verdict: the result is limited, and is to be read with its limits: {limits}."
    return f"Verdict: the question cannot be answered from these data: {'; '.join(verdict.reasons)}."


def minimum_detectable_effect(std_error: float, confidence_level: float) -> float:
    """Return the effect that a study with this standard error detects with 80 per cent power (two-sided test)."""
    normal = NormalDist()
    return (normal.inv_cdf(0.5 + confidence_level / 2) + normal.inv_cdf(POWER)) * std_error


# --- putting the gates together -----------------------------------------------------------------------------------


def _read(gate: Gate, evidence: Evidence) -> Reading | None:
    if gate.designs and evidence.plan.design not in gate.designs:
        return None
    # Where the plan identifies nothing, nothing was estimated and there is nothing further to judge.
    if gate.name != "identified" and not evidence.plan.identified:
        return None
    return gate.read(evidence)


def _holm(readings: list[tuple[Gate, Reading]], alpha: float) -> list[tuple[Gate, Reading]]:
    """Decide the gates that left it to their p-value, all together (Holm 1979)."""
    tested = sorted((r.p_value, i) for i, (_, r) in enumerate(readings) if r.passed is None and r.p_value is not None)
    failed: set[int] = set()
    for k, (p, i) in enumerate(tested):
        if p > alpha / (len(tested) - k):
            break
        failed.add(i)
    open_gates = {i for _, i in tested}
    return [
        (gate, Reading(i not in failed, r.detail, r.value, r.threshold, r.p_value) if i in open_gates else r)
        for i, (gate, r) in enumerate(readings)
    ]


def _conclude(evidence: Evidence, judged: list[tuple[Gate, Reading]]) -> Verdict:
    failed = [(gate, reading) for gate, reading in judged if reading.passed is False and gate.consequence != "note"]
    refusing = [(gate, reading) for gate, reading in failed if gate.consequence == "refuse"]
    limiting = [(gate, reading) for gate, reading in failed if gate.consequence == "limit"]
    decision: Literal["answer", "limited", "refuse"] = "refuse" if refusing else "limited" if limiting else "answer"
    detectable = _detectable(evidence)
    return Verdict(
        decision=decision,
        reasons=_reasons(evidence, decision, refusing),
        caps=tuple(reading.detail.rstrip(".") for _, reading in limiting),
        would_help=_would_help(evidence, failed, detectable),
        codes=tuple(dict.fromkeys((*_blocker_codes(evidence), *(gate.code for gate, _ in failed)))),
        minimum_detectable_effect=detectable,
        bounds=_bounds(evidence) if decision == "refuse" else None,
    )


def _blocker_codes(evidence: Evidence) -> tuple[str, ...]:
    return tuple(note.code for note in evidence.plan.blockers)


def _reasons(evidence: Evidence, decision: str, refusing: list[tuple[Gate, Reading]]) -> tuple[str, ...]:
    if decision != "refuse":
        return (f"the design is {evidence.plan.design}", *evidence.plan.reasons[:1])
    details = [reading.detail.rstrip(".") for _, reading in refusing]
    return tuple(dict.fromkeys(details))


def _would_help(evidence: Evidence, failed: list[tuple[Gate, Reading]], detectable: float | None) -> tuple[str, ...]:
    found = [*evidence.plan.would_help, *(gate.help for gate, _ in failed if gate.help)]
    needed = _sample_size(evidence, detectable)
    if needed is not None and any(gate.name == "precision" for gate, _ in failed):
        found.append(needed)
    return tuple(dict.fromkeys(found))


def _sample_size(evidence: Evidence, detectable: float | None) -> str | None:
    effect, spread = evidence.primary, _spread(evidence)
    if effect is None or effect.n is None or detectable is None or not spread:
        return None
    target = evidence.limit("precision") * spread
    needed = round(effect.n * (detectable / target) ** 2)
    return f"about {needed:,} rows would detect an effect of {evidence.limit('precision'):g} SD of the outcome"


def _detectable(evidence: Evidence) -> float | None:
    effect = evidence.primary
    if effect is None or effect.std_error is None:
        return None
    return minimum_detectable_effect(effect.std_error, effect.confidence_level)


def _bounds(evidence: Evidence) -> tuple[float, float] | None:
    result = evidence.sensitivity("manski_bounds")
    if result is None:
        return None
    return float(result.details["lower"]), float(result.details["upper"])


def _spread(evidence: Evidence) -> float | None:
    """Return the standard deviation of the outcome, as far as the effects tell it."""
    effects, primary = evidence.effects, evidence.primary
    for key in ("std", "sd"):
        if effects is not None and effects.outcome_scale.get(key):
            return float(effects.outcome_scale[key])
    if primary is not None and primary.standardized and primary.estimate:
        return abs(primary.estimate / primary.standardized)
    return None


# --- the gates ----------------------------------------------------------------------------------------------------


def _identified(evidence: Evidence) -> Reading:
    plan = evidence.plan
    why = "; ".join(note.message for note in plan.blockers) or "; ".join(plan.reasons) or "no design identifies it"
    return Reading(plan.identified, "the plan identifies the effect" if plan.identified else why)


def _estimated(evidence: Evidence) -> Reading:
    effect = evidence.primary
    if effect is None:
        return Reading(False, f"the primary method {evidence.plan.primary} gave no estimate")
    if effect.ci_lower is not None and effect.ci_upper is not None:
        return Reading(True, f"{effect.method} gave an estimate and an interval")
    if effect.p_value is not None:
        return Reading(True, f"{effect.method} gave an estimate and a test ({effect.inference})")
    return Reading(False, f"{effect.method} gave no interval")


def _overlap_minimum(evidence: Evidence) -> Reading | None:
    if evidence.propensity is not None and evidence.propensity.separated:
        return Reading(False, "covariates predict the treatment perfectly; like cannot be compared with like")
    return _overlap(evidence, name="overlap_minimum")


def _overlap(evidence: Evidence, *, name: str) -> Reading | None:
    share = evidence.propensity.overlap if evidence.propensity else None
    if share is None or evidence.asked == "ATO":
        return None
    threshold = evidence.limit(name)
    whom = evidence.asked or "ATE"
    detail = f"{share:.0%} of the {whom} population have a propensity in [0.05, 0.95]; {threshold:.0%} are asked for"
    return Reading(share >= threshold, detail, share, threshold)


def _balance(evidence: Evidence) -> Reading | None:
    entries = evidence.propensity.balance if evidence.propensity else ()
    return _largest(((b, b.smd_adjusted) for b in entries), evidence.limit("smd"), "after adjustment")


def _balance_randomized(evidence: Evidence) -> Reading | None:
    entries = evidence.exploration.balance if evidence.exploration else ()
    return _largest(((b, b.smd) for b in entries), evidence.limit("smd"), "between the arms")


def _largest(entries: Iterable[tuple[Balance, float | None]], threshold: float, when: str) -> Reading | None:
    known = [(abs(value), entry.covariate) for entry, value in entries if value is not None]
    if not known:
        return None
    value, name = max(known)
    detail = f"the largest standardised mean difference {when} is {value:.2f} ({shown(name)!r})"
    return Reading(value < threshold, detail, value, threshold)


def _randomisation(evidence: Evidence) -> Reading | None:
    result = evidence.sensitivity("balance_test")
    if result is None:
        return None
    p = float(result.details["p_value"])
    return Reading(None, f"covariates differ jointly between the arms with p = {p:.3g}", result.value, None, p)


def _declared_randomised(evidence: Evidence) -> Reading | None:
    if not evidence.plan.question.randomized and not any(
        note.code == "RANDOMISATION_REFUTED" for note in evidence.plan.warnings
    ):
        return None
    refuted = [note.message for note in evidence.plan.warnings if note.code == "RANDOMISATION_REFUTED"]
    return Reading(not refuted, refuted[0] if refuted else "the declared randomisation is not refuted")


def _placebo_outcomes(evidence: Evidence, *, required: bool) -> Reading | None:
    result = evidence.sensitivity("placebo_outcomes")
    if result is None or result.passed is None:
        return Reading(False, "no placebo outcome could be tested") if required else None
    return Reading(result.passed, result.interpretation, result.value, evidence.limit("placebo_band"))


def _placebo_refuted(evidence: Evidence) -> Reading | None:
    result = evidence.sensitivity("placebo_outcomes")
    if result is None:
        return None
    outside = [str(name) for name in result.details.get("outside", ())]
    named = ", ".join(repr(shown(name)) for name in outside)
    detail = f"the method finds an effect where there can be none: on {named}" if outside else "no placebo is refuted"
    return Reading(not outside, detail, result.value, evidence.limit("placebo_band"))


def _placebo_refuted_randomized(evidence: Evidence) -> Reading | None:
    result = evidence.sensitivity("placebo_outcomes")
    p = None if result is None else result.details.get("p_value")
    if result is None or p is None:
        return None
    detail = f"pre-treatment outcomes differ between the arms with p = {float(p):.3g} (smallest, corrected)"
    return Reading(None, detail, result.value, None, float(p))


def _robustness(evidence: Evidence) -> Reading | None:
    result = evidence.sensitivity("robustness_value")
    if result is None:
        return Reading(False, "the robustness to an unobserved confounder could not be computed")
    if result.passed is None and evidence.primary is not None and settled_sign(evidence.primary):
        return Reading(False, "the linear regression beside the headline finds no effect", result.value)
    return Reading(result.passed, result.interpretation, result.value)


def _bad_controls(evidence: Evidence) -> Reading | None:
    effect, exploration = evidence.primary, evidence.exploration
    if effect is None or exploration is None:
        return None
    used = set(effect.covariates)
    bad = [s for s in exploration.suspicions if s.column in used and s.score >= evidence.limit("suspicion")]
    if not bad:
        return Reading(True, "no covariate of the primary is suspected", 0.0, evidence.limit("suspicion"))
    worst = max(bad, key=lambda s: (s.score, s.column))
    detail = f"{shown(worst.column)!r} is adjusted for and may be {worst.kind.replace('_', ' ')}: {worst.reason}"
    return Reading(False, detail, worst.score, evidence.limit("suspicion"))


def _labels(evidence: Evidence) -> Reading | None:
    exploration = evidence.exploration
    if exploration is None:
        return None
    unread = [note.message for note in exploration.warnings if note.code == "LABELS_NOT_CHECKED"]
    if unread:
        return Reading(None, f"not checked: {unread[0]}")
    denying = [s for s in exploration.suspicions if s.kind == "contradicts_treatment" and s.score >= evidence.limit("suspicion")]  # fmt: skip
    if not denying:
        return Reading(True, "no column that names the arms contradicts the treatment's codes")
    return Reading(False, f"{shown(denying[0].column)!r} contradicts the treatment: {denying[0].reason}")


def _refuter(evidence: Evidence, name: str) -> Reading | None:
    result = evidence.sensitivity(name)
    if result is None or result.passed is None:
        return None
    p = result.details.get("gate_p_value")
    if p is None:
        return Reading(result.passed, result.interpretation, result.value)
    return Reading(None, result.interpretation, result.value, None, float(p))


def _interference(evidence: Evidence) -> Reading:
    reading = _refuter(evidence, "interference")
    if reading is not None:
        return reading
    if evidence.plan.question.cluster is None:
        return Reading(None, "not checked: no column names the groups within which people could reach each other")
    notes = evidence.sensitivities.warnings if evidence.sensitivities else ()
    why = [note.message for note in notes if note.message.startswith(SPILLOVER)]
    return Reading(None, f"not checked: {why[0]}" if why else "not checked")


def _diagnosed(evidence: Evidence, name: str, *, at_least: float | None = None) -> Reading | None:
    """Read one of the cautions that stand with the primary's estimate; `at_least` replaces its own threshold."""
    found = evidence.primary.diagnostics.get(name) if evidence.primary else None
    if found is None or found.value is None or found.threshold is None:
        return None
    if at_least is not None:
        return Reading(found.value >= at_least, found.detail, found.value, at_least)
    return Reading(found.value < found.threshold, found.detail, found.value, found.threshold)


def _agreement(evidence: Evidence) -> Reading | None:
    """Compare the primary with the planned methods of its estimand."""
    primary = evidence.primary
    if primary is None or primary.std_error is None or evidence.effects is None:
        return None
    counted, joint = _counted_once(evidence.effects, primary.method), _joint_errors(evidence.effects, primary.method)
    margin = evidence.limit("placebo_band") * (_spread(evidence) or 0.0)
    p_values: list[tuple[float, str]] = []
    for effect in evidence.effects.effects:
        if effect.method in counted or effect.estimand != primary.estimand or effect.role == "exploratory":
            continue
        if effect.status == "ok" and effect.estimate is not None and effect.std_error:
            # Errors taken as if independent are too large where methods share their rows, so this finds less.
            error = joint.get(effect.method, (effect.std_error**2 + primary.std_error**2) ** 0.5)
            gap = abs(effect.estimate - (primary.estimate or 0.0))
            allowed = margin if settled_sign(effect) == settled_sign(primary) else 0.0
            p_values.append((_beyond(gap - allowed, error), effect.method))
    if not p_values:
        return None
    p, method = min(p_values)
    corrected = min(1.0, p * len(p_values))
    detail = f"of {len(p_values)} other methods {method} differs most from {primary.method} (p = {corrected:.3g})"
    return Reading(None, detail, None, None, corrected)


def _beyond(excess: float, error: float) -> float:
    """Return the p-value of a gap that exceeds what is allowed; two estimates with one error differ by no chance."""
    if error <= 0:
        return 0.0 if excess > 0 else 1.0
    return min(1.0, 2 * NormalDist().cdf(-excess / error))


def _joint_errors(effects: Effects, primary: str) -> dict[str, float]:
    """Return the standard error of each method's difference from the primary, where influence functions tell it."""
    told = effects.selection.agreement.get("differences", {})
    rows = told.get("rows", ()) if told.get("reference") == primary else ()
    return {row["method"]: float(row["std_error"]) for row in rows}


def _counted_once(effects: Effects, primary: str) -> set[str]:
    """Return the primary and every method whose score and nuisances another one shares (SEL-3)."""
    groups = effects.selection.agreement.get("groups", ())
    repeated = {name for group in groups for name in (group if primary in group else group[1:])}
    return {primary, *repeated}


def _primary_choice(evidence: Evidence) -> Reading | None:
    plan = evidence.plan
    if plan.offline_primary is None or plan.offline_primary == plan.primary:
        return None
    chosen, offline = evidence.primary, evidence.effect(plan.offline_primary)
    if chosen is None or offline is None:
        return Reading(False, f"{plan.offline_primary}, the offline planner's primary, gave no estimate")
    same = settled_sign(chosen) == settled_sign(offline)
    verb = "agrees with" if same else "contradicts"
    return Reading(same, f"{offline.method}, the offline planner's primary, {verb} {chosen.method}")


def _precision(evidence: Evidence) -> Reading | None:
    effect, spread = evidence.primary, _spread(evidence)
    if effect is None:
        return None
    threshold = evidence.limit("precision")
    if effect.ci_lower is None or effect.ci_upper is None:
        return _tested_only(effect)
    half = None if not spread else (effect.ci_upper - effect.ci_lower) / 2 / spread
    if settled_sign(effect):
        return Reading(True, "the interval excludes zero", half, threshold)
    if half is None:
        return Reading(False, "the interval includes zero, and the outcome's scale is unknown", None, threshold)
    if half <= threshold:
        return Reading(
            True, f"the interval includes zero and is narrow: ± {half:.2f} SD of the outcome", half, threshold
        )
    return Reading(False, f"the interval includes zero and is wide: ± {half:.2f} SD of the outcome", half, threshold)


def _tested_only(effect: Effect) -> Reading | None:
    """Judge an effect that comes with a test and no interval; without one nothing says how precise a zero is."""
    if effect.p_value is None:
        return None
    alpha = 1 - effect.confidence_level
    detail = f"{effect.inference} gives p = {effect.p_value:.3g}"
    return Reading(effect.p_value <= alpha, detail, effect.p_value, alpha)


def _compared_by_trends(evidence: Evidence) -> bool:
    return evidence.plan.primary not in WITH_DONORS


def _parallel_trends(evidence: Evidence) -> Reading | None:
    if not _compared_by_trends(evidence):
        return None
    result = evidence.sensitivity("honest_did")
    if result is None or result.passed is None:
        return Reading(False, "no trend before treatment could be compared, so parallel trends rest on faith")
    return Reading(result.passed, result.interpretation, result.value, 1.0)


def _pre_trend(evidence: Evidence) -> Reading | None:
    result = evidence.sensitivity("honest_did") if _compared_by_trends(evidence) else None
    slope = result.details.get("slope", {}) if result else {}
    p = slope.get("p_value")
    if p is None:
        return None
    detail = f"before treatment the groups moved apart by {slope['estimate']:.3g} per period (p = {p:.3g})"
    return Reading(None, detail, slope["estimate"], None, float(p))


def _design_check(evidence: Evidence, name: str, *, required: bool = False) -> Reading | None:
    """Read one analysis of the design's own assumptions; `required` limits where it could not be run."""
    if required and name == "donors" and _compared_by_trends(evidence):
        return None
    reading = _refuter(evidence, name)
    if reading is None and required:
        return Reading(False, f"the {name.replace('_', ' ')} could not be varied")
    return reading


def _anderson_rubin(evidence: Evidence) -> Reading | None:
    result = evidence.sensitivity("instrument")
    if result is None:
        return None
    shape = result.details["anderson_rubin"]["shape"]
    detail = {
        "bounded": "the Anderson-Rubin set is bounded",
        "empty": "the Anderson-Rubin set is empty: the instruments contradict each other",
    }.get(shape, "the instruments are too weak: the Anderson-Rubin set has no bounds")
    return Reading(shape == "bounded", detail)


def _weak_instrument(evidence: Evidence) -> Reading | None:
    result = evidence.sensitivity("instrument")
    if result is None:
        return Reading(False, "inference that bears weak instruments could not be had")
    agrees = bool(result.details["agrees"])
    detail = "the Anderson-Rubin set says of zero what the interval says" if agrees else result.interpretation
    return Reading(agrees, detail)


def _assumptions_tested(evidence: Evidence) -> Reading | None:
    effect = evidence.primary
    if effect is None:
        return None
    checks = [d for d in effect.diagnostics.values() if d.passed is not None]
    if not checks:
        return None
    failed = [d for d in checks if d.passed is False]
    tested = [d for d in failed if d.p_value is not None]
    if not failed:
        return Reading(True, f"{len(checks)} checks of {effect.method}'s own assumptions hold")
    if len(tested) == len(failed):
        first = min(tested, key=lambda d: d.p_value or 0.0)
        corrected = min(1.0, (first.p_value or 0.0) * len(checks))
        return Reading(None, f"{effect.method}: {_check_text(first)}", first.value, first.threshold, corrected)
    first = next(d for d in failed if d.p_value is None)
    return Reading(False, f"{effect.method}: {_check_text(first)}", first.value, first.threshold)


def _check_text(check: Diagnostic) -> str:
    return check.detail or f"{check.name.replace('_', ' ')} does not hold"


def _credible_design(evidence: Evidence) -> Reading:
    design = evidence.plan.design
    probed = design in PROBED
    tail = "can be probed by the data" if probed else "rests on assumptions that the gates here probe in part at most"
    return Reading(probed, f"the design {design.replace('_', ' ')} {tail}")


def _checked(evidence: Evidence) -> Reading:
    found = evidence.sensitivities.results if evidence.sensitivities else ()
    able = [result for result in found if result.error is None]
    detail = f"{len(able)} sensitivity analyses were run" if able else "no sensitivity analysis could be run"
    return Reading(bool(able), detail, float(len(able)))


def _vif(evidence: Evidence) -> Reading | None:
    known = [
        (value, name) for name, value in (evidence.exploration.vif if evidence.exploration else {}).items() if value
    ]
    if not known:
        return None
    value, name = max(known)
    threshold = evidence.limit("vif")
    return Reading(
        value < threshold, f"the largest variance inflation is {value:.1f} ({shown(name)!r})", value, threshold
    )


GATES: tuple[Gate, ...] = (
    Gate("identified", _identified, "refuse", "NOT_IDENTIFIED"),
    Gate("estimated", _estimated, "refuse", "NO_ESTIMATE", "another method, or more complete data"),
    Gate("overlap_minimum", _overlap_minimum, "refuse", "OVERLAP", "units of both arms with similar covariates, a cutoff rule, an instrument or an experiment", CONFOUNDED),
    Gate("placebo_refuted", _placebo_refuted, "refuse", "PLACEBO_REFUTED", "covariates that explain the difference on placebo outcomes, or another comparison group", QUASI),
    Gate("overlap", partial(_overlap, name="overlap"), "limit", "OVERLAP", "a question about the population in which both arms occur (ATT or ATO)", CONFOUNDED),
    Gate("balance", _balance, "limit", "BALANCE", "a richer model of the treatment, or matching on the covariates that stay apart", CONFOUNDED),
    Gate("balance_randomized", _balance_randomized, "note", "BALANCE", "", RANDOMIZED),
    Gate("randomisation", _randomisation, "limit", "RANDOMISATION_DOUBTFUL", "the assignment's protocol (strata, clusters, exclusions after assignment)", RANDOMIZED),
    Gate("declared_randomised", _declared_randomised, "limit", "RANDOMISATION_REFUTED", "the assignment's protocol (strata, clusters, exclusions after assignment)", tuple(d for d in (*PROBED, "none") if d != "randomized")),
    Gate("placebo_outcomes", partial(_placebo_outcomes, required=True), "limit", "PLACEBO_OUTCOMES", "outcomes that the treatment cannot have moved (earlier measurements, negative controls)", CONFOUNDED),
    Gate("placebo_outcomes_rct", partial(_placebo_outcomes, required=False), "note", "PLACEBO_OUTCOMES", "", RANDOMIZED),
    Gate("placebo_refuted_rct", _placebo_refuted_randomized, "limit", "PLACEBO_REFUTED", "the assignment's protocol", RANDOMIZED),
    Gate("robustness", _robustness, "limit", "UNOBSERVED_CONFOUNDING", "stronger covariates, an instrument, or an experiment", CONFOUNDED),
    Gate("bad_controls", _bad_controls, "limit", "BAD_CONTROL", "covariates measured before the treatment only"),
    Gate("labels", _labels, "limit", "LABELS_CONTRADICT", "the record of who was assigned and who received what: which code means treated (reference_level), and the assignment as instrument where people did otherwise"),
    *(Gate(name, partial(_refuter, name=name), "limit", f"REFUTED_{name.upper()}") for name in REFUTERS),
    Gate("attrition", partial(_refuter, name="attrition"), "limit", "ATTRITION", "the outcomes of those who dropped out, or why they did"),
    Gate("interference", _interference, "limit", "INTERFERENCE", "the method `network` with who reaches whom, an experiment that assigns whole groups, or groups' own outcomes", EXCHANGEABLE),
    Gate("clusters_minimum", partial(_diagnosed, name=EFFECTIVE_CLUSTERS, at_least=FEWEST_CLUSTERS), "limit", "FEW_CLUSTERS", "more clusters, or a test that draws the assignment of clusters again"),
    Gate("clusters", partial(_diagnosed, name=EFFECTIVE_CLUSTERS, at_least=ENOUGH_CLUSTERS), "note", "FEW_CLUSTERS"),
    Gate("weights", partial(_diagnosed, name="heaviest hundredth"), "note", "EXTREME_WEIGHTS", "", CONFOUNDED),
    Gate("moments", partial(_diagnosed, name="squares and products"), "note", "MOMENTS", "", CONFOUNDED),
    Gate("prognosis", partial(_diagnosed, name="prognosis"), "note", "MISSED_CURVE", "", CONFOUNDED),
    Gate("agreement", _agreement, "limit", "DISAGREEMENT", "a look at where the methods part", CONFOUNDED),
    Gate("primary_choice", _primary_choice, "limit", "PRIMARY_CHOICE"),
    Gate("precision", _precision, "limit", "PRECISION", "more rows, or covariates that explain the outcome"),
    Gate("assumptions_tested", _assumptions_tested, "limit", "ASSUMPTION_FAILED"),
    Gate("credible_design", _credible_design, "limit", "DESIGN", "randomisation, a cutoff rule, an instrument or a panel"),
    Gate("checked", _checked, "limit", "NOT_CHECKED"),
    Gate("anderson_rubin", _anderson_rubin, "refuse", "WEAK_INSTRUMENT", "instruments that move the treatment more", INSTRUMENT),
    Gate("parallel_trends", _parallel_trends, "limit", "PARALLEL_TRENDS", "more periods before treatment, or units whose trends were alike", PANEL),
    Gate("pre_trend", _pre_trend, "limit", "PRE_TREND", "units whose trends were alike before", PANEL),
    Gate("donors", partial(_design_check, name="donors", required=True), "limit", "DONORS", "more donors like the treated unit, and more periods before", PANEL),
    Gate("discontinuity", partial(_design_check, name="discontinuity", required=True), "limit", "BANDWIDTH", "more rows near the cutoff", CUTOFF),
    Gate("weak_instrument", _weak_instrument, "limit", "WEAK_INSTRUMENT", "instruments that move the treatment more", INSTRUMENT),
    Gate("instrument_confounded", partial(_design_check, name="instrument_confounding"), "limit", "INSTRUMENT_CONFOUNDED", "an instrument that was assigned by chance", INSTRUMENT),
    Gate("instrument_validity", partial(_design_check, name="instrument_validity"), "limit", "INSTRUMENT_INVALID", "an instrument that works through the treatment alone", INSTRUMENT),
    Gate("unobserved_moderator", partial(_design_check, name="unobserved_moderator"), "limit", "UNOBSERVED_MODERATOR", "covariates that make effects differ between the populations", ("transport",)),
    Gate("exposure_mapping", partial(_design_check, name="exposure_mapping"), "limit", "EXPOSURE_MAPPING", "an exposure that counts who else is reached", ("network",)),
    Gate("proxies", partial(_design_check, name="proxies", required=True), "limit", "PROXIES", "proxies that tell more of the hidden confounder", ("proximal",)),
    Gate("placebo_interruptions", partial(_design_check, name="placebo_interruptions"), "limit", "PLACEBO_INTERRUPTION", "a control series", ("interrupted_time_series",)),
    Gate("vif", _vif, "note", "VIF"),
)  # fmt: skip

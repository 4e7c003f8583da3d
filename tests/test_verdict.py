"""The verdict follows from the gates, by rules that are written down (HON-1, GATE-1)."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from causal_orchestrator import verdict
from causal_orchestrator.question import Question
from causal_orchestrator.results import (
    Balance,
    Diagnostic,
    Effect,
    Effects,
    Exploration,
    Note,
    Plan,
    PropensityDiagnostics,
    Selection,
    Sensitivities,
    SensitivityResult,
    Suspicion,
)

ORDER = {"refuse": 0, "limited": 1, "answer": 2}


def plan(design="randomized", **changed):
    question = Question(treatment="t", outcome="y", covariates=("a",), randomized=design == "randomized")
    fields = {
        "question": question, "design": design, "estimand": "ATE", "identified": True, "reasons": ("declared",),
        "adjustment_set": ("a",), "methods": ("ols", "aipw"), "primary": "ols", "offline_primary": "ols",
    }  # fmt: skip
    return Plan(**(fields | changed))


def effect(estimate=1.0, half=0.5, method="ols", **changed):
    fields = {
        "method": method, "estimand": "ATE", "estimate": estimate, "std_error": half / 1.96, "ci_lower": estimate - half,
        "ci_upper": estimate + half, "n": 1000, "role": "primary", "covariates": ("a",),
    }  # fmt: skip
    return Effect(**(fields | changed))


def effects(*found, sd=5.0):
    return Effects(
        effects=found or (effect(),), primary="ols", outcome_scale={"std": sd},
        selection=Selection(strategy="best_energy", headline="ols", preferred=None),
    )  # fmt: skip


def check(method, passed=True, error=None, **details):
    return SensitivityResult(
        method=method, value=0.1, interpretation=f"{method} said so", passed=passed, details=details, error=error
    )


def sensitivities(*extra, without=()):
    sound = {
        "placebo_treatment": check("placebo_treatment", gate_p_value=0.6),
        "data_subset": check("data_subset", gate_p_value=0.9),
        "robustness_value": check("robustness_value"),
        "placebo_outcomes": check("placebo_outcomes", outside=[], p_value=0.4),
        "balance_test": check("balance_test", p_value=0.5),
    }
    found = {name: result for name, result in sound.items() if name not in without}
    return Sensitivities(results=tuple((found | {r.method: r for r in extra}).values()))


def propensity(overlap=0.95, adjusted=0.02, separated=False):
    return PropensityDiagnostics(
        models=(),
        overlap=overlap,
        separated=separated,
        balance=(Balance(covariate="a", smd=0.4, smd_adjusted=adjusted),),
    )


def judge(design="unconfoundedness", **changed):
    arguments = {
        "plan": plan(design), "effects": effects(), "sensitivities": sensitivities(), "propensity": propensity(),
    }  # fmt: skip
    return verdict.decide(**(arguments | changed))


def test_a_clean_experiment_is_answered():
    found = judge("randomized").verdict
    assert (found.decision, found.caps, found.codes) == ("answer", (), ())


def test_a_clean_observational_study_is_answered_only_with_all_it_owes():
    assert judge().verdict.decision == "answer"
    for owed in ("placebo_outcomes", "robustness_value"):
        found = judge(sensitivities=sensitivities(without=(owed,))).verdict
        assert found.decision == "limited"


def test_a_precise_zero_is_an_answer_and_a_vague_one_is_not():
    assert judge("randomized", effects=effects(effect(0.0, half=0.9))).verdict.decision == "answer"
    vague = judge("randomized", effects=effects(effect(0.0, half=1.1))).verdict
    assert (vague.decision, vague.codes) == ("limited", ("PRECISION",))
    assert any("rows would detect" in text for text in vague.would_help)


def test_an_unidentified_plan_is_refused_with_its_blockers_and_nothing_else_is_judged():
    blocked = plan(
        "none", identified=False, primary=None, would_help=("a control group",),
        blockers=(Note(code="POSITIVITY", message="an arm has 3 units"),),
    )  # fmt: skip
    found = verdict.decide(blocked)
    assert found.verdict.decision == "refuse"
    assert found.verdict.codes[0] == "POSITIVITY"
    assert found.verdict.reasons == ("an arm has 3 units",)
    assert found.verdict.would_help == ("a control group",)
    assert [d.name for d in found.diagnostics] == ["identified"]


@pytest.mark.parametrize(
    "failed", [Effect(method="ols", estimand="ATE", status="failed", error="x"), effect(ci_lower=None, ci_upper=None)]
)
def test_no_estimate_or_no_interval_is_refused(failed):
    assert judge("randomized", effects=effects(failed)).verdict.decision == "refuse"


def test_a_method_that_was_not_planned_never_takes_the_headlines_place():
    failed = Effect(method="ols", estimand="ATE", status="failed", error="x", role="primary")
    found = judge("randomized", effects=effects(failed, effect(method="aipw", role="planned")))
    assert found.verdict.decision == "refuse"


@pytest.mark.parametrize(
    ("overlap", "decision"), [(0.95, "answer"), (0.8, "answer"), (0.79, "limited"), (0.5, "limited"), (0.49, "refuse")]
)
def test_overlap_limits_below_four_fifths_and_refuses_below_a_half(overlap, decision):
    found = judge(propensity=propensity(overlap)).verdict
    assert found.decision == decision
    assert ("OVERLAP" in found.codes) is (decision != "answer")


def test_separated_arms_are_refused_and_the_worst_case_bounds_stand_in():
    bounds = check("manski_bounds", passed=None, lower=-0.4, upper=0.6)
    found = judge(propensity=propensity(None, separated=True), sensitivities=sensitivities(bounds)).verdict
    assert found.decision == "refuse"
    assert found.bounds == (-0.4, 0.6)
    assert found.would_help


def test_poor_overlap_is_no_objection_where_the_overlap_population_was_asked_for():
    assert judge(propensity=propensity(0.2), asked="ATO").verdict.decision == "answer"
    assert judge("randomized", propensity=propensity(0.2)).verdict.decision == "answer"


def test_imbalance_after_adjustment_limits_and_in_an_experiment_is_a_note():
    assert judge(propensity=propensity(adjusted=0.15)).verdict.codes == ("BALANCE",)
    uneven = Exploration(quality_score=90, quality_parts={}, balance=(Balance(covariate="a", smd=0.3),))
    found = judge("randomized", exploration=uneven)
    assert found.verdict.decision == "answer"
    assert next(d for d in found.diagnostics if d.name == "balance_randomized").passed is False


def test_a_refuted_randomisation_limits():
    doubtful = sensitivities(check("balance_test", p_value=0.0005))
    assert judge("randomized", sensitivities=doubtful).verdict.codes == ("RANDOMISATION_DOUBTFUL",)
    refuted = plan("unconfoundedness", warnings=(Note(code="RANDOMISATION_REFUTED", message="cannot be"),))
    assert "RANDOMISATION_REFUTED" in judge(plan=refuted).verdict.codes


def test_p_values_are_judged_together():
    one = sensitivities(check("balance_test", p_value=0.02))
    assert judge("randomized", sensitivities=one).verdict.decision == "answer"
    alone = Sensitivities(results=(check("balance_test", p_value=0.02),))
    assert judge("randomized", sensitivities=alone).verdict.decision == "limited"


def test_a_placebo_outcome_limits_unless_it_passes_and_refuses_where_it_refutes():
    wide = check("placebo_outcomes", passed=False, outside=[], p_value=0.4)
    assert judge(sensitivities=sensitivities(wide)).verdict.codes == ("PLACEBO_OUTCOMES",)
    refuted = check("placebo_outcomes", passed=False, outside=["y0"], p_value=1e-9)
    found = judge(sensitivities=sensitivities(refuted)).verdict
    assert found.decision == "refuse"
    assert "PLACEBO_REFUTED" in found.codes


def test_in_an_experiment_a_vague_placebo_is_a_note_and_a_refuting_one_limits():
    wide = check("placebo_outcomes", passed=False, outside=[], p_value=0.4)
    assert judge("randomized", sensitivities=sensitivities(wide)).verdict.decision == "answer"
    refuted = check("placebo_outcomes", passed=False, outside=["y0"], p_value=1e-4)
    assert judge("randomized", sensitivities=sensitivities(refuted)).verdict.codes == ("PLACEBO_REFUTED",)


def test_a_failed_refuter_limits():
    bad = check("placebo_treatment", passed=False, gate_p_value=1e-6)
    assert judge("randomized", sensitivities=sensitivities(bad)).verdict.codes == ("REFUTED_PLACEBO_TREATMENT",)
    moved = check("random_common_cause", passed=False)
    assert judge("randomized", sensitivities=sensitivities(moved)).verdict.codes == ("REFUTED_RANDOM_COMMON_CAUSE",)


def test_without_any_sensitivity_analysis_nothing_is_answered():
    broken = Sensitivities(results=(check("placebo_treatment", None, error="NUMERICAL: no"),))
    for found in (None, broken):
        assert "NOT_CHECKED" in judge("randomized", sensitivities=found).verdict.codes


def test_an_effect_that_only_the_headlines_method_finds_is_limited():
    silent = check("robustness_value", passed=None)
    assert "UNOBSERVED_CONFOUNDING" in judge(sensitivities=sensitivities(silent)).verdict.codes
    zero = judge(sensitivities=sensitivities(silent), effects=effects(effect(0.0, half=0.9)))
    assert zero.verdict.decision == "answer"


def test_a_suspected_covariate_limits_only_where_it_is_used():
    leaky = Exploration(
        quality_score=90, quality_parts={},
        suspicions=(Suspicion(column="a", kind="post_treatment", score=0.9, reason="measured later"),),
    )  # fmt: skip
    assert judge("randomized", exploration=leaky).verdict.codes == ("BAD_CONTROL",)
    unused = effects(effect(covariates=()))
    assert judge("randomized", exploration=leaky, effects=unused).verdict.decision == "answer"


def explored(*suspicions, warnings=()):
    return Exploration(quality_score=90, quality_parts={}, suspicions=suspicions, warnings=warnings)


def gate(judgement, name):
    return next((d for d in judgement.diagnostics if d.name == name), None)


def test_words_that_contradict_the_treatment_limit_and_slips_do_not():
    denies = Suspicion(column="arm", kind="contradicts_treatment", score=0.95, reason="its words say control in 9 rows")
    found = judge("randomized", exploration=explored(denies)).verdict
    assert (found.decision, found.codes) == ("limited", ("LABELS_CONTRADICT",))
    assert "'arm' contradicts the treatment" in found.caps[0]
    assert "reference_level" in found.would_help[0]
    slip = denies.model_copy(update={"score": 0.3})
    assert judge("randomized", exploration=explored(slip)).verdict.decision == "answer"


def test_labels_that_could_not_be_read_are_said_not_to_be_checked():
    note = Note(code="LABELS_NOT_CHECKED", message="there are three arms", severity="info")
    found = judge("randomized", exploration=explored(warnings=(note,)))
    assert found.verdict.decision == "answer"
    assert gate(found, "labels").passed is None
    assert "not checked: there are three arms" in gate(found, "labels").detail


def test_spillover_limits_with_the_way_out_and_without_groups_is_not_checked():
    reached = sensitivities(check("interference", passed=False, gate_p_value=1e-5))
    found = judge("randomized", sensitivities=reached).verdict
    assert (found.decision, found.codes) == ("limited", ("INTERFERENCE",))
    assert "network" in found.would_help[0]
    assert judge("randomized", sensitivities=sensitivities(check("interference", gate_p_value=0.2))).verdict.decision == "answer"  # fmt: skip
    bare = judge("randomized")
    assert bare.verdict.decision == "answer"
    assert gate(bare, "interference").passed is None
    assert "not checked: no column names the groups" in gate(bare, "interference").detail


def test_where_whole_groups_are_treated_spillover_is_not_checked_for_that_reason():
    grouped = plan("randomized", question=Question(treatment="t", outcome="y", cluster="g", randomized=True))
    note = Note(code="NOT_APPLICABLE", message="Spillover within groups: whole groups are treated or not", severity="info")  # fmt: skip
    found = judge(plan=grouped, sensitivities=Sensitivities(results=sensitivities().results, warnings=(note,)))
    assert found.verdict.decision == "answer"
    assert "whole groups" in gate(found, "interference").detail


@pytest.mark.parametrize(("value", "decision", "passed"), [(60.0, "answer", True), (12.0, "answer", False), (7.0, "limited", False)])  # fmt: skip
def test_few_effective_clusters_are_a_note_below_forty_and_limit_below_ten(value, decision, passed):
    told = Diagnostic(name="effective clusters", value=value, threshold=40.0, detail="50 clusters count like few")
    found = judge("randomized", effects=effects(effect(diagnostics={"effective clusters": told})))
    assert found.verdict.decision == decision
    assert gate(found, "clusters").passed is passed
    assert gate(judge("randomized"), "clusters") is None


@pytest.mark.parametrize(
    ("name", "gated"),
    [("heaviest hundredth", "weights"), ("squares and products", "moments"), ("prognosis", "prognosis")],
)
def test_what_the_weights_do_is_a_note(name, gated):
    told = Diagnostic(name=name, value=0.3, threshold=0.1, detail="30 % of the weight")
    found = judge(effects=effects(effect(diagnostics={name: told})))
    assert found.verdict.decision == "answer"
    assert gate(found, gated).passed is False
    assert gate(judge(), gated) is None


def compared(other, error):
    """Return the effects of a primary and another method with the joint error of their difference."""
    row = {"method": "aipw", "std_error": error}
    agreement = {"groups": [["ols"], ["aipw"]], "differences": {"reference": "ols", "rows": [row]}}
    found = effects(effect(half=0.5), effect(other, half=0.5, method="aipw", role="planned"))
    return found.model_copy(update={"selection": found.selection.model_copy(update={"agreement": agreement})})


def test_methods_are_compared_by_the_error_of_their_difference():
    # They differ by 0.18 SD and 0.1 SD is allowed; with an error of 0.36, as if independent, nothing is found.
    assert judge(effects=compared(1.9, 0.05)).verdict.codes == ("DISAGREEMENT",)
    assert judge(effects=compared(1.9, 0.6)).verdict.decision == "answer"
    assert judge(effects=effects(effect(), effect(1.9, method="aipw", role="planned"))).verdict.decision == "answer"


def test_a_small_difference_counts_where_it_changes_what_is_said_of_zero():
    assert judge(effects=compared(1.2, 0.02)).verdict.decision == "answer"
    assert judge(effects=compared(0.45, 0.02)).verdict.codes == ("DISAGREEMENT",)


def test_methods_that_disagree_limit():
    far = effects(effect(), effect(4.0, method="aipw", role="planned"))
    assert judge(effects=far).verdict.codes == ("DISAGREEMENT",)
    other_estimand = effects(effect(), effect(4.0, method="aipw", role="planned", estimand="ATO"))
    assert judge(effects=other_estimand).verdict.decision == "answer"


def test_the_stricter_of_two_primaries_counts():
    chosen = plan("randomized", offline_primary="aipw")
    agree = effects(effect(), effect(0.9, method="aipw", role="planned"))
    part = effects(effect(), effect(0.1, method="aipw", role="planned"))
    assert judge(plan=chosen, effects=agree).verdict.decision == "answer"
    assert judge(plan=chosen, effects=part).verdict.codes == ("PRIMARY_CHOICE",)
    assert judge(plan=chosen).verdict.codes == ("PRIMARY_CHOICE",)


def test_a_failed_check_of_the_methods_own_assumptions_limits():
    weak = effect(diagnostics={"first_stage": Diagnostic(name="first_stage", value=2.0, threshold=10.0, passed=False)})
    assert "ASSUMPTION_FAILED" in judge("instrument", effects=effects(weak)).verdict.codes


def test_a_design_that_no_gate_can_probe_is_limited_at_best():
    assert judge("frontdoor").verdict.codes == ("DESIGN",)


def test_the_plans_own_thresholds_count():
    strict = plan("unconfoundedness", thresholds={"overlap": 0.99})
    assert judge(plan=strict).verdict.codes == ("OVERLAP",)


def test_the_minimum_detectable_effect_follows_from_the_standard_error():
    # (1.960 + 0.842) standard errors: two-sided 5 % and 80 % power.
    assert verdict.minimum_detectable_effect(1.0, 0.95) == pytest.approx(2.80159, abs=1e-5)
    found = judge("randomized").verdict
    assert found.minimum_detectable_effect == pytest.approx(2.80159 * 0.5 / 1.96, abs=1e-5)


def test_the_sentence_says_the_verdict():
    assert "answered" in verdict.sentence(judge("randomized").verdict)
    limited = judge(propensity=propensity(0.7)).verdict
    assert limited.caps[0] in verdict.sentence(limited)
    assert "cannot be answered" in verdict.sentence(judge(propensity=propensity(0.1)).verdict)


def test_the_docstrings_table_names_every_gate():
    rules = verdict.__doc__
    assert [g.name for g in verdict.GATES if g.name not in rules and g.name not in verdict.REFUTERS] == []


@settings(deadline=None)  # a time by the clock says nothing on a shared machine
@given(
    overlap=st.floats(0, 1), adjusted=st.floats(0, 1), p=st.floats(1e-12, 1), placebo=st.booleans(),
    robust=st.booleans(), half=st.floats(0.1, 5),
)  # fmt: skip
def test_evidence_against_never_improves_the_verdict(overlap, adjusted, p, placebo, robust, half):
    base = judge(effects=effects(effect(half=half)))
    worse = judge(
        effects=effects(effect(half=half)),
        propensity=propensity(min(overlap, 0.95), max(adjusted, 0.02)),
        sensitivities=sensitivities(
            check("placebo_treatment", gate_p_value=min(p, 0.6)),
            check("robustness_value", passed=robust),
            check("placebo_outcomes", passed=placebo, outside=[], p_value=0.4),
        ),
    )
    assert ORDER[worse.verdict.decision] <= ORDER[base.verdict.decision]


@settings(deadline=None)  # a time by the clock says nothing on a shared machine
@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_agrees_with_its_definition(p_values):
    gates = [(verdict.Gate(str(i), lambda e: None, "limit", "X"), p) for i, p in enumerate(p_values)]
    judged = verdict._holm([(g, verdict.Reading(None, "", p_value=p)) for g, p in gates], 0.05)
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    rejected = set()
    for k, i in enumerate(order):
        if p_values[i] > 0.05 / (len(p_values) - k):
            break
        rejected.add(i)
    assert [reading.passed is False for _, reading in judged] == [i in rejected for i in range(len(p_values))]


# --- designs ----------------------------------------------------------------------------------------------------------

SOUND = {
    "panel": [check("honest_did", slope={"estimate": 0.01, "p_value": 0.5})],
    "instrument": [
        check("instrument", anderson_rubin={"shape": "bounded"}, agrees=True),
        check("instrument_confounding"),
        check("instrument_validity", gate_p_value=0.4),
    ],
    "discontinuity": [check("discontinuity", gate_p_value=0.4)],
}


def of_design(design, *found, primary="ols", **changed):
    changed.setdefault("effects", Effects(effects=(effect(method=primary),), primary=primary, outcome_scale={"std": 5.0}, selection=Selection(strategy="best_energy", headline=primary, preferred=None)))  # fmt: skip
    made = plan(design, primary=primary, offline_primary=primary, methods=(primary,))
    return verdict.decide(made, changed["effects"], Sensitivities(results=tuple(found))).verdict


@pytest.mark.parametrize("design", list(SOUND))
def test_a_design_whose_checks_hold_is_answered_and_one_without_checks_is_not(design):
    assert of_design(design, *SOUND[design]).decision == "answer"
    assert of_design(design).decision == "limited"


@pytest.mark.parametrize(
    ("design", "broken", "code"),
    [
        ("panel", check("honest_did", passed=False, slope={"estimate": 0.01, "p_value": 0.5}), "PARALLEL_TRENDS"),
        ("panel", check("honest_did", slope={"estimate": 0.5, "p_value": 1e-5}), "PRE_TREND"),
        ("instrument", check("instrument", anderson_rubin={"shape": "bounded"}, agrees=False), "WEAK_INSTRUMENT"),
        ("instrument", check("instrument_confounding", passed=False), "INSTRUMENT_CONFOUNDED"),
        ("instrument", check("instrument_validity", gate_p_value=1e-5), "INSTRUMENT_INVALID"),
        ("discontinuity", check("discontinuity", gate_p_value=1e-5), "BANDWIDTH"),
    ],
)
def test_a_check_of_the_design_that_fails_limits(design, broken, code):
    found = {result.method: result for result in SOUND[design]} | {broken.method: broken}
    judged = of_design(design, *found.values())
    assert judged.decision == "limited"
    assert judged.codes == (code,)


@pytest.mark.parametrize("shape", ["unbounded", "everything", "empty"])
def test_an_instrument_that_leaves_the_effect_open_is_refused(shape):
    weak = check("instrument", passed=False, anderson_rubin={"shape": shape}, agrees=True)
    assert of_design("instrument", weak, *SOUND["instrument"][1:]).decision == "refuse"


def test_donors_are_judged_by_their_own_checks_and_not_by_trends():
    assert of_design("panel", check("donors"), primary="synthetic_control").decision == "answer"
    assert of_design("panel", check("donors", passed=False), primary="sdid").codes == ("DONORS",)
    assert of_design("panel", primary="sdid").decision == "limited"


def test_a_test_stands_in_for_an_interval_that_a_method_does_not_have():
    def with_p(p):
        bare = effect(method="synthetic_control", std_error=None, ci_lower=None, ci_upper=None, p_value=p)
        found = Effects(effects=(bare,), primary="synthetic_control", outcome_scale={"std": 5.0}, selection=Selection(strategy="best_energy", headline="synthetic_control", preferred=None))  # fmt: skip
        return of_design("panel", check("donors"), primary="synthetic_control", effects=found)

    assert with_p(0.04).decision == "answer"
    assert with_p(0.06).codes == ("PRECISION",)
    assert with_p(None).decision == "refuse"


def test_methods_that_share_a_score_count_once_in_agreement():
    same = [effect(method="aipw", role="planned"), effect(method="double_ml_irm", role="planned")]
    odd = effect(estimate=1.9, method="ipw", role="planned")

    def tested(groups):
        found = effects(effect(), *same, odd)
        found = found.model_copy(
            update={"selection": found.selection.model_copy(update={"agreement": {"groups": groups}})}
        )
        gates = verdict.decide(plan("unconfoundedness"), found, sensitivities()).diagnostics
        return next(gate for gate in gates if gate.name == "agreement")

    apart, together = tested([]), tested([["aipw", "double_ml_irm"]])
    assert apart.p_value == pytest.approx(1.5 * together.p_value)
    assert "of 2 other methods" in together.detail

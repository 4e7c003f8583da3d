"""The effect estimator runs the plan, keeps the headline and says what failed."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from causal_orchestrator import estimators
from causal_orchestrator.agents import JobView, Turn
from causal_orchestrator.agents.effect_estimator import run
from causal_orchestrator.errors import InputError
from causal_orchestrator.numerics import nuisance
from causal_orchestrator.problem import build
from causal_orchestrator.results import AdjustmentSet, Applicability, Confounders, Effects, Plan
from causal_orchestrator.simulate import SIMULATIONS

SEED = 3


def plan_for(made, **changed):
    question = made.question
    fields = {
        "question": question,
        "design": "randomized" if question.randomized else "unconfoundedness",
        "estimand": "ATE",
        "identified": True,
        "reasons": (),
        "adjustment_set": question.covariates,
        "methods": ("ols", "ipw", "overlap_weighting"),
        "primary": "ols",
        "offline_primary": "ols",
        "options": {"ols": {"estimand": "ATE"}, "ipw": {"estimand": "ATE"}},
    }
    return Plan(**{**fields, **changed})


def analyse(made, plan, *, actions=(), confounders=None):
    results = {"study_design": plan.model_dump(mode="json")}
    if confounders is not None:
        results["confounder_discovery"] = confounders.model_dump(mode="json")
    job = JobView(id="j", tenant="t", question=plan.question, seed=SEED, results=results)
    asked = []

    def read(columns, view, *, roles=None):
        asked.append((tuple(columns), view))
        return made.frame[list(columns)]

    output = run(job, Turn(7, "effect_estimator", {"actions": list(actions)}, SEED), read, None)
    assert len(asked) == 1
    assert asked[0][1] == "all"
    return output


@pytest.fixture(scope="module")
def made():
    return SIMULATIONS["confounded_heterogeneous"](500, seed=1)


@pytest.fixture(scope="module")
def output(made):
    return analyse(made, plan_for(made))


def entry(output, method):
    return next(e for e in output.result.effects if e.method == method)


def test_every_number_is_that_of_the_public_function(made, output):
    plan = plan_for(made)
    for effect in output.result.effects:
        problem = build(made.frame, plan.question, seed=SEED)
        again = estimators.estimate(effect.method, problem, **plan.options.get(effect.method, {}))
        assert (effect.estimate, effect.std_error) == (again.estimate, again.std_error)


def test_the_primary_is_marked_and_comes_first(output):
    assert output.result.primary == output.result.effects[0].method == "ols"
    assert [e.role for e in output.result.effects] == ["primary", "planned", "planned"]


def test_the_offline_planners_primary_is_always_computed(made):
    found = analyse(made, plan_for(made, offline_primary="regression_adjustment"))
    assert entry(found, "regression_adjustment").status == "ok"
    assert found.result.primary == "ols"


def test_a_method_that_fails_becomes_an_entry_and_no_other_takes_its_place(made):
    plan = plan_for(made, methods=("ols", "ipw"), primary="ipw", options={"ipw": {"trim": 0.499}})
    found = analyse(made, plan)
    failed = entry(found, "ipw")
    assert failed.status == "failed"
    assert failed.estimate is None
    assert failed.error.startswith("POSITIVITY")
    assert found.result.primary == found.result.selection.headline == "ipw"
    assert {n.code for n in found.result.warnings} >= {"METHOD_FAILED", "PRIMARY_FAILED"}


def test_a_method_that_does_not_apply_says_what_is_missing(made):
    plan = plan_for(SIMULATIONS["confounded_clusters"](400, seed=1), methods=("ols", "psm"))
    found = analyse(SIMULATIONS["confounded_clusters"](400, seed=1), plan)
    assert entry(found, "psm").status == "not_applicable"
    assert "NEEDS_INDEPENDENT_ROWS" in entry(found, "psm").error


def test_asking_for_more_adds_exploratory_entries_and_leaves_the_rest(made, output):
    judged = tuple(Applicability(method=m, admissible=True, score=0.5) for m in ("ols", "ipw", "regression_adjustment"))
    found = analyse(made, plan_for(made, applicability=judged), actions=("add_methods",))
    assert entry(found, "regression_adjustment").role == "exploratory"
    assert found.result.primary == output.result.primary
    assert [e for e in found.result.effects if e.role != "exploratory"] == list(output.result.effects)


def test_the_specification_curve_has_methods_times_adjustment_sets(made):
    plan = plan_for(
        made, adjustment_set=("x0", "x1"), question=made.question.model_copy(update={"covariates": ("x0", "x1")})
    )
    sets = (AdjustmentSet(columns=("x0", "x1", "x2", "x3"), kind="all_pretreatment", source="test"),)
    found = analyse(made, plan, confounders=Confounders(recommended=("x0", "x1"), method="given", sets=sets))
    curve = found.result.specification_curve
    assert {(row["method"], row["adjustment_set"]) for row in curve} >= {
        ("ols", "none"), ("ols", "plan"), ("ols", "all_pretreatment"), ("ipw", "plan"), ("ipw", "all_pretreatment"),
    }  # fmt: skip
    naive = next(r for r in curve if r["adjustment_set"] == "none" and r["method"] == "ols")
    assert naive["estimate"] > entry(found, "ols").estimate + 0.5
    assert set(found.result.selection.agreement["drivers"]) == {"method", "adjustment_set"}


def test_subgroups_show_where_the_effect_differs(output):
    rows = {r["subgroup"]: r for r in output.result.heterogeneity["subgroups"] if r["modifier"] == "x0"}
    low, *_, high = rows.values()
    # The effect is 1 + x0, about -0.1 in the lowest third and 2.1 in the highest.
    assert low["ci_lower"] < -0.09 < low["ci_upper"]
    assert high["ci_lower"] < 2.09 < high["ci_upper"]
    test = next(t for t in output.result.heterogeneity["tests"] if t["modifier"] == "x0")
    assert test["p_value_holm"] < 0.01


def test_the_effect_is_told_in_standard_deviations_of_the_controls(made, output):
    control = made.frame.loc[made.frame["t"] == 0, "y"]
    assert entry(output, "ols").standardized == pytest.approx(entry(output, "ols").estimate / control.std())
    assert output.result.outcome_scale["std"] == pytest.approx(made.frame["y"].std())


def test_the_nuisances_file_can_be_read_again(output, made):
    found, rows, _ = nuisance.from_parquet(output.files["nuisances.parquet"])
    assert found.propensity.shape == (5, 500, 2)
    assert sorted(rows) == list(range(500))


def test_the_result_survives_json_and_repeats_to_the_byte(made, output):
    text = output.result.model_dump_json()
    assert Effects.model_validate(json.loads(text)) == output.result
    again = analyse(made, plan_for(made))
    assert again.result.model_dump_json() == text
    assert apart_from_durations(again) == apart_from_durations(output)


def apart_from_durations(output):
    """The files; how long each evaluation took is theirs alone to tell and differs from run to run."""
    stored = json.loads(output.files["evaluations.json"])
    rows = [{k: v for k, v in row.items() if k != "duration_ms"} for row in stored["evaluations"]]
    return {**output.files, "evaluations.json": rows}


@pytest.mark.parametrize("name", ["confounded_dose", "confounded_arms", "confounded_binary"])
def test_other_treatments_and_outcomes_go_through(name):
    made = SIMULATIONS[name](600, seed=2)
    methods = ("double_ml", "ols") if name == "confounded_dose" else ("double_ml", "ols", "ipw", "aipw")
    plan = plan_for(made, methods=methods, primary="double_ml", offline_primary=None, estimand="PLR", options={})
    found = analyse(made, plan)
    assert [e.status for e in found.result.effects] == ["ok"] * len(methods)
    assert found.result.selection.preferred is not None


def test_without_a_plan_nothing_is_estimated(made):
    job = JobView(id="j", tenant="t", question=made.question, seed=0)
    with pytest.raises(InputError) as raised:
        run(job, Turn(7, "effect_estimator", {}, 0), lambda *a, **k: pd.DataFrame(), None)
    assert raised.value.code == "NO_PLAN"


def test_names_that_look_like_code_are_only_names():
    made = SIMULATIONS["confounded_linear"](300, seed=4)
    strange = {"x0": "np.exp(y)", "x1": "<b>x</b>", "x2": "=1+1", "x3": "y ~ t", "t": "C(t)[T.1]", "y": "{y}"}
    frame = made.frame.rename(columns=strange)
    question = made.question.model_validate(
        {"treatment": strange["t"], "outcome": strange["y"], "covariates": [strange[f"x{j}"] for j in range(4)]}
    )
    odd = type(made)(frame, question, made.truth, made.effect)
    found = analyse(odd, plan_for(odd, methods=("ols",), options={}))
    plain = analyse(made, plan_for(made, methods=("ols",), options={}))
    assert entry(found, "ols").estimate == pytest.approx(entry(plain, "ols").estimate, rel=1e-9)
    assert np.isfinite(entry(found, "ols").energy_score)


def test_a_defect_of_one_method_costs_its_line_and_one_of_the_primary_the_step(made, monkeypatch, caplog):
    def broken(method, problem, **options):
        if method == fails:
            raise ValueError("a shape does not fit")
        return estimate(method, problem, **options)

    estimate, fails = estimators.estimate, "ipw"
    monkeypatch.setattr(estimators, "estimate", broken)
    effects = {effect.method: effect for effect in analyse(made, plan_for(made)).result.effects}
    assert (effects["ipw"].status, effects["ipw"].error) == ("failed", "DEFECT: the method broke (ValueError)")
    assert effects["ols"].status == effects["overlap_weighting"].status == "ok"
    (line,) = [json.loads(r.getMessage()) for r in caplog.records if '"defect"' in r.getMessage()]
    assert (line["method"], line["error"]) == ("ipw", "ValueError")
    assert line["frames"][-1].endswith(" broken")
    assert "shape" not in caplog.text  # what an error says may quote the data
    fails = "ols"
    with pytest.raises(ValueError, match="shape"):
        analyse(made, plan_for(made))

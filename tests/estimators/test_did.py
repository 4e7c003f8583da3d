"""Two-way fixed effects: what they take, what they refuse, and what they warn of."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import causal_orchestrator as co
from causal_orchestrator.errors import DesignError, NotApplicable
from causal_orchestrator.simulate import SIMULATIONS

EXACT = 1e-9  # the same sums in another order


def test_two_groups_and_two_times_are_a_difference_of_differences():
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({"g": np.repeat([0, 1], 40), "after": np.tile([0, 1], 40), "y": rng.standard_normal(80)})
    means = frame.groupby(["g", "after"])["y"].mean()
    byhand = means[1, 1] - means[1, 0] - means[0, 1] + means[0, 0]
    found = co.estimate("did", frame, {"treatment": "g", "outcome": "y", "time": "after"})
    assert found.estimate == pytest.approx(byhand, rel=EXACT)
    assert found.inference == "HC1, t"
    words = frame.assign(after=frame["after"].map({0: "before", 1: "after"}))
    again = co.estimate("did", words, {"treatment": "g", "outcome": "y", "time": "after"})
    assert again.estimate == pytest.approx(byhand, rel=EXACT)


def test_the_comparisons_of_goodman_bacon_add_up_to_the_estimate():
    made = SIMULATIONS["panel_staggered"](600, seed=1, growth=0.5)
    question = made.question.model_copy(update={"covariates": ()})
    found = co.estimate("did", made.frame, question)
    parts = found.details["goodman_bacon"]
    assert sum(p["weight"] * p["estimate"] for p in parts) == pytest.approx(found.estimate, rel=EXACT)
    assert {p["control"] for p in parts} == {"never treated", "later treated", "earlier treated"}
    assert 0 < found.diagnostics["weight on earlier treated"]["value"] < 1


def test_staggered_starts_are_warned_of_and_a_common_start_is_not():
    staggered = SIMULATIONS["panel_staggered"](600, seed=2)
    block = SIMULATIONS["panel_block"](600, seed=2)
    assert any("Goodman-Bacon" in note for note in co.estimate("did", staggered.frame, staggered.question).notes)
    assert co.estimate("did", block.frame, block.question).notes == ()


def test_growing_effects_mislead_it_and_not_the_methods_for_staggered_starts():
    biased = {"did": [], "did_imputation": []}
    for seed in range(20):
        made = SIMULATIONS["panel_staggered"](3_000, seed=seed, growth=1.0)
        for method in biased:
            biased[method].append(co.estimate(method, made.frame, made.question).estimate - made.truth["ATT"])
    assert abs(np.mean(biased["did"])) > 0.3
    assert abs(np.mean(biased["did_imputation"])) < 0.05


def test_weights_say_how_often_a_unit_counts():
    made = SIMULATIONS["panel_block"](300, seed=3)
    heavy = made.frame["unit"] % 3 == 0
    copies = made.frame[heavy].assign(unit=made.frame["unit"] + 1000)
    by_copy = co.estimate("did", pd.concat([made.frame, copies], ignore_index=True), made.question)
    weighted = made.question.model_copy(update={"weights": "w"})
    by_weight = co.estimate("did", made.frame.assign(w=np.where(heavy, 2.0, 1.0)), weighted)
    assert by_weight.estimate == pytest.approx(by_copy.estimate, rel=EXACT)


def test_without_clusters_rows_of_a_unit_would_count_as_independent():
    made = SIMULATIONS["panel_block"](1_200, seed=4, persistence=0.95)
    clustered = co.estimate("did", made.frame, made.question)
    naive = co.estimate("did", made.frame, made.question, se="classical")
    assert clustered.inference == "CR1 clustered, t"
    assert clustered.std_error > 1.2 * naive.std_error


REFUSED = {
    "no time": ({"time": None}, None, NotApplicable, "NEEDS_TIME"),
    "many times without units": ({"unit": None}, None, NotApplicable, "NEEDS_UNIT"),
    "one period": ({}, lambda f: f[f["period"] == 4], DesignError, "ONE_PERIOD"),
    "a group without its time of start": ({}, lambda f: f.assign(t=(f["unit"] % 2)), DesignError, "FIRST_TREATED_MISSING"),
    "time without order": ({}, lambda f: f.assign(period=f["period"].map("wave {}".format)), DesignError, "TIME_NOT_ORDERED"),
    "a time missing": ({}, lambda f: f.assign(period=f["period"].where(f.index > 0)), DesignError, "PANEL_KEY_MISSING"),
    "a unit missing": ({}, lambda f: f.assign(unit=f["unit"].where(f.index > 0)), DesignError, "PANEL_KEY_MISSING"),
    "treatment among covariates": ({"covariates": ("c",)}, lambda f: f.assign(c=1 - f["t"]), DesignError, "POSITIVITY"),
}  # fmt: skip


@pytest.mark.parametrize("what", sorted(REFUSED))
def test_what_it_cannot_use_is_refused_with_the_reason(what):
    roles, change, kind, code = REFUSED[what]
    made = SIMULATIONS["panel_block"](300, seed=5)
    question = made.question.model_copy(update=roles)
    with pytest.raises(kind) as raised:
        co.estimate("did", made.frame if change is None else change(made.frame), question)
    assert raised.value.code == code


def test_dates_and_numbers_give_the_same_estimate():
    made = SIMULATIONS["panel_staggered"](300, seed=6)
    day = pd.to_datetime("2020-01-01") + pd.to_timedelta(made.frame["period"] * 30, unit="D")
    start = pd.to_datetime("2020-01-01") + pd.to_timedelta(made.frame["first"].where(made.frame["first"] > 0) * 30, unit="D")  # fmt: skip
    dated = made.frame.assign(period=day, first=start)
    for method in ("did", "did_imputation", "callaway_santanna"):
        straight, by_date = (co.estimate(method, frame, made.question) for frame in (made.frame, dated))
        assert by_date.estimate == pytest.approx(straight.estimate, rel=EXACT)


def test_the_treatment_may_be_left_to_the_time_of_first_treatment():
    made = SIMULATIONS["panel_staggered"](300, seed=7)
    named = co.estimate("did", made.frame, made.question)
    derived = co.estimate("did", made.frame.drop(columns="t"), made.question.model_copy(update={"treatment": None}))
    assert derived.estimate == pytest.approx(named.estimate, rel=EXACT)

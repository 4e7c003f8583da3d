"""Event study, Callaway–Sant'Anna and imputation where units start at different times."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import causal_orchestrator as co
from causal_orchestrator.errors import DesignError, InputError, NotApplicable
from causal_orchestrator.simulate import SIMULATIONS

EXACT = 1e-9  # the same sums in another order
METHODS = ("event_study", "callaway_santanna", "did_imputation")
DRAWS, ALARM = 100, 1e-3


def made(n=600, **how):
    return SIMULATIONS["panel_staggered"](n, **how)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_intervals_of_growing_effects_cover(method):
    held = 0
    for seed in range(DRAWS):
        data = made(900, seed=500 + seed, growth=0.3)
        found = co.estimate(method, data.frame, data.question, aggregation="dynamic")
        held += found.ci_lower <= np.mean([1, 1.3, 1.6, 1.9]) <= found.ci_upper
    assert stats.binomtest(held, DRAWS, 0.95).pvalue > ALARM, held


@pytest.mark.parametrize("method", METHODS)
def test_event_times_have_their_own_effects(method):
    data = made(6_000, seed=1, growth=0.5)
    found = co.estimate(method, data.frame, data.question, aggregation="dynamic")
    after = {row.event_time: row for row in found.rows if row.term.startswith("event time") and row.event_time >= 0}
    assert set(after) == {0, 1, 2, 3}
    for e, row in after.items():
        assert abs(row.estimate - (1 + 0.5 * e)) < 4 * row.std_error
        assert row.ci_upper - row.estimate > 1.96 * row.std_error  # together, hence wider than alone
    assert found.estimate == pytest.approx(np.mean([row.estimate for row in after.values()]), rel=EXACT)


@pytest.mark.parametrize("method", METHODS)
def test_what_averages_over_something_else_has_a_name_of_its_own(method):
    data = made(6_000, seed=1, growth=0.5)
    found = {how: co.estimate(method, data.frame, data.question, aggregation=how) for how in ("simple", "dynamic")}
    assert {how: e.estimand for how, e in found.items()} == {"simple": "ATT", "dynamic": "ATT_DYNAMIC"}
    assert co.estimate(method, data.frame, data.question).estimand == "ATT"
    for e in found.values():
        assert abs(e.estimate - data.truth[e.estimand]) < 3 * e.std_error
    assert data.truth["ATT_DYNAMIC"] - data.truth["ATT"] > 2 * found["simple"].std_error


def test_the_event_studys_effect_counts_every_treated_row_once():
    data = made(900, seed=1, growth=0.5)
    found = co.estimate("event_study", data.frame, data.question)
    after = [row for row in found.rows if row.event_time is not None and row.event_time >= 0]
    mean = np.average([row.estimate for row in after], weights=[row.n for row in after])
    assert found.estimate == pytest.approx(mean, rel=EXACT)
    assert sum(row.n for row in after) == found.n_treated == (data.frame["t"] > 0).sum()


@pytest.mark.parametrize("method", METHODS)
def test_pre_trends_are_seen_when_they_are_there(method):
    clean, bent = made(3_000, seed=2), made(3_000, seed=2)
    sloped = bent.frame.assign(y=bent.frame["y"] + 0.5 * bent.frame["period"] * (bent.frame["first"] == 5))
    question = clean.question.model_copy(update={"covariates": ()})
    assert co.estimate(method, clean.frame, question).diagnostics["pre-trends"]["p_value"] > 0.01
    assert co.estimate(method, sloped, question).diagnostics["pre-trends"]["passed"] is False


@pytest.mark.parametrize("method", METHODS)
def test_anticipation_moves_the_reference_back(method):
    data = made(3_000, seed=3)
    early = data.frame.assign(y=data.frame["y"] + 1.0 * (data.frame["period"] == data.frame["first"] - 1))
    naive = co.estimate(method, early, data.question)
    aware = co.estimate(method, early, data.question, anticipation=1)
    assert abs(aware.estimate - 1) < 4 * aware.std_error
    assert naive.estimate < 1 - 4 * naive.std_error
    with pytest.raises(InputError, match="anticipation"):
        co.estimate(method, early, data.question, anticipation=-1)


@pytest.mark.parametrize("method", METHODS)
def test_a_treatment_that_ends_is_refused(method):
    data = made(seed=4)
    ends = data.frame.assign(t=np.where(data.frame["period"] == 6, 0.0, data.frame["t"]))
    with pytest.raises(DesignError) as raised:
        co.estimate(method, ends, data.question.model_copy(update={"first_treated": None}))
    assert raised.value.code == "TREATMENT_REVERSES"


@pytest.mark.parametrize("method", METHODS)
def test_a_unit_has_one_time_of_start(method):
    data = made(seed=5)
    split = data.frame.assign(first=data.frame["first"].where(data.frame.index > 0, 4.0))
    with pytest.raises(DesignError) as raised:
        co.estimate(method, split, data.question)
    assert raised.value.code == "FIRST_TREATED_VARIES"


@pytest.mark.parametrize("method", METHODS)
def test_without_untreated_units_later_cohorts_are_the_controls(method):
    data = made(6_000, seed=6)
    treated = data.frame[data.frame["first"] > 0]
    found = co.estimate(method, treated, data.question)
    assert abs(found.estimate - 1) < 4 * found.std_error
    assert found.n_treated < (treated["t"] > 0).sum()


@pytest.mark.parametrize("method", METHODS)
def test_units_treated_from_the_start_are_left_out_and_said_so(method):
    data = made(1_200, seed=7)
    always = data.frame.assign(first=np.where(data.frame["unit"] % 10 == 0, 1.0, data.frame["first"]))
    always["t"] = ((always["first"] > 0) & (always["period"] >= always["first"])) * 1.0
    found = co.estimate(method, always, data.question)
    without = co.estimate(method, always[always["first"] != 1], data.question)
    assert found.estimate == pytest.approx(without.estimate, rel=1e-7)
    assert any("left out" in note for note in found.notes)


@pytest.mark.parametrize("method", METHODS)
def test_clusters_above_units_widen_the_interval(method):
    data = made(1_800, seed=8)
    region = data.frame["unit"] // 10
    shock = np.random.default_rng(9).standard_normal((31, 7))[region.astype(int), data.frame["period"].astype(int)]
    frame = data.frame.assign(region=region, y=data.frame["y"] + 2 * shock)
    clustered = co.estimate(method, frame, data.question.model_copy(update={"cluster": "region"}))
    assert clustered.std_error != co.estimate(method, frame, data.question).std_error
    assert "clustered" in clustered.inference


@pytest.mark.parametrize("method", METHODS)
def test_weights_say_how_often_a_unit_counts(method):
    data = made(seed=10)
    question = data.question.model_copy(update={"covariates": ()})
    heavy = data.frame["unit"] % 3 == 0
    copies = data.frame[heavy].assign(unit=data.frame["unit"] + 1000)
    by_copy = co.estimate(method, pd.concat([data.frame, copies], ignore_index=True), question)
    weighted = question.model_copy(update={"weights": "w"})
    by_weight = co.estimate(method, data.frame.assign(w=np.where(heavy, 2.0, 1.0)), weighted)
    assert by_weight.estimate == pytest.approx(by_copy.estimate, rel=1e-8)


def test_trends_that_depend_on_a_covariate_need_it():
    off, given = [], []
    for seed in range(15):
        data = made(3_000, seed=seed, trend=0.5)
        bare = data.question.model_copy(update={"covariates": ()})
        off.append(co.estimate("callaway_santanna", data.frame, bare).estimate - 1)
        given.append(co.estimate("callaway_santanna", data.frame, data.question).estimate - 1)
    assert np.mean(off) > 0.3
    assert abs(np.mean(given)) < 0.1


def test_a_universal_base_has_a_reference_without_error():
    data = made(seed=11)
    found = co.estimate("callaway_santanna", data.frame, data.question, aggregation="dynamic", base_period="universal")
    reference = next(row for row in found.rows if row.event_time == -1)
    assert (reference.estimate, reference.std_error) == (0.0, None)


def test_a_separated_cohort_is_refused_by_the_propensity_and_not_by_the_regression():
    data = made(seed=12)
    frame = data.frame.assign(x0=(data.frame["first"] == 3) * 10.0 + data.frame["unit"] % 7)
    with pytest.raises(DesignError) as raised:
        co.estimate("callaway_santanna", frame, data.question)
    assert raised.value.code == "POSITIVITY"


def test_units_seen_twice_in_a_period_are_refused():
    data = made(seed=13)
    with pytest.raises(NotApplicable) as raised:
        co.estimate("callaway_santanna", pd.concat([data.frame, data.frame]), data.question)
    assert raised.value.code == "REPEATED_ROWS"


def test_units_with_gaps_are_left_out_by_one_method_and_used_by_the_others():
    data = made(1_200, seed=14)
    gaps = data.frame[data.frame.index % 40 != 7]
    assert any("not seen in every period" in n for n in co.estimate("callaway_santanna", gaps, data.question).notes)
    for method in ("event_study", "did_imputation"):
        found = co.estimate(method, gaps, data.question)
        assert found.n == len(gaps)
        assert abs(found.estimate - 1) < 4 * found.std_error

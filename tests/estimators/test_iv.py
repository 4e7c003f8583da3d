"""What instrumental variables owe beyond the common tests."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from causal_orchestrator import estimators
from causal_orchestrator.errors import DesignError, InputError, NotApplicable
from causal_orchestrator.numerics import iv
from causal_orchestrator.problem import build
from causal_orchestrator.simulate import SIMULATIONS

METHODS = ("iv_2sls", "iv_liml", "iv_gmm")
DRAWS = 150
ALARM = 1e-3  # chance of a false alarm of each binomial test


def run(method, made, *, frame=None, question=None, seed=0, **options):
    problem = build(made.frame if frame is None else frame, question or made.question, seed=seed)
    return estimators.estimate(method, problem, **options)


@pytest.mark.parametrize("method", METHODS)
def test_an_instrument_removes_hidden_confounding_that_regression_keeps(method):
    made = SIMULATIONS["encouraged"](3_000, seed=1)
    raw = run("ols", made)
    assert raw.estimate - made.truth["LATE"] > 0.4
    assert abs(run(method, made).estimate - made.truth["LATE"]) < 0.2


@pytest.mark.parametrize("method", METHODS)
def test_a_dose_with_several_instruments_is_recovered(method):
    made = SIMULATIONS["encouraged_dose"](3_000, seed=2)
    found = run(method, made)
    assert abs(found.estimate - 1.0) < 4 * found.std_error
    assert found.estimand == "WLATE"
    assert found.diagnostics["effective_F"]["passed"]


def test_gmm_is_more_precise_where_noise_depends_on_the_instruments():
    errors = {"iv_2sls": [], "iv_gmm": []}
    for seed in range(40):
        made = SIMULATIONS["encouraged_dose"](400, seed=seed)
        for method, kept in errors.items():
            kept.append(run(method, made).estimate - 1.0)
    assert np.std(errors["iv_gmm"]) < np.std(errors["iv_2sls"])


@pytest.mark.parametrize("method", ["iv_liml", "iv_gmm"])
def test_with_one_instrument_all_methods_agree(method):
    made = SIMULATIONS["encouraged"](500, seed=3)
    assert run(method, made).estimate == pytest.approx(run("iv_2sls", made).estimate, rel=1e-9)


def test_a_binary_case_without_covariates_is_the_wald_ratio_and_called_late():
    made = SIMULATIONS["encouraged_types"](4_000, seed=4)
    means = made.frame.groupby("z")[["y", "t"]].mean().diff().iloc[1]
    found = run("iv_2sls", made)
    assert found.estimate == pytest.approx(means["y"] / means["t"], rel=1e-10)
    assert found.estimand == "LATE"
    assert abs(found.estimate - made.truth["LATE"]) < 4 * found.std_error


def test_covariates_that_are_not_saturated_change_the_label():
    made = SIMULATIONS["encouraged_types"](1_000, seed=5)
    plain = made.question.model_copy(update={"covariates": ("x0",)})
    assert run("iv_2sls", made, question=plain).estimand == "WLATE"
    cells = made.frame.assign(x0=(made.frame["x0"] > 0) * 1.0)
    assert run("iv_2sls", made, frame=cells, question=plain).estimand == "LATE"


def test_compliers_are_counted_and_described():
    made = SIMULATIONS["encouraged_types"](20_000, seed=6)
    question = made.question.model_copy(update={"covariates": ("x0",)})
    told = run("iv_2sls", made, question=question).details["compliers"]
    assert told["share"] == pytest.approx(0.5, abs=0.02)
    assert told["always_takers"] == pytest.approx(0.2, abs=0.02)
    assert told["never_takers"] == pytest.approx(0.3, abs=0.02)
    assert told["profile"]["x0"]["compliers"] == pytest.approx(1.0, abs=0.1)  # 0.5 over everyone
    assert told["profile"]["x0"]["everyone"] == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("se", ["classical", "hc1", "cluster"])
@pytest.mark.parametrize("design", ["encouraged", "encouraged_dose"])
def test_the_ends_of_the_anderson_rubin_set_are_where_its_test_turns(se, design):
    made = SIMULATIONS[design](300, seed=7)
    frame = made.frame.assign(g=np.arange(300) // 5 * 1.0)
    problem = build(frame, made.question.model_copy(update={"cluster": "g"}))
    found = estimators.estimate("iv_2sls", problem, se=se)
    data = iv.partial_out(problem, made.question.instruments)
    used = data.controls + data.k
    df = 59 if se == "cluster" else data.n - used
    for end in np.ravel(found.details["anderson_rubin"]["intervals"]):
        residuals = data.outcome - end * data.treatment
        left = residuals - data.projected(residuals)
        meat = iv._meat(data, data.instruments, left, se, used)
        moment = data.instruments.T @ residuals
        statistic = moment @ np.linalg.solve(meat, moment) / data.k
        assert stats.f.sf(statistic, data.k, df) == pytest.approx(0.05, rel=1e-6)


@pytest.mark.parametrize("se", ["classical", "hc1"])
def test_a_useless_instrument_gives_an_unbounded_set_and_a_warning(se):
    made = SIMULATIONS["encouraged"](400, seed=8, strength=0.0)
    found = run("iv_2sls", made, se=se)
    assert found.details["anderson_rubin"]["shape"] in ("unbounded", "everything")
    assert not found.diagnostics["effective_F"]["passed"]
    assert any("weak" in note for note in found.notes)
    assert any("unbounded" in note for note in found.notes)
    assert found.to_effect().details["anderson_rubin"]["intervals"][0][0] is None  # -∞ as JSON writes it


@pytest.mark.parametrize("se", ["classical", "hc1"])
def test_instruments_that_contradict_each_other_give_an_empty_set_and_fail_the_test(se):
    made = SIMULATIONS["encouraged_dose"](2_000, seed=9)
    frame = made.frame.assign(y=made.frame["y"] + made.frame["z1"])
    found = run("iv_2sls", made, frame=frame, se=se)
    assert found.details["anderson_rubin"]["shape"] == "empty"
    assert not found.diagnostics["hansen_j"]["passed"]


@pytest.mark.slow
def test_the_anderson_rubin_set_covers_with_an_instrument_too_weak_for_the_interval():
    sets = intervals = 0
    for seed in range(DRAWS):
        made = SIMULATIONS["encouraged_dose"](150, seed=500 + seed, strength=0.05, k=6)
        found = run("iv_2sls", made)
        sets += any(low <= 1.0 <= high for low, high in found.details["anderson_rubin"]["intervals"])
        intervals += found.ci_lower <= 1.0 <= found.ci_upper
    assert stats.binomtest(sets, DRAWS, 0.95).pvalue > ALARM, f"{sets} of {DRAWS}"
    assert stats.binomtest(intervals, DRAWS, 0.95).pvalue < ALARM, "the design is no longer a hard one"


def test_the_tf_interval_is_wider_than_the_usual_one_until_the_first_stage_is_strong():
    assert iv.tf_critical_value(104.7 * 1.02) == pytest.approx(1.96)
    assert iv.tf_critical_value(10.0) == pytest.approx(3.43, abs=0.01)  # the paper: 3.43 at F = 10
    assert iv.tf_critical_value(3.8) == np.inf
    made = SIMULATIONS["encouraged"](300, seed=10, strength=0.4)
    found = run("iv_2sls", made)
    told = found.details["tF"]
    assert told["ci_upper"] - told["ci_lower"] > 1.2 * (found.ci_upper - found.ci_lower)
    assert run("iv_2sls", SIMULATIONS["encouraged_dose"](300, seed=10)).details["tF"] is None


def test_the_effective_f_is_the_robust_one_with_one_instrument():
    stage = run("iv_2sls", SIMULATIONS["encouraged"](500, seed=11)).details["first_stage"]
    assert stage["effective_F"] == pytest.approx(stage["F_robust"], rel=1e-10)
    assert stage["effective_F_critical"] == pytest.approx(23.11, abs=0.01)  # Montiel Olea & Pflueger: 23.1 for k = 1


def test_rows_without_the_instrument_are_left_out_and_counted():
    made = SIMULATIONS["encouraged"](500, seed=12)
    gaps = made.frame.assign(z=made.frame["z"].where(made.frame.index >= 40))
    found = run("iv_2sls", made, frame=gaps)
    kept = run("iv_2sls", made, frame=made.frame.iloc[40:])
    assert (found.estimate, found.n) == (pytest.approx(kept.estimate, rel=1e-12), 460)
    assert any("40 rows" in note for note in found.notes)


def test_a_text_instrument_counts_by_its_levels():
    made = SIMULATIONS["encouraged"](500, seed=13)
    words = made.frame.assign(z=made.frame["z"].map({0.0: "none", 1.0: "letter"}))
    assert run("iv_2sls", made, frame=words).estimate == pytest.approx(run("iv_2sls", made).estimate, rel=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_what_cannot_be_an_instrument_is_refused_by_name(method):
    made = SIMULATIONS["encouraged"](300, seed=14)
    with pytest.raises(DesignError, match="'z'") as constant:
        run(method, made, frame=made.frame.assign(z=1.0))
    assert constant.value.code == "INSTRUMENT_CONSTANT"
    with pytest.raises(DesignError) as collinear:
        run(method, made, frame=made.frame.assign(z=2 * made.frame["x0"] + 1))
    assert collinear.value.code == "INSTRUMENT_COLLINEAR"
    with pytest.raises(NotApplicable) as none:
        run(method, made, question=made.question.model_copy(update={"instruments": ()}))
    assert none.value.code == "NEEDS_INSTRUMENTS"
    with pytest.raises(InputError) as unclustered:
        run(method, made, se="cluster")
    assert unclustered.value.code == "OPTION_INVALID"


def test_a_negative_fuller_constant_is_refused():
    with pytest.raises(InputError) as raised:
        run("iv_liml", SIMULATIONS["encouraged"](300, seed=15), fuller=-1.0)
    assert raised.value.code == "OPTION_INVALID"

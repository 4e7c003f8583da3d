"""Options by the names that the field uses, and treatments whose levels are numbers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
import statsmodels.formula.api as smf
from linearmodels.datasets import meps
from linearmodels.iv import IV2SLS
from statsmodels.api import Logit

import causal_orchestrator as co

RTOL = 1e-9  # the same formulas
GROUPS = {"treatment": "female", "outcome": "ldrugexp"}
CONTROLS = ["totchr", "age", "linc", "blhisp"]


@pytest.fixture(scope="module")
def spending():
    return meps.load().dropna().reset_index(drop=True)


@pytest.mark.parametrize("kind", ["HC0", "HC1", "HC2", "HC3"])
def test_robust_errors_go_by_their_usual_names(spending, kind):
    plain = smf.ols("ldrugexp ~ female", spending).fit(cov_type=kind)
    assert co.estimate("difference_in_means", spending, GROUPS, se=kind).std_error == pytest.approx(plain.bse["female"], rel=RTOL)  # fmt: skip
    adjusted = smf.ols("ldrugexp ~ female + totchr + age + linc + blhisp", spending).fit(cov_type=kind)
    found = co.estimate("ols", spending, {**GROUPS, "covariates": CONTROLS}, cov_type=kind)
    assert found.std_error == pytest.approx(adjusted.bse["female"], rel=RTOL)


def test_two_stage_least_squares_has_the_published_drug_spending():
    # Cameron & Trivedi (2010), Microeconometrics Using Stata, section 6.3: -.8976 (.2211).
    frame = meps.load().dropna().reset_index(drop=True)
    question = {"treatment": "hi_empunion", "outcome": "ldrugexp", "covariates": ["female", *CONTROLS], "instruments": ["ssiratio"]}  # fmt: skip
    found = co.estimate("iv_2sls", frame, question, se="HC0")
    assert (round(found.estimate, 4), round(found.std_error, 4)) == (-0.8976, 0.2211)
    exog = frame[["female", *CONTROLS]].assign(one=1.0)
    wanted = IV2SLS(frame["ldrugexp"], exog, frame["hi_empunion"], frame["ssiratio"]).fit(cov_type="robust")
    assert found.std_error == pytest.approx(float(wanted.std_errors["hi_empunion"]), rel=1e-6)


@pytest.mark.parametrize(
    ("said", "meant"), [({"cov_type": "robust"}, {"se": "hc1"}), ({"vcov": "iid"}, {"se": "classical"}), ({"se": "Classical"}, {"se": "classical"})]
)  # fmt: skip
def test_other_packages_names_mean_the_same(spending, said, meant):
    found, wanted = (co.estimate("ols", spending, GROUPS, **options) for options in (said, meant))
    assert (found.std_error, found.inference) == (wanted.std_error, wanted.inference)


def test_an_option_given_by_two_names_is_refused(spending):
    with pytest.raises(co.InputError, match="given twice"):
        co.estimate("ols", spending, GROUPS, se="hc1", cov_type="hc3")


def schooling():
    rng = np.random.default_rng(50)
    z, ability = rng.integers(0, 4, 800), rng.standard_normal(800)
    years = np.clip(np.round(12 + z + ability), 10, 17)
    return pd.DataFrame({"z": z, "years": years, "wage": 0.1 * years + 0.3 * ability + rng.standard_normal(800)})


def test_years_of_schooling_are_a_number_to_instruments():
    frame = schooling()
    question = {"treatment": "years", "outcome": "wage", "instruments": ["z"]}
    found = co.estimate("iv_2sls", frame, question, se="classical")
    wanted = np.cov(frame["z"], frame["wage"])[0, 1] / np.cov(frame["z"], frame["years"])[0, 1]
    assert found.estimate == pytest.approx(wanted, rel=RTOL)


def test_a_regression_on_years_of_schooling_has_one_slope_where_asked():
    frame = schooling()
    question = {"treatment": "years", "outcome": "wage"}
    wanted = smf.ols("wage ~ years", frame).fit()
    found = co.estimate("ols", frame, question, linear=True, se="classical")
    assert (found.estimate, found.std_error) == pytest.approx((wanted.params["years"], wanted.bse["years"]), rel=RTOL)
    by_level = co.estimate("ols", frame, question)
    assert len(by_level.rows) > 1
    assert any("linear=True" in note for note in by_level.notes)


def test_levels_that_are_no_numbers_have_no_effect_per_unit():
    frame = schooling().assign(years=lambda f: f["years"].map("year {:g}".format))
    with pytest.raises(co.NotApplicable, match="no numbers"):
        co.estimate("iv_2sls", frame, {"treatment": "years", "outcome": "wage", "instruments": ["z"]})


def series():
    t = np.arange(60)
    y = 0.1 * t + (t >= 40) + 0.2 * np.random.default_rng(51).standard_normal(60)
    return pd.DataFrame({"t": t, "y": y, "d": (t >= 40) * 1})


@pytest.mark.parametrize("said", ["2018-05-01", "2018-05-01T00:00:00"])
def test_an_interruption_may_be_a_date(said):
    frame = series().assign(t=pd.date_range("2015-01-01", periods=60, freq="MS"))
    question = {"treatment": "d", "outcome": "y", "time": "t"}
    wanted = co.estimate("its", frame, question)
    assert co.estimate("its", frame, question, interruption=said).estimate == pytest.approx(wanted.estimate, rel=RTOL)
    dates = frame.assign(t=frame["t"].dt.strftime("%Y-%m-%d"))
    assert co.estimate("its", dates, question, interruption=said).estimate == pytest.approx(wanted.estimate, rel=RTOL)


def test_a_treatment_that_is_its_own_instrument_is_said_to_be():
    frame = schooling().assign(z=lambda f: f["years"])
    with pytest.raises(co.DesignError, match="its own instrument"):
        co.estimate("iv_2sls", frame, {"treatment": "years", "outcome": "wage", "instruments": ["z"]})


def test_an_outcome_that_does_not_vary_beside_the_cutoff_is_said_not_to():
    x = np.linspace(-1, 1, 400)
    frame = pd.DataFrame({"x": x, "t": (x >= 0) * 1, "y": (x >= 0) * 1})
    question = {"treatment": "t", "outcome": "y", "running_variable": "x", "cutoff": 0.0}
    with pytest.raises(co.DesignError, match="does not vary"):
        co.estimate("rdd", frame, question)


def test_an_estimate_says_which_rows_were_left_out():
    frame = pd.DataFrame({"t": [0, 1] * 20, "y": np.arange(40.0), "g": np.repeat(np.arange(10.0), 4)})
    frame.loc[3, "g"] = np.nan
    found = co.estimate("ols", frame, {"treatment": "t", "outcome": "y", "cluster": "g"})
    assert found.n == 39
    assert any("'g'" in note and "left out" in note for note in found.notes)


@pytest.fixture(scope="module")
def adjusted():
    rng = np.random.default_rng(53)
    x, g = rng.standard_normal(400), np.repeat(np.arange(40), 10)
    t = (rng.random(400) < 1 / (1 + np.exp(-x))) * 1
    return pd.DataFrame({"x": x, "g": g, "t": t, "y": x + t * (1 + x) + rng.standard_normal(400)})


ADJUSTED = {"treatment": "t", "outcome": "y", "covariates": ["x"]}


def test_the_questions_estimand_is_what_is_estimated(adjusted):
    asked = co.estimate("ipw", adjusted, {**ADJUSTED, "estimand": "ATT"})
    assert (asked.estimand, asked.estimate) == ("ATT", co.estimate("ipw", adjusted, ADJUSTED, estimand="ATT").estimate)
    apart = co.estimate("overlap_weighting", adjusted, {**ADJUSTED, "estimand": "ATT"})
    assert apart.estimand == "ATO"
    assert any("asks about the ATT" in note for note in apart.notes)


def test_a_method_with_one_estimand_takes_its_name_and_no_other(adjusted):
    plain = co.estimate("overlap_weighting", adjusted, ADJUSTED)
    assert co.estimate("overlap_weighting", adjusted, ADJUSTED, estimand="ATO").estimate == plain.estimate
    with pytest.raises(co.NotApplicable, match="estimates ATO, not 'ATE'"):
        co.estimate("overlap_weighting", adjusted, ADJUSTED, estimand="ATE")


def test_errors_that_a_method_has_anyway_may_be_asked_for(adjusted):
    question = {**ADJUSTED, "cluster": "g"}
    asked = co.estimate("ipw", adjusted, question, se="cluster")
    assert (asked.std_error, "clustered" in asked.inference) == (co.estimate("ipw", adjusted, question).std_error, True)
    own = co.estimate("quantile_effects", adjusted, ADJUSTED, draws=50)
    assert co.estimate("quantile_effects", adjusted, ADJUSTED, draws=50, se="bootstrap").std_error == own.std_error
    with pytest.raises(co.InputError, match="is for difference_in_means, ols"):
        co.estimate("ipw", adjusted, ADJUSTED, se="hc3")


def test_overlap_weights_may_be_trimmed_scaled_and_unnormalised(adjusted):
    plain = co.estimate("overlap_weighting", adjusted, ADJUSTED)
    scaled = co.estimate("overlap_weighting", adjusted, ADJUSTED, stabilized=True)
    assert (scaled.estimate, scaled.std_error) == (plain.estimate, plain.std_error)
    trimmed = co.estimate("overlap_weighting", adjusted, ADJUSTED, trim=0.2)
    e = Logit(adjusted["t"], sm.add_constant(adjusted["x"])).fit(disp=0, tol=1e-12).predict()
    kept = adjusted[(e >= 0.2) & (e <= 0.8)].assign(w=np.where(adjusted["t"] == 1, 1 - e, e)[(e >= 0.2) & (e <= 0.8)])
    means = kept.groupby("t")[["y", "w"]].apply(lambda arm: np.average(arm["y"], weights=arm["w"]))
    assert trimmed.estimate == pytest.approx(means[1] - means[0], rel=1e-6)
    assert any("left out" in note for note in trimmed.notes)
    raw = co.estimate("overlap_weighting", adjusted, ADJUSTED, normalized=False)
    sign, size = np.where(adjusted["t"] == 1, 1, -1), np.where(adjusted["t"] == 1, 1 - e, e)
    assert raw.estimate == pytest.approx((sign * size * adjusted["y"]).mean() / (e * (1 - e)).mean(), rel=1e-6)


def test_one_learner_and_one_quantile_are_lists_of_one(adjusted):
    alone = co.estimate("aipw", adjusted, ADJUSTED, learners="linear", n_folds=2, n_rep=1)
    assert alone.estimate == co.estimate("aipw", adjusted, ADJUSTED, learners=["linear"], folds=2, repeats=1).estimate
    assert len(co.estimate("quantile_effects", adjusted, ADJUSTED, quantiles=0.5, nboot=50).rows) == 1

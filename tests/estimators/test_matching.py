"""Matching estimates against Stata's, and among rows with the same covariates."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import statsmodels
from statsmodels.api import Probit

import causal_orchestrator as co

# StataCorp, Stata Treatment-Effects Reference Manual, examples 1 of `teffects psmatch` and `teffects nnmatch`
# (cattaneo2.dta, which statsmodels has among its tests).
CATTANEO = Path(statsmodels.__file__).parent / "treatment" / "tests" / "results" / "cataneo2.csv"
PRINTED = 5e-5  # the manual prints four digits
PSMATCH = ["mmarried", "mage", "mage2", "fbaby", "medu"]
NNMATCH = ["mage", "prenatal1", "mmarried", "fbaby"]
SMOKING = {"treatment": "mbsmoke", "outcome": "bweight"}


@pytest.fixture(scope="module")
def births():
    if not CATTANEO.exists():
        pytest.skip("this statsmodels has no tests")
    return pd.read_csv(CATTANEO).assign(mage2=lambda f: f["mage"] ** 2)


def test_propensity_matching_has_the_estimate_and_error_of_stata(births):
    question = {**SMOKING, "covariates": PSMATCH}
    found = co.estimate("psm", births, question, estimand="ATE", distance="ps", caliper=None)
    assert found.estimate == pytest.approx(-210.9683, abs=PRINTED)
    assert found.std_error == pytest.approx(32.021, abs=5e-4)
    treated = co.estimate("psm", births, question, estimand="ATT", distance="ps", caliper=None)
    assert treated.estimate == pytest.approx(-236.7848, abs=PRINTED)


def test_mahalanobis_matching_has_the_estimate_and_error_of_stata(births):
    question = {**SMOKING, "covariates": NNMATCH}
    found = co.estimate("psm", births, question, estimand="ATE", distance="mahalanobis")
    assert found.estimate == pytest.approx(-240.3306, abs=PRINTED)
    assert found.std_error == pytest.approx(28.43006, abs=PRINTED)


def cells(seed, n=600):
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 2, (n, 3))
    treated = rng.random(n) < 0.1 + 0.05 * x.sum(axis=1)
    return pd.DataFrame(x, columns=list("abc")).assign(t=treated * 1, y=x.sum(axis=1) + rng.standard_normal(n))


@pytest.mark.parametrize("options", [{"replace": False}, {"ties": False}, {}, {"distance": "mahalanobis"}], ids=str)
def test_among_equal_rows_the_outcome_does_not_choose(options):
    frames = [cells(seed) for seed in range(12)]
    question = {"treatment": "t", "outcome": "y", "covariates": list("abc")}
    found = [co.estimate("psm", frame, question, **options) for frame in frames]
    values, errors = np.array([[f.estimate, f.std_error] for f in found]).T
    spread = values.std(ddof=1)
    assert abs(values.mean()) < 4 * spread / np.sqrt(len(values))
    # A chi-squared with eleven degrees of freedom stays within these factors but once in a thousand.
    assert 0.5 < (errors.mean() / spread) < 2


# The same manual, examples 1 and 2 of `teffects ipw` with a probit; its variance has n where ours has n - 1.
@pytest.mark.parametrize(("estimand", "effect", "error"), [("ATE", -230.6886, 25.81524), ("ATT", -225.1773, 23.66458)])
def test_weighting_by_a_probit_has_the_estimate_and_error_of_stata(births, estimand, effect, error):
    question = {**SMOKING, "covariates": PSMATCH}
    found = co.estimate("ipw", births, question, propensity="probit", estimand=estimand)
    assert found.estimate == pytest.approx(effect, abs=PRINTED)
    assert found.std_error * np.sqrt((found.n - 1) / found.n) == pytest.approx(error, abs=PRINTED)


@pytest.mark.parametrize("distance", ["ps", "logit_ps"])
def test_matching_on_a_probit_is_matching_on_what_statsmodels_fits(births, distance):
    design = pd.get_dummies(births[PSMATCH], drop_first=True, dtype=float)
    fit = Probit((births["mbsmoke"] == "smoker") * 1, design.assign(one=1.0)).fit(disp=0, tol=1e-12)
    line = fit.fittedvalues if distance == "logit_ps" else fit.predict()
    question = {**SMOKING, "covariates": PSMATCH}
    found = co.estimate("psm", births, question, propensity="probit", distance=distance, caliper=None)
    own = co.estimate("psm", births.assign(line=line), {**SMOKING, "covariates": ["line"]}, distance="mahalanobis")
    assert found.estimate == pytest.approx(own.estimate, rel=1e-9)


def test_a_probit_has_two_levels_and_settles(births):
    with pytest.raises(co.NotApplicable, match="two levels"):
        co.estimate("ipw", births.assign(mbsmoke=births["medu"] // 6), {**SMOKING, "covariates": ["mage"]}, propensity="probit")  # fmt: skip
    apart = births.assign(x=(births["mbsmoke"] == "smoker") * 10.0 + births["mage"] % 7)
    with pytest.raises(co.EstimationError, match="did not settle"):
        co.estimate("ipw", apart, {**SMOKING, "covariates": ["x"]}, propensity="probit")

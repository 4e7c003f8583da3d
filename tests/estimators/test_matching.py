"""Matching estimates against Stata's, and among rows with the same covariates."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import statsmodels
from statsmodels.api import Probit

import causal_orchestrator as co
from causal_orchestrator.estimators import psm

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


# The same manual, examples 1 and 2 of `teffects ipw` with a probit.
@pytest.mark.parametrize(("estimand", "effect", "error"), [("ATE", -230.6886, 25.81524), ("ATT", -225.1773, 23.66458)])
def test_weighting_by_a_probit_has_the_estimate_and_error_of_stata(births, estimand, effect, error):
    question = {**SMOKING, "covariates": PSMATCH}
    found = co.estimate("ipw", births, question, propensity="probit", estimand=estimand)
    assert found.estimate == pytest.approx(effect, abs=PRINTED)
    assert found.std_error == pytest.approx(error, abs=PRINTED)


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


def by_hand(line, treated, outcome, shape, width):
    """Kernel matching of the treated as psmatch2 defines it, over every pair."""
    near = np.abs(line[treated][:, None] - line[~treated]) / width
    weight = np.where(near <= 1, 1 - near**2 if shape == "epanechnikov" else 1.0, 0.0)
    reached = weight.sum(axis=1) > 0
    other = weight[reached] @ outcome[~treated] / weight[reached].sum(axis=1)
    return float((outcome[treated][reached] - other).mean()), int(reached.sum())


@pytest.mark.parametrize("width", [0.06, 0.0005])
@pytest.mark.parametrize("shape", ["epanechnikov", "uniform"])
def test_kernel_matching_is_that_over_every_pair(births, shape, width, monkeypatch):
    monkeypatch.setattr(psm, "BOOTSTRAP", 2)
    design = pd.get_dummies(births[PSMATCH], drop_first=True, dtype=float)
    treated = (births["mbsmoke"] == "smoker").to_numpy()
    line = Probit(treated * 1, design.assign(one=1.0)).fit(disp=0, tol=1e-12).predict()
    wanted, reached = by_hand(line, treated, births["bweight"].to_numpy(float), shape, width)
    question = {**SMOKING, "covariates": PSMATCH}
    found = co.estimate("psm", births, question, distance="ps", propensity="probit", kernel=shape, bandwidth=width)
    assert found.details["matched"] == reached
    assert found.estimate == pytest.approx(wanted, rel=1e-6)  # one is a sum, the other a difference of running sums


def test_kernel_matching_has_the_error_of_a_bootstrap_and_no_other_distance(monkeypatch):
    monkeypatch.setattr(psm, "BOOTSTRAP", 30)
    frames = [cells(seed).assign(y=lambda f: f["y"] + f["t"]) for seed in range(24)]
    question = {"treatment": "t", "outcome": "y", "covariates": list("abc")}
    found = [
        co.estimate("psm", frame, question, distance="ps", kernel="epanechnikov", bandwidth=0.01) for frame in frames
    ]
    values, errors = np.array([[f.estimate, f.std_error] for f in found]).T
    assert abs(values.mean() - 1) < 4 * values.std(ddof=1) / np.sqrt(len(values))
    assert values.std(ddof=1) == pytest.approx(errors.mean(), rel=0.45)  # 24 draws tell an SD to 15 %
    with pytest.raises(co.InputError, match="kernel"):
        co.estimate("psm", frames[0], question, distance="mahalanobis", kernel="epanechnikov")

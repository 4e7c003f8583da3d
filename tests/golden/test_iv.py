"""Instrumental variables against linearmodels (made by `iv.py`) and against published tables."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from causaldata import close_college

import causal_orchestrator as co

RTOL = 1e-9  # the same algebra as linearmodels 7.1

GOLDEN = json.loads(Path(__file__).with_name("iv.json").read_text())
DATA = Path(os.environ.get("CAUSAL_TEST_DATA", Path(__file__).parents[2].parent / "shared" / "data"))
needs_data = pytest.mark.skipif(not (DATA / "expectations.json").exists(), reason=f"no reference data at {DATA}")


def run(method, **options):
    question = {"treatment": "t", "outcome": "y", "covariates": ["x"], "instruments": ["z0", "z1"], "cluster": "g"}
    return co.estimate(method, pd.DataFrame(GOLDEN["data"]), question, **options)


@pytest.mark.parametrize("se", ["classical", "hc1", "cluster"])
@pytest.mark.parametrize("name", ["iv_2sls", "iv_liml", "fuller"])
def test_k_class_estimates_are_those_of_linearmodels(name, se):
    wanted = GOLDEN[name]
    found = run("iv_liml", se=se, fuller=1.0) if name == "fuller" else run(name, se=se)
    assert found.estimate == pytest.approx(wanted["estimate"], rel=RTOL)
    assert found.std_error == pytest.approx(wanted[se], rel=RTOL)
    assert found.diagnostics["sargan"]["value"] == pytest.approx(wanted["sargan"], rel=RTOL)


@pytest.mark.parametrize("se", ["classical", "hc0", "hc1", "cluster"])
def test_gmm_is_that_of_linearmodels(se):
    wanted, found = GOLDEN[f"iv_gmm {se}"], run("iv_gmm", se=se)
    assert found.estimate == pytest.approx(wanted["estimate"], rel=RTOL)
    assert found.std_error == pytest.approx(wanted["std_error"], rel=RTOL)
    assert found.diagnostics["hansen_j"]["value"] == pytest.approx(wanted["j"], rel=RTOL)


def test_exogeneity_and_strength_are_those_of_linearmodels():
    found = run("iv_2sls", se="classical")
    assert found.diagnostics["wu_hausman"]["value"] == pytest.approx(GOLDEN["wu_hausman"], rel=RTOL)
    assert found.details["first_stage"]["partial_r2"] == pytest.approx(GOLDEN["partial_r2"], rel=RTOL)


CARD = ["exper", "expersq", "black", "south", "smsa", *(f"reg66{k}" for k in range(1, 9)), "smsa66"]
CARD_IV = ("card", {"treatment": "educ", "outcome": "lwage", "covariates": CARD, "instruments": ["nearc4"]})
CARD_BOTH = ("card", {**CARD_IV[1], "instruments": ["nearc4", "nearc2"]})
MROZ = ("mroz", {"treatment": "educ", "outcome": "lwage", "covariates": ["exper", "expersq"], "instruments": ["motheduc", "fatheduc"]})  # fmt: skip
NHEFS = ("nhefs", {"treatment": "qsmk", "outcome": "wt82_71", "covariates": [], "instruments": ["high"]})
INSURE = {"treatment": "pre_takeup_rate", "outcome": "takeup_survey", "instruments": ["default"], "cluster": "address"}

CASES = {
    "card_2sls": (CARD_IV, "iv_2sls", {}),
    "card_2sls_2iv": (CARD_BOTH, "iv_2sls", {}),
    "card_liml_2iv": (CARD_BOTH, "iv_liml", {}),
    "card_fuller1_2iv": (CARD_BOTH, "iv_liml", {"fuller": 1.0}),
    "mroz_2sls": (MROZ, "iv_2sls", {}),
    "mroz_liml": (MROZ, "iv_liml", {}),
    "nhefs_iv": (NHEFS, "iv_2sls", {}),
}


def table(name):
    if name == "nhefs":
        frame = pd.read_csv(DATA / "nhefs.csv").dropna(subset=["price82", "wt82_71"])
        return frame.assign(high=(frame["price82"] >= 1.5) * 1.0)
    frame = pd.read_csv(DATA / f"iv_{name}.csv")
    return frame[frame["inlf"] == 1] if name == "mroz" else frame


def expectation(key):
    return next(e for e in json.loads((DATA / "expectations.json").read_text()) if e["id"] == key)


def published(case, **options):
    (name, question), method, own = case
    return co.estimate(method, table(name), question, **own, **options)


@needs_data
@pytest.mark.parametrize("key", sorted(CASES))
def test_a_published_estimate_and_its_error_are_reproduced(key):
    wanted, found = expectation(key), published(CASES[key], se="classical")
    assert found.estimate == pytest.approx(wanted["expected"], abs=wanted["tolerance"])
    # The reference for NHEFS divides by n, here by n - 2; half of the last digit printed.
    factor = np.sqrt(1476 / 1474) if key == "nhefs_iv" else 1.0
    assert found.std_error == pytest.approx(wanted["computed"]["se"] * factor, abs=5e-9 * factor)


@needs_data
def test_a_peer_effect_with_many_fixed_effects_is_reproduced():
    wanted = expectation("social_insure_iv")
    frame = pd.read_csv(DATA / "social_insure_network.csv").dropna()
    # Villages with fewer than ten rows would be put together if they came as text.
    villages = pd.get_dummies(frame.pop("village"), prefix="in", drop_first=True, dtype=float)
    controls = [
        *frame.columns.difference(["pre_takeup_rate", "takeup_survey", "default", "address"]),
        *villages.columns,
    ]
    found = co.estimate("iv_2sls", frame.join(villages), {**INSURE, "covariates": controls})
    assert found.estimate == pytest.approx(wanted["expected"], abs=wanted["tolerance"])
    assert found.std_error == pytest.approx(wanted["computed"]["se"], rel=0.05)  # the reference corrects for no degrees


@needs_data
@pytest.mark.parametrize(
    ("key", "diagnostic"),
    [("mroz_sargan", "sargan"), ("mroz_first_stage_F", "first_stage_F"), ("mroz_hausman_t", "wu_hausman")],
)
def test_a_published_test_is_reproduced(key, diagnostic):
    wanted, found = expectation(key), published((MROZ, "iv_2sls", {}), se="classical")
    assert found.diagnostics[diagnostic]["value"] == pytest.approx(wanted["expected"], abs=wanted["tolerance"])


@needs_data
def test_the_anderson_rubin_set_of_card_is_that_of_ivmodel():
    found = published(CASES["card_2sls"], se="classical")
    # R package ivmodel (Kang, Jiang, Zhao & Small 2021), example card.data: [0.02480, 0.28482].
    np.testing.assert_allclose(found.details["anderson_rubin"]["intervals"], [[0.024805, 0.284824]], atol=1e-6)


def test_complete_cases_are_those_of_the_textbook():
    # Cunningham (2021), Causal Inference: The Mixtape, table "OLS and 2SLS regressions of log earnings on schooling".
    question = {"treatment": "educ", "outcome": "lwage", "covariates": ["exper", "black", "south", "married", "smsa"]}
    frame = close_college.load_pandas().data
    slope = co.estimate("ols", frame, question, linear=True, se="classical", missing="drop")
    assert (round(slope.estimate, 3), round(slope.std_error, 3)) == (0.071, 0.003)
    found = co.estimate("iv_2sls", frame, {**question, "instruments": ["nearc4"]}, se="classical", missing="drop")
    assert (round(found.estimate, 3), round(found.std_error, 3)) == (0.124, 0.050)
    assert any("7 rows without a value of some covariate" in note for note in found.notes)

"""Discontinuities against rdrobust and rddensity (made by `rd.py`) and against published tables."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import causal_orchestrator as co
from causal_orchestrator.numerics import rd

RTOL = 1e-6  # the same algorithm as rdrobust 2.1.1
DENSITY_RTOL = 1e-6  # the same local fit as rddensity 3.0
JACKKNIFE_RTOL = 1e-2  # its variance is a jackknife, here the influence function; they differ by terms of order 1/n

GOLDEN = json.loads(Path(__file__).with_name("rd.json").read_text())
RULES = json.loads(Path(__file__).with_name("rd_rules.json").read_text())
DATA = Path(os.environ.get("CAUSAL_TEST_DATA", Path(__file__).parents[2].parent / "shared" / "data"))
needs_data = pytest.mark.skipif(not (DATA / "expectations.json").exists(), reason=f"no reference data at {DATA}")

OPTIONS = {
    "default": {},
    "uniform": {"kernel": "uniform"},
    "epanechnikov": {"kernel": "epanechnikov"},
    "quadratic": {"polynomial": 2},
    "given bandwidth": {"bandwidth": 0.4},
    "two bandwidths": {"bandwidth_rule": "msetwo"},
    "coverage error": {"bandwidth_rule": "cerrd"},
    "covariates": {"covariate_adjusted": True},
    "clusters": {},
    "mass points": {},
    "fuzzy": {"sharpbw": True},
    "fuzzy given bandwidth": {"bandwidth": 0.4},
    "fuzzy covariates": {"covariate_adjusted": True, "sharpbw": True},
    "fuzzy clusters": {"sharpbw": True},
    "fuzzy ratio": {},
    "fuzzy ratio, quadratic": {"polynomial": 2},
    "fuzzy ratio, two bandwidths": {"bandwidth_rule": "msetwo"},
    "fuzzy ratio, covariates": {"covariate_adjusted": True},
    "fuzzy ratio, clusters": {},
    "fuzzy one-sided": {},
}


@pytest.mark.parametrize("variant", OPTIONS)
def test_estimates_errors_and_bandwidths_are_those_of_rdrobust(variant):
    wanted, fuzzy = GOLDEN[variant], variant.startswith("fuzzy")
    question = {
        "treatment": ("s" if "one-sided" in variant else "t") if fuzzy else "above",
        "outcome": "y",
        "covariates": ["x0", "x1"],
        "cutoff": 0.0,
    }
    question["running_variable"] = "rounded" if variant == "mass points" else "r"
    if "clusters" in variant:
        question["cluster"] = "g"
    found = co.estimate("rdd_fuzzy" if fuzzy else "rdd", pd.DataFrame(GOLDEN["data"]), question, **OPTIONS[variant])
    np.testing.assert_allclose(found.effects["estimate"], wanted["estimates"], rtol=RTOL)
    np.testing.assert_allclose(found.effects["std_error"], wanted["std_errors"], rtol=RTOL)
    np.testing.assert_allclose(found.details["bandwidths"]["h"], wanted["h"], rtol=RTOL)
    np.testing.assert_allclose(found.details["bandwidths"]["b"], wanted["b"], rtol=RTOL)
    assert found.details["n_within"] == wanted["n"]


@pytest.mark.parametrize("width", [0.3, 0.6])
def test_the_density_test_is_that_of_rddensity(width):
    wanted, x = GOLDEN[f"density {width}"], np.array(GOLDEN["data"]["r"])
    found = rd.density_test(x, right=x >= 0, bandwidth=width)
    assert found.left == pytest.approx(wanted["left"], rel=DENSITY_RTOL)
    assert found.right == pytest.approx(wanted["right"], rel=DENSITY_RTOL)
    assert found.statistic == pytest.approx(wanted["t"], rel=JACKKNIFE_RTOL)


def expectation(key):
    return next(e for e in json.loads((DATA / "expectations.json").read_text()) if e["id"] == key)


def senate(**options):
    frame = pd.read_csv(DATA / "rd_senate.csv")
    frame["won"] = (frame["margin"] >= 0) * 1.0
    question = {"treatment": "won", "outcome": "vote", "running_variable": "margin", "cutoff": 0.0}
    return co.estimate("rdd", frame, question, **options)


@needs_data
def test_the_senate_example_is_reproduced():
    found, row = senate(), {r.term: r for r in senate().rows}
    for key, value in (
        ("senate_rd_conv", found.estimate),
        ("senate_rd_robust", row["robust"].estimate),
        ("senate_rd_bw", found.details["bandwidths"]["h"][0]),
    ):
        wanted = expectation(key)
        assert value == pytest.approx(wanted["expected"], abs=wanted["tolerance"])
        assert value == pytest.approx(wanted["computed"]["value"], rel=1e-6)
    low, high = expectation("senate_rd_robust")["computed"]["ci"]
    assert (found.ci_lower, found.ci_upper) == (pytest.approx(low, rel=1e-6), pytest.approx(high, rel=1e-6))
    uniform, wanted = senate(bandwidth=10.0, kernel="uniform"), expectation("senate_rd_uniform_h10")
    assert uniform.estimate == pytest.approx(wanted["expected"], abs=wanted["tolerance"])


@needs_data
@pytest.mark.parametrize("ages", ["19_22", "20_21"])
@pytest.mark.parametrize("outcome", ["all", "mva"])
@pytest.mark.parametrize("order", [1, 2])
def test_regressions_on_the_drinking_age_are_reproduced(outcome, order, ages):
    wanted = expectation(f"mlda_{outcome}_p{order}_{ages}")
    frame = pd.read_csv(DATA / "rd_mlda.csv").dropna(subset=[outcome])
    age = frame["agecell"] - 21
    frame = frame.assign(age=age, over=(age >= 0) * 1.0, square=age**2, own=age * (age >= 0), own2=age**2 * (age >= 0))
    frame = frame[age.between(-2, 2) if ages == "19_22" else age.between(-1, 1)]
    covariates = ["age"] if order == 1 else ["age", "square", "own", "own2"]
    found = co.estimate("ols", frame, {"treatment": "over", "outcome": outcome, "covariates": covariates}, se="hc1")
    assert found.estimate == pytest.approx(wanted["expected"], abs=wanted["tolerance"])
    assert found.std_error == pytest.approx(wanted["computed"]["se"], abs=5e-9)
    if (order, ages) == (2, "19_22"):
        question = {"treatment": "over", "outcome": outcome, "running_variable": "age", "cutoff": 0.0}
        local = co.estimate("rdd", frame, question, kernel="uniform", polynomial=2, bandwidth=2.0)
        assert local.estimate == pytest.approx(wanted["expected"], abs=wanted["tolerance"])


@needs_data
def test_the_fuzzy_mortgage_example_is_reproduced():
    wanted = expectation("mortgages_fuzzy_rdrobust_h12")
    frame = pd.read_parquet(DATA / "rd_fuzzy_mortgages.parquet").query("abs(qob_minus_kw) < 13")
    question = {"treatment": "vet_wwko", "outcome": "home_ownership", "running_variable": "qob_minus_kw", "cutoff": 0.0}
    found = co.estimate("rdd_fuzzy", frame, question, bandwidth=12.0)
    assert found.estimate == pytest.approx(wanted["expected"], abs=wanted["tolerance"])
    assert (found.ci_lower, found.ci_upper) == pytest.approx(wanted["computed"]["ci"], rel=1e-6)


@pytest.mark.parametrize("name", sorted(set(RULES) - {"data"}))
def test_every_rule_and_order_is_that_of_rdrobust_also_where_distances_are_small(name):
    wanted, (rule, order) = RULES[name], name.split()
    frame = pd.DataFrame(RULES["data"]).assign(t=lambda f: (f["x"] >= 0) * 1)
    question = {"treatment": "t", "outcome": "y", "running_variable": "x", "cutoff": 0.0}
    found = co.estimate("rdd", frame, question, bandwidth_rule=rule, polynomial=int(order))
    widths = [*found.details["bandwidths"]["h"], *found.details["bandwidths"]["b"]]
    assert widths == pytest.approx(wanted["bandwidths"], rel=RTOL)
    assert [row.estimate for row in found.rows] == pytest.approx(wanted["estimates"], rel=RTOL)
    assert [row.std_error for row in found.rows] == pytest.approx(wanted["std_errors"], rel=RTOL)

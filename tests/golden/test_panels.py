"""Panel methods against published numbers, other packages and derivations written out (scripts beside the files)."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import causal_orchestrator as co

HERE = Path(__file__).parent
DATA = Path(os.environ.get("CAUSAL_TEST_DATA", HERE.parents[1] / ".." / "shared" / "data"))
RTOL = 1e-6  # the same formulas; the references invert their matrices otherwise
SOLVER = 1e-4  # SLSQP stops short of the optimum that is exact here
BOOTSTRAP = 0.15  # published standard errors are draws of a bootstrap with small cohorts

published = pytest.mark.skipif(not (DATA / "expectations.json").exists(), reason="no folder with published numbers")


def golden(name):
    return json.loads((HERE / f"{name}.json").read_text())


def expectation(key):
    return {e["id"]: e for e in json.loads((DATA / "expectations.json").read_text())}[key]


def close(found, wanted, factor=1.0):
    assert found.estimate == pytest.approx(wanted["estimate"], rel=RTOL)
    assert found.std_error == pytest.approx(factor * wanted["std_error"], rel=RTOL)


# --- other packages -------------------------------------------------------------------------------------------------


PANEL = {"treatment": "d", "outcome": "y", "unit": "unit", "time": "time"}


def small(*, gaps):
    frame = pd.DataFrame(golden("did")["data"])
    return frame[frame.index % 17 != 3] if gaps else frame


@pytest.mark.parametrize("name", ["did", "did with z"])
def test_two_way_fixed_effects_are_those_of_fixest(name):
    frame = small(gaps=True)
    covariates = ["z"] if "z" in name else []
    # Parameters: the slopes, four periods, and one for the units, which are nested in the clusters.
    n, k = len(frame), 1 + len(covariates) + 4 + 1
    close(
        co.estimate("did", frame, {**PANEL, "covariates": covariates}), golden("did")[name], np.sqrt((n - 1) / (n - k))
    )


def test_the_event_study_is_the_saturated_one_of_pyfixest():
    found = co.estimate("event_study", small(gaps=False), {**PANEL, "first_treated": "first"})
    wanted = golden("did")["event_study"]
    for row in found.rows[1:]:
        close(row, wanted[str(row.event_time)])
    assert len(found.rows) == 1 + len(wanted)


def test_imputation_and_its_variance_are_those_of_the_paper():
    found = co.estimate("did_imputation", small(gaps=True), {**PANEL, "first_treated": "first", "covariates": ["z"]})
    wanted = golden("did_imputation")
    for row in found.rows:
        close(row, wanted["overall" if row.term == "overall" else str(int(row.event_time))])
    assert len(found.rows) == len(wanted)


@pytest.mark.parametrize("score", ["dr", "reg", "ipw"])
@pytest.mark.parametrize("control_group", ["never_treated", "not_yet_treated"])
def test_every_group_and_time_is_that_of_another_package(score, control_group):
    frame = small(gaps=False)
    frame["z"] = frame.groupby("unit")["z"].transform("first")
    question = {**PANEL, "first_treated": "first", "covariates": ["z"]}
    found = co.estimate("callaway_santanna", frame, question, score=score, control_group=control_group)
    wanted = golden("callaway_santanna")[f"{score} {control_group}"]
    rows = {row.term: row for row in found.rows if row.term.startswith("ATT")}
    assert set(rows) == set(wanted)
    for term, row in rows.items():
        close(row, wanted[term])


def test_synthetic_differences_are_those_of_a_general_solver():
    frame = small(gaps=False)
    found = co.estimate("sdid", frame[frame["first"].isin([0, 4])], {**PANEL, "first_treated": "first"})
    wanted = golden("sdid")
    assert found.inference.startswith("jackknife")
    assert found.estimate == pytest.approx(wanted["estimate"], abs=SOLVER)
    assert found.std_error == pytest.approx(wanted["std_error"], abs=SOLVER)
    weights = found.details["cohorts"][0]["unit_weights"]
    assert sorted(weights.values()) == pytest.approx(sorted(w for w in wanted["omega"] if w > 1e-6), abs=SOLVER)


# --- published numbers ----------------------------------------------------------------------------------------------

MPDTA = {"outcome": "lemp", "unit": "countyreal", "time": "year", "first_treated": "first.treat"}


@pytest.fixture(scope="module")
def mpdta():
    return pd.read_csv(DATA / "mpdta.csv")


@published
@pytest.mark.parametrize("aggregation", ["simple", "dynamic", "group", "calendar"])
def test_callaway_santanna_is_that_of_r(mpdta, aggregation):
    found = co.estimate("callaway_santanna", mpdta, MPDTA, aggregation=aggregation)
    names = {"simple": "mpdta_simple", "calendar": "mpdta_calendar"}
    pairs = {names.get(aggregation, f"mpdta_{aggregation}_overall"): found}
    for row in found.rows[1:]:
        if row.term.startswith("ATT"):
            pairs[f"mpdta_attgt_{row.group}_{row.time:.0f}"] = row
        elif aggregation == "dynamic":
            pairs[f"mpdta_dynamic_{row.event_time:.0f}"] = row
        elif aggregation == "group":
            pairs[f"mpdta_group_{row.group}"] = row
    for key, value in pairs.items():
        wanted = expectation(key)
        assert value.estimate == pytest.approx(wanted["expected"], abs=wanted["tolerance"]), key
        if wanted["published"]["se"] is not None:
            assert value.std_error == pytest.approx(wanted["published"]["se"], rel=BOOTSTRAP), key
    assert len(pairs) >= 13


@published
@pytest.mark.parametrize("covariates", ["nocov", "lpop"])
@pytest.mark.parametrize("control_group", ["never_treated", "not_yet_treated"])
@pytest.mark.parametrize("score", ["dr", "reg", "ipw"])
def test_scores_and_controls_are_those_of_another_package(mpdta, covariates, control_group, score):
    if covariates == "nocov" and score != "dr":
        covariates = "lpop"  # without covariates the scores are one
    wanted = expectation(f"mpdta_simple_{covariates}_{control_group}_{score}")
    question = {**MPDTA, "covariates": ["lpop"] if covariates == "lpop" else []}
    found = co.estimate("callaway_santanna", mpdta, question, control_group=control_group, score=score)
    assert found.estimate == pytest.approx(wanted["expected"], abs=wanted["tolerance"])
    assert found.std_error == pytest.approx(wanted["computed"]["se"], rel=1e-5)


CARD_KRUEGER = {
    "ck_did_all": ({"treatment": "nj", "time": "d"}, {}),
    "ck_did_poe": ({"treatment": "nj", "time": "d"}, {"se": "classical"}),
    "ck_did_cov": ({"treatment": "nj", "time": "d", "covariates": ["kfc", "roys", "wendys", "co_owned"]}, {"se": "classical"}),
}  # fmt: skip


@published
@pytest.mark.parametrize("key", sorted(CARD_KRUEGER))
def test_card_and_krueger_are_reproduced(key):
    roles, options = CARD_KRUEGER[key]
    wanted = expectation(key)
    found = co.estimate("did", pd.read_csv(DATA / "card_krueger_njmin.csv"), {"outcome": "fte", **roles}, **options)
    assert found.estimate == pytest.approx(wanted["expected"], abs=wanted["tolerance"])
    assert found.std_error == pytest.approx(wanted["computed"]["se"], rel=RTOL)


@published
@pytest.mark.parametrize("time", ["Quarter", "Quarter_Num"])
def test_organ_donations_are_reproduced_with_time_as_text_or_number(time):
    frame = pd.read_csv(DATA / "organ_donations.csv")
    frame["treated"] = (frame["State"] == "California") & (frame["Quarter_Num"] >= 4)
    wanted = expectation("organ_did")
    found = co.estimate("did", frame, {"treatment": "treated", "outcome": "Rate", "unit": "State", "time": time})
    assert found.estimate == pytest.approx(wanted["expected"], abs=wanted["tolerance"])
    assert round(found.std_error, 3) == wanted["published"]["se"]
    assert any("one unit is treated" in note for note in found.notes)


@published
def test_matching_on_histories_is_that_of_panelmatch():
    frame = pd.read_csv(DATA / "panelmatch_democracy.csv")
    question = {"treatment": "dem", "outcome": "y", "unit": "wbcode2", "time": "year", "covariates": ["tradewb"]}
    refined = co.estimate("panel_matching", frame, question, lags=4, leads=3, size=5)
    plain = co.estimate("panel_matching", frame, question, lags=4, leads=3, refinement="none")
    for found, name in ((refined, "panelmatch_att"), (plain, "panelmatch_norefine_att")):
        for row in found.rows[1:]:
            wanted = expectation(f"{name}_t{row.event_time:.0f}")
            assert row.estimate == pytest.approx(wanted["expected"], abs=wanted["tolerance"]), row.term


@published
def test_one_lag_without_refinement_is_that_of_panelmatch_to_its_digits():
    """Its own tests (https://github.com/insongkim/PanelMatch, tests/testthat/test-PanelMatch.R) hold -1.20423408195041."""
    frame = pd.read_csv(DATA / "panelmatch_democracy.csv")
    question = {"treatment": "dem", "outcome": "y", "unit": "wbcode2", "time": "year"}
    found = co.estimate("panel_matching", frame, question, lags=1, leads=0, refinement="none")
    assert found.estimate == pytest.approx(-1.20423408195041, abs=1e-10)
    assert found.std_error == pytest.approx(0.776390146867648, rel=0.05)  # two bootstraps


WEIGHTED = golden("callaway_santanna_weights")


@pytest.mark.parametrize("name", sorted(set(WEIGHTED) - {"data"}))
def test_weights_that_vary_in_time_are_those_of_the_earlier_period_as_in_csdid(name):
    control, how = name.split()
    frame = pd.DataFrame(WEIGHTED["data"])
    question = {"outcome": "y", "unit": "unit", "time": "time", "first_treated": "first", "weights": "w"}
    found = co.estimate("callaway_santanna", frame, question, control_group=control, aggregation=how, score="reg")
    close(found, WEIGHTED[name])


CROSS_SECTIONS = golden("callaway_santanna_cross_sections")


@pytest.mark.parametrize("name", sorted(set(CROSS_SECTIONS) - {"data"}))
def test_repeated_cross_sections_are_those_of_csdid(name):
    control, score, how, *covariates = name.split()
    question = {"outcome": "y", "time": "time", "first_treated": "first", "weights": "w", "covariates": covariates}
    frame = pd.DataFrame(CROSS_SECTIONS["data"])
    found = co.estimate("callaway_santanna", frame, question, control_group=control, aggregation=how, score=score)
    close(found, CROSS_SECTIONS[name])
    assert found.inference == "influence function of rows"


def test_clusters_of_cross_sections_and_what_they_need():
    frame = pd.DataFrame(CROSS_SECTIONS["data"]).assign(village=lambda f: f["first"] * 100 + f["id"] % 30)
    question = {"outcome": "y", "time": "time", "first_treated": "first"}
    found = co.estimate("callaway_santanna", frame, {**question, "cluster": "village"})
    assert found.estimate == pytest.approx(co.estimate("callaway_santanna", frame, question).estimate, rel=RTOL)
    assert found.inference == "influence function, clustered"
    with pytest.raises(co.NotApplicable, match="name no unit"):
        co.estimate("callaway_santanna", frame, {**question, "unit": "village"})
    on = frame.assign(d=(frame["first"] > 0) & (frame["time"] >= frame["first"]))
    with pytest.raises(co.NotApplicable, match="first_treated"):
        co.estimate("callaway_santanna", on, {"treatment": "d", "outcome": "y", "time": "time"})


@published
def test_errors_are_those_that_csdid_prints_for_stata(mpdta):
    # Stata's help of csdid (Rios-Avila, Sant'Anna & Callaway), quoted from memory: csdid lemp lpop, ivar(countyreal)
    # time(year) gvar(first_treat) method(dripw); estat simple: -.0417518 (.0115028).
    found = co.estimate("callaway_santanna", mpdta, {**MPDTA, "covariates": ["lpop"]})
    assert found.estimate == pytest.approx(-0.0417518, abs=5e-8)
    assert found.std_error == pytest.approx(0.0115028, abs=5e-8)

"""Synthetic control: published weights, exact fits, placebos, refusals."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pysyncon import Dataprep, RobustSynth

import causal_orchestrator as co
from causal_orchestrator.errors import CausalError

DATA = Path(os.environ.get("CAUSAL_TEST_DATA", Path(__file__).parents[2] / ".." / "shared" / "data"))
published = pytest.mark.skipif(not (DATA / "expectations.json").exists(), reason="no folder with published numbers")
WEIGHTS = 1e-3  # the outer search stops there
QUESTION = {"treatment": "t", "outcome": "y", "unit": "u", "time": "p"}


def factor_panel(*, seed, effect=2.0, donors=20, periods=30, start=20, noise=0.2):
    rng = np.random.default_rng(seed)
    shares = np.zeros(donors)
    shares[:3] = 0.5, 0.3, 0.2
    load = rng.uniform(0, 2, (donors, 3))
    load = np.vstack([shares @ load, load])
    y = load @ np.cumsum(rng.standard_normal((3, periods)), axis=1) + noise * rng.standard_normal((donors + 1, periods))
    t = (np.arange(donors + 1)[:, None] == 0) & (np.arange(periods) >= start)
    cells = {"u": np.repeat(np.arange(donors + 1), periods), "p": np.tile(np.arange(periods), donors + 1)}
    return pd.DataFrame({**cells, "t": t.ravel() * 1.0, "y": (y + effect * t).ravel()})


@published
def test_the_basque_country_is_reproduced():
    frame = pd.read_csv(DATA / "sc_basque.csv").query("regionno != 1")
    frame["t"] = (frame["regionname"].str.startswith("Basque") & (frame["year"] >= 1975)) * 1
    school, sector = ([c for c in frame if c.startswith(start)] for start in ("school.", "sec."))
    predictors = [(c, 1964, 1969) for c in (*school, "invest")] + [("gdpcap", 1960, 1969)]
    predictors += [(c, 1961, 1969) for c in sector] + [("popdens", 1969, 1969)]
    question = {
        "treatment": "t", "outcome": "gdpcap", "unit": "regionname", "time": "year",
        "covariates": [*school, *sector, "invest", "popdens"],
    }  # fmt: skip
    found = co.estimate(
        "synthetic_control", frame, question, predictors=predictors, fit_period=(1960, 1969), placebo=False
    )
    wanted = {e["id"]: e for e in json.loads((DATA / "expectations.json").read_text())}
    assert found.estimate == pytest.approx(wanted["basque_att"]["expected"], abs=WEIGHTS)
    for key, donor in (("basque_w_cataluna", "Cataluna"), ("basque_w_madrid", "Madrid (Comunidad De)")):
        assert found.details["donor_weights"][donor] == pytest.approx(wanted[key]["expected"], abs=WEIGHTS)


@pytest.mark.parametrize("variant", ["classic", "augmented", "penalized", "robust"])
def test_the_effect_on_a_unit_that_is_a_mean_of_donors_is_found(variant):
    found = co.estimate("synthetic_control", factor_panel(seed=1, noise=0.0), QUESTION, variant=variant, placebo=False)
    assert found.estimate == pytest.approx(2.0, abs=0.02)


def test_robust_weights_are_those_of_pysyncon():
    frame = factor_panel(seed=2).assign(p=lambda f: f["p"] + 2000)
    found = co.estimate("synthetic_control", frame, QUESTION, variant="robust", rank=3, placebo=False)
    donors = frame[frame["u"] > 0].pivot(index="u", columns="p", values="y").to_numpy()
    left, sizes, right = np.linalg.svd(donors, full_matrices=False)
    before = (left[:, :3] * sizes[:3]) @ right[:3, :20]
    reference = RobustSynth()
    reference.fit(
        Dataprep(
            foo=frame, predictors=["y"], predictors_op="mean", dependent="y", unit_variable="u", time_variable="p",
            treatment_identifier=0, controls_identifier=list(range(1, 21)), time_predictors_prior=range(2000, 2020),
            time_optimize_ssr=range(2000, 2020),
        ),
        lambda_=1e-3 * (before**2).sum() / len(donors), sv_count=3,
    )  # fmt: skip
    weights = [found.details["donor_weights"].get(str(j), 0.0) for j in range(1, 21)]
    np.testing.assert_allclose(weights, reference.W.ravel(), atol=1e-4)  # smaller ones are not told
    assert found.details["gap"]["2019"] == pytest.approx(
        frame["y"].to_numpy()[19] - reference.W.ravel() @ before[:, 19]
    )


def test_what_the_robust_variant_does_not_take_is_said():
    for options, said in (({"rank": 40}, "rank"), ({"predictors": [("y", 0, 9)]}, "predictors")):
        with pytest.raises(co.InputError, match=said):
            co.estimate("synthetic_control", factor_panel(seed=3), QUESTION, variant="robust", **options)


def test_an_effect_has_the_smallest_p_value_that_the_donors_allow_and_none_has_not():
    found = co.estimate("synthetic_control", factor_panel(seed=2), QUESTION)
    assert found.p_value == pytest.approx(1 / 21)
    assert (found.std_error, found.ci_lower) == (None, None)
    assert "placebo" in found.inference
    nothing = [co.estimate("synthetic_control", factor_panel(seed=s, effect=0.0), QUESTION).p_value for s in range(20)]
    assert np.mean(np.array(nothing) <= 0.1) <= 0.35
    assert min(nothing) >= 1 / 21


def test_rescaling_and_row_order_do_not_matter():
    frame = factor_panel(seed=3)
    found = co.estimate("synthetic_control", frame, QUESTION)
    moved = co.estimate("synthetic_control", frame.assign(y=8 * frame["y"]).sample(frac=1, random_state=1), QUESTION)
    assert moved.estimate == pytest.approx(8 * found.estimate, rel=1e-6)
    assert moved.p_value == found.p_value


REFUSED = {
    "STAGGERED": (lambda f: f.assign(t=np.where((f["u"] == 1) & (f["p"] >= 25), 1.0, f["t"])), {}),
    "NO_PRE_PERIOD": (lambda f: f[f["p"] >= 19], {}),
    "NO_CONTROLS": (lambda f: f[f["u"] < 2], {}),
    "PREDICTOR_UNKNOWN": (lambda f: f, {"predictors": [("z", 0, 5)]}),
    "OPTION_INVALID": (lambda f: f, {"fit_period": (90, 99)}),
}


@pytest.mark.parametrize("code", sorted(REFUSED))
def test_what_it_cannot_use_is_refused_with_the_reason(code):
    change, options = REFUSED[code]
    with pytest.raises(CausalError) as raised:
        co.estimate("synthetic_control", change(factor_panel(seed=4)), QUESTION, **options)
    assert raised.value.code == code

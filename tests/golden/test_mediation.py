"""Mediation against statsmodels (made by `mediation.py`) and against the framing experiment of the R package."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import causal_orchestrator as co

# The reference's estimates are means over 100 draws, here the noise is integrated out: four Monte Carlo errors.
MONTE_CARLO = 4 / 100**0.5
# The ends of an interval from 100 draws are order statistics: its width has a spread of a tenth. Theirs is also the
# models' own covariance, here the robust one.
WIDTH = 0.2

GOLDEN = json.loads(Path(__file__).with_name("mediation.json").read_text())
DATA = Path(os.environ.get("CAUSAL_TEST_DATA", Path(__file__).parents[2].parent / "shared" / "data"))

TERMS = {
    "total": "Total effect",
    "ACME (control)": "ACME (control)",
    "ACME (treated)": "ACME (treated)",
    "ADE (control)": "ADE (control)",
    "ADE (treated)": "ADE (treated)",
}


@pytest.mark.parametrize("name", ["linear", "interaction", "probit"])
def test_effects_and_their_spread_are_those_of_statsmodels(name):
    question = {"treatment": "t", "outcome": "b" if name == "probit" else "y", "covariates": ["x"], "mediators": ["m"]}
    models = "interaction" if name == "interaction" else "additive"
    found = co.estimate("mediation", pd.DataFrame(GOLDEN["data"]), question, models=models)
    rows = {row.term: row for row in found.rows}
    widths = []
    for ours, theirs in TERMS.items():
        estimate, low, high, _ = GOLDEN[name][theirs]
        assert rows[ours].estimate == pytest.approx(estimate, abs=MONTE_CARLO * rows[ours].std_error)
        widths.append((rows[ours].ci_upper - rows[ours].ci_lower) / (high - low))
    assert np.median(widths) == pytest.approx(1.0, abs=WIDTH)


@pytest.mark.skipif(not (DATA / "expectations.json").exists(), reason=f"no reference data at {DATA}")
def test_the_framing_experiment_is_reproduced():
    wanted = {e["id"]: e for e in json.loads((DATA / "expectations.json").read_text())}
    question = {"treatment": "treat", "outcome": "cong_mesg", "mediators": ["emo"], "covariates": ["age", "educ", "gender", "income"]}  # fmt: skip
    found = co.estimate("mediation", pd.read_csv(DATA / "mediation_framing.csv"), question)
    rows = {row.term: row.estimate for row in found.rows}
    keys = {"acme_control": "ACME (control)", "acme_treated": "ACME (treated)", "ade_control": "ADE (control)", "ade_treated": "ADE (treated)", "total": "total"}  # fmt: skip
    for key, term in keys.items():
        assert rows[term] == pytest.approx(wanted[f"framing_{key}"]["expected"], abs=1e-7)  # its own exact integration

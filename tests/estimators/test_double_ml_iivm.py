"""The compliers' effect against DoubleML (`tests/golden/double_ml_instruments.py`), and on known types."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from causal_orchestrator import estimators
from causal_orchestrator.errors import NotApplicable
from causal_orchestrator.numerics.doubly_robust import level_scores
from causal_orchestrator.numerics.orthogonal_iv import local_effect
from causal_orchestrator.problem import build
from causal_orchestrator.question import Question
from causal_orchestrator.simulate import SIMULATIONS

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "double_ml_instruments.json").read_text())
RTOL = 1e-9  # the same arithmetic on the same nuisances
QUICK = {"learners": ("linear",), "folds": 2, "repeats": 1}


def test_on_the_same_nuisances_it_is_double_ml():
    frame, wanted = pd.DataFrame(GOLDEN["data"]), GOLDEN["IIVM"]
    told = {key: np.array(values) for key, values in wanted["predictions"].items()}
    problem = build(frame, Question(treatment="t", outcome="y", covariates=["x0", "x1"], instruments=["z"]))
    offered = problem.change(treatment=frame["z"].to_numpy(), outcome=frame["y"].to_numpy())
    e = np.clip(told["ml_m"], 0.01, 0.99)
    propensity = np.column_stack([1 - e, e])
    scores = [
        level_scores(offered.change(outcome=frame[column].to_numpy()), propensity, np.column_stack([told[f"{name}0"], told[f"{name}1"]]))
        for column, name in (("y", "ml_g"), ("t", "ml_r"))
    ]  # fmt: skip
    value, influence, _, _ = local_effect(*(s[:, 1] - s[:, 0] for s in scores))
    assert value == pytest.approx(wanted["estimate"], rel=RTOL)
    assert np.sqrt((influence**2).mean() / len(frame)) == pytest.approx(wanted["std_error"], rel=RTOL)


def test_it_finds_the_compliers_effect_and_share_not_everyones():
    made = SIMULATIONS["encouraged_types"](6_000, seed=2)
    problem = build(made.frame, made.question.model_copy(update={"covariates": ("x0",)}))
    found = estimators.estimate("double_ml_iivm", problem, **QUICK)
    assert abs(found.estimate - made.truth["LATE"]) < 4 * found.std_error
    assert abs(found.estimate - made.truth["ATE"]) > 4 * found.std_error
    assert found.details["complier_share"] == pytest.approx(0.5, abs=0.05)


def test_one_sided_take_up_is_no_trouble():
    """Where nobody takes the treatment unasked, compliers are the treated."""
    made = SIMULATIONS["encouraged"](3_000, seed=3)
    frame = made.frame.assign(t=made.frame["t"] * made.frame["z"])
    frame["y"] = frame["y"] - made.frame["t"] + frame["t"]
    found = estimators.estimate("double_ml_iivm", build(frame, made.question), **QUICK)
    assert abs(found.estimate - 1) < 4 * found.std_error


def test_a_weak_instrument_is_named():
    made = SIMULATIONS["encouraged"](600, seed=4, strength=0.02)
    found = estimators.estimate("double_ml_iivm", build(made.frame, made.question), **QUICK)
    assert found.diagnostics["first stage F"]["passed"] is False
    assert any("mislead" in note for note in found.notes)


def test_other_instruments_are_sent_to_the_linear_model():
    made = SIMULATIONS["encouraged"](300, seed=5)
    frame = made.frame.assign(z=np.arange(300.0))
    with pytest.raises(NotApplicable, match="double_ml_iv") as raised:
        estimators.estimate("double_ml_iivm", build(frame, made.question))
    assert raised.value.code == "INSTRUMENT_KIND"

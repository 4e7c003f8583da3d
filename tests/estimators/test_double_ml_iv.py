"""Double machine learning with instruments against DoubleML (`tests/golden/double_ml_instruments.py`)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from causal_orchestrator import estimators
from causal_orchestrator.errors import DesignError, NotApplicable
from causal_orchestrator.numerics.inference import influence_covariance
from causal_orchestrator.numerics.orthogonal_iv import partially_linear
from causal_orchestrator.problem import build
from causal_orchestrator.question import Question
from causal_orchestrator.simulate import SIMULATIONS

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "double_ml_instruments.json").read_text())
RTOL = 1e-9  # the same arithmetic on the same nuisances; two instruments are projected by another solver
QUICK = {"learners": ("linear",), "folds": 2, "repeats": 1}


@pytest.mark.parametrize(("name", "instruments"), [("PLIV one", ["z"]), ("PLIV two", ["z", "w"])])
def test_on_the_same_nuisances_it_is_double_ml(name, instruments):
    frame, wanted = pd.DataFrame(GOLDEN["data"]), GOLDEN[name]
    told = {key: np.array(values) for key, values in wanted["predictions"].items()}
    given = [told["ml_m"]] if len(instruments) == 1 else [told[f"ml_m_{z}"] for z in instruments]
    left = frame[instruments].to_numpy() - np.column_stack(given)
    value, influence = partially_linear(
        (frame["y"] - told["ml_l"]).to_numpy(), (frame["t"] - told["ml_r"]).to_numpy(), left, np.ones(len(frame))
    )
    assert value == pytest.approx(wanted["estimate"], rel=RTOL)
    error = np.sqrt((influence**2).mean() / len(frame))
    assert error == pytest.approx(wanted["std_error"], rel=RTOL)
    assert influence_covariance(influence)[0, 0] == pytest.approx(error**2, rel=2 / len(frame))


def test_bends_that_a_linear_first_stage_misses_are_learned():
    """The instrument is as good as random only given a bend of x0."""
    rng = np.random.default_rng(5)
    x, hidden = rng.standard_normal((3_000, 2)), rng.standard_normal(3_000)
    z = x[:, 0] ** 2 + rng.standard_normal(3_000)
    t = z + hidden + rng.standard_normal(3_000)
    y = t + 2 * x[:, 0] ** 2 + hidden + rng.standard_normal(3_000)
    frame = pd.DataFrame({"y": y, "t": t, "z": z, "x0": x[:, 0], "x1": x[:, 1]})
    problem = build(frame, Question(treatment="t", outcome="y", covariates=["x0", "x1"], instruments=["z"]))
    learned = estimators.estimate("double_ml_iv", problem, learners=("interactions",), folds=3, repeats=1)
    linear = estimators.estimate("iv_2sls", problem)
    assert abs(learned.estimate - 1) < 4 * learned.std_error
    assert abs(linear.estimate - 1) > 8 * linear.std_error


def test_several_instruments_and_a_dose_are_taken():
    made = SIMULATIONS["encouraged_dose"](2_000, seed=6)
    found = estimators.estimate("double_ml_iv", build(made.frame, made.question), **QUICK)
    assert abs(found.estimate - 1) < 4 * found.std_error
    assert "hansen_j" in found.diagnostics


def test_a_weak_instrument_is_named_and_its_set_is_wide():
    made = SIMULATIONS["encouraged"](500, seed=7, strength=0.05)
    found = estimators.estimate("double_ml_iv", build(made.frame, made.question), **QUICK)
    assert found.diagnostics["effective_F"]["passed"] is False
    assert found.notes


def test_without_instruments_or_with_a_constant_one_it_says_so():
    made = SIMULATIONS["confounded_linear"](300, seed=8)
    with pytest.raises(NotApplicable) as raised:
        estimators.estimate("double_ml_iv", build(made.frame, made.question))
    assert raised.value.code == "NEEDS_INSTRUMENTS"
    made = SIMULATIONS["encouraged"](300, seed=8)
    with pytest.raises(DesignError) as constant:
        estimators.estimate("double_ml_iv", build(made.frame.assign(z=1.0), made.question))
    assert constant.value.code == "INSTRUMENT_CONSTANT"

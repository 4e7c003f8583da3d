"""The interactive model against DoubleML, and its identity with `aipw` (reference values: `tests/golden/double_ml.py`)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from causal_orchestrator import estimators
from causal_orchestrator.numerics.nuisance import Nuisances
from causal_orchestrator.problem import build
from causal_orchestrator.question import Question
from causal_orchestrator.selection import agreement
from causal_orchestrator.simulate import SIMULATIONS

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "double_ml.json").read_text())
RTOL = 1e-10  # the same arithmetic on the same nuisances


@pytest.mark.parametrize(("score", "estimand"), [("ATE", "ATE"), ("ATTE", "ATT")])
def test_on_the_same_nuisances_it_is_double_ml_to_the_last_digits(score, estimand):
    frame, told = pd.DataFrame(GOLDEN["data"]), GOLDEN["predictions"]
    problem = build(frame, Question(treatment="t", outcome="y", covariates=["x0", "x1", "x2"]))

    def at(name):
        values = told[f"{score} {name}"]
        return (np.zeros(problem.n) if values is None else np.array(values))[problem.rows][None]

    e = at("ml_m")
    known = Nuisances(
        "learned",
        propensity=np.stack([1 - e, e], axis=2),
        outcome_by_level=np.stack([at("ml_g0"), at("ml_g1")], axis=2),
        outcome=np.zeros_like(e),
        treatment=e,
        fold=np.zeros_like(e, dtype=np.int64),
    )
    found = estimators.estimate("double_ml_irm", problem.with_learned(known), estimand=estimand)
    assert found.estimate == pytest.approx(GOLDEN[score]["estimate"], rel=RTOL)
    # DoubleML divides by n, here by n - 1.
    assert found.std_error == pytest.approx(GOLDEN[score]["std_error"] * np.sqrt(200 / 199), rel=RTOL)


def test_it_counts_once_with_aipw():
    made = SIMULATIONS["confounded_linear"](400, seed=1)
    problem = build(made.frame, made.question)
    options = {"learners": ("linear",), "folds": 2, "repeats": 1}
    both = [estimators.estimate(name, problem, **options) for name in ("aipw", "double_ml_irm")]
    assert agreement(problem, both, estimand="ATE")["n_distinct"] == 1


def test_its_users_old_name_leads_to_it():
    assert estimators.resolve("ope") == "double_ml_irm"

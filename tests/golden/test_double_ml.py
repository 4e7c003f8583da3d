"""Scores and their standard errors against DoubleML, from DoubleML's own nuisances (made by `double_ml.py`)."""

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

RTOL = 1e-10  # the same arithmetic on the same nuisances

GOLDEN = json.loads(Path(__file__).with_name("double_ml.json").read_text())


def problem_with(*, e, mu0=None, mu1=None, m=None):
    frame = pd.DataFrame(GOLDEN["data"])
    problem = build(frame, Question(treatment="t", outcome="y", covariates=["x0", "x1", "x2"]))
    zero = np.zeros(len(frame))

    def at(values):
        return (zero if values is None else np.array(values))[problem.rows][None]

    return problem.with_learned(
        Nuisances(
            kind="learned",
            propensity=np.stack([1 - at(e), at(e)], axis=2),
            outcome_by_level=np.stack([at(mu0), at(mu1)], axis=2),
            outcome=at(m),
            treatment=at(e),
            fold=np.zeros((1, len(frame)), dtype=np.int64),
        )
    )


def check(found, wanted, n=200):
    assert found.estimate == pytest.approx(wanted["estimate"], rel=RTOL)
    # DoubleML divides by n, here by n - 1.
    assert found.std_error == pytest.approx(wanted["std_error"] * np.sqrt(n / (n - 1)), rel=RTOL)


@pytest.mark.parametrize(("score", "estimand"), [("ATE", "ATE"), ("ATTE", "ATT")])
def test_the_doubly_robust_score_is_that_of_double_ml(score, estimand):
    told = GOLDEN["predictions"]
    problem = problem_with(e=told[f"{score} ml_m"], mu0=told[f"{score} ml_g0"], mu1=told[f"{score} ml_g1"])
    check(estimators.estimate("aipw", problem, estimand=estimand), GOLDEN[score])


def test_the_partialled_out_score_is_that_of_double_ml():
    told = GOLDEN["predictions"]
    problem = problem_with(e=told["PLR ml_m"], m=told["PLR ml_l"])
    check(estimators.estimate("double_ml", problem), GOLDEN["PLR"])

"""The causal forest's average against EconML's (made by `causal_forest.py`), and against its formula."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from causal_orchestrator import estimators
from causal_orchestrator.problem import build
from causal_orchestrator.question import Question

GOLDEN = json.loads(Path(__file__).with_name("causal_forest.json").read_text())
RTOL = 1e-10  # one formula in two ways
# The forests have other folds and seeds; the scores that they enter are nearly the same.
APART = 0.3  # of a standard error
WIDTH = 0.1


@pytest.fixture(scope="module")
def found():
    problem = build(pd.DataFrame(GOLDEN["data"]), Question(treatment="t", outcome="y", covariates=["x0", "x1", "x2"]))
    return problem, estimators.estimate("causal_forest", problem, trees=80, learners=("linear",), folds=5, repeats=1)


def test_the_average_is_that_of_econml(found):
    wanted = GOLDEN["average"]
    assert abs(found[1].estimate - wanted["estimate"]) < APART * wanted["std_error"]
    assert found[1].std_error == pytest.approx(wanted["std_error"], rel=WIDTH)


def test_the_average_is_the_mean_of_the_score_of_athey_and_wager(found):
    problem, forest = found
    known = problem.learned(learners=("linear",), folds=5, repeats=1)
    left = problem.treatment - known.e
    weight = left / (known.e * (1 - known.e))
    score = forest.cate + weight * (problem.outcome - known.m - left * forest.cate)
    assert forest.estimate == pytest.approx(score.mean(), rel=RTOL)
    assert forest.std_error == pytest.approx(score.std(ddof=1) / np.sqrt(problem.n), rel=RTOL)

"""The S-learner against EconML (`tests/golden/learners.py`), and what it says about single rows."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from causal_orchestrator import estimators
from causal_orchestrator.problem import build
from causal_orchestrator.question import Question
from causal_orchestrator.simulate import SIMULATIONS

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "learners.json").read_text())
ATOL = 1e-09  # the same regressions on the same rows
QUICK = {"learners": ("linear",), "folds": 2, "repeats": 1}


def heterogeneous(n):
    made = SIMULATIONS["confounded_heterogeneous"](n, seed=3)
    return made.frame, made.question


def test_with_linear_models_it_is_that_of_econml_row_by_row():
    frame = pd.DataFrame(GOLDEN["data"])
    problem = build(frame, Question(treatment="t", outcome="y", covariates=["x0", "x1"]))
    found = estimators.estimate("s_learner", problem, learners="parametric")
    np.testing.assert_allclose(found.cate, np.array(GOLDEN["s_learner"])[problem.rows], atol=ATOL)
    assert found.estimate == pytest.approx(np.mean(GOLDEN["s_learner"]), abs=ATOL)


def test_its_mean_has_no_interval_and_the_doubly_robust_one_is_that_of_aipw():
    problem = build(*heterogeneous(600))
    mean = estimators.estimate("s_learner", problem, **QUICK)
    robust = estimators.estimate("s_learner", problem, **QUICK, score="dr")
    aipw = estimators.estimate("aipw", problem, **QUICK)
    assert mean.estimate == pytest.approx(mean.cate.mean())
    assert (mean.std_error, mean.ci_lower, mean.p_value, mean.influence) == (None, None, None, None)
    assert mean.inference.startswith("none")
    assert (robust.estimate, robust.std_error) == (aipw.estimate, aipw.std_error)
    assert any("aipw" in note for note in robust.notes)
    assert mean.details["doubly_robust"]["std_error"] == pytest.approx(aipw.std_error)
    np.testing.assert_array_equal(mean.cate, robust.cate)


def test_it_finds_who_gains_and_the_scores_confirm_it():
    frame, question = heterogeneous(3_000)
    problem = build(frame, question)
    found = estimators.estimate("s_learner", problem, learners=("interactions",), folds=3, repeats=1)
    told = found.details["heterogeneity"]
    assert np.corrcoef(found.cate, 1 + frame["x0"].to_numpy()[problem.rows])[0, 1] > 0.9
    slope = told["best_linear_predictor"]
    assert abs(slope["slope"] - 1) < 4 * slope["slope_std_error"]
    assert told["autoc"]["ci_lower"] > 0
    assert told["qini"]["ci_lower"] > 0
    groups = [row["estimate"] for row in told["groups"]]
    assert groups == sorted(groups)


def test_without_interactions_it_has_one_effect_for_all_and_with_them_not():
    problem = build(*heterogeneous(1_000))
    flat = estimators.estimate("s_learner", problem, learners=("linear",), folds=2, repeats=1)
    bent = estimators.estimate("s_learner", problem, learners=("interactions",), folds=2, repeats=1)
    folds = problem.learned(**QUICK).fold[0]
    assert all(np.ptp(flat.cate[folds == k]) < 1e-9 for k in (0, 1))
    assert np.std(bent.cate) > 0.5

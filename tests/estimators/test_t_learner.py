"""The T-learner against EconML (`tests/golden/learners.py`), and what it says about single rows."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from causal_orchestrator import estimators
from causal_orchestrator.numerics.heterogeneity import targeting
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
    found = estimators.estimate("t_learner", problem, learners="parametric")
    np.testing.assert_allclose(found.cate, np.array(GOLDEN["t_learner"])[problem.rows], atol=ATOL)
    assert found.estimate == pytest.approx(np.mean(GOLDEN["t_learner"]), abs=ATOL)


def test_its_mean_has_no_interval_and_the_doubly_robust_one_is_that_of_aipw():
    problem = build(*heterogeneous(600))
    mean = estimators.estimate("t_learner", problem, **QUICK)
    robust = estimators.estimate("t_learner", problem, **QUICK, score="dr")
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
    found = estimators.estimate("t_learner", problem, learners=("interactions",), folds=3, repeats=1)
    told = found.details["heterogeneity"]
    assert np.corrcoef(found.cate, 1 + frame["x0"].to_numpy()[problem.rows])[0, 1] > 0.9
    slope = told["best_linear_predictor"]
    assert abs(slope["slope"] - 1) < 4 * slope["slope_std_error"]
    assert told["autoc"]["ci_lower"] > 0
    assert told["qini"]["ci_lower"] > 0
    groups = [row["estimate"] for row in told["groups"]]
    assert groups == sorted(groups)


def test_it_is_the_difference_of_the_shared_regressions():
    problem = build(*heterogeneous(600))
    found = problem.learned(**QUICK)
    cate = estimators.estimate("t_learner", problem, **QUICK).cate
    np.testing.assert_array_equal(cate, found.mu1 - found.mu0)


def test_targeting_curves_agree_with_their_definition():
    """The area under TOC(u) - mean of the top share u of scores less the mean - summed rank by rank."""
    rng = np.random.default_rng(4)
    cate, noise = rng.standard_normal(4_000), rng.standard_normal(4_000)
    scores = 0.5 * cate + noise
    ranked = scores[np.argsort(-cate)]
    share = np.arange(1, 4_001) / 4_000
    toc = np.cumsum(ranked) / np.arange(1, 4_001) - scores.mean()
    for curve, wanted in (("autoc", toc.mean()), ("qini", (share * toc).mean())):
        value, _ = targeting(cate, scores, np.ones(4_000), curve=curve)
        assert value == pytest.approx(wanted, abs=2e-3)  # a sum over steps of 1/4000 against the integral


def test_the_error_of_the_targeting_curves_is_that_of_new_samples():
    rng = np.random.default_rng(5)
    values, errors = [], []
    for _ in range(300):
        cate = rng.standard_normal(500)
        scores = 0.5 * cate + rng.standard_normal(500)
        each = [targeting(cate, scores, np.ones(500), curve=curve) for curve in ("autoc", "qini")]
        values.append([value for value, _ in each])
        errors.append([influence.std() / np.sqrt(500) for _, influence in each])
    ratio = np.mean(errors, axis=0) / np.std(values, axis=0)
    np.testing.assert_allclose(ratio, 1.0, atol=0.15)  # four Monte Carlo errors of an SD from 300 draws

"""The S-, T-, X-, R- and DR-learner against EconML (`tests/golden/learners.py`), and what they say about single rows."""

from __future__ import annotations

import json
from dataclasses import replace
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
LEARNERS = ("s_learner", "t_learner", "x_learner", "r_learner", "dr_learner")
QUICK = {"learners": ("linear",), "folds": 2, "repeats": 1}


def heterogeneous(n):
    made = SIMULATIONS["confounded_heterogeneous"](n, seed=3)
    return made.frame, made.question


@pytest.mark.parametrize("learner", LEARNERS)
def test_with_linear_models_it_is_that_of_econml_row_by_row(learner):
    frame = pd.DataFrame(GOLDEN["data"])
    problem = build(frame, Question(treatment="t", outcome="y", covariates=["x0", "x1"]))
    found = estimators.estimate(learner, problem, learners="parametric")
    np.testing.assert_allclose(found.cate, np.array(GOLDEN[learner])[problem.rows], atol=ATOL)
    assert found.estimate == pytest.approx(np.mean(GOLDEN[learner]), abs=ATOL)


@pytest.mark.parametrize("learner", LEARNERS)
def test_its_mean_has_no_interval_and_the_doubly_robust_one_is_that_of_aipw(learner):
    problem = build(*heterogeneous(600))
    mean = estimators.estimate(learner, problem, **QUICK)
    robust = estimators.estimate(learner, problem, **QUICK, score="dr")
    aipw = estimators.estimate("aipw", problem, **QUICK)
    assert mean.estimate == pytest.approx(mean.cate.mean())
    assert (mean.std_error, mean.ci_lower, mean.p_value, mean.influence) == (None, None, None, None)
    assert mean.inference.startswith("none")
    assert (robust.estimate, robust.std_error) == (aipw.estimate, aipw.std_error)
    assert any("aipw" in note for note in robust.notes)
    assert mean.details["doubly_robust"]["std_error"] == pytest.approx(aipw.std_error)
    np.testing.assert_array_equal(mean.cate, robust.cate)


@pytest.mark.parametrize("learner", LEARNERS)
def test_it_finds_who_gains_and_the_scores_confirm_it(learner):
    frame, question = heterogeneous(3_000)
    problem = build(frame, question)
    found = estimators.estimate(learner, problem, learners=("interactions",), folds=3, repeats=1)
    told = found.details["heterogeneity"]
    assert np.corrcoef(found.cate, 1 + frame["x0"].to_numpy()[problem.rows])[0, 1] > 0.9
    slope = told["best_linear_predictor"]
    assert abs(slope["slope"] - 1) < 4 * slope["slope_std_error"]
    assert told["autoc"]["ci_lower"] > 0
    assert told["qini"]["ci_lower"] > 0
    groups = [row["estimate"] for row in told["groups"]]
    assert groups == sorted(groups)


def test_without_interactions_the_s_learner_has_one_effect_for_all_and_with_them_not():
    problem = build(*heterogeneous(1_000))
    flat = estimators.estimate("s_learner", problem, learners=("linear",), folds=2, repeats=1)
    bent = estimators.estimate("s_learner", problem, learners=("interactions",), folds=2, repeats=1)
    folds = problem.learned(**QUICK).fold[0]
    assert all(np.ptp(flat.cate[folds == k]) < 1e-9 for k in (0, 1))
    assert np.std(bent.cate) > 0.5


def test_the_t_learner_is_the_difference_of_the_shared_regressions():
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


def test_in_the_x_learner_few_treated_are_helped_by_the_many_controls():
    """With one in twenty treated and one effect for all, imputing beats regressing the few apart."""
    rng = np.random.default_rng(6)
    x = rng.standard_normal((2_000, 3))
    t = (rng.random(2_000) < 0.05) * 1.0
    y = np.sin(2 * x[:, 0]) * 3 + x[:, 1] * x[:, 2] + t + rng.standard_normal(2_000)
    frame = pd.DataFrame({"t": t, "y": y, "x0": x[:, 0], "x1": x[:, 1], "x2": x[:, 2]})
    problem = build(frame, Question(treatment="t", outcome="y", covariates=["x0", "x1", "x2"]))
    options = {"learners": ("interactions",), "folds": 3, "repeats": 1}
    error = {m: np.mean((estimators.estimate(m, problem, **options).cate - 1) ** 2) for m in ("x_learner", "t_learner")}
    assert error["x_learner"] < error["t_learner"]


def test_the_r_learner_does_not_mind_the_level_of_the_outcome():
    """A huge but harmless main effect leaves the effect function where it is."""
    frame, question = heterogeneous(1_500)
    options = {"learners": ("linear",), "folds": 3, "repeats": 1}
    plain = estimators.estimate("r_learner", build(frame, question), **options)
    raised = estimators.estimate("r_learner", build(frame.assign(y=frame["y"] + 50 * frame["x1"]), question), **options)
    assert np.sqrt(np.mean((plain.cate - raised.cate) ** 2)) < 0.3 * np.std(plain.cate)


def test_the_dr_learner_is_right_where_the_outcome_model_is_wrong():
    frame, question = heterogeneous(6_000)
    problem = build(frame, question)
    right = problem.learned(**QUICK)
    wrong = problem.with_learned(replace(right, outcome_by_level=np.zeros_like(right.outcome_by_level)))
    found = estimators.estimate("dr_learner", wrong)
    truth = 1 + frame["x0"].to_numpy()[problem.rows]
    assert np.corrcoef(found.cate, truth)[0, 1] > 0.9
    assert np.corrcoef(estimators.estimate("t_learner", problem, **QUICK).cate, truth)[0, 1] > 0.9

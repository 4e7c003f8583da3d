"""Net benefit of treating all, or those whose effect exceeds its cost: by hand, by truth, and where a job gives costs."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from causal_orchestrator import estimators
from causal_orchestrator.agents import effect_estimator
from causal_orchestrator.numerics.net_benefit import net_benefit, thresholds
from causal_orchestrator.problem import build
from causal_orchestrator.results import Plan
from causal_orchestrator.simulate import SIMULATIONS

ALARM = 1e-3
QUICK = {"learners": ("linear",), "folds": 2, "repeats": 1}


def valued(effect, scores, costs, **more):
    fields = {"weights": None, "cluster": None, "confidence_level": 0.95, "seed": 0, **more}
    rows = net_benefit(effect, scores, costs, **fields)
    return {(round(row["threshold"], 9), row["policy"]): row for row in rows}


def test_each_value_is_a_mean_of_what_is_left_of_scores():
    effect, scores = np.array([2.0, 0.5, -1.0, 1.5]), np.array([3.0, 1.0, -2.0, 0.0])
    told = valued(effect, scores, np.ones((4, 1)))
    assert told[1.0, "treat_all"]["estimate"] == pytest.approx(np.mean(scores - 1))
    assert told[1.0, "treat_by_effect"]["estimate"] == pytest.approx((2.0 - 1.0) / 4)
    assert told[1.0, "treat_by_effect"]["share"] == pytest.approx(0.5)
    gap = told[1.0, "treat_by_effect"]["estimate"] - told[1.0, "treat_all"]["estimate"]
    assert told[1.0, "by_effect_less_all"]["estimate"] == pytest.approx(gap)


def test_weights_count_rows_as_often_as_they_say():
    rng = np.random.default_rng(0)
    effect, scores, w = rng.standard_normal(60), rng.standard_normal(60), rng.integers(1, 4, 60)
    weighted = valued(effect, scores, np.full((60, 1), 0.2), weights=w * 1.0)
    repeated = valued(np.repeat(effect, w), np.repeat(scores, w), np.full((w.sum(), 1), 0.2))
    for key, row in weighted.items():
        assert row["estimate"] == pytest.approx(repeated[key]["estimate"])


def test_all_intervals_together_cover():
    held = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        truth = 1 + rng.standard_normal(400)
        scores = truth + 2 * rng.standard_normal(400)
        told = valued(truth, scores, np.tile([0.5, 1.5], (400, 1)))
        z = {c: (c - 1.0) for c in (0.5, 1.5)}
        gain = {c: stats.norm.pdf(z[c]) - z[c] * stats.norm.sf(z[c]) for c in z}  # E[(1 + Z - c)+]
        wanted = {(c, "treat_all"): 1 - c for c in z} | {(c, "treat_by_effect"): gain[c] for c in z}
        wanted |= {(c, "by_effect_less_all"): gain[c] - 1 + c for c in z}
        held += all(row["ci_lower"] <= wanted[key] <= row["ci_upper"] for key, row in told.items())
    assert stats.binomtest(held, 200, 0.95).pvalue > ALARM, f"{held} of 200"


def test_where_nobody_is_worth_the_cost_nothing_is_gained_and_nothing_breaks():
    rng = np.random.default_rng(1)
    told = valued(rng.standard_normal(50), rng.standard_normal(50), np.full((50, 1), 99.0))
    assert told[99.0, "treat_by_effect"]["estimate"] == told[99.0, "treat_by_effect"]["ci_upper"] == 0.0
    assert told[99.0, "treat_all"]["ci_upper"] < 0


@pytest.mark.parametrize("priced", [True, False])
def test_a_job_values_at_its_costs_or_over_a_range(priced):
    made = SIMULATIONS["confounded_heterogeneous"](1_000, seed=1)
    frame = made.frame.assign(price=0.5)
    question = made.question.model_copy(update={"cost": "price"} if priced else {})
    problem = build(frame, question)
    found = {"dr_learner": estimators.estimate("dr_learner", problem, **QUICK)}
    problem = problem.with_learned(problem.learned(**QUICK))
    plan = Plan.model_construct(question=question, adjustment_set=question.covariates, thresholds={})
    told = effect_estimator._heterogeneity(frame, problem, plan, found)[0]["net_benefit"]
    assert told["costs"] == ("given" if priced else "range")
    seen = sorted({row["threshold"] for row in told["rows"]})
    assert seen == pytest.approx([0.5] if priced else thresholds(found["dr_learner"].cate).tolist())
    for row in told["rows"]:
        c = row["threshold"]
        gain = stats.norm.pdf(c - 1) - (c - 1) * stats.norm.sf(c - 1)
        wanted = {"treat_all": 1 - c, "treat_by_effect": gain, "by_effect_less_all": gain - 1 + c}[row["policy"]]
        assert abs(row["estimate"] - wanted) < 4 * row["std_error"] + 0.05


def test_a_cost_that_is_missing_somewhere_is_said_and_the_rest_stands():
    made = SIMULATIONS["confounded_heterogeneous"](400, seed=2)
    frame = made.frame.assign(price=np.where(np.arange(400) == 3, np.nan, 1.0))
    question = made.question.model_copy(update={"cost": "price"})
    problem = build(frame, question)
    told = effect_estimator._net_benefit(problem, np.linspace(-1, 1, problem.n), np.ones(problem.n))
    assert told["costs"] == "unusable"
    assert "price" in told["reason"]
    assert told["rows"] == []

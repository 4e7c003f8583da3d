"""The E-value against VanderWeele and Ding's published examples, and its own rules."""

import dataclasses
import math

import numpy as np
import pandas as pd
import pytest
from tests.sensitivity.problems import linear, refit_with

from causal_orchestrator.problem import build
from causal_orchestrator.question import Question
from causal_orchestrator.sensitivity import e_value

PRINTED = 0.005  # two printed decimals


def test_the_published_example_is_reproduced():
    # VanderWeele and Ding (2017): risk ratio 3.9 (95 % CI 1.8 to 8.7), E-values 7.26 and 3.0.
    assert e_value.e_value(3.9) == pytest.approx(7.26, abs=PRINTED)
    assert e_value.limit_e_value(1.8, 8.7) == pytest.approx(3.0, abs=PRINTED)


def test_a_protective_ratio_is_inverted_and_no_effect_needs_no_confounder():
    assert e_value.e_value(1 / 3.9) == pytest.approx(e_value.e_value(3.9))
    assert e_value.e_value(1.0) == 1.0
    assert e_value.limit_e_value(0.9, 1.2) == 1.0
    assert e_value.limit_e_value(0.3, 0.6) == pytest.approx(e_value.e_value(0.6))


def test_a_continuous_outcome_goes_through_the_standardised_difference():
    problem = linear()
    estimate = refit_with("difference_in_means")(problem)
    result = e_value.analyse(problem, estimate)
    treated = problem.treatment == 1
    arms = [problem.outcome[treated], problem.outcome[~treated]]
    pooled = math.sqrt(sum(((a - a.mean()) ** 2).sum() for a in arms) / (problem.n - 2))
    assert result.details["risk_ratio"] == pytest.approx(math.exp(0.91 * estimate.estimate / pooled))
    assert result.value == pytest.approx(e_value.e_value(result.details["risk_ratio"]))
    assert result.passed is None


def test_rescaling_the_outcome_changes_nothing():
    problem, refit = linear(), refit_with("difference_in_means")
    scaled = problem.change(outcome=1000 * problem.outcome - 7)
    first, second = (e_value.analyse(p, refit(p)).value for p in (problem, scaled))
    assert first == pytest.approx(second)


def test_a_binary_outcome_uses_the_risk_ratio_of_the_arms():
    frame = pd.DataFrame({"t": [0] * 100 + [1] * 100, "y": [1] * 20 + [0] * 80 + [1] * 60 + [0] * 40})
    problem = build(frame, Question(treatment="t", outcome="y"))
    result = e_value.analyse(problem, refit_with("difference_in_means")(problem))
    assert result.details["risk_ratio"] == pytest.approx(3.0)
    assert result.value == pytest.approx(3 + math.sqrt(6))


def test_the_curve_holds_pairs_that_explain_the_ratio_away():
    problem = linear(effect=2.0)
    result = e_value.analyse(problem, refit_with("difference_in_means")(problem))
    ratio = max(result.details["risk_ratio"], 1 / result.details["risk_ratio"])
    for a, b in result.details["curve"]:
        assert a * b / (a + b - 1) == pytest.approx(ratio)


def test_a_limit_beyond_the_possible_risks_stays_finite():
    problem = linear()
    binary = dataclasses.replace(problem, outcome=(problem.outcome > 0).astype(float), outcome_kind="binary")
    estimate = dataclasses.replace(refit_with("difference_in_means")(binary), ci_lower=-5.0, details={})
    assert np.isfinite(e_value.analyse(binary, estimate).details["risk_ratio_lower"])

"""Targeted maximum likelihood: reference values, bounds, double robustness."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from causal_orchestrator import estimators
from causal_orchestrator.errors import DesignError, EstimationError, InputError, NotApplicable
from causal_orchestrator.problem import build
from causal_orchestrator.question import Question
from causal_orchestrator.simulate import SIMULATIONS

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "tmle.json").read_text())
RTOL = 1e-9  # both fluctuations are solved to the last digits
QUICK = {"learners": ("linear",), "folds": 2, "repeats": 1}


@pytest.mark.parametrize("outcome", ["y", "event"])
@pytest.mark.parametrize("estimand", ["ATE", "ATT"])
def test_it_agrees_with_the_same_steps_in_statsmodels(outcome, estimand):
    problem = build(pd.DataFrame(GOLDEN["data"]), Question(treatment="t", outcome=outcome, covariates=["x0", "x1"]))
    found = estimators.estimate("tmle", problem, learners="parametric", estimand=estimand, trim=0.0)
    wanted = GOLDEN[outcome][estimand]
    assert found.estimate == pytest.approx(wanted["estimate"], rel=RTOL)
    # The reference divides by n, here by n - 1.
    assert found.std_error == pytest.approx(wanted["std_error"] * np.sqrt(problem.n / (problem.n - 1)), rel=RTOL)


def test_means_stay_within_the_outcome_where_residuals_are_weighted_a_lot():
    """With propensities far too low an unbounded correction leaves [0, 1]; a targeted one cannot."""
    made = SIMULATIONS["confounded_binary"](400, seed=6)
    problem = build(made.frame, made.question)
    right = problem.learned(**QUICK)
    low = np.stack([np.full_like(right.outcome, 0.98), np.full_like(right.outcome, 0.02)], axis=2)
    flat = np.full_like(right.outcome_by_level, 0.2)
    broken = problem.with_learned(replace(right, propensity=low, outcome_by_level=flat))
    targeted, augmented = (estimators.estimate(m, broken).details["means"]["1"] for m in ("tmle", "aipw"))
    assert 0 <= targeted <= 1 < augmented


@pytest.mark.parametrize("wrong", ["propensity", "outcome"])
def test_either_nuisance_may_be_wrong(wrong):
    made = SIMULATIONS["confounded_linear"](6_000, seed=7)
    problem = build(made.frame, made.question)
    right = problem.learned(**QUICK)
    flat = {"propensity": np.full_like(right.propensity, 0.5), "outcome_by_level": np.full_like(right.outcome_by_level, problem.outcome.mean())}  # fmt: skip
    key = "propensity" if wrong == "propensity" else "outcome_by_level"
    broken = problem.with_learned(replace(right, **{key: flat[key]}))
    found = estimators.estimate("tmle", broken)
    both = estimators.estimate("tmle", problem.with_learned(replace(right, **flat)))
    assert abs(found.estimate - 1) < 4 * found.std_error
    assert abs(both.estimate - 1) > 8 * both.std_error


def test_risk_and_odds_ratios_come_with_a_binary_outcome():
    made = SIMULATIONS["confounded_binary"](2_000, seed=8)
    found = estimators.estimate("tmle", build(made.frame, made.question), **QUICK)
    assert {row["measure"] for row in found.details["ratios"]} == {"risk ratio", "odds ratio"}
    assert abs(found.estimate - made.truth["ATE"]) < 4 * found.std_error


def test_an_arm_without_events_is_refused():
    made = SIMULATIONS["confounded_binary"](400, seed=9)
    frame = made.frame.assign(y=made.frame["y"] * (made.frame["t"] == 1))
    with pytest.raises(EstimationError) as raised:
        estimators.estimate("tmle", build(frame, made.question), learners="parametric")
    assert raised.value.code == "NO_VARIATION"


def test_no_overlap_and_no_trim_are_refused():
    made = SIMULATIONS["weak_overlap"](600, seed=10, strength=40.0)
    problem = build(made.frame, made.question)
    with pytest.raises(DesignError) as raised:
        estimators.estimate("tmle", problem, learners="parametric")
    assert raised.value.code == "POSITIVITY"
    with pytest.raises(InputError) as refused:
        estimators.estimate("tmle", problem, trim=0.5)
    assert refused.value.code == "OPTION_INVALID"


@pytest.mark.parametrize("method", ["aipw", "tmle"])
@pytest.mark.parametrize(("sample", "population"), [("SATE", "ATE"), ("SATT", "ATT")])
def test_a_samples_effect_has_the_estimate_of_the_populations_and_a_smaller_error_where_effects_vary(
    method, sample, population
):
    made = SIMULATIONS["confounded_heterogeneous"](3_000, seed=3)
    problem = build(made.frame, made.question)
    here, there = (estimators.estimate(method, problem, estimand=e, **QUICK) for e in (sample, population))
    assert here.estimate == pytest.approx(there.estimate, rel=1e-12)
    assert here.std_error < 0.95 * there.std_error
    assert here.estimand == sample
    assert "given the sample" in here.inference
    found = problem.learned(**QUICK)
    tau = found.mu1 - found.mu0
    if sample == "SATE" and method == "aipw":
        # The effects' own variance, and nothing else, is left out: residuals and effects are uncorrelated given x.
        left_out = problem.n * (there.std_error**2 - here.std_error**2)
        assert left_out == pytest.approx(tau.var(), rel=0.3)


@pytest.mark.parametrize("method", ["aipw", "tmle"])
def test_a_samples_effect_is_refused_with_sampling_weights(method):
    made = SIMULATIONS["confounded_linear"](300, seed=3)
    frame = made.frame.assign(w=np.linspace(1, 2, 300))
    problem = build(frame, made.question.model_copy(update={"weights": "w"}))
    with pytest.raises(NotApplicable, match="ask for ATT"):
        estimators.estimate(method, problem, estimand="SATT", **QUICK)

"""Recalibrated nuisances, and the error of a sample's effect on its treated rows."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import special

from causal_orchestrator.numerics import recalibration
from causal_orchestrator.numerics.doubly_robust import doubly_robust
from causal_orchestrator.numerics.nuisance import Nuisances
from causal_orchestrator.problem import build
from causal_orchestrator.question import Question
from causal_orchestrator.simulate import SIMULATIONS

DRAWS = 400
RATIO = 0.15  # four times the Monte Carlo error of a standard deviation from that many draws
PENALTY = 0.05  # what a penalty that weighs as one row leaves of a score of 4,000 rows


def test_predictions_that_shrink_are_stretched_to_the_best_line():
    rng = np.random.default_rng(1)
    truth = rng.normal(size=500)
    y, weights = truth + rng.normal(size=500), rng.uniform(0.5, 2.0, 500)
    own = rng.random(500) < 0.5
    found = recalibration.mean(3 + 0.2 * truth, y, weights, own)
    slope, level = np.polyfit(truth[own], y[own], 1, w=np.sqrt(weights[own]))
    np.testing.assert_allclose(found, level + slope * truth, rtol=1e-9)


def test_predictions_that_tell_the_wrong_way_give_way_to_the_mean():
    y = np.array([1.0, 2.0, 3.0, 10.0])
    own = np.array([True, True, True, False])
    assert recalibration.mean(-y, y, None, own) == pytest.approx(np.full(4, 2.0))
    assert recalibration.mean(np.ones(4), y, None, own) == pytest.approx(np.full(4, 2.0))


def test_probabilities_leave_no_error_that_they_or_the_columns_beside_them_tell():
    rng = np.random.default_rng(2)
    x, beside = rng.normal(size=4_000), rng.normal(size=(4_000, 2))
    target = (rng.random(4_000) < special.expit(2 * x + beside[:, 0])).astype(float)
    shrunken = special.expit(0.5 * x)
    everyone = np.ones(4_000, dtype=bool)
    found = recalibration.probability(shrunken, target, None, everyone, beside)
    columns = np.column_stack([np.ones(4_000), special.logit(shrunken), beside])
    left = columns.T @ (target - found) / np.sqrt(4_000)
    assert np.abs(left).max() < PENALTY
    assert np.abs(columns.T @ (target - shrunken) / np.sqrt(4_000)).max() > 100 * PENALTY


def test_probabilities_exist_where_a_column_tells_the_arms_apart():
    target = np.repeat([0.0, 1.0], 50)
    found = recalibration.probability(np.full(100, 0.5), target, None, np.ones(100, dtype=bool), target[:, None])
    assert ((found > 0) & (found < 1)).all()
    assert found[target == 1].min() > 0.9


def test_learned_nuisances_are_recalibrated():
    made = SIMULATIONS["confounded_nonlinear"](1_000, seed=3)
    problem = build(made.frame, made.question)
    found = problem.learned(repeats=1)
    for k in (0, 1):
        own = problem.treatment == k
        slope, level = np.polyfit(found.outcome_by_level[0, own, k], problem.outcome[own], 1)
        assert (slope, level) == pytest.approx((1.0, 0.0), abs=1e-6)
    left = (problem.treatment - found.e) @ found.outcome_by_level[0] / len(found.e) / problem.outcome.std()
    assert np.abs(left).max() < 2e-3


def test_the_error_of_a_samples_effect_has_what_predictions_without_treatment_miss():
    """Over assignments, with the sample held: predictions at zero miss a curve, effects vary along a line."""
    rng = np.random.default_rng(4)
    x = rng.normal(size=(600, 2))
    chance = special.expit(0.7 * x[:, 0])
    without = np.sin(3 * x[:, 0]) + x[:, 1] ** 2
    gain = 1 + x[:, 0]
    errors, said = [], []
    for draw in range(DRAWS):
        t = (rng.random(600) < chance).astype(float)
        y = without + t * gain + 0.3 * rng.normal(size=600)
        frame = pd.DataFrame({"y": y, "t": t.astype(int), "a": x[:, 0], "b": x[:, 1]})
        problem = build(frame, Question(treatment="t", outcome="y", covariates=["a", "b"]), seed=draw)
        found = doubly_robust(problem, _known(problem), estimand="SATT", trim=0.0)
        errors.append(found.joined.estimates[0] - gain[t == 1].mean())
        said.append(np.sqrt(found.joined.covariance[0, 0]))
    assert np.mean(said) == pytest.approx(np.std(errors), rel=RATIO)


def _known(problem) -> Nuisances:
    """Return the true propensity, no prediction without treatment, and the right one with it."""
    a, b = problem.covariates.T
    chance = special.expit(0.7 * a)
    treated = np.sin(3 * a) + b**2 + 1 + a
    return Nuisances(
        kind="learned",
        propensity=np.column_stack([1 - chance, chance])[None],
        outcome_by_level=np.column_stack([np.zeros_like(a), treated])[None],
        outcome=np.zeros((1, len(a))),
        treatment=chance[None],
        fold=np.zeros((1, len(a)), dtype=np.int64),
    )

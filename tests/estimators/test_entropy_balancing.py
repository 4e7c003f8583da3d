"""Entropy balancing: exact moments, reference values, and what it refuses."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from causal_orchestrator import estimators
from causal_orchestrator.errors import DesignError, InputError
from causal_orchestrator.problem import build
from causal_orchestrator.question import Question
from causal_orchestrator.simulate import SIMULATIONS

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "entropy_balancing.json").read_text())
DATA = Path(os.environ.get("CAUSAL_TEST_DATA", Path(__file__).parents[2].parent / "shared" / "data"))
PRIMAL = 1e-7  # the interior-point solver's own accuracy
DERIVATIVE = 1e-7  # central differences
MOMENTS = 1e-9  # in standard deviations


def golden_problem():
    frame = pd.DataFrame(GOLDEN["data"])
    return build(frame, Question(treatment="t", outcome="y", covariates=["x0", "x1", "x2"]))


@pytest.mark.parametrize("estimand", ["ATT", "ATE"])
def test_estimate_and_error_are_those_of_the_stacked_equations(estimand):
    problem = golden_problem()
    found = estimators.estimate("entropy_balancing", problem, estimand=estimand)
    wanted = GOLDEN[estimand]
    assert found.estimate == pytest.approx(wanted["estimate"], rel=PRIMAL)
    assert found.std_error == pytest.approx(wanted["std_error"], rel=DERIVATIVE)


def test_weights_are_those_of_the_primal_problem():
    problem = golden_problem()
    found = estimators.estimate("entropy_balancing", problem)
    control = problem.treatment == 0
    weights = np.zeros(problem.n)
    weights[problem.rows] = np.where(control, found.details["weights"], 0.0)
    wanted = np.zeros(problem.n)
    wanted[np.array(GOLDEN["data"]["t"]) == 0] = GOLDEN["weights of the controls"]
    np.testing.assert_allclose(weights / weights.sum(), wanted, atol=PRIMAL)


def test_one_binary_covariate_gives_the_difference_standardised_by_hand():
    t = np.repeat([1, 0], [40, 60])
    x = np.concatenate([np.repeat([1, 0], [30, 10]), np.repeat([1, 0], [20, 40])])
    y = 2.0 * x + t * (1 + x) + np.tile([0.5, -0.5], 50)
    problem = build(pd.DataFrame({"t": t, "x": x, "y": y}), Question(treatment="t", outcome="y", covariates=["x"]))
    # Within levels of x the effect is 2 and 1; three quarters of the treated and half of all have x = 1.
    assert estimators.estimate("entropy_balancing", problem).estimate == pytest.approx(1.75, abs=MOMENTS)
    assert estimators.estimate("entropy_balancing", problem, estimand="ATE").estimate == pytest.approx(1.5, abs=MOMENTS)


@pytest.mark.parametrize("estimand", ["ATT", "ATC", "ATE"])
@pytest.mark.parametrize("moments", [1, 2, 3])
def test_moments_are_met_exactly(estimand, moments):
    made = SIMULATIONS["confounded_linear"](800, seed=2)
    problem = build(made.frame, made.question)
    weights = estimators.estimate("entropy_balancing", problem, estimand=estimand, moments=moments).details["weights"]
    z = (problem.covariates - problem.covariates.mean(axis=0)) / problem.covariates.std(axis=0)
    inside = {"ATT": problem.treatment == 1, "ATC": problem.treatment == 0, "ATE": np.ones(problem.n, dtype=bool)}
    for power in range(1, moments + 1):
        wanted = (z[inside[estimand]] ** power).mean(axis=0)
        for arm in (0, 1):
            own = problem.treatment == arm
            np.testing.assert_allclose(weights[own] @ z[own] ** power / weights[own].sum(), wanted, atol=MOMENTS)


def test_a_target_beyond_the_controls_is_refused_by_name():
    rng = np.random.default_rng(3)
    t = np.repeat([1.0, 0.0], 50)
    x = rng.random(100) + 5 * t
    frame = pd.DataFrame({"t": t, "x": x, "other": rng.random(100), "y": rng.random(100)})
    problem = build(frame, Question(treatment="t", outcome="y", covariates=["x", "other"]))
    with pytest.raises(DesignError) as raised:
        estimators.estimate("entropy_balancing", problem)
    assert raised.value.code == "INFEASIBLE"
    assert raised.value.details["moment"] == "x"


def test_a_level_that_no_control_has_is_refused():
    rng = np.random.default_rng(4)
    t = np.repeat([1.0, 0.0], 50)
    frame = pd.DataFrame({"t": t, "x": t * (rng.random(100) < 0.3), "y": rng.random(100)})
    problem = build(frame, Question(treatment="t", outcome="y", covariates=["x"]))
    with pytest.raises(DesignError, match="'x'") as raised:
        estimators.estimate("entropy_balancing", problem)
    assert raised.value.code == "INFEASIBLE"


def test_too_many_moments_are_refused():
    with pytest.raises(InputError) as raised:
        estimators.estimate("entropy_balancing", golden_problem(), moments=4)
    assert raised.value.code == "OPTION_INVALID"


def test_the_effect_on_the_treated_is_found_where_effects_differ():
    made = SIMULATIONS["confounded_heterogeneous"](4_000, seed=5)
    found = estimators.estimate("entropy_balancing", build(made.frame, made.question), estimand="ATT")
    assert abs(found.estimate - made.truth["SATT"]) < 3 * found.std_error
    assert made.truth["SATT"] - made.truth["ATE"] > 4 * found.std_error


@pytest.mark.skipif(not (DATA / "lalonde_matchit614.csv").exists(), reason=f"no reference data at {DATA}")
def test_the_number_in_the_guide_of_weightit_is_reproduced():
    """WeightIt's guide on these data (``method = "ebal"``, ATT), https://ngreifer.github.io/WeightIt; quoted from memory."""
    frame = pd.read_csv(DATA / "lalonde_matchit614.csv")
    covariates = ["age", "educ", "race", "married", "nodegree", "re74", "re75"]
    problem = build(frame, Question(treatment="treat", outcome="re78", covariates=covariates))
    assert round(estimators.estimate("entropy_balancing", problem).estimate) == 1273

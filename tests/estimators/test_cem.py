"""Coarsened exact matching: cells, what is dropped, variances, and what it refuses."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from causal_orchestrator import estimators
from causal_orchestrator.errors import CausalError, DesignError, EstimationError
from causal_orchestrator.problem import build
from causal_orchestrator.question import Question
from causal_orchestrator.simulate import SIMULATIONS

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "cem.json").read_text())
DATA = Path(os.environ.get("CAUSAL_TEST_DATA", Path(__file__).parents[2].parent / "shared" / "data"))
ROUNDING = 1e-10


def problem_of(frame, *covariates):
    return build(frame, Question(treatment="t", outcome="y", covariates=list(covariates)))


@pytest.mark.parametrize("estimand", ["ATT", "ATC", "ATE"])
def test_estimate_and_dropped_rows_are_those_of_a_table_of_cells(estimand):
    problem = problem_of(pd.DataFrame(GOLDEN["data"]), "x0", "x1", "x2")
    found = estimators.estimate("cem", problem, estimand=estimand, bins=GOLDEN["bins"])
    assert found.estimate == pytest.approx(GOLDEN[estimand], rel=ROUNDING)
    assert found.details["dropped"] == GOLDEN["dropped"]
    assert found.rows[0].n == problem.n - sum(GOLDEN["dropped"].values())
    assert any("left out" in note for note in found.notes)


@pytest.mark.skipif(not (DATA / "lalonde_matchit614.csv").exists(), reason=f"no reference data at {DATA}")
def test_the_matched_sample_is_that_of_matchit():
    """MatchIt 4.5 with ``method = "cem"`` keeps 65 treated and 75 controls, effective sample size 41.29 (its guide; from memory)."""
    frame = pd.read_csv(DATA / "lalonde_matchit614.csv")
    covariates = ["age", "educ", "race", "married", "nodegree", "re74", "re75"]
    problem = build(frame, Question(treatment="treat", outcome="re78", covariates=covariates))
    found = estimators.estimate("cem", problem)
    assert found.details["dropped"] == {"0": 429 - 75, "1": 185 - 65}
    assert found.diagnostics["ess 0"]["value"] == pytest.approx(41.29, abs=0.005)
    assert any("only 35% of the ATT's rows" in note for note in found.notes)


def test_pairs_have_the_variance_of_their_differences():
    rng = np.random.default_rng(1)
    x = np.repeat(np.arange(40.0), 2)
    frame = pd.DataFrame({"t": np.tile([0.0, 1.0], 40), "x": x, "y": x + rng.standard_normal(80)})
    found = estimators.estimate("cem", problem_of(frame, "x"), bins=40)
    gaps = frame["y"].to_numpy()[1::2] - frame["y"].to_numpy()[::2]
    assert found.estimate == pytest.approx(gaps.mean(), rel=ROUNDING)
    assert found.std_error**2 == pytest.approx(gaps.var() / 40, rel=ROUNDING)


def test_one_cell_has_the_variance_of_a_difference_in_means():
    made = SIMULATIONS["randomized"](200, seed=2)
    problem = build(made.frame, made.question.model_copy(update={"covariates": ("x0",)}))
    whole = estimators.estimate("cem", problem, bins=1)
    welch = estimators.estimate("difference_in_means", problem)
    assert whole.estimate == pytest.approx(welch.estimate, rel=ROUNDING)
    assert whole.std_error == pytest.approx(welch.std_error, rel=ROUNDING)


def test_weights_balance_the_cells_exactly():
    problem = problem_of(pd.DataFrame(GOLDEN["data"]), "x0", "x1", "x2")
    found = estimators.estimate("cem", problem, bins=4)
    weights, cell = found.details["weights"], found.details["stratum"]
    arms = [np.bincount(cell[rows], weights[rows]) for rows in ((cell >= 0) & (problem.treatment == k) for k in (0, 1))]
    np.testing.assert_allclose(*arms, rtol=ROUNDING)
    assert (weights[cell < 0] == 0).all()


def test_finer_bins_leave_less_bias_and_drop_more():
    made = SIMULATIONS["confounded_linear"](4_000, seed=3)
    problem = build(made.frame, made.question)
    coarse, fine = (estimators.estimate("cem", problem, bins=b) for b in (3, 12))
    assert abs(fine.estimate - 1) < abs(coarse.estimate - 1) / 2
    assert sum(fine.details["dropped"].values()) > sum(coarse.details["dropped"].values())


def test_the_regression_within_cells_takes_the_rest_of_the_bias_away():
    made = SIMULATIONS["confounded_linear"](4_000, seed=3)
    problem = build(made.frame, made.question)
    found = estimators.estimate("cem", problem, bins=3, bias_adjustment=True)
    plain = estimators.estimate("cem", problem, bins=3)
    assert abs(plain.estimate - 1) > 4 * plain.std_error
    assert abs(found.estimate - 1) < 3 * found.std_error


def test_arms_without_a_common_cell_are_refused():
    frame = pd.DataFrame({"t": np.repeat([0.0, 1.0], 20), "x": np.arange(40.0), "y": np.arange(40.0) % 7})
    with pytest.raises(DesignError) as raised:
        estimators.estimate("cem", problem_of(frame, "x"), bins=20)
    assert raised.value.code == "POSITIVITY"


def test_an_adjustment_without_rows_for_it_is_refused():
    x = np.repeat(np.arange(40.0), 2)
    frame = pd.DataFrame({"t": np.tile([0.0, 1.0], 40), "x": x, "y": x % 7})
    with pytest.raises(EstimationError) as raised:
        estimators.estimate("cem", problem_of(frame, "x"), bins=40, bias_adjustment=True)
    assert raised.value.code == "TOO_FEW_ROWS"


def test_no_bins_are_refused():
    with pytest.raises(CausalError) as raised:
        estimators.estimate("cem", problem_of(pd.DataFrame(GOLDEN["data"]), "x0"), bins=0)
    assert raised.value.code == "OPTION_INVALID"

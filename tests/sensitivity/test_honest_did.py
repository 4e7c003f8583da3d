"""Bounds where trends are not parallel agree with the R package, with the linear programme they replace, and cover."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import optimize

from causal_orchestrator import estimators
from causal_orchestrator.errors import NotApplicable
from causal_orchestrator.numerics import honest
from causal_orchestrator.problem import build
from causal_orchestrator.sensitivity import honest_did
from causal_orchestrator.simulate import SIMULATIONS

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "honest_did.json").read_text())
DRAWN = 1e-4  # the R package draws a million normals for each half-length: its third digit moves
OPTIMUM = 1e-9  # of a linear programme
DRAWS = 200


def published(weights=(1.0, 0.0, 0.0, 0.0)):
    estimates = np.array(GOLDEN["estimates"])
    return honest.EventStudy(estimates[:4], estimates[4:], np.array(GOLDEN["covariance"]), np.array(weights))


@pytest.mark.parametrize("bound", ["0", "0.1", "0.2"])
def test_fixed_length_intervals_are_those_of_the_r_package(bound):
    assert honest.smoothness(published(), float(bound)) == pytest.approx(GOLDEN["smoothness"][bound], abs=DRAWN)


def test_the_hybrid_accepts_what_the_r_package_accepts_up_to_its_grid():
    low, high = honest.relative_magnitudes(published(), 1.0)
    step = 40 * published().std_error / (GOLDEN["grid_points"] - 1)
    noise = 0.1 * step  # both limits of the least favourable test are simulated
    assert -noise <= GOLDEN["relative"]["1"][0] - low <= step + noise
    assert -noise <= high - GOLDEN["relative"]["1"][1] <= step + noise


def test_no_estimator_of_the_same_form_is_shorter():
    study, bound = published((0.25, 0.25, 0.25, 0.25)), 0.05
    low, high = honest.smoothness(study, bound)
    back, ahead = np.arange(4, 0, -1.0), np.arange(1, 5.0)
    kinks = np.maximum(back - np.arange(4)[:, None], 0.0)
    later = sum(abs(np.maximum(ahead - j, 0.0) @ study.weights) for j in range(1, 4))
    rng = np.random.default_rng(0)
    for _ in range(DRAWS):
        free = rng.standard_normal(3) * 2
        before = np.linalg.solve(kinks, np.append(ahead @ study.weights, free))
        vector = np.append(before, study.weights)
        bias = bound * (np.abs(kinks @ before).sum() + later)
        error = float(np.sqrt(vector @ study.covariance @ vector))
        assert honest.folded_quantile(bias, error, 0.95) >= (high - low) / 2 - OPTIMUM


def test_the_corners_give_the_value_of_the_linear_programme():
    """min over eta and the differences of effects d with w'd = theta, of eta with every inequality below eta times its error."""
    study = published((0.4, 0.3, 0.2, 0.1))
    steps = np.diff(np.insert(np.eye(8), 4, 0.0, axis=0), axis=0)
    estimates = np.append(study.before, study.after)
    share = np.cumsum(study.weights[::-1])[::-1]
    for s, sign, bound, theta in ((3, 1.0, 1.0, 0.1), (0, -1.0, 0.5, 0.5), (2, 1.0, 2.0, -0.3)):
        piece = honest._piece(study, sign * steps[s], steps[4:], bound, 0.95, np.zeros((10, 8)))
        rows = np.vstack([steps[4:] - bound * sign * steps[s], -steps[4:] - bound * sign * steps[s]])
        errors = np.sqrt(np.einsum("ij,jk,ik->i", rows, study.covariance, rows))
        moves = np.vstack([-np.eye(4), np.eye(4)])
        solved = optimize.linprog(
            np.append(1.0, np.zeros(4)), A_ub=np.column_stack([-errors, moves]), b_ub=-rows @ estimates,
            A_eq=np.append(0.0, share)[None, :], b_eq=[theta], bounds=[(None, None)] * 5,
        )  # fmt: skip
        assert float((piece.values - theta * piece.slopes).max()) == pytest.approx(solved.fun, abs=OPTIMUM)


def test_without_violations_the_interval_is_nearly_the_usual_one():
    study = published()
    low, high = honest.relative_magnitudes(study, 0.0)
    usual = 1.96 * study.std_error
    assert (high - low) / 2 == pytest.approx(usual, rel=0.05)  # the hybrid gives up a tenth of its size


def test_the_set_covers_where_trends_part_by_as_much_as_before():
    rng = np.random.default_rng(1)
    root = np.linalg.cholesky(np.array(GOLDEN["covariance"]))
    trend = np.array([-0.02, 0.03, 0.0, 0.03, -0.03, 0.02, 0.07, 0.12])  # moves of up to 0.05 before and after
    effect = 0.2
    inside = 0
    for _ in range(DRAWS):
        drawn = trend + np.repeat([0.0, effect], 4) + root @ rng.standard_normal(8)
        pieces = honest._pieces(replace(published(), before=drawn[:4], after=drawn[4:]), 1.0, 0.95, 0)
        inside += any(piece.accepts(np.array([effect]))[0] for piece in pieces)
    assert inside / DRAWS > 0.95 - 3 * np.sqrt(0.95 * 0.05 / DRAWS)  # three standard errors of the simulation


def test_breakdowns_are_where_the_intervals_reach_zero():
    study = published()
    limit = honest.smoothness_breakdown(study)
    assert honest.smoothness(study, limit * 0.999)[0] > 0 > honest.smoothness(study, limit * 1.01)[0]
    limit = honest.relative_breakdown(study)
    assert honest.relative_magnitudes(study, limit * 0.97)[0] > 0 > honest.relative_magnitudes(study, limit * 1.03)[0]
    assert honest.relative_breakdown(replace(study, after=study.after * 0)) == 0.0


# --- the analysis -----------------------------------------------------------------------------------------------------


def told(slope=0.0, effect=1.0, n=3_000, method="callaway_santanna", seed=0):
    made = SIMULATIONS["panel_staggered"](n, seed=seed, effect=effect)
    frame = made.frame.assign(y=made.frame["y"] + slope * (made.frame["first"] > 0) * made.frame["period"])
    problem = build(frame, made.question)
    options = {"aggregation": "dynamic", "base_period": "universal"} if method == "callaway_santanna" else {}
    return honest_did.analyse(
        problem, estimators.estimate(method, problem), event_study=lambda p: estimators.estimate(method, p, **options)
    )


@pytest.mark.parametrize("method", ["callaway_santanna", "event_study"])
def test_parallel_trends_pass_and_the_headline_is_found_again(method):
    found = told(method=method)
    assert found.passed
    assert found.value > 1
    made = SIMULATIONS["panel_staggered"](3_000, seed=0)
    headline = estimators.estimate(method, build(made.frame, made.question))
    assert found.details["original"]["estimate"] == pytest.approx(headline.estimate, rel=0.02)


def test_trends_that_parted_before_explain_an_effect_away():
    found = told(slope=0.3, effect=0.0)
    assert not found.passed
    assert found.value < 1
    assert found.details["slope"]["p_value"] < 0.01
    assert found.details["slope"]["estimate"] == pytest.approx(0.3, abs=0.15)  # three standard errors


def test_a_zero_passes_only_if_it_stays_precise():
    found = told(effect=0.0, n=18_000)
    assert found.value is None
    assert found.passed
    assert not told(effect=0.0, n=900).passed


def test_few_treated_units_are_not_for_clustered_errors():
    made = SIMULATIONS["panel_block"](600, seed=0)
    ever = made.frame.groupby("unit")["t"].transform("max") > 0
    few = made.frame.loc[ever, "unit"].unique()[:3]
    frame = made.frame[~ever | made.frame["unit"].isin(few)]
    problem = build(frame, made.question)
    with pytest.raises(NotApplicable, match="treated units"):
        honest_did.analyse(problem, estimators.estimate("did", problem), event_study=lambda p: estimators.estimate("event_study", p))  # fmt: skip

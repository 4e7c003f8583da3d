"""Who gains more: curves and areas against their definitions, projections against statsmodels, tests against chance."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import stats

from causal_orchestrator import estimators
from causal_orchestrator.agents import effect_estimator
from causal_orchestrator.numerics import heterogeneity
from causal_orchestrator.problem import build
from causal_orchestrator.simulate import SIMULATIONS

RTOL = 1e-10  # the same sums in another order
ALARM = 1e-3  # chance of a false alarm
QUICK = {"learners": ("linear",), "folds": 5, "repeats": 1}


def sample(n=400, seed=0, slope=1.0):
    rng = np.random.default_rng(seed)
    cate = rng.standard_normal(n)
    return cate, 1 + slope * cate + 2 * rng.standard_normal(n)


def test_areas_are_those_of_the_curve_of_yadlowsky_et_al():
    """TOC(u) is the mean score of the top share u less the mean of all; AUTOC is its mean, Qini that of u TOC(u).

    `grf::rank_average_treatment_effect` sums over the ranks 1/n … 1; the areas here are the integrals of the same steps.
    """
    cate, scores = sample(n=5_000)
    ordered = scores[np.argsort(-cate)]
    share = np.arange(1, len(cate) + 1) / len(cate)
    toc = np.cumsum(ordered) / np.arange(1, len(cate) + 1) - scores.mean()
    one = np.ones(len(cate))
    spread = scores.std()
    # A sum over ranks and an integral differ by half a step at the first ranks, where the curve is steepest.
    assert heterogeneity.targeting(cate, scores, one, curve="autoc")[0] == pytest.approx(
        toc.mean(), abs=10 * spread / len(cate)
    )
    assert heterogeneity.targeting(cate, scores, one, curve="qini")[0] == pytest.approx((share * toc).mean(), abs=spread / len(cate))  # fmt: skip


@pytest.mark.parametrize("curve", ["autoc", "qini"])
def test_influence_is_what_leaving_a_row_out_does(curve):
    cate, scores = sample(n=300, seed=3)
    one = np.ones(300)
    influence = heterogeneity.targeting(cate, scores, one, curve=curve)[1]
    left = np.array([heterogeneity.targeting(np.delete(cate, i), np.delete(scores, i), one[1:], curve=curve)[0] for i in range(300)])  # fmt: skip
    jackknife = np.sqrt(299 / 300 * ((left - left.mean()) ** 2).sum())
    assert influence.std(ddof=1) / np.sqrt(300) == pytest.approx(jackknife, rel=0.05)  # they agree in large samples


def test_the_gain_of_a_share_is_the_sum_over_those_ranked_first():
    cate, scores = sample(n=400)
    told = heterogeneity.gain_curve(cate, scores, np.ones(400), None, 0.95, 0)
    ordered = scores[np.argsort(-cate)]
    for point in told:
        assert point["gain"] == pytest.approx(ordered[: round(400 * point["share"])].sum() / 400, rel=RTOL)
        assert point["random"] == pytest.approx(point["share"] * scores.mean(), rel=RTOL)
        assert point["ci_lower"] < point["gain"] < point["ci_upper"]


def test_ties_are_taken_in_part_so_that_no_order_of_rows_matters():
    cate, scores = sample(n=400)
    coarse = np.round(cate)
    turn = np.random.default_rng(1).permutation(400)
    one = np.ones(400)
    straight = heterogeneity.gain_curve(coarse, scores, one, None, 0.95, 0)
    turned = heterogeneity.gain_curve(coarse[turn], scores[turn], one, None, 0.95, 0)
    assert [p["gain"] for p in straight] == pytest.approx([p["gain"] for p in turned], rel=RTOL)


def test_the_band_of_the_curve_holds_as_a_whole():
    held = 0
    for seed in range(60):
        cate, scores = sample(n=800, seed=100 + seed)
        told = heterogeneity.gain_curve(cate, scores, np.ones(800), None, 0.95, seed)
        cut = stats.norm.isf([p["share"] for p in told])
        truth = np.array([p["share"] for p in told]) + stats.norm.pdf(cut)  # E[(1 + z) 1(z > cut)]
        held += all(p["ci_lower"] <= g <= p["ci_upper"] for p, g in zip(told, truth, strict=True))
    assert stats.binomtest(held, 60, 0.95).pvalue > ALARM, f"{held} of 60"


@pytest.mark.parametrize("curve", ["autoc", "qini"])
def test_intervals_of_areas_cover(curve):
    truth = {"autoc": 0.9032, "qini": 0.2821}[curve]  # for a normal effect: ∫ φ(z_u)/u du, and 1/(2√π)
    held = 0
    for seed in range(300):
        cate, scores = sample(n=800, seed=500 + seed)
        value, influence = heterogeneity.targeting(cate, scores, np.ones(800), curve=curve)
        held += abs(value - truth) < 1.96 * influence.std(ddof=1) / np.sqrt(800)
    assert stats.binomtest(held, 300, 0.95).pvalue > ALARM, f"{held} of 300"


def test_the_projection_is_a_robust_regression_of_the_scores():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((500, 3)) * [1, 5, 0.1]
    scores = 1 + x @ [0.5, 0.1, 0.0] + rng.standard_normal(500) * (1 + x[:, 0] ** 2)
    told = heterogeneity.projection(scores, x, ["a", "b", "c"], weights=None, cluster=None, confidence_level=0.95, seed=0)  # fmt: skip
    fit = sm.OLS(scores, sm.add_constant((x - x.mean(axis=0)) / x.std(axis=0))).fit(cov_type="HC0")
    scale = np.sqrt(500 / 499)  # the influence function's n/(n-1)
    assert [row["estimate"] for row in told["rows"]] == pytest.approx(fit.params[1:], rel=1e-8)
    assert [row["std_error"] for row in told["rows"]] == pytest.approx(fit.bse[1:] * scale, rel=1e-8)
    wald = fit.wald_test(np.eye(4)[1:], use_f=False, scalar=True)
    assert told["statistic"] == pytest.approx(float(wald.statistic) / scale**2, rel=1e-8)


def test_subgroups_hold_together():
    """Of ten groups' intervals all hold in 95 % of draws."""
    held = 0
    for seed in range(80):
        rng = np.random.default_rng(900 + seed)
        group = rng.integers(0, 10, 1_000)
        scores = group / 10 + rng.standard_normal(1_000) * (1 + group)
        told, covariance = heterogeneity.subgroups(scores, (group[:, None] == np.arange(10)) * 1.0, weights=None, cluster=None)  # fmt: skip
        critical = heterogeneity.simultaneous_critical_value(covariance, 0.95, seed=seed)
        held += bool(np.all(np.abs(told - np.arange(10) / 10) < critical * np.sqrt(np.diag(covariance))))
    assert stats.binomtest(held, 80, 0.95).pvalue > ALARM, f"{held} of 80"


def test_no_bar_of_the_histogram_shows_few_rows():
    cate = np.concatenate([np.random.default_rng(0).standard_normal(500), [40.0, -30.0]])
    told = heterogeneity.histogram(cate)
    assert min(told["counts"]) >= 10
    assert sum(told["counts"]) == 502
    assert -10 < told["edges"][0] < told["edges"][-1] < 10


def found_in(name, seed, n=800, **columns):
    made = SIMULATIONS[name](n, seed=seed)
    frame = made.frame.assign(**columns)
    problem = build(frame, made.question)
    problem = problem.with_learned(problem.learned(**QUICK))
    learned = estimators.estimate("dr_learner", problem, **QUICK)
    plan = effect_estimator.Plan.model_construct(question=made.question, adjustment_set=made.question.covariates, thresholds={})  # fmt: skip
    return problem, effect_estimator._heterogeneity(frame, problem, plan, {"dr_learner": learned})


def test_differences_are_found_where_they_are_and_not_where_they_are_not():
    assert found_in("confounded_heterogeneous", 1)[1][0]["evidence"]["detected"]
    alarms = sum(found_in("confounded_linear", seed, n=500)[1][0]["evidence"]["detected"] for seed in range(20))
    assert stats.binomtest(alarms, 20, 0.05, alternative="greater").pvalue > ALARM, f"{alarms} of 20"


def test_each_rows_effect_is_in_the_file():
    problem, (_, by_row) = found_in("confounded_heterogeneous", 1)
    kept = pd.read_parquet(io.BytesIO(effect_estimator._cate_file(problem, by_row, by_row.cate, None)))
    assert list(kept["row"]) == list(range(problem.n))
    assert kept["effect"].to_numpy()[problem.rows] == pytest.approx(by_row.cate, rel=RTOL)
    assert set(kept["method"]) == {"dr_learner"}


def test_a_learner_without_folds_is_not_judged_by_its_own_rows():
    made = SIMULATIONS["confounded_linear"](300, seed=0)
    problem = build(made.frame, made.question)
    inside = estimators.estimate("dr_learner", problem, learners="parametric")
    assert effect_estimator._by_row({"dr_learner": inside}) is None

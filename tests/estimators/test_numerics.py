"""The arrays' mathematics against exhaustive or textbook computations."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import special
from statsmodels.stats.multitest import multipletests

from causal_orchestrator.numerics.folds import folds
from causal_orchestrator.numerics.inference import (
    holm,
    influence_covariance,
    median_over_repeats,
    simultaneous_critical_value,
)
from causal_orchestrator.numerics.learners import features, fit, ridge_regression
from causal_orchestrator.numerics.linear import independent_columns, least_squares
from causal_orchestrator.numerics.logit import fit_logit, fit_multinomial
from causal_orchestrator.numerics.matching import local_covariance, match, match_once
from causal_orchestrator.numerics.nuisance import recipe, stack_shares
from causal_orchestrator.numerics.weighting import weighted_means
from causal_orchestrator.problem import build
from causal_orchestrator.question import Question
from causal_orchestrator.simulate import SIMULATIONS

EXACT = 1e-12


def rng():
    return np.random.default_rng(3)


# --- matching -------------------------------------------------------------------------------------------------------


SEKHON = 1e-5  # the tolerance of R's Matching


def exhaustive(targets, donors, values, ratio, caliper, tolerance):
    found = np.zeros(len(targets))
    variance = np.concatenate([targets, donors]).var()
    for i, target in enumerate(targets):
        gaps = np.abs(donors - target)
        last = np.sort(gaps)[ratio - 1]
        near = gaps <= np.sqrt(last**2 + tolerance * variance) + 1e-9
        if caliper is None or last <= caliper:
            near &= gaps <= (np.inf if caliper is None else caliper)
            found[i] = values[near].mean()
    return found


@pytest.mark.parametrize("ratio", [1, 3])
@pytest.mark.parametrize("caliper", [None, 0.05])
@pytest.mark.parametrize("digits", [1, 6])
@pytest.mark.parametrize("tolerance", [0.0, SEKHON])
def test_matching_on_a_line_is_an_exhaustive_search(ratio, caliper, digits, tolerance):
    targets, donors, values = (np.round(rng().standard_normal(m), digits) for m in (40, 70, 70))
    found = match(targets[:, None], donors[:, None], ratio=ratio, caliper=caliper, tolerance=tolerance)
    wanted = exhaustive(targets, donors, values, ratio, caliper, tolerance)
    assert found.average(values) == pytest.approx(wanted, abs=1e-10)
    assert found.used.sum() == pytest.approx(found.matched.sum())


def test_matching_in_space_takes_the_nearest():
    targets, donors = rng().standard_normal((30, 3)), rng().standard_normal((50, 3)) + 0.1
    nearest = np.linalg.norm(targets[:, None] - donors[None], axis=2).argmin(axis=1)
    values = np.arange(50.0)
    assert match(targets, donors, ties=False).average(values).tolist() == values[nearest].tolist()


def test_matching_without_replacement_uses_nobody_twice_and_is_greedy():
    targets, donors = rng().standard_normal(25), rng().standard_normal(40)
    order = np.argsort(-targets)
    found = match_once(targets, donors, order)
    free, expected = np.ones(40, dtype=bool), np.zeros(25)
    for i in order:
        place = np.where(free, np.abs(donors - targets[i]), np.inf).argmin()
        free[place], expected[i] = False, place
    assert found.average(np.arange(40.0)).tolist() == expected.tolist()
    assert found.used.max() == 1


def test_all_ties_in_space_share_the_match():
    donors, values = np.repeat(np.eye(3), 100, axis=0), np.arange(300.0)
    found = match(np.eye(3)[:2], donors)
    assert found.average(values).tolist() == [49.5, 149.5]
    assert found.count.tolist() == [100, 100]
    assert found.used.reshape(3, 100).sum(axis=1) == pytest.approx([1, 1, 0])


@pytest.mark.parametrize("columns", [1, 2])
def test_without_ties_the_first_in_order_serves(columns):
    donors = np.zeros((4, columns)) + np.array([[1.0], [0.0], [0.0], [1.0]])
    found = match(np.zeros((1, columns)), donors, ratio=3, ties=False)
    assert (found.used > 0).tolist() == [True, True, True, False]
    once = match_once(np.zeros(3), donors[:, 0], np.arange(3))
    assert once.average(np.arange(4.0)).tolist() == [1, 2, 0]


def test_local_variance_sees_the_noise_and_not_the_trend():
    x = np.sort(rng().random(4_000))
    y = 10 * x + 0.5 * rng().standard_normal(4_000)
    assert local_covariance(match(x[:, None], x[:, None], ratio=3), y, y).mean() == pytest.approx(0.25, rel=0.1)


# --- fits -----------------------------------------------------------------------------------------------------------


def test_columns_that_repeat_others_are_left_out():
    x = rng().standard_normal((50, 3))
    doubled = np.column_stack([np.ones(50), x, x[:, 0] + x[:, 1], x[:, [2]] * 1e6])
    assert independent_columns(doubled).tolist() == [0, 1, 2, 3]
    assert least_squares(doubled, x @ [1.0, 2.0, 3.0]).coefficients[4:].tolist() == [0.0, 0.0]


def test_two_levels_of_a_multinomial_logit_are_a_logit():
    x = np.column_stack([np.ones(300), rng().standard_normal((300, 2))])
    codes = (rng().random(300) < 0.4) * 1.0
    assert fit_multinomial(x, codes, 2)[:, 1] == pytest.approx(fit_logit(x, codes).probability, rel=EXACT)


def test_a_multinomial_logit_balances_its_scores():
    x = np.column_stack([np.ones(400), rng().standard_normal((400, 2))])
    codes = np.random.default_rng(4).integers(0, 3, 400) * 1.0
    probability = fit_multinomial(x, codes, 3)
    residual = (codes[:, None] == np.arange(3)) - probability
    assert np.abs(x.T @ residual).max() < 1e-8


def test_a_separated_logit_says_so():
    x = np.column_stack([np.ones(100), np.linspace(-1, 1, 100)])
    assert fit_logit(x, (x[:, 1] > 0) * 1.0).separated


@pytest.mark.parametrize("name", ["linear", "interactions", "sparse_interactions", "boosting", "forest"])
@pytest.mark.parametrize("kind", ["mean", "probability"])
def test_each_learner_beats_the_mean_out_of_sample(name, kind):
    x = rng().standard_normal((1_200, 4))
    signal = 1 / (1 + np.exp(-2 * x[:, 0]))
    target = (rng().random(1_200) < signal) * 1.0 if kind == "probability" else signal
    seen = features(name, x)
    predict = fit(name, seen[:800], target[:800], None, kind=kind, seed=0)
    error = ((predict(seen[800:]) - signal[800:]) ** 2).mean()
    assert error < 0.5 * signal[800:].var()


@pytest.mark.parametrize("kind", ["mean", "probability"])
def test_few_bends_are_learned_better_than_by_a_ridge_over_all_of_them(kind):
    x = np.random.default_rng(11).standard_normal((5_000, 6))
    bend = x[:, 0] * x[:, 1] + np.abs(x[:, 2])
    signal = special.expit(0.8 * (bend - 0.8)) if kind == "probability" else bend
    draw = np.random.default_rng(12)
    target = (draw.random(5_000) < signal) * 1.0 if kind == "probability" else signal + draw.standard_normal(5_000)
    error = {}
    for name in ("interactions", "sparse_interactions"):
        seen = features(name, x)
        predict = fit(name, seen[:1_000], target[:1_000], None, kind=kind, seed=0)
        error[name] = ((predict(seen[1_000:]) - signal[1_000:]) ** 2).mean()
    assert error["sparse_interactions"] < 0.7 * error["interactions"]


def test_a_sparse_fit_is_the_ridge_on_features_as_large_as_its_first_slopes():
    draw = np.random.default_rng(13)
    x = draw.standard_normal((300, 5))
    y = x @ [3.0, 1.0, 0.0, 0.0, 0.02] + draw.standard_normal(300)
    w = np.ones(300)
    size = np.abs(ridge_regression(x, y, w).slopes)
    kept = size > 0.01 * size.max()
    assert 1 < kept.sum() < 5
    again = ridge_regression((x * size)[:, kept], y, w)
    found = fit("sparse_interactions", x, y, None, kind="mean", seed=0)
    assert found(x) == pytest.approx(again((x * size)[:, kept]), rel=1e-9)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", ["mean", "probability"])
def test_a_sparse_fit_where_no_feature_varies_is_the_mean(kind):
    """As on the rows of a fold that all share their covariates."""
    y = np.arange(60) % 3 / 2 if kind == "mean" else (np.arange(60) % 3 == 0) * 1.0
    found = fit("sparse_interactions", np.zeros((60, 2)), y, None, kind=kind, seed=0)
    assert found(np.ones((1, 2))) == pytest.approx([y.mean()], rel=1e-6)


def test_far_rows_do_not_rule_the_products():
    """Of a column with heavy tails products are clipped at Tukey's outer fences, of a normal one nowhere."""
    normal = np.random.default_rng(14).standard_normal((2_000, 1))
    far = normal.copy()
    far[0] = 1_000.0
    z = (normal - normal.mean(axis=0)) / normal.std(axis=0)
    plain = features("sparse_interactions", normal)[:, -1]
    assert np.corrcoef(plain, z[:, 0] ** 2)[0, 1] == pytest.approx(1.0, abs=1e-9)
    assert features("sparse_interactions", far)[0, -1] < 20  # a lone row that nothing holds would stand at 45
    assert features("interactions", normal)[:, -1].max() < plain.max()


def test_stacking_finds_the_better_learner_and_shares_sum_to_one():
    target = rng().standard_normal(500)
    noise = np.random.default_rng(4).standard_normal(500)
    predictions = np.column_stack([target + 0.1 * noise, np.zeros(500)])
    shares = stack_shares(predictions, target)
    assert shares.sum() == pytest.approx(1.0)
    assert shares[0] > 0.95


def test_small_data_get_more_folds_and_smooth_learners_large_data_fewer():
    assert recipe(500).folds > recipe(5_000).folds > recipe(2_000_000).folds == 2
    assert recipe(500).repeats > recipe(5_000).repeats == 1
    assert recipe(500).learners == ("linear", "sparse_interactions")
    assert "joint_boosting" in recipe(5_000).learners
    assert recipe(99_999).folds == recipe(5_000).folds
    assert recipe(99_999).learners == recipe(50_000).learners == ("linear", "joint_boosting")
    assert recipe(100_000).learners == recipe(2_000_000).learners == ("guided_boosting",)


# --- folds and inference --------------------------------------------------------------------------------------------


def test_folds_are_balanced_over_the_arms():
    codes = (np.arange(103) % 3 == 0) * 1.0
    fold = folds(codes, 5, seed=1)
    for level in (0.0, 1.0):
        sizes = np.bincount(fold[codes == level])
        assert sizes.max() - sizes.min() <= 1


def test_a_cluster_stays_in_one_fold():
    cluster = np.repeat(np.arange(30), 4)
    fold = folds(np.zeros(120), 5, seed=1, cluster=cluster)
    assert all(len(set(fold[cluster == g])) == 1 for g in range(30))
    assert len(set(fold)) == 5


def test_learned_nuisances_predict_out_of_fold():
    """With an outcome of pure noise an in-sample fit explains it; an out-of-fold one cannot."""
    made = SIMULATIONS["randomized"](300, seed=5)
    noise = made.frame.assign(y=np.random.default_rng(6).standard_normal(300))
    problem = build(noise, made.question)
    found = problem.learned(learners=("interactions",), folds=5, repeats=1)
    assert np.corrcoef(found.m, problem.outcome)[0, 1] < 0.1
    assert set(found.fold.ravel()) == set(range(5))


def test_default_learners_find_a_curved_confounder():
    made = SIMULATIONS["confounded_nonlinear"](1_500, seed=7)
    problem = build(made.frame, made.question)
    found = problem.learned(repeats=1)
    bent = np.corrcoef(found.m, problem.outcome)[0, 1]
    straight = np.corrcoef(problem.parametric().m, problem.outcome)[0, 1]
    assert bent > straight + 0.2


def test_the_mean_of_a_sample_has_its_textbook_variance():
    y = rng().standard_normal(80)
    assert influence_covariance(y[:, None])[0, 0] == pytest.approx(y.var(ddof=1) / 80, rel=EXACT)


def test_simultaneous_intervals_lie_between_one_and_bonferroni():
    independent = simultaneous_critical_value(np.eye(4), 0.95, seed=0)
    assert independent == pytest.approx(2.491, abs=0.03)  # Šidák's value for four
    assert simultaneous_critical_value(np.ones((4, 4)), 0.95, seed=0) == pytest.approx(1.96, abs=0.03)


def test_repeats_are_joined_by_the_median_and_their_spread_counts():
    influence = np.tile(rng().standard_normal((1, 100, 1)), (3, 1, 1))
    calm = median_over_repeats(np.array([[1.0], [1.0], [1.0]]), influence)
    wild = median_over_repeats(np.array([[0.0], [1.0], [9.0]]), influence)
    assert calm.estimates[0] == wild.estimates[0] == 1.0
    assert wild.covariance[0, 0] > calm.covariance[0, 0]


def test_the_influence_of_weighted_means_is_their_derivative():
    """Up-weighting one row moves the estimate by its influence over n (a numerical Gateaux derivative)."""
    made = SIMULATIONS["confounded_arms"](300, seed=8)
    step = 1e-6

    def contrast(weights):
        problem = build(made.frame.assign(w=weights), made.question.model_copy(update={"weights": "w"}))
        design = np.column_stack([np.ones(300), problem.covariates])
        propensity = problem.parametric().propensity[0]
        found = {
            target: weighted_means(
                design, problem.treatment, problem.outcome, propensity, target=target, sampling=problem.weights
            )
            for target in ("ATE", "ATT", "ATC", "ATO")
        }
        return problem, found

    problem, base = contrast(np.ones(300))
    for row in (0, 17, 123):
        moved = contrast(1.0 + step * (np.arange(300) == problem.rows[row]))[1]
        for target in base:
            numerical = (moved[target].means - base[target].means) / step * 300
            assert numerical == pytest.approx(base[target].influence[row], rel=2e-3, abs=2e-3)


# --- one fit for all arms -------------------------------------------------------------------------------------------


def test_an_ensemble_over_all_arms_predicts_every_level_out_of_fold():
    """The surface is common to the arms; a fit of the rare arm alone cannot find it."""
    random = np.random.default_rng(8)
    x = random.standard_normal((3_000, 4))
    codes = random.choice(3, size=3_000, p=[0.9, 0.05, 0.05]).astype(np.float64)
    surface = np.sin(2 * x[:, 0]) * x[:, 1]
    frame = pd.DataFrame(x, columns=list("abcd")).assign(t=codes, y=surface + codes + 0.3 * random.standard_normal(3_000))  # fmt: skip
    problem = build(frame, Question(treatment="t", outcome="y", covariates=list("abcd")))
    truth = surface[problem.rows, None] + np.arange(3)
    joint, apart = (
        np.abs(problem.learned(learners=(name,), folds=3, repeats=1).outcome_by_level[0] - truth).mean(axis=0)
        for name in ("joint_boosting", "boosting")
    )
    assert np.all(joint[1:] < 0.8 * apart[1:])
    assert joint.max() < 0.5


def test_bart_learns_a_mean_and_a_probability():
    pytest.importorskip("stochtree", reason="the extra `methods` brings it")
    random = np.random.default_rng(9)
    x = random.standard_normal((300, 3))
    mean = 1.0 * (x[:, 0] > 0) * x[:, 1]
    predicted = fit("bart", x, mean + 0.2 * random.standard_normal(300), None, kind="mean", seed=1)(x)
    assert np.corrcoef(predicted, mean)[0, 1] > 0.9
    event = (random.random(300) < 1 / (1 + np.exp(-2 * x[:, 0]))).astype(np.float64)
    chance = fit("bart", x, event, None, kind="probability", seed=1)(x)
    assert chance.min() > 0
    assert chance.max() < 1
    assert np.corrcoef(chance, x[:, 0])[0, 1] > 0.8


def test_holm_adjusts_as_statsmodels_does():
    p_values = [0.04, 0.001, 0.5, 0.02, 0.02, 0.9]
    np.testing.assert_allclose(holm(p_values), multipletests(p_values, method="holm")[1], rtol=1e-12)
    assert holm([]) == []

"""Causal forests: each row's effect and its interval, the average, and the libraries that grow them."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from scipy import stats

from causal_orchestrator import estimators
from causal_orchestrator.errors import CausalError, InputError, NotApplicable
from causal_orchestrator.estimators import Situation
from causal_orchestrator.estimators.bayesian_causal_forest import effective_draws
from causal_orchestrator.problem import build
from causal_orchestrator.simulate import SIMULATIONS

QUICK = {"learners": ("linear",), "folds": 2, "repeats": 1}
SMALL = {
    "causal_forest": {**QUICK, "trees": 16},
    "bayesian_causal_forest": {**QUICK, "draws": 20, "warm": 5},
}
BOTH = sorted(SMALL)
LIBRARIES = {"causal_forest": ("econml.grf", "econml"), "bayesian_causal_forest": ("stochtree", "stochtree")}
ALARM = 1e-3  # chance of a false alarm
SCALED = 1e-6  # splits are the same; sums are rounded elsewhere


def made(name="confounded_heterogeneous", n=400, seed=1):
    return SIMULATIONS[name](n, seed=seed)


def run(method, sample, seed=0, **options):
    return estimators.estimate(method, build(sample.frame, sample.question, seed=seed), **SMALL[method], **options)


@pytest.mark.parametrize("method", BOTH)
def test_effects_follow_the_covariate_that_moves_them(method):
    sample = made(n=600)
    problem = build(sample.frame, sample.question)
    found = estimators.estimate(method, problem, **SMALL[method])
    truth = sample.effect[problem.rows]
    assert np.corrcoef(found.cate, truth)[0, 1] > 0.8
    assert np.mean((found.cate - truth) ** 2) < 0.5 * truth.var()
    assert found.cate.shape == (problem.n,)


def test_a_forests_intervals_by_row_are_neither_empty_nor_idle():
    """Pointwise intervals are centred on a smoothed effect: they miss at the edges, so that the rate is a floor."""
    sample = made(n=1_500)
    problem = build(sample.frame, sample.question)
    found = estimators.estimate("causal_forest", problem, **{**SMALL["causal_forest"], "trees": 60})
    truth, margin = sample.effect[problem.rows], 1.96 * found.cate_std_error
    middle = np.abs(truth - 1) < 1.0
    assert (np.abs(found.cate - truth) < margin)[middle].mean() > 0.8
    assert margin.mean() < truth.std()


def test_a_bayesian_forests_intervals_by_row_hold_most_effects():
    sample = made(n=500)
    problem = build(sample.frame, sample.question)
    found = estimators.estimate("bayesian_causal_forest", problem, **{**SMALL["bayesian_causal_forest"], "draws": 80})
    lower, upper = found.cate_interval.T
    truth = sample.effect[problem.rows]
    assert ((lower <= truth) & (truth <= upper)).mean() > 0.7
    assert np.all(lower <= found.cate)
    assert np.all(found.cate <= upper)


def test_the_average_is_that_of_the_score_not_of_the_leaves():
    """Forests shrink towards what most rows show; the score puts back what residuals say."""
    found = run("causal_forest", made(n=2_000))
    assert abs(found.estimate - 1.0) < 4 * found.std_error
    assert found.estimate != found.details["cate_mean"]
    assert found.details["heterogeneity"]["best_linear_predictor"]["mean"] == pytest.approx(found.estimate, abs=0.02)


def test_importance_names_the_covariate_that_moves_effects():
    shares = run("causal_forest", made(n=2_000)).details["importance"]
    assert max(shares, key=shares.get) == "x0"
    assert sum(shares.values()) == pytest.approx(1.0)


@pytest.mark.parametrize(("estimand", "whom"), [("ATT", 1), ("ATC", 0)])
@pytest.mark.parametrize("method", BOTH)
def test_those_who_gain_more_are_the_treated(method, estimand, whom):
    sample = made(n=800, seed=3)
    own = sample.effect[sample.frame["t"] == whom].mean()
    found = run(method, sample, estimand=estimand)
    assert abs(found.estimate - own) < 0.4
    assert (found.estimate > run(method, sample).estimate) == (whom == 1)


def test_a_posterior_has_an_interval_and_no_standard_error():
    found = run("bayesian_causal_forest", made())
    assert found.std_error is None
    assert found.p_value is None
    assert found.inference.startswith("posterior")
    assert found.ci_lower < found.estimate < found.ci_upper
    assert found.effects["estimate"].iloc[0] == found.estimate


def test_a_binary_outcome_has_effects_in_probabilities():
    sample = made("confounded_binary", n=1_000)
    found = run("bayesian_causal_forest", sample)
    assert np.abs(found.cate).max() < 1
    assert found.ci_lower - 0.05 < sample.truth["ATE"] < found.ci_upper + 0.05


def test_the_same_seed_gives_the_same_posterior_and_another_another():
    first, again, other = (run("bayesian_causal_forest", made(n=200), seed=s) for s in (7, 7, 8))
    assert first.to_effect() == again.to_effect()
    assert first.estimate != other.estimate


def test_order_and_unit_do_not_matter_to_a_posterior():
    sample = made(n=200)
    straight = run("bayesian_causal_forest", sample)
    frame = sample.frame.sample(frac=1.0, random_state=5)
    turned = estimators.estimate("bayesian_causal_forest", build(frame, sample.question), **SMALL["bayesian_causal_forest"])  # fmt: skip
    assert turned.to_effect() == straight.to_effect()
    scaled = sample.frame.assign(y=1000 + 8 * sample.frame["y"])
    moved = estimators.estimate("bayesian_causal_forest", build(scaled, sample.question), **SMALL["bayesian_causal_forest"])  # fmt: skip
    assert moved.estimate == pytest.approx(8 * straight.estimate, rel=SCALED)


@pytest.mark.exhaustive
def test_credible_intervals_of_the_average_cover():
    held = 0
    for seed in range(100):
        sample = made("confounded_linear", n=300, seed=30_000 + seed)
        found = estimators.estimate("bayesian_causal_forest", build(sample.frame, sample.question, seed=seed), **QUICK, draws=100)  # fmt: skip
        held += found.ci_lower <= sample.truth["ATE"] <= found.ci_upper
    assert stats.binomtest(held, 100, 0.95).pvalue > ALARM, f"{held} of 100"


def test_a_posterior_takes_no_clusters():
    sample = made("confounded_clusters")
    with pytest.raises(NotApplicable) as raised:
        run("bayesian_causal_forest", sample)
    assert raised.value.code == "NEEDS_INDEPENDENT_ROWS"


@pytest.mark.parametrize(
    ("method", "options"),
    [("causal_forest", {"trees": 10}), ("causal_forest", {"trees": 4}), ("bayesian_causal_forest", {"draws": 5}), ("bayesian_causal_forest", {"warm": 0})],
)  # fmt: skip
def test_options_out_of_range_are_refused(method, options):
    sample = made(n=200)
    with pytest.raises(InputError) as raised:
        estimators.estimate(method, build(sample.frame, sample.question), **{**SMALL[method], **options})
    assert raised.value.code == "OPTION_INVALID"


@pytest.mark.parametrize("method", BOTH)
def test_without_its_library_a_method_says_which_extra_brings_it(method, monkeypatch):
    module, name = LIBRARIES[method]
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(CausalError, match="extra `methods`") as raised:
        run(method, made(n=200))
    assert raised.value.code == "EXTRA_MISSING"
    monkeypatch.undo()
    situation = Situation(design="unconfoundedness", n=1_000, n_covariates=3, treatment_kind="binary", outcome_kind="continuous", per_arm=(500, 500), roles=frozenset({"covariates"}))  # fmt: skip
    assert estimators.missing(method, situation) is None
    monkeypatch.setattr("importlib.util.find_spec", lambda asked: None if asked == name else object())
    assert "extra `methods`" in estimators.missing(method, situation)


def test_a_chain_of_independent_draws_is_worth_its_length():
    rng = np.random.default_rng(0)
    noise = rng.standard_normal(4_000)
    slow = np.zeros(4_000)
    for i in range(1, 4_000):
        slow[i] = 0.9 * slow[i - 1] + noise[i]
    assert effective_draws(noise) == pytest.approx(4_000, rel=0.15)
    assert effective_draws(slow) == pytest.approx(4_000 * 0.1 / 1.9, rel=0.4)  # (1 - ρ) / (1 + ρ)

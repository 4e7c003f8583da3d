"""The energy score discriminates, agreement counts methods once, and nothing moves the headline."""

from __future__ import annotations

import numpy as np
import pytest

from causal_orchestrator import estimators, selection
from causal_orchestrator.problem import build
from causal_orchestrator.simulate import SIMULATIONS

# SEL-2: where truth and rival differ by four standard errors of the score difference, truth wins in 99 of 100 draws.
STANDARD_ERRORS = 4.0
SHARE = 0.99
DRAWS = 120
QUICK = {"learners": ("linear",), "folds": 2, "repeats": 1}


@pytest.fixture(scope="module")
def found():
    made = SIMULATIONS["confounded_linear"](1_500, seed=1)
    problem = build(made.frame, made.question)
    methods = ("aipw", "ols", "regression_adjustment", "ipw", "double_ml", "overlap_weighting", "psm")
    return problem, {m: estimators.estimate(m, problem, **options(m)) for m in methods}


def options(method):
    return {"estimand": "ATE"} if method in ("psm", "ols") else {}


def draw(seed):
    """A problem with heterogeneous effects, quick nuisances and the row's true effects."""
    made = SIMULATIONS["confounded_heterogeneous"](400, seed=seed)
    problem = build(made.frame, made.question, seed=seed)
    problem = problem.with_learned(problem.learned(**QUICK))
    return problem, made.effect[problem.rows]


def rivals(truth, rng):
    return {
        "zero": np.zeros_like(truth),
        "flipped": -truth,
        "shifted": truth + 1.0,
        "noise": truth + rng.standard_normal(len(truth)) * 2.0,
        "mean": np.full_like(truth, truth.mean()),
    }


def test_truth_scores_better_than_its_rivals():
    compared = won = 0
    for seed in range(DRAWS):
        problem, truth = draw(seed)
        scores = selection.pseudo_outcomes(problem)
        best = selection.energy(problem, estimand="ATE", effect=truth, scores=scores)
        for rival in rivals(truth, np.random.default_rng(seed)).values():
            # By how much the scores differ in expectation, given the rows: the mean squared distance to the truth.
            gap = ((rival - truth) ** 2).mean()
            loss = selection.losses(problem, rival, scores) - selection.losses(problem, truth, scores)
            if gap < STANDARD_ERRORS * loss.std() / np.sqrt(problem.n):
                continue
            other = selection.energy(problem, estimand="ATE", effect=rival, scores=scores)
            compared += 1
            won += best.score < other.score
    assert compared > 3 * DRAWS
    assert won >= SHARE * compared


def test_rivals_do_not_share_one_score():
    problem, truth = draw(0)
    given = {
        n: selection.energy(problem, estimand="ATE", effect=e)
        for n, e in rivals(truth, np.random.default_rng(0)).items()
    }
    assert len({round(e.score, 6) for e in given.values()}) == len(given)


def test_scores_lie_between_zero_and_one_and_have_their_tier(found):
    problem, estimates = found
    for estimate in estimates.values():
        energy = selection.score_estimate(problem, estimate)
        assert 0 <= energy.score <= 1
        assert all(0 <= part <= 1 for part in energy.parts.values())
        assert energy.tier == selection.tier(energy.score)
    assert [selection.tier(s) for s in (0.25, 0.45, 0.65, 0.80, 0.81)] == [name for name, _ in selection.TIERS]


def test_better_balance_and_calibration_lower_the_score(found):
    problem, estimates = found
    weights = estimates["ipw"].details["weights"]
    raw = selection.energy(problem, estimand="ATE", effect=1.0)
    weighted = selection.energy(problem, estimand="ATE", effect=1.0, weights=weights)
    assert weighted.parts["balance"] < 0.2 < raw.parts["balance"]
    right = problem.parametric().e
    good = selection.energy(problem, estimand="ATE", effect=1.0, propensity=right)
    bad = selection.energy(problem, estimand="ATE", effect=1.0, propensity=np.clip(right + 0.3, 0, 0.99))
    assert good.parts["calibration"] < 0.5 < bad.parts["calibration"]


def select(found, strategy="best_energy", headline="aipw"):
    problem, estimates = found
    return selection.select(problem, estimates, headline=headline, estimand="ATE", strategy=strategy)


@pytest.mark.parametrize("strategy", ["first_success", "best_energy", "ensemble"])
@pytest.mark.parametrize("headline", ["aipw", "ipw"])
def test_no_strategy_moves_the_headline(found, strategy, headline):
    chosen = select(found, strategy, headline)
    assert chosen.headline == headline
    assert sum(e.selected for e in chosen.evaluations) == 1


def test_methods_for_other_estimands_are_scored_and_never_compared(found):
    chosen = select(found)
    apart = {"double_ml", "overlap_weighting"}
    assert apart.isdisjoint(name for group in chosen.agreement["groups"] for name in group)
    assert chosen.preferred not in apart
    assert all(e.score is not None and "another estimand" in e.reason for e in chosen.evaluations if e.method in apart)


def test_a_preference_needs_a_gap(found):
    problem, estimates = found
    close = selection.select(problem, estimates, headline="ipw", estimand="ATE", strategy="best_energy")
    if close.preferred != "ipw":
        assert close.gap >= selection.GAP


def test_first_success_goes_by_declared_credibility(found):
    assert select(found, "first_success").preferred == "aipw"


def test_the_same_estimator_under_two_names_counts_once(found):
    """Fully interacted least squares and regression adjustment are one estimator."""
    groups = select(found).agreement["groups"]
    assert ["ols", "regression_adjustment"] in [sorted(group) for group in groups]
    assert select(found).agreement["n_distinct"] == len(groups) < sum(len(g) for g in groups)


def test_the_largest_difference_is_tested_with_its_own_error(found):
    gap = select(found).agreement["largest_difference"]
    assert gap["difference"] > 0
    assert 0 < gap.get("p_value", 0.5) <= 1


def test_an_ensemble_has_the_interval_of_the_mean_influence(found):
    mean = select(found, "ensemble").agreement["ensemble"]
    assert mean["ci_lower"] < mean["estimate"] < mean["ci_upper"]
    singles = [found[1][m].std_error for m in mean["methods"]]
    assert min(singles) * 0.9 < mean["std_error"] < max(singles)


def test_what_drives_the_specification_curve_is_told():
    by_set = [
        {"method": m, "adjustment_set": s, "estimate": v} for m in "ab" for s, v in (("none", 0.0), ("plan", 5.0))
    ]
    assert selection.drivers(by_set) == {"method": pytest.approx(0.0), "adjustment_set": pytest.approx(1.0)}

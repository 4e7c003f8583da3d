"""Refuters decide from their own distributions: sound methods pass, planted faults fail."""

from dataclasses import replace

import numpy as np
import pytest
from tests.sensitivity.problems import linear, refit_with

from causal_orchestrator.errors import EstimationError, NotApplicable
from causal_orchestrator.sensitivity import (
    attrition,
    balance_test,
    bootstrap,
    data_subset,
    draws,
    manski_bounds,
    placebo_outcomes,
    placebo_treatment,
    random_common_cause,
)

SAME = 1e-9  # the same least squares, summed in another order


@pytest.mark.parametrize(
    ("method", "options", "form"),
    [
        ("difference_in_means", {}, "welch"),
        ("difference_in_means", {"se": "classical"}, "means_classical"),
        ("ols", {}, "ols_hc1"),
        ("ols", {"se": "hc3"}, "ols_hc3"),
        ("ols", {"se": "classical"}, "ols_classical"),
    ],
)
def test_the_closed_forms_give_the_numbers_of_the_refits(method, options, form):
    problem, refit = linear(), refit_with(method, **options)
    estimate = refit(problem)
    fast, slow = (
        placebo_treatment.analyse(problem, estimate, refit=refit, seed=1, draws=40, closed_forms=quick)
        for quick in (True, False)
    )
    assert fast.details["closed_form"] == form
    assert slow.details["closed_form"] is None
    assert fast.details["mean"] == pytest.approx(slow.details["mean"], abs=SAME)
    assert fast.details["quantiles"] == pytest.approx(slow.details["quantiles"], rel=SAME, abs=SAME)
    assert fast.value == slow.value
    assert fast.details["false_positive_rate"] == slow.details["false_positive_rate"]


def test_a_method_without_a_closed_form_is_refitted():
    problem, refit = linear(), refit_with("ols", adjustment="lin")
    result = placebo_treatment.analyse(problem, refit(problem), refit=refit, seed=1, draws=20)
    assert result.details["closed_form"] is None
    assert result.passed is True


def test_the_permutation_p_value_counts_the_estimate_itself():
    problem, refit = linear(effect=10.0, confounding=0.0), refit_with("difference_in_means")
    result = placebo_treatment.analyse(problem, refit(problem), refit=refit, seed=0, draws=99)
    assert result.value == 1 / 100
    assert result.passed is True


def test_no_effect_passes_the_placebo_too():
    problem, refit = linear(effect=0.0, confounding=0.0), refit_with("difference_in_means")
    result = placebo_treatment.analyse(problem, refit(problem), refit=refit, seed=0)
    assert result.value > 0.05
    assert result.passed is True


def test_a_method_that_finds_effects_of_nothing_fails_the_placebo():
    problem, honest = linear(), refit_with("difference_in_means")

    def biased(changed):
        found = honest(changed)
        return replace(found, estimate=found.estimate + 10 * found.std_error)

    assert placebo_treatment.analyse(problem, biased(problem), refit=biased, seed=0).passed is False


def test_a_method_whose_interval_is_too_narrow_fails_the_placebo():
    problem, honest = linear(), refit_with("difference_in_means")

    def bold(changed):
        found = honest(changed)
        half = found.std_error / 4
        return replace(
            found, std_error=half, ci_lower=found.estimate - 1.96 * half, ci_upper=found.estimate + 1.96 * half
        )

    result = placebo_treatment.analyse(problem, bold(problem), refit=bold, seed=0)
    assert result.details["false_positive_rate"] > 0.3
    assert result.passed is False


def test_whole_clusters_are_permuted_where_the_treatment_belongs_to_them():
    problem = linear(cluster="g")
    by_cluster = problem.change(treatment=(problem.cluster % 2).astype(float))
    drawn = draws.permuted(by_cluster, np.random.default_rng(0))
    assert not np.array_equal(drawn, by_cluster.treatment)
    for group in range(int(problem.cluster.max()) + 1):
        assert len(np.unique(drawn[problem.cluster == group])) == 1


def test_a_permutation_keeps_each_stratums_count():
    problem = linear()
    strata = (problem.covariates[:, 0] > 0).astype(float)
    stratified = problem.change(roles={"strata": strata[:, None]})
    drawn = draws.permuted(stratified, np.random.default_rng(0))
    assert not np.array_equal(drawn, problem.treatment)
    for level in (0, 1):
        assert drawn[strata == level].sum() == problem.treatment[strata == level].sum()


def test_refits_that_mostly_fail_are_an_error_and_few_are_counted():
    problem, calls = linear(), iter(range(100))

    def flaky(changed):
        if next(calls) % 10 == 0:
            raise EstimationError("no")
        return refit_with("difference_in_means")(changed)

    def broken(changed):
        raise EstimationError("no")

    assert draws.over([problem] * 20, flaky).failed == 2
    with pytest.raises(EstimationError):
        draws.over([problem] * 20, broken)


def test_noise_does_not_move_a_sound_method_and_moves_an_unstable_one():
    problem, honest = linear(), refit_with("ols")
    assert random_common_cause.analyse(problem, honest(problem), refit=honest, seed=0).passed is True

    def unstable(changed):
        found = honest(changed)
        return replace(found, estimate=found.estimate + changed.covariates[0, -1] * found.std_error)

    assert random_common_cause.analyse(problem, honest(problem), refit=unstable, seed=0).passed is False


def test_a_method_without_covariates_cannot_be_tested_by_one_more():
    problem, refit = linear(), refit_with("difference_in_means")
    with pytest.raises(NotApplicable):
        random_common_cause.analyse(problem, refit(problem), refit=refit, seed=0)


@pytest.mark.parametrize("module", [data_subset, bootstrap])
def test_an_honest_standard_error_passes_and_one_a_third_as_large_fails(module):
    problem, refit = linear(), refit_with("ols")
    estimate = refit(problem)
    result = module.analyse(problem, estimate, refit=refit, seed=0)
    assert result.passed is True
    assert 0.6 < result.value < 1.5  # the spread of a ratio of standard deviations over 20 or 30 draws
    bold = replace(estimate, std_error=estimate.std_error / 3)
    assert module.analyse(problem, bold, refit=refit, seed=0).passed is False


@pytest.mark.parametrize("module", [data_subset, bootstrap, random_common_cause, placebo_treatment])
def test_the_same_seed_gives_the_same_digits_and_the_problem_stays_as_it_was(module):
    problem, refit = linear(), refit_with("ols")
    before = problem.outcome.copy(), problem.treatment.copy(), problem.covariates.copy()
    first, second = (module.analyse(problem, refit(problem), refit=refit, seed=5) for _ in range(2))
    assert first == second
    after = problem.outcome, problem.treatment, problem.covariates
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))


def test_clusters_are_drawn_whole():
    problem, refit = linear(cluster="g"), refit_with("ols")
    for module in (data_subset, bootstrap):
        assert module.analyse(problem, refit(problem), refit=refit, seed=0).value > 0


def _placebo(shift, n, spread=1.0):
    problem = linear(n=n, confounding=0.0)
    noise = np.random.default_rng(9).standard_normal(n) * spread
    return problem.change(outcome=noise + shift * spread * problem.treatment)


def test_a_placebo_passes_only_with_its_whole_interval_inside_the_band():
    refit = refit_with("difference_in_means")
    problem = linear()
    for placebo, inside, outside in (
        (_placebo(0.0, 20_000), True, []),
        (_placebo(0.0, 100), False, []),
        (_placebo(1.0, 2000), False, ["old"]),
    ):
        result = placebo_outcomes.analyse(
            problem, refit(problem), refit=refit, placebos={"old": lambda p=placebo: p}, band=0.1
        )
        assert result.passed is inside
        assert result.details["outside"] == outside


def test_one_bad_placebo_among_good_ones_spoils_the_gate():
    refit, problem = refit_with("difference_in_means"), linear()
    placebos = {"good": lambda: _placebo(0.0, 20_000), "bad": lambda: _placebo(0.5, 20_000)}
    result = placebo_outcomes.analyse(problem, refit(problem), refit=refit, placebos=placebos)
    assert result.passed is False
    assert result.details["outside"] == ["bad"]


def test_the_balance_test_rejects_at_its_level_under_randomisation():
    problem = linear(n=200)
    rng = np.random.default_rng(0)
    estimate = refit_with("difference_in_means")(problem)
    p_values = [
        balance_test.analyse(
            problem.change(treatment=rng.permutation(problem.treatment)), estimate, seed=i, draws=99
        ).details["p_value"]
        for i in range(100)
    ]
    rejected = sum(p <= 0.05 for p in p_values)
    assert rejected <= 11  # 5 expected; three standard errors above


def test_the_balance_test_sees_confounding():
    problem = linear(confounding=0.5)
    result = balance_test.analyse(problem, refit_with("difference_in_means")(problem), seed=0, draws=199)
    assert result.details["p_value"] == 1 / 200
    assert result.passed is False


def test_the_balance_test_of_many_rows_agrees_with_its_permutations(monkeypatch):
    problem = linear(n=2000, confounding=0.03)
    estimate = refit_with("difference_in_means")(problem)
    exact = balance_test.analyse(problem, estimate, seed=0).details["p_value"]
    monkeypatch.setattr(balance_test, "ASYMPTOTIC_ROWS", 1000)
    asymptotic = balance_test.analyse(problem, estimate, seed=0).details
    assert asymptotic["draws"] == 0
    assert asymptotic["p_value"] == pytest.approx(exact, abs=0.05)  # three errors of a share over 999 draws


def test_worst_case_bounds_have_width_one_and_hold_the_difference():
    problem = linear()
    binary = replace(problem, outcome=(problem.outcome > 0).astype(float), outcome_kind="binary")
    estimate = refit_with("difference_in_means")(binary)
    result = manski_bounds.analyse(binary, estimate)
    assert result.value == pytest.approx(1.0)
    assert result.details["lower"] < estimate.estimate < result.details["upper"]
    with pytest.raises(NotApplicable):
        manski_bounds.analyse(problem, estimate)


def _observed(problem, share_treated, share_control):
    rng = np.random.default_rng(4)
    share = np.where(problem.treatment == 1, share_treated, share_control)
    return rng.random(problem.n) < share


def test_attrition_alike_in_both_arms_passes_and_other_attrition_fails():
    problem, refit = linear(n=2000), refit_with("difference_in_means")
    for shares, passed in (((0.8, 0.8), True), ((0.7, 0.9), False)):
        observed = _observed(problem, *shares)
        left = problem.take(observed)
        result = attrition.analyse(left, refit(left), arm=problem.treatment, observed=observed)
        assert result.passed is passed
        assert result.details["lower"] <= refit(left).estimate <= result.details["upper"]


def test_lee_bounds_hold_the_effect_on_those_always_seen():
    # The treatment makes the worst-off of the treated drop out; the others are seen in either arm.
    rng = np.random.default_rng(0)
    always = rng.random(20_000) < 0.8
    level = rng.standard_normal(20_000) + always
    t = np.arange(20_000) % 2
    seen = always | (t == 0)
    outcome = level + 0.5 * t
    shares = [seen[t == k].mean() for k in (0, 1)]
    lower, upper = attrition.lee_bounds(outcome[seen], t[seen].astype(float), shares[0], shares[1])
    assert lower < 0.5 < upper
    naive = outcome[seen & (t == 1)].mean() - outcome[seen & (t == 0)].mean()
    assert naive > 0.6


def test_without_missing_outcomes_there_is_no_attrition():
    problem = linear()
    with pytest.raises(NotApplicable):
        attrition.analyse(
            problem, refit_with("ols")(problem), arm=problem.treatment, observed=np.ones(problem.n, dtype=bool)
        )

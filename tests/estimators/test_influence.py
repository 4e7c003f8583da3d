"""What is computed once from influence functions: bootstrap, differences, joint tests, combinations (HON-4, SEL-3)."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from causal_orchestrator import estimators, selection
from causal_orchestrator.errors import NotApplicable
from causal_orchestrator.numerics.inference import influence_covariance
from causal_orchestrator.numerics.influence import FEW_CLUSTERS, SIX_POINTS, combine, differences, multiplier_bootstrap
from causal_orchestrator.problem import build, influence_tells_all
from causal_orchestrator.simulate import SIMULATIONS

QUICK = {"learners": ("linear",), "folds": 2, "repeats": 1}
# A standard deviation from 999 draws has a relative error of 1/sqrt(2·999) = 2.2 %; four of them.
MONTE_CARLO = 0.09
ALARM = 1e-3  # chance of a false alarm
# The same sums in another order.
RTOL = 1e-9


def scores(n=500, k=3, *, seed=0, clusters=None):
    rng = np.random.default_rng(seed)
    psi = rng.standard_normal((n, k)) @ (np.eye(k) + 0.5)
    if clusters is None:
        return psi, None
    cluster = np.arange(n) % clusters
    return psi + rng.standard_normal((clusters, k))[cluster], cluster


@pytest.mark.parametrize("clusters", [None, 60, FEW_CLUSTERS - 2])
def test_the_multiplier_bootstrap_has_the_clustered_covariance(clusters):
    psi, cluster = scores(clusters=clusters)
    boot = multiplier_bootstrap(psi, cluster, confidence_level=0.95, seed=1)
    expected = np.sqrt(np.diag(influence_covariance(psi, cluster)))
    assert np.sqrt(np.diag(boot.covariance)) == pytest.approx(expected, rel=MONTE_CARLO)
    assert boot.simultaneous > boot.critical.max()


def test_the_six_points_have_mean_zero_and_variance_one():
    assert (SIX_POINTS**2).mean() == pytest.approx(1.0, rel=RTOL)


def test_simultaneous_bootstrap_bands_hold_together():
    """Of 400 bands for three correlated means about 95 in 100 hold all three."""
    held = 0
    for seed in range(400):
        psi, _ = scores(120, seed=seed)
        boot = multiplier_bootstrap(psi, confidence_level=0.95, seed=seed, draws=299)
        held += bool(np.all(np.abs(psi.mean(axis=0)) <= boot.simultaneous * np.sqrt(np.diag(boot.covariance))))
    assert stats.binomtest(held, 400, 0.95).pvalue > ALARM


def test_what_two_estimates_share_cancels_in_their_difference():
    rng = np.random.default_rng(2)
    common, own = 10 * rng.standard_normal(400), rng.standard_normal((400, 2))
    found = differences([1.0, 1.3], common[:, None] + own, confidence_level=0.95, seed=0)
    gap = own[:, 1] - own[:, 0]
    assert found.values == pytest.approx([0.3])
    assert found.std_errors == pytest.approx([gap.std(ddof=1) / 20], rel=RTOL)
    assert found.p_values[0] == pytest.approx(found.joint_p, rel=RTOL)


def test_an_estimate_and_its_double_differ_by_nothing():
    psi, _ = scores(k=1)
    found = differences([1.0, 1.0], np.hstack([psi, psi]), confidence_level=0.95, seed=0)
    assert (found.std_errors[0], found.joint_p, found.df) == (0.0, None, 0)


def test_the_joint_test_counts_directions_and_not_estimates():
    psi, _ = scores(k=2)
    three = np.column_stack([psi, psi.mean(axis=1)])
    assert differences([0.1, 0.2, 0.15], three, confidence_level=0.95, seed=0).df == 1


def test_joint_intervals_and_tests_of_differences_keep_their_level():
    held = rejected = 0
    for seed in range(200):
        psi, cluster = scores(300, clusters=60, seed=seed)
        found = differences(psi.mean(axis=0), psi, cluster, confidence_level=0.95, seed=seed)
        held += bool(np.all((found.lower <= 0) & (found.upper >= 0)))
        rejected += found.joint_p < 0.05
    # Sixty clusters leave the normal quantile a little short, as everywhere: 0.94 instead of 0.95.
    assert stats.binomtest(held, 200, 0.94).pvalue > ALARM
    assert stats.binomtest(rejected, 200, 0.06).pvalue > ALARM


def test_a_combination_is_linear():
    psi, _ = scores(k=2)
    values, influence = combine(np.array([[1.0], [3.0]]), psi.T[:, :, None], np.array([0.25, 0.75]))
    assert values == pytest.approx([2.5])
    assert influence[:, 0] == pytest.approx(psi @ [0.25, 0.75], rel=RTOL)


# --- through the methods --------------------------------------------------------------------------------------------


def made(design="confounded_linear", n=600, seed=1):
    data = SIMULATIONS[design](n, seed=seed)
    return data, build(data.frame, data.question, seed=seed)


def options(method):
    return QUICK if estimators.ESTIMATORS[method].nuisances == "learned" else {}


WITH_INFLUENCE = (
    "difference_in_means", "ols", "regression_adjustment", "stratification", "ipw", "overlap_weighting", "aipw",
    "double_ml", "entropy_balancing", "tmle", "double_ml_irm", "short_stack",
)  # fmt: skip


@pytest.mark.parametrize("method", WITH_INFLUENCE)
def test_the_bootstrap_of_a_method_agrees_with_its_own_error(method):
    _, problem = made()
    own = estimators.estimate(method, problem, **options(method))
    found = estimators.estimate(method, problem, se="bootstrap", **options(method))
    assert found.estimate == own.estimate
    assert found.std_error == pytest.approx(own.std_error, rel=MONTE_CARLO)
    assert found.ci_lower < found.estimate < found.ci_upper
    assert "multiplier bootstrap" in found.inference
    assert found.to_effect() == estimators.estimate(method, problem, se="bootstrap", **options(method)).to_effect()


def test_bootstrap_intervals_of_several_arms_hold_together():
    _, problem = made("confounded_arms")
    found = estimators.estimate("ipw", problem, se="bootstrap")
    first = found.rows[0]
    assert first.ci_upper - first.ci_lower > found.ci_upper - found.ci_lower


@pytest.mark.parametrize("method", ["psm", "cem"])
def test_matching_has_no_multiplier_bootstrap(method):
    """The pairs bootstrap fails for it as well: Abadie & Imbens (2008)."""
    _, problem = made()
    own = {"bins": 4} if method == "cem" else {}
    with pytest.raises(NotApplicable, match="no influence function"):
        estimators.estimate(method, problem, se="bootstrap", **own)


def test_clusters_are_bootstrapped_whole():
    _, problem = made("randomized_clusters", 1_000)
    clustered = estimators.estimate("difference_in_means", problem, se="bootstrap")
    rows = estimators.estimate("difference_in_means", problem.change(cluster=None), se="bootstrap")
    assert clustered.std_error > 2 * rows.std_error  # twenty rows share half of their variance
    assert "clustered" in clustered.inference


# --- the combination ------------------------------------------------------------------------------------------------


def test_the_combination_is_the_mean_of_its_members_with_the_combined_influence():
    _, problem = made()
    found = estimators.estimate("short_stack", problem, learners=("linear", "interactions"), folds=2, repeats=1)
    members = found.details["members"]
    assert set(members) == {"linear", "interactions", "parametric"}
    assert found.estimate == pytest.approx(np.mean(list(members.values())), rel=RTOL)
    alone = estimators.estimate("aipw", problem, learners="parametric")
    assert members["parametric"] == pytest.approx(alone.estimate, rel=RTOL)
    assert found.std_error == pytest.approx(np.sqrt(influence_covariance(found.influence)[0, 0]), rel=RTOL)
    assert influence_tells_all(problem, found)


@pytest.mark.slow
def test_the_combinations_interval_covers():
    held, draws = 0, 150
    for seed in range(draws):
        data, problem = made("confounded_heterogeneous", 400, seed=50_000 + seed)
        found = estimators.estimate("short_stack", problem, **QUICK)
        held += found.ci_lower <= data.truth["ATE"] <= found.ci_upper
    assert stats.binomtest(held, draws, 0.95).pvalue > ALARM, f"{held} of {draws}"


def test_agreement_tells_which_differences_are_within_noise():
    _, problem = made()
    methods = ("aipw", "regression_adjustment", "ipw", "short_stack", "psm")
    found = [estimators.estimate(m, problem, **({"estimand": "ATE"} if m == "psm" else options(m))) for m in methods]
    agreed = selection.agreement(problem, found, estimand="ATE", headline="ipw")
    rows = agreed["differences"]["rows"]
    assert agreed["differences"]["reference"] == "ipw"
    assert {row["method"] for row in rows} == {"aipw", "regression_adjustment"}
    assert all(row["within_noise"] == (row["ci_lower"] <= 0 <= row["ci_upper"]) for row in rows)
    assert all(row["std_error"] < found[2].std_error for row in rows)
    assert "short_stack" not in [name for group in agreed["groups"] for name in group]


def test_a_wrong_method_is_found_beyond_noise():
    _, problem = made(n=1_500)
    right = estimators.estimate("regression_adjustment", problem)
    wrong = estimators.estimate("difference_in_means", problem)
    agreed = selection.agreement(problem, [right, wrong], estimand="ATE", headline="regression_adjustment")
    assert not agreed["differences"]["rows"][0]["within_noise"]
    assert agreed["differences"]["joint_p_value"] < ALARM

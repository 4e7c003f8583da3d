"""Notes beside an estimate: few clusters, extreme weights, and what the weights leave apart."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import special

import causal_orchestrator as co
from causal_orchestrator.numerics.balance import heaviest_share, moments_apart, prognosis_apart
from causal_orchestrator.numerics.inference import effective_clusters

EXACT = 1e-12  # sums of small integers


def trial(groups: int, size: int, treated: int, **changed: Any) -> pd.DataFrame:
    rng = np.random.default_rng(3)
    g = np.repeat(np.arange(groups), size)
    t = (rng.permutation(groups) < treated)[g] * 1.0
    y = t + rng.standard_normal(groups)[g] + rng.standard_normal(len(g))
    return pd.DataFrame({"t": t, "y": y, "g": g, **changed})


CLUSTERED = co.Question(treatment="t", outcome="y", cluster="g", randomized=True)


def kang_schafer(n: int, *, wrong: bool) -> pd.DataFrame:
    """Return Kang & Schafer's (2007) design, the covariates as they act or as they are seen."""
    rng = np.random.default_rng(0)
    z = rng.standard_normal((n, 4))
    y = 210 + 27.4 * z[:, 0] + 13.7 * z[:, 1:].sum(axis=1) + rng.standard_normal(n)
    t = (rng.random(n) < special.expit(z @ [-1, 0.5, -0.25, -0.1])) * 1.0
    seen = np.column_stack([np.exp(z[:, 0] / 2), z[:, 1] / (1 + np.exp(z[:, 0])) + 10, (z[:, 0] * z[:, 2] / 25 + 0.6) ** 3, (z[:, 1] + z[:, 3] + 20) ** 2])  # fmt: skip
    return pd.DataFrame(seen if wrong else z, columns=list("abcd")).assign(t=t, y=y)


OBSERVED = co.Question(treatment="t", outcome="y", covariates=["a", "b", "c", "d"])


# --- clusters -------------------------------------------------------------------------------------------------------


def test_equal_clusters_half_of_them_treated_all_count() -> None:
    g = np.repeat(np.arange(20), 5)
    assert effective_clusters((g % 2) * 1.0, g) == pytest.approx(20, abs=EXACT)


def test_few_treated_clusters_count_for_little_more_than_themselves() -> None:
    g = np.repeat(np.arange(50), 4)
    # Parts (0.94²)² for three and (0.06²)² for 47, by hand: (3a + 47b)²/(3a² + 47b²), a = 0.94², b = 0.06².
    a, b = 0.94**2, 0.06**2
    assert effective_clusters((g < 3) * 1.0, g) == pytest.approx((3 * a + 47 * b) ** 2 / (3 * a**2 + 47 * b**2))


def test_one_large_cluster_leaves_few() -> None:
    g = np.repeat(np.arange(10), [910, *[10] * 9])
    assert effective_clusters((g % 2) * 1.0, g) < 3


@pytest.mark.parametrize(("shape", "few"), [((12, 50, 6), True), ((60, 20, 3), True), ((60, 20, 30), False)])
def test_an_estimate_with_few_clusters_says_so(shape: tuple[int, int, int], few: bool) -> None:
    found = co.estimate("difference_in_means", trial(*shape), CLUSTERED)
    check = found.diagnostics["effective clusters"]
    assert f"{shape[0]} clusters" in check["detail"]
    assert any("few clusters" in note for note in found.notes) is few
    assert (check["value"] < check["threshold"]) is few


def test_without_clustered_errors_nothing_is_said_of_clusters() -> None:
    frame = trial(12, 50, 6)
    bare = co.estimate("difference_in_means", frame, CLUSTERED.model_copy(update={"cluster": None}))
    unclustered = co.estimate("difference_in_means", frame, CLUSTERED, se="welch")
    for found in (bare, unclustered):
        assert "effective clusters" not in found.diagnostics


# --- weights --------------------------------------------------------------------------------------------------------


def test_the_heaviest_hundredth_by_hand() -> None:
    weights = np.ones(200)
    weights[7] = 100.0
    assert heaviest_share(weights) == pytest.approx((101 / 299, 0.01))
    assert heaviest_share(np.ones(20)) == (0.05, 0.05)


@pytest.mark.parametrize("method", ["ipw", "regression_adjustment"])
def test_under_kang_and_schafer_wrong_covariates_are_told_by_what_they_leave_apart(method: str) -> None:
    told = {wrong: co.estimate(method, kang_schafer(4_000, wrong=wrong), OBSERVED) for wrong in (True, False)}
    assert any("apart" in note for note in told[True].notes)
    assert told[False].notes == ()


def test_extreme_weights_are_told_with_the_smallest_propensity() -> None:
    rng = np.random.default_rng(1)
    x = rng.standard_normal(2_000)
    frame = pd.DataFrame({"x": x, "t": (rng.random(2_000) < special.expit(3 * x)) * 1.0, "y": rng.standard_normal(2_000)})  # fmt: skip
    found = co.estimate("ipw", frame, co.Question(treatment="t", outcome="y", covariates=["x"]))
    (note,) = [note for note in found.notes if "extreme weights" in note]
    assert "smallest propensity" in note
    mild = co.estimate("ipw", frame.assign(t=rng.integers(0, 2, 2_000)), co.Question(treatment="t", outcome="y", covariates=["x"]))  # fmt: skip
    assert not [note for note in mild.notes if "extreme weights" in note]


def test_extreme_weights_of_doses_are_told() -> None:
    rng = np.random.default_rng(2)
    x = rng.standard_normal(600)
    dose = 1.5 * x + rng.standard_normal(600)
    frame = pd.DataFrame({"x": x, "t": dose, "y": dose + x + rng.standard_normal(600)})
    question = co.Question(treatment="t", outcome="y", covariates=["x"])
    told = co.estimate("dose_response", frame, question, method="msm", draws=50)
    assert [note for note in told.notes if "extreme weights" in note and "of the rows" in note]
    mild = co.estimate("dose_response", frame.assign(t=dose - 1.5 * x), question, method="msm", draws=50)
    assert not [note for note in mild.notes if "extreme weights" in note]


def test_squares_that_cannot_differ_are_not_looked_at() -> None:
    arm = np.arange(100) % 2 == 0
    assert moments_apart(np.zeros((100, 2)), arm, np.ones(100))[2] == ()
    assert moments_apart((np.arange(100) % 3 == 0)[:, None] * 1.0, arm, np.ones(100))[2] == ()


def test_a_square_that_is_apart_is_named_beyond_chance() -> None:
    rng = np.random.default_rng(2)
    x = rng.standard_normal((2_000, 3))
    arm = rng.random(2_000) < special.expit(x[:, 1] ** 2 - 1)
    value, chance, columns = moments_apart(x, arm, np.ones(2_000))
    assert columns == (1,)
    assert value > max(chance, 0.1)


def test_a_curve_that_the_outcome_has_and_the_weights_leave_apart_is_told_where_nothing_was_learned() -> None:
    bent = co.estimate("regression_adjustment", kang_schafer(2_000, wrong=True), OBSERVED)
    check = bent.diagnostics["prognosis"]
    assert any("misses a curve" in note for note in bent.notes)
    # Without an effect what the arms differ by is the error of the estimate, as far as squares and products tell it.
    assert check["value"] > bent.std_error
    assert abs(bent.estimate + check["value"]) < abs(bent.estimate)
    doubly = co.estimate("aipw", kang_schafer(2_000, wrong=True), OBSERVED, learners=["linear"], folds=2, repeats=1)
    assert "prognosis" not in doubly.diagnostics


def test_a_curve_that_does_not_matter_or_cannot_be_fitted_is_not_told() -> None:
    straight = co.estimate("regression_adjustment", kang_schafer(2_000, wrong=False), OBSERVED)
    assert straight.diagnostics["prognosis"]["value"] < straight.diagnostics["prognosis"]["threshold"]
    few = co.estimate("ipw", kang_schafer(80, wrong=True), OBSERVED)
    assert "prognosis" not in few.diagnostics


@pytest.mark.parametrize(
    ("method", "options"),
    [("entropy_balancing", {}), ("overlap_weighting", {}), ("ols", {}), ("regression_adjustment", {"estimand": "ATT"})],
)
def test_a_method_that_is_right_in_one_way_only_says_that_its_line_bends(method: str, options: dict[str, str]) -> None:
    said = [
        any("misses a curve" in note for note in co.estimate(method, kang_schafer(1_000, wrong=wrong), OBSERVED, **options).notes)
        for wrong in (True, False)
    ]  # fmt: skip
    assert said == [True, False]


def test_what_bends_and_is_apart_is_measured_by_hand() -> None:
    """The treated have x = ±1, the controls x = ±½, y = x²: the arms differ by 3/4 and by nothing that is linear."""
    x = np.concatenate([np.tile([-1.0, 1.0], 100), np.tile([-0.5, 0.5], 100)])
    x = np.concatenate([x, np.tile(np.linspace(-2, 2, 50), 2)])  # as many of either arm at other places
    arm = np.concatenate([np.arange(400) < 200, np.arange(100) < 50])
    found = prognosis_apart(x[:, None], x**2, arm, np.where(np.arange(500) < 400, 1.0, 0.0))
    assert found is not None
    assert found.bent == pytest.approx(0.75, abs=1e-8)
    assert found.straight == pytest.approx(0.0, abs=1e-8)


def test_false_alarms_of_a_missed_curve_are_rare() -> None:
    """In 60 draws of a line, a twentieth suspected by chance alone, the binomial 99.9 % limit is 10."""
    alarms = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        x = rng.standard_normal((300, 3))
        t = rng.random(300) < special.expit(x[:, 0])
        y = x.sum(axis=1) + t + rng.standard_normal(300)
        # Weights that balance nothing are the worst case: what is linear must not count.
        found = prognosis_apart(x, y, t, np.ones(300))
        assert found is not None
        alarms += abs(found.bent) > found.chance
    assert alarms <= 10


def test_coarse_cells_say_what_they_leave_apart_unless_it_was_taken_off() -> None:
    rng = np.random.default_rng(4)
    x = rng.standard_normal((1_000, 2))
    t = (rng.random(1_000) < special.expit(x @ [1.0, 1.0])) * 1.0
    frame = pd.DataFrame(x, columns=["a", "b"]).assign(t=t, y=3 * x.sum(axis=1) + rng.standard_normal(1_000))
    asked = co.Question(treatment="t", outcome="y", covariates=["a", "b"])
    coarse = co.estimate("cem", frame, asked, bins=3)
    assert any("cells are coarse" in note for note in coarse.notes)
    assert abs(coarse.estimate - coarse.diagnostics["coarse cells"]["value"]) < 0.3 * coarse.estimate
    adjusted = co.estimate("cem", frame, asked, bins=3, bias_adjustment=True)
    assert "coarse cells" not in adjusted.diagnostics
    assert not [n for n in co.estimate("ipw", frame, asked).notes if "cells" in n]

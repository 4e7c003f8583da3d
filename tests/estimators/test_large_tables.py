"""What serves tables of many rows: trees that see a second-order surface, and folds side by side."""

from __future__ import annotations

import numpy as np
import pytest

from causal_orchestrator import estimators
from causal_orchestrator.numerics import guided, learners, nuisance
from causal_orchestrator.problem import build
from causal_orchestrator.simulate import SIMULATIONS

RIDGED = 1e-4  # the surface's penalty, and what its winsorising takes from the corners
RESAMPLED = 1e-9  # the same sums in another order


def drawn(n, p=5, seed=1):
    rng = np.random.default_rng(seed)
    return rng, rng.random((n, p))


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_number_of_threads_changes_no_number(threads, monkeypatch):
    made = SIMULATIONS["confounded_arms"](1_500, seed=3)
    how = {"learners": ("guided_boosting", "linear"), "folds": 3, "repeats": 1}
    alone = build(made.frame, made.question).learned(**how)
    monkeypatch.setattr(nuisance, "LARGE", 1_000)
    monkeypatch.setattr(nuisance, "cores", lambda: threads)
    beside = build(made.frame, made.question).learned(**how)
    for name in ("propensity", "outcome_by_level", "outcome", "treatment", "fold"):
        assert np.array_equal(getattr(alone, name), getattr(beside, name)), name


def test_a_large_table_names_its_learner(monkeypatch):
    monkeypatch.setattr(nuisance, "LARGE", 2_000)
    made = SIMULATIONS["confounded_linear"](4_000, seed=1, p=8)
    found = estimators.estimate("aipw", build(made.frame, made.question))
    assert found.details["learners"]["propensity"] == {"guided_boosting": 1.0}
    assert found.details["folds"] == 2
    assert abs(found.estimate - made.truth["ATE"]) < 3 * found.std_error


def test_a_surface_is_exact_for_a_quadratic_form():
    _, x = drawn(6_000)
    target = 2 + x[:, 0] - 3 * x[:, 1] * x[:, 2] + x[:, 3] ** 2
    found = guided.surface(x[::2], target[::2], None)(x[1::2])
    assert np.sqrt(np.mean((found - target[1::2]) ** 2)) < 10 * RIDGED * target.std()


def test_a_surface_of_few_rows_is_a_plane():
    _, x = drawn(400)
    predict = guided.surface(x, x[:, 0] * x[:, 1] + x[:, 2], None)
    inside = np.clip(x[:, :], 0.2, 0.8)
    middle = (predict(inside[:200]) + predict(inside[200:])) / 2
    np.testing.assert_allclose(predict((inside[:200] + inside[200:]) / 2), middle, atol=1e-12)


def test_a_surface_of_more_rows_than_it_may_cost_takes_some(monkeypatch):
    rng, x = drawn(40_000)
    target = x[:, 0] * x[:, 1] + 0.1 * rng.standard_normal(len(x))
    whole = guided.surface(x, target, None)(x)
    monkeypatch.setattr(guided, "WORK", 1e7)  # 36 terms: 7,700 rows
    some = guided.surface(x, target, None)(x)
    assert not np.array_equal(some, whole)
    assert np.sqrt(np.mean((some - x[:, 0] * x[:, 1]) ** 2)) < 0.02


def test_a_surface_takes_weights_for_repeated_rows(monkeypatch):
    for name, value in {"WINSOR": 0.0, "RIDGE": 0.0, "KNOTS": ()}.items():  # knots are quantiles of the table's rows
        monkeypatch.setattr(guided, name, value)
    rng, x = drawn(4_000)
    target, weights = x[:, 0] * x[:, 1] + 0.1 * rng.random(len(x)), rng.integers(1, 4, len(x))
    weighted = guided.surface(x, target, weights.astype(float))(x)
    repeated = guided.surface(np.repeat(x, weights, axis=0), np.repeat(target, weights), None)(x)
    np.testing.assert_allclose(weighted, repeated, atol=RESAMPLED)


def test_noise_is_told_by_its_mean():
    rng, x = drawn(20_000)
    target = 3 + rng.standard_normal(len(x))
    found = learners.fit("guided_boosting", x, target, None, kind="mean", seed=0)(x)
    assert found.std() < 0.03
    assert abs(found.mean() - target.mean()) < 0.01


def test_arms_have_slopes_of_their_own():
    rng, x = drawn(40_000)
    arm = rng.integers(0, 3, len(x))
    truth = np.column_stack([x[:, 0], 1 + x[:, 0] + 2 * x[:, 1], -x[:, 2]])
    target = truth[np.arange(len(x)), arm] + 0.1 * rng.standard_normal(len(x))
    shared = guided.share(x, np.arange(len(x)) % 2, arm, None)
    found = guided.held_out_by_level(shared, 0, target, kind="mean", seed=0)
    assert np.abs(found - truth[::2]).mean() < 0.01


@pytest.mark.parametrize("kind", ["mean", "probability"])
@pytest.mark.parametrize("only", [None, 1])
def test_what_is_shared_changes_no_number(kind, only):
    rng, x = drawn(8_000)
    arm, ones = rng.integers(0, 2, len(x)), np.ones(len(x))
    target = (rng.random(len(x)) < x[:, 0]) * 1.0
    rows = arm == only if only is not None else ones > 0
    shared = guided.share(x, rng.integers(0, 3, len(x)), arm, ones)
    kept, made = (
        guided.held_out(shared, 1, target, rows=rows, weights=weights, kind=kind, seed=0)
        for weights in (ones, ones.copy())
    )
    np.testing.assert_allclose(kept, made, atol=RESAMPLED)


@pytest.mark.parametrize("constant", [0, 2])
def test_a_surface_bears_columns_that_say_nothing_or_the_same(constant):
    _, x = drawn(5_000, p=4)
    x[:, constant] = 1.0
    x[:, 3] = x[:, 1] > 0.5
    x[:, 1] = 2 * x[:, 3]
    found = guided.surface(x, x[:, 3] + 1, None)(x)
    np.testing.assert_allclose(found, x[:, 3] + 1, atol=RIDGED)


def test_guided_trees_see_a_product_that_trees_miss():
    rng = np.random.default_rng(5)
    x = rng.standard_normal((30_000, 20))
    truth = x[:, 0] * x[:, 1]
    target = truth + rng.standard_normal(len(x))
    into, held = slice(None, 20_000), slice(20_000, None)
    error = {
        name: np.mean(
            (learners.fit(name, x[into], target[into], None, kind="mean", seed=0)(x[held]) - truth[held]) ** 2
        )
        for name in ("guided_boosting", "joint_boosting")
    }
    assert error["guided_boosting"] < 0.5 * error["joint_boosting"]

"""Measures of a table agree with the libraries that define them, whatever the order of rows and columns."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ks_2samp
from statsmodels.stats.outliers_influence import variance_inflation_factor

from causal_orchestrator.profiling import quality

RTOL = 1e-9  # the same formulas in another order of additions


@pytest.fixture
def arms() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    treated = rng.random(300) < 0.4
    return rng.normal(size=300).round(1) + 0.5 * treated, treated


def test_ks_is_that_of_scipy_with_ties(arms: tuple[np.ndarray, np.ndarray]) -> None:
    x, treated = arms
    assert quality.ks_distance(x, treated) == pytest.approx(ks_2samp(x[treated], x[~treated]).statistic, rel=RTOL)


def test_smd_and_variance_ratio_follow_their_definition(arms: tuple[np.ndarray, np.ndarray]) -> None:
    x, treated = arms
    s1, s0 = pd.Series(x[treated]), pd.Series(x[~treated])
    expected = (s1.mean() - s0.mean()) / np.sqrt((s1.var() + s0.var()) / 2)
    assert quality.standardized_mean_difference(x, treated) == pytest.approx(expected, rel=RTOL)
    assert quality.standardized_mean_difference(x, ~treated) == pytest.approx(-expected, rel=RTOL)
    assert quality.standardized_mean_difference(7 * x - 3, treated) == pytest.approx(expected, rel=RTOL)
    assert quality.variance_ratio(x, treated) == pytest.approx(s1.var() / s0.var(), rel=RTOL)


def test_a_constant_arm_gives_no_infinite_difference() -> None:
    treated = np.array([True, True, False, False])
    assert quality.standardized_mean_difference(np.array([1.0, 1.0, 0.0, 0.0]), treated) is None
    assert quality.standardized_mean_difference(np.ones(4), treated) == 0.0
    assert quality.standardized_mean_difference(np.array([1.0, np.nan, 0.0, 1.0]), treated) is None


def test_vif_is_that_of_statsmodels() -> None:
    rng = np.random.default_rng(1)
    X = rng.normal(size=(200, 4)) @ rng.normal(size=(4, 4)) + 100
    design = np.column_stack([np.ones(200), X])
    expected = [variance_inflation_factor(design, j) for j in range(1, 5)]
    # An intercept of 100 costs the reference some digits.
    assert quality.variance_inflation(X) == pytest.approx(expected, rel=1e-6)


def test_only_the_columns_of_an_exact_relation_lose_their_factor() -> None:
    rng = np.random.default_rng(2)
    a, b, c = rng.normal(size=(3, 100))
    found = quality.variance_inflation(np.column_stack([a, b, a + b, c, np.ones(100)]))
    assert [f is None for f in found] == [True, True, True, False, True]


def test_correlations_are_pairwise_complete_and_sorted() -> None:
    rng = np.random.default_rng(3)
    frame = pd.DataFrame(rng.normal(size=(120, 4)), columns=list("abcd"))
    frame["b"] += frame["a"]
    table = quality.top_correlations(frame.to_numpy(), tuple("abcd"))
    expected = frame.corr()
    pairs = [(a, b, r) for a, row in table.items() for b, r in row.items()]
    assert len(pairs) == 6
    assert all(r == pytest.approx(expected.loc[a, b], rel=RTOL) for a, b, r in pairs)
    assert (pairs[0][0], pairs[0][1]) == ("a", "b")
    assert quality.top_correlations(frame.to_numpy(), tuple("abcd"), top=1) == {"a": {"b": pairs[0][2]}}


def test_outliers_are_beyond_the_fences() -> None:
    found = quality.outliers(np.concatenate([np.arange(100.0), [1000.0]]))
    assert (found["iqr"], found["robust_z"]) == (1.0, 1.0)
    assert quality.outliers(np.array([0.0, 1.0] * 20)) == {}


def test_words_become_indicators_and_numbers_stay() -> None:
    frame = pd.DataFrame({"x": [1.0, np.nan], "two": ["a", "b"], "one": ["c", "c"]})
    values, names = quality.encode(frame)
    assert names == ("x", "two=b")
    assert values[:, 1].tolist() == [0.0, 1.0]
    assert quality.encode(pd.DataFrame({"w": ["a", "b", None, "c"]}))[1] == ("w=a", "w=b", "w=c")


def test_bins_count_every_row_once() -> None:
    found = quality.histogram(np.random.default_rng(4).normal(size=1000))
    assert sum(found["counts"]) + found["suppressed"] == 1000
    assert len(found["edges"]) == len(found["counts"]) + 1
    rare = quality.histogram(np.array([0.0] * 20 + [5.0] * 3))
    assert rare == {"values": [0.0], "counts": [20], "suppressed": 3}

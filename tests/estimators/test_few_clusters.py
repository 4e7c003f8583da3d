"""CR2 and its degrees of freedom: closed forms, the definition written out, and coverage with few clusters."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import causal_orchestrator as co
from causal_orchestrator.errors import InputError
from causal_orchestrator.numerics.linear import bias_reduced, errors_of, least_squares
from causal_orchestrator.simulate import SIMULATIONS

EXACT = 1e-9  # the same algebra through other decompositions
DRAWS, ALARM = 700, 1e-3


def written_out(x, y, w, cluster, j):
    """Return variance and degrees of freedom by equations 4, 6 and 11 of Pustejovsky & Tipton with n × n matrices."""
    bread = np.linalg.inv(x.T @ np.diag(w) @ x)
    left = np.eye(len(y)) - x @ bread @ x.T @ np.diag(w)
    variance, vectors = 0.0, []
    for g in np.unique(cluster):
        rows = cluster == g
        values, basis = np.linalg.eigh(left[rows] @ left[rows].T)
        root = np.where(values > 1e-10, 1 / np.sqrt(np.maximum(values, 1e-10)), 0.0)
        scores = (basis * root) @ basis.T @ (w[rows, None] * x[rows]) @ bread[:, j]
        variance += (scores @ left[rows] @ y) ** 2
        vectors.append(left[rows].T @ scores)
    gram = np.array(vectors) @ np.array(vectors).T
    return variance, np.trace(gram) ** 2 / (gram**2).sum()


@pytest.mark.parametrize("weighted", [False, True])
def test_it_is_the_definition_with_unequal_clusters(weighted):
    rng = np.random.default_rng(0)
    cluster = np.repeat(np.arange(7), [3, 4, 5, 8, 12, 2, 9])
    x = np.column_stack([np.ones(43), rng.standard_normal((43, 2)), (cluster < 3) * 1.0])
    y = rng.standard_normal(43) + rng.standard_normal(7)[cluster]
    w = rng.uniform(0.5, 2, 43) if weighted else np.ones(43)
    found = bias_reduced(least_squares(x, y, w if weighted else None), cluster, np.array([3, 1]))
    for k, j in enumerate((3, 1)):
        variance, df = written_out(x, y, w, cluster, j)
        assert found.covariance[k, k] == pytest.approx(variance, rel=EXACT)
        assert found.df[k] == pytest.approx(df, rel=EXACT)


def test_of_equal_clusters_it_compares_their_means_as_welch_does_under_one_variance():
    """Of three treated and six other clusters: s₁²/3 + s₀²/6, and (1/3 + 1/6)²/(1/(9·2) + 1/(36·5)) = 45/11."""
    rng = np.random.default_rng(1)
    g = np.repeat(np.arange(9), 5)
    frame = pd.DataFrame({"g": g, "t": (g < 3) * 1.0, "y": rng.standard_normal(9)[g] + rng.standard_normal(45)})
    means = frame.groupby("g")["y"].mean().to_numpy()
    for method in ("difference_in_means", "ols"):
        found = co.estimate(method, frame, {"treatment": "t", "outcome": "y", "cluster": "g"}, se="cr2")
        assert found.std_error**2 == pytest.approx(means[:3].var(ddof=1) / 3 + means[3:].var(ddof=1) / 6, rel=EXACT)
        half = stats.t.ppf(0.975, 45 / 11) * found.std_error
        assert found.ci_upper - found.estimate == pytest.approx(half, rel=EXACT)
        assert "Satterthwaite" in found.inference


def test_the_degrees_of_freedom_of_imbens_and_kolesar_for_three_treated_of_thirty():
    """Their section II: 2.5; exactly N²(N₀-1)(N₁-1)/(N₁²(N₁-1) + N₀²(N₀-1))."""
    y = np.random.default_rng(2).standard_normal(30)
    fit = least_squares(np.column_stack([np.ones(30), np.arange(30) < 3]), y)
    found = bias_reduced(fit, np.arange(30), np.array([1]))
    assert found.df[0] == pytest.approx(900 * 26 * 2 / (9 * 2 + 27**2 * 26), rel=EXACT)


def test_taking_out_the_effects_of_units_first_changes_nothing():
    data = SIMULATIONS["panel_block"](120, seed=3)
    frame = data.frame.assign(region=data.frame["unit"] // 2)
    found = co.estimate(
        "did", frame, data.question.model_copy(update={"cluster": "region", "covariates": ()}), se="cr2"
    )
    dummies = [pd.get_dummies(frame[c]).to_numpy(float)[:, skip:] for c, skip in (("unit", 0), ("period", 1))]
    x = np.column_stack([*dummies, frame["t"]])
    cluster = frame["region"].to_numpy(int)
    variance, df = written_out(x, frame["y"].to_numpy(), np.ones(len(x)), cluster, x.shape[1] - 1)
    assert found.std_error**2 == pytest.approx(variance, rel=1e-7)
    half = stats.t.ppf(0.975, df) * np.sqrt(variance)
    assert found.ci_upper - found.estimate == pytest.approx(half, rel=1e-7)


def test_units_in_several_clusters_are_indicators():
    data = SIMULATIONS["panel_block"](120, seed=4)
    frame = data.frame.assign(region=data.frame.index % 7)
    found = co.estimate(
        "did", frame, data.question.model_copy(update={"cluster": "region", "covariates": ()}), se="cr2"
    )
    dummies = [pd.get_dummies(frame[c]).to_numpy(float)[:, skip:] for c, skip in (("unit", 0), ("period", 1))]
    x = np.column_stack([*dummies, frame["t"]])
    variance, _ = written_out(x, frame["y"].to_numpy(), np.ones(len(x)), frame["region"].to_numpy(), x.shape[1] - 1)
    assert found.std_error**2 == pytest.approx(variance, rel=1e-7)


@pytest.mark.parametrize(("groups", "treated"), [(6, 3), (9, 3), (10, 5)])
def test_with_six_to_ten_clusters_the_interval_holds_its_level_and_cr1_does_not(groups, treated):
    held = {"cr2": 0, "cluster": 0}
    g = np.repeat(np.arange(groups), 10)
    for seed in range(DRAWS):
        rng = np.random.default_rng([seed, groups, treated])
        x = np.column_stack([np.ones(len(g)), rng.standard_normal(len(g)), g < treated])
        fit = least_squares(x, x[:, 1] + rng.standard_normal(groups)[g] + rng.standard_normal(len(g)))
        for se in held:
            found = errors_of(fit, se, np.array([2]), g)
            held[se] += abs(fit.coefficients[2]) <= stats.t.ppf(0.975, found.df[0]) * np.sqrt(found.covariance[0, 0])
    assert stats.binomtest(held["cr2"], DRAWS, 0.95).pvalue > ALARM, held
    assert stats.binomtest(held["cluster"], DRAWS, 0.95, alternative="less").pvalue < 0.05, held


def test_a_note_of_few_clusters_names_it_and_it_says_itself_when_too_little_is_left():
    data = SIMULATIONS["randomized_clusters"](200, seed=5)
    default = co.estimate("ols", data.frame, data.question)
    assert any("se='cr2' takes care" in note for note in default.notes)
    reduced = co.estimate("ols", data.frame, data.question, se="cr2")
    assert not [note for note in reduced.notes if "few clusters" in note]
    few = data.frame.groupby("t").head(60)
    tiny = co.estimate("ols", few, data.question, se="cr2")
    assert any("degrees of freedom" in note for note in tiny.notes)


@pytest.mark.parametrize("method", ["ols", "difference_in_means"])
def test_without_clusters_it_is_refused(method):
    data = SIMULATIONS["randomized"](100, seed=6)
    with pytest.raises(InputError, match="cluster"):
        co.estimate(method, data.frame, data.question, se="cr2")

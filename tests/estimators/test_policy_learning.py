"""Trees against all trees there are, honest values against the truth, budgets and costs."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from causal_orchestrator import estimators
from causal_orchestrator.errors import CausalError, InputError
from causal_orchestrator.estimators import policy_learning
from causal_orchestrator.numerics.folds import folds
from causal_orchestrator.numerics.learned_policy import FOLDS, learned
from causal_orchestrator.numerics.policy_tree import Tree, search, search_within
from causal_orchestrator.problem import build
from causal_orchestrator.simulate import SIMULATIONS

QUICK = {"learners": ("linear",), "folds": 2, "repeats": 1}
TOLERANCE = 1e-9  # the same numbers summed in another order
ALARM = 1e-3  # chance of a false alarm


def every_tree(features, levels, depth):
    leaves = [Tree(k) for k in range(levels)]
    cuts = [(j, float(cut)) for j, column in enumerate(features.T) for cut in np.unique(column)[:-1]]
    trees = leaves
    for _ in range(depth):
        trees = [*leaves, *(Tree(0, j, cut, a, b) for (j, cut), a, b in product(cuts, trees, trees))]
    return trees


def leaf_sizes(tree, features):
    if tree.left is None:
        return [len(features)]
    left = features[:, tree.feature] <= tree.threshold
    return leaf_sizes(tree.left, features[left]) + leaf_sizes(tree.right, features[~left])


def earned(tree, features, table):
    return table[np.arange(len(table)), tree.assign(features)].sum()


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("levels", [2, 3])
def test_no_tree_earns_more(depth, levels):
    rng = np.random.default_rng(levels)
    n, least = 24, 2
    features = rng.integers(0, 6 - levels, (n, 2)).astype(float)
    scores = rng.standard_normal((n, levels))
    costs = np.abs(rng.standard_normal((n, levels))) * (np.arange(levels) > 0)
    limit = 0.15 * float(costs[:, 1].sum())
    allowed = [
        t for t in every_tree(features, levels, depth) if t.left is None or min(leaf_sizes(t, features)) >= least
    ]
    best = max(earned(t, features, scores) for t in allowed)
    paid = max(earned(t, features, scores) for t in allowed if earned(t, features, costs) <= limit)
    free = search(scores, features, depth=depth, least=least)
    within = search_within(scores, costs, features, depth=depth, limit=limit, least=least)
    assert earned(free, features, scores) == pytest.approx(best, abs=TOLERANCE)
    assert earned(within, features, scores) == pytest.approx(paid, abs=TOLERANCE)
    assert earned(within, features, costs) <= limit
    assert paid < best  # else the limit would be idle


def test_a_quarter_of_the_plane_is_found():
    x = np.random.default_rng(0).uniform(-1, 1, (4_000, 3))
    gain = np.where((x[:, 0] > 0.2) & (x[:, 2] <= -0.1), 1.0, -1.0)
    tree = search(np.column_stack([np.zeros(len(x)), gain]), x, depth=2)
    assert (tree.assign(x) == (gain > 0)).mean() > 0.95  # thresholds are quantiles


def problem(name="confounded_heterogeneous", n=2_000, seed=1, **columns):
    made = SIMULATIONS[name](n, seed=seed)
    question = made.question.model_copy(update={role: role for role in columns if role == "cost"})
    return build(made.frame.assign(**columns), question, seed=seed)


def test_the_best_policy_is_nearly_found_and_its_gain_within_its_interval():
    found = estimators.estimate("policy_learning", problem(n=8_000), depth=1, **QUICK)
    optimum = stats.norm.pdf(1) - stats.norm.sf(1)  # E[max(0, -(1 + x0))] for a normal x0
    assert found.ci_lower > 0
    assert found.estimate < optimum + 4 * found.std_error
    assert found.details["tree"]["feature"] == "x0"
    assert found.details["tree"]["threshold"] == pytest.approx(-1, abs=0.25)


def test_scalar_and_rows_agree():
    found = estimators.estimate("policy_learning", problem(), **QUICK)
    value = found.effects.set_index("term")["estimate"]
    assert value.iloc[0] == found.estimate == pytest.approx(value["learned"] - value["best constant"], rel=TOLERANCE)
    assert list(value.index[1:]) == ["learned", "best constant", "treat_all", "treat_none", "as observed"]


def true_gain(found, problem):
    """The mean over folds of what each one's tree gains over its constant in the population: the effect is 1 + x0."""
    fold = folds(problem.treatment, FOLDS, seed=problem.seed, cluster=problem.cluster)
    x = np.random.default_rng(99).standard_normal((10_000, problem.covariates.shape[1]))
    gains = [
        ((1 + x[:, 0]) * (tree.assign(x) - found.constant[fold == k][0])).mean() for k, tree in enumerate(found.trees)
    ]
    return float(np.average(gains, weights=np.bincount(fold)))


@pytest.mark.parametrize("draws", [25, pytest.param(400, marks=pytest.mark.exhaustive)])
def test_the_gain_of_the_learned_policy_is_covered(draws):
    held, above = 0, 0
    for seed in range(draws):
        made = SIMULATIONS["confounded_heterogeneous"](500, seed=20_000 + seed)
        at = build(made.frame, made.question, seed=seed)
        found = estimators.estimate("policy_learning", at, depth=1, **QUICK)
        how = learned(at, at.learned(**QUICK), depth=1, budget=None, trim=0.01)
        truth = true_gain(how, at)
        held += found.ci_lower is not None and found.ci_lower <= truth <= found.ci_upper
        above += found.estimate > truth
    assert stats.binomtest(held, draws, 0.95).pvalue > ALARM, f"{held} of {draws}"
    assert stats.binomtest(above, draws, 0.5).pvalue > ALARM  # as often too high as too low: no optimism


def test_a_budget_is_kept_and_costs_value():
    rich = estimators.estimate("policy_learning", problem(), **QUICK)
    poor = estimators.estimate("policy_learning", problem(), budget=0.2, **QUICK)
    assert poor.details["share"]["1"] < 0.2 + 0.05  # kept where it was learned; other rows differ by chance
    values = [e.effects.set_index("term").loc["learned", "estimate"] for e in (poor, rich)]
    assert values[0] < values[1]
    nothing = estimators.estimate("policy_learning", problem(), budget=0.0, **QUICK)
    assert nothing.details["tree"] == {"action": "0", "n": 2_000}
    assert (nothing.estimate, nothing.std_error, nothing.ci_lower) == (0.0, None, None)
    assert "none" in nothing.inference


def test_who_costs_more_than_they_gain_is_not_treated():
    made = SIMULATIONS["confounded_heterogeneous"](4_000, seed=2)
    dear = np.where(made.frame["x1"] > 0, 3.0, 0.0)  # gains are 1 + x0
    at = build(made.frame.assign(c=dear), made.question.model_copy(update={"cost": "c"}))
    found = estimators.estimate("policy_learning", at, **QUICK)
    assigned = pd.Series(found.details["assigned"]).astype(int)
    costly = dear[at.rows] > 0
    assert assigned[costly].mean() < 0.15
    assert assigned[~costly].mean() > 0.7
    assert found.details["spent"] == pytest.approx((dear[at.rows] * assigned).mean(), rel=TOLERANCE)


def test_a_policy_looks_at_effect_modifiers_alone_where_they_are_named():
    made = SIMULATIONS["confounded_heterogeneous"](2_000, seed=1)
    question = made.question.model_copy(update={"effect_modifiers": ("x1",)})
    found = estimators.estimate("policy_learning", build(made.frame, question), **QUICK)
    assert "x0" not in str(found.details["tree"])


def test_each_of_several_levels_may_be_given():
    found = estimators.estimate("policy_learning", problem("confounded_arms"), **QUICK)
    assert set(found.details["share"]) == {"0", "1", "2"}
    assert found.details["share"]["2"] > 0.7  # the best for everyone


def test_rows_and_columns_may_stand_in_any_order():
    made = SIMULATIONS["confounded_heterogeneous"](600, seed=4)
    frame = made.frame.sample(frac=1.0, random_state=5)[list(made.frame.columns)[::-1]]
    straight, turned = (estimators.estimate("policy_learning", build(f, made.question), **QUICK) for f in (made.frame, frame))  # fmt: skip
    assert straight.to_effect() == turned.to_effect()


def test_clusters_stay_together_and_widen_the_interval():
    made = SIMULATIONS["confounded_heterogeneous"](500, seed=4)
    twice = made.frame.assign(g=np.arange(500)).loc[lambda f: f.index.repeat(4)].reset_index(drop=True)
    clustered = made.question.model_copy(update={"cluster": "g"})
    naive, honest = (estimators.estimate("policy_learning", build(twice, q), budget=0.3, **QUICK) for q in (made.question, clustered))  # fmt: skip
    assert honest.std_error > 1.25 * naive.std_error


@pytest.mark.parametrize(("options", "code"), [({"budget": -0.1}, "OPTION_INVALID"), ({"depth": 3}, "OPTION_INVALID")])
def test_options_out_of_range_are_refused(options, code):
    with pytest.raises(InputError) as raised:
        estimators.estimate("policy_learning", problem(n=300), **QUICK, **options)
    assert raised.value.code == code


def test_a_cost_that_is_missing_somewhere_is_refused_by_name():
    with pytest.raises(CausalError, match="cost") as raised:
        estimators.estimate("policy_learning", problem(n=300, cost=[np.nan, *[1.0] * 299]), **QUICK)
    assert raised.value.code == "COST_INVALID"


def test_where_the_trees_of_the_folds_differ_their_errors_may_go_together():
    rng = np.random.default_rng(4)
    differences = rng.standard_normal((400, 1))
    alike = np.tile(rng.integers(0, 2, 400), (5, 1))
    assert policy_learning._together(alike, differences, None).item() == 0
    alike[2, :100] = 1 - alike[2, :100]
    of_those = np.where(np.arange(400) < 100, differences[:, 0], 0.0)
    assert policy_learning._together(alike, differences, None).item() == pytest.approx(4 * of_those.var(ddof=1) / 400)

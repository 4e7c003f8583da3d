"""What effects and outcomes go by, whom treatment reaches, and where counterfactual systems part."""

from __future__ import annotations

import dataclasses
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from causal_orchestrator import estimators, sensitivity
from causal_orchestrator.agents import effect_estimator
from causal_orchestrator.errors import NotApplicable
from causal_orchestrator.figures import FIGURES, drivers, load
from causal_orchestrator.figures.canvas import render, style
from causal_orchestrator.figures.evidence import Evidence
from causal_orchestrator.numerics.attribution import attribute
from causal_orchestrator.problem import build
from causal_orchestrator.results import Edge, Effects, Gate, Graph, Plan, Sensitivities
from causal_orchestrator.simulate import SIMULATIONS

QUICK = {"learners": ("linear",), "folds": 2, "repeats": 1}
ABOUT_CATE = ("cate_shap", "driver_ranking", "counterfactual_systems")
ABOUT_NETWORKS = ("spillover_graph", "spillover_spread")
ADDS_UP = 1e-8


def graph_of(*edges):
    linked = tuple(Edge(source=a, target=b) for a, b in edges)
    nodes = tuple(dict.fromkeys(name for pair in edges for name in pair))
    return Graph(nodes=nodes, edges=linked, discovery_method="given", gate=Gate(decision="ACCEPT", confidence=1.0))


@pytest.fixture(scope="module")
def observed():
    made = SIMULATIONS["confounded_heterogeneous"](700, seed=1)
    problem = build(made.frame, made.question)
    learned = estimators.estimate("dr_learner", problem, **QUICK)
    consensus = estimators.estimate("counterfactual_consensus", problem)
    files = {("effect_estimator", "cate.parquet"): effect_estimator._cate_file(problem, learned, learned.cate, None)}
    return Evidence(
        question=made.question, read=lambda columns: made.frame[list(columns)], file=lambda *name: files.get(name),
        graph=graph_of(("x0", "t"), ("x1", "t")), plan=Plan.model_construct(),
        effects=Effects.model_construct(effects=(learned.to_effect(), consensus.to_effect()), heterogeneity={}),
    )  # fmt: skip


@pytest.fixture(scope="module")
def connected():
    made = SIMULATIONS["connected"](400, seed=1)
    problem = build(made.frame, made.question)

    def refit(other):
        return estimators.estimate("network", other)

    found = sensitivity.load("exposure_mapping")(problem, refit(problem), refit=refit, seed=0)
    return Evidence(question=made.question, read=lambda columns: made.frame[list(columns)], sensitivities=Sensitivities(results=(found,)))  # fmt: skip


def drawn(kind, evidence):
    with style():
        drawing = load(FIGURES[kind])(evidence)
        return drawing, render(drawing, name=kind, title=FIGURES[kind].title)


@pytest.mark.parametrize("kind", [*ABOUT_CATE, *ABOUT_NETWORKS])
def test_each_is_drawn_with_words_and_the_same_bytes_again(kind, observed, connected):
    evidence = observed if kind in ABOUT_CATE else connected
    drawing, svg = drawn(kind, evidence)
    assert len(drawing.caption) > 20
    assert len(drawing.alt) > 10
    assert svg == drawn(kind, evidence)[1]
    assert len(svg) < 200_000


@pytest.mark.parametrize("kind", [*ABOUT_CATE, *ABOUT_NETWORKS])
def test_without_its_data_each_says_what_it_lacks(kind, observed):
    bare = dataclasses.replace(observed, file=lambda *name: None, effects=None, graph=None, sensitivities=None)
    with pytest.raises(NotApplicable):
        load(FIGURES[kind])(bare)


def test_the_effect_goes_by_the_covariate_that_moves_it(observed):
    alt = drawn("cate_shap", observed)[0].alt
    assert alt.index("x0") < min(alt.index(name) for name in ("x1", "x2", "x3"))


def test_shapley_values_add_up_to_a_prediction_and_share_what_columns_share():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((800, 3))
    target = 2 * x[:, 0] - x[:, 1] + 0.1 * rng.standard_normal(800)
    apart = attribute(x, target, ("a", "b", "c"), seed=1)
    joined = attribute(x, target, ("a", "a", "c"), seed=1)
    np.testing.assert_allclose(joined.values[:, 0], apart.values[:, :2].sum(axis=1), atol=ADDS_UP)
    assert apart.explained > 0.9
    assert np.corrcoef(apart.values[:, 0], x[:, 0])[0, 1] > 0.95
    np.testing.assert_allclose(10 * apart.values, attribute(x, 10 * target, ("a", "b", "c"), seed=1).values, atol=1e-6)


def test_without_its_library_the_figure_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    with pytest.raises(NotApplicable, match="lightgbm") as raised:
        attribute(np.zeros((200, 2)), np.zeros(200), ("a", "b"), seed=1)
    assert raised.value.code == "EXTRA_MISSING"


def test_columns_without_a_say_explain_nothing():
    rng = np.random.default_rng(1)
    assert attribute(rng.standard_normal((600, 2)), rng.standard_normal(600), ("a", "b"), seed=1).explained < 0.05


def test_a_cause_through_another_and_its_symptom_are_ranked_apart():
    """x causes m causes y, and s is a symptom of m: s predicts and causes nothing, x causes and adds no prediction."""
    rng = np.random.default_rng(2)
    x = rng.standard_normal(4_000)
    m = x + 0.3 * rng.standard_normal(4_000)
    s = m + 0.1 * rng.standard_normal(4_000)
    y = m + 0.5 * rng.standard_normal(4_000)
    edges = [SimpleNamespace(source=a, target=b, type="directed") for a, b in (("x", "m"), ("m", "s"))]
    causal = drivers._causal(np.column_stack([x, m, s]), ("x", "m", "s"), y, edges)
    assert causal[0] == pytest.approx(1.0, abs=0.05)
    assert causal[1] == pytest.approx(np.std(m), abs=0.1)
    assert causal[2] < 0.25


def test_systems_that_agree_and_one_that_does_not_are_told(observed):
    drawing, _ = drawn("counterfactual_systems", observed)
    details = observed.effects.effects[1].details
    assert details["agreement"]["level"] in drawing.alt
    assert details["compared"]["fit"]["linear"] > details["compared"]["fit"]["forest"]
    low, *_, high = details["compared"]["quantiles"]["linear"]
    assert low < details["systems"]["linear"] < high
    control, treated = details["compared"]["means"]["linear"]
    assert treated - control == pytest.approx(details["systems"]["linear"])


def test_the_units_of_each_exposure_are_counted(connected):
    alt = drawn("spillover_graph", connected)[0].alt
    made = connected.read(["t", "friends"])
    treated = set(made.index[made["t"] == 1].astype(str))
    exposed = made["friends"].map(lambda row: bool(treated & set(row.split())))
    linked = made["friends"].str.len() > 0
    assert f"neither {int((linked & ~exposed & (made['t'] == 0)).sum())}" in alt
    assert f"with treated neighbours {int((exposed & (made['t'] == 0)).sum())};" in alt

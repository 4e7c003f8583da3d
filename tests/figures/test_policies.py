"""Figures of who gains more and whom to treat, from what the estimator says of simulated data."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from causal_orchestrator import estimators
from causal_orchestrator.agents import effect_estimator
from causal_orchestrator.errors import NotApplicable
from causal_orchestrator.figures import FIGURES, load, policies
from causal_orchestrator.figures.canvas import render, style
from causal_orchestrator.figures.evidence import Evidence
from causal_orchestrator.problem import build, plain
from causal_orchestrator.results import Effects, Plan
from causal_orchestrator.simulate import SIMULATIONS

QUICK = {"learners": ("linear",), "folds": 2, "repeats": 1}
KINDS = ("uplift_curve", "policy_tree", "policy_matrix", "net_benefit", "cate_landscape", "cate_surface", "cate_distribution")  # fmt: skip


@pytest.fixture(scope="module")
def evidence():
    made = SIMULATIONS["confounded_heterogeneous"](1_500, seed=1)
    frame = made.frame.assign(price=0.5)
    question = made.question.model_copy(update={"cost": "price"})
    problem = build(frame, question)
    found = {
        "dr_learner": estimators.estimate("dr_learner", problem, **QUICK),
        "policy_learning": estimators.estimate("policy_learning", problem, **QUICK),
    }
    problem = problem.with_learned(problem.learned(**QUICK))
    plan = Plan.model_construct(question=question, adjustment_set=question.covariates, thresholds={})
    told, _ = effect_estimator._heterogeneity(frame, problem, plan, found)
    effects = Effects.model_construct(
        effects=tuple(e.to_effect() for e in found.values()), heterogeneity=plain(told), specification_curve=()
    )
    return Evidence(question=question, read=lambda columns: frame[list(columns)], effects=effects)


def drawn(kind, evidence):
    with style():
        drawing = load(FIGURES[kind])(evidence)
        return drawing, render(drawing, name=kind, title=FIGURES[kind].title)


@pytest.mark.parametrize("kind", KINDS)
def test_each_is_drawn_with_words_and_the_same_bytes_again(kind, evidence):
    drawing, svg = drawn(kind, evidence)
    assert len(drawing.caption) > 20
    assert len(drawing.alt) > 10
    assert svg == drawn(kind, evidence)[1]
    assert len(svg) < 200_000


def test_the_tree_says_whom_to_treat(evidence):
    alt = drawn("policy_tree", evidence)[0].alt
    assert "x0 at most" in alt
    assert "give 1" in alt
    assert "give 0" in alt


def test_the_curve_lies_above_chance(evidence):
    curve = evidence.effects.heterogeneity["cate"]["curve"]
    middle = next(point for point in curve if abs(point["share"] - 0.5) < 0.01)
    assert middle["ci_lower"] > middle["random"]
    assert curve[-1]["gain"] == pytest.approx(curve[-1]["random"])


def test_policies_are_not_drawn_among_effects(evidence):
    alt = load(FIGURES["effect_forest"])(evidence).alt
    assert "dr_learner" in alt
    assert "policy_learning" not in alt


@pytest.mark.parametrize("kind", KINDS)
def test_without_its_data_each_says_what_it_lacks(kind, evidence):
    bare = dataclasses.replace(
        evidence, effects=evidence.effects.model_copy(update={"heterogeneity": {}, "effects": ()})
    )
    with pytest.raises(NotApplicable) as raised:
        load(FIGURES[kind])(bare)
    assert raised.value.message


def test_cells_that_hold_few_are_empty_on_the_map_and_forbid_the_surface(evidence):
    found = evidence.effects.heterogeneity
    holes = [[None, *row[1:]] for row in found["landscape"]["effect"]]
    changed = {**found, "landscape": {**found["landscape"], "effect": holes}}
    sparse = dataclasses.replace(evidence, effects=evidence.effects.model_copy(update={"heterogeneity": changed}))
    assert policies.landscape(sparse).alt
    with pytest.raises(NotApplicable):
        policies.surface(sparse)
    assert np.isfinite(np.array(found["landscape"]["effect"], dtype=float)).all()

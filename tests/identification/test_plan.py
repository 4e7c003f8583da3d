"""The plan's seal."""

from __future__ import annotations

import json

import pytest

from causal_orchestrator.identification.plan import freeze, verify
from causal_orchestrator.question import Question
from causal_orchestrator.results import Plan

PLAN = Plan(
    question=Question(treatment="t", outcome="y", covariates=["a", "b"], reference_level=1),
    design="unconfoundedness",
    estimand="ATT",
    identified=True,
    reasons=("because",),
    adjustment_set=("a", "b"),
    thresholds={"smd": 0.1},
    options={"ipw": {"estimand": "ATT"}},
)


def test_a_frozen_plan_verifies_and_an_open_one_does_not() -> None:
    assert verify(freeze(PLAN))
    assert not verify(PLAN)


@pytest.mark.parametrize(
    "change",
    [
        {"primary": "ipw"},
        {"estimand": "ATE"},
        {"adjustment_set": ("a",)},
        {"thresholds": {"smd": 0.2}},
        {"options": {}},
        {"chosen_by": "model"},
    ],
)
def test_any_later_change_breaks_the_seal(change: dict[str, object]) -> None:
    assert not verify(freeze(PLAN).model_copy(update=change))


def test_the_seal_survives_json() -> None:
    frozen = freeze(PLAN)
    assert verify(Plan.model_validate(json.loads(frozen.model_dump_json())))


def test_the_hash_is_of_everything_but_itself() -> None:
    assert freeze(freeze(PLAN)).sha256 == freeze(PLAN).sha256

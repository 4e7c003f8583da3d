"""A pre-declared combination runs where it was asked for, and is then the plan's primary (SEL-1, HON-4)."""

from __future__ import annotations

import json

import pytest
from tests.agents.analysed import silent
from tests.agents.reader import FrameReader
from tests.agents.test_study_design import frame, plan

from causal_orchestrator.agents import JobView, Turn, effect_estimator
from causal_orchestrator.results import Effects

QUICK = {"learners": ("linear",), "folds": 2, "repeats": 1}


def test_nobody_asked_and_it_does_not_run() -> None:
    judged = {a.method: a for a in plan().applicability}
    assert not judged["short_stack"].admissible
    assert "ensemble" in (judged["short_stack"].missing or "")
    assert "short_stack" not in plan().methods


def test_the_strategy_makes_it_the_primary_beside_the_offline_one() -> None:
    found = plan(preferences={"selection_strategy": "ensemble"})
    assert found.primary == "short_stack"
    assert found.offline_primary == plan().offline_primary != "short_stack"
    assert {found.primary, found.offline_primary} <= set(found.methods)
    assert found.options["short_stack"] == {"estimand": found.estimand}


@pytest.mark.parametrize("asked", [{"primary_method": "short_stack"}, {"methods": ("short_stack",)}])
def test_a_person_may_name_it(asked: dict[str, object]) -> None:
    assert plan(preferences=asked).primary == "short_stack"


def test_the_persons_own_primary_stands_above_the_strategy() -> None:
    assert plan(preferences={"selection_strategy": "ensemble", "primary_method": "aipw"}).primary == "aipw"


def test_its_interval_is_the_headline_and_the_strategys_preference() -> None:
    data = frame(300)
    made = plan(data, preferences={"selection_strategy": "ensemble", "methods": ("short_stack", "ipw", "ols")})
    methods = ("short_stack", "ipw", "ols")
    made = made.model_copy(update={"methods": methods, "offline_primary": "ipw", "options": {"short_stack": QUICK}})
    job = JobView(id="j", tenant="t", question=made.question, seed=0, results={"study_design": made.model_dump(mode="json")})  # fmt: skip
    output = effect_estimator.run(job, Turn(8, "effect_estimator", {}, 0), FrameReader(data, "t", "y"), silent)
    assert isinstance(output.result, Effects)
    head = next(e for e in output.result.effects if e.role == "primary")
    assert (head.method, output.result.selection.headline) == ("short_stack", "short_stack")
    assert head.inference.startswith("combined influence function")
    assert output.result.selection.preferred == "short_stack"
    assert "short_stack" not in {n for group in output.result.selection.agreement["groups"] for n in group}
    stored = json.loads(bytes(output.files["evaluations.json"]))  # type: ignore[arg-type]
    assert {row["method"] for row in stored["evaluations"]} == set(methods)
    assert all(row["duration_ms"] > 0 and row["success"] for row in stored["evaluations"])


def test_the_durations_are_not_in_the_results() -> None:
    assert "duration" not in json.dumps(Effects.model_json_schema())

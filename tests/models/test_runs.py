"""Models over the whole loop with the real agents: dead, helpful, curious about cells."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tests.models.peer import serving
from tests.models.runs import Run, Scripted, experiment, helpful, ladder, question, run, text

from causal_orchestrator import models
from causal_orchestrator.models import Surroundings
from causal_orchestrator.models.replies import Recording, Replaying
from causal_orchestrator.settings import Settings

HASTY = Surroundings(sleep=lambda seconds: None, draw=lambda: 0.0)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def data(place: Path) -> Path:
    experiment().to_csv(place / "data.csv", index=False)
    return place / "data.csv"


@pytest.fixture(scope="module")
def offline(place: Path, data: Path) -> Run:
    with pytest.MonkeyPatch.context() as patch:
        return run(place / "offline", question(), data, None, patch)


@pytest.fixture(scope="module")
def helped(place: Path, data: Path) -> tuple[Run, Scripted]:
    with pytest.MonkeyPatch.context() as patch:
        provider = Scripted(helpful)
        return run(place / "helped", question(), data, ladder(provider), patch), provider


def test_with_a_dead_model_the_results_are_byte_equal_to_the_offline_planners(
    offline: Run, place: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving() as peer:
        settings = Settings(planner="claude", model="m", model_url=peer.url)
        dead = models.connect(settings, lambda name: "key", around=HASTY)
        found = run(place / "dead", question(), data, dead, monkeypatch)
        assert len(peer.heard) >= 3
    assert found.job.calls > 0
    assert {step.decision.by for step in found.steps} == {"start", "offline"}
    assert any("answered 500" in reason for step in found.steps for reason in step.decision.refused)
    for name in ("results.json", "report.html"):
        assert found.files[name] == offline.files[name]


def test_an_admissible_choice_takes_effect_and_its_trace_tells_all(helped: tuple[Run, Scripted]) -> None:
    found, _ = helped
    assert found.job.state == "completed"
    chosen = [step for step in found.steps if step.decision.by == "model"]
    assert len(chosen) >= len(found.steps) - 2
    other = [step for step in chosen if step.agent != step.decision.alternatives[0]["agent"]]
    assert other, "no choice differed from the offline planner's"
    trace = found.documents[f"agent_traces/{found.job.id}/traces/{other[0].number:04d}"]
    assert trace["decided_by"] == "model"
    assert trace["reasoning"] == "the last one, for a change"
    assert len(trace["view_sha256"]) == 64
    assert other[0].agent in {choice["agent"] for choice in trace["alternatives"]}
    (call,) = (call for call in trace["tools_called"] if call["tool"] == "dispatch_to_agent")
    assert (call["by"], call["tokens_in"], call["tokens_out"]) == ("scripted:1", 10, 5)


def test_the_models_primary_stands_beside_the_offline_planners(helped: tuple[Run, Scripted], offline: Run) -> None:
    def plan(found: Run) -> Mapping[str, Any]:
        return next(step.result for step in found.steps if step.agent == "study_design")  # type: ignore[return-value]

    mine, theirs = plan(helped[0]), plan(offline)
    assert mine["primary"] == "ols" != theirs["primary"]
    assert mine["offline_primary"] == theirs["primary"]
    ran = {row["method"] for row in helped[0].results["treatment_effects"]}
    assert {"ols", theirs["primary"]} <= ran


def test_every_form_of_question_is_asked_and_may_leave(helped: tuple[Run, Scripted]) -> None:
    found, provider = helped
    assert {form for form, _ in provider.prompts} == {"dispatch_to_agent", "Choice", "Comment", "Words"}
    calls = [call for path, kept in found.documents.items() if "/asked/" in path for call in kept["calls"]]
    assert [call for call in calls if "error" in call] == []


def test_an_agents_question_is_repaired_and_never_more_than_twice(
    place: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def clumsy(form: str, prompt: str) -> Mapping[str, Any]:
        seen.append(form)
        if form == "Choice" and "was refused" not in prompt:
            return {"primary": "ols", "code": "import os"}
        return {"nonsense": True} if form == "Words" else helpful(form, prompt)

    found = run(place / "clumsy", question(), data, ladder(Scripted(clumsy)), monkeypatch)
    plan = next(step.result for step in found.steps if step.agent == "study_design")
    assert (plan or {})["primary"] == "ols"
    words = [step for step in found.steps if step.agent == "interpreter"]
    # A verdict that refuses is worded without a model.
    assert seen.count("Words") in {3 * k for k in range(1, len(words) + 1)}
    assert (words[-1].result or {})["written_by"] == "template"


def test_a_recorded_job_is_run_again_to_the_same_bytes_without_a_model(
    helped: tuple[Run, Scripted], place: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = place / "replies.jsonl"
    first = run(place / "recorded", question(), data, Recording(ladder(Scripted(helpful)), file), monkeypatch)
    again = run(place / "replayed", question(), data, Replaying(file), monkeypatch)
    assert first.files["results.json"] == again.files["results.json"] == helped[0].files["results.json"]
    assert [(s.agent, s.decision.by) for s in again.steps] == [(s.agent, s.decision.by) for s in first.steps]


def canaries(n: int = 120) -> tuple[pd.DataFrame, list[str]]:
    """Return a table whose every cell can be recognised, and what to look for (its digits or its text)."""
    rng = np.random.default_rng(5)
    t = rng.integers(0, 2, n)
    x = rng.standard_normal(n)
    frame = pd.DataFrame(
        {
            "x": np.round(x, 9),
            "y": np.round(t + x + rng.standard_normal(n), 9),
            "arm": np.where(t == 1, "canaryarmone", "canaryarmnull"),
            "colour": rng.choice(["canaryred", "canaryblue", "canarygreen"], n),
            "note": [f"canarynote{k:04d}" for k in range(n)],
        }
    )
    digits = [f"{abs(value):.9f}".split(".")[1][:7] for name in ("x", "y") for value in frame[name]]
    return frame, [*digits, "canarynote", "canaryred", "canaryblue", "canarygreen", "canaryarm"]


def test_no_cell_reaches_a_prompt_a_log_or_a_document_beside_the_results(
    place: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    frame, birds = canaries()
    frame.to_csv(place / "canaries.csv", index=False)
    provider = Scripted(helpful)
    caplog.set_level(logging.DEBUG)
    asked = question(treatment="arm", covariates=["x", "colour"])
    found = run(place / "canaries", asked, place / "canaries.csv", ladder(provider), monkeypatch)
    assert found.job.state == "completed", found.job.error
    assert {form for form, _ in provider.prompts} == {"dispatch_to_agent", "Choice", "Comment", "Words"}
    beside = {path: document for path, document in found.documents.items() if "/steps/" not in path}
    assert len(beside) > 10
    pattern = re.compile("|".join(birds))
    for where, seen in (
        *((f"the prompt for a {form}", prompt) for form, prompt in provider.prompts),
        *(("the log", record.getMessage()) for record in caplog.records if record.name.startswith("causal")),
        *((path, text(document)) for path, document in beside.items()),
    ):
        assert not (hit := pattern.search(seen)), f"{where} holds {hit.group() if hit else ''}: {seen[:300]}"

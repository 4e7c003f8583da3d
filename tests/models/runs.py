"""Whole small analyses in this process, with the real agents and a model that is a function."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from causal_orchestrator import laptop, runtime
from causal_orchestrator.agents import AGENTS as ALL
from causal_orchestrator.backends.local import open_store
from causal_orchestrator.backends.ports import Backends
from causal_orchestrator.models import Answer, Ladder, Surroundings, Usage
from causal_orchestrator.question import Question
from causal_orchestrator.settings import Settings
from causal_orchestrator.state import Job, Step
from causal_orchestrator.store import load

# A kernel and the drawing would take most of the time, and neither asks a model.
AGENTS = {name: spec for name, spec in ALL.items() if name not in ("notebook_generator", "visualizer")}
HERE = "tests.models.runs:AGENTS"
Speak = Callable[[str, str], Mapping[str, Any]]


@dataclass
class Scripted:
    """A provider that answers by a function of the form's name and the prompt, and remembers every prompt."""

    speak: Speak
    name: str = "scripted:1"
    prompts: list[tuple[str, str]] = field(default_factory=list)

    def send(self, prompt: str, schema: Mapping[str, Any], *, seconds: float) -> Answer:
        self.prompts.append((str(schema["title"]), prompt))
        return Answer(self.speak(str(schema["title"]), prompt), Usage(self.name, 10, 5))


@dataclass(frozen=True)
class Run:
    """An ended job with everything that it left."""

    job: Job
    steps: list[Step]
    files: Mapping[str, bytes]
    documents: Mapping[str, Any]

    @property
    def results(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.files["results.json"])
        return found


def ladder(provider: Any) -> Ladder:
    return Ladder([provider], planner="scripted", around=Surroundings(sleep=lambda seconds: None))


def run(
    home: Path, question: Question, data: Path | None, model: Any, monkeypatch: pytest.MonkeyPatch, *,
    agents: str = HERE, tenant: str = "t",
) -> Run:  # fmt: skip
    """Run one job to its end in this process."""
    monkeypatch.setattr("causal_orchestrator.models.connect", lambda *args, **named: model)
    settings = Settings(home=home, workers=0)
    store = open_store(settings)
    job_id = runtime.start_job(store.backends, question, {"kind": "path", "uri": str(data)}, tenant=tenant)
    store.close()
    laptop.run(settings, job_ids=[job_id], agents=agents)
    store = open_store(settings)
    job, steps = load(store.backends, job_id)
    assert job is not None
    names = {name for step in steps for name in step.files}
    files = {name: runtime.open_file(store.backends, job_id, name, tenant=tenant) for name in names}
    documents = everything(store.backends, job_id)
    store.close()
    return Run(job, steps, files, documents)


def everything(backends: Backends, job_id: str) -> dict[str, Any]:
    """Return every document about a job by its path."""
    collections = [
        "jobs", f"jobs/{job_id}/steps", f"jobs/{job_id}/asked", f"agent_traces/{job_id}/traces",
        f"audit/{job_id}/events", "results", "causal_paths", "costs",
    ]  # fmt: skip
    return {path: document for name in collections for path, document in backends.documents.list(name)}


def text(document: Any) -> str:
    return json.dumps(document, default=lambda value: value.isoformat() if isinstance(value, datetime) else str(value))


def admissible(prompt: str) -> list[str]:
    """Return what a prompt of the coordinator offers."""
    line = next(line for line in prompt.splitlines() if line.startswith("{"))
    return [choice["agent"] for choice in json.loads(line)["admissible"]]


def helpful(form: str, prompt: str) -> Mapping[str, Any]:
    """Choose what is admissible and not the offline planner's first; word without numbers."""
    if form == "dispatch_to_agent":
        return {"agent": admissible(prompt)[-1], "reasoning": "the last one, for a change"}
    if form == "Choice":
        return {"primary": "ols", "methods": ["ols"], "reasoning": "covariates make it sharper"}
    if form == "Comment":
        return {"comments": ["Nothing to add."], "actions": []}
    return {"summary": "The programme did something.", "narrative": ["It was looked at with care."]}


def experiment(n: int = 120, seed: int = 0) -> pd.DataFrame:
    """Return a covariate, a randomised treatment and an outcome."""
    rng = np.random.default_rng(seed)
    x, t = rng.standard_normal(n), rng.integers(0, 2, n)
    return pd.DataFrame({"x": x, "t": t, "y": t + x + rng.standard_normal(n)})


def question(**fields: Any) -> Question:
    named = {"treatment": "t", "outcome": "y", "covariates": ["x"], "randomized": True}
    return Question.model_validate({**named, "preferences": {"max_iterations": 1}, **fields})

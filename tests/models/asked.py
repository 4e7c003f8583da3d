"""A job at a fork: two steps are admissible, and the model behind the peer is asked which one comes next."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.models.peer import Peer

from causal_orchestrator import coordinator, models, runtime
from causal_orchestrator.agents import JobView, Spec
from causal_orchestrator.asking import asker
from causal_orchestrator.backends.local import Store, open_store
from causal_orchestrator.models import Surroundings
from causal_orchestrator.question import Question
from causal_orchestrator.settings import Settings
from causal_orchestrator.state import Decision, Job
from causal_orchestrator.store import load

PLANNERS = ("gemini", "gemini-key", "claude", "openai")
HASTY = Surroundings(sleep=lambda seconds: None, draw=lambda: 0.0)


def _always(job: JobView) -> tuple[float, str]:
    return 0.5, "always"


def _spec(result: str, requires: tuple[str, ...], provides: str, **fields: Any) -> Spec:
    return Spec(result, "PROFILING", requires, (provides,), mandatory=True, on_failure="fail", module="tests.toy_agents", **fields)  # fmt: skip


# The offline planner takes "one" first: the best of equals by name.
FORK = {
    "dataset_fetcher": _spec("Snapshot", (), "snapshot"),
    "one": _spec("Figures", ("snapshot",), "one"),
    "two": _spec("Figures", ("snapshot",), "two"),
    "three": _spec("Figures", ("snapshot",), "three"),
    "reporter": _spec("Report", ("one", "two", "three"), "report", final=True, stage="open"),
}


def setting(home: Path, peer: Peer, planner: str, **fields: Any) -> Settings:
    url = peer.url
    return Settings(
        home=home, workers=0, planner=planner, model="m", model_url=url, project="p",
        environ=dict.fromkeys(("ANTHROPIC_API_KEY", "OPENAI_API_KEY", "GEMINI_API_KEY"), "key"), **fields,
    )  # fmt: skip


def opened(home: Path, peer: Peer, planner: str, around: Surroundings = HASTY, **fields: Any) -> Store:
    """Open a store whose model asks the peer, without waiting between calls."""
    settings = setting(home, peer, planner, **fields)
    store = open_store(settings)
    model = models.connect(settings, store.backends.secrets.get, around=around)
    object.__setattr__(store.backends, "model", model)
    return store


def start(store: Store, **fields: Any) -> str:
    return runtime.start_job(store.backends, Question(**fields), {"kind": "path"}, tenant="t")


def decide(store: Store, job_id: str) -> tuple[coordinator.Choice, Decision, Job]:
    """Let the coordinator choose the step after the fetcher's, and return what the job's counters are then."""
    view = JobView(id=job_id, tenant="t", question=Question(), seed=0, results={"dataset_fetcher": {"n_rows": 100, "n_columns": 3}}, order={"dataset_fetcher": 0})  # fmt: skip
    ask = asker(store.backends, job_id, check=lambda job, found, made: None, step=1, span="0" * 16)
    choice, decision = coordinator.next_step(view, coordinator.allowed(view, FORK), ask)
    job, _ = load(store.backends, job_id)
    assert job is not None
    return choice, decision, job


def admissible(prompt: str) -> list[str]:
    """Return what a prompt of the coordinator offers."""
    line = next(line for line in prompt.splitlines() if line.startswith("{"))
    return [choice["agent"] for choice in json.loads(line)["admissible"]]

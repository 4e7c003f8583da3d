"""Runs the first agents on a frame: snapshot, profile, and what builds on them."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pandas as pd
from tests.agents.reader import FrameReader

from causal_orchestrator.agents import JobView, Turn, data_profiler
from causal_orchestrator.datasets.snapshot import snapshot_frame
from causal_orchestrator.errors import ModelUnavailable
from causal_orchestrator.question import Question
from causal_orchestrator.results import Profile


def no_model(prompt: str, kind: type[Any], /) -> Any:
    raise ModelUnavailable("there is no model")


def profile(frame: pd.DataFrame, question: Question | None = None, reader: FrameReader | None = None) -> Profile:
    """Run the profiler alone; roles are written as ``Question``."""
    found, _ = snapshot_frame(frame)
    view = job(question or Question(), dataset_fetcher=found)
    result = data_profiler.run(view, Turn(1, "data_profiler", {}, 0), reader or FrameReader(frame), no_model).result
    assert isinstance(result, Profile)
    return result


def after_profile(agent: ModuleType, frame: pd.DataFrame, question: Question | None = None) -> tuple[Any, FrameReader]:
    """Run `agent` on what fetcher and profiler found; return its record and the reader that it used."""
    found, _ = snapshot_frame(frame)
    profiled = profile(frame, question)
    reader = FrameReader(frame, profiled.question.treatment, profiled.question.outcome)
    view = job(profiled.question, dataset_fetcher=found, data_profiler=profiled)
    return agent.run(view, Turn(2, agent.__name__, {}, 0), reader, no_model).result, reader


def job(question: Question, **results: Any) -> JobView:
    written = {name: record.model_dump(mode="json") for name, record in results.items()}
    return JobView(id="job", tenant="tenant", question=question, seed=0, results=written)

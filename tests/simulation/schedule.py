"""One schedule: run it, compare it with the good world, and say how to see it again."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from causal_orchestrator import asking, reader, store
from causal_orchestrator.backends.ports import Backends, Document
from causal_orchestrator.question import canonical_json
from causal_orchestrator.state import Job, Step

from . import toy
from .invariants import MAX_CALLS, Violation, fake_table, need
from .world import Client, Options, World


@contextmanager
def pretended_data() -> Iterator[None]:
    """Let agents read columns of a table that is not there, and read each document once."""
    with (
        mock.patch.object(reader, "_table", fake_table),
        mock.patch.object(store, "_read", _remembering(store._read)),
        mock.patch.object(asking, "MAX_CALLS", min(asking.MAX_CALLS, MAX_CALLS)),
    ):
        yield


def _remembering(read: Callable[[type[Any], Document], Any]) -> Callable[[type[Any], Document], Any]:
    """Return a reader that validates each stored document once; both it and its record are immutable."""
    known: dict[tuple[type[Any], int], tuple[Document, Any]] = {}

    def remembered(kind: type[Any], document: Document) -> Any:
        key = (kind, id(document))
        if key not in known:
            known[key] = (document, read(kind, document))
        return known[key][1]

    return remembered


def run(seed: int, **how: Any) -> World:
    """Run a schedule and check everything (raises Violation)."""
    with pretended_data():
        world = World(seed, **how).run()
        if world.agents is toy.AGENTS:
            for client, job, steps in world.invariants.outcome():
                _compare(world, client, job, steps)
    return world


def _compare(world: World, client: Client, job: Job, steps: list[Step]) -> None:
    """E1: a job that ran to its end, and lost nothing on the way, found what it finds in a good world."""
    if job.state not in ("completed", "rejected"):
        return
    kinds = {step.error.kind for step in steps if step.error is not None}
    chosen = any(step.decision.by == "model" for step in steps) and world.options.model not in ("first", "slow")
    hurried = client.question.preferences.budget.max_minutes < 60 or "cap" in kinds
    traits = client.question.query.split()
    meant = {"sick_repair": "ESTIMATION", "sick_part": "PART_FAILED", "dies": "INTERNAL", "looks": "BLINDNESS"}
    lost = {step.error.code for step in steps if step.error} - {meant[t] for t in traits if t in meant}
    if chosen or hurried or lost or job.resumed or (job.deadline_at - job.created_at).total_seconds() < 14000:
        return
    if (job.ended_at - job.created_at).total_seconds() > 0.7 * 14000:  # type: ignore[operator]
        return
    expected = good(
        client.question.model_dump_json(), canonical_json(dict(client.source)), canonical_json(dict(job.answers))
    )
    need(
        "E1", findings(world.backends, steps) == expected, f"the results of {traits} differ from those of a good world"
    )


def findings(backends: Backends, steps: list[Step]) -> str:
    """Return every agent's turns and results in order, as canonical JSON."""
    rows = [
        [s.agent, s.iteration, s.state, dict(s.result or {}), s.result_object.sha256 if s.result_object else ""]
        for s in steps
    ]
    return canonical_json(rows)


@functools.cache
def good(question: str, source: str, answers: str) -> str:
    """Return what a job finds where nothing fails."""
    import json

    from causal_orchestrator.question import Question

    world = World(0, options=Options(fault_minutes=0.02))
    client = world.clients[0]
    client.question, client.source, client.says = (
        Question.model_validate_json(question),
        json.loads(source),
        json.loads(answers),
    )
    world.run()
    ((_, job, steps),) = world.invariants.outcome()
    need("E1", job.state in ("completed", "rejected"), f"even in a good world the job ended {job.state} {job.error}")
    return findings(world.backends, steps)


def smallest(seed: int, **how: Any) -> tuple[frozenset[int], str]:
    """Leave out faults as long as the schedule still fails; return what may be left out and the failure that stays."""
    skip: frozenset[int] = frozenset()
    failure, fired = _failure(seed, skip, **how)
    size = max(1, len(fired) // 2)
    while failure is not None and size >= 1:
        k = 0
        while k < len(fired):
            trial = skip | frozenset(fired[k : k + size])
            still, now = _failure(seed, trial, **how)
            if still is not None and len(now) < len(fired):
                skip, failure, fired = trial, still, now
            else:
                k += size
        size //= 2
    return skip, str(failure)


def _failure(seed: int, skip: frozenset[int], **how: Any) -> tuple[Violation | None, list[int]]:
    with pretended_data():
        world = World(seed, skip=skip, **how)
        try:
            world.run()
        except Violation as exc:
            return exc, world.fired
    return None, world.fired

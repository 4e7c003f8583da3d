"""Documents as records, and the one way to commit a change of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from pydantic import ValidationError

from causal_orchestrator.agents import JobView
from causal_orchestrator.backends.ports import Backends, Document, Found, Writes
from causal_orchestrator.errors import Busy, CommitUnknown, NotFound, StorageError
from causal_orchestrator.question import Question
from causal_orchestrator.question import ask as make_question
from causal_orchestrator.state import (
    SCHEMA_VERSION,
    Job,
    Part,
    Pinned,
    State,
    Step,
    job_path,
    step_path,
)

S = TypeVar("S", bound=State)

COMMIT_TRIES = 10
PAGE = 200


def commit(backends: Backends, paths: Sequence[str], change: Callable[[Found], Writes]) -> tuple[Found, str]:
    """Commit a change that survives an unknown outcome; return what stands and this commit's operation ID.

    Every written document carries the operation's ID. When the outcome was not seen, the next try first looks
    for that ID; if it stands, the commit had gone through. Should others have overwritten every document since,
    `change` runs again on what they left: each of them guards itself by the state that it expects.
    """
    op = backends.new_id()

    def stamped(found: Found) -> Writes:
        if any(document is not None and document.get("op") == op for document in found.values()):
            return {}
        return {path: None if new is None else {**new, "op": op} for path, new in change(found).items()}

    for _ in range(COMMIT_TRIES):
        try:
            return backends.documents.update(paths, stamped), op
        except CommitUnknown:
            continue
    raise StorageError(f"the outcome of a commit stayed unknown {COMMIT_TRIES} times")


def read_job(document: Document | None) -> Job | None:
    """Return the job of a document; one written by a newer version is left to it (raises Busy)."""
    if document is None:
        return None
    if int(document.get("schema_version", 0)) > SCHEMA_VERSION:
        raise Busy("the job was written by a newer version", code="NEWER_SCHEMA")
    return _read(Job, document)


def read_step(document: Document) -> Step:
    """Return the step of a document (raises StorageError)."""
    return _read(Step, document)


def read_part(document: Document) -> Part:
    """Return the part of a document (raises StorageError)."""
    return _read(Part, document)


def _read(kind: type[S], document: Document) -> S:
    try:
        return kind.model_validate(document)
    except ValidationError as exc:
        raise StorageError(
            f"a {kind.__name__.lower()} cannot be read: {exc.error_count()} errors", code="DOCUMENT"
        ) from exc


def load(backends: Backends, job_id: str) -> tuple[Job | None, list[Step]]:
    """Return a job and its steps in order."""
    job = read_job(backends.documents.get(job_path(job_id)))
    if job is None:
        return None, []
    return job, steps_of(backends, job_id)


def steps_of(backends: Backends, job_id: str) -> list[Step]:
    """Return a job's steps in order; read after the job, what it does not count yet can only be newer than it."""
    return [read_step(document) for _, document in backends.documents.list(f"{job_path(job_id)}/steps")]


def parts_of(backends: Backends, step: Step) -> list[Part]:
    """Return the parts of a step in order."""
    found = backends.documents.list(f"{step_path(step.job, step.number)}/parts")
    return [read_part(document) for _, document in found]


def pages(backends: Backends, collection: str, where: Mapping[str, Any]) -> Iterator[Document]:
    """Yield the documents of a collection page by page."""
    after: str | None = None
    while True:
        page = backends.documents.list(collection, where=where, limit=PAGE, after=after)
        yield from (document for _, document in page)
        if len(page) < PAGE:
            return
        after = page[-1][0]


def fetch(backends: Backends, pinned: Pinned) -> bytes:
    """Read a pinned object and check that it is the one that was committed."""
    with backends.objects.open(pinned.name, pinned.generation) as stream:
        data = stream.read()
    if hashlib.sha256(data).hexdigest() != pinned.sha256:
        raise StorageError(f"the object {pinned.name} is not the one that was committed")
    return data


def result_of(backends: Backends, part: Part) -> Mapping[str, Any]:
    """Return the committed result of a step or part, from the document or from its pinned object."""
    if part.result is not None:
        return part.result
    if part.result_object is None:
        raise NotFound(f"step {part.step} has no result")
    found: Mapping[str, Any] = json.loads(fetch(backends, part.result_object))
    return found


def view(backends: Backends, job: Job, steps: Sequence[Step]) -> JobView:
    """Return the job as agents and planner see it, from the steps that have ended."""
    results: dict[str, Mapping[str, Any]] = {}
    errors: dict[str, Mapping[str, str]] = {}
    order: dict[str, int] = {}
    rounds = 0
    for step in steps:
        if step.state == "succeeded":
            results[step.agent] = result_of(backends, step)
            rounds += results[step.agent].get("decision") == "ITERATE"
            errors.pop(step.agent, None)
        elif step.state == "failed" and step.error is not None:
            errors[step.agent] = {"code": step.error.code, "message": step.error.message}
        else:
            continue
        order[step.agent] = step.number
    return JobView(
        id=job.id, tenant=job.tenant, question=_resolved(job, results), seed=job.seed, results=results, errors=errors,
        order=order, source=job.source, iteration=rounds, plan_sha256=job.plan_sha256,
    )  # fmt: skip


def _resolved(job: Job, results: Mapping[str, Mapping[str, Any]]) -> Question:
    """Return the question with its roles as far as they are settled; a person's answer stands above a proposal."""
    settled = [result["question"] for result in results.values() if isinstance(result.get("question"), Mapping)]
    question = Question.model_validate(settled[-1]) if settled else job.question
    if job.answers:
        question = make_question({**question.model_dump(mode="json"), **job.answers})
    return question

"""The way to a language model: a call is reserved in a committed transaction before it is made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from causal_orchestrator.backends.ports import Backends, Found, Writes
from causal_orchestrator.errors import Fenced, ModelUnavailable
from causal_orchestrator.state import Job, job_path, touch
from causal_orchestrator.store import commit, read_job

T = TypeVar("T", bound=BaseModel)
Check = Callable[[Job, Found, int], None]

MAX_CALLS = 60
MAX_SECONDS = 60.0
MARGIN_SECONDS = 5.0
REPLY_TOKENS = 1000


def asker(backends: Backends, job_id: str, *, check: Check, paths: Sequence[str] = ()) -> Callable[[str, type[T]], T]:
    """Return the way to the model for whoever may still ask.

    Parameters
    ----------
    check : callable
        ``check(job, found, made)`` raises `Fenced` if the asker no longer counts; it sees the job and the documents
        at `paths` inside the transaction, and how many calls this asker has made.
    """
    made = 0

    def ask(prompt: str, kind: type[T], /) -> T:
        nonlocal made
        model = backends.model
        if model is None:
            raise ModelUnavailable("no language model is configured", code="MODEL_NONE")
        seconds = _reserve(backends, job_id, prompt, lambda job, found: check(job, found, made), paths)
        made += 1
        answer = model.ask(prompt, kind.model_json_schema(), timeout=min(MAX_SECONDS, seconds - MARGIN_SECONDS))
        try:
            return kind.model_validate(answer)
        except ValidationError as exc:
            raise ModelUnavailable("the answer does not fit the form", code="MODEL_INVALID") from exc

    return ask


def _reserve(
    backends: Backends, job_id: str, prompt: str, check: Callable[[Job, Found], None], paths: Sequence[str]
) -> float:
    """Count one call and its tokens against the job's caps; return the seconds until its deadline."""
    path, now = job_path(job_id), backends.now()
    # Three characters a token is more than any of the usual vocabularies needs for English or JSON.
    tokens = len(prompt) // 3 + REPLY_TOKENS

    def change(found: Found) -> Writes:
        job = read_job(found[path])
        if job is None or job.state != "open":
            raise Fenced("the job has ended")
        check(job, found)
        if job.calls + 1 > MAX_CALLS or job.tokens + tokens > job.question.preferences.budget.max_llm_tokens:
            raise ModelUnavailable("the job's budget for a model is spent", code="MODEL_BUDGET")
        if (job.deadline_at - now).total_seconds() < 2 * MARGIN_SECONDS:
            raise ModelUnavailable("no time is left to ask a model", code="MODEL_TIME")
        return {path: touch(job, now=now, calls=job.calls + 1, tokens=job.tokens + tokens).document()}

    found, _ = commit(backends, [path, *paths], change)
    job = read_job(found[path])
    return 2 * MARGIN_SECONDS if job is None else (job.deadline_at - now).total_seconds()

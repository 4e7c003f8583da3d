"""The way to a language model: a call is reserved in a committed transaction before it is made.

Every reply is kept with its job, under the hash of its prompt and form. The same prompt gets the same reply again: a
step that is repeated after a crash takes the same way, and no second call is paid for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from causal_orchestrator import tracing
from causal_orchestrator.backends.ports import Backends, Found, Writes
from causal_orchestrator.errors import CausalError, Fenced, ModelUnavailable, Retriable
from causal_orchestrator.log import event
from causal_orchestrator.models import MAX_TOKENS, OFFLINE, Answer, Usage, fingerprint
from causal_orchestrator.question import canonical_json, shown
from causal_orchestrator.state import Job, asked_path, job_path, touch
from causal_orchestrator.store import commit, read_job

T = TypeVar("T", bound=BaseModel)
Check = Callable[[Job, Found, int], None]

MAX_CALLS = 60
MAX_SECONDS = 60.0
MARGIN_SECONDS = 5.0
MAX_REPAIRS = 2


def asker(
    backends: Backends, job_id: str, *, check: Check, step: int, span: str, paths: Sequence[str] = (), repairs: int = 0
) -> Callable[[str, type[T]], T]:
    """Return the way to the model for whoever may still ask.

    Parameters
    ----------
    check : callable
        ``check(job, found, made)`` raises `Fenced` if the asker no longer counts; it sees the job and the documents
        at `paths` inside the transaction, and how many calls this asker has made.
    step : int
        The step for which it is asked.
    span : str
        The span of who asks.
    repairs : int
        How often a reply that does not fit is answered with the reason and asked for again.
    """
    made = 0

    def once(model: Any, prompt: str, kind: type[T]) -> T:
        nonlocal made
        schema = kind.model_json_schema()
        path = asked_path(job_id, fingerprint(prompt, schema))
        standing = backends.documents.get(path)
        if standing is not None and standing["reply"] is not None:
            return kind.model_validate_json(canonical_json(standing["reply"]))
        seconds = _reserve(backends, job_id, prompt, lambda job, found: check(job, found, made), paths)
        made += 1
        note = {"prompt": prompt, "form": schema["title"], "step": step}
        started = backends.now()
        try:
            answer = model.ask(prompt, schema, timeout=min(MAX_SECONDS, seconds - MARGIN_SECONDS))
            reply = _fitting(answer, kind)
        except ModelUnavailable as exc:
            seconds = (backends.now() - started).total_seconds()
            call = {"by": model.name, "error": exc.code, "seconds": seconds}
            _keep(backends, job_id, path, note, None, call)
            _tell(job_id, step, span, made, started, backends.now(), call)
            raise
        call = asdict(answer.usage if isinstance(answer, Answer) else Usage(model.name))
        _keep(backends, job_id, path, note, reply.model_dump(mode="json"), call)
        _tell(job_id, step, span, made, started, backends.now(), call)
        return reply

    def ask(prompt: str, kind: type[T], /) -> T:
        model, told = _model(backends, job_id), ""
        for left in range(repairs, -1, -1):
            try:
                return once(model, prompt + told, kind)
            except ModelUnavailable as exc:
                if exc.code != "MODEL_INVALID" or not left:
                    raise
                told = f"\nYour last reply was refused: {exc.message}."
        raise ModelUnavailable("no usable answer came", code="MODEL_INVALID")

    return ask


def _tell(
    job_id: str, step: int, parent: str, number: int, started: datetime, ended: datetime, call: Mapping[str, Any]
) -> None:
    """Log a question to a model and tell its span: who answered, what it cost, and not a word of it."""
    span = tracing.span_id(job_id, ("ask", parent, number))
    told = {name: call.get(name) for name in ("by", "tokens_in", "tokens_out", "calls", "cost")}
    error = call.get("error")
    fields = {**told, "job_id": job_id, "step": step, "seconds": call["seconds"], "outcome": error or "answered"}
    event("model", span=span, **fields)
    tracing.record("ask", job_id, span, parent, started, ended, error=error, step=step, **told)


def _model(backends: Backends, job_id: str) -> Any:
    """Return the model that the job wants: this installation's, unless it asks for none or for another one."""
    model = backends.model
    if model is None:
        raise ModelUnavailable("no language model is configured", code="MODEL_NONE")
    job = read_job(backends.documents.get(job_path(job_id)))
    wanted = None if job is None else job.question.preferences.planner
    if wanted == OFFLINE:
        raise ModelUnavailable("the job asks for the offline planner", code="MODEL_NONE")
    planner = getattr(model, "planner", None)
    if wanted is not None and planner is not None and wanted != planner:
        raise ModelUnavailable(f"the planner {shown(wanted)!r} is not configured here", code="MODEL_OTHER")
    return model


def _fitting(answer: Mapping[str, Any], kind: type[T]) -> T:
    """Return the answer as a `kind`; nothing is converted and no field is dropped (raises ModelUnavailable)."""
    try:
        return kind.model_validate_json(canonical_json(dict(answer)), strict=True)
    except ValidationError as exc:
        first = exc.errors(include_url=False, include_input=False)[0]
        where = shown(".".join(str(part) for part in first["loc"]))
        raise ModelUnavailable(f"the answer does not fit the form ({where}: {first['msg'][:100]})", code="MODEL_INVALID") from exc  # fmt: skip
    except CausalError as exc:
        raise ModelUnavailable("the answer cannot be written as JSON", code="MODEL_INVALID") from exc


def _keep(
    backends: Backends, job_id: str, path: str, note: Mapping[str, Any], reply: Mapping[str, Any] | None,
    call: Mapping[str, Any],
) -> None:  # fmt: skip
    """Keep prompt, reply and what the call cost with the job, unless it is erased; a store that fails is no reason to stop."""
    above, now = job_path(job_id), backends.now()

    def change(found: Found) -> Writes:
        job = read_job(found[above])
        if job is None or job.state == "erased":
            return {}
        before = found[path] or {**note, "job": job_id, "calls": []}
        return {path: {**before, "reply": reply, "calls": [*before["calls"], {**call, "at": now}]}}

    try:
        commit(backends, [above, path], change)
    except Retriable as exc:
        event("reply_not_kept", severity="WARNING", job_id=job_id, error=exc.code)


def _reserve(
    backends: Backends, job_id: str, prompt: str, check: Callable[[Job, Found], None], paths: Sequence[str]
) -> float:
    """Count one call and its tokens against the job's caps; return the seconds until its deadline."""
    path, now = job_path(job_id), backends.now()
    # Three characters a token is more than any of the usual vocabularies needs for English or JSON.
    tokens = len(prompt) // 3 + MAX_TOKENS

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

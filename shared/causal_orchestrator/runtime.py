"""The only code that reads and writes: start a job, coordinate it, run a step, sweep what was left lying.

Every handler may be called twice, late, out of order or never, and may die at any line. An event is a hint to look:
handlers read the state afresh, decide, and commit through one transaction whose change is a pure function.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError

from causal_orchestrator import coordinator, log
from causal_orchestrator.agents import AGENTS, FIRST, JobView, Output, Spec, Turn, View, load, record_of
from causal_orchestrator.backends.ports import Backends, Document, Found, Writes
from causal_orchestrator.errors import (
    BlindnessError,
    Busy,
    CapReached,
    CausalError,
    CommitUnknown,
    Conflict,
    DesignError,
    EstimationError,
    Fenced,
    InputError,
    ModelUnavailable,
    NotApplicable,
    NotFound,
    StorageError,
)
from causal_orchestrator.question import Question, canonical_json
from causal_orchestrator.question import ask as make_question
from causal_orchestrator.results import Plan, Repair
from causal_orchestrator.state import (
    ENDED_STEP,
    INLINE_RESULT_BYTES,
    LEASE,
    LIVE_JOB,
    MAX_HOPS,
    RENEWAL_SECONDS,
    RESEND_AFTER,
    Decision,
    Failure,
    Job,
    Lease,
    Part,
    Pause,
    Pinned,
    Read,
    Step,
    await_input,
    claim,
    end,
    fail,
    holds,
    job_path,
    lease_path,
    object_name,
    part_path,
    release,
    reopen,
    seed_of,
    step_path,
    succeed,
    take_answer,
    touch,
    void,
)

if TYPE_CHECKING:
    import pandas as pd

Agents = Mapping[str, Spec]
T = TypeVar("T", bound=BaseModel)

MAX_CALLS = 60
PAUSE = timedelta(minutes=30)
COMMIT_TRIES = 10
SCIENCE = (InputError, DesignError, EstimationError, NotApplicable, BlindnessError, CapReached)
KINDS = {InputError: "input", DesignError: "design", CapReached: "cap", BlindnessError: "internal"}


# --- committing ---------------------------------------------------------------------------------------------------


def _commit(backends: Backends, paths: Sequence[str], change: Callable[[Found], Writes]) -> tuple[Found, str]:
    """Commit a change that survives an unknown outcome; return what stands and this commit's operation ID.

    Every written document carries the operation's ID. When the outcome was not seen, the next try first looks
    for that ID; if it stands, the commit had gone through.
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


def _job(document: Document | None) -> Job | None:
    return None if document is None else Job.model_validate(document)


def _load(backends: Backends, job: str) -> tuple[Job | None, list[Step]]:
    found = _job(backends.documents.get(job_path(job)))
    if found is None:
        return None, []
    # The steps are read after the job: a step that is missing here can only be newer than what the job says.
    return found, [Step.model_validate(d) for _, d in backends.documents.list(f"{job_path(job)}/steps")]


def _result(backends: Backends, part: Part) -> Mapping[str, Any]:
    """Return the committed result of a step or part, from the document or from its pinned object."""
    if part.result is not None:
        return part.result
    if part.result_object is None:
        raise NotFound(f"step {part.number} has no result")
    found: Mapping[str, Any] = json.loads(_bytes(backends, part.result_object))
    return found


def _bytes(backends: Backends, pinned: Pinned) -> bytes:
    """Read a pinned object and check that it is the one that was committed."""
    with backends.objects.open(pinned.name, pinned.generation) as stream:
        data = stream.read()
    if hashlib.sha256(data).hexdigest() != pinned.sha256:
        raise StorageError(f"the object {pinned.name} is not the one that was committed")
    return data


def view(backends: Backends, job: Job, steps: Sequence[Step]) -> JobView:
    """Return the job as agents and planner see it, from the steps that have ended."""
    results: dict[str, Mapping[str, Any]] = {}
    errors: dict[str, Mapping[str, str]] = {}
    order: dict[str, int] = {}
    rounds = 0
    for step in steps:
        if step.state == "succeeded":
            results[step.agent] = _result(backends, step)
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
    question = job.question
    for result in results.values():
        if isinstance(result.get("question"), Mapping):
            question = Question.model_validate(result["question"])
    if job.pause is not None and job.pause.answer:
        question = make_question({**question.model_dump(mode="json"), **job.pause.answer})
    return question


# --- starting -----------------------------------------------------------------------------------------------------


def start_job(
    backends: Backends, question: Question, source: Mapping[str, Any], *, tenant: str, key: str | None = None,
    principal: str = "", first: str = FIRST,
) -> str:  # fmt: skip
    """Accept a question and return its job's ID; the same `key` from the same caller gives the same job.

    Raises
    ------
    InputError
        If the key was used before with another request (``IDEMPOTENCY_MISMATCH``).
    """
    now = backends.now()
    job_id = backends.new_id()
    asked = question.model_dump(mode="json")
    fingerprint = hashlib.sha256(canonical_json([asked, dict(source)]).encode()).hexdigest()
    minutes = question.preferences.budget.max_minutes
    job = Job(
        id=job_id, tenant=tenant, principal=principal, created_at=now, updated_at=now, question=question,
        deadline_at=now + timedelta(minutes=minutes), source=dict(source), seed=question.preferences.seed,
    )  # fmt: skip
    decision = Decision(by="start", reasoning="every job begins by fetching its dataset")
    step = Step(job=job_id, step=0, number=0, agent=first, queued_at=now, decision=decision)
    once = f"requests/{_digest(tenant, principal, key)}" if key is not None else f"requests/{job_id}"

    def create(found: Found) -> Writes:
        if found[once] is not None:
            return {}
        request = {"job": job_id, "fingerprint": fingerprint, "created_at": now, "tenant": tenant}
        return {once: request, job_path(job_id): job.document(), step_path(job_id, 0): step.document()}

    found, _ = _commit(backends, [once, job_path(job_id), step_path(job_id, 0)], create)
    request = found[once]
    if request is None:
        raise StorageError("the request could not be stored")
    if request["fingerprint"] != fingerprint:
        raise InputError("this idempotency key was used before, with another request", code="IDEMPOTENCY_MISMATCH")
    if request["job"] == job_id:
        _send(backends, step)
    return str(request["job"])


def _digest(*parts: str) -> str:
    return hashlib.sha256(canonical_json(list(parts)).encode()).hexdigest()


def _send(backends: Backends, step: Step) -> None:
    """Send a queued step on its way; what is lost here is sent again by the sweeper."""
    try:
        if step.heavy or step.parts:
            backends.tasks.start(step.job, step.number, parts=step.parts)
        else:
            backends.messages.publish(step.agent, {"job_id": step.job, "step": step.number})
    except StorageError as exc:
        log.event("send_failed", job_id=step.job, step=step.number, agent=step.agent, error=exc.code)


# --- coordinating -------------------------------------------------------------------------------------------------


def coordinate(backends: Backends, job_id: str, *, agents: Agents = AGENTS) -> None:
    """Look at a job and do what is due: write the next step, send an overdue one, end the job, or nothing."""
    job, steps = _load(backends, job_id)
    if job is None or job.state not in LIVE_JOB or not steps:
        return
    last, now = steps[-1], backends.now()
    if now >= job.deadline_at:
        _end(backends, job, "failed", Failure(code="DEADLINE", message="the job's time was up", kind="cap"))
    elif job.state == "awaiting_input":
        if job.pause is not None and now >= job.pause.until:
            _answer(backends, job_id, None)
            _advance(backends, job_id, agents)
    elif last.state == "queued":
        _push(backends, last)
    elif last.state in ENDED_STEP:
        _advance(backends, job_id, agents)


def _push(backends: Backends, step: Step) -> None:
    """Send a queued step again if it is overdue; start its reduction once all its parts have ended."""
    now = backends.now()
    if not step.parts:
        if now - step.queued_at >= RESEND_AFTER:
            _send(backends, step)
        return
    parts = _parts(backends, step)
    broken = [part for part in parts if part.state in ("failed", "cancelled")]
    if broken:
        _fail_for_parts(backends, step, broken[0])
    elif all(part.state == "succeeded" for part in parts):
        backends.messages.publish(step.agent, {"job_id": step.job, "step": step.number})
    elif now - max(part.queued_at for part in parts) >= RESEND_AFTER:
        _send(backends, step)


def _parts(backends: Backends, step: Step) -> list[Part]:
    found = backends.documents.list(f"{step_path(step.job, step.number)}/parts")
    return [Part.model_validate(document) for _, document in found]


def _fail_for_parts(backends: Backends, step: Step, part: Part) -> None:
    """Fail a queued step one of whose parts failed: a result without it would be another result."""
    now = backends.now()
    reason = part.error.message if part.error else part.state
    error = Failure(code="PART_FAILED", message=f"part {part.number} failed: {reason}"[:500], kind="world")
    path = step_path(step.job, step.number)

    def change(found: Found) -> Writes:
        current = Step.model_validate(found[path])
        if current.state != "queued":
            return {}
        return {path: current.change(state="failed", ended_at=now, error=error).document()}

    _commit(backends, [path], change)


def _advance(backends: Backends, job_id: str, agents: Agents) -> None:
    """Write the step that follows the last one, or end the job."""
    job, steps = _load(backends, job_id)
    if job is None or job.state != "open" or steps[-1].state not in ENDED_STEP:
        return
    last = steps[-1]
    ending = _ending(backends, last, agents)
    if ending is not None:
        _end(backends, job, *ending)
        return
    if job.hops + 1 > MAX_HOPS:
        _end(backends, job, "failed", Failure(code="LOOP_GUARD", message="too many wake-ups", kind="cap"))
        return
    seen = view(backends, job, steps)
    pause = _pause(job, seen, last, agents[last.agent], backends)
    if pause is not None:
        _put_question(backends, job, last, pause)
        return
    if job.question.preferences.plan_only and any(agents[s.agent].freezes for s in steps if s.state == "succeeded"):
        _end(backends, job, "completed", None)
        return
    spent = len(steps) >= job.question.preferences.budget.max_steps
    choices = coordinator.allowed(seen, agents, spent=spent)
    if not choices:
        error = Failure(code="NO_STEP", message="nothing admissible is left and no report was written", kind="internal")
        _end(backends, job, "failed", error)
        return
    choice, decision = coordinator.next_step(seen, choices, _asker(backends, job_id))
    step = _create(backends, seen, job, last, choice, decision, agents)
    if step is not None:
        _send(backends, step)


def _ending(backends: Backends, last: Step, agents: Agents) -> tuple[Any, Failure | None] | None:
    """Return how the last step ends the job, or None if it does not."""
    spec = agents[last.agent]
    if last.state == "cancelled":
        return "cancelled", None
    if last.state == "failed" and spec.on_failure == "fail":
        return "failed", last.error
    if last.state == "succeeded" and spec.final:
        refused = _result(backends, last).get("verdict") == "refuse"
        return ("rejected" if refused else "completed"), None
    return None


def _pause(job: Job, seen: JobView, last: Step, spec: Spec, backends: Backends) -> Pause | None:
    """Return the question that must go to the person now, if there is one."""
    asked = job.pause is not None and job.pause.step == last.number
    if asked or last.state != "succeeded" or not seen.question.preferences.confirm_roles:
        return None
    until = min(backends.now() + PAUSE, job.deadline_at)
    if spec.settles:
        roles = {role: getattr(seen.question, role) for role in ("treatment", "outcome")}
        return Pause(step=last.number, question="Are these the roles that you mean?", default=roles, until=until)
    gate = seen.results[last.agent].get("gate")
    if isinstance(gate, Mapping) and gate.get("decision") == "REVIEW":
        return Pause(step=last.number, question="The learned graph is doubtful; is another one known?", until=until)
    return None


def _put_question(backends: Backends, job: Job, last: Step, pause: Pause) -> None:
    path, now = job_path(job.id), backends.now()

    def change(found: Found) -> Writes:
        current = _job(found[path])
        if current is None or current.state != "open" or current.steps != last.number + 1:
            return {}
        return {path: await_input(current, pause, now=now).document()}

    _commit(backends, [path], change)


def _create(
    backends: Backends, seen: JobView, job: Job, last: Step, choice: coordinator.Choice, decision: Decision,
    agents: Agents,
) -> Step | None:  # fmt: skip
    """Create the step after `last`; whoever comes second gets None and reads what stands there."""
    spec, now, number = agents[choice.agent], backends.now(), last.number + 1
    step = Step(
        job=job.id, step=number, number=number, agent=choice.agent, parameters=dict(choice.parameters), queued_at=now,
        parts=spec.parts(seen), heavy=spec.heavy(seen), iteration=seen.iteration, decision=decision,
    )  # fmt: skip
    mine, above = step_path(job.id, number), job_path(job.id)
    shares = [part_path(job.id, number, k) for k in range(step.parts)]

    def change(found: Found) -> Writes:
        current = _job(found[above])
        if found[mine] is not None or current is None or current.state != "open" or current.steps != number:
            return {}
        status = "ITERATING" if step.iteration > job.iteration else spec.status
        moved = touch(
            current, now=now, steps=number + 1, hops=current.hops + 1, status=status, current_agent=choice.agent,
            iteration=seen.iteration, progress=max(current.progress, coordinator.progress(seen, agents)),
        )  # fmt: skip
        parts = {
            path: Part(job=job.id, step=number, number=k, queued_at=now).document() for k, path in enumerate(shares)
        }
        return {mine: step.document(), above: moved.document(), **parts}

    found, op = _commit(backends, [above, mine, *shares], change)
    stands = found[mine]
    return step if stands is not None and stands["op"] == op else None


def _end(backends: Backends, job: Job, state: Any, error: Failure | None) -> None:
    """End the job and void what still runs, in one transaction."""
    path, step = job_path(job.id), step_path(job.id, job.steps - 1)
    now = backends.now()

    def change(found: Found) -> Writes:
        current = _job(found[path])
        if current is None or current.state not in LIVE_JOB:
            return {}
        writes: dict[str, Document | None] = {path: end(current, state, now=now, error=error).document()}
        last = found[step]
        if last is not None and current.steps == job.steps:
            voided = void(Step.model_validate(last), now=now)
            if voided.state != last["state"]:
                writes[step] = voided.document()
        return writes

    _commit(backends, [path, step], change)


# --- language model -----------------------------------------------------------------------------------------------


def _asker(backends: Backends, job_id: str) -> Callable[[str, type[T]], T]:
    """Return the way to the model: a call is reserved in a committed transaction before it is made."""

    def ask(prompt: str, kind: type[T], /) -> T:
        model = backends.model
        if model is None:
            raise ModelUnavailable("no language model is configured", code="MODEL_NONE")
        remaining = _reserve(backends, job_id)
        answer = model.ask(prompt, kind.model_json_schema(), timeout=min(60.0, max(1.0, remaining - 5.0)))
        try:
            return kind.model_validate(answer)
        except ValidationError as exc:
            raise ModelUnavailable("the model's answer does not fit the form", code="MODEL_INVALID") from exc

    return ask


def _reserve(backends: Backends, job_id: str) -> float:
    """Count one model call against the job's cap and return the seconds until its deadline."""
    path, now = job_path(job_id), backends.now()

    def change(found: Found) -> Writes:
        job = _job(found[path])
        if job is None or job.state != "open":
            raise Fenced("the job has ended")
        if job.calls + 1 > MAX_CALLS:
            raise ModelUnavailable("the job's calls to a model are spent", code="MODEL_BUDGET")
        return {path: touch(job, now=now, calls=job.calls + 1).document()}

    found, _ = _commit(backends, [path], change)
    job = _job(found[path])
    return 0.0 if job is None else (job.deadline_at - now).total_seconds()


# --- running a step -----------------------------------------------------------------------------------------------


@dataclass
class _Attempt:
    """One claimed attempt: what may be read and written in its name."""

    job: Job
    step: Step
    part: Part | None
    lost: bool = False

    @property
    def share(self) -> Any:
        """The document that is claimed: the part's if there is one, else the step's."""
        return self.step if self.part is None else self.part

    @property
    def path(self) -> str:
        if self.part is None:
            return step_path(self.job.id, self.step.number)
        return part_path(self.job.id, self.step.number, self.part.number)

    @property
    def lease(self) -> str:
        return lease_path(self.job.id, self.step.number, None if self.part is None else self.part.number)


def run_step(
    backends: Backends, job_id: str, number: int, *, part: int | None = None, agents: Agents = AGENTS
) -> None:
    """Claim a step (or one of its parts), run its agent and commit what it found.

    A failure of the science is written into the step; a failure of the world puts the step back and is raised.
    """
    attempt = _claim(backends, job_id, number, part)
    if attempt is None:
        return
    started = backends.now()
    outcome = "lost"
    try:
        with _renewing(backends, attempt):
            outcome = _work(backends, attempt, agents)
    except Fenced:
        return
    finally:
        seconds = (backends.now() - started).total_seconds()
        log.event(
            "step", job_id=job_id, step=number, agent=attempt.step.agent, attempt=attempt.share.attempt, part=part,
            seconds=round(seconds, 3), outcome=outcome,
        )  # fmt: skip


def _claim(backends: Backends, job_id: str, number: int, part: int | None) -> _Attempt | None:
    above, whole = job_path(job_id), step_path(job_id, number)
    mine = whole if part is None else part_path(job_id, number, part)
    leased = lease_path(job_id, number, part)
    now = backends.now()
    holder = backends.new_id()

    def change(found: Found) -> Writes:
        job = _job(found[above])
        if job is None or job.state != "open" or found[mine] is None or found[whole] is None:
            return {}
        step = Step.model_validate(found[whole])
        share: Any = step if part is None else Part.model_validate(found[mine])
        lease = None if found[leased] is None else Lease.model_validate(found[leased])
        if part is not None and step.state in ENDED_STEP:
            return {}
        try:
            claimed, taken = claim(share, lease, now=now, holder=holder)
        except (Fenced, Busy):
            return {}
        writes: dict[str, Document | None] = {mine: claimed.document()}
        if taken is not None:
            writes[leased] = taken.document()
        return writes

    if part is None and not _ready(backends, job_id, number):
        return None
    found, op = _commit(backends, list(dict.fromkeys([above, whole, mine, leased])), change)
    job, taken, claimed = _job(found[above]), found[leased], found[mine]
    if job is None or taken is None or claimed is None or taken["op"] != op or taken["holder"] != holder:
        return None
    step = Step.model_validate(found[whole])
    return _Attempt(job=job, step=step, part=None if part is None else Part.model_validate(claimed))


def _ready(backends: Backends, job_id: str, number: int) -> bool:
    """Say whether the step as a whole may be claimed: all its parts must have succeeded."""
    document = backends.documents.get(step_path(job_id, number))
    if document is None:
        return False
    step = Step.model_validate(document)
    return not step.parts or all(part.state == "succeeded" for part in _parts(backends, step))


@contextmanager
def _renewing(backends: Backends, attempt: _Attempt) -> Iterator[None]:
    """Renew the lease while the agent works; stop the attempt at its next look once it no longer counts."""

    def renew() -> None:
        if not attempt.lost and not _renew(backends, attempt):
            attempt.lost = True

    with backends.background(renew, RENEWAL_SECONDS):
        yield


def _renew(backends: Backends, attempt: _Attempt) -> bool:
    """Extend the lease; return False if the attempt no longer counts."""
    now = backends.now()

    def change(found: Found) -> Writes:
        share, lease = found[attempt.path], found[attempt.lease]
        if share is None or lease is None or not holds(_like(attempt, share), attempt.share.attempt):
            return {}
        if lease["attempt"] != attempt.share.attempt:
            return {}
        return {attempt.lease: Lease.model_validate(lease).change(until=now + LEASE).document()}

    found, op = _commit(backends, [attempt.path, attempt.lease], change)
    lease = found[attempt.lease]
    return lease is not None and lease["op"] == op


def _like(attempt: _Attempt, document: Document) -> Any:
    return (Step if attempt.part is None else Part).model_validate(document)


def _work(backends: Backends, attempt: _Attempt, agents: Agents) -> str:
    """Run the agent; commit its result, its failure, or the step's return to the queue."""
    spec = agents[attempt.step.agent]
    reader = _Reader(backends, attempt, spec)
    try:
        _, steps = _load(backends, attempt.job.id)
        seen = view(backends, attempt.job, [s for s in steps if s.number < attempt.step.number])
        reader.see(seen, steps)
        turn = _turn(attempt, seen)
        output = load(attempt.step.agent, spec)(seen, turn, reader, _asker(backends, attempt.job.id))
        _accept(output, spec, seen, reader, steps)
        _succeed(backends, attempt, output, reader.reads, freezes=spec.freezes and attempt.part is None)
    except SCIENCE as exc:
        kind: Any = next((k for e, k in KINDS.items() if isinstance(exc, e)), "estimation")
        failure = Failure(code=exc.code, message=exc.message[:1000], kind=kind)
        _finish(backends, attempt, lambda share, now: fail(share, attempt.share.attempt, now=now, error=failure, reads=reader.reads))
        return "failed"
    except (Fenced, NotFound) as exc:
        if isinstance(exc, Fenced):
            raise
        _back(backends, attempt, f"{exc.code}: {exc.message}"[:500])
        raise StorageError(exc.message) from exc
    except CausalError as exc:
        _back(backends, attempt, None if exc.retriable else f"{exc.code}: {exc.message}"[:500])
        raise
    except Exception as exc:
        _back(backends, attempt, f"{type(exc).__name__}: {exc}"[:500])
        raise
    return "succeeded"


def _turn(attempt: _Attempt, seen: JobView) -> Turn:
    part = None if attempt.part is None else attempt.part.number
    return Turn(
        number=attempt.step.number, agent=attempt.step.agent, parameters=attempt.step.parameters,
        seed=seed_of(seen.seed, attempt.step.agent, attempt.step.iteration, part), iteration=attempt.step.iteration,
        part=part, parts=attempt.step.parts,
    )  # fmt: skip


def _accept(output: Output, spec: Spec, seen: JobView, reader: _Reader, steps: Sequence[Step]) -> None:
    """Check what an agent returns: its record, and for a plan its hash and that no one has looked too early."""
    if not isinstance(output.result, record_of(spec)):
        raise TypeError(f"the agent returned {type(output.result).__name__}, not {spec.result}")
    if not (spec.freezes and isinstance(output.result, Plan)):
        return
    plan = output.result.model_dump(mode="json")
    stated = plan.pop("sha256")
    if stated != hashlib.sha256(canonical_json(plan).encode()).hexdigest():
        raise BlindnessError("the plan's hash is not that of its content", code="PLAN_HASH")
    joined = {output.result.question.treatment, output.result.question.outcome} - {None}
    for read in [*(r for s in steps for r in s.reads), *reader.reads]:
        if len(joined) == 2 and read.view != "marginals" and joined <= set(read.columns):
            raise BlindnessError("outcome and treatment were read together before the plan was frozen")


def _succeed(backends: Backends, attempt: _Attempt, output: Output, reads: Sequence[Read], *, freezes: bool) -> None:
    """Write the files under the attempt's own name, then commit the result that pins them."""
    files = {name: _store(backends, attempt, name, data) for name, data in sorted(output.files.items())}
    content = output.result.model_dump(mode="json")
    text = canonical_json(content).encode()
    result: Mapping[str, Any] | Pinned = content
    if len(text) > INLINE_RESULT_BYTES:
        result = _store(backends, attempt, "result.json", text)
    number = attempt.share.attempt
    plan = {"plan_sha256": content["sha256"]} if freezes else {}
    joined = any(read.view == "all" for read in reads)
    _finish(
        backends, attempt,
        lambda share, now: succeed(share, number, now=now, result=result, files=files, reads=reads),
        plan=plan, unblinds=joined,
    )  # fmt: skip


def _store(backends: Backends, attempt: _Attempt, name: str, data: bytes | Path) -> Pinned:
    part = None if attempt.part is None else attempt.part.number
    full = object_name(attempt.job, attempt.step.number, attempt.share.attempt, name, part)
    stored = backends.objects.create(full, data)
    return Pinned(name=stored.name, generation=stored.generation, sha256=stored.sha256, size=stored.size)


def _finish(
    backends: Backends, attempt: _Attempt, move: Callable[[Any, Any], Any], *, plan: Mapping[str, Any] | None = None,
    unblinds: bool = False,
) -> None:  # fmt: skip
    """Commit the end of an attempt; refused (Fenced) unless the step still runs this attempt."""
    above, now = job_path(attempt.job.id), backends.now()

    def change(found: Found) -> Writes:
        share = found[attempt.path]
        if share is None:
            raise Fenced("the step is gone")
        writes: dict[str, Document | None] = {attempt.path: move(_like(attempt, share), now).document()}
        writes[attempt.lease] = None
        job = _job(found[above])
        fields = dict(plan or {})
        if unblinds and job is not None and job.unblinded_at is None:
            fields["unblinded_at"] = now
        if fields and job is not None:
            writes[above] = touch(job, now=now, **fields).document()
        return writes

    _commit(backends, [attempt.path, attempt.lease, above], change)


def _back(backends: Backends, attempt: _Attempt, death: str | None) -> None:
    """Put the step back into the queue after a failure of the world, or fail it if it keeps dying the same way."""
    number = attempt.share.attempt
    try:
        _finish(backends, attempt, lambda share, now: release(share, number, now=now, death=death))
    except Fenced:
        return


# --- what an agent may see ----------------------------------------------------------------------------------------


@dataclass
class _Reader:
    """The agent's eyes: every look is checked against the stage and logged."""

    backends: Backends
    attempt: _Attempt
    spec: Spec
    reads: list[Read] = field(default_factory=list)
    _seen: JobView | None = None
    _steps: Sequence[Step] = ()

    def see(self, seen: JobView, steps: Sequence[Step]) -> None:
        """Take note of the job as it stands before this step."""
        self._seen, self._steps = seen, [s for s in steps if s.number < self.attempt.step.number]

    def __call__(self, columns: Sequence[str], view: View, *, roles: Question | None = None) -> pd.DataFrame:
        from causal_orchestrator.datasets import views

        job = self._open(view)
        question = roles or job.question
        repairs = [Repair.model_validate(r) for r in job.results.get("data_repair", {}).get("repairs", ())]
        frame = views.table(
            self._path("snapshot.parquet"), tuple(columns), view, treatment=question.treatment,
            outcome=question.outcome, repairs=[r for r in repairs if r.applied], filters=question.filters,
            seed=job.seed,
        )  # fmt: skip
        self.reads.append(Read(view=view, columns=tuple(columns), sha256=views.read_hash(frame)))
        return frame

    def file(self, agent: str, name: str) -> bytes:
        self._alive()
        return _bytes(self.backends, self._pinned(agent, name))

    def parts(self) -> Sequence[Mapping[str, Any]]:
        self._alive()
        if self.attempt.part is not None or not self.attempt.step.parts:
            return ()
        return [_result(self.backends, part) for part in _parts(self.backends, self.attempt.step)]

    def source(self) -> Path:
        from causal_orchestrator.datasets import sources

        self._alive()
        if self.attempt.step.agent != FIRST:
            raise BlindnessError("only the fetcher reads the raw dataset")
        source = self.attempt.job.source
        if source.get("kind") == "object":
            return self.backends.objects.local(str(source["name"]), int(source["generation"]))
        return sources.fetch(str(source["uri"]))

    def snapshot(self) -> Path:
        job = self._open("all")
        path = self._path("snapshot.parquet")
        columns = tuple(c["name"] for c in job.results.get(FIRST, {}).get("columns", ()))
        sha256 = str(job.results.get(FIRST, {}).get("sha256", ""))
        self.reads.append(Read(view="all", columns=columns, sha256=sha256))
        return path

    def _open(self, view: View) -> JobView:
        """Return the job if this view is open to this step at this stage."""
        self._alive()
        job = self._seen
        if job is None:
            raise BlindnessError("nothing can be read before the job is known")
        used = {read.view for read in self.reads}
        if job.plan_sha256 is None and view == "all":
            raise BlindnessError("outcome and treatment are joined only after the plan is frozen")
        if job.plan_sha256 is None and used - {view}:
            raise BlindnessError(f"this step has looked at {', '.join(sorted(used))}; it may not look at {view} too")
        if self.spec.views and view not in self.spec.views:
            raise BlindnessError(f"{self.attempt.step.agent} has not declared the view {view}")
        return job

    def _alive(self) -> None:
        if self.attempt.lost:
            raise Fenced("the attempt no longer counts")

    def _pinned(self, agent: str, name: str) -> Pinned:
        for step in reversed(self._steps):
            if step.agent == agent and step.state == "succeeded" and name in step.files:
                return step.files[name]
        raise NotFound(f"{agent} has left no file {name!r}")

    def _path(self, name: str) -> Path:
        pinned = self._pinned(FIRST, name)
        return self.backends.objects.local(pinned.name, pinned.generation)


# --- people -------------------------------------------------------------------------------------------------------


def _owned(backends: Backends, job_id: str, tenant: str) -> Job:
    """Return the tenant's job; a stranger's job and a missing one are the same (NotFound)."""
    job = _job(backends.documents.get(job_path(job_id)))
    if job is None or job.tenant != tenant:
        raise NotFound("there is no such job")
    return job


def get_job(backends: Backends, job_id: str, *, tenant: str) -> tuple[Job, list[Step]]:
    """Return a job and its steps (raises NotFound)."""
    _owned(backends, job_id, tenant)
    job, steps = _load(backends, job_id)
    if job is None:
        raise NotFound("there is no such job")
    return job, steps


def list_jobs(
    backends: Backends, *, tenant: str, status: str | None = None, limit: int = 20, after: str | None = None
) -> list[Job]:
    """Return the tenant's jobs, newest first."""
    where = {"tenant": tenant, **({"status": status} if status else {})}
    found = backends.documents.list("jobs", where=where, newest_first=True, limit=limit, after=after)
    return [Job.model_validate(document) for _, document in found]


def cancel(backends: Backends, job_id: str, *, tenant: str) -> Job:
    """Cancel a job; what runs is stopped, what has ended stays ended. Returns the job as it stands."""
    job = _owned(backends, job_id, tenant)
    while job.state in LIVE_JOB:
        _end(backends, job, "cancelled", None)
        backends.tasks.cancel(job_id, job.steps - 1)
        job = _owned(backends, job_id, tenant)
    return job


def answer(backends: Backends, job_id: str, reply: Mapping[str, Any], *, tenant: str) -> None:
    """Answer the question that a job waits on (raises InputError if the answer is not a question's roles)."""
    job = _owned(backends, job_id, tenant)
    if job.state != "awaiting_input":
        raise InputError("the job awaits no input", code="NOT_AWAITING")
    make_question({**job.question.model_dump(mode="json"), **reply})
    _answer(backends, job_id, reply)
    coordinate(backends, job_id)


def _answer(backends: Backends, job_id: str, reply: Mapping[str, Any] | None) -> None:
    path, now = job_path(job_id), backends.now()

    def change(found: Found) -> Writes:
        job = _job(found[path])
        if job is None or job.state != "awaiting_input":
            return {}
        return {path: take_answer(job, reply, question=job.question, now=now).document()}

    _commit(backends, [path], change)


def resume(backends: Backends, job_id: str, *, tenant: str, agents: Agents = AGENTS) -> None:
    """Go on with a failed job from its last good step: the failed agent gets a new step."""
    job = _owned(backends, job_id, tenant)
    _, steps = _load(backends, job_id)
    last, now = steps[-1], backends.now()
    above, mine = job_path(job_id), step_path(job_id, last.number + 1)
    minutes = timedelta(minutes=job.question.preferences.budget.max_minutes)
    decision = Decision(by="resume", reasoning="resumed by a person")
    again = Step(
        job=job_id, step=last.number + 1, number=last.number + 1, agent=last.agent, parameters=last.parameters,
        queued_at=now, heavy=last.heavy, iteration=last.iteration, decision=decision,
    )  # fmt: skip

    def change(found: Found) -> Writes:
        current = _job(found[above])
        if current is None or found[mine] is not None:
            return {}
        opened = reopen(current, now=now, deadline_at=now + minutes)
        if last.state == "succeeded":
            return {above: opened.document()}
        moved = opened.change(steps=current.steps + 1, status=agents[last.agent].status, current_agent=last.agent)
        return {above: moved.document(), mine: again.document()}

    try:
        found, _ = _commit(backends, [above, mine], change)
    except Fenced as exc:
        raise InputError(exc.message, code="NOT_RESUMABLE") from exc
    if found[mine] is not None:
        _send(backends, again)
    else:
        coordinate(backends, job_id, agents=agents)


def erase(backends: Backends, job_id: str, *, tenant: str) -> Mapping[str, Any]:
    """Delete a job and everything derived from it; a receipt without content stays."""
    cancel(backends, job_id, tenant=tenant)
    now = backends.now()
    receipt = {"job": job_id, "tenant": tenant, "erased_at": now, "op": ""}
    path = f"receipts/{job_id}"
    job = _owned(backends, job_id, tenant)
    gone = job.change(state="erased", question=Question(), source={}, error=None, pause=None, status="ERASED")

    def mark(found: Found) -> Writes:
        return {path: receipt, job_path(job_id): gone.document()}

    _commit(backends, [path, job_path(job_id)], mark)
    for name in backends.objects.list(f"{tenant}/{job_id}/"):
        backends.objects.delete(name)
    if job.source.get("kind") == "object":
        backends.objects.delete(str(job.source["name"]))
    _, steps = _load(backends, job_id)
    doomed = [part_path(job_id, s.number, k) for s in steps for k in range(s.parts)]
    doomed += [step_path(job_id, s.number) for s in steps]
    for collection in (f"{job_path(job_id)}/leases", f"agent_traces/{job_id}/traces", f"audit/{job_id}/events"):
        doomed += [p for p, _ in backends.documents.list(collection)]
    doomed += [f"results/{job_id}", f"causal_paths/{job_id}", job_path(job_id)]
    for document in doomed:
        _commit(backends, [document], lambda found: {p: None for p, d in found.items() if d is not None})
    return receipt


def open_file(backends: Backends, job_id: str, name: str, *, tenant: str) -> bytes:
    """Return a finished job's file by its plain name (raises NotFound)."""
    _, steps = get_job(backends, job_id, tenant=tenant)
    for step in reversed(steps):
        if step.state == "succeeded" and name in step.files:
            return _bytes(backends, step.files[name])
    raise NotFound(f"the job has no file {name!r}")


# --- sweeping -----------------------------------------------------------------------------------------------------


def sweep(backends: Backends, *, agents: Agents = AGENTS) -> int:
    """Look at every live job: end what is past its deadline, send again what is overdue, reclaim what died.

    Returns the number of live jobs. Needs nothing but the documents, and may run twice at once.
    """
    live = 0
    for state in ("open", "awaiting_input"):
        for _, document in backends.documents.list("jobs", where={"state": state}):
            live += 1
            job = str(document["id"])
            try:
                _reclaim(backends, job)
                coordinate(backends, job, agents=agents)
            except (Conflict, StorageError, CausalError) as exc:
                log.event("sweep_failed", job_id=job, error=exc.code)
    return live


def _reclaim(backends: Backends, job_id: str) -> None:
    """Send again a running step (or part) whose lease has run out; the next claim takes it over."""
    job, steps = _load(backends, job_id)
    if job is None or not steps:
        return
    last = steps[-1]
    shares: list[tuple[Part, int | None]] = [(last, None)]
    shares += [(part, part.number) for part in (_parts(backends, last) if last.parts else ())]
    for share, number in shares:
        if share.state != "running":
            continue
        lease = backends.documents.get(lease_path(job_id, last.number, number))
        if lease is None or Lease.model_validate(lease).until <= backends.now():
            _send_share(backends, last, number)


def _send_share(backends: Backends, step: Step, part: int | None) -> None:
    if part is None and step.parts:
        backends.messages.publish(step.agent, {"job_id": step.job, "step": step.number})
    else:
        _send(backends, step)


__all__ = ["answer", "cancel", "coordinate", "erase", "get_job", "list_jobs", "open_file", "resume", "run_step", "start_job", "sweep", "view"]

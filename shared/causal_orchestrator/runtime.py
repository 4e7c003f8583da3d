"""The loop and its doors: start a job, coordinate it, run a step, sweep what was left lying, answer people.

Every handler may be called twice, late, out of order or never, and may die at any line. An event is a hint to look:
handlers read the state afresh, decide, and commit through one transaction whose change is a pure function.

A wake-up of the coordinator that writes no step wakes nobody, and steps are bounded (`MAX_HOPS`), as are the writes
to each of them (`MAX_ATTEMPTS`): so the loop of events and wake-ups cannot run away.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from causal_orchestrator import attempt, coordinator, downloads, ledger, log, notify, tracing
from causal_orchestrator.agents import AGENTS, FIRST, JobView, Spec
from causal_orchestrator.asking import asker
from causal_orchestrator.backends.ports import Backends, Document, Found, Writes
from causal_orchestrator.errors import Busy, CausalError, Fenced, InputError, NotFound, Retriable, StorageError
from causal_orchestrator.question import Question, canonical_json
from causal_orchestrator.question import ask as make_question
from causal_orchestrator.state import (
    ENDED_STEP,
    LIVE_JOB,
    MACHINE_AFTER,
    MAX_HOPS,
    RESEND_AFTER,
    Decision,
    Failure,
    Job,
    JobState,
    Lease,
    Part,
    Pause,
    Sent,
    Step,
    await_input,
    end,
    job_path,
    lease_path,
    needs_machine,
    part_path,
    reopen,
    sent_path,
    step_path,
    take_answer,
    touch,
    void,
    wipe,
)
from causal_orchestrator.store import (
    commit,
    fetch,
    load,
    pages,
    parts_of,
    read_job,
    read_part,
    read_step,
    result_of,
    steps_of,
    view,
)

Agents = Mapping[str, Spec]

PAUSE = timedelta(minutes=30)
ORPHAN_AGE = timedelta(hours=24)
REJECTED_KEPT = timedelta(days=30)
REQUEST_KEPT = timedelta(days=30)  # for so long the same key gives the same job
# The share of a job's minutes after which only what must still happen does.
SPENT_SHARE = 0.75


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
    now, job_id = backends.now(), backends.new_id()
    job = Job(
        id=job_id, tenant=tenant, principal=principal, created_at=now, updated_at=now, question=question,
        deadline_at=now + _allowance(question), source=dict(source), seed=question.preferences.seed,
    )  # fmt: skip
    decision = Decision(by="start", reasoning="every job begins by fetching its dataset")
    step = Step(job=job_id, step=0, number=0, agent=first, queued_at=now, decision=decision)
    fingerprint = hashlib.sha256(
        canonical_json([question.model_dump(mode="json"), dict(source)]).encode()
    ).hexdigest()  # fmt: skip
    request = {
        "job": job_id, "fingerprint": fingerprint, "created_at": now, "tenant": tenant, "expires_at": now + REQUEST_KEPT,
    }  # fmt: skip
    once = f"requests/{_digest(tenant, principal, key)}" if key is not None else f"requests/{job_id}"

    def create(found: Found) -> Writes:
        if found[once] is not None:
            return {}
        return {once: request, job_path(job_id): job.document(), step_path(job_id, 0): step.document()}

    found, _ = commit(backends, [once, job_path(job_id), step_path(job_id, 0)], create)
    stands = found[once] or {}
    if stands["fingerprint"] != fingerprint:
        raise InputError("this idempotency key was used before, with another request", code="IDEMPOTENCY_MISMATCH")
    if stands["job"] == job_id:
        root = tracing.started(job_id)
        log.event("job_started", job_id=job_id, span=root)
        tracing.record("start", job_id, root, None, now, backends.now())
        _send(backends, step)
    return str(stands["job"])


def _digest(*parts: str) -> str:
    return hashlib.sha256(canonical_json(list(parts)).encode()).hexdigest()


def _allowance(question: Question) -> timedelta:
    return timedelta(minutes=question.preferences.budget.max_minutes)


def _send(backends: Backends, step: Step, shares: Sequence[Part] = ()) -> None:
    """Send a queued step (or its parts) on its way; what is lost here is sent again by the sweeper.

    `shares` are those that are waited for: the step, or parts of it; left out, nobody has tried any of them yet.
    """
    try:
        if step.parts or needs_machine(step):
            backends.tasks.start(step.job, step.number, parts=step.parts)
            _note(backends, step, _attempts(step, shares) or {str(k): 0 for k in range(max(1, step.parts))})
        else:
            backends.messages.publish(step.agent, {"job_id": step.job, "step": step.number})
    except Retriable as exc:
        log.event("send_failed", job_id=step.job, step=step.number, agent=step.agent, error=exc.code)


def _attempts(step: Step, shares: Sequence[Part]) -> dict[str, int]:
    """Return the attempts of a step (under 0), or of parts of it."""
    return {str(share.number if step.parts else 0): share.attempt for share in shares}


def _note(backends: Backends, step: Step, attempts: Mapping[str, int]) -> None:
    """Note that machines were asked for, unless the job has moved on meanwhile."""
    above, path = job_path(step.job), sent_path(step.job, step.number)
    sent = Sent(at=backends.now(), parts=step.parts, attempts=attempts)

    def change(found: Found) -> Writes:
        job = read_job(found[above])
        stands = job is not None and job.state == "open" and job.steps == step.number + 1
        return {path: sent.document()} if stands else {}

    commit(backends, [above, path], change)


def _remind(backends: Backends, step: Step, shares: Sequence[Part], patience: timedelta) -> None:
    """Send a step again for the sake of these `shares`, unless the machines that they need are on their way."""
    if shares and not _coming(backends, step, shares, patience):
        _send(backends, step, shares)


def _coming(backends: Backends, step: Step, shares: Sequence[Part], patience: timedelta) -> bool:
    """Say whether machines were asked for since each of these shares was last tried, and may still come.

    Without any `patience` (at the start of a process) nothing counts as asked for.
    """
    if not patience or not (step.parts or needs_machine(step)):
        return False
    found = backends.documents.get(sent_path(step.job, step.number))
    if found is None:
        return False
    sent = Sent.model_validate(found)
    asked = sent.parts == step.parts and _attempts(step, shares).items() <= sent.attempts.items()
    return asked and backends.now() - sent.at < MACHINE_AFTER


# --- coordinating -------------------------------------------------------------------------------------------------


def coordinate(backends: Backends, job_id: str, *, agents: Agents = AGENTS, patience: timedelta = RESEND_AFTER) -> None:
    """Look at a job and do what is due: write the next step, send an overdue one, end the job, or nothing."""
    try:
        _look(backends, job_id, agents, patience)
    except Fenced as exc:
        log.event("overtaken", job_id=job_id, error=exc.code)
    ledger.record(backends, job_id, agents=agents)
    tracing.flush()


def _look(backends: Backends, job_id: str, agents: Agents, patience: timedelta) -> None:
    job, steps = load(backends, job_id)
    if job is None or job.state not in LIVE_JOB or not steps:
        return
    last, now = steps[-1], backends.now()
    if last.agent not in agents:
        raise Busy(f"this version does not know the agent {last.agent!r}", code="AGENT_UNKNOWN")
    if job.state == "awaiting_input":
        _wait(backends, job, agents, patience)
    elif now >= job.deadline_at:
        _end(backends, job, last, "failed", Failure(code="DEADLINE", message="the job's time was up", kind="cap"))
    elif last.state == "queued":
        _push(backends, last, patience)
    elif last.state in ENDED_STEP:
        _advance(backends, job, steps, agents)


def _wait(backends: Backends, job: Job, agents: Agents, patience: timedelta) -> None:
    """Take the stated default once the person's time is up."""
    if job.pause is not None and backends.now() >= job.pause.until:
        _answer(backends, job, None)
        _look(backends, job.id, agents, patience)


def _push(backends: Backends, step: Step, patience: timedelta) -> None:
    """Send a queued step again if it is overdue; start its reduction once all its parts have succeeded."""
    now = backends.now()
    parts = parts_of(backends, step) if step.parts else []
    broken = [part for part in parts if part.state in ("failed", "cancelled")]
    waiting = [part for part in parts if part.state == "queued"] if parts else [step]
    if broken:
        _fail_for_parts(backends, step, broken[0])
    elif parts and all(part.state == "succeeded" for part in parts):
        _remind(backends, step.change(parts=0), [step], patience)
    else:
        _remind(backends, step, [share for share in waiting if _overdue(share, now, patience)], patience)


def _overdue(share: Part, now: datetime, patience: timedelta) -> bool:
    """Say whether a step, or a part of it, has waited too long since it was queued, or since it has rested."""
    return now - (share.not_before or share.queued_at) >= patience


def _fail_for_parts(backends: Backends, step: Step, part: Part) -> None:
    """Fail a queued step one of whose parts failed: a result without it would be another result."""
    now, path, below = backends.now(), step_path(step.job, step.number), _below(step)
    reason = part.error.message if part.error else part.state
    kind = part.error.kind if part.error else "world"
    error = Failure(code="PART_FAILED", message=f"part {part.number} failed: {reason}"[:500], kind=kind)

    def change(found: Found) -> Writes:
        document = found[path]
        if document is None or document["state"] != "queued":
            return {}
        failed = read_step(document).change(state="failed", ended_at=now, error=error)
        return {path: failed.document(), **_voided(found, below, now)}

    commit(backends, [path, *below], change)


def _below(step: Step) -> list[str]:
    """Return where the parts of a step and the leases of all of it stand."""
    shares = range(step.parts)
    parts = [part_path(step.job, step.number, k) for k in shares]
    return [*parts, *(lease_path(step.job, step.number, k) for k in (None, *shares))]


def _voided(found: Found, paths: Sequence[str], now: datetime) -> Writes:
    """Return the writes that cancel the steps and parts among `paths` that have not ended, and remove the leases."""
    writes: dict[str, Document | None] = {}
    for path in paths:
        document = found[path]
        if document is None or document.get("state") in ENDED_STEP:
            continue
        if "/leases/" in path:
            writes[path] = None
        else:
            share = read_part(document) if "/parts/" in path else read_step(document)
            writes[path] = void(share, now=now).document()
    return writes


def _advance(backends: Backends, job: Job, steps: Sequence[Step], agents: Agents) -> None:
    """Write the step that follows the last one, put a question, or end the job."""
    last, began = steps[-1], backends.now()
    ending = _ending(backends, job, steps, agents)
    if ending is not None:
        _end(backends, job, last, *ending)
        return
    seen = view(backends, job, steps)
    pause = _pause(job, seen, last, agents[last.agent], backends.now())
    if pause is not None:
        _put_question(backends, job, pause)
        return
    choices = coordinator.allowed(seen, agents, spent=_spent(job, steps, backends.now()))
    if not choices:
        error = Failure(code="NO_STEP", message="nothing admissible is left and no report was written", kind="internal")
        _end(backends, job, last, "failed", error)
        return
    choice, decision = coordinator.next_step(seen, choices, _asker(backends, job))
    step = _step(job, last.number + 1, seen, choice, decision, agents, backends.now())
    if _create(backends, seen, job, step, agents):
        _tell(step, began)
        _send(backends, step)


def _tell(step: Step, began: datetime) -> None:
    """Log the decision for a step and tell its span."""
    span = tracing.decided(step.job, step.number)
    told: dict[str, Any] = {"step": step.number, "agent": step.agent, "decided_by": step.decision.by}
    log.event(
        "decided", job_id=step.job, span=span, iteration=step.iteration, refused=len(step.decision.refused), **told
    )
    tracing.record("decide", step.job, span, tracing.started(step.job), began, step.queued_at, **told)


def _ending(
    backends: Backends, job: Job, steps: Sequence[Step], agents: Agents
) -> tuple[JobState, Failure | None] | None:
    """Return how the last step ends the job, or None if it does not."""
    last = steps[-1]
    spec = agents[last.agent]
    if last.state == "cancelled":
        return "cancelled", None
    if last.state == "failed" and spec.on_failure == "fail":
        return "failed", last.error
    if last.state == "succeeded" and spec.final:
        refused = result_of(backends, last).get("verdict") == "refuse"
        return ("rejected" if refused else "completed"), None
    if job.question.preferences.plan_only and last.state == "succeeded" and spec.freezes:
        return "completed", None
    if job.hops + 1 > MAX_HOPS:
        return "failed", Failure(code="LOOP_GUARD", message="too many wake-ups", kind="cap")
    return None


def _spent(job: Job, steps: Sequence[Step], now: datetime) -> bool:
    """Say whether the job's budget of steps or minutes is so far gone that only what must still happen may."""
    budget = job.question.preferences.budget
    reserve = (1 - SPENT_SHARE) * _allowance(job.question)
    return len(steps) >= budget.max_steps or job.deadline_at - now <= reserve


def _pause(job: Job, seen: JobView, last: Step, spec: Spec, now: datetime) -> Pause | None:
    """Return the question that must go to the person now, if there is one."""
    asked = job.pause is not None and job.pause.step == last.number
    if asked or last.state != "succeeded" or not seen.question.preferences.confirm_roles:
        return None
    if spec.settles:
        roles = {role: getattr(seen.question, role) for role in ("treatment", "outcome")}
        text = "Are these the roles that you mean?"
        return Pause(step=last.number, question=text, default=roles, asked_at=now, until=now + PAUSE)
    gate = seen.results[last.agent].get("gate")
    if isinstance(gate, Mapping) and gate.get("decision") == "REVIEW":
        text = "The learned graph is doubtful; is another one known?"
        return Pause(step=last.number, question=text, asked_at=now, until=now + PAUSE)
    return None


def _put_question(backends: Backends, job: Job, pause: Pause) -> None:
    path, now = job_path(job.id), backends.now()

    def change(found: Found) -> Writes:
        current = read_job(found[path])
        if current is None or current.steps != pause.step + 1:
            return {}
        return {path: await_input(current, pause, now=now).document()}

    commit(backends, [path], change)


def _asker(backends: Backends, job: Job) -> Any:
    """Return the coordinator's way to the model; of two that look at the same job only one gets to ask."""

    def check(current: Job, found: Found, made: int) -> None:
        if (current.steps, current.calls) != (job.steps, job.calls + made):
            raise Fenced("another coordinator is asking")

    return asker(backends, job.id, check=check, step=job.steps, span=tracing.decided(job.id, job.steps))


def _step(
    job: Job, number: int, seen: JobView, choice: coordinator.Choice, decision: Decision, agents: Agents, now: datetime
) -> Step:
    spec = agents[choice.agent]
    return Step(
        job=job.id, step=number, number=number, agent=choice.agent, parameters=dict(choice.parameters), queued_at=now,
        parts=spec.parts(seen), heavy=spec.heavy(seen), iteration=seen.iteration, decision=decision,
    )  # fmt: skip


def _create(backends: Backends, seen: JobView, job: Job, step: Step, agents: Agents) -> bool:
    """Create the step after the last one; whoever comes second gets False and reads what stands there."""
    mine, above = step_path(job.id, step.number), job_path(job.id)
    parts = _parts(step)
    status = "ITERATING" if seen.iteration > job.iteration else agents[step.agent].status
    progress = coordinator.progress(seen, agents)

    def change(found: Found) -> Writes:
        current = read_job(found[above])
        if found[mine] is not None or current is None or current.state != "open" or current.steps != step.number:
            return {}
        moved = touch(
            current, now=step.queued_at, steps=step.number + 1, hops=current.hops + 1, status=status,
            current_agent=step.agent, iteration=seen.iteration, progress=max(current.progress, progress),
        )  # fmt: skip
        return {mine: step.document(), above: moved.document(), **parts}

    found, op = commit(backends, [above, mine, *parts], change)
    stands = found[mine]
    return stands is not None and stands["op"] == op


def _parts(step: Step) -> dict[str, Document]:
    """Return the parts of a new step by path."""
    shares = [Part(job=step.job, step=step.step, number=k, queued_at=step.queued_at) for k in range(step.parts)]
    return {part_path(step.job, step.number, part.number): part.document() for part in shares}


def _end(
    backends: Backends, job: Job, last: Step, state: JobState, error: Failure | None, *, only_queued: bool = False
) -> None:
    """End the job as it was seen and void what still runs, in one transaction; nothing if it has moved on since.

    With `only_queued` nothing either, if anybody has taken its last step.
    """
    path, now = job_path(job.id), backends.now()
    ours = [step_path(job.id, last.number), *_below(last)]

    def change(found: Found) -> Writes:
        current = read_job(found[path])
        if current is None or current.state not in LIVE_JOB:
            return {}
        if current.steps != last.number + 1 or current.resumed != job.resumed:
            return {}
        if only_queued and (found[ours[0]] or {}).get("state") != "queued":
            return {}
        return {path: end(current, state, now=now, error=error).document(), **_voided(found, ours, now)}

    found, op = commit(backends, [path, *ours], change)
    if last.state not in ENDED_STEP and (found[path] or {}).get("op") == op:
        _stop(backends, last)


def _stop(backends: Backends, step: Step) -> None:
    """Stop the machines that were asked for a step; one that goes on all the same finds that it no longer counts."""
    try:
        if backends.documents.get(sent_path(step.job, step.number)) is not None:
            backends.tasks.cancel(step.job, step.number)
    except StorageError as exc:
        log.event("stop_failed", severity="WARNING", job_id=step.job, step=step.number, error=exc.code)


# --- running a step -----------------------------------------------------------------------------------------------


def run_step(backends: Backends, job_id: str, number: int, *, part: int | None = None, agents: Agents = AGENTS) -> None:
    """Claim a step (or one of its parts), run its agent and commit what it found.

    A failure of the science is written into the step; a failure of the world puts the step back and is raised.
    """
    try:
        attempt.run(backends, job_id, number, part=part, agents=agents)
    finally:
        tracing.flush()
    if part is not None:
        # A part's document lies below those whose writing wakes the coordinator, so its end is told here.
        coordinate(backends, job_id, agents=agents)


def bury(
    backends: Backends, job_id: str, number: int, *, part: int | None = None, process: str, death: str
) -> None:  # fmt: skip
    """Note that the `process` that ran a step (or a part) died on its own, so that none waits for its lease to run out.

    `death` says how; a step whose processes die twice the same way fails for good.
    """
    attempt.bury(backends, job_id, number, part=part, process=process, death=death)


# --- people -------------------------------------------------------------------------------------------------------


def find_job(backends: Backends, job_id: str, *, tenant: str) -> Job:
    """Return the tenant's job; a stranger's job and a missing one are the same (raises NotFound)."""
    job = read_job(backends.documents.get(job_path(job_id)))
    if job is None or job.tenant != tenant:
        raise NotFound("there is no such job")
    return job


def get_job(backends: Backends, job_id: str, *, tenant: str) -> tuple[Job, list[Step]]:
    """Return a job and its steps (raises NotFound)."""
    return find_job(backends, job_id, tenant=tenant), steps_of(backends, job_id)


def list_jobs(
    backends: Backends, *, tenant: str, status: str | None = None, limit: int = 20, after: str | None = None
) -> list[Job]:
    """Return the tenant's jobs, newest first; `after` is the path of the last job of the page before."""
    where = {"tenant": tenant, **({"status": status} if status else {})}
    found = backends.documents.list("jobs", where=where, newest_first=True, limit=limit, after=after)
    return [job for _, document in found if (job := read_job(document)) is not None]


def cancel(backends: Backends, job_id: str, *, tenant: str) -> Job:
    """Cancel a job; what runs is stopped, what has ended stays ended. Returns the job as it stands."""
    job, steps = get_job(backends, job_id, tenant=tenant)
    while job.state in LIVE_JOB:
        _end(backends, job, steps[-1], "cancelled", None)
        job, steps = get_job(backends, job_id, tenant=tenant)
    return job


def answer(backends: Backends, job_id: str, reply: Mapping[str, Any], *, tenant: str, agents: Agents = AGENTS) -> None:
    """Answer the question that a job waits on (raises InputError if the answer is not a question's roles)."""
    job, steps = get_job(backends, job_id, tenant=tenant)
    if job.state != "awaiting_input":
        raise InputError("the job awaits no input", code="NOT_AWAITING")
    question = view(backends, job, steps).question
    make_question({**question.model_dump(mode="json"), **reply})
    _answer(backends, job, reply)
    coordinate(backends, job_id, agents=agents)


def _answer(backends: Backends, job: Job, reply: Mapping[str, Any] | None) -> None:
    """Commit an answer to the question that `job` was seen to wait on."""
    path, now = job_path(job.id), backends.now()

    def change(found: Found) -> Writes:
        current = read_job(found[path])
        if current is None or current.state != "awaiting_input" or current.pause != job.pause:
            return {}
        return {path: take_answer(current, reply, now=now).document()}

    commit(backends, [path], change)


def resume(backends: Backends, job_id: str, *, tenant: str, agents: Agents = AGENTS) -> None:
    """Go on with a failed job from its last good step: the agent that failed gets a new step.

    Raises
    ------
    InputError
        If the job has not failed (``NOT_RESUMABLE``).
    """
    job, steps = get_job(backends, job_id, tenant=tenant)
    if job.state != "failed":
        raise InputError(f"only a failed job can be resumed, this one is {job.state}", code="NOT_RESUMABLE")
    again = None if steps[-1].state == "succeeded" else _again(steps[-1], backends.now())
    if _reopen(backends, job, again, agents[steps[-1].agent].status) and again is not None:
        _tell(again, again.queued_at)
        _send(backends, again)
    else:
        coordinate(backends, job_id, agents=agents)


def _again(last: Step, now: datetime) -> Step:
    """Return a new step that repeats one which failed."""
    decision = Decision(by="resume", reasoning="resumed by a person")
    return Step(
        job=last.job, step=last.number + 1, number=last.number + 1, agent=last.agent, parameters=last.parameters,
        queued_at=now, heavy=last.heavy, parts=last.parts, iteration=last.iteration, decision=decision,
    )  # fmt: skip


def _reopen(backends: Backends, job: Job, again: Step | None, status: str) -> bool:
    """Reopen the job as it was seen, with its new step; say whether this call did it."""
    path, now = job_path(job.id), backends.now()
    news = {} if again is None else {step_path(job.id, again.number): again.document(), **_parts(again)}

    def change(found: Found) -> Writes:
        current = read_job(found[path])
        if current is None or current.state != "failed" or current.resumed != job.resumed:
            return {}
        deadline = now + _allowance(current.question)
        opened = reopen(current, now=now, deadline_at=deadline, status=status)
        if again is not None:
            opened = opened.change(steps=again.number + 1, current_agent=again.agent)
        return {path: opened.document(), **news}

    found, op = commit(backends, [path, *news], change)
    return any(document is not None and document["op"] == op for document in found.values())


def erase(backends: Backends, job_id: str, *, tenant: str) -> Mapping[str, Any]:
    """Delete a job and everything derived from it; a receipt without content stays."""
    cancel(backends, job_id, tenant=tenant)
    now, path, above = backends.now(), f"receipts/{job_id}", job_path(job_id)
    receipt = {"job": job_id, "tenant": tenant, "erased_at": now, "settled": False}

    def mark(found: Found) -> Writes:
        job = read_job(found[above])
        if job is None or job.state == "erased":
            return {}
        return {path: found[path] or receipt, above: wipe(job, now=now).document()}

    found, _ = commit(backends, [path, above], mark)
    _remove(backends, job_id)
    return found[path] or receipt


def _remove(backends: Backends, job_id: str) -> None:
    """Remove what an erased job has left, its own document last, so that the sweeper can finish what broke off."""
    job, steps = load(backends, job_id)
    if job is None or job.state != "erased":
        return
    for name in backends.objects.list(f"{job.tenant}/{job_id}/"):
        backends.objects.delete(name)
    if job.source.get("kind") == "object":
        backends.objects.delete(str(job.source["name"]))
    downloads.forget(backends, job.source, tenant=job.tenant)
    collections = [f"{job_path(job_id)}/leases", f"{job_path(job_id)}/sent", *ledger.collections(job_id)]
    collections += [f"{step_path(job_id, step.number)}/parts" for step in steps if step.parts]
    doomed = [path for name in collections for path, _ in backends.documents.list(name)]
    doomed += [step_path(job_id, step.number) for step in steps]
    for path in [*doomed, *ledger.documents(job_id), job_path(job_id)]:
        commit(backends, [path], lambda found: {p: None for p, document in found.items() if document is not None})


def open_file(backends: Backends, job_id: str, name: str, *, tenant: str) -> bytes:
    """Return a job's file by its plain name, the latest one if there are several (raises NotFound)."""
    _, steps = get_job(backends, job_id, tenant=tenant)
    for step in reversed(steps):
        if step.state == "succeeded" and name in step.files:
            return fetch(backends, step.files[name])
    raise NotFound(f"the job has no file {name!r}")


def give_up(backends: Backends, job_id: str, number: int) -> None:
    """Fail a job whose step nobody has taken, however often its message was delivered (``DELIVERY_EXHAUSTED``).

    A step that was taken meanwhile, or is not the last one, and a job that has ended stay as they are.

    Raises
    ------
    InputError
        If there is no such step.
    """
    job, steps = load(backends, job_id)
    if job is None or number >= len(steps):
        raise InputError("there is no such step", code="UNKNOWN_STEP")
    last = steps[-1]
    if job.state in LIVE_JOB and last.number == number:
        message = f"the message for {last.agent} was delivered too often and never taken"
        error = Failure(code="DELIVERY_EXHAUSTED", message=message, kind="world")
        _end(backends, job, last, "failed", error, only_queued=True)


def known(backends: Backends, job_id: str, number: int) -> bool:
    """Say whether there is such a step."""
    return backends.documents.get(step_path(job_id, number)) is not None


def reject(backends: Backends, source: str, delivery: str, *, code: str, message: str) -> None:
    """Record, once, a delivery that can never be used; what it said is not kept."""
    path, now = f"rejected/{_digest(source, delivery)}", backends.now()
    record = {
        "source": source[:500], "delivery": delivery[:200], "code": code, "message": message[:500], "at": now,
        "expires_at": now + REJECTED_KEPT,
    }  # fmt: skip
    commit(backends, [path], lambda found: {} if found[path] is not None else {path: record})
    log.event("rejected", severity="WARNING", source=source[:500], delivery=delivery[:200], error=code)


# --- sweeping -----------------------------------------------------------------------------------------------------


def sweep(backends: Backends, *, agents: Agents = AGENTS, patience: timedelta = RESEND_AFTER) -> int:
    """Look at every job that is not done: end what is past its deadline, send again what is overdue or died.

    A step that has been queued for longer than `patience` is overdue; machines that were asked for are waited for as
    long as `MACHINE_AFTER`. Returns the number of live jobs. Needs nothing but the documents, and may run twice at once.
    """
    live, began = 0, backends.now()
    for document in pages(backends, "jobs", {"done": False}):
        job = str(document["id"])
        live += document["state"] in LIVE_JOB
        with _apart(job):
            if document["state"] == "erased":
                _remove(backends, job)
            else:
                _reclaim(backends, job, patience)
                coordinate(backends, job, agents=agents, patience=patience)
    notify.catch_up(backends)
    log.event("sweep", live=live, seconds=round((backends.now() - began).total_seconds(), 3))
    return live


@contextmanager
def _apart(job_id: str) -> Iterator[None]:
    """Keep whatever is wrong with one job from those that are looked at after it."""
    try:
        yield
    except Retriable as exc:
        log.event("sweep_failed", job_id=job_id, error=exc.code)
    except Exception as exc:
        code = exc.code if isinstance(exc, CausalError) else type(exc).__name__
        log.event("sweep_failed", severity="ERROR", job_id=job_id, error=code, frames=log.frames(exc))


def _reclaim(backends: Backends, job_id: str, patience: timedelta) -> None:
    """Send again a running step (or part) whose lease has run out; the next claim takes it over.

    It goes to a machine of its own: what a function could not finish may have lacked time or memory there.
    """
    job, steps = load(backends, job_id)
    if job is None or job.state != "open" or not steps:
        return
    last = steps[-1]
    if last.state == "running" and _expired(backends, last, None):
        _remind(backends, last.change(parts=0, heavy=True), [last], patience)
    elif last.state == "queued" and last.parts:
        parts, now = parts_of(backends, last), backends.now()
        lost = [part for part in parts if part.state == "running" and _expired(backends, last, part.number)]
        late = [part for part in parts if part.state == "queued" and _overdue(part, now, patience)]
        _remind(backends, last, [*lost, *late] if lost else [], patience)


def _expired(backends: Backends, step: Step, part: int | None) -> bool:
    lease = backends.documents.get(lease_path(step.job, step.number, part))
    return lease is None or Lease.model_validate(lease).until <= backends.now()


def collect(backends: Backends) -> int:
    """Remove the objects that ended jobs have left unreferenced for a day; return how many.

    An object is an orphan if no committed result names it: its writer died, or was late. A day after a job's end no
    writer can still be at work.
    """
    old, removed = backends.now() - ORPHAN_AGE, 0
    for document in pages(backends, "jobs", {"done": True, "collected": False}):
        with _apart(str(document["id"])):
            if document["ended_at"] is not None and document["ended_at"] <= old:
                removed += _tidy(backends, str(document["id"]))
    for document in pages(backends, "receipts", {"settled": False}):
        with _apart(str(document["job"])):
            if document["erased_at"] <= old:
                removed += _delete(backends, backends.objects.list(f"{document['tenant']}/{document['job']}/"))
                _settle(backends, f"receipts/{document['job']}", {"settled": True})
    return removed


def _tidy(backends: Backends, job_id: str) -> int:
    """Remove the orphans of an ended job."""
    job, steps = load(backends, job_id)
    if job is None:
        return 0
    kept = _pinned_names(backends, steps)
    removed = _delete(backends, [n for n in backends.objects.list(f"{job.tenant}/{job.id}/") if n not in kept])
    _settle(backends, job_path(job.id), {"collected": True})
    return removed


def _pinned_names(backends: Backends, steps: Sequence[Step]) -> set[str]:
    shares = [*steps, *(part for step in steps if step.parts for part in parts_of(backends, step))]
    pinned = [p for s in shares for p in (*s.files.values(), *([s.result_object] if s.result_object else ()))]
    return {p.name for p in pinned}


def _delete(backends: Backends, names: Sequence[str]) -> int:
    for name in names:
        backends.objects.delete(name)
    return len(names)


def _settle(backends: Backends, path: str, fields: Mapping[str, Any]) -> None:
    """Note on a job or receipt that its orphans are gone."""

    def change(found: Found) -> Writes:
        document = found[path]
        if document is None or document.get("state") in LIVE_JOB:
            return {}
        rev = {"rev": document["rev"] + 1} if "rev" in document else {}
        return {path: {**document, **fields, **rev}}

    commit(backends, [path], change)


__all__ = [
    "answer", "cancel", "collect", "coordinate", "erase", "get_job", "give_up", "known", "list_jobs", "open_file",
    "reject", "resume", "run_step", "start_job", "sweep", "view",
]  # fmt: skip

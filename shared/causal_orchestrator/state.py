"""Job, Step and every transition between their states, as pure functions of records.

A job is open until it is completed, rejected, failed, cancelled or erased; in between it may await input. A step is
queued, running, and then succeeded, failed or cancelled. The attempt number is the fence: whoever does not hold the
running attempt may change nothing (`Fenced`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from causal_orchestrator.errors import Busy, Fenced
from causal_orchestrator.question import Question

SCHEMA_VERSION = 1
MAX_ATTEMPTS = 8
MAX_HOPS = 600
MAX_DEATHS = 2
LEASE = timedelta(seconds=60)
RENEWAL_SECONDS = 15.0
RESEND_AFTER = timedelta(seconds=30)
# A machine of its own takes minutes to come where many are asked for; a step sent again meanwhile would take others.
MACHINE_AFTER = timedelta(minutes=10)
BACK_OFF = timedelta(seconds=2)
MAX_BACK_OFF = timedelta(minutes=5)
INLINE_RESULT_BYTES = 64 * 1024

JobState = Literal["open", "awaiting_input", "completed", "rejected", "failed", "cancelled", "erased"]
StepState = Literal["queued", "running", "succeeded", "failed", "cancelled"]
ENDED_STEP = frozenset({"succeeded", "failed", "cancelled"})
LIVE_JOB = frozenset({"open", "awaiting_input"})


class State(BaseModel):
    """A frozen record that is stored as a document."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def change(self, **fields: Any) -> Any:
        """Return a copy with `fields` replaced."""
        return self.model_copy(update=fields)

    def document(self) -> dict[str, Any]:
        """Return the record as a document (JSON types and datetimes)."""
        return self.model_dump()


class Pinned(State):
    """An object that a committed result names, with generation and hash."""

    name: str
    generation: int
    sha256: str
    size: int


class Read(State):
    """One look at the data: which view of which columns, and the hash of what was seen."""

    view: str
    columns: tuple[str, ...]
    sha256: str


class Failure(State):
    """Why a step or a job failed: a code, a sentence, and whose failure it was."""

    code: str
    message: str
    kind: Literal["input", "design", "estimation", "world", "cap", "internal"] = "internal"


class Decision(State):
    """Who chose this step, on what view of the job, for what reason, and what else was admissible."""

    by: str
    reasoning: str
    view_sha256: str = ""
    alternatives: tuple[Mapping[str, Any], ...] = ()
    refused: tuple[str, ...] = ()


class Pause(State):
    """A question to the person, the default that is taken without an answer, and until when it may come."""

    step: int
    question: str
    default: Mapping[str, Any] = {}
    asked_at: datetime
    until: datetime
    answer: Mapping[str, Any] | None = None


class Part(State):
    """One share of a step that splits; the same states and the same fence as a step."""

    job: str
    step: int
    number: int
    state: StepState = "queued"
    attempt: int = 0
    queued_at: datetime
    not_before: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    result: Mapping[str, Any] | None = None
    result_object: Pinned | None = None
    files: Mapping[str, Pinned] = {}
    reads: tuple[Read, ...] = ()
    error: Failure | None = None
    deaths: tuple[str, ...] = ()
    op: str = ""


class Step(Part):
    """One agent's turn and what it found; its key is its number."""

    agent: str
    parameters: Mapping[str, Any] = {}
    parts: int = 0
    heavy: bool = False
    iteration: int = 0
    decision: Decision


class Lease(State):
    """Who may work on an attempt (``process/claim``), and until when; limits cost, not correctness."""

    attempt: int
    until: datetime
    holder: str
    op: str = ""


class Sent(State):
    """When machines were last asked for: for how many parts (0: the whole), and the attempt that each had come to."""

    at: datetime
    parts: int
    attempts: Mapping[str, int]
    op: str = ""


class Job(State):
    """A question and the life of its answer. Counters only grow.

    `answers` holds what the person said to every question so far. `done` says that nothing is left to do, recording
    included, so that the sweeper passes by; `collected` that no orphaned object of it is left.
    """

    id: str
    tenant: str
    principal: str = ""
    schema_version: int = SCHEMA_VERSION
    created_at: datetime
    updated_at: datetime
    deadline_at: datetime
    ended_at: datetime | None = None
    state: JobState = "open"
    status: str = "PENDING"
    current_agent: str | None = None
    progress: int = 0
    question: Question
    source: Mapping[str, Any]
    seed: int = 0
    steps: int = 1
    hops: int = 0
    calls: int = 0
    tokens: int = 0
    iteration: int = 0
    resumed: int = 0
    plan_sha256: str | None = None
    unblinded_at: datetime | None = None
    pause: Pause | None = None
    answers: Mapping[str, Any] = {}
    error: Failure | None = None
    done: bool = False
    collected: bool = False
    rev: int = 0
    op: str = ""

    def document(self) -> dict[str, Any]:
        """Return the job as a document; the question goes as the person would write it."""
        return {**self.model_dump(exclude={"question"}), "question": self.question.model_dump(mode="json")}


# --- paths --------------------------------------------------------------------------------------------------------


def job_path(job: str) -> str:
    """Return where a job stands."""
    return f"jobs/{job}"


def step_path(job: str, number: int) -> str:
    """Return where a step stands."""
    return f"jobs/{job}/steps/{number:04d}"


def part_path(job: str, step: int, part: int) -> str:
    """Return where a part of a step stands."""
    return f"{step_path(job, step)}/parts/{part:04d}"


def lease_path(job: str, step: int, part: int | None = None) -> str:
    """Return where the lease of a step or of a part stands."""
    return f"jobs/{job}/leases/{step:04d}" + ("" if part is None else f"-{part:04d}")


def sent_path(job: str, step: int) -> str:
    """Return where it stands when a machine was last asked for a step."""
    return f"jobs/{job}/sent/{step:04d}"


def asked_path(job: str, prompt: str) -> str:
    """Return where a prompt (by its hash) and the reply to it stand."""
    return f"jobs/{job}/asked/{prompt}"


def object_name(job: Job, step: int, attempt: int, name: str, part: int | None = None) -> str:
    """Return the attempt's own name for a file, so that no two attempts ever share one."""
    share = f"{step:04d}" if part is None else f"{step:04d}-{part:04d}"
    return f"{job.tenant}/{job.id}/{share}/{attempt}/{name}"


def seed_of(seed: int, agent: str, iteration: int, part: int | None = None) -> int:
    """Mix the job's seed with agent, iteration and part into a seed of 32 bits.

    The step's number stays out of it: a resumed job numbers its steps anew and must find the same digits.
    """
    text = f"{seed}/{agent}/{iteration}/{-1 if part is None else part}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


# --- steps --------------------------------------------------------------------------------------------------------


def claim(step: Any, lease: Lease | None, *, now: datetime, holder: str) -> tuple[Any, Lease | None]:
    """Take the next attempt of a step or part; after eight attempts it is failed instead (ATTEMPTS).

    Raises
    ------
    Fenced
        If it has ended.
    Busy
        If another attempt holds a valid lease, or the step rests after a failure.
    """
    if step.state in ENDED_STEP:
        raise Fenced(f"step {step.number} has ended ({step.state})")
    if step.state == "queued" and step.not_before is not None and now < step.not_before:
        raise Busy(f"step {step.number} rests until {step.not_before:%H:%M:%S}")
    if step.state == "running" and lease is not None and lease.until > now:
        raise Busy(f"step {step.number} is being worked on until {lease.until:%H:%M:%S}")
    if step.attempt >= MAX_ATTEMPTS:
        return exhaust(step, now=now), None
    attempt = step.attempt + 1
    running = step.change(state="running", attempt=attempt, started_at=now)
    return running, Lease(attempt=attempt, until=now + LEASE, holder=holder)


def holds(step: Any, attempt: int) -> bool:
    """Say whether `attempt` is the one that runs."""
    return bool(step.state == "running" and step.attempt == attempt)


def is_of(lease: Lease, process: str) -> bool:
    """Say whether a process holds a lease."""
    return lease.holder.partition("/")[0] == process


def _fence(step: Any, attempt: int) -> None:
    if not holds(step, attempt):
        raise Fenced(f"attempt {attempt} of step {step.number} no longer counts ({step.state}, {step.attempt})")


def succeed(
    step: Any, attempt: int, *, now: datetime, result: Mapping[str, Any] | Pinned, files: Mapping[str, Pinned],
    reads: Sequence[Read],
) -> Any:  # fmt: skip
    """End the running attempt with a result (raises Fenced)."""
    _fence(step, attempt)
    stored = {"result_object": result} if isinstance(result, Pinned) else {"result": result}
    return step.change(state="succeeded", ended_at=now, files=dict(files), reads=tuple(reads), error=None, **stored)


def fail(step: Any, attempt: int, *, now: datetime, error: Failure, reads: Sequence[Read] = ()) -> Any:
    """End the running attempt with a failure (raises Fenced)."""
    _fence(step, attempt)
    return step.change(state="failed", ended_at=now, error=error, reads=tuple(reads))


def release(step: Any, attempt: int, *, now: datetime, death: str | None = None) -> Any:
    """Put the running attempt back after a failure of the world (raises Fenced).

    `death` describes how an attempt died of an unforeseen error; dying twice the same way is permanent.
    """
    _fence(step, attempt)
    deaths = (*step.deaths, death) if death else step.deaths
    if death and deaths.count(death) >= MAX_DEATHS:
        error = Failure(code="INTERNAL", message=death, kind="internal")
        return step.change(state="failed", ended_at=now, error=error, deaths=deaths)
    rest = min(MAX_BACK_OFF, BACK_OFF * 2**step.attempt)
    return step.change(state="queued", queued_at=now, not_before=now + rest, deaths=deaths)


def exhaust(step: Any, *, now: datetime) -> Any:
    """Fail a step that has used all its attempts."""
    error = Failure(code="ATTEMPTS", message=f"gave up after {step.attempt} attempts", kind="world")
    return step.change(state="failed", ended_at=now, error=error)


def void(step: Any, *, now: datetime) -> Any:
    """Cancel a step that has not ended; one that has stays as it is."""
    return step if step.state in ENDED_STEP else step.change(state="cancelled", ended_at=now)


def needs_machine(step: Step) -> bool:
    """Say whether a step is for a machine of its own: a heavy one, and one for which a function's memory was too small."""
    return step.heavy or any(death.startswith(MemoryError.__name__) for death in step.deaths)


# --- jobs ---------------------------------------------------------------------------------------------------------


def touch(job: Job, *, now: datetime, **fields: Any) -> Job:
    """Return the job with `fields` changed and its revision counted up by one."""
    changed: Job = job.change(**fields, updated_at=now, rev=job.rev + 1)
    return changed


TERMINAL_STATUS = {"completed": "COMPLETED", "rejected": "REJECTED", "failed": "FAILED", "cancelled": "CANCELLED"}


def end(job: Job, state: JobState, *, now: datetime, error: Failure | None = None) -> Job:
    """End a live job; the first end stays (raises Fenced)."""
    if job.state not in LIVE_JOB:
        raise Fenced(f"the job has ended ({job.state})")
    progress = 100 if state in ("completed", "rejected") else job.progress
    # An answered question stays, so that a resumed job does not put it again.
    pause = job.pause if job.state == "open" else None
    return touch(
        job, now=now, state=state, status=TERMINAL_STATUS[state], ended_at=now, error=error, progress=progress,
        current_agent=None, pause=pause,
    )  # fmt: skip


def await_input(job: Job, pause: Pause, *, now: datetime) -> Job:
    """Put a question to the person, once per step (raises Fenced)."""
    if job.state != "open" or (job.pause is not None and job.pause.step >= pause.step):
        raise Fenced(f"the job is {job.state}, or this was asked before")
    return touch(job, now=now, state="awaiting_input", status="AWAITING_INPUT", pause=pause)


def take_answer(job: Job, answer: Mapping[str, Any] | None, *, now: datetime) -> Job:
    """Go on with the person's answer, or with the stated default; the wait does not count (raises Fenced)."""
    if job.state != "awaiting_input" or job.pause is None:
        raise Fenced(f"the job awaits no input ({job.state})")
    said = dict(job.pause.default if answer is None else answer)
    waited = max(timedelta(0), now - job.pause.asked_at)
    return touch(
        job, now=now, state="open", pause=job.pause.change(answer=said), answers={**job.answers, **said},
        deadline_at=job.deadline_at + waited,
    )  # fmt: skip


def reopen(job: Job, *, now: datetime, deadline_at: datetime, status: str) -> Job:
    """Reopen a failed job, on a person's word (raises Fenced)."""
    if job.state != "failed":
        raise Fenced(f"only a failed job can be resumed, this one is {job.state}")
    return touch(
        job, now=now, state="open", status=status, ended_at=None, error=None, resumed=job.resumed + 1, done=False,
        deadline_at=max(deadline_at, job.deadline_at),
    )  # fmt: skip


def wipe(job: Job, *, now: datetime) -> Job:
    """Forget what an ended job was about; only its place remains until it is removed (raises Fenced)."""
    if job.state in LIVE_JOB:
        raise Fenced(f"the job is {job.state}; cancel it first")
    return touch(
        job, now=now, state="erased", status="ERASED", question=Question(), answers={}, error=None, pause=None,
        done=False,
    )  # fmt: skip

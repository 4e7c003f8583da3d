"""One attempt at a step or at a part of one: claim it, run its agent, commit what it found.

Leases limit cost; the attempt's number is the fence. Whatever an attempt writes is refused once another one counts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from causal_orchestrator import log, tracing
from causal_orchestrator.agents import JobView, Output, Spec, Turn, load, record_of
from causal_orchestrator.asking import MAX_REPAIRS, asker
from causal_orchestrator.backends.ports import Backends, Document, Found, Writes
from causal_orchestrator.errors import (
    BlindnessError,
    Busy,
    CapReached,
    CausalError,
    DesignError,
    EstimationError,
    Fenced,
    InputError,
    NotApplicable,
    Retriable,
    StorageError,
)
from causal_orchestrator.question import canonical_json
from causal_orchestrator.reader import JobReader
from causal_orchestrator.results import Plan
from causal_orchestrator.state import (
    ENDED_STEP,
    INLINE_RESULT_BYTES,
    LEASE,
    RENEWAL_SECONDS,
    Failure,
    Job,
    Lease,
    Part,
    Pinned,
    Read,
    Step,
    claim,
    fail,
    holds,
    is_of,
    job_path,
    lease_path,
    needs_machine,
    object_name,
    part_path,
    release,
    seed_of,
    step_path,
    succeed,
    touch,
)
from causal_orchestrator.store import commit, parts_of, read_job, read_part, read_step, view
from causal_orchestrator.store import load as load_job

Agents = Mapping[str, Spec]

SCIENCE = (InputError, DesignError, EstimationError, NotApplicable, BlindnessError, CapReached)
KINDS = {InputError: "input", DesignError: "design", CapReached: "cap", BlindnessError: "internal"}


@dataclass
class Attempt:
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
        """Where that document stands."""
        return share_path(self.job.id, self.step.number, None if self.part is None else self.part.number)

    @property
    def lease(self) -> str:
        """Where its lease stands."""
        return lease_path(self.job.id, self.step.number, None if self.part is None else self.part.number)

    @property
    def span(self) -> str:
        """The span that tells of it."""
        part = None if self.part is None else self.part.number
        return tracing.ran(self.job.id, self.step.number, self.share.attempt, part)

    def read(self, document: Document) -> Any:
        """Return the step or part of a document."""
        return read_step(document) if self.part is None else read_part(document)


def share_path(job: str, number: int, part: int | None) -> str:
    """Return where a step, or one of its parts, stands."""
    return step_path(job, number) if part is None else part_path(job, number, part)


def run(backends: Backends, job_id: str, number: int, *, part: int | None, agents: Agents) -> None:
    """Claim a step (or one of its parts), run its agent and commit what it found; do nothing if it is not its turn.

    A failure of the science is written into the step; a failure of the world puts the step back and is raised.
    """
    attempt = _claim(backends, job_id, number, part, agents)
    if attempt is None:
        return
    started, outcome = backends.now(), "released"
    told = {
        "job_id": job_id,
        "step": number,
        "agent": attempt.step.agent,
        "attempt": attempt.share.attempt,
        "part": part,
    }
    try:
        with log.about(**told), _renewing(backends, attempt):
            outcome = _work(backends, attempt, agents[attempt.step.agent])
    except Fenced:
        outcome = "lost"
    finally:
        _tell(attempt, outcome, started, backends.now())


def _tell(attempt: Attempt, outcome: str, started: datetime, ended: datetime) -> None:
    """Log the attempt and tell its span: how it ended, how long it took and how long it had been due."""
    share, step = attempt.share, attempt.step
    told = {
        "step": step.number, "agent": step.agent, "attempt": share.attempt, "outcome": outcome,
        "part": None if attempt.part is None else attempt.part.number,
        "waited": round(max(0.0, (started - (share.not_before or share.queued_at)).total_seconds()), 3),
    }  # fmt: skip
    seconds = round((ended - started).total_seconds(), 3)
    log.event("step", job_id=attempt.job.id, span=attempt.span, seconds=seconds, **told)
    tracing.record(
        f"run {step.agent}", attempt.job.id, attempt.span, tracing.decided(attempt.job.id, step.number), started, ended,
        error=None if outcome == "succeeded" else outcome, **told,
    )  # fmt: skip


# --- claiming -----------------------------------------------------------------------------------------------------


def _claim(backends: Backends, job_id: str, number: int, part: int | None, agents: Agents) -> Attempt | None:
    """Take the next attempt in a transaction; None if there is nothing to do here now."""
    if part is None and not _ready(backends, job_id, number):
        return None
    above, whole, mine = job_path(job_id), step_path(job_id, number), share_path(job_id, number, part)
    leased, now, holder = lease_path(job_id, number, part), backends.now(), f"{backends.process()}/{backends.new_id()}"

    def change(found: Found) -> Writes:
        job, share = read_job(found[above]), found[mine]
        if job is None or job.state != "open" or share is None or found[whole] is None:
            return {}
        step = read_step(found[whole] or {})
        if step.agent not in agents:
            raise Busy(f"this version does not know the agent {step.agent!r}", code="AGENT_UNKNOWN")
        lease = None if found[leased] is None else Lease.model_validate(found[leased])
        if part is not None and step.state in ENDED_STEP:
            return {}
        try:
            claimed, taken = claim(step if part is None else read_part(share), lease, now=now, holder=holder)
        except (Fenced, Busy):
            return {}
        return {mine: claimed.document(), leased: None if taken is None else taken.document()}

    found, _ = commit(backends, list(dict.fromkeys([above, whole, mine, leased])), change)
    return _taken(found, [above, whole, mine, leased], holder, part)


def _taken(found: Found, paths: Sequence[str], holder: str, part: int | None) -> Attempt | None:
    """Return the attempt if the lease that stands is the holder's."""
    above, whole, mine, leased = (found[path] for path in paths)
    job = read_job(above)
    if job is None or whole is None or mine is None or leased is None or leased["holder"] != holder:
        return None
    return Attempt(job=job, step=read_step(whole), part=None if part is None else read_part(mine))


def _ready(backends: Backends, job_id: str, number: int) -> bool:
    """Say whether the step as a whole may be claimed: all its parts must have succeeded."""
    document = backends.documents.get(step_path(job_id, number))
    if document is None:
        return False
    step = read_step(document)
    return not step.parts or all(part.state == "succeeded" for part in parts_of(backends, step))


@contextmanager
def _renewing(backends: Backends, attempt: Attempt) -> Iterator[None]:
    """Renew the lease while the agent works; the attempt stops at its next look once it no longer counts."""

    def renew() -> None:
        try:
            attempt.lost = attempt.lost or not _renew(backends, attempt)
        except Retriable as exc:
            # The next beat tries again; three may fail before the lease runs out.
            log.event("renewal_failed", job_id=attempt.job.id, step=attempt.step.number, error=exc.code)

    with backends.background(renew, RENEWAL_SECONDS):
        yield


def _renew(backends: Backends, attempt: Attempt) -> bool:
    """Extend the lease; return False if the attempt no longer counts."""
    now, number = backends.now(), attempt.share.attempt

    def change(found: Found) -> Writes:
        share, lease = found[attempt.path], found[attempt.lease]
        if share is None or lease is None or lease["attempt"] != number or not holds(attempt.read(share), number):
            return {}
        return {attempt.lease: Lease.model_validate(lease).change(until=now + LEASE).document()}

    found, op = commit(backends, [attempt.path, attempt.lease], change)
    lease = found[attempt.lease]
    return lease is not None and lease["op"] == op


# --- working ------------------------------------------------------------------------------------------------------


def _work(backends: Backends, attempt: Attempt, spec: Spec) -> str:
    """Run the agent; commit its result, its failure, or the step's return to the queue."""
    reads: list[Read] = []
    try:
        _run_agent(backends, attempt, spec, reads)
    except Fenced:
        raise
    except SCIENCE as exc:
        _fail(backends, attempt, exc, reads)
        return "failed"
    except CausalError as exc:
        _back(backends, attempt, None if exc.retriable else f"{exc.code}: {exc.message}"[:500])
        raise
    except Exception as exc:
        frames = log.frames(exc)
        said = hashlib.sha256(str(exc).encode(errors="replace")).hexdigest()[:8]
        death = f"{type(exc).__name__} at {frames[-1]} ({said})"
        log.event("broke", severity="ERROR", error=type(exc).__name__, frames=frames)
        _back(backends, attempt, death)
        # What it says may quote the data, and whoever catches it writes it into a log.
        raise CausalError(death, code="INTERNAL") from None
    return "succeeded"


def _run_agent(backends: Backends, attempt: Attempt, spec: Spec, reads: list[Read]) -> None:
    """Show the agent the job as it stood before its step, run it, and commit what it returns."""
    _, steps = load_job(backends, attempt.job.id)
    before = [step for step in steps if step.number < attempt.step.number]
    seen = view(backends, attempt.job, before)
    with ExitStack() as scratch:
        reader = JobReader(
            backends, spec, attempt.step, seen, before, split=attempt.part is None and attempt.step.parts > 0,
            alive=lambda: not attempt.lost, scratch=scratch, reads=reads,
        )  # fmt: skip
        output = load(attempt.step.agent, spec)(seen, _turn(attempt, seen), reader, _asker(backends, attempt))
        _accept(output, spec, [*(read for step in before for read in step.reads), *reads])
        _succeed(backends, attempt, output, reads, freezes=spec.freezes and attempt.part is None)


def _asker(backends: Backends, attempt: Attempt) -> Callable[..., Any]:
    """Return the attempt's way to the model; a call of an attempt that no longer counts is not even reserved."""

    def check(job: Job, found: Found, made: int) -> None:
        share = found[attempt.path]
        if share is None or not holds(attempt.read(share), attempt.share.attempt):
            raise Fenced("the attempt no longer counts")

    return asker(
        backends, attempt.job.id, check=check, step=attempt.step.number, paths=[attempt.path], repairs=MAX_REPAIRS,
        span=attempt.span,
    )  # fmt: skip


def _turn(attempt: Attempt, seen: JobView) -> Turn:
    part = None if attempt.part is None else attempt.part.number
    return Turn(
        number=attempt.step.number, agent=attempt.step.agent, parameters=attempt.step.parameters,
        seed=seed_of(seen.seed, attempt.step.agent, attempt.step.iteration, part), iteration=attempt.step.iteration,
        part=part, parts=attempt.step.parts,
    )  # fmt: skip


def _accept(output: Output, spec: Spec, reads: Sequence[Read]) -> None:
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
    for read in reads:
        if len(joined) == 2 and read.view != "marginals" and joined <= set(read.columns):
            raise BlindnessError("outcome and treatment were read together before the plan was frozen")


# --- ending an attempt --------------------------------------------------------------------------------------------


def _succeed(backends: Backends, attempt: Attempt, output: Output, reads: Sequence[Read], *, freezes: bool) -> None:
    """Write the files under the attempt's own name, then commit the result that pins them."""
    files = {name: _put(backends, attempt, name, data) for name, data in sorted(output.files.items())}
    content = output.result.model_dump(mode="json")
    text = canonical_json(content).encode()
    result: Mapping[str, Any] | Pinned = content
    if len(text) > INLINE_RESULT_BYTES:
        result = _put(backends, attempt, "result.json", text)
    number = attempt.share.attempt
    _finish(
        backends, attempt,
        lambda share, now: succeed(share, number, now=now, result=result, files=files, reads=reads),
        plan_sha256=content["sha256"] if freezes else None, unblinds=any(read.view == "all" for read in reads),
    )  # fmt: skip


def _put(backends: Backends, attempt: Attempt, name: str, data: bytes | Path) -> Pinned:
    part = None if attempt.part is None else attempt.part.number
    full = object_name(attempt.job, attempt.step.number, attempt.share.attempt, name, part)
    stored = backends.objects.create(full, data)
    return Pinned(name=stored.name, generation=stored.generation, sha256=stored.sha256, size=stored.size)


def _fail(backends: Backends, attempt: Attempt, error: CausalError, reads: Sequence[Read]) -> None:
    """Write a failure of the science into the step."""
    kind: Any = next((kind for cls, kind in KINDS.items() if isinstance(error, cls)), "estimation")
    failure = Failure(code=error.code, message=error.message[:1000], kind=kind)
    number = attempt.share.attempt
    _finish(backends, attempt, lambda share, now: fail(share, number, now=now, error=failure, reads=reads))


def _back(backends: Backends, attempt: Attempt, death: str | None, *, process: str | None = None) -> None:
    """Put the step back into the queue after a failure of the world, or fail it if it keeps dying the same way."""
    number = attempt.share.attempt
    try:
        found = _finish(
            backends, attempt, lambda share, now: release(share, number, now=now, death=death), process=process
        )
    except Fenced:
        return
    back = attempt.read(found[attempt.path] or {})
    if back.state == "queued" and attempt.part is None and not needs_machine(back):
        _call_again(backends, attempt, back)


def bury(backends: Backends, job_id: str, number: int, *, part: int | None, process: str, death: str) -> None:
    """Put back what a process was working on when it died, unless another one has taken it over since."""
    job = read_job(backends.documents.get(job_path(job_id)))
    whole = backends.documents.get(step_path(job_id, number))
    share = backends.documents.get(share_path(job_id, number, part))
    if job is not None and whole is not None and share is not None:
        step = read_step(whole)
        attempt = Attempt(job=job, step=step, part=None if part is None else read_part(share))
        _back(backends, attempt, death, process=process)


def _call_again(backends: Backends, attempt: Attempt, back: Any) -> None:
    """Ask for a message once the step has rested; what is lost here is sent again by the sweeper."""
    body = {"job_id": attempt.job.id, "step": attempt.step.number}
    try:
        backends.tasks.schedule(attempt.step.agent, body, at=back.not_before)
    except StorageError as exc:
        log.event("send_failed", job_id=attempt.job.id, step=attempt.step.number, error=exc.code)


def _finish(
    backends: Backends, attempt: Attempt, move: Callable[[Any, Any], Any], *, plan_sha256: str | None = None,
    unblinds: bool = False, process: str | None = None,
) -> Found:  # fmt: skip
    """Commit the end of an attempt; refused (Fenced) unless the step still runs it, in this `process` if one is named."""
    above, now = job_path(attempt.job.id), backends.now()

    def change(found: Found) -> Writes:
        share, job = found[attempt.path], read_job(found[above])
        if share is None or job is None:
            raise Fenced("the step is gone")
        lease = found[attempt.lease]
        if process is not None and (lease is None or not is_of(Lease.model_validate(lease), process)):
            raise Fenced("another process has taken the step over")
        writes: dict[str, Document | None] = {attempt.path: move(attempt.read(share), now).document()}
        writes[attempt.lease] = None
        fields: dict[str, Any] = {} if plan_sha256 is None else {"plan_sha256": plan_sha256}
        if unblinds and job.unblinded_at is None:
            fields["unblinded_at"] = now
        if fields:
            writes[above] = touch(job, now=now, **fields).document()
        return writes

    found, _ = commit(backends, [attempt.path, attempt.lease, above], change)
    return found

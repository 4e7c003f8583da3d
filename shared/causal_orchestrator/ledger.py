"""Traces, audit, costs, summaries and memory of a job, written by a reader of ended steps.

Nothing here takes part in the loop: every document is derived from what was committed, created once under a key that
follows from it, and written again by whoever comes next if a writer died.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from causal_orchestrator import log, notify
from causal_orchestrator.agents import AGENTS, JobView, Spec
from causal_orchestrator.backends.ports import Backends, Document, Found, Writes
from causal_orchestrator.question import canonical_json
from causal_orchestrator.state import ENDED_STEP, LIVE_JOB, Job, Step, job_path, touch
from causal_orchestrator.store import commit, load, read_job, view

Agents = Mapping[str, Spec]

SUMMARY_BYTES = 64 * 1024
START = "0" * 64
GATHER = timedelta(seconds=1)


def trace_path(job: str, number: int) -> str:
    """Return where the trace of a step stands."""
    return f"agent_traces/{job}/traces/{number:04d}"


def event_path(job: str, number: int) -> str:
    """Return where an event of the audit stands."""
    return f"audit/{job}/events/{number:06d}"


def collections(job: str) -> list[str]:
    """Return the collections that tell of a job."""
    return [f"agent_traces/{job}/traces", f"audit/{job}/events", f"jobs/{job}/asked"]


def documents(job: str) -> list[str]:
    """Return the single documents that are written here for a job."""
    return [f"results/{job}", f"causal_paths/{job}", f"costs/{job}", notify.path(job)]


def record(backends: Backends, job_id: str, *, agents: Agents = AGENTS) -> None:
    """Write what is not yet written about the ended steps of a job, and of the job itself once it has ended; tell of it.

    Steps that end within a second of their start wait for the next look: they are written up together.
    """
    job, steps = load(backends, job_id)
    if job is None or job.done or job.state == "erased":
        return
    ended = [step for step in steps if step.state in ENDED_STEP]
    over = job.state not in LIVE_JOB
    due = bool(ended) and (over or _settled(ended[-1], backends.now()))
    if due and (over or backends.documents.get(trace_path(job_id, ended[-1].number)) is None):
        while not _write_up(backends, job, ended, over):
            continue
    if over:
        _conclude(backends, job, steps, agents)
        notify.tell(backends, job_id)


def _settled(step: Step, now: datetime) -> bool:
    """Say whether the step took a second or ended a second ago."""
    return step.ended_at is None or now - step.ended_at >= GATHER or _seconds(step) >= GATHER.total_seconds()


# --- traces and costs ---------------------------------------------------------------------------------------------


def _seconds(step: Step) -> float:
    if step.started_at is None or step.ended_at is None:
        return 0.0
    return max(0.0, (step.ended_at - step.started_at).total_seconds())


def model_calls(backends: Backends, job_id: str) -> dict[int, list[Document]]:
    """Return the questions to a model by the step for which they were put: form, prompt's hash, who, tokens, cost."""
    calls: dict[int, list[Document]] = {}
    for path, asked in backends.documents.list(f"jobs/{job_id}/asked"):
        rows = [{"tool": asked["form"], "prompt_sha256": path.rsplit("/", 1)[1], **call} for call in asked["calls"]]
        calls.setdefault(int(asked["step"]), []).extend(rows)
    return {step: sorted(rows, key=lambda row: row["at"]) for step, rows in calls.items()}


def _trace(step: Step, calls: Sequence[Document]) -> Document:
    """Return a step as people read it: who chose it and why, what it saw, what it left."""
    return {
        "agent": step.agent,
        "timestamp": step.ended_at,
        "action": step.state,
        "reasoning": step.decision.reasoning,
        "decided_by": step.decision.by,
        "view_sha256": step.decision.view_sha256,
        "alternatives": [dict(choice) for choice in step.decision.alternatives],
        "refused": list(step.decision.refused),
        "inputs": {"parameters": dict(step.parameters), "reads": [read.model_dump() for read in step.reads]},
        "outputs": _outputs(step),
        "tools_called": list(calls),
        "duration_ms": round(1000 * _seconds(step)),
        "attempt": step.attempt,
        "iteration": step.iteration,
    }


def _outputs(step: Step) -> Document:
    result = step.result_object.sha256 if step.result_object else _hash(step.result) if step.result else None
    return {
        "result_sha256": result,
        "files": {name: pinned.model_dump() for name, pinned in step.files.items()},
        "error": None if step.error is None else step.error.model_dump(),
    }


def _hash(value: object) -> str:
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def _costs(job: Job, steps: Sequence[Step], calls: Mapping[int, Sequence[Document]]) -> Document:
    """Return what the job cost, per step: wall-clock seconds of the attempt that counted, and model calls, reserved and settled."""
    rows = [
        {
            "step": s.number, "agent": s.agent, "seconds": _seconds(s), "attempts": s.attempt, "heavy": s.heavy,
            "tokens": sum(c.get("tokens_in", 0) + c.get("tokens_out", 0) for c in calls.get(s.number, ())),
        }
        for s in steps
    ]  # fmt: skip
    settled = [call.get("cost") for row in calls.values() for call in row]
    cost = sum(price for price in settled if price is not None) if any(p is not None for p in settled) else None
    total = sum(_seconds(step) for step in steps)
    return {
        "job": job.id,
        "steps": rows,
        "seconds": total,
        "model_calls": job.calls,
        "model_tokens": job.tokens,
        "model_cost": cost,
    }


# --- audit --------------------------------------------------------------------------------------------------------


def _key(step: Step) -> str:
    return f"step/{step.number}/{step.attempt}"


def _facts(job: Job, ended: Sequence[Step], over: bool) -> list[dict[str, Any]]:
    """Return what happened, in order, each fact with a key that no other has."""
    facts: list[dict[str, Any]] = [
        {"key": "start", "at": job.created_at, "action": "started", "by": job.principal, "tenant": job.tenant}
    ]
    for step in ended:
        outputs = _outputs(step)
        facts.append(
            {
                "key": _key(step), "at": step.ended_at, "action": f"step {step.state}",
                "by": step.agent, "decided_by": step.decision.by, "result_sha256": outputs["result_sha256"],
                "reads_sha256": _hash([read.model_dump() for read in step.reads]),
            }
        )  # fmt: skip
    if over:
        facts.append(
            {
                "key": f"end/{job.resumed}", "at": job.ended_at, "action": f"job {job.state}", "by": "coordinator",
                "code": job.error.code if job.error else None, "calls": job.calls,
            }
        )  # fmt: skip
    return facts


def _write_up(backends: Backends, job: Job, ended: Sequence[Step], over: bool) -> bool:
    """Append the facts that the audit does not hold yet, each chained to the one before it, and their steps' traces.

    All in one commit, so a trace stands if and only if its fact does. False if another writer was at it, too.
    """
    events = [event for _, event in backends.documents.list(f"audit/{job.id}/events")]
    standing = {event["key"] for event in events}
    missing = [fact for fact in _facts(job, ended, over) if fact["key"] not in standing]
    if not missing:
        return True
    writes = _chain(job.id, missing, len(events), events[-1]["hash"] if events else START)
    head = event_path(job.id, len(events))
    keys = {fact["key"] for fact in missing}
    told = [step for step in ended if _key(step) in keys]
    calls = model_calls(backends, job.id) if told else {}
    writes |= {trace_path(job.id, step.number): _trace(step, calls.get(step.number, [])) for step in told}
    above = job_path(job.id)

    def change(found: Found) -> Writes:
        current = read_job(found[above])
        gone = current is None or current.state == "erased"
        return {} if gone or found[head] is not None else writes

    found, op = commit(backends, [above, *writes], change)
    stands = found[head]
    return stands is None or stands["op"] == op  # another's first event may be the same and its last not


def _chain(job_id: str, facts: Sequence[Mapping[str, Any]], number: int, before: str) -> dict[str, Document]:
    """Return the events of `facts`, numbered from `number` on, each with the hash of the one before it."""
    events: dict[str, Document] = {}
    for k, fact in enumerate(facts, start=number):
        event = {**fact, "number": k, "before": before}
        event["hash"] = before = _event_hash(event)
        events[event_path(job_id, k)] = event
    return events


def _event_hash(event: Mapping[str, Any]) -> str:
    kept = {k: v.isoformat() if isinstance(v, datetime) else v for k, v in event.items() if k not in ("hash", "op")}
    return _hash(kept)


def verify_audit(backends: Backends, job_id: str) -> int | None:
    """Return the number of the first event of a job's audit that does not fit the chain, or None if all do."""
    before = START
    for k, (path, event) in enumerate(backends.documents.list(f"audit/{job_id}/events")):
        fits = path == event_path(job_id, k) and event["number"] == k and event["before"] == before
        if not fits or event["hash"] != _event_hash(event):
            return k
        before = event["hash"]
    return None


# --- the end of a job ---------------------------------------------------------------------------------------------


def _conclude(backends: Backends, job: Job, steps: Sequence[Step], agents: Agents) -> None:
    """Write the summary of an ended job, what is worth remembering of it, and that nothing is left to do."""
    seen, above, now = view(backends, job, steps), job_path(job.id), backends.now()
    writes = {
        f"costs/{job.id}": _costs(job, steps, model_calls(backends, job.id)),
        f"results/{job.id}": _summary(job, steps, seen, agents),
    }
    notice = notify.notice(backends, job, _of(seen, agents, "Report").get("verdict"))
    if notice is not None:
        writes[notify.path(job.id)] = notice
    memory = _path(job, seen, agents)
    if memory is not None:
        writes[f"causal_paths/{job.id}"] = memory

    def change(found: Found) -> Writes:
        current = read_job(found[above])
        if current is None or current.done or (current.state, current.resumed) != (job.state, job.resumed):
            return {}
        return {above: touch(current, now=now, done=True).document(), **writes}

    found, op = commit(backends, [above, *writes], change)
    if (found[above] or {}).get("op") == op:
        _tell(job, steps, writes[f"results/{job.id}"].get("verdict"), writes[f"costs/{job.id}"]["model_cost"])


def _tell(job: Job, steps: Sequence[Step], verdict: str | None, cost: float | None) -> None:
    """Log that a job is over, once for each of its ends."""
    seconds = round(((job.ended_at or job.updated_at) - job.created_at).total_seconds(), 3)
    log.event(
        "job_ended", job_id=job.id, status=job.status, code=job.error.code if job.error else None, verdict=verdict,
        seconds=seconds, steps=len(steps), hops=job.hops, calls=job.calls, tokens=job.tokens, cost=cost,
    )  # fmt: skip


def _of(seen: JobView, agents: Agents, record: str) -> Mapping[str, Any]:
    """Return the result of the agent that writes this kind of record."""
    return next(
        (seen.results[name] for name, spec in agents.items() if spec.result == record and name in seen.results), {}
    )


def _primary(seen: JobView, agents: Agents) -> Mapping[str, Any]:
    effects = _of(seen, agents, "Effects")
    rows: Sequence[Mapping[str, Any]] = effects.get("effects", ())
    return next((row for row in rows if row.get("method") == effects.get("primary")), {})


_EFFECT = ("method", "estimand", "estimate", "std_error", "ci_lower", "ci_upper", "p_value", "n", "status")


def _summary(job: Job, steps: Sequence[Step], seen: JobView, agents: Agents) -> Document:
    """Return a readable summary with pointers to the full results, in at most 64 KiB."""
    report, primary = _of(seen, agents, "Report"), _primary(seen, agents)
    files = {
        name: pinned.model_dump() for step in steps for name, pinned in step.files.items() if agents[step.agent].final
    }
    summary: dict[str, Any] = {
        "job": job.id, "tenant": job.tenant, "status": job.status, "ended_at": job.ended_at,
        "treatment": seen.question.treatment, "outcome": seen.question.outcome, "verdict": report.get("verdict"),
        "headline": report.get("headline"), "run_id": report.get("run_id"), "plan_sha256": job.plan_sha256,
        "effect": {name: primary.get(name) for name in _EFFECT} if primary else None,
        "error": None if job.error is None else job.error.model_dump(),
        "warnings": {name: dict(error) for name, error in seen.errors.items()}, "files": files,
    }  # fmt: skip
    for name in ("warnings", "headline", "files"):
        if len(canonical_json({k: str(v) for k, v in summary.items()}).encode()) > SUMMARY_BYTES:
            summary[name] = None
    return summary


def _path(job: Job, seen: JobView, agents: Agents) -> Document | None:
    """Return what later jobs may learn from this one; None unless its verdict lets the effect stand."""
    report, primary = _of(seen, agents, "Report"), _primary(seen, agents)
    if job.state != "completed" or report.get("verdict") not in ("answer", "limited"):
        return None
    sensitivities: Sequence[Mapping[str, Any]] = _of(seen, agents, "Sensitivities").get("results", ())
    return {
        "job": job.id, "tenant": job.tenant, "created_at": job.ended_at, "domain": seen.question.domain,
        "treatment": seen.question.treatment, "outcome": seen.question.outcome,
        "effect": {name: primary.get(name) for name in _EFFECT},
        "confounders": list(_of(seen, agents, "Plan").get("adjustment_set", ())),
        "refutations": {str(row["method"]): row.get("passed") for row in sensitivities},
        "grade": _of(seen, agents, "Interpretation").get("grade"), "verdict": report["verdict"],
        "summary": str(report.get("headline", ""))[:2000], "run_id": report.get("run_id"),
    }  # fmt: skip

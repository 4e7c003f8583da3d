"""What the service needs to answer a request, and how a job reads on the way out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from causal_orchestrator.backends.ports import Backends
from causal_orchestrator.http.auth import TokenRules
from causal_orchestrator.http.limits import Buckets
from causal_orchestrator.state import Job

MAX_JSON_BYTES = 1024 * 1024
MAX_UPLOAD_BYTES = 2 * 1024**3
MAX_FILENAME = 255


@dataclass(frozen=True)
class Service:
    """The service's parts.

    `environment` is the middle of this deployment's API keys. `hosts` are the names under which it may be called
    (None: any). `rooms` say how many jobs each tenant may still start here before they are counted again, and
    until when at the latest.
    """

    backends: Backends
    environment: str
    submits: Buckets
    reads: Buckets
    tokens: TokenRules | None = None
    hosts: frozenset[str] | None = None
    monotonic: Callable[[], float] = field(default=lambda: 0.0)
    pause: Callable[[float], None] = field(default=lambda seconds: None)
    wake: Callable[[], None] = field(default=lambda: None)
    rooms: dict[str, tuple[int, float]] = field(default_factory=dict, repr=False, compare=False)


def job_out(job: Job) -> Mapping[str, Any]:
    """Return a job as the API shows it."""
    error = None if job.error is None else {"code": job.error.code, "message": job.error.message}
    pause = None if job.pause is None or job.state != "awaiting_input" else job.pause.question
    return {
        "job_id": job.id,
        "status": job.status,
        "progress_percentage": job.progress,
        "current_agent": job.current_agent,
        "treatment_variable": job.question.treatment,
        "outcome_variable": job.question.outcome,
        "created_at": job.created_at.isoformat(),
        "updated_at": job.updated_at.isoformat(),
        "ended_at": None if job.ended_at is None else job.ended_at.isoformat(),
        "deadline_at": job.deadline_at.isoformat(),
        "iteration": job.iteration,
        "awaiting": pause,
        "error": error,
    }

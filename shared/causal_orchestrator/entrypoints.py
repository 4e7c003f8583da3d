"""The doors of the deployed functions: each turns the event that its trigger sends into one call of the runtime.

An event is a hint where to look, never data: from a delivery only names are taken, and the state is read afresh. What
returns is acknowledged; what raises is delivered again (the triggers retry). So what can never succeed is recorded as
rejected and acknowledged, and what the world did is raised.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

import functions_framework

from causal_orchestrator import intake, log, runtime, strict_json
from causal_orchestrator.backends import Backends, connect
from causal_orchestrator.errors import InputError
from causal_orchestrator.settings import ONE_THREAD, Settings

if TYPE_CHECKING:
    from cloudevents.http import CloudEvent
    from flask import Flask, Request
    from werkzeug import Response

MAX_AGE = timedelta(hours=24)
MAX_HINT_BYTES = 2048
FINALIZED = "google.cloud.storage.object.v1.finalized"
JOB = re.compile(r"[0-9a-f]{32}")
STEP_DOCUMENT = re.compile(r"jobs/([0-9a-f]{32})/steps/\d{4,9}")
DONE, FAILED = 0, 1


@functions_framework.http
def on_request(request: Request) -> Response:
    """Answer an HTTP request (`functions/api`)."""
    from flask import Response

    return Response.from_app(_app(), request.environ)


@functions_framework.cloud_event
def on_request_message(event: CloudEvent) -> None:
    """Start the job that a message on the topic ``analysis-requests`` asks for (`functions/request_intake`).

    The publisher's attribute ``idempotency_key``, or else the message's ID, makes a repeated request the same job.
    """
    settings, backends = _settings(), _backends()
    with _rejecting(backends, event):
        _check_age(backends, event)
        message = _message(event)
        attributes = message.get("attributes")
        given = attributes.get("idempotency_key") if isinstance(attributes, Mapping) else None
        key = str(given or message.get("messageId") or event["id"])[:200]
        intake.from_message(backends, _data(message), tenant=settings.tenant, key=key)


@functions_framework.cloud_event
def on_upload(event: CloudEvent) -> None:
    """Start the analysis of a file that was left under ``uploads/`` in the datasets bucket (`functions/upload_intake`).

    Everything else that happens in a bucket is passed by: other folders, other buckets, sidecars, changes of metadata.
    """
    settings, backends = _settings(), _backends()
    found = event.data if isinstance(event.data, Mapping) else {}
    generation = str(found.get("generation", ""))
    if event["type"] != FINALIZED or found.get("bucket") != settings.datasets_bucket or not generation.isdecimal():
        return
    with _rejecting(backends, event):
        intake.from_file(backends, str(found.get("name", "")), int(generation[:19]), tenant=settings.tenant)


@functions_framework.cloud_event
def on_step_written(event: CloudEvent) -> None:
    """Look at the job one of whose steps was written (`functions/coordinator`).

    Only the document's name is read. Parts need no trigger: who ends one looks at its job.
    """
    attributes = event.get_attributes()
    name = str(attributes.get("document") or attributes.get("subject", "").removeprefix("documents/"))
    found = STEP_DOCUMENT.fullmatch(name)
    if found is not None:
        runtime.coordinate(_backends(), found[1])


@functions_framework.cloud_event
def on_message(event: CloudEvent) -> None:
    """Run the step that a message names (`functions/<agent>`, one topic and one function for every agent)."""
    backends, found = _backends(), None
    with _rejecting(backends, event):
        _check_age(backends, event)
        hint = _hint(_data(_message(event)))
        if not runtime.known(backends, *hint):
            raise InputError("there is no such step", code="UNKNOWN_STEP")
        found = hint
    if found is not None:
        runtime.run_step(backends, *found)


@functions_framework.cloud_event
def on_dead_letter(event: CloudEvent) -> None:
    """Fail the job whose step's message could not be delivered (`functions/dead_letters`).

    What names no step (a request that could not be delivered, say) is recorded as rejected. However old it is: a dead
    letter may have been tried for long.
    """
    backends = _backends()
    with _rejecting(backends, event):
        runtime.give_up(backends, *_hint(_data(_message(event))))


@functions_framework.http
def on_schedule(request: Request) -> tuple[dict[str, int], int]:
    """Sweep (`functions/sweeper`, called every minute)."""
    settings, backends = _settings(), _backends()
    live = runtime.sweep(backends, patience=timedelta(seconds=settings.resend_seconds))
    return {"live": live, "collected": runtime.collect(backends)}, 200


def on_task(environ: Mapping[str, str] | None = None) -> int:
    """Run a step, or the part that this task is, as one task of a Cloud Run Job (`functions/step_job`).

    Returns
    -------
    int
        The exit code: 0 if nothing is left to do here, 1 if it failed; the sweeper, not the platform, tries again.
    """
    values, backends = os.environ if environ is None else environ, _backends()
    try:
        job, step, part = _task(values)
    except InputError as exc:
        log.event("task_rejected", severity="ERROR", error=exc.code)
        return DONE
    try:
        runtime.run_step(backends, job, step, part=part)
    except Exception as exc:
        log.event("task_failed", severity="ERROR", job_id=job, step=step, part=part, error=type(exc).__name__)
        return FAILED
    return DONE


# --- what a process keeps -----------------------------------------------------------------------------------------


@cache
def _settings() -> Settings:
    return Settings.from_environment()


@cache
def _backends() -> Backends:
    """Connect once a process, at its first event; the libraries that compute are imported after this, with one thread."""
    os.environ.update(dict.fromkeys(ONE_THREAD, "1"))
    return connect(_settings())


@cache
def _app() -> Flask:
    from causal_orchestrator.http.deployed import deployed

    return deployed(_settings(), _backends())


# --- reading deliveries -------------------------------------------------------------------------------------------


@contextmanager
def _rejecting(backends: Backends, event: CloudEvent) -> Iterator[None]:
    """Record a delivery that cannot be used, so that it is acknowledged and still found."""
    try:
        yield
    except InputError as exc:
        runtime.reject(backends, str(event["source"]), str(event["id"]), code=exc.code, message=exc.message)


def _check_age(backends: Backends, event: CloudEvent) -> None:
    """Refuse what is older than a day (the sweeper has looked after it since) or claims to come from the future."""
    try:
        sent = datetime.fromisoformat(str(event.get_attributes()["time"]))
        age = backends.now() - sent
    except (KeyError, ValueError, TypeError):
        return
    if abs(age) > MAX_AGE:
        raise InputError("the event is older than a day, or from the future", code="EVENT_AGE")


def _message(event: CloudEvent) -> Mapping[str, Any]:
    found = event.data.get("message") if isinstance(event.data, Mapping) else None
    if not isinstance(found, Mapping):
        raise InputError("the event holds no message", code="MESSAGE_INVALID")
    return found


def _data(message: Mapping[str, Any]) -> bytes:
    try:
        return base64.b64decode(str(message.get("data", "")), validate=True)
    except (binascii.Error, ValueError) as exc:
        raise InputError("the message's data are not base64", code="MESSAGE_INVALID") from exc


def _hint(data: bytes) -> tuple[str, int]:
    """Return the job and the number of the step that a message names; whatever else it says is passed by."""
    body = strict_json.parse(data, max_bytes=MAX_HINT_BYTES)
    job, step = (body.get("job_id"), body.get("step")) if isinstance(body, Mapping) else (None, None)
    if not isinstance(job, str) or not JOB.fullmatch(job) or type(step) is not int or step < 0:
        raise InputError("the message names no step", code="MESSAGE_INVALID")
    return job, step


def _task(values: Mapping[str, str]) -> tuple[str, int, int | None]:
    """Return the job, the step and the part that a task's environment names."""
    job = values.get("JOB_ID", "")
    numbers = [values.get(name, "") for name in ("STEP", "PARTS", "CLOUD_RUN_TASK_INDEX")]
    if not JOB.fullmatch(job) or not all(text.isdecimal() and len(text) < 10 for text in numbers):
        raise InputError("the task's environment names no step", code="TASK_INVALID")
    step, parts, index = map(int, numbers)
    return job, step, index if parts else None


__all__ = [
    "on_dead_letter", "on_message", "on_request", "on_request_message", "on_schedule", "on_step_written", "on_task",
    "on_upload",
]  # fmt: skip

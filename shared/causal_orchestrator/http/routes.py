"""The routes: one table, one short function each. Every route states the right that it needs."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from flask import Request, Response
from werkzeug.exceptions import HTTPException
from werkzeug.utils import secure_filename

from causal_orchestrator import intake, runtime, strict_json
from causal_orchestrator.errors import AlreadyExists, InputError, NotFound
from causal_orchestrator.http.auth import Principal
from causal_orchestrator.http.limits import TooMany
from causal_orchestrator.http.service import MAX_FILENAME, MAX_JSON_BYTES, MAX_UPLOAD_BYTES, Service, job_out
from causal_orchestrator.http.statuses import STATUSES
from causal_orchestrator.state import LIVE_JOB

API = "/api/v1"
JOB_ID = re.compile(r"[0-9a-f]{32}")
KEY = re.compile(r"[\x21-\x7e]{1,200}")
COUNTED_SECONDS, FULL_SECONDS = 60.0, 1.0
UPLOAD_SECONDS = 3600
STREAM_SECONDS, BEAT_SECONDS, LOOK_SECONDS = 55 * 60.0, 15.0, 0.5


@dataclass(frozen=True)
class Call:
    """One request of a known caller (`principal` is None on public routes), with the parts of its path."""

    service: Service
    request: Request
    principal: Principal | None
    path: Mapping[str, str]

    @property
    def tenant(self) -> str:
        """The caller's tenant."""
        if self.principal is None:
            raise NotFound("there is no such job")
        return self.principal.tenant

    @property
    def job(self) -> str:
        """The job's ID in the path; anything else than an ID is a job that does not exist."""
        found = self.path["job"]
        if not JOB_ID.fullmatch(found):
            raise NotFound("there is no such job")
        return found


Handler = Callable[[Call], Response]


@dataclass(frozen=True)
class Route:
    """One route: `scope` is the right it needs (None: public), `summary` goes into the OpenAPI document."""

    method: str
    path: str
    scope: str | None
    handler: Handler
    summary: str
    status: int = 200


def reply(body: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return a JSON response."""
    text = json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Response(text, status=status, headers=dict(headers or {}), content_type="application/json")


@contextmanager
def receiving() -> Iterator[None]:
    """Say of a body that does not come, or not whole, that the request is not one.

    Every server has errors of its own for what it cannot read, and reading is all that happens here.
    """
    try:
        yield
    except HTTPException:
        raise
    except TimeoutError as exc:
        raise InputError("the body did not come in time", code="BODY_LATE") from exc
    except Exception as exc:
        raise InputError("the body broke off, or is not chunked as it says", code="NOT_JSON") from exc


def body(call: Call) -> Mapping[str, Any]:
    """Return the request's JSON object (raises InputError)."""
    charset = call.request.mimetype_params.get("charset", "utf-8").lower()
    if call.request.mimetype != "application/json" or charset not in ("utf-8", "utf8", "us-ascii"):
        raise InputError("the body must be application/json in UTF-8", code="MEDIA_TYPE")
    if call.request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise InputError("the body must not be compressed", code="MEDIA_TYPE")
    with receiving():
        data = call.request.stream.read(MAX_JSON_BYTES + 1)
    if len(data) < min(call.request.content_length or 0, MAX_JSON_BYTES + 1):
        raise InputError("the body is shorter than its Content-Length says", code="NOT_JSON")
    found = strict_json.parse(data, max_bytes=MAX_JSON_BYTES)
    if not isinstance(found, dict):
        raise InputError("the body must be a JSON object", code="NOT_AN_OBJECT")
    return found


# --- jobs ---------------------------------------------------------------------------------------------------------


def submit(call: Call) -> Response:
    """Start a job."""
    key = call.request.headers.get("Idempotency-Key")
    if key is not None and not KEY.fullmatch(key):
        raise InputError("Idempotency-Key must be 1 to 200 printable ASCII characters", code="KEY_INVALID")
    backends = call.service.backends
    question, source = intake.asked(body(call), tenant=call.tenant, rules=backends.sources, objects=backends.objects)
    _leave_room(call)
    job_id = runtime.start_job(
        call.service.backends, question, source, tenant=call.tenant, key=key, principal=_name(call)
    )
    call.service.wake()
    shown = job_out(runtime.find_job(call.service.backends, job_id, tenant=call.tenant))
    kept = ("job_id", "treatment_variable", "outcome_variable", "created_at")
    answer = {**{name: shown[name] for name in kept}, "status": "PENDING"}
    return reply(answer, 202, {"Location": f"/api/v1/jobs/{job_id}"})


def _name(call: Call) -> str:
    return "" if call.principal is None else call.principal.name


def _leave_room(call: Call) -> None:
    """Refuse a job beyond the tenant's share; it may come back when one has ended.

    Counting a hundred jobs costs more than starting one, so it is done once a minute and when half of the room is used,
    as other processes use it too; where none was left, no more than once a second: those who are refused are not to
    cost more than those who are served.
    """
    service, now = call.service, call.service.monotonic()
    left, until = service.rooms.get(call.tenant, (0, now))
    if now >= until:
        left = (intake.room(service.backends, call.tenant) + 1) // 2
        until = now + (COUNTED_SECONDS if left > 0 else FULL_SECONDS)
    service.rooms[call.tenant] = (max(left - 1, 0), now if left == 1 else until)
    if left < 1:
        raise TooMany("too many jobs are waiting", code="QUOTA", details={"retry_after": 30})


def list_jobs(call: Call) -> Response:
    """List the caller's jobs, newest first."""
    arguments = call.request.args
    unknown = set(arguments) - {"status", "limit", "cursor"}
    if unknown:
        raise InputError(f"unknown parameter {sorted(unknown)[0][:64]!r}", code="REQUEST_INVALID")
    status = arguments.get("status")
    if status is not None and status not in STATUSES:
        raise InputError(f"status must be one of {', '.join(STATUSES)}", code="REQUEST_INVALID")
    limit = arguments.get("limit", "20")
    if not re.fullmatch(r"[0-9]{1,3}", limit) or not 1 <= int(limit) <= 100:
        raise InputError("limit must be a whole number from 1 to 100", code="REQUEST_INVALID")
    after = arguments.get("cursor")
    if after is not None:
        if not JOB_ID.fullmatch(after):
            raise InputError("cursor is not one that this service gave out", code="CURSOR_INVALID")
        try:
            runtime.find_job(call.service.backends, after, tenant=call.tenant)
        except NotFound as exc:
            raise InputError("cursor is not one that this service gave out", code="CURSOR_INVALID") from exc
    jobs = runtime.list_jobs(
        call.service.backends, tenant=call.tenant, status=status, limit=int(limit),
        after=None if after is None else f"jobs/{after}",
    )  # fmt: skip
    cursor = jobs[-1].id if len(jobs) == int(limit) else None
    return reply({"jobs": [job_out(job) for job in jobs], "next_cursor": cursor})


def show(call: Call) -> Response:
    """Show a job."""
    return reply(job_out(runtime.find_job(call.service.backends, call.job, tenant=call.tenant)))


def cancel(call: Call) -> Response:
    """Cancel a job; one that has ended stays as it is, and the answer says which."""
    return reply(job_out(runtime.cancel(call.service.backends, call.job, tenant=call.tenant)))


def erase(call: Call) -> Response:
    """Delete a job and everything derived from it."""
    receipt = runtime.erase(call.service.backends, call.job, tenant=call.tenant)
    return reply({"job_id": call.job, "erased_at": receipt["erased_at"].isoformat()})


def answer(call: Call) -> Response:
    """Answer the question that a job waits on."""
    runtime.answer(call.service.backends, call.job, body(call), tenant=call.tenant)
    call.service.wake()
    return show(call)


def resume(call: Call) -> Response:
    """Go on with a failed job from its last good step."""
    runtime.find_job(call.service.backends, call.job, tenant=call.tenant)
    runtime.resume(call.service.backends, call.job, tenant=call.tenant)
    call.service.wake()
    return show(call)


# --- what a job left ----------------------------------------------------------------------------------------------


def results(call: Call) -> Response:
    """Return results.json."""
    return _document(call, "results.json", "application/json")


def report(call: Call) -> Response:
    """Return the report; it carries its own policy and runs nothing."""
    found = _document(call, "report.html", "text/html; charset=utf-8")
    found.headers["Content-Security-Policy"] = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox"
    return found


def notebook(call: Call) -> Response:
    """Return the notebook."""
    found = _document(call, "analysis.ipynb", "application/x-ipynb+json")
    found.headers["Content-Disposition"] = 'attachment; filename="analysis.ipynb"'
    return found


def figure(call: Call) -> Response:
    """Return one figure."""
    name = call.path["name"]
    if not re.fullmatch(r"[a-z0-9_-]{1,80}\.svg", name):
        raise NotFound("there is no such figure")
    found = _document(call, f"figures/{name}", "image/svg+xml")
    found.headers["Content-Security-Policy"] = "default-src 'none'; style-src 'unsafe-inline'; sandbox"
    return found


def _document(call: Call, name: str, kind: str) -> Response:
    data = runtime.open_file(call.service.backends, call.job, name, tenant=call.tenant)
    return Response(data, content_type=kind)


def traces(call: Call) -> Response:
    """Return every decision and step of a job."""
    runtime.find_job(call.service.backends, call.job, tenant=call.tenant)
    found = call.service.backends.documents.list(f"agent_traces/{call.job}/traces")
    return reply({"traces": [_plain(document) for _, document in found]})


def _plain(value: Any) -> Any:
    """Return a document with its times as text."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items() if key != "op"}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value.isoformat() if hasattr(value, "isoformat") else value


def events(call: Call) -> Response:
    """Stream the job's progress as server-sent events until it ends."""
    job_id, tenant, service = call.job, call.tenant, call.service
    runtime.find_job(service.backends, job_id, tenant=tenant)

    def stream() -> Iterator[str]:
        began = beat = service.monotonic()
        last = -1
        while service.monotonic() - began < STREAM_SECONDS:
            try:
                job = runtime.find_job(service.backends, job_id, tenant=tenant)
            except NotFound:
                return
            if job.rev != last:
                last = job.rev
                yield f"id: {job.rev}\nevent: progress\ndata: {json.dumps(dict(job_out(job)))}\n\n"
            if job.state not in LIVE_JOB:
                return
            if service.monotonic() - beat > BEAT_SECONDS:
                beat = service.monotonic()
                yield ": still here\n\n"
            service.pause(LOOK_SECONDS)

    return Response(stream(), content_type="text/event-stream", headers={"X-Accel-Buffering": "no"})


# --- uploads and the service itself -------------------------------------------------------------------------------


def upload(call: Call) -> Response:
    """Take a file (multipart field ``file``), or say in JSON where to put one, and return a reference for ``dataset``."""
    if call.request.mimetype == "application/json":
        return _address(call, body(call))
    if call.request.mimetype != "multipart/form-data":
        raise InputError("the body must be multipart/form-data with the field file, or JSON", code="MEDIA_TYPE")
    with receiving():
        found = call.request.files.get("file")
    if found is None or len(call.request.files) + len(call.request.form) != 1:
        raise InputError("the form must have the field file and no other", code="FILE_MISSING")
    return _stored(call, call.service.backends.new_id(), found.filename or "", found.save)


def _stored(call: Call, ident: str, filename: str, save: Callable[[Path], None]) -> Response:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data"
        save(path)
        stored = call.service.backends.objects.create(intake.upload_name(call.tenant, ident), path)
    reference = f"upload://{ident}/{stored.generation}"
    shown = {"dataset": reference, "name": _shown(filename), "size": stored.size, "sha256": stored.sha256}
    return reply(shown, 201)


def _shown(filename: str) -> str:
    return secure_filename(filename) or "data"


def _address(call: Call, asked: Mapping[str, Any]) -> Response:
    """Say where one file may be put, once: in the cloud past this service, whose requests are too small for it."""
    filename, size = asked.get("filename"), asked.get("size", MAX_UPLOAD_BYTES)
    if set(asked) - {"filename", "size"} or not isinstance(filename, str) or not 1 <= len(filename) <= MAX_FILENAME:
        raise InputError("an upload needs a filename, may have a size and nothing else", code="REQUEST_INVALID")
    if isinstance(size, bool) or not isinstance(size, int | float) or size != int(size) or size < 0:
        raise InputError("size must be a whole number of bytes", code="REQUEST_INVALID")
    if size > MAX_UPLOAD_BYTES:
        raise InputError(f"a file may have {MAX_UPLOAD_BYTES} bytes", code="TOO_LARGE")
    backends, ident = call.service.backends, call.service.backends.new_id()
    signed = backends.objects.sign_upload(
        intake.upload_name(call.tenant, ident), seconds=UPLOAD_SECONDS, most=int(size)
    )
    here = f"{call.request.host_url}{API[1:]}/uploads/{ident}", {"Content-Type": "application/octet-stream"}
    address, headers = here if signed is None else signed
    told = {"dataset": f"upload://{ident}", "name": _shown(filename), "method": "PUT", "upload_url": address}
    until = backends.now() + timedelta(seconds=UPLOAD_SECONDS)
    return reply(dict(told, headers=dict(headers), expires_at=until.isoformat()), 201)


def put_upload(call: Call) -> Response:
    """Take the bytes of a file where this service said that they may be put; other bytes are refused there."""
    ident = call.path["upload"]
    if not JOB_ID.fullmatch(ident):
        raise NotFound("there is no such upload")
    plain = call.request.headers.get("Content-Encoding", "identity").lower() == "identity"
    if call.request.mimetype != "application/octet-stream" or not plain:
        raise InputError("the body must be application/octet-stream, not compressed", code="MEDIA_TYPE")

    def save(path: Path) -> None:
        with path.open("wb") as file, receiving():
            shutil.copyfileobj(call.request.stream, file)
        if path.stat().st_size < (call.request.content_length or 0):
            raise InputError("the body is shorter than its Content-Length says", code="BODY_SHORT")

    try:
        return _stored(call, ident, "", save)
    except AlreadyExists as exc:
        raise InputError("another file was put there before", code="UPLOAD_EXISTS") from exc


def health(call: Call) -> Response:
    """Say that the service lives."""
    return reply({"status": "ok"})


def metrics(call: Call) -> Response:
    """Return counts of the caller's jobs by state, in Prometheus' text form."""
    lines = ["# TYPE causal_jobs gauge"]
    for state in ("open", "awaiting_input", "completed", "rejected", "failed", "cancelled"):
        found = call.service.backends.documents.list("jobs", where={"tenant": call.tenant, "state": state}, limit=1000)
        lines.append(f'causal_jobs{{state="{state}"}} {len(found)}')
    return Response("\n".join(lines) + "\n", content_type="text/plain; version=0.0.4; charset=utf-8")


def openapi(call: Call) -> Response:
    """Return the OpenAPI document of exactly these routes."""
    from causal_orchestrator.http import openapi as document

    return reply(document.build(ROUTES))


ROUTES: tuple[Route, ...] = (
    Route("GET", "/health", None, health, "Say that the service lives"),
    Route("GET", "/metrics", "read", metrics, "Count jobs"),
    Route("GET", "/openapi.json", "read", openapi, "Describe this API"),
    Route("POST", f"{API}/uploads", "write", upload, "Upload a dataset, or say where to put it", 201),
    Route("PUT", f"{API}/uploads/<upload>", "write", put_upload, "Put a dataset where it was said", 201),
    Route("POST", f"{API}/jobs", "write", submit, "Start an analysis", 202),
    Route("GET", f"{API}/jobs", "read", list_jobs, "List jobs, newest first"),
    Route("GET", f"{API}/jobs/<job>", "read", show, "Show a job"),
    Route("DELETE", f"{API}/jobs/<job>", "write", erase, "Erase a job and all that came of it"),
    Route("POST", f"{API}/jobs/<job>/cancel", "write", cancel, "Cancel a job"),
    Route("POST", f"{API}/jobs/<job>/answer", "write", answer, "Answer the question that a job waits on"),
    Route("POST", f"{API}/jobs/<job>/resume", "write", resume, "Go on with a failed job"),
    Route("GET", f"{API}/jobs/<job>/results", "read", results, "Return results.json"),
    Route("GET", f"{API}/jobs/<job>/traces", "read", traces, "Return every decision"),
    Route("GET", f"{API}/jobs/<job>/notebook", "read", notebook, "Return the notebook"),
    Route("GET", f"{API}/jobs/<job>/report", "read", report, "Return the report"),
    Route("GET", f"{API}/jobs/<job>/figures/<name>", "read", figure, "Return a figure"),
    Route("GET", f"{API}/jobs/<job>/events", "read", events, "Stream progress"),
)

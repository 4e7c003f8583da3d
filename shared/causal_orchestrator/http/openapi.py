"""The OpenAPI document, made from the route table and the models, so that it cannot say anything else."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from causal_orchestrator import __version__
from causal_orchestrator.http.service import MAX_FILENAME, MAX_UPLOAD_BYTES
from causal_orchestrator.http.statuses import STATUSES
from causal_orchestrator.question import Question

if TYPE_CHECKING:
    from causal_orchestrator.http.routes import Route

ID = {"type": "string", "pattern": "^[0-9a-f]{32}$"}
TEXT, TEXT_OR_NOT = {"type": "string"}, {"type": ["string", "null"]}
TIME, TIME_OR_NOT = ({"type": kind, "format": "date-time"} for kind in ("string", ["string", "null"]))
JOB_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["job_id", "status", "created_at"],
    "properties": {
        "job_id": ID,
        "status": {"type": "string", "enum": list(STATUSES)},
        "progress_percentage": {"type": "integer", "minimum": 0, "maximum": 100},
        "current_agent": TEXT_OR_NOT,
        "treatment_variable": TEXT_OR_NOT,
        "outcome_variable": TEXT_OR_NOT,
        "created_at": TIME,
        "updated_at": TIME,
        "ended_at": TIME_OR_NOT,
        "deadline_at": TIME,
        "iteration": {"type": "integer", "minimum": 0},
        "awaiting": TEXT_OR_NOT,
        "error": {
            "type": ["object", "null"],
            "required": ["code", "message"],
            "properties": {"code": TEXT, "message": TEXT},
        },
    },
    "additionalProperties": False,
}


def _record(**fields: Any) -> dict[str, Any]:
    """Describe an object that has these fields, all of them, and no others."""
    return {"type": "object", "required": list(fields), "properties": fields, "additionalProperties": False}


FILE = _record(
    dataset={"type": "string", "pattern": "^upload://"}, name=TEXT, size={"type": "integer", "minimum": 0},
    sha256={"type": "string", "pattern": "^[0-9a-f]{64}$"},
)  # fmt: skip
PLACE = {
    **_record(
        dataset={"type": "string", "pattern": "^upload://"}, name=TEXT, method={"const": "PUT"}, upload_url=TEXT,
        headers={"type": "object", "additionalProperties": TEXT}, expires_at=TIME,
    ),
    "description": "PUT the file to upload_url with these headers (and the caller's own key if the address is this "
    "service's), once, before expires_at; then name dataset in a job.",
}  # fmt: skip
JOB: dict[str, Any] = {"$ref": "#/components/schemas/Job"}
# What each route answers in JSON, by the name of its function.
ANSWERS: dict[str, dict[str, Any]] = {
    **dict.fromkeys(("show", "cancel", "answer", "resume", "submit"), JOB),
    "list_jobs": _record(jobs={"type": "array", "items": JOB}, next_cursor={**ID, "type": ["string", "null"]}),
    "erase": _record(job_id=ID, erased_at=TIME),
    "upload": {"oneOf": [FILE, PLACE]},
    "put_upload": FILE,
    "traces": _record(traces={"type": "array", "items": {"type": "object"}}),
    "health": _record(status={"const": "ok"}),
    "results": {"type": "object"},
    "openapi": {"type": "object", "required": ["openapi", "paths"]},
}  # fmt: skip
REFUSAL = {
    "description": "Refused",
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
}
RETRY_LATER = {
    **REFUSAL,
    "headers": {"Retry-After": {"description": "Seconds to wait", "required": True, "schema": {"type": "string"}}},
}
ERROR_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message", "request_id"],
            "properties": {name: {"type": "string"} for name in ("code", "message", "request_id")},
        }
    },
}


REQUEST: dict[str, Any] = {
    "description": "A question about a dataset: an upload:// reference, or an address that the service may fetch.",
    "allOf": [{"$ref": "#/components/schemas/Question"}, {"required": ["dataset"]}],
    "properties": {"dataset": {"type": "string", "pattern": "^(upload|gs|bq|https)://"}},
}


def build(routes: Sequence[Route]) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of `routes`."""
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        path = re.sub(r"<(\w+)>", r"{\1}", route.path)
        paths.setdefault(path, {})[route.method.lower()] = _operation(route)
    question = Question.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas = question.pop("$defs", {})
    return {
        "openapi": "3.1.0",
        "info": {"title": "Causal Orchestrator", "version": __version__},
        "paths": paths,
        "components": {
            "schemas": {**schemas, "Question": question, "Request": REQUEST, "Job": JOB_SCHEMA, "Error": ERROR_SCHEMA},
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(route: Route) -> dict[str, Any]:
    """Describe one route: its parameters, body, answers and the right it needs."""
    operation: dict[str, Any] = {
        "operationId": route.handler.__name__,
        "summary": route.summary,
        "security": [] if route.scope is None else [{"bearer": []}],
        "parameters": _parameters(route),
        "responses": _responses(route),
    }
    found = _body(route)
    if found is not None:
        operation["requestBody"] = {"required": True, "content": found}
    return operation


PARAMETERS: dict[str, dict[str, Any]] = {
    "upload": {"in": "path", "required": True, "schema": {"type": "string", "pattern": "^[0-9a-f]{32}$"}},
    "job": {"in": "path", "required": True, "schema": {"type": "string", "pattern": "^[0-9a-f]{32}$"}},
    "name": {"in": "path", "required": True, "schema": {"type": "string", "pattern": "^[a-z0-9_-]{1,80}\\.svg$"}},
}


def _parameters(route: Route) -> list[dict[str, Any]]:
    found = [{"name": name, **PARAMETERS[name]} for name in re.findall(r"<(\w+)>", route.path)]
    if route.handler.__name__ == "list_jobs":
        integer = {"type": "integer", "minimum": 1, "maximum": 100}
        found += [
            {"name": "status", "in": "query", "schema": {"type": "string", "enum": list(STATUSES)}},
            {"name": "limit", "in": "query", "schema": integer},
            {"name": "cursor", "in": "query", "schema": {"type": "string", "pattern": "^[0-9a-f]{32}$"}},
        ]
    if route.handler.__name__ == "submit":
        pattern = {"type": "string", "pattern": "^[\\x21-\\x7e]{1,200}$"}
        found.append({"name": "Idempotency-Key", "in": "header", "schema": pattern})
    return found


def _body(route: Route) -> dict[str, Any] | None:
    name = route.handler.__name__
    if name in ("submit", "answer"):
        kind = "Request" if name == "submit" else "Question"
        return {"application/json": {"schema": {"$ref": f"#/components/schemas/{kind}"}}}
    if name == "upload":
        part = {"type": "string", "contentMediaType": "application/octet-stream"}
        called = {"type": "string", "minLength": 1, "maxLength": MAX_FILENAME}
        wanted = _record(filename=called, size={"type": "integer", "minimum": 0, "maximum": MAX_UPLOAD_BYTES})
        return {
            "multipart/form-data": {"schema": _record(file=part)},
            "application/json": {"schema": {**wanted, "required": ["filename"]}},
        }
    if name == "put_upload":
        return {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
    return None


KINDS = {
    "report": "text/html", "notebook": "application/x-ipynb+json", "figure": "image/svg+xml",
    "events": "text/event-stream", "metrics": "text/plain",
}  # fmt: skip


def _responses(route: Route) -> dict[str, Any]:
    name = route.handler.__name__
    kind = KINDS.get(name, "application/json")
    expected = ["421"] if route.scope is None else ["400", "401", "403", "421"]
    if "<" in route.path:
        expected += ["404"]
    if route.method != "GET":
        expected += ["403", "408", "409", "413", "415", "422"]
    if name == "list_jobs":
        expected += ["422"]
    later = [] if route.scope is None else ["429", "503"]
    answer = {"description": route.summary, "content": {kind: {"schema": ANSWERS.get(name, {})}}}
    return {str(route.status): answer, **dict.fromkeys(expected, REFUSAL), **dict.fromkeys(later, RETRY_LATER)}

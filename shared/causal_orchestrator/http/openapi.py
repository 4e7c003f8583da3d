"""The OpenAPI document, made from the route table and the models, so that it cannot say anything else."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from causal_orchestrator import __version__
from causal_orchestrator.http.statuses import STATUSES
from causal_orchestrator.question import Question

if TYPE_CHECKING:
    from causal_orchestrator.http.routes import Route

JOB_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["job_id", "status", "created_at"],
    "properties": {
        "job_id": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
        "status": {"type": "string"},
        "progress_percentage": {"type": "integer", "minimum": 0, "maximum": 100},
        "current_agent": {"type": ["string", "null"]},
        "treatment_variable": {"type": ["string", "null"]},
        "outcome_variable": {"type": ["string", "null"]},
        "created_at": {"type": "string", "format": "date-time"},
        "error": {"type": ["object", "null"]},
    },
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
            "schemas": {**schemas, "Question": question, "Job": JOB_SCHEMA, "Error": ERROR_SCHEMA},
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
        return {"application/json": {"schema": {"$ref": "#/components/schemas/Question"}}}
    if name == "upload":
        part = {"type": "string", "contentMediaType": "application/octet-stream"}
        form = {"type": "object", "required": ["file"], "properties": {"file": part}}
        return {"multipart/form-data": {"schema": form}}
    return None


KINDS = {
    "report": "text/html", "notebook": "application/x-ipynb+json", "figure": "image/svg+xml",
    "events": "text/event-stream", "metrics": "text/plain",
}  # fmt: skip
JOBS_OUT = {"show", "cancel", "answer", "resume", "submit"}


def _responses(route: Route) -> dict[str, Any]:
    name = route.handler.__name__
    schema: dict[str, Any] = {"$ref": "#/components/schemas/Job"} if name in JOBS_OUT else {}
    kind = KINDS.get(name, "application/json")
    error = {
        "description": "Refused",
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
    }
    expected = [] if route.scope is None else ["400", "401", "403", "429", "503"]
    if "<" in route.path:
        expected += ["404"]
    if route.method != "GET":
        expected += ["409", "413", "415", "422"]
    if name == "list_jobs":
        expected += ["422"]
    answers = {str(route.status): {"description": route.summary, "content": {kind: {"schema": schema}}}}
    return {**answers, **dict.fromkeys(expected, error)}

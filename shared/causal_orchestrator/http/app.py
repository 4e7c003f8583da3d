"""The Flask app: finds the route, checks the caller, translates errors, sets the headers. Nothing else."""

from __future__ import annotations

import secrets
from typing import Any
from urllib.parse import urlsplit

from flask import Flask, Request, Response, g, request
from werkzeug.exceptions import HTTPException

from causal_orchestrator import log
from causal_orchestrator.errors import CausalError, InputError, NotFound
from causal_orchestrator.http.auth import Forbidden, Principal, Unauthenticated, authenticate
from causal_orchestrator.http.limits import TooMany
from causal_orchestrator.http.routes import ROUTES, Call, Route, reply
from causal_orchestrator.http.service import MAX_UPLOAD_BYTES, Service

# Errors of the request as such; every other InputError is of its content (422).
SYNTAX = {"NOT_JSON": 400, "DUPLICATE_KEY": 400, "NUMBER_TOO_LONG": 400, "KEY_INVALID": 400, "NOT_AN_OBJECT": 422,
          "TOO_LARGE": 413, "MEDIA_TYPE": 415, "NOT_AWAITING": 409, "NOT_RESUMABLE": 409, "UPLOAD_EXISTS": 409, "BODY_SHORT": 400, "KEY_IN_URL": 400,
          "BODY_LATE": 408}  # fmt: skip
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'",
}


def create_app(service: Service) -> Flask:
    """Return the WSGI app of a service."""
    app = Flask("causal_orchestrator", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = MAX_UPLOAD_BYTES
    app.url_map.strict_slashes = True
    app.url_map.merge_slashes = False
    for route in ROUTES:
        app.add_url_rule(
            route.path, endpoint=f"{route.method} {route.path}", view_func=_view(service, route),
            methods=[route.method], provide_automatic_options=False,
        )  # fmt: skip
    app.before_request(lambda: _admit(service))
    app.after_request(_finish)
    app.register_error_handler(Exception, _translate)
    return app


def _view(service: Service, route: Route) -> Any:
    def view(**path: str) -> Response:
        principal = None if route.scope is None else _caller(service, request)
        if principal is not None:
            principal.require(route.scope or "")
            (service.reads if request.method == "GET" else service.submits).take(principal.name)
        return route.handler(Call(service=service, request=request, principal=principal, path=path))

    return view


def _caller(service: Service, incoming: Request) -> Principal:
    if "key" in incoming.args or "api_key" in incoming.args or "access_token" in incoming.args:
        raise InputError("credentials belong into the Authorization header, never into the address", code="KEY_IN_URL")
    headers = incoming.headers.getlist("Authorization")
    header = headers[0] if len(headers) == 1 else None
    return authenticate(service.backends, header, environment=service.environment, tokens=service.tokens)


def _admit(service: Service) -> Response | None:
    """Refuse requests for other hosts (DNS rebinding) and posts from other pages; name the request."""
    g.request_id = secrets.token_hex(8)
    if service.hosts is not None and request.host.rsplit(":", 1)[0] not in service.hosts:
        return _error(421, "WRONG_HOST", "this service does not answer to that name")
    origin = request.headers.get("Origin")
    site = request.headers.get("Sec-Fetch-Site", "none")
    if request.method != "GET" and (
        site not in ("none", "same-origin") or (origin is not None and urlsplit(origin).netloc != request.host)
    ):
        return _error(403, "CROSS_SITE", "requests from other sites are not taken")
    return None


def _error(status: int, code: str, message: str, headers: dict[str, str] | None = None) -> Response:
    content = {"error": {"code": code, "message": message, "request_id": g.get("request_id", "")}}
    return reply(content, status, headers)


def _translate(exc: Exception) -> Response:
    """Say what went wrong: a code and one sentence, never a path, a query or a trace."""
    if isinstance(exc, HTTPException):
        allowed = {"Allow": ", ".join(sorted(exc.valid_methods or ()))} if hasattr(exc, "valid_methods") else None
        return _error(exc.code or 500, (exc.name or "ERROR").upper().replace(" ", "_"), str(exc.name), allowed)
    if isinstance(exc, Unauthenticated):
        return _error(401, exc.code, exc.message, {"WWW-Authenticate": "Bearer"})
    if isinstance(exc, Forbidden):
        return _error(403, exc.code, exc.message)
    if isinstance(exc, TooMany):
        return _error(429, exc.code, exc.message, {"Retry-After": str(exc.details["retry_after"])})
    if isinstance(exc, NotFound):
        return _error(404, "NOT_FOUND", exc.message)
    if isinstance(exc, InputError):
        return _error(SYNTAX.get(exc.code, 422), exc.code, exc.message)
    if isinstance(exc, CausalError) and exc.retriable:
        return _error(503, exc.code, "the service is busy; try again", {"Retry-After": "5"})
    log.event("request_failed", severity="ERROR", request_id=g.get("request_id", ""), error=type(exc).__name__)
    return _error(500, "INTERNAL", "something went wrong here; the request's ID finds it in the log")


def _finish(response: Response) -> Response:
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers["X-Request-Id"] = g.get("request_id", "")
    return response

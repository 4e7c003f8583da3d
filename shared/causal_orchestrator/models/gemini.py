"""Gemini through Google's SDK: on Vertex with application default credentials, or the Developer API with a key.

A decision is the one forced call of a function with the reply's form as its parameters; a text comes as JSON under a
response schema. The SDK's requests go out over `wire`, so that bytes and time are bounded and nothing is retried here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import google.auth
import google.auth.exceptions
import google.auth.transport.requests
import httpx2
from google import genai
from google.genai import types

from causal_orchestrator.errors import ModelUnavailable
from causal_orchestrator.models import wire
from causal_orchestrator.models.answers import (
    MAX_TOKENS,
    Answer,
    Usage,
    as_object,
    blocked,
    from_text,
    invalid,
    is_decision,
    only,
    tool_name,
)

SCOPE = "https://www.googleapis.com/auth/cloud-platform"
TOKEN_SECONDS = 10.0
# What the service knows of JSON Schema; the rest is checked when the answer is read.
KEYWORDS = frozenset({
    "$defs", "$ref", "additionalProperties", "anyOf", "description", "enum", "format", "items", "maxItems", "maximum",
    "minItems", "minimum", "oneOf", "prefixItems", "properties", "required", "title", "type",
})  # fmt: skip
BLOCKED = frozenset({"SAFETY", "RECITATION", "PROHIBITED_CONTENT", "SPII", "BLOCKLIST", "LANGUAGE", "OTHER", "MODEL_ARMOR"})  # fmt: skip


class Gemini:
    """One Gemini model; the client is made, and credentials are looked for, when it is asked for the first time."""

    def __init__(
        self, model: str, *, project: str = "", location: str = "", key: Callable[[], str] | None = None, url: str = ""
    ) -> None:
        self.name = f"gemini:{model}"
        self._model = model
        self._project = project
        self._location = location
        self._key = key
        self._url = url
        self._credentials: Any = None
        self._client: genai.Client | None = None

    def send(self, prompt: str, schema: Mapping[str, Any], *, seconds: float) -> Answer:
        """Make one HTTP call and return its answer (raises `ModelUnavailable`)."""
        client = self._ready()
        config = _decision(schema) if is_decision(schema) else _text(schema)
        config.http_options = types.HttpOptions(timeout=max(1, int(1000 * seconds)))
        try:
            response = client.models.generate_content(model=self._model, contents=prompt, config=config)
        except ModelUnavailable:
            raise
        except Exception as exc:  # the SDK's reading of a strange response may fail in any way
            raise invalid(f"it has not the form of a response ({type(exc).__name__})") from exc
        return Answer(_content(response, schema), _usage(response, self.name))

    def _ready(self) -> genai.Client:
        """Return the client with credentials that hold (raises ModelUnavailable)."""
        if self._client is None:
            self._client = self._on_vertex() if self._key is None else self._with_key(self._key())
        if self._credentials is not None and not self._credentials.valid:
            request = partial(google.auth.transport.requests.Request(), timeout=TOKEN_SECONDS)
            try:
                self._credentials.refresh(request)
            except google.auth.exceptions.GoogleAuthError as exc:
                code = "MODEL_LOST" if isinstance(exc, google.auth.exceptions.TransportError) else "MODEL_REFUSED"
                raise ModelUnavailable("Google gives no access token", code=code) from exc
        return self._client

    def _on_vertex(self) -> genai.Client:
        try:
            self._credentials, found = google.auth.default(scopes=[SCOPE])
        except google.auth.exceptions.GoogleAuthError as exc:
            raise ModelUnavailable("there are no application default credentials", code="MODEL_REFUSED") from exc
        project = self._project or found
        if not project:
            raise ModelUnavailable("no project is set for the model", code="MODEL_REFUSED")
        return genai.Client(
            vertexai=True, project=project, location=self._location, credentials=self._credentials,
            http_options=self._options(),
        )  # fmt: skip

    def _with_key(self, key: str) -> genai.Client:
        return genai.Client(vertexai=False, api_key=key, http_options=self._options())

    def _options(self) -> types.HttpOptions:
        client = httpx2.Client(transport=_Bounded(), trust_env=False)
        return types.HttpOptions(base_url=self._url or None, api_version="v1", httpx_client=client)


class _Bounded(httpx2.BaseTransport):
    """The SDK's way out: the response is whole, short, in time and strict JSON before the SDK sees it."""

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send the request over `wire` (raises ModelUnavailable)."""
        own = ("accept-encoding", "connection", "content-length", "host")
        headers = {name: text for name, text in request.headers.items() if name.lower() not in own}
        seconds = request.extensions["timeout"]["read"]
        reply = wire.post(str(request.url), request.read(), headers, seconds=seconds)
        wire.value(reply)
        return httpx2.Response(reply.status, headers={"content-type": "application/json"}, content=reply.body)


def _decision(schema: Mapping[str, Any]) -> types.GenerateContentConfig:
    name = tool_name(schema)
    function = types.FunctionDeclaration(name=name, description="The reply.", parameters_json_schema=supported(schema))
    forced = types.FunctionCallingConfig(mode=types.FunctionCallingConfigMode.ANY, allowed_function_names=[name])
    return types.GenerateContentConfig(
        temperature=0.0,
        max_output_tokens=MAX_TOKENS,
        tools=[types.Tool(function_declarations=[function])],
        tool_config=types.ToolConfig(function_calling_config=forced),
        automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
    )


def _text(schema: Mapping[str, Any]) -> types.GenerateContentConfig:
    return types.GenerateContentConfig(
        temperature=0.0,
        max_output_tokens=MAX_TOKENS,
        response_mime_type="application/json",
        response_json_schema=supported(schema),
    )


def supported(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema with only those keywords that the service knows."""
    kept: dict[str, Any] = {}
    for key, found in schema.items():
        if key in ("properties", "$defs"):
            kept[key] = {name: supported(inner) for name, inner in found.items()}
        elif key in KEYWORDS:
            kept[key] = _inner(found)
    return kept


def _inner(found: Any) -> Any:
    if isinstance(found, Mapping):
        return supported(found)
    return [_inner(item) for item in found] if isinstance(found, list) else found


def _content(response: types.GenerateContentResponse, schema: Mapping[str, Any]) -> Mapping[str, Any]:
    candidates = response.candidates or []
    if not candidates:
        raise blocked(_why(response))
    if len(candidates) > 1:
        raise invalid("it has several candidates")
    reason = str(getattr(candidates[0].finish_reason, "value", candidates[0].finish_reason))
    if reason in BLOCKED:
        raise blocked(reason)
    if reason != "STOP":
        raise invalid(f"it stopped for {reason[:40]!r}")
    content = candidates[0].content
    parts = [part for part in (content.parts if content else None) or [] if not part.thought]
    calls = [part.function_call for part in parts if part.function_call is not None]
    if is_decision(schema):
        return as_object(only(calls, schema).args)
    if calls or not all(part.text for part in parts):
        raise invalid("a text was asked for")
    return from_text("".join(part.text or "" for part in parts))


def _why(response: types.GenerateContentResponse) -> str:
    feedback = response.prompt_feedback
    reason = feedback.block_reason if feedback else None
    return "no candidate" if reason is None else str(getattr(reason, "value", reason))[:40]


def _usage(response: types.GenerateContentResponse, name: str) -> Usage:
    spent = response.usage_metadata
    by = f"gemini:{response.model_version[:80]}" if response.model_version else name
    if spent is None:
        return Usage(by)
    out = (spent.candidates_token_count or 0) + (spent.thoughts_token_count or 0)
    return Usage(by, spent.prompt_token_count or 0, out)

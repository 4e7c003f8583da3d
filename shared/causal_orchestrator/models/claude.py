"""Claude over the Messages API, with the reply's form as the one tool that must be used."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from causal_orchestrator.models import wire
from causal_orchestrator.models.answers import MAX_TOKENS, Answer, Usage, as_object, blocked, invalid, only, tool_name

URL = "https://api.anthropic.com"
VERSION = "2023-06-01"
KINDS = frozenset({"text", "thinking", "redacted_thinking", "tool_use"})


class _Block(BaseModel):
    type: str
    name: str = ""
    input: Any = None


class _Spent(BaseModel):
    input_tokens: int = 0
    output_tokens: int = 0


class _Message(BaseModel):
    content: tuple[_Block, ...]
    stop_reason: str | None
    model: str = ""
    usage: _Spent = _Spent()


class Claude:
    """One Claude model; `key` gives the API key when it is needed."""

    def __init__(self, model: str, *, key: Callable[[], str], url: str = "") -> None:
        self.name = f"claude:{model}"
        self._model = model
        self._key = key
        self._url = f"{url or URL}/v1/messages"

    def send(self, prompt: str, schema: Mapping[str, Any], *, seconds: float) -> Answer:
        """Make one HTTP call and return its answer (raises `ModelUnavailable`)."""
        name = tool_name(schema)
        body = {
            "model": self._model,
            "max_tokens": MAX_TOKENS,
            "messages": [{"role": "user", "content": prompt}],
            "tools": [{"name": name, "description": "The reply.", "input_schema": dict(schema)}],
            "tool_choice": {"type": "tool", "name": name, "disable_parallel_tool_use": True},
        }
        headers = {"x-api-key": self._key(), "anthropic-version": VERSION}
        found = wire.ask(self._url, body, headers, seconds=seconds)
        try:
            message = _Message.model_validate(found)
        except ValidationError as exc:
            raise invalid("it has not the form of a message") from exc
        return Answer(_content(message, schema), _usage(message, self.name))


def _content(message: _Message, schema: Mapping[str, Any]) -> Mapping[str, Any]:
    if message.stop_reason == "refusal":
        raise blocked("refusal")
    if message.stop_reason != "tool_use":
        raise invalid(f"it stopped for {str(message.stop_reason)[:40]!r}")
    if not {block.type for block in message.content} <= KINDS:
        raise invalid("it has parts of an unknown kind")
    calls = [block for block in message.content if block.type == "tool_use"]
    return as_object(only(calls, schema).input)


def _usage(message: _Message, name: str) -> Usage:
    by = f"claude:{message.model[:80]}" if message.model else name
    return Usage(by, message.usage.input_tokens, message.usage.output_tokens)

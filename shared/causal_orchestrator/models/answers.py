"""What a language model answers: read strictly, with what it cost."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from causal_orchestrator import strict_json
from causal_orchestrator.errors import InputError, ModelUnavailable

MAX_REPLY_BYTES = 256 * 1024
MAX_TOKENS = 4096  # thinking counts too where a model thinks

_FENCE = re.compile(r"\A\s*```(?:json)?[ \t]*\n(.*)\n```\s*\Z", re.DOTALL)


@dataclass(frozen=True)
class Usage:
    """What one question cost: who answered, tokens in and out, HTTP calls, seconds, money (None: no prices given)."""

    by: str
    tokens_in: int = 0
    tokens_out: int = 0
    calls: int = 1
    seconds: float = 0.0
    cost: float | None = None


class Answer(dict[str, Any]):
    """An answer as a mapping, with its `usage`."""

    def __init__(self, content: Mapping[str, Any], usage: Usage) -> None:
        super().__init__(content)
        self.usage = usage

    def charged(self, **fields: Any) -> Answer:
        """Return the answer with these fields of its usage changed."""
        return Answer(self, replace(self.usage, **fields))


class Provider(Protocol):
    """One model of one provider."""

    name: str

    def send(self, prompt: str, schema: Mapping[str, Any], *, seconds: float) -> Answer:
        """Make one HTTP call and return its answer (raises `ModelUnavailable`, its code as in `ladder`)."""


def invalid(why: str) -> ModelUnavailable:
    """Return the error for a reply that cannot be used; another try with the reason may help."""
    return ModelUnavailable(f"the model's reply cannot be used: {why}", code="MODEL_INVALID")


def blocked(why: str) -> ModelUnavailable:
    """Return the error for a question that the provider does not answer; another try is of no use."""
    return ModelUnavailable(f"the provider blocked the question: {why}", code="MODEL_BLOCKED")


def tool_name(schema: Mapping[str, Any]) -> str:
    """Return the name of the one function that a reply of this form is a call of."""
    return re.sub(r"\W+", "_", str(schema.get("title", "reply")), flags=re.ASCII).lower()[:64]


def is_decision(schema: Mapping[str, Any]) -> bool:
    """Say whether the form asks for a decision (with its reasoning) and not for a text."""
    return "reasoning" in schema.get("properties", {})


def from_text(text: str) -> Mapping[str, Any]:
    """Return the one JSON object of a text, out of at most one code fence (raises ModelUnavailable)."""
    fenced = _FENCE.match(text)
    try:
        value = strict_json.parse(fenced.group(1) if fenced else text, max_bytes=MAX_REPLY_BYTES)
    except InputError as exc:
        raise invalid(exc.message) from exc
    return as_object(value)


def as_object(value: Any) -> Mapping[str, Any]:
    """Return a JSON value that is an object with something in it (raises ModelUnavailable)."""
    if not isinstance(value, Mapping) or not value:
        raise invalid(f"an object was asked for, found {type(value).__name__}")
    return value


def only(calls: Sequence[Any], schema: Mapping[str, Any]) -> Any:
    """Return the one call, which must be of the function that was declared (raises ModelUnavailable)."""
    if len(calls) != 1:
        raise invalid(f"one call was asked for, found {len(calls)}")
    if calls[0].name != tool_name(schema):
        raise invalid("another function than the declared one was called")
    return calls[0]

"""Any endpoint with OpenAI's chat completions (a local model, too), with the reply's form as the one function."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from causal_orchestrator.models import wire
from causal_orchestrator.models.answers import MAX_TOKENS, Answer, Usage, blocked, from_text, invalid, only, tool_name

URL = "https://api.openai.com/v1"
# A forced function ends with "stop" at OpenAI and with "tool_calls" elsewhere.
FINISHED = frozenset({"stop", "tool_calls"})


class _Function(BaseModel):
    name: str
    arguments: str


class _Call(BaseModel):
    function: _Function


class _Said(BaseModel):
    tool_calls: tuple[_Call, ...] | None = None
    refusal: str | None = None


class _Choice(BaseModel):
    finish_reason: str | None
    message: _Said


class _Spent(BaseModel):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Completion(BaseModel):
    choices: tuple[_Choice, ...]
    model: str = ""
    usage: _Spent | None = None


class OpenAICompatible:
    """One model behind such an endpoint; `key` gives the API key when it is needed ("" for none)."""

    def __init__(self, model: str, *, key: Callable[[], str], url: str = "") -> None:
        self.name = f"openai:{model}"
        self._model = model
        self._key = key
        self._url = f"{url or URL}/chat/completions"

    def send(self, prompt: str, schema: Mapping[str, Any], *, seconds: float) -> Answer:
        """Make one HTTP call and return its answer (raises `ModelUnavailable`)."""
        function = {"name": tool_name(schema), "description": "The reply.", "parameters": dict(schema)}
        body = {
            "model": self._model,
            "max_completion_tokens": MAX_TOKENS,
            "messages": [{"role": "user", "content": prompt}],
            "tools": [{"type": "function", "function": function}],
            "tool_choice": {"type": "function", "function": {"name": function["name"]}},
        }
        key = self._key()
        found = wire.ask(self._url, body, {"Authorization": f"Bearer {key}"} if key else {}, seconds=seconds)
        try:
            completion = _Completion.model_validate(found)
        except ValidationError as exc:
            raise invalid("it has not the form of a completion") from exc
        return Answer(_content(completion, schema), _usage(completion, self.name))


def _content(completion: _Completion, schema: Mapping[str, Any]) -> Mapping[str, Any]:
    if not completion.choices:
        raise blocked("there is no choice")
    if len(completion.choices) > 1:
        raise invalid("it has several choices")
    choice = completion.choices[0]
    if choice.finish_reason == "content_filter" or choice.message.refusal:
        raise blocked("content filter or refusal")
    if choice.finish_reason not in FINISHED:
        raise invalid(f"it stopped for {str(choice.finish_reason)[:40]!r}")
    calls = [call.function for call in choice.message.tool_calls or ()]
    return from_text(only(calls, schema).arguments)


def _usage(completion: _Completion, name: str) -> Usage:
    spent = completion.usage or _Spent()
    by = f"openai:{completion.model[:80]}" if completion.model else name
    return Usage(by, spent.prompt_tokens, spent.completion_tokens)

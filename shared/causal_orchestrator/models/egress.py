"""What may leave in a prompt: sentences of our own and JSON of kinds that are named here.

Every prompt passes through here on its way to a provider. A kind of reply that has no line in `KINDS` gets no prompt
out, nor does a key that its line does not name, an overlong string or too much prose around the JSON. Counts of units
below `SMALL` are withheld, and strings lose what could carry an instruction unseen.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from causal_orchestrator.errors import InputError, ModelUnavailable
from causal_orchestrator.question import canonical_json

MAX_PROMPT = 64 * 1024
MAX_PROSE = 2500
MAX_NAME = 64
SMALL = 10  # units; statistical offices withhold counts below 10 or 11
WITHHELD = f"<{SMALL}"

COUNTS = frozenset({"n", "n_rows", "per_arm"})
NAMES = frozenset({"untrusted_names", "agent", "method"})
BY_NAME = frozenset({"gates", "open_actions"})  # mappings whose keys are names of ours
OURS = re.compile(r"[a-z][a-z0-9_]{0,63}")
MARKUP = re.compile(r"[`{}<>]")


@dataclass(frozen=True)
class Kind:
    """What a prompt for one kind of reply may hold: keys anywhere in its JSON, and the longest string."""

    keys: frozenset[str]
    longest: int = 500


def _kind(keys: str, longest: int = 500) -> Kind:
    return Kind(frozenset(keys.split()), longest)


# By the name of the form of the reply.
KINDS: dict[str, Kind] = {
    "dispatch_to_agent": _kind("n_rows n_columns done agent outcome iteration frozen untrusted_names admissible worth reason"),
    "Choice": _kind("design estimand n n_covariates per_arm overlap other_estimands method score may_be_primary reasons"),
    "Comment": _kind("verdict codes gates open_actions"),
    "Words": _kind("summary narrative assumptions recommendations headline grade recommendation key_findings would_change expertise", 4000),
}  # fmt: skip


def passed(prompt: str, schema: Mapping[str, Any]) -> str:
    """Return the prompt as it may leave.

    Raises
    ------
    ModelUnavailable
        ``MODEL_EGRESS`` if it holds what must not leave.
    """
    kind = KINDS.get(str(schema.get("title")))
    if kind is None:
        _refuse("a kind of reply that is not known")
    if len(prompt) > MAX_PROMPT:
        _refuse("more than fits")
    pieces, prose = [], 0
    try:
        for text, value in _pieces(prompt):
            prose += len(text)
            pieces.append(text if value is None else text + canonical_json(_checked(value, kind, "")))
    except (InputError, RecursionError):
        _refuse("what cannot be written as JSON")
    if prose > MAX_PROSE:
        _refuse("too much text outside its data")
    return "".join(pieces)


def _refuse(what: str) -> NoReturn:
    raise ModelUnavailable(f"the prompt holds {what}", code="MODEL_EGRESS")


def _pieces(prompt: str) -> Iterator[tuple[str, Any]]:
    """Yield stretches of text, each with the JSON object or list that follows it (None at the end)."""
    decoder, start, at = json.JSONDecoder(), 0, 0
    while (found := re.compile(r"[{\[]").search(prompt, at)) is not None:
        try:
            value, end = decoder.raw_decode(prompt, found.start())
        except (json.JSONDecodeError, RecursionError):
            at = found.end()
            continue
        yield prompt[start : found.start()], value
        start = at = end
    yield prompt[start:], None


def _checked(value: Any, kind: Kind, key: str) -> Any:
    """Return a JSON value as it may leave under `key`."""
    if isinstance(value, dict):
        return {_key(name, kind, key): _checked(inner, kind, name) for name, inner in value.items()}
    if isinstance(value, list):
        return [_checked(inner, kind, key) for inner in value]
    if isinstance(value, str):
        return _string(value, MAX_NAME if key in NAMES else kind.longest)
    small = key in COUNTS and isinstance(value, int) and not isinstance(value, bool) and 0 < value < SMALL
    return WITHHELD if small else value


def _key(name: str, kind: Kind, under: str) -> str:
    if name not in kind.keys and not (under in BY_NAME and OURS.fullmatch(name)):
        _refuse(f"a key that is not on the list ({name[:40]!r})")
    return name


def _string(text: str, longest: int) -> str:
    """Return a string without invisible characters and markup."""
    if len(text) > longest:
        _refuse(f"a string of {len(text)} characters")
    seen = "".join(c for c in unicodedata.normalize("NFKC", text) if unicodedata.category(c)[0] != "C")
    return MARKUP.sub("", seen)

"""JSON from strangers: one reader that refuses what Python's own accepts and later chokes on."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from causal_orchestrator.errors import InputError

MAX_DEPTH = 32
MAX_DIGITS = 400


def parse(data: bytes | str, *, max_bytes: int) -> Any:
    """Return the value of a JSON text.

    Raises
    ------
    InputError
        If the text is too long (``TOO_LARGE``), not UTF-8 or not JSON (``NOT_JSON``), repeats a key
        (``DUPLICATE_KEY``), nests too deep, or holds NaN, an infinite or overlong number or a lone surrogate.
    """
    raw = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
    if len(raw) > max_bytes:
        raise InputError(f"the text has {len(raw):,} bytes; at most {max_bytes:,} are read", code="TOO_LARGE")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise InputError(f"the text is not UTF-8 (byte {exc.start})", code="NOT_JSON") from exc
    _check_depth(text)
    try:
        value = json.loads(
            text, object_pairs_hook=_unique, parse_constant=_refuse, parse_int=_integer, parse_float=_real
        )
    except json.JSONDecodeError as exc:
        raise InputError(f"the text is not JSON: {exc.msg} at character {exc.pos}", code="NOT_JSON") from exc
    _check_text(value)
    return value


def _check_depth(text: str) -> None:
    """Refuse deep nesting before the parser recurses; brackets within strings do not count."""
    depth, quoted, escaped = 0, False, False
    for character in text:
        if quoted:
            quoted = escaped or character != '"'
            escaped = character == "\\" and not escaped
        elif character == '"':
            quoted, escaped = True, False
        elif character in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise InputError(f"the text nests deeper than {MAX_DEPTH} levels", code="NOT_JSON")
        elif character in "]}":
            depth -= 1


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise InputError("a key stands twice in one object", code="DUPLICATE_KEY")
    return found


def _refuse(name: str) -> NoReturn:
    raise InputError(f"{name} is not a JSON number", code="NOT_FINITE")


def _integer(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise InputError(f"a number has {len(text)} digits", code="NUMBER_TOO_LONG")
    return int(text)


def _real(text: str) -> float:
    value = float(text) if len(text) <= MAX_DIGITS else float("inf")
    if value in (float("inf"), float("-inf")):
        raise InputError("a number is too large", code="NOT_FINITE")
    return value


def _check_text(value: Any) -> None:
    """Refuse lone surrogates, which no store can write."""
    if isinstance(value, str):
        try:
            value.encode("utf-8")
        except UnicodeEncodeError as exc:
            raise InputError("a text holds half a character (a lone surrogate)", code="NOT_UNICODE") from exc
    elif isinstance(value, dict):
        for key, item in value.items():
            _check_text(key)
            _check_text(item)
    elif isinstance(value, list):
        for item in value:
            _check_text(item)

"""Documents as text: canonical JSON with datetimes, the same for every store.

A datetime is written ``{"$datetime": "2026-01-31T12:00:00.000000Z"}``; a key that begins with ``$`` gets another one in
front, so that every document comes back as it went in (tuples as lists). What no store may hold is refused here, before
any store sees it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from causal_orchestrator.errors import InputError

MAX_BYTES = 1_000_000  # below Firestore's 1 MiB a document
MAX_DEPTH = 18  # below Firestore's 20


def encode(document: Mapping[str, Any]) -> str:
    """Return the one text of a document.

    Raises
    ------
    InputError
        ``NOT_JSON`` for what JSON has no word for: numbers that are not finite, integers beyond 64 bits, lone
        surrogates, keys that are not text, datetimes without a zone. ``DOCUMENT_SIZE`` if it is too large or too deep.
    """
    try:
        text = json.dumps(
            _plain(document, 0), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
        )
        size = len(text.encode())
    except (ValueError, UnicodeEncodeError) as exc:
        raise InputError(f"a document cannot be written as JSON: {exc}", code="NOT_JSON") from exc
    if size > MAX_BYTES:
        raise InputError(f"a document of {size} bytes is larger than {MAX_BYTES}", code="DOCUMENT_SIZE")
    return text


def decode(text: str) -> dict[str, Any]:
    """Return the document that `encode` wrote."""
    found: dict[str, Any] = (_ESCAPED if _ESCAPE in text else _USUAL).decode(text)
    return found


def timestamp(moment: datetime) -> str:
    """Return a moment as text of fixed width in UTC, which sorts as time does."""
    if moment.tzinfo is None:
        raise InputError("a datetime without a time zone cannot be stored", code="NOT_JSON")
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


@lru_cache(maxsize=4096)
def split(path: str) -> tuple[str, str]:
    """Return the collection and the ID of a document's path (raises InputError)."""
    parts = path.split("/")
    collection, _, key = path.rpartition("/")
    if len(parts) % 2 or not all(map(_fits, parts)):
        raise InputError(f"{path[:64]!r} is no document's path", code="PATH")
    return collection, key


def _fits(part: str) -> bool:
    reserved = part in ("", ".", "..") or (part.startswith("__") and part.endswith("__"))
    return not reserved and part.isprintable() and len(part.encode(errors="replace")) <= 1500


def _plain(value: Any, depth: int) -> Any:
    if isinstance(value, str) or value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int):
        if not -(2**63) <= value < 2**63:
            raise InputError("an integer beyond 64 bits cannot be stored", code="NOT_JSON")
        return value
    if depth > MAX_DEPTH:
        raise InputError(f"a document is nested more than {MAX_DEPTH} deep", code="DOCUMENT_SIZE")
    if isinstance(value, datetime):
        return {"$datetime": timestamp(value)}
    if isinstance(value, Mapping):
        return {_key(key): _plain(inner, depth + 1) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner, depth + 1) for inner in value]
    raise InputError(f"a {type(value).__name__} cannot be stored", code="NOT_JSON")


def _key(key: Any) -> str:
    if not isinstance(key, str):
        raise InputError(f"a key must be text, found {type(key).__name__}", code="NOT_JSON")
    return "$" + key if key.startswith("$") else key


def _moments(found: dict[str, Any]) -> Any:
    moment = found.get("$datetime")
    return found if moment is None else datetime.fromisoformat(moment)


def _unescape(found: dict[str, Any]) -> Any:
    restored = _moments(found)
    if restored is not found:
        return restored
    return {key[1:] if key.startswith("$") else key: value for key, value in found.items()}


_ESCAPE = '"$$'  # stands in every text that has an escaped key
_USUAL, _ESCAPED = json.JSONDecoder(object_hook=_moments), json.JSONDecoder(object_hook=_unescape)

"""Documents as Firestore's values.

What Firestore has a type for is kept as that type: text, numbers, moments, lists, maps. What it cannot hold (a list
directly inside a list; a map with a key that is empty, reserved or too long) is kept as text under the key ``$json``;
so is every map with a key that begins with ``$``, and that is how the two are told apart again.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from google.cloud.firestore_v1 import types

from causal_orchestrator.backends import encoding
from causal_orchestrator.errors import InputError

TEXT = "$json"
MAX_KEY = 1500
MAX_BYTES = 1_048_576

Value: Any = types.Value.pb()


def to_fields(name: str, document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a plain document (as `encoding.decode` gives it) that will stand under the full `name`.

    Raises
    ------
    InputError
        ``DOCUMENT_SIZE`` if it is larger than Firestore's 1 MiB, as Firestore counts.
    """
    stored = _stored(document)
    size = sum(len(part.encode()) + 1 for part in name.split("/")) + 16 + _size(stored)
    if size > MAX_BYTES:
        raise InputError(f"a document of {size} bytes is larger than {MAX_BYTES}", code="DOCUMENT_SIZE")
    return {key: _value(value) for key, value in stored.items()}


def from_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the document that `to_fields` was given."""
    if set(fields) == {TEXT}:
        found: dict[str, Any] = encoding.decode(fields[TEXT].string_value)["value"]
        return found
    return {key: _from_value(value) for key, value in fields.items()}


def to_value(value: Any) -> Any:
    """Return Firestore's value of a plain one."""
    return _value(_stored(value))


def _value(value: Any) -> Any:
    found = Value()
    if value is None:
        found.null_value = 0
    elif isinstance(value, datetime):
        found.timestamp_value.FromDatetime(value.astimezone(UTC))
    elif isinstance(value, dict):
        found.map_value.SetInParent()
        for key, inner in value.items():
            found.map_value.fields[key].CopyFrom(_value(inner))
    elif isinstance(value, list):
        found.array_value.SetInParent()
        found.array_value.values.extend([_value(inner) for inner in value])
    else:
        setattr(found, SCALARS[type(value)], value)
    return found


SCALARS = {bool: "boolean_value", int: "integer_value", float: "double_value", str: "string_value"}


def _from_value(value: Any) -> Any:
    kind = value.WhichOneof("value_type")
    if kind == "null_value":
        return None
    if kind == "timestamp_value":
        return value.timestamp_value.ToDatetime(tzinfo=UTC)
    if kind == "map_value":
        return from_fields(value.map_value.fields)
    if kind == "array_value":
        return [_from_value(inner) for inner in value.array_value.values]
    return getattr(value, kind)


def _stored(value: Any, *, in_list: bool = False) -> Any:
    """Return a value with everything that cannot be held as it is put into text."""
    if isinstance(value, Mapping):
        return {key: _stored(inner) for key, inner in value.items()} if all(map(_fits, value)) else _as_text(value)
    if isinstance(value, list):
        return _as_text(value) if in_list else [_stored(inner, in_list=True) for inner in value]
    return value


def _as_text(value: Any) -> dict[str, str]:
    return {TEXT: encoding.encode({"value": value})}


def _fits(key: str) -> bool:
    reserved = key.startswith("__") and key.endswith("__")
    return key != "" and not key.startswith("$") and not reserved and len(key.encode()) <= MAX_KEY


def _size(value: Any) -> int:
    """Return the bytes of a value as Firestore counts them (https://firebase.google.com/docs/firestore/storage-size)."""
    if isinstance(value, str):
        return len(value.encode()) + 1
    if isinstance(value, bool) or value is None:
        return 1
    if isinstance(value, Mapping):
        return 32 + sum(len(key.encode()) + 1 + _size(inner) for key, inner in value.items())
    if isinstance(value, list):
        return sum(map(_size, value))
    return 8

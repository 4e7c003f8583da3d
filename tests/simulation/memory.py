"""Backends in memory: what the ports promise, nothing else. The simulated world adds the faults."""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

from causal_orchestrator.backends.ports import Document, Found, Stored, Writes
from causal_orchestrator.errors import AlreadyExists, InputError, NotFound, StorageError


def plain(value: Any) -> Any:
    """Return `value` as a store would give it back (raises InputError for what JSON cannot hold)."""
    if isinstance(value, str):
        if not value.isascii():
            try:
                value.encode("utf-8")
            except UnicodeEncodeError as exc:
                raise InputError("a lone surrogate cannot be stored", code="NOT_JSON") from exc
        return value
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        if not -(2**63) <= value < 2**63:
            raise InputError("a number of more than 64 bits cannot be stored", code="NOT_JSON")
        return value
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise InputError("a time without a zone cannot be stored", code="NOT_JSON")
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise InputError("a number that is not finite cannot be stored", code="NOT_JSON")
        return value
    if isinstance(value, Mapping):
        if not all(isinstance(name, str) for name in value):
            raise InputError("names of fields are text", code="NOT_JSON")
        return {plain(name): plain(v) for name, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    raise InputError(f"a {type(value).__name__} cannot be stored", code="NOT_JSON")


class MemoryDocuments:
    """The port `Documents`. `committed` is told of every commit: (documents before, documents after)."""

    def __init__(self, committed: Callable[[Found, Found], None] | None = None) -> None:
        self._collections: dict[str, dict[str, Document]] = {}
        self._committed = committed

    def get(self, path: str) -> Document | None:
        return self._collections.get(path.rpartition("/")[0], {}).get(path)

    def update(self, paths: Sequence[str], change: Callable[[Found], Writes]) -> Found:
        before = {path: self.get(path) for path in paths}
        writes = {path: None if new is None else plain(new) for path, new in change(before).items()}
        if not set(writes) <= set(paths):
            raise ValueError(f"a change may write only what it names, not {sorted(set(writes) - set(paths))}")
        for path, new in writes.items():
            collection = self._collections.setdefault(path.rpartition("/")[0], {})
            if new is None:
                collection.pop(path, None)
            else:
                collection[path] = new
        if self._committed is not None and writes:
            self._committed({path: before[path] for path in writes}, writes)
        return {**before, **writes}

    def list(
        self, collection: str, *, where: Mapping[str, Any] | None = None, newest_first: bool = False,
        limit: int | None = None, after: str | None = None,
    ) -> list[tuple[str, Document]]:  # fmt: skip
        held = self._collections.get(collection, {})
        found = sorted(held.items())
        if newest_first:
            found = sorted(
                (pair for pair in found if "created_at" in pair[1]),
                key=lambda pair: (pair[1]["created_at"], pair[0]), reverse=True,
            )  # fmt: skip
        if after is not None:
            if newest_first and after not in held:
                raise NotFound("the page before ended with a document that is gone")
            mark = (held[after]["created_at"], after) if newest_first else after
            found = [p for p in found if ((p[1]["created_at"], p[0]) < mark if newest_first else p[0] > mark)]
        kept = [p for p in found if all(k in p[1] and p[1][k] == v for k, v in (where or {}).items())]
        return kept[:limit]

    def all(self) -> dict[str, Document]:
        """Return every document by path."""
        return {path: doc for held in self._collections.values() for path, doc in held.items()}


class MemoryObjects:
    """The port `Objects`."""

    def __init__(self) -> None:
        self.held: dict[str, tuple[int, bytes]] = {}
        self._generation = 0

    def create(self, name: str, data: bytes | Path) -> Stored:
        content = data if isinstance(data, bytes) else data.read_bytes()
        if name in self.held and self.held[name][1] != content:
            raise AlreadyExists(f"{name} is there already")
        if name not in self.held:
            self._generation += 1
            self.held[name] = (self._generation, content)
        generation = self.held[name][0]
        return Stored(name=name, generation=generation, sha256=hashlib.sha256(content).hexdigest(), size=len(content))

    def open(self, name: str, generation: int) -> BinaryIO:
        if name not in self.held or self.held[name][0] != generation:
            raise NotFound(f"there is no object {name} of generation {generation}")
        return io.BytesIO(self.held[name][1])

    def local(self, name: str, generation: int) -> Path:
        self.open(name, generation).close()
        return Path("/memory") / name

    def find(self, name: str) -> Stored | None:
        if name not in self.held:
            return None
        generation, content = self.held[name]
        return Stored(name=name, generation=generation, sha256=hashlib.sha256(content).hexdigest(), size=len(content))

    def list(self, prefix: str) -> list[str]:
        return sorted(name for name in self.held if name.startswith(prefix))

    def delete(self, name: str) -> None:
        self.held.pop(name, None)

    def sign(self, name: str, generation: int, *, seconds: int, filename: str) -> str:
        self.open(name, generation).close()
        return f"memory:{name}?seconds={seconds}&filename={filename}"

    def sign_upload(self, name: str, *, seconds: int, most: int) -> None:
        return None


class MemorySecrets:
    """The port `Secrets`: none."""

    def get(self, name: str) -> str:
        raise StorageError(f"there is no secret {name!r}")

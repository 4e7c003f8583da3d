"""Documents in SQLite. A step that ends also leaves a line in the queue, in the same transaction: the change feed."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from causal_orchestrator.backends.encoding import decode, encode, split, timestamp
from causal_orchestrator.backends.local.database import Database, translated
from causal_orchestrator.backends.ports import Document, Found, Writes
from causal_orchestrator.errors import NotFound

Listing = list[tuple[str, Document]]
# These states give the coordinator nothing to do before the sweeper's turn.
WAITING = ("queued", "running")
COLUMNS = ("tenant", "state", "status")
WRITE = """
INSERT INTO documents(path, collection, id, tenant, state, status, created_at, body) VALUES(?,?,?,?,?,?,?,?)
ON CONFLICT(path) DO UPDATE SET tenant=excluded.tenant, state=excluded.state, status=excluded.status,
    created_at=excluded.created_at, body=excluded.body
"""

RACES = 3


class LocalDocuments:
    """The port `Documents`; `on_step` is told of every ended step inside the transaction that writes it."""

    def __init__(self, database: Database, on_step: Callable[[sqlite3.Connection, str], None]) -> None:
        self._database = database
        self._on_step = on_step

    def get(self, path: str) -> Document | None:
        """Return the document, or None."""
        split(path)
        with translated():
            row = self._database.connection().execute("SELECT body FROM documents WHERE path=?", (path,)).fetchone()
        return None if row is None else decode(row[0])

    def update(self, paths: Sequence[str], change: Callable[[Found], Writes]) -> Found:
        """Read `paths`, write what `change` makes of them, all or nothing; return what stands then.

        What is to be written is worked out before the lock is taken and written if nothing has changed meanwhile;
        after some lost races it is worked out under the lock.
        """
        for path in paths:
            split(path)
        for _ in range(RACES):
            with self._database.snapshot() as connection:
                bodies = {path: self._body(connection, path) for path in paths}
            found = _decoded(bodies)
            writes, texts = _worked_out(change, found)
            if not writes:
                return found
            with self._database.transaction() as connection:
                if all(self._body(connection, path) == body for path, body in bodies.items()):
                    self._write_all(connection, writes, texts)
                    break
        else:
            with self._database.transaction() as connection:
                found = _decoded({path: self._body(connection, path) for path in paths})
                writes, texts = _worked_out(change, found)
                self._write_all(connection, writes, texts)
        return {**found, **_decoded(texts)}

    def _write_all(self, connection: sqlite3.Connection, writes: Writes, texts: Mapping[str, str | None]) -> None:
        for path, text in texts.items():
            self._write(connection, path, writes[path], text)

    def list(
        self, collection: str, *, where: Mapping[str, Any] | None = None, newest_first: bool = False,
        limit: int | None = None, after: str | None = None,
    ) -> Listing:  # fmt: skip
        """Return (path, document) by ID, or by `created_at` and ID descending (those that have it)."""
        wanted = dict(where or {})
        terms = {"collection": collection, **{name: wanted[name] for name in COLUMNS if _indexed(wanted, name)}}
        clauses = [f"{name}=?" for name in terms]
        values: list[Any] = list(terms.values())
        for name, value in wanted.items():
            if isinstance(value, bool) and name.isidentifier():
                clauses.append("json_extract(body, ?)=?")
                values += [f"$.{name}", value]
        if newest_first:
            clauses.append("created_at IS NOT NULL")
        if after is not None:
            clause, beyond = self._beyond(after, newest_first=newest_first)
            clauses.append(clause)
            values += beyond
        order = "created_at DESC, id DESC" if newest_first else "id"
        query = f"SELECT path, body FROM documents WHERE {' AND '.join(clauses)} ORDER BY {order}"  # noqa: S608
        found: Listing = []
        with translated():
            for path, body in self._database.connection().execute(query, values):
                if limit is not None and len(found) >= limit:
                    break
                document = decode(body)
                if all(name in document and document[name] == value for name, value in wanted.items()):
                    found.append((path, document))
        return found

    def _beyond(self, after: str, *, newest_first: bool) -> tuple[str, tuple[str, ...]]:
        _, key = split(after)
        if not newest_first:
            return "id>?", (key,)
        last = self.get(after)
        if last is None or "created_at" not in last:
            raise NotFound("the page before ended with a document that is gone")
        return "(created_at, id)<(?,?)", (timestamp(last["created_at"]), key)

    def _body(self, connection: sqlite3.Connection, path: str) -> str | None:
        row = connection.execute("SELECT body FROM documents WHERE path=?", (path,)).fetchone()
        return None if row is None else str(row[0])

    def _write(self, connection: sqlite3.Connection, path: str, document: Document | None, text: str | None) -> None:
        if document is None:
            connection.execute("DELETE FROM documents WHERE path=?", (path,))
            return
        collection, key = split(path)
        moment = document.get("created_at")
        created = timestamp(moment) if isinstance(moment, datetime) else None
        indexed = [document[name] if _indexed(document, name) else None for name in COLUMNS]
        connection.execute(WRITE, (path, collection, key, *indexed, created, text))
        parts = path.split("/")
        if parts[0] == "jobs" and parts[2:3] == ["steps"] and document.get("state") not in WAITING:
            self._on_step(connection, parts[1])


def _decoded(bodies: Mapping[str, str | None]) -> dict[str, Document | None]:
    return {path: None if body is None else decode(body) for path, body in bodies.items()}


def _worked_out(change: Callable[[Found], Writes], found: Found) -> tuple[Writes, dict[str, str | None]]:
    """Return what `change` writes, as documents and as the texts that are stored."""
    writes = change(found)
    if not set(writes) <= set(found):
        raise ValueError(f"a change may write only what it names, not {sorted(set(writes) - set(found))}")
    return writes, {path: None if new is None else encode(new) for path, new in writes.items()}


def _indexed(document: Mapping[str, Any], name: str) -> bool:
    return isinstance(document.get(name), str)

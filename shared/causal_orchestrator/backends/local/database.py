"""One SQLite file: connections, transactions, and what its errors mean."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from causal_orchestrator.errors import CausalError, CommitUnknown, Conflict, StorageError

VERSION = 1
BUSY_SECONDS = 5.0
SCHEMA = """
CREATE TABLE IF NOT EXISTS documents(
    path TEXT PRIMARY KEY, collection TEXT NOT NULL, id TEXT NOT NULL, tenant TEXT, state TEXT, status TEXT,
    created_at TEXT, body TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS documents_by_id ON documents(collection, id);
CREATE INDEX IF NOT EXISTS documents_by_time ON documents(collection, tenant, created_at, id)
    WHERE created_at IS NOT NULL;
CREATE INDEX IF NOT EXISTS documents_by_state ON documents(collection, state, id)
    WHERE state IS NOT NULL;
CREATE TABLE IF NOT EXISTS queue(
    id INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL UNIQUE, lane TEXT NOT NULL, topic TEXT NOT NULL,
    body TEXT NOT NULL, visible_at REAL NOT NULL, deliveries INTEGER NOT NULL DEFAULT 0,
    token INTEGER NOT NULL DEFAULT 0, holder TEXT, again INTEGER NOT NULL DEFAULT 0);
CREATE INDEX IF NOT EXISTS queue_due ON queue(lane, visible_at, id);
CREATE TABLE IF NOT EXISTS dead_letters(
    id INTEGER PRIMARY KEY, topic TEXT NOT NULL, body TEXT NOT NULL, deliveries INTEGER NOT NULL, error TEXT NOT NULL,
    died_at REAL NOT NULL);
"""


class Database:
    """A SQLite file in WAL mode; one connection per thread, one writer at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._mine = threading.local()
        self._writing = threading.Lock()
        with translated():
            # SQLite gives its other files the mode of this one. Only a new file is opened here: closing an existing
            # one would drop the locks that other connections of this process have on it.
            with suppress(FileExistsError):
                os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
            self._prepare()

    def connection(self) -> sqlite3.Connection:
        """Return this thread's connection."""
        found: sqlite3.Connection | None = getattr(self._mine, "connection", None)
        if found is None:
            found = sqlite3.connect(self.path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
            for pragma in ("journal_mode=WAL", "synchronous=FULL", "secure_delete=ON", "trusted_schema=OFF"):
                found.execute(f"PRAGMA {pragma}")
            self._mine.connection, self._mine.durable = found, True
        return found

    @contextmanager
    def transaction(self, *, durable: bool = True) -> Iterator[sqlite3.Connection]:
        """Open a write transaction; one that is not `durable` survives the process, but may be lost with the power.

        Raises
        ------
        Conflict
            If the database stayed locked for five seconds.
        CommitUnknown
            If the disk failed while committing.
        StorageError
            If the disk is full or read-only, or the file is broken.
        """
        with self._writing, translated():
            connection = self.connection()
            if self._mine.durable != durable:
                connection.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
                self._mine.durable = durable
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                _roll_back(connection)
                raise
            self._commit(connection)

    @contextmanager
    def snapshot(self) -> Iterator[sqlite3.Connection]:
        """Open a read transaction: everything read in it stood at one moment."""
        with translated():
            connection = self.connection()
            connection.execute("BEGIN")
            try:
                yield connection
            finally:
                connection.execute("ROLLBACK")

    def close(self) -> None:
        """Close this thread's connection."""
        connection = getattr(self._mine, "connection", None)
        if connection is not None:
            connection.close()
            del self._mine.connection

    def check(self) -> None:
        """Look the whole file over (raises StorageError ``STORAGE_CORRUPT``)."""
        with translated():
            found = self.connection().execute("PRAGMA integrity_check").fetchall()
        if found != [("ok",)]:
            raise StorageError(f"the store is damaged: {str(found[0][0])[:200]}", code="STORAGE_CORRUPT")

    def scrub(self) -> None:
        """Write the file anew, so that nothing of what was deleted is left in it or in its log."""
        with self._writing, translated():
            connection = self.connection()
            connection.execute("VACUUM")
            busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            raise Conflict("the log could not be cleared while others read it")

    def _prepare(self) -> None:
        connection = self.connection()
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > VERSION:
            raise StorageError(f"the store has version {version}, this program knows {VERSION}", code="STORAGE_VERSION")
        if version < VERSION:
            connection.executescript(f"BEGIN IMMEDIATE; {SCHEMA} PRAGMA user_version={VERSION}; COMMIT;")

    def _commit(self, connection: sqlite3.Connection) -> None:
        try:
            connection.execute("COMMIT")
        except sqlite3.Error as exc:
            _roll_back(connection)
            if getattr(exc, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_IOERR:
                raise CommitUnknown("the disk failed while committing") from exc
            raise


def _roll_back(connection: sqlite3.Connection) -> None:
    if connection.in_transaction:
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")


@contextmanager
def translated() -> Iterator[None]:
    """Turn the errors of SQLite and of the file system into this project's."""
    try:
        yield
    except sqlite3.Error as exc:
        raise _translation(getattr(exc, "sqlite_errorcode", 0) & 0xFF, exc) from exc
    except OSError as exc:
        raise refusal(exc) from exc


def refusal(exc: OSError) -> StorageError:
    """Return what an error of the file system means."""
    code = {28: "STORAGE_FULL", 122: "STORAGE_FULL", 30: "STORAGE_READONLY", 13: "STORAGE_READONLY"}.get(exc.errno or 0)
    return StorageError(f"the file system refused: {exc.strerror}", code=code)


def _translation(code: int, exc: sqlite3.Error) -> CausalError:
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return Conflict("the store stayed locked")
    named = {
        sqlite3.SQLITE_FULL: "STORAGE_FULL",
        sqlite3.SQLITE_READONLY: "STORAGE_READONLY",
        sqlite3.SQLITE_CORRUPT: "STORAGE_CORRUPT",
        sqlite3.SQLITE_NOTADB: "STORAGE_CORRUPT",
    }
    return StorageError(f"the store refused: {exc}", code=named.get(code))

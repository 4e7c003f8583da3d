"""A durable queue of hints: at least once, with leases, back-off and dead letters.

A message says "look there" and nothing more, so equal messages that nobody has taken yet are one; one that comes while
an equal one is being worked on is delivered afterwards. The lane ``changes`` carries written steps to the coordinator,
the lane ``work`` carries steps to those who run them.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from causal_orchestrator.backends.local.database import Database, translated
from causal_orchestrator.errors import InputError
from causal_orchestrator.log import event

CHANGES, WORK = "changes", "work"
TASKS = "tasks"
MAX_BODY = 2048
MAX_DELIVERIES = 20  # more than the eight attempts of a step, so that the step says first that it is over
VISIBILITY = 60.0
BACKOFF_BASE, BACKOFF_CAP = 0.5, 60.0
ADD = """
INSERT INTO queue(key, lane, topic, body, visible_at) VALUES(?,?,?,?,?)
ON CONFLICT(key) DO UPDATE SET
    again=(holder IS NOT NULL),
    visible_at=CASE WHEN holder IS NULL THEN min(visible_at, excluded.visible_at) ELSE visible_at END
"""
DUE = "SELECT id, topic, body, deliveries, token FROM queue WHERE lane=? AND visible_at<=? ORDER BY visible_at, id LIMIT ?"


@dataclass(frozen=True)
class Delivery:
    """A message on loan; the token is that of the loan."""

    id: int
    topic: str
    body: Mapping[str, Any]
    deliveries: int
    token: int


class LocalQueue:
    """The ports `Messages` and `Tasks`, and the consumer's side of both."""

    def __init__(self, database: Database, now: Callable[[], datetime]) -> None:
        self._database = database
        self._now = now

    def publish(self, topic: str, body: Mapping[str, Any]) -> None:
        """Send `body` to `topic`; what is lost with the power is sent again by the sweep that follows every start."""
        text = _text(body)
        with self._database.transaction(durable=False) as connection:
            self._add(connection, WORK, topic, text, self._time())

    def start(self, job: str, step: int, *, parts: int = 0) -> None:
        """Queue the step, or each of its parts."""
        bodies: list[dict[str, Any]] = [{"job_id": job, "step": step, "part": k, "parts": parts} for k in range(parts)]
        with self._database.transaction() as connection:
            for body in bodies or [{"job_id": job, "step": step}]:
                self._add(connection, WORK, TASKS, _text(body), self._time())

    def cancel(self, job: str, step: int) -> None:
        """Drop what has not been taken yet; who runs it learns of it when its lease is renewed."""
        with self._database.transaction() as connection:
            connection.execute(
                "DELETE FROM queue WHERE topic=? AND holder IS NULL AND json_extract(body,'$.job_id')=? "
                "AND json_extract(body,'$.step')=?",
                (TASKS, job, step),
            )

    def schedule(self, topic: str, body: Mapping[str, Any], *, at: datetime) -> None:
        """Publish later; a message for later is never merged with one for now."""
        with self._database.transaction() as connection:
            self._add(connection, WORK, topic, _text(body), at.timestamp(), mark=at.isoformat())

    def step_written(self, connection: sqlite3.Connection, job: str) -> None:
        """Leave word for the coordinator, inside the transaction that writes the step."""
        self._add(connection, CHANGES, CHANGES, _text({"job_id": job}), self._time())

    def take(
        self, lane: str, *, holder: str, limit: int = 1, done: Sequence[Delivery] = (), behind: int = 0
    ) -> list[Delivery]:
        """Borrow up to `limit` messages that are due, oldest first; those `done` are acknowledged on the way.

        With `behind`, nothing is borrowed unless more than that many are due: a helper's share.
        A loan that is lost with the power is only a delivery more, so these commits do not wait for the disk.
        """
        now = self._time()
        if not done and not self._is_due(lane, now, behind):
            return []
        taken = []
        with self._database.transaction(durable=False) as connection:
            self._acknowledge(connection, done, now)
            for key, topic, body, deliveries, token in connection.execute(DUE, (lane, now, limit)).fetchall():
                if deliveries >= MAX_DELIVERIES:
                    self._bury(connection, key, "delivered too often", now)
                    continue
                connection.execute(
                    "UPDATE queue SET visible_at=?, deliveries=?, token=?, holder=?, again=0 WHERE id=?",
                    (now + VISIBILITY, deliveries + 1, token + 1, holder, key),
                )
                taken.append(Delivery(key, topic, json.loads(body), deliveries + 1, token + 1))
        return taken

    def acknowledge(self, *done: Delivery) -> None:
        """End these loans for good; a message that came meanwhile is due now."""
        with self._database.transaction(durable=False) as connection:
            self._acknowledge(connection, done, self._time())

    def refuse(self, delivery: Delivery, error: str) -> None:
        """Give a message back after a failure: it is due again after a while, or dead after too many."""
        now = self._time()
        with self._database.transaction() as connection:
            if delivery.deliveries >= MAX_DELIVERIES:
                self._bury(connection, delivery.id, error, now, token=delivery.token)
                return
            connection.execute(
                "UPDATE queue SET holder=NULL, again=0, visible_at=? WHERE id=? AND token=?",
                (now + backoff(delivery.id, delivery.deliveries), delivery.id, delivery.token),
            )

    def extend(self, *held: Delivery) -> None:
        """Prolong loans that are still being worked on."""
        if not held:
            return
        with self._database.transaction(durable=False) as connection:
            for delivery in held:
                connection.execute(
                    "UPDATE queue SET visible_at=? WHERE id=? AND token=?",
                    (self._time() + VISIBILITY, delivery.id, delivery.token),
                )

    def release(self, holder: str) -> list[Mapping[str, Any]]:
        """End the loans of a dead process and return what it had been working on."""
        with self._database.transaction() as connection:
            bodies = connection.execute("SELECT body FROM queue WHERE holder=?", (holder,)).fetchall()
            connection.execute(
                "UPDATE queue SET holder=NULL, again=0, visible_at=? WHERE holder=?", (self._time(), holder)
            )
        return [json.loads(body) for (body,) in bodies]

    def holders(self) -> set[str]:
        """Return the processes that hold loans."""
        with translated():
            found = self._database.connection().execute("SELECT DISTINCT holder FROM queue WHERE holder IS NOT NULL")
            return {holder for (holder,) in found}

    def dead_letters(self) -> list[tuple[str, Mapping[str, Any], str]]:
        """Return topic, body and last error of every message that was given up."""
        with translated():
            found = self._database.connection().execute("SELECT topic, body, error FROM dead_letters ORDER BY id")
            return [(topic, json.loads(body), error) for topic, body, error in found]

    def _is_due(self, lane: str, now: float, behind: int) -> bool:
        with translated():
            found = self._database.connection().execute(f"{DUE} OFFSET ?", (lane, now, 1, behind))
            return found.fetchone() is not None

    def _time(self) -> float:
        return self._now().timestamp()

    def _add(self, connection: sqlite3.Connection, lane: str, topic: str, text: str, at: float, mark: str = "") -> None:
        connection.execute(ADD, ("\n".join((topic, mark, text)), lane, topic, text, at))

    def _acknowledge(self, connection: sqlite3.Connection, done: Sequence[Delivery], now: float) -> None:
        for delivery in done:
            mine = (delivery.id, delivery.token)
            connection.execute("DELETE FROM queue WHERE id=? AND token=? AND again=0", mine)
            connection.execute(
                "UPDATE queue SET holder=NULL, again=0, deliveries=0, visible_at=? WHERE id=? AND token=?", (now, *mine)
            )

    def _bury(self, connection: sqlite3.Connection, key: int, error: str, now: float, token: int | None = None) -> None:
        connection.execute(
            "INSERT INTO dead_letters(topic, body, deliveries, error, died_at) "
            "SELECT topic, body, deliveries, ?, ? FROM queue WHERE id=? AND token=coalesce(?, token)",
            (error[:500], now, key, token),
        )
        connection.execute("DELETE FROM queue WHERE id=? AND token=coalesce(?, token)", (key, token))
        event("dead_letter", severity="ERROR", message_id=key, error=error[:200])


def backoff(message: int, deliveries: int) -> float:
    """Return the seconds until the next delivery: doubling, capped, with jitter that depends on the message alone."""
    ceiling = min(BACKOFF_CAP, BACKOFF_BASE * 2.0 ** min(deliveries - 1, 30))
    share = int.from_bytes(hashlib.sha256(f"{message}/{deliveries}".encode()).digest()[:4], "big") / 2**32
    return ceiling * (0.5 + 0.5 * share)


def _text(body: Mapping[str, Any]) -> str:
    text = json.dumps(dict(body), sort_keys=True, separators=(",", ":"), allow_nan=False)
    if len(text) > MAX_BODY:
        raise InputError(f"a message of {len(text)} bytes is larger than {MAX_BODY}", code="MESSAGE_SIZE")
    return text

"""The embedded backends: one SQLite file and one folder, no server, no network.

::

    home/causal.db     documents, the queue and its dead letters
    home/objects/      files of jobs
    home/processes/    one folder per living process: its lock and what it is writing
    home/secrets/      named secrets, the signing key
    home/lock          held by the process that sweeps
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from causal_orchestrator import models
from causal_orchestrator.backends.cloud import OwnCloud
from causal_orchestrator.backends.local.database import Database, translated
from causal_orchestrator.backends.local.documents import LocalDocuments
from causal_orchestrator.backends.local.keys import LocalSecrets, sign_token, signing_key
from causal_orchestrator.backends.local.objects import LocalObjects
from causal_orchestrator.backends.local.presence import Presence
from causal_orchestrator.backends.local.queue import LocalQueue
from causal_orchestrator.backends.ports import Backends
from causal_orchestrator.backends.pulse import background
from causal_orchestrator.settings import Settings


@dataclass(frozen=True)
class Store:
    """The embedded backends, and the consumer's side of them that only the embedded loop needs."""

    home: Path
    backends: Backends
    database: Database
    queue: LocalQueue
    presence: Presence

    def close(self) -> None:
        """Leave nothing behind but what was stored."""
        self.presence.leave()
        self.database.close()


def open_store(settings: Settings, *, now: Callable[[], datetime] | None = None) -> Store:
    """Open the store in `settings.home`, made if need be (raises StorageError)."""
    clock = now or _now
    with translated():
        settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        home = settings.home.resolve()
        home.chmod(0o700)
        for name in ("objects", "processes", "secrets"):
            (home / name).mkdir(mode=0o700, exist_ok=True)
    database = Database(home / "causal.db")
    queue = LocalQueue(database, clock)
    presence = Presence(home / "processes", new_id)

    def address(name: str, generation: int, seconds: int, filename: str) -> str:
        expires = int(clock().timestamp()) + seconds
        key = signing_key(home / "secrets")
        token = sign_token(key, name=name, generation=generation, filename=filename, expires=expires)
        return f"{settings.url}/v1/objects/{token}"

    backends = Backends(
        documents=LocalDocuments(database, queue.step_written),
        objects=LocalObjects(home / "objects", presence.scratch, address),
        messages=queue,
        tasks=queue,
        secrets=LocalSecrets(settings.environ, home / "secrets"),
        now=clock,
        new_id=new_id,
        background=background,
        cloud=OwnCloud(settings),
        sources=settings.sources,
        process=lambda: presence.name,
    )
    backends = replace(backends, model=models.connect(settings, backends.secrets.get))
    return Store(home=home, backends=backends, database=database, queue=queue, presence=presence)


def new_id() -> str:
    """Return 128 random bits."""
    return secrets.token_hex(16)


def _now() -> datetime:
    return datetime.now(UTC)


__all__ = ["Store", "background", "new_id", "open_store"]

"""What the outside world must offer. One screen: the runtime calls nothing else.

Documents are JSON objects with datetimes (UTC); paths alternate collections and ids (``jobs/J/steps/0001``). A
collection is named by its path (``jobs``, ``jobs/J/steps``). Every method may raise ``StorageError``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from causal_orchestrator.web import Web

Document = Mapping[str, Any]
Found = Mapping[str, Document | None]
Writes = Mapping[str, Document | None]  # None deletes


@dataclass(frozen=True)
class Stored:
    """An object that can never change: its name, generation, hash (empty if unknown), size in bytes and labels."""

    name: str
    generation: int
    sha256: str
    size: int
    labels: Mapping[str, str] = field(default_factory=dict)


class Documents(Protocol):
    """Documents with transactions over a few named paths."""

    def get(self, path: str) -> Document | None:
        """Return the document, or None."""

    def update(self, paths: Sequence[str], change: Callable[[Found], Writes]) -> Found:
        """Read `paths`, write what the pure function `change` makes of them, all or nothing; return what stands then.

        Raises `Conflict` after a bounded number of lost races and `CommitUnknown` when the outcome was not seen.
        """

    def list(
        self, collection: str, *, where: Mapping[str, Any] | None = None, newest_first: bool = False,
        limit: int | None = None, after: str | None = None,
    ) -> list[tuple[str, Document]]:  # fmt: skip
        """Return (path, document) of those whose fields equal `where`, by id, or by `created_at` and id descending.

        `after` is the path of the last document of the page before.
        """


class Objects(Protocol):
    """Bytes under names, written once."""

    def create(self, name: str, data: bytes | Path) -> Stored:
        """Write all or nothing; a local path may be moved. Raises `AlreadyExists` unless the same bytes stand there."""

    def open(self, name: str, generation: int) -> BinaryIO:
        """Open for reading, seekable (raises `NotFound`)."""

    def local(self, name: str, generation: int) -> Path:
        """Return a local path of the object, downloaded if need be (raises `NotFound`)."""

    def find(self, name: str) -> Stored | None:
        """Return what stands under the name now, or None."""

    def list(self, prefix: str) -> list[str]:
        """Return the names that start with `prefix`."""

    def delete(self, name: str) -> None:
        """Remove every generation of it; removing what is not there is no error."""

    def sign(self, name: str, generation: int, *, seconds: int, filename: str) -> str:
        """Return an address from which the object can be read for `seconds`."""

    def sign_upload(self, name: str, *, seconds: int, most: int) -> tuple[str, Mapping[str, str]] | None:
        """Return an address to which at most `most` bytes can be PUT, once, and the headers to send with them.

        None where the store takes nothing but from this process.
        """


class Messages(Protocol):
    """At-least-once messages."""

    def publish(self, topic: str, body: Mapping[str, Any]) -> None:
        """Send `body` (ids only, under 2 KB) to `topic`."""


class Tasks(Protocol):
    """Work that needs a machine of its own, and messages for later."""

    def start(self, job: str, step: int, *, parts: int = 0) -> None:
        """Run the step (or each of its parts) as a job of its own."""

    def cancel(self, job: str, step: int) -> None:
        """Stop it if it runs; best effort."""

    def schedule(self, topic: str, body: Mapping[str, Any], *, at: datetime) -> None:
        """Publish later."""


class Secrets(Protocol):
    """Named secrets."""

    def get(self, name: str) -> str:
        """Return the secret (raises `NotFound`)."""


class Cloud(Protocol):
    """Datasets in a cloud's own stores: objects (``gs://``) and tables (``bq://``), read with this process's rights."""

    def version(self, address: str) -> str:
        """Return what the version that stands now is called (raises `InputError` if there is none to be read)."""

    def fetch(self, address: str, version: str, target: Path, *, most: int, rows: int) -> None:
        """Write this version into the new file `target`, of at most so many bytes and rows (raises `InputError`)."""


class Model(Protocol):
    """A language model."""

    name: str

    def ask(self, prompt: str, schema: Mapping[str, Any], *, timeout: float) -> Mapping[str, Any]:
        """Return an answer that claims to fit the JSON `schema` (raises `ModelUnavailable`)."""


@dataclass(frozen=True)
class Backends:
    """Everything outside the process, time and chance among it.

    `background(call, seconds)` calls `call` every so many seconds while its context is open. `datasets` is where people
    leave files for analysis, which is not where jobs keep theirs (F3: no job may be started by another one's output).
    `cloud` reads datasets elsewhere; `sources` are the addresses that each tenant may have fetched (``*``: all of them), None
    stands for whatever this process reaches. `outside` is the public web; `announces` says that somebody may listen on the
    topic ``analysis-events``. `process` is what this process is called where another one can see it die ("" elsewhere).
    """

    documents: Documents
    objects: Objects
    messages: Messages
    tasks: Tasks
    secrets: Secrets
    now: Callable[[], datetime]
    new_id: Callable[[], str]
    background: Callable[[Callable[[], None], float], AbstractContextManager[None]]
    model: Model | None = None
    cloud: Cloud | None = None
    sources: Mapping[str, Sequence[str]] | None = None
    outside: Web = field(default_factory=Web)
    announces: bool = False
    datasets: Objects | None = None
    process: Callable[[], str] = str

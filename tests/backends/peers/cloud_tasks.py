"""Cloud Tasks: HTTP requests for later, one of a name; who looks after their time has come takes them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from google.cloud.tasks_v2 import types
from grpc import StatusCode
from tests.backends.peers.server import Faults, Refused, served


class CloudTasks:
    """Waiting tasks by name; the names stay taken after they have run."""

    def __init__(self) -> None:
        self.waiting: dict[str, Any] = {}
        self.taken: set[str] = set()

    def create(self, request: Any) -> Any:
        task = request.task
        if not task.name.startswith(f"{request.parent}/tasks/") or not task.http_request.oauth_token.scope:
            raise Refused(StatusCode.INVALID_ARGUMENT)
        if task.name in self.taken:
            raise Refused(StatusCode.ALREADY_EXISTS)
        self.taken.add(task.name)
        self.waiting[task.name] = task
        return task

    def due(self, queue: str, now: datetime) -> list[Any]:
        """Return (and forget) the requests of a queue whose time has come."""
        found = [
            name
            for name, task in self.waiting.items()
            if name.startswith(queue) and task.schedule_time.ToDatetime(tzinfo=UTC) <= now
        ]
        return [self.waiting.pop(name).http_request for name in found]


@contextmanager
def cloud_tasks(peer: CloudTasks, faults: Faults) -> Iterator[str]:
    """Serve Cloud Tasks; give the address."""
    methods: Any = {"CreateTask": (peer.create, types.CreateTaskRequest)}
    with served({"google.cloud.tasks.v2.CloudTasks": methods}, faults) as address:
        yield address

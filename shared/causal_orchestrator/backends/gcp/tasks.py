"""Work that needs a machine of its own: executions of one Cloud Run Job. Messages for later: Cloud Tasks.

A task of an execution learns from its environment what it is: JOB_ID, STEP, PARTS (0: the whole step) and, from the
platform, CLOUD_RUN_TASK_INDEX (its part). A delayed message is a task that publishes it, so nothing of ours runs for it.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any

from google.cloud.run_v2.services.executions import ExecutionsClient
from google.cloud.run_v2.services.jobs import JobsClient
from google.cloud.run_v2.types import CancelExecutionRequest, Execution, ListExecutionsRequest, RunJobRequest
from google.cloud.tasks_v2.services.cloud_tasks import CloudTasksClient
from google.cloud.tasks_v2.types import HttpMethod, HttpRequest, Task

from causal_orchestrator.backends.gcp.calling import TIMEOUT, delivered, insist, translated
from causal_orchestrator.backends.gcp.messages import to_data
from causal_orchestrator.errors import AlreadyExists, NotFound

SCOPE = "https://www.googleapis.com/auth/pubsub"
LOOKED_THROUGH = 500  # executions, newest first


class GoogleTasks:
    """The port `Tasks`; `run_job` and `queue` are full names, `account` publishes what was delayed."""

    def __init__(
        self, jobs: JobsClient, executions: ExecutionsClient, tasks: CloudTasksClient, *, run_job: str, queue: str,
        account: str,
    ) -> None:  # fmt: skip
        self._jobs, self._executions, self._tasks = jobs, executions, tasks
        self._run_job, self._queue, self._account = run_job, queue, account

    def start(self, job: str, step: int, *, parts: int = 0) -> None:
        """Run the step as one task, or each of its parts as one; not waited for.

        Not repeated here: whether an execution that was not answered has begun is not known, and the sweeper sends an
        overdue step again.
        """
        environment = {"JOB_ID": job, "STEP": str(step), "PARTS": str(parts)}
        override = {"env": [{"name": name, "value": value} for name, value in environment.items()]}
        request = RunJobRequest(
            name=self._run_job, overrides={"container_overrides": [override], "task_count": max(1, parts)}
        )
        with delivered(), translated("starting a step"):
            self._jobs.run_job(request, retry=None, timeout=TIMEOUT)

    def cancel(self, job: str, step: int) -> None:
        """Stop the executions of the step that have not ended; one that ends meanwhile is no error."""
        for execution in insist(lambda: list(self._running(job, step)), what="looking for a step"):
            request = CancelExecutionRequest(name=execution.name)
            with suppress(NotFound):
                insist(
                    lambda asked=request: self._executions.cancel_execution(asked, retry=None, timeout=TIMEOUT),  # type: ignore[misc]
                    what="cancelling a step",
                )

    def schedule(self, topic: str, body: Mapping[str, Any], *, at: datetime) -> None:
        """Publish later; the same message for the same moment is one."""
        project = self._queue.split("/")[1]
        message = {"messages": [{"data": base64.b64encode(to_data(body)).decode()}]}
        key = hashlib.sha256(json.dumps([topic, message, at.isoformat()]).encode()).hexdigest()
        task = Task(
            name=f"{self._queue}/tasks/{key}", schedule_time=at,
            http_request=HttpRequest(
                url=f"https://pubsub.googleapis.com/v1/projects/{project}/topics/{topic}:publish",
                http_method=HttpMethod.POST, headers={"Content-Type": "application/json"},
                body=json.dumps(message).encode(),
                oauth_token={"service_account_email": self._account, "scope": SCOPE},
            ),
        )  # fmt: skip
        with delivered(), suppress(AlreadyExists):
            insist(
                lambda: self._tasks.create_task(parent=self._queue, task=task, retry=None, timeout=TIMEOUT),
                what="scheduling",
            )

    def _running(self, job: str, step: int) -> Iterator[Execution]:
        request = ListExecutionsRequest(parent=self._run_job, page_size=100)
        wanted = {("JOB_ID", job), ("STEP", str(step))}
        found = self._executions.list_executions(request, retry=None, timeout=TIMEOUT)
        for _, execution in zip(range(LOOKED_THROUGH), found, strict=False):
            set_up = {(v.name, v.value) for container in execution.template.containers for v in container.env}
            if wanted <= set_up and not execution.completion_time:
                yield execution

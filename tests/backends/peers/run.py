"""Cloud Run Jobs: executions that begin when someone looks at them, with what each task finds in its environment."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any

from google.cloud.run_v2 import types
from google.longrunning.operations_pb2 import Operation  # type: ignore[import-untyped]
from grpc import StatusCode
from tests.backends.peers.server import Faults, Refused, served

PAGE = 2


@dataclass
class Execution:
    job: str
    environment: dict[str, str]
    tasks: int
    begun: bool = False
    over: bool = False


class Run:
    """All executions, oldest first, across all jobs."""

    def __init__(self) -> None:
        self.executions: dict[str, Execution] = {}
        self.numbers = count(1)

    def run_job(self, request: Any) -> Any:
        (container,) = request.overrides.container_overrides
        name = f"{request.name}/executions/e{next(self.numbers)}"
        environment = {variable.name: variable.value for variable in container.env}
        self.executions[name] = Execution(request.name, environment, request.overrides.task_count)
        return Operation(name=f"operations/{name}")

    def list(self, request: Any) -> Any:
        mine = [name for name, e in reversed(self.executions.items()) if e.job == request.parent]
        start = int(request.page_token or 0)
        more = str(start + PAGE) if start + PAGE < len(mine) else ""
        found = [self._shown(name) for name in mine[start : start + PAGE]]
        return types.ListExecutionsResponse.pb()(executions=found, next_page_token=more)

    def cancel(self, request: Any) -> Any:
        if request.name not in self.executions:
            raise Refused(StatusCode.NOT_FOUND)
        self.executions[request.name].over = True
        return Operation(name=f"operations/{request.name}")

    def begin(self, job: str) -> list[dict[str, str]]:
        """Return the environments of all tasks of this job that have not begun and may."""
        found = []
        for name, execution in self.executions.items():
            if execution.job != job or execution.begun or execution.over:
                continue
            execution.begun = True
            for k in range(execution.tasks):
                platform = {"CLOUD_RUN_EXECUTION": name.rpartition("/")[2], "CLOUD_RUN_TASK_INDEX": str(k)}
                found.append({**execution.environment, **platform, "CLOUD_RUN_TASK_COUNT": str(execution.tasks)})
        return found

    def _shown(self, name: str) -> Any:
        execution = self.executions[name]
        env = [{"name": key, "value": value} for key, value in execution.environment.items()]
        shown = types.Execution.pb()(name=name, task_count=execution.tasks, template={"containers": [{"env": env}]})
        if execution.over:
            shown.completion_time.FromSeconds(1)
        return shown


@contextmanager
def run(peer: Run, faults: Faults) -> Iterator[str]:
    """Serve Cloud Run's jobs and executions; give the address."""
    jobs: Any = {"RunJob": (peer.run_job, types.RunJobRequest)}
    executions: Any = {
        "ListExecutions": (peer.list, types.ListExecutionsRequest),
        "CancelExecution": (peer.cancel, types.CancelExecutionRequest),
    }
    services = {"google.cloud.run.v2.Jobs": jobs, "google.cloud.run.v2.Executions": executions}
    with served(services, faults) as address:
        yield address

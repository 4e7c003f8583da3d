"""Every function in a process of its own, started from its own folder as the platform starts it, does what it is told.

The end-to-end test lets the agents share a process. Here nothing is computed: JOB-1. All agents' folders say the same, so
the default run starts one of them; the services have a process each in the end-to-end test.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping

import pytest
from google.pubsub_v1.types import PubsubMessage
from tests.functions.deployment import CALL_SECONDS, TENANT, Deployment, alone, prepared, wait
from tests.functions.dispatcher import REQUESTS, finalized, push, written

from causal_orchestrator import runtime
from causal_orchestrator.agents import AGENTS
from causal_orchestrator.question import Question
from causal_orchestrator.state import step_path
from causal_orchestrator.store import commit

pytestmark = [pytest.mark.xdist_group("functions"), pytest.mark.slow]

RARE = pytest.mark.exhaustive
PUSHED = [
    name if name == "effect_estimator" else pytest.param(name, marks=RARE)
    for name in (*AGENTS, "request_intake", "dead_letters")
]
POISON = b'{"job_id": 7}'


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    return prepared(tmp_path_factory.mktemp("every"))


@pytest.fixture
def function(deployment: Deployment, request: pytest.FixtureRequest) -> Iterator[str]:
    """The name of a function that runs."""
    with alone(deployment, request.param) as (process, port):
        wait(process, port)
        yield request.param


def call(deployment: Deployment, name: str, headers: Mapping[str, str], body: bytes | None) -> tuple[int, bytes]:
    path = "health" if name == "api" else ""
    request = urllib.request.Request(deployment.addresses[name] + path, body, dict(headers))  # noqa: S310  loopback
    try:
        with urllib.request.urlopen(request, timeout=CALL_SECONDS) as answer:  # noqa: S310
            return answer.status, answer.read()
    except urllib.error.HTTPError as exc:
        return exc.code, deployment.logs().encode()


def pushed(deployment: Deployment, name: str) -> Callable[[int], tuple[dict[str, str], bytes]]:
    topic = {"request_intake": REQUESTS, "dead_letters": "eda-dead"}.get(name, name)
    message = PubsubMessage(data=POISON, message_id=f"to {name}")
    return push(f"projects/{deployment.chosen.project}/subscriptions/{topic}", message)


@pytest.mark.parametrize("function", PUSHED, indirect=True)
def test_a_push_is_read_and_what_cannot_be_used_recorded(deployment: Deployment, function: str) -> None:
    status, answer = call(deployment, function, *pushed(deployment, function)(1))
    assert status == 200, answer
    found = [d for _, d in deployment.backends.documents.list("rejected") if d["delivery"] == f"to {function}"]
    assert [document["code"] for document in found] in (["MESSAGE_INVALID"], ["REQUEST_INVALID"])


def started(deployment: Deployment) -> str:
    source = {"kind": "object", "name": "nothing", "generation": 1}
    return runtime.start_job(deployment.backends, Question(), source, tenant=TENANT)


@RARE
@pytest.mark.parametrize("function", ["coordinator"], indirect=True)
def test_a_written_step_is_looked_at(deployment: Deployment, function: str) -> None:
    job = started(deployment)
    path = step_path(job, 0)
    commit(deployment.backends, [path], lambda found: {path: {**(found[path] or {}), "state": "failed"}})
    project = f"projects/{deployment.chosen.project}"
    name = f"{project}/databases/(default)/documents/{path}"
    status, answer = call(deployment, function, *written(project, name, None, 1)(1))
    assert status == 200, answer
    found, _ = runtime.get_job(deployment.backends, job, tenant=TENANT)
    assert found.state == "failed"


@RARE
@pytest.mark.parametrize("function", ["upload_intake"], indirect=True)
def test_a_file_starts_a_job(deployment: Deployment, function: str) -> None:
    bucket = deployment.chosen.datasets_bucket
    made = deployment.up.storage.create(bucket, "uploads/a.csv", b"t,y\n1,2\n", {})
    status, answer = call(deployment, function, *finalized(bucket, "uploads/a.csv", made)(1))
    assert status == 200, answer
    jobs = runtime.list_jobs(deployment.backends, tenant=TENANT)
    assert [job.source["name"] for job in jobs if job.principal == "upload"] == ["uploads/a.csv"]


@RARE
@pytest.mark.parametrize("function", ["sweeper"], indirect=True)
def test_the_scheduler_is_told_what_is_alive(deployment: Deployment, function: str) -> None:
    started(deployment)
    status, answer = call(deployment, function, {"content-type": "application/json"}, b"{}")
    assert status == 200, answer
    assert json.loads(answer)["live"] > 0


@RARE
@pytest.mark.parametrize("function", ["api"], indirect=True)
def test_the_service_is_well(deployment: Deployment, function: str) -> None:
    status, answer = call(deployment, function, {}, None)
    assert status == 200, answer

"""Steps in parts, failing handlers and dead letters through the deployed functions, with agents that compute nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from tests.functions.deployment import TENANT, Deployment, deployed, settled
from tests.functions.dispatcher import MAX_DELIVERIES, Dispatcher, Unkindness
from tests.toy_agents import PARTS

from causal_orchestrator import runtime

pytestmark = [pytest.mark.xdist_group("functions"), pytest.mark.slow]

REQUEST = {"treatment": "t", "outcome": "y", "query": "toy", "dataset": f"upload://{'0' * 32}/1"}
JOB_SECONDS = 120.0


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    folder = tmp_path_factory.mktemp("toys")
    with deployed(folder, ("dataset_fetcher", "toy_parts", "reporter"), toys="tests.toy_agents:PARTED") as found:
        yield found


@pytest.fixture(scope="module")
def running(deployment: Deployment) -> Iterator[Dispatcher]:
    with Dispatcher(deployment).running() as found:
        yield found


@pytest.fixture
def dispatcher(running: Dispatcher) -> Iterator[Dispatcher]:
    running.forget()
    yield running
    assert running.failures == []


@pytest.fixture(scope="module")
def job(deployment: Deployment, running: Dispatcher) -> str:
    """A job with a step in parts whose last step finds no storage at its first attempt, however often it tries."""
    found = deployment.submit(REQUEST)
    deployment.up.storage.faults.extend([("POST", 503, False)] * 4)
    assert deployment.ended(found, seconds=JOB_SECONDS) == "COMPLETED"
    assert settled(lambda: running.counts["task 0"] == PARTS, seconds=60)
    return found


def test_the_parts_of_a_step_are_tasks_of_one_execution(deployment: Deployment, running: Dispatcher, job: str) -> None:
    executions = [e for e in deployment.up.run.executions.values() if e.environment["JOB_ID"] == job]
    assert [execution.tasks for execution in executions] == [PARTS]
    _, steps = runtime.get_job(deployment.backends, job, tenant=TENANT)
    joined = next(step for step in steps if step.agent == "toy_parts")
    assert joined.result is not None
    assert joined.result["n_cells"] == sum(range(PARTS))


def test_a_handler_that_crashes_answers_500_and_its_step_is_done_in_the_end(
    deployment: Deployment, running: Dispatcher, job: str
) -> None:
    _, steps = runtime.get_job(deployment.backends, job, tenant=TENANT)
    assert steps[-1].attempt == 2
    assert running.counts["answered 500"] == 1
    assert running.counts["later"] == 1  # the step rested and was then called again


def test_erasing_a_job_wakes_nobody(deployment: Deployment, running: Dispatcher, job: str) -> None:
    running.forget()
    deployment.call("DELETE", f"/api/v1/jobs/{job}")
    assert settled(lambda: running.counts["answered 200"] >= 3, seconds=30)  # its steps are gone, which is told
    assert deployment.backends.documents.get(f"jobs/{job}") is None
    assert {name for name in running.counts if name.startswith("answered")} == {"answered 200"}


def test_doubled_and_lost_deliveries_leave_one_result_for_each_step(
    deployment: Deployment, dispatcher: Dispatcher
) -> None:
    dispatcher.unkindness, dispatcher.sweep_seconds = Unkindness(copies=2, loss=0.3, seed=7), 6.0
    job = deployment.submit(REQUEST)
    assert deployment.ended(job, seconds=JOB_SECONDS) == "COMPLETED"
    assert deployment.call("GET", f"/api/v1/jobs/{job}/traces")
    _, steps = runtime.get_job(deployment.backends, job, tenant=TENANT)
    assert [step.agent for step in steps] == ["dataset_fetcher", "toy_parts", "reporter"]
    assert {step.state for step in steps} == {"succeeded"}
    assert dispatcher.counts["lost"] > 0
    assert dispatcher.counts["sweeps"] > 0


def test_a_step_that_no_function_takes_becomes_a_dead_letter_and_fails_its_job(
    deployment: Deployment, dispatcher: Dispatcher
) -> None:
    dispatcher.crash = lambda name, body: name == "reporter"
    job = deployment.submit(REQUEST)
    assert deployment.ended(job, seconds=JOB_SECONDS) == "FAILED"
    found, steps = runtime.get_job(deployment.backends, job, tenant=TENANT)
    assert found.error is not None
    assert found.error.code == "DELIVERY_EXHAUSTED"
    assert (steps[-1].agent, steps[-1].state, steps[-1].attempt) == ("reporter", "cancelled", 0)
    assert dispatcher.counts["answered 500"] == MAX_DELIVERIES
    assert [name for name, _ in dispatcher.dead] == ["reporter"]


def test_poison_is_acknowledged_and_recorded(deployment: Deployment, dispatcher: Dispatcher) -> None:
    dispatcher.publish("reporter", b"", nothing="but an attribute")
    for poison in (b"\xff\xfe", b"[]", b'{"job_id": 7, "step": 1}', b'{"job_id": "x"}'):
        dispatcher.publish("reporter", poison)
    dispatcher.publish("reporter", json.dumps({"job_id": "0" * 32, "step": 1}).encode())
    assert settled(lambda: dispatcher.counts["answered 200"] >= 6, seconds=60)
    codes = sorted(document["code"] for _, document in deployment.backends.documents.list("rejected"))
    assert codes == [*["MESSAGE_INVALID"] * 3, "NOT_JSON", "NOT_JSON", "UNKNOWN_STEP"]
    assert dispatcher.counts["answered 500"] == 0

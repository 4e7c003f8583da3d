"""What is particular to Pub/Sub, Cloud Run Jobs, Cloud Tasks and Secret Manager; and how all of them are connected."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from grpc import StatusCode  # type: ignore[import-untyped]
from tests.backends import gcp

from causal_orchestrator.backends import connect
from causal_orchestrator.backends.gcp import calling
from causal_orchestrator.backends.ports import Backends
from causal_orchestrator.errors import InputError, NotFound, StorageError
from causal_orchestrator.settings import Settings

pytestmark = pytest.mark.xdist_group("gcp")
AT = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def up() -> gcp.Peers:
    return gcp.peers("peers")


@pytest.fixture
def chosen(up: gcp.Peers, tmp_path: Path) -> Settings:
    return gcp.settings(up, tmp_path / "home")


@pytest.fixture
def backends(up: gcp.Peers, chosen: Settings) -> Backends:
    return gcp.connected(up, chosen)


@pytest.fixture(autouse=True)
def _no_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calling, "PAUSE_CAP", 0.001)


CALLS: dict[str, Callable[[Backends], Any]] = {
    "Publish": lambda backends: backends.messages.publish("eda", {"job_id": "a"}),
    "RunJob": lambda backends: backends.tasks.start("a", 1),
    "ListExecutions": lambda backends: backends.tasks.cancel("a", 1),
    "CreateTask": lambda backends: backends.tasks.schedule("eda", {"job_id": "a"}, at=AT),
    "AccessSecretVersion": lambda backends: backends.secrets.get("key"),
}
MEANINGS = {
    StatusCode.UNAVAILABLE: "STORAGE_UNAVAILABLE",
    StatusCode.DEADLINE_EXCEEDED: "STORAGE_UNAVAILABLE",
    StatusCode.RESOURCE_EXHAUSTED: "STORAGE_BUSY",
    StatusCode.PERMISSION_DENIED: "STORAGE_DENIED",
    StatusCode.UNAUTHENTICATED: "STORAGE_DENIED",
    StatusCode.FAILED_PRECONDITION: "STORAGE_REFUSED",
    StatusCode.INVALID_ARGUMENT: "STORAGE_REFUSED",
}


@pytest.mark.parametrize("method", CALLS)
@pytest.mark.parametrize("code", MEANINGS, ids=lambda code: code.name)
def test_every_refusal_has_our_name_and_is_not_asked_for_ever(
    up: gcp.Peers, backends: Backends, method: str, code: StatusCode
) -> None:
    before = up.faults.calls[method]
    up.faults.before[method] = [code] * 100
    with pytest.raises(StorageError) as caught:
        CALLS[method](backends)
    up.faults.before[method] = []
    assert caught.value.code == MEANINGS[code]
    assert caught.value.__cause__ is not None
    passing = code in (StatusCode.UNAVAILABLE, StatusCode.DEADLINE_EXCEEDED, StatusCode.RESOURCE_EXHAUSTED)
    assert up.faults.calls[method] - before == (calling.TRIES if passing and method != "RunJob" else 1)


@pytest.mark.parametrize("method", ["Publish", "RunJob", "CreateTask"])
def test_a_receiver_that_is_not_there_is_a_failure_of_the_world(up: gcp.Peers, backends: Backends, method: str) -> None:
    up.faults.before[method] = [StatusCode.NOT_FOUND]
    with pytest.raises(StorageError) as caught:
        CALLS[method](backends)
    assert caught.value.code == "NO_RECEIVER"


def test_cancelling_stops_every_execution_of_the_step_and_no_other(
    up: gcp.Peers, chosen: Settings, backends: Backends
) -> None:
    for job, step, parts in [("a", 1, 0), ("a", 1, 4), ("a", 11, 0), ("b", 1, 0), ("a", 1, 0)]:
        backends.tasks.start(job, step, parts=parts)
    backends.tasks.cancel("a", 1)
    mine = [e for name, e in up.run.executions.items() if name.startswith(f"projects/{chosen.project}/")]
    assert [execution.over for execution in mine] == [True, True, False, False, True]
    before = up.faults.calls["CancelExecution"]
    backends.tasks.cancel("a", 1)
    assert up.faults.calls["CancelExecution"] == before


def test_an_execution_that_is_gone_before_it_is_cancelled_is_no_error(up: gcp.Peers, backends: Backends) -> None:
    backends.tasks.start("a", 1)
    up.faults.before["CancelExecution"] = [StatusCode.NOT_FOUND]
    backends.tasks.cancel("a", 1)


def test_a_message_scheduled_twice_is_one_and_another_moment_is_another(
    up: gcp.Peers, chosen: Settings, backends: Backends
) -> None:
    up.faults.after["CreateTask"] = [StatusCode.UNAVAILABLE]
    for _ in range(2):
        backends.tasks.schedule("eda", {"job_id": "a"}, at=AT)
    backends.tasks.schedule("eda", {"job_id": "a"}, at=AT.replace(day=2))
    backends.tasks.schedule("critique", {"job_id": "a"}, at=AT)
    waiting = [task for name, task in up.tasks.waiting.items() if f"/{chosen.project}/" in name]
    assert len(waiting) == 3
    request = waiting[0].http_request
    assert request.url == f"https://pubsub.googleapis.com/v1/projects/{chosen.project}/topics/eda:publish"
    assert request.oauth_token.service_account_email == gcp.ACCOUNT
    assert json.loads(request.body)["messages"]


def test_a_secret_comes_from_the_environment_or_its_newest_version(
    up: gcp.Peers, chosen: Settings, backends: Backends, tmp_path: Path
) -> None:
    up.secrets.secrets[f"projects/{chosen.project}/secrets/API_KEY/versions/latest"] = b"from afar\n"
    assert backends.secrets.get("API_KEY") == "from afar"
    near = Settings(**{**vars(chosen), "environ": {**up.environ, "API_KEY": "from here"}})
    assert gcp.connected(up, near).secrets.get("API_KEY") == "from here"
    with pytest.raises(NotFound):
        backends.secrets.get("OTHER/../API_KEY")


def test_a_secret_that_arrives_damaged_is_not_used(up: gcp.Peers, chosen: Settings, backends: Backends) -> None:
    name = f"projects/{chosen.project}/secrets/API_KEY/versions/latest"
    up.secrets.secrets[name] = b"k"
    up.secrets.damaged.add(name)
    with pytest.raises(StorageError) as caught:
        backends.secrets.get("API_KEY")
    assert caught.value.code == "STORAGE_CORRUPT"


def test_what_is_not_set_is_named(up: gcp.Peers) -> None:
    with pytest.raises(InputError, match="CAUSAL_REGION, CAUSAL_BUCKET, CAUSAL_SERVICE_ACCOUNT"):
        connect(Settings(backend="gcp", project="p", environ=up.environ))


def test_without_credentials_nothing_is_connected(chosen: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(chosen.home / "missing.json"))
    with pytest.raises(InputError) as caught:
        connect(Settings(**{**vars(chosen), "environ": {}}))
    assert caught.value.code == "SETTING"

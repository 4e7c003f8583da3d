"""IN-5: the end of a job is told once it stands, signed, a bounded number of times, and never in its way."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.backends.clock import Clock
from tests.datasets.web_peers import Names, Site, Wire, gives, served
from tests.simulation.memory import MemoryObjects

from causal_orchestrator import notify, runtime
from causal_orchestrator.backends.local import open_store
from causal_orchestrator.backends.ports import Backends
from causal_orchestrator.errors import InputError, StorageError
from causal_orchestrator.question import Question
from causal_orchestrator.settings import Settings

HOOK = "https://data.example.org/hook"
ENVIRON = {"NOTIFY_KEY": "k" * 32}


@dataclass
class Topic:
    """Takes messages; `broken` says that it does not answer."""

    inner: Any
    told: list[Mapping[str, Any]] = field(default_factory=list)
    broken: bool = False

    def publish(self, topic: str, body: Mapping[str, Any]) -> None:
        if topic != notify.TOPIC:
            self.inner.publish(topic, body)
        elif self.broken:
            raise StorageError("no topic")
        else:
            self.told.append(body)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with served(Site({"/hook": gives(b"thanks")}), tmp_path) as found:
        yield found


@pytest.fixture
def backends(tmp_path: Path, site: Site, clock: Clock) -> Iterator[Backends]:
    store = open_store(Settings(home=tmp_path / "home", environ=ENVIRON), now=clock)
    made = store.backends
    yield dataclasses.replace(made, outside=site.web(), messages=Topic(made.messages), announces=True)
    store.close()


def ended(backends: Backends, url: str | None = HOOK) -> str:
    """Start a job, cancel it and let the coordinator look."""
    question = Question(treatment="t", outcome="y", notify_url=url)
    job = runtime.start_job(backends, question, {"kind": "uri", "uri": "x.csv"}, tenant="acme")
    runtime.cancel(backends, job, tenant="acme")
    runtime.coordinate(backends, job)
    return job


def standing(backends: Backends, job: str) -> Mapping[str, Any]:
    found = backends.documents.get(notify.path(job))
    assert found is not None
    return found


def told(backends: Backends) -> list[Mapping[str, Any]]:
    topic = backends.messages
    assert isinstance(topic, Topic)
    return topic.told


def test_the_end_is_published_and_posted_with_a_signature_that_holds(
    backends: Backends, site: Site, clock: Clock
) -> None:
    job = ended(backends)
    (path, headers, body), *others = site.heard
    assert (path, others) == ("/hook", [])
    assert set(json.loads(body)) == {"job_id", "status", "verdict", "ended_at"}
    assert (json.loads(body)["job_id"], json.loads(body)["status"]) == (job, "CANCELLED")
    assert told(backends) == [json.loads(body)]
    assert headers["x-causal-delivery"] == f"{job}-0"
    given = {name.title(): value for name, value in headers.items()}
    key = notify.key_of("acme", secret=ENVIRON["NOTIFY_KEY"])
    assert notify.verify(body, given, key=key, now=clock())
    assert not notify.verify(body + b" ", given, key=key, now=clock())
    assert not notify.verify(body, given, key=notify.key_of("other", secret=ENVIRON["NOTIFY_KEY"]), now=clock())
    assert not notify.verify(body, given, key=key, now=clock() + timedelta(minutes=6))
    assert not notify.verify(body, {}, key=key, now=clock())


def test_a_job_that_is_looked_at_again_is_told_of_once(backends: Backends, site: Site, clock: Clock) -> None:
    job = ended(backends)
    for _ in range(3):
        clock.advance(3600)
        runtime.coordinate(backends, job)
        runtime.sweep(backends)
        notify.tell(backends, job)
    assert len(site.heard) == len(told(backends)) == 1
    assert standing(backends, job)["settled"]


def test_a_dead_receiver_is_tried_a_few_times_and_the_job_has_ended_all_the_same(
    backends: Backends, site: Site, clock: Clock
) -> None:
    site.answers["/hook"] = gives(b"", 500)
    job = ended(backends)
    assert runtime.get_job(backends, job, tenant="acme")[0].done
    for _ in range(600):
        clock.advance(60)
        runtime.sweep(backends)
    assert len(site.heard) == notify.MAX_TRIES
    assert len(told(backends)) == 1
    assert (standing(backends, job)["settled"], standing(backends, job)["error"]) == (True, "NOTIFY_REFUSED")
    assert len({headers["x-causal-delivery"] for _, headers, _ in site.heard}) == 1


def test_a_receiver_that_comes_back_is_told(backends: Backends, site: Site, clock: Clock) -> None:
    site.answers["/hook"] = gives(b"", 503)
    job = ended(backends)
    runtime.sweep(backends)
    assert len(site.heard) == 1  # not due yet
    site.answers["/hook"] = gives(b"")
    clock.advance(61)
    runtime.sweep(backends)
    assert len(site.heard) == 2
    assert (standing(backends, job)["settled"], standing(backends, job)["error"]) == (True, None)


def test_a_topic_that_does_not_answer_is_tried_again(backends: Backends, site: Site, clock: Clock) -> None:
    topic = backends.messages
    assert isinstance(topic, Topic)
    topic.broken = True
    ended(backends)
    topic.broken = False
    clock.advance(61)
    runtime.sweep(backends)
    assert (len(topic.told), len(site.heard)) == (1, 1)


@pytest.mark.parametrize("inside", ["10.0.0.1", "169.254.169.254", "127.0.0.1"])
def test_a_receiver_inside_is_never_called(inside: str, backends: Backends) -> None:
    wire = Wire(None)
    web = dataclasses.replace(backends.outside, resolve=Names({"data.example.org": [[inside]]}), dial=wire)
    job = ended(dataclasses.replace(backends, outside=web))
    assert wire.dialled == []
    assert (standing(backends, job)["settled"], standing(backends, job)["error"]) == (True, "URL_NOT_ALLOWED")


def test_nothing_is_posted_unsigned(backends: Backends, site: Site, tmp_path: Path) -> None:
    keyless = open_store(Settings(home=tmp_path / "home", environ={})).backends
    job = ended(dataclasses.replace(backends, secrets=keyless.secrets))
    assert site.heard == []
    assert standing(backends, job)["error"] == "NOTIFY_KEY"


def test_where_nobody_listens_there_is_no_notice(backends: Backends) -> None:
    job = ended(dataclasses.replace(backends, announces=False), url=None)
    assert backends.documents.get(notify.path(job)) is None


def test_erasing_a_job_erases_its_notice(backends: Backends) -> None:
    job = ended(backends)
    runtime.erase(backends, job, tenant="acme")
    assert backends.documents.get(notify.path(job)) is None


def test_an_address_that_could_never_be_told_is_refused_at_the_door() -> None:
    from causal_orchestrator import intake

    with pytest.raises(InputError) as caught:
        intake.asked(
            {"dataset": "gs://b/x", "notify_url": "http://10.0.0.1/"}, tenant="acme", rules={"*": ("gs://b",)},
            objects=MemoryObjects(),
        )  # fmt: skip
    assert caught.value.code == "URL_NOT_ALLOWED"

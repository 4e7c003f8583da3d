"""M1 to M20 of the corpus: what a message or an event may say, and what the functions make of it.

Each case is a CloudEvent that is given to the function as its trigger gives it. What returns is acknowledged, what raises
comes again; what can never be used is recorded once and acknowledged.
"""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cloudevents.http import CloudEvent
from tests.terraform import configuration

from causal_orchestrator import entrypoints, runtime
from causal_orchestrator.backends.local import open_store
from causal_orchestrator.backends.ports import Backends
from causal_orchestrator.errors import CausalError
from causal_orchestrator.http.deployed import deployed
from causal_orchestrator.question import Question
from causal_orchestrator.settings import Settings
from causal_orchestrator.state import job_path, step_path

CASES: dict[str, dict[str, Any]] = json.loads((Path(__file__).parent / "messages.json").read_text())
TABLE = b"t,y,x\n" + b"".join(b"%d,%d.5,%d\n" % (k % 2, k, k * 7 % 11) for k in range(60))
PUBLISHED = "google.cloud.pubsub.topic.v1.messagePublished"
WRITTEN = "google.cloud.firestore.document.v1.written"
TYPES = {
    "on_message": PUBLISHED,
    "on_dead_letter": PUBLISHED,
    "on_request_message": PUBLISHED,
    "on_step_written": WRITTEN,
    "on_upload": entrypoints.FINALIZED,
}
BUCKET = "datasets"


@dataclass
class Place:
    backends: Backends
    file: Path

    def start(self) -> str:
        question = Question(treatment="t", outcome="y")
        return runtime.start_job(self.backends, question, {"kind": "uri", "uri": str(self.file)}, tenant="local")

    def change(self, path: str, **fields: Any) -> None:
        self.backends.documents.update([path], lambda found: {path: {**(found[path] or {}), **fields}})

    def everything(self) -> dict[str, Any]:
        names = ("jobs", "rejected", "notices", "results")
        found = {path: document for name in names for path, document in self.backends.documents.list(name)}
        for path in [path for path in found if path.startswith("jobs/")]:
            found |= dict(self.backends.documents.list(f"{path}/steps"))
        return found


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    settings = Settings(home=tmp_path / "home", datasets_bucket=BUCKET, sources={"*": ("gs://bucket",)}, environ={})
    store, dropped = open_store(settings), open_store(Settings(home=tmp_path / "dropped", environ={}))
    backends = dataclasses.replace(store.backends, datasets=dropped.backends.objects)
    monkeypatch.setattr(entrypoints, "_settings", lambda: settings)
    monkeypatch.setattr(entrypoints, "_backends", lambda: backends)
    file = tmp_path / "a.csv"
    file.write_bytes(TABLE)
    yield Place(backends, file)
    store.close()
    dropped.close()


def put_into(state: str, place: Place) -> str:
    """Return a job that was brought into a state."""
    job = place.start()
    if state == "fetched":
        runtime.run_step(place.backends, job, 0)
        runtime.coordinate(place.backends, job)
    elif state == "ended":
        place.file.unlink()  # the step fails, and a look at the job would end it
        runtime.run_step(place.backends, job, 0)
    elif state == "cancelled":
        runtime.cancel(place.backends, job, tenant="local")
        runtime.coordinate(place.backends, job)
    elif state == "erased":
        runtime.erase(place.backends, job, tenant="local")
    elif state == "newer":
        place.change(job_path(job), schema_version=99)
    elif state == "late":
        place.change(job_path(job), deadline_at=datetime.now(UTC) - timedelta(minutes=1))
    elif state == "hops":
        runtime.run_step(place.backends, job, 0)
        place.change(job_path(job), hops=1_000_000)
    return job


def event(case: dict[str, Any], job: str, place: Place) -> CloudEvent:
    """Return the event that a trigger would make of the case."""
    sent = datetime.now(UTC) + timedelta(hours=case.get("hours", 0))
    attributes = {"id": "e1", "type": case.get("type", TYPES[case["to"]]), "source": "//test", "time": sent.isoformat()}
    if "subject" in case:
        attributes["subject"] = case["subject"].replace("JOB", job)
    if "event_data" in case:
        return CloudEvent(attributes, case["event_data"])
    if "object" in case:
        name = case["object"].get("name", "uploads/a.csv")
        found = place.backends.datasets.find(name) if place.backends.datasets else None
        stored = found or place.backends.datasets.create(name, TABLE)  # type: ignore[union-attr]
        return CloudEvent(
            attributes, {"bucket": BUCKET, "name": name, "generation": str(stored.generation), **case["object"]}
        )
    text = json.dumps(case["json"]).replace("JOB", job) if "json" in case else case.get("text", "")
    text = case["repeat"][0] * case["repeat"][1] if "repeat" in case else text
    message: dict[str, Any] = {"data": case.get("data", base64.b64encode(text.encode()).decode()), "messageId": "m1"}
    message["attributes"] = {f"a{k}": "v" * 1000 for k in range(case.get("attributes", 0))}
    return CloudEvent(attributes, {"message": message, "subscription": "s"})


def test_every_case_of_the_plan_is_here() -> None:
    assert {key.split("-")[0] for key in CASES} == {f"M{k}" for k in range(1, 21)}
    assert {case["test"] for case in CASES.values() if "test" in case} <= set(globals())


@pytest.mark.parametrize("key", [key for key, case in CASES.items() if "to" in case])
def test_a_delivery_ends_as_the_corpus_says(key: str, place: Place) -> None:
    case = CASES[key]
    stays = "object" in case or case["to"] in ("on_request_message", "on_upload")
    job = "" if stays else put_into(case.get("state", "queued"), place)
    before = place.everything()
    deliver = getattr(entrypoints, case["to"])
    if "raises" in case:
        with pytest.raises(CausalError) as caught:
            deliver(event(case, job, place))
        assert caught.value.code == case["raises"]
        return
    for _ in range(case.get("times", 2)):
        deliver(event(case, job, place))
    after = place.everything()
    rejected = [document for path, document in after.items() if path.startswith("rejected/")]
    assert [document["code"] for document in rejected] == ([case["rejected"]] if "rejected" in case else [])
    if case.get("unchanged") or "rejected" in case:
        assert {path: d for path, d in after.items() if not path.startswith("rejected/")} == before
    if "jobs" in case:
        assert (
            sum(document["tenant"] == "local" for document in after.values() if "question" in document) == case["jobs"]
        )
    if "ends" in case:
        runtime.coordinate(place.backends, job)
        found, _ = runtime.get_job(place.backends, job, tenant="local")
        assert found.state == case["ends"]
        assert case.get("code") in (None, found.error.code if found.error else "")
    if "tenant" in case:
        found, steps = runtime.get_job(place.backends, job, tenant=case["tenant"])
        pinned = [pin.name for step in steps for pin in step.files.values()]
        assert pinned
        assert all(name.startswith(f"{case['tenant']}/") for name in pinned)


def test_a_hundred_deliveries_at_once_are_one_result(place: Place) -> None:
    """M4."""
    job = place.start()
    told = {"to": "on_message", "json": {"job_id": "JOB", "step": 0}}
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda k: entrypoints.on_message(event(told, job, place)), range(100)))
    _, steps = runtime.get_job(place.backends, job, tenant="local")
    assert (steps[0].state, steps[0].attempt) == ("succeeded", 1)


def test_events_out_of_order_plan_one_step(place: Place) -> None:
    """M14: the events of a step's writes come late and the wrong way round; the state is what counts."""
    job = put_into("fetched", place)
    for number in (1, 0, 0, 1):
        told = {"to": "on_step_written", "subject": f"documents/jobs/JOB/steps/{number:04d}"}
        entrypoints.on_step_written(event(told, job, place))
    _, steps = runtime.get_job(place.backends, job, tenant="local")
    assert [step.number for step in steps] == [0, 1]


def test_who_is_not_let_in_is_refused_before_anything_is_read(place: Place) -> None:
    """M12: the platform refuses a push whose account is not the function's one caller; the API refuses by itself."""
    body = configuration.read()["."].named("module")["function"].body
    assert body["ingress"] == '${each.value.caller == "people" ? "ALLOW_ALL" : "ALLOW_INTERNAL_ONLY"}'
    assert body["invokers"].endswith(
        ": {(each.value.caller) = google_service_account.caller[each.value.caller].member}}"
    )
    client = deployed(entrypoints._settings(), place.backends).test_client()
    for token in ({}, {"Authorization": "Bearer nobody"}):
        answer = client.post("/api/v1/jobs", data=b"not JSON", headers=token)
        assert answer.status_code == 401


def test_a_task_for_a_finished_step_ends_well_and_writes_nothing(place: Place) -> None:
    """M20."""
    job = put_into("fetched", place)
    before = place.everything()
    environ = {"JOB_ID": job, "STEP": "0", "PARTS": "0", "CLOUD_RUN_TASK_INDEX": "0"}
    assert entrypoints.on_task(environ) == 0
    assert place.everything() == before
    assert place.backends.documents.get(step_path(job, 0)) is not None

"""Each door with what may come through it: IN-5, IN-6, JOB-1, JOB-2, OPS-5; corpus M (messages and events) and R28."""

from __future__ import annotations

import base64
import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cloudevents.http import CloudEvent

from causal_orchestrator import entrypoints, runtime
from causal_orchestrator.backends.local import open_store
from causal_orchestrator.backends.local.objects import LocalObjects
from causal_orchestrator.backends.ports import Backends
from causal_orchestrator.errors import Busy, StorageError
from causal_orchestrator.question import ask as make_question
from causal_orchestrator.settings import ONE_THREAD, Settings

BUCKET = "datasets"
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
QUESTION = {"treatment": "t", "outcome": "y"}
UPLOADED = {**QUESTION, "dataset": f"upload://{'0' * 32}/7"}


@pytest.fixture
def backends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Backends:
    """An embedded store in the place of a project; nothing runs in it, so jobs stay where they are."""
    settings = Settings(home=tmp_path / "home", datasets_bucket=BUCKET, tenant="acme")
    store = open_store(settings, now=lambda: NOW)
    dropped = tmp_path / "dropped"
    dropped.mkdir()
    found = dataclasses.replace(
        store.backends, datasets=LocalObjects(dropped, store.presence.scratch, lambda *a: ""), sources={}
    )
    monkeypatch.setattr(entrypoints, "_settings", lambda: settings)
    monkeypatch.setattr(entrypoints, "_backends", lambda: found)
    return found


def event(data: Any, *, kind: str = "google.cloud.pubsub.topic.v1.messagePublished", **attributes: str) -> CloudEvent:
    given = {"type": kind, "source": "//here", "id": "7", "time": NOW.isoformat(), **attributes}
    return CloudEvent(given, data)


def message(body: Any, *, attributes: Mapping[str, str] | None = None, key: str = "105", **more: str) -> CloudEvent:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    inner = {"data": base64.b64encode(data).decode(), "attributes": dict(attributes or {}), "messageId": key}
    return event({"message": inner, "subscription": "projects/p/subscriptions/s"}, id=key, **more)


def started(backends: Backends) -> str:
    source = {"kind": "uri", "uri": "nowhere.csv"}
    return runtime.start_job(backends, make_question(QUESTION), source, tenant="acme")


def rejected(backends: Backends) -> list[str]:
    return [str(document["code"]) for _, document in backends.documents.list("rejected")]


def jobs(backends: Backends) -> list[Any]:
    return runtime.list_jobs(backends, tenant="acme")


# --- a step's message ---------------------------------------------------------------------------------------------


def test_a_message_runs_the_step_that_it_names(backends: Backends, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[Any] = []
    monkeypatch.setattr(runtime, "run_step", lambda found, *step: ran.append(step))
    job = started(backends)
    entrypoints.on_message(message({"job_id": job, "step": 0, "attempt": 99, "tenant": "other"}))
    assert ran == [(job, 0)]
    assert rejected(backends) == []


@pytest.mark.parametrize(
    ("poison", "code"),
    [
        (message(b""), "NOT_JSON"),
        (message(b"\xff\xfe"), "NOT_JSON"),
        (message(b"[" * 5000), "TOO_LARGE"),
        (message([]), "MESSAGE_INVALID"),
        (message({"step": 1}), "MESSAGE_INVALID"),
        (message({"job_id": 7, "step": 1}), "MESSAGE_INVALID"),
        (message({"job_id": "../x", "step": 1}), "MESSAGE_INVALID"),
        (message({"job_id": "0" * 32, "step": True}), "MESSAGE_INVALID"),
        (message({"job_id": "0" * 32, "step": -1}), "MESSAGE_INVALID"),
        (message({"job_id": "0" * 32, "step": 1}), "UNKNOWN_STEP"),
        (event({"message": {"data": "not base64!"}}), "MESSAGE_INVALID"),
        (event({"message": 7}), "MESSAGE_INVALID"),
        (event(None), "MESSAGE_INVALID"),
    ],
)
def test_a_message_that_names_no_step_is_recorded_and_acknowledged(
    backends: Backends, poison: CloudEvent, code: str
) -> None:
    for _ in range(2):
        entrypoints.on_message(poison)
    assert rejected(backends) == [code]


@pytest.mark.parametrize("age", [timedelta(hours=25), -timedelta(hours=25)])
def test_a_message_older_than_a_day_or_from_the_future_is_not_run(
    backends: Backends, monkeypatch: pytest.MonkeyPatch, age: timedelta
) -> None:
    monkeypatch.setattr(runtime, "run_step", lambda *step: pytest.fail("it was run"))
    entrypoints.on_message(message({"job_id": started(backends), "step": 0}, time=(NOW - age).isoformat()))
    assert rejected(backends) == ["EVENT_AGE"]


def test_what_the_world_did_is_raised_so_that_the_message_comes_again(
    backends: Backends, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*step: Any) -> None:
        raise StorageError("the store does not answer")

    monkeypatch.setattr(runtime, "run_step", fail)
    with pytest.raises(StorageError):
        entrypoints.on_message(message({"job_id": started(backends), "step": 0}))
    assert rejected(backends) == []


# --- a dead letter ------------------------------------------------------------------------------------------------


def test_a_dead_letter_fails_the_job_once(backends: Backends) -> None:
    job = started(backends)
    dead = message({"job_id": job, "step": 0}, time=(NOW - timedelta(days=3)).isoformat())
    entrypoints.on_dead_letter(dead)
    found, (step,) = runtime.get_job(backends, job, tenant="acme")
    assert (found.state, step.state) == ("failed", "cancelled")
    assert found.error is not None
    assert found.error.code == "DELIVERY_EXHAUSTED"
    entrypoints.on_dead_letter(dead)
    assert runtime.get_job(backends, job, tenant="acme") == (found, [step])
    assert rejected(backends) == []


def test_a_dead_letter_that_names_no_step_is_recorded(backends: Backends) -> None:
    for _ in range(2):
        entrypoints.on_dead_letter(message(UPLOADED))
    assert rejected(backends) == ["MESSAGE_INVALID"]


# --- a written document -------------------------------------------------------------------------------------------


def written(name: str | None, subject: str | None = None) -> CloudEvent:
    attributes = {"document": name, "subject": subject}
    given = {key: value for key, value in attributes.items() if value is not None}
    return event(b"\x0a\x00 raw protobuf", kind="google.cloud.firestore.document.v1.written", **given)


@pytest.mark.parametrize("name", [lambda job: (f"jobs/{job}/steps/0000", None), lambda job: (None, f"documents/jobs/{job}/steps/0000")], ids=["document", "subject"])  # fmt: skip
def test_a_written_step_makes_its_job_be_looked_at(
    backends: Backends, monkeypatch: pytest.MonkeyPatch, name: Callable[[str], tuple[str | None, str | None]]
) -> None:
    looked: list[str] = []
    monkeypatch.setattr(runtime, "coordinate", lambda found, job: looked.append(job))
    job = "a" * 32
    entrypoints.on_step_written(written(*name(job)))
    assert looked == [job]


@pytest.mark.parametrize(
    "name",
    [
        f"jobs/{'a' * 32}", f"jobs/{'a' * 32}/leases/0000", f"jobs/{'a' * 32}/steps/0000/parts/0000", "jobs/x/steps/0000",
        f"rejected/{'a' * 64}", "", None,
    ],
)  # fmt: skip
def test_any_other_document_is_passed_by(backends: Backends, monkeypatch: pytest.MonkeyPatch, name: str | None) -> None:
    monkeypatch.setattr(runtime, "coordinate", lambda *job: pytest.fail("a job was looked at"))
    entrypoints.on_step_written(written(name))
    assert rejected(backends) == []  # a record would be a written document, too


def test_the_removal_of_an_erased_job_changes_nothing(backends: Backends) -> None:
    entrypoints.on_step_written(written(f"jobs/{'a' * 32}/steps/0000"))
    assert jobs(backends) == []


# --- a request in a message ---------------------------------------------------------------------------------------


def test_a_request_starts_one_job_however_often_it_comes(backends: Backends) -> None:
    for _ in range(3):
        entrypoints.on_request_message(message(UPLOADED))
    (job,) = jobs(backends)
    assert job.tenant == "acme"
    assert job.source == {"kind": "object", "name": f"acme/uploads/{'0' * 32}/data", "generation": 7}
    assert job.question.dataset is None  # the reference differs from upload to upload, a result must not
    entrypoints.on_request_message(message(UPLOADED, key="106"))
    assert len(jobs(backends)) == 2


def test_the_publishers_own_key_stands_above_the_messages(backends: Backends) -> None:
    many = {f"k{n}": "v" * 1000 for n in range(1000)}
    for key in ("105", "106"):
        entrypoints.on_request_message(message(UPLOADED, key=key, attributes={**many, "idempotency_key": "mine"}))
    assert len(jobs(backends)) == 1
    entrypoints.on_request_message(message({**UPLOADED, "query": "other"}, attributes={"idempotency_key": "mine"}))
    assert rejected(backends) == ["IDEMPOTENCY_MISMATCH"]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (QUESTION, "DATASET_MISSING"),
        ({**QUESTION, "dataset": "/etc/passwd"}, "URL_NOT_ALLOWED"),
        ({**QUESTION, "dataset": "file:///etc/passwd"}, "URL_NOT_ALLOWED"),
        ({**UPLOADED, "tenant": "other"}, "REQUEST_INVALID"),
        ({**UPLOADED, "status": "COMPLETED"}, "REQUEST_INVALID"),
        ({**UPLOADED, "preferences": {"seed": "5"}}, "REQUEST_INVALID"),
        ({**UPLOADED, "treatment": "y"}, "ROLE_CONFLICT"),
        (b'{"treatment": "a", "treatment": "b"}', "DUPLICATE_KEY"),
        ([], "NOT_AN_OBJECT"),
    ],
)
def test_a_message_is_checked_as_a_request_over_http_is(backends: Backends, body: Any, code: str) -> None:
    entrypoints.on_request_message(message(body))
    assert rejected(backends) == [code]
    assert jobs(backends) == []


def test_beyond_its_share_a_tenants_message_comes_again_later(
    backends: Backends, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("causal_orchestrator.intake.MAX_LIVE_JOBS", 1)
    entrypoints.on_request_message(message(UPLOADED))
    with pytest.raises(Busy):
        entrypoints.on_request_message(message(UPLOADED, key="106"))
    assert len(jobs(backends)) == 1


# --- a file in the datasets bucket --------------------------------------------------------------------------------


def finalized(name: str, generation: int, /, **changes: Any) -> CloudEvent:
    data = {
        "bucket": BUCKET,
        "name": name,
        "generation": str(generation),
        "size": "1",
        "metageneration": "1",
        **changes,
    }
    return event(data, kind="google.cloud.storage.object.v1.finalized")


def drop(backends: Backends, name: str, data: bytes = b"t,y\n1,2\n") -> int:
    assert backends.datasets is not None
    return backends.datasets.create(name, data).generation


def test_a_file_starts_one_job_with_the_roles_of_its_sidecar(backends: Backends) -> None:
    drop(backends, "uploads/a.csv.question.json", json.dumps(QUESTION).encode())
    generation = drop(backends, "uploads/a.csv")
    for _ in range(2):
        entrypoints.on_upload(finalized("uploads/a.csv", generation))
    (job,) = jobs(backends)
    assert (job.question.treatment, job.question.outcome) == ("t", "y")
    assert job.source == {"kind": "dropped", "name": "uploads/a.csv", "generation": generation}


def test_without_a_sidecar_the_files_labels_are_asked_and_else_the_profiler(
    backends: Backends, monkeypatch: pytest.MonkeyPatch
) -> None:
    generation = drop(backends, "uploads/a.csv")
    entrypoints.on_upload(finalized("uploads/a.csv", generation))
    assert jobs(backends)[0].question == make_question({})
    found = backends.datasets.find("uploads/a.csv")  # type: ignore[union-attr]
    for labels in (
        {"treatment_variable": "t", "outcome": "y", "covariates": "a, b", "origin": "a survey"},
        {"question": json.dumps({"treatment": "t", "outcome": "y", "covariates": ["a", "b"]})},
    ):
        labelled = dataclasses.replace(found, labels=labels)  # type: ignore[type-var]
        monkeypatch.setattr(LocalObjects, "find", lambda self, name, it=labelled: it if name.endswith("csv") else None)
        from causal_orchestrator import intake

        assert intake._question(backends.datasets, labelled) == make_question(  # type: ignore[arg-type]
            {"treatment": "t", "outcome": "y", "covariates": ["a", "b"]}
        )


@pytest.mark.parametrize(
    "name",
    [
        "results/a.csv", "acme/uploads/x/data", "uploads/", "uploads/a/", "uploads/a.csv.question.json", "uploads/_SUCCESS",
        "uploads/.hidden", "a.csv",
    ],
)  # fmt: skip
def test_what_is_no_dataset_starts_nothing(backends: Backends, name: str) -> None:
    generation = drop(backends, name) if not name.endswith("/") else 1
    entrypoints.on_upload(finalized(name, generation))
    assert jobs(backends) == []


@pytest.mark.parametrize(
    "changes", [{"generation": "0"}, {"generation": "12345"}, {"generation": "-1"}, {"generation": "x"}, {"bucket": "artifacts"}, {"name": "uploads/b.csv"}]
)  # fmt: skip
def test_an_event_of_another_bucket_generation_or_file_starts_nothing(
    backends: Backends, changes: dict[str, str]
) -> None:
    generation = drop(backends, "uploads/a.csv")
    entrypoints.on_upload(finalized("uploads/a.csv", generation, **changes))
    assert jobs(backends) == []


@pytest.mark.parametrize("kind", ["archived", "deleted", "metadataUpdated"])
def test_another_change_of_a_file_starts_nothing(backends: Backends, kind: str) -> None:
    generation = drop(backends, "uploads/a.csv")
    told = finalized("uploads/a.csv", generation)
    entrypoints.on_upload(event(told.data, kind=f"google.cloud.storage.object.v1.{kind}"))
    assert jobs(backends) == []


@pytest.mark.parametrize(
    ("sidecar", "code"),
    [
        (b"{", "NOT_JSON"),
        (b"[]", "NOT_AN_OBJECT"),
        (b'{"treatment": 7}', "REQUEST_INVALID"),
        (b'{"notify_url": "https://169.254.169.254/"}', None),
    ],
)
def test_a_sidecar_that_is_no_question_is_recorded(backends: Backends, sidecar: bytes, code: str | None) -> None:
    drop(backends, "uploads/a.csv.question.json", sidecar)
    entrypoints.on_upload(finalized("uploads/a.csv", drop(backends, "uploads/a.csv")))
    found = rejected(backends)
    assert len(found) == 1
    assert code in (None, found[0])
    assert jobs(backends) == []


def test_a_file_that_was_replaced_meanwhile_is_not_analysed(backends: Backends) -> None:
    entrypoints.on_upload(finalized("uploads/a.csv", drop(backends, "uploads/a.csv")))
    (job,) = jobs(backends)
    backends.datasets.delete("uploads/a.csv")  # type: ignore[union-attr]
    drop(backends, "uploads/a.csv", b"t,y\n3,4\n")
    entrypoints.on_message(message({"job_id": job.id, "step": 0}))
    _, (step,) = runtime.get_job(backends, job.id, tenant="acme")
    assert step.state == "failed"
    assert step.error is not None
    assert step.error.code == "SOURCE_CHANGED"


def test_a_name_that_leads_elsewhere_is_recorded(backends: Backends) -> None:
    entrypoints.on_upload(finalized("uploads/../../etc/passwd", 1))
    assert rejected(backends) == ["OBJECT_NAME"]


# --- the scheduler and the job ------------------------------------------------------------------------------------


def test_the_scheduler_sweeps(backends: Backends) -> None:
    started(backends)
    assert entrypoints.on_schedule(None) == ({"live": 1, "collected": 0}, 200)  # type: ignore[arg-type]


def task(**changes: str) -> dict[str, str]:
    return {"JOB_ID": "a" * 32, "STEP": "3", "PARTS": "0", "CLOUD_RUN_TASK_INDEX": "2", **changes}


@pytest.mark.parametrize(("parts", "part"), [("0", None), ("4", 2)])
def test_a_task_runs_its_step_or_its_part(
    backends: Backends, monkeypatch: pytest.MonkeyPatch, parts: str, part: int | None
) -> None:
    ran: list[Any] = []
    monkeypatch.setattr(runtime, "run_step", lambda found, *step, part: ran.append((*step, part)))
    assert entrypoints.on_task(task(PARTS=parts)) == 0
    assert ran == [("a" * 32, 3, part)]


def test_a_task_of_a_step_that_is_over_or_unknown_ends_well(backends: Backends) -> None:
    assert entrypoints.on_task(task()) == 0


@pytest.mark.parametrize("changes", [{"JOB_ID": "x"}, {"STEP": ""}, {"STEP": "-1"}, {"PARTS": "many"}])
def test_a_task_that_names_no_step_is_not_tried_again(backends: Backends, changes: dict[str, str]) -> None:
    assert entrypoints.on_task(task(**changes)) == 0


def test_a_task_that_fails_says_so_to_the_platform(backends: Backends, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*step: Any, part: int | None) -> None:
        raise StorageError("the store does not answer")

    monkeypatch.setattr(runtime, "run_step", fail)
    assert entrypoints.on_task(task()) == 1


# --- starting -----------------------------------------------------------------------------------------------------


def test_the_doors_open_without_the_science_and_before_anything_is_connected() -> None:
    heavy = (
        "numpy, pandas, scipy, sklearn, statsmodels, matplotlib, pyarrow, networkx, econml, google.cloud.firestore_v1"
    )
    program = (
        "import sys, causal_orchestrator.entrypoints, causal_orchestrator.http.deployed\n"
        f"found = sorted(set('{heavy}'.split(', ')) & set(sys.modules))\n"
        "sys.exit(repr(found) if found else 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_a_process_computes_with_one_thread(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ONE_THREAD:
        monkeypatch.setenv(name, "2")
    monkeypatch.setenv("CAUSAL_HOME", str(tmp_path))
    entrypoints._settings.cache_clear()
    try:
        entrypoints._backends.__wrapped__()
    finally:
        entrypoints._settings.cache_clear()
    import os

    assert {os.environ[name] for name in ONE_THREAD} == {"1"}

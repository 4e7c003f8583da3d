"""One trace per job, one JSON line per event, and not a value of the data in either (OPS-1, OPS-2)."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from tests.models.runs import Scripted, experiment, helpful, ladder, run
from tests.simulation import toy
from tests.simulation.invariants import fake_table
from tests.test_runtime import Desk

from causal_orchestrator import log, reader, runtime, tracing
from causal_orchestrator.errors import CausalError, InputError
from causal_orchestrator.question import Question

CANARY = 7_654_321.125


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    tracing.use(SimpleSpanProcessor(exporter))
    yield exporter
    tracing.use(None)


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.setattr(reader, "_table", fake_table)
    return Desk()


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.DEBUG, logger="causal_orchestrator")
    return caplog


def lines(told: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [json.loads(record.getMessage()) for record in told.records if record.name == "causal_orchestrator"]


def ident(span: ReadableSpan) -> str:
    assert span.context is not None
    return f"{span.context.span_id:016x}"


def parent(span: ReadableSpan) -> str | None:
    return None if span.parent is None else f"{span.parent.span_id:016x}"


def traces(found: tuple[ReadableSpan, ...]) -> set[str]:
    return {f"{span.context.trace_id:032x}" for span in found if span.context is not None}


def tree(found: tuple[ReadableSpan, ...]) -> dict[str, str | None]:
    """Return every span's name with its parent's."""
    names = {ident(span): f"{span.name} {(span.attributes or {}).get('step', 0)}" for span in found}
    return {names[ident(span)]: None if span.parent is None else names[parent(span) or ""] for span in found}


def expected(job: str, desk: Desk) -> dict[str, str | None]:
    """Return the tree of a job without faults, from its documents."""
    wanted: dict[str, str | None] = {"start 0": None}
    for step in desk.steps(job):
        number = step["number"]
        before = f"decide {number}" if number else "start 0"
        if number:
            wanted[before] = "start 0"
        wanted[f"run {step['agent']} {number}"] = before
    return wanted


def test_a_job_is_one_trace_and_every_span_hangs_where_it_belongs(desk: Desk, spans: InMemorySpanExporter) -> None:
    job = desk.ask()
    assert desk.run(job) == "completed"
    found = spans.get_finished_spans()
    assert traces(found) == {job}
    whole = [span for span in found if (span.attributes or {}).get("part") is None]
    assert tree(tuple(whole)) == expected(job, desk)
    parts = [span for span in found if span not in whole]
    assert parts
    deciding = {ident(span) for span in found if span.name == "decide"}
    assert {parent(span) for span in parts} <= deciding


def test_what_is_delivered_twice_is_told_once(desk: Desk, spans: InMemorySpanExporter) -> None:
    job = desk.ask()
    while desk.sent:
        _, body = desk.sent.pop(0)
        for _ in range(2):
            desk.step(body)
            desk.coordinate(job)
    found = spans.get_finished_spans()
    assert desk.job(job)["state"] == "completed"
    assert traces(found) == {job}
    assert len({ident(span) for span in found}) == len(found)
    assert set(expected(job, desk)) <= set(tree(found))


def test_an_attempt_that_failed_stands_beside_the_one_that_did_not(
    desk: Desk, spans: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = desk.ask()
    real = desk.backends.objects.create
    failures = iter([True])

    def create(name: str, data: bytes | Path) -> Any:
        if next(failures, False):
            raise ConnectionError("the world")
        return real(name, data)

    monkeypatch.setattr(desk.backends.objects, "create", create)
    for _ in range(200):
        if not desk.sent:
            break
        _, body = desk.sent.pop(0)
        try:
            desk.step(body)
        except CausalError:
            desk.time = desk.time.replace(minute=desk.time.minute + 5)
        desk.coordinate(job)
    found = spans.get_finished_spans()
    failed = [span for span in found if (span.attributes or {}).get("outcome") == "released"]
    assert len(failed) == 1
    twin = [span for span in found if span.name == failed[0].name and parent(span) == parent(failed[0])]
    assert sorted(str((span.attributes or {})["attempt"]) for span in twin) == ["1", "2"]
    assert len({ident(span) for span in twin}) == 2
    assert not failed[0].status.is_ok
    assert traces(found) == {job}


def test_a_whole_analysis_tells_who_was_asked_and_no_value_of_the_data(
    tmp_path: Path, spans: InMemorySpanExporter, told: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = experiment(60)
    frame.loc[0, "x"] = CANARY
    frame["name"] = [f"canary-{k}" for k in range(len(frame))]
    path = tmp_path / "data.csv"
    frame.to_csv(path, index=False)
    ended = run(
        tmp_path / "home", Question(treatment="t", outcome="y", randomized=True), path, ladder(Scripted(helpful)),
        monkeypatch,
    )  # fmt: skip
    found = spans.get_finished_spans()
    assert traces(found) == {ended.job.id}
    asked = [span for span in found if span.name == "ask"]
    known = {ident(span) for span in found}
    assert asked
    assert all(parent(span) in known for span in found if span.name != "start")
    written = lines(told)
    everything = json.dumps(written) + "".join(str(span.to_json()) for span in found)
    for secret in (str(CANARY), "7654321", "canary-", str(path)):
        assert secret not in everything
    models = [line for line in written if line["message"] == "model"]
    assert len(models) == len(asked) == ended.job.calls
    assert {line["outcome"] for line in models} == {"answered"}
    assert {line["tokens_in"] for line in models} == {10}


def test_a_line_leads_to_its_trace_and_its_span(
    desk: Desk, spans: InMemorySpanExporter, told: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(log._PLACE, "project", "p")
    job = desk.ask()
    desk.run(job)
    known = {ident(span) for span in spans.get_finished_spans()}
    steps = [line for line in lines(told) if line["message"] in ("job_started", "decided", "step")]
    assert {line["logging.googleapis.com/spanId"] for line in steps} == known
    assert {line["logging.googleapis.com/trace"] for line in steps} == {f"projects/p/traces/{job}"}
    assert {line["logging.googleapis.com/labels"]["job"] for line in steps} == {job}
    (ended,) = [line for line in lines(told) if line["message"] == "job_ended"]
    assert (ended["status"], ended["hops"]) == ("COMPLETED", desk.job(job)["hops"])


def test_results_are_the_same_whether_anybody_watches(
    tmp_path: Path, spans: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "data.csv"
    experiment(60).to_csv(path, index=False)
    question = Question(treatment="t", outcome="y", randomized=True)
    watched = run(tmp_path / "one", question, path, None, monkeypatch)
    assert spans.get_finished_spans()
    tracing.use(None)
    unwatched = run(tmp_path / "two", question, path, None, monkeypatch)
    assert watched.files["results.json"] == unwatched.files["results.json"]


def test_a_sweep_says_that_it_was(desk: Desk, told: pytest.LogCaptureFixture) -> None:
    desk.ask()
    runtime.sweep(desk.backends, agents=toy.AGENTS)
    (line,) = [line for line in lines(told) if line["message"] == "sweep"]
    assert line["live"] == 1


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[ExportTraceServiceRequest]]:
    """A receiver of OTLP/HTTP on this machine, which the environment names; what it got."""
    got: list[ExportTraceServiceRequest] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/traces"
            got.append(ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    tracing._processor.cache_clear()
    yield got
    tracing._processor.cache_clear()
    server.shutdown()
    thread.join()
    server.server_close()


def test_spans_go_where_the_standard_variable_says(desk: Desk, receiver: list[ExportTraceServiceRequest]) -> None:
    job = desk.ask()
    desk.run(job)
    sent = [s for request in receiver for r in request.resource_spans for scope in r.scope_spans for s in scope.spans]
    assert {span.trace_id.hex() for span in sent} == {job}
    assert len(sent) >= 2 * len(desk.steps(job))


def test_a_receiver_that_is_gone_stops_nothing(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "SECONDS", 0.05)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    tracing._processor.cache_clear()
    try:
        assert desk.run(desk.ask()) == "completed"
    finally:
        tracing._processor.cache_clear()


def test_without_a_receiver_nothing_of_opentelemetry_is_imported() -> None:
    program = (
        "import sys\nfrom datetime import datetime, UTC\nfrom causal_orchestrator import tracing\n"
        "now = datetime.now(UTC)\ntracing.record('start', 'j', tracing.started('j'), None, now, now)\ntracing.flush()\n"
        "sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], env={}, timeout=60, check=False)
    assert done.returncode == 0


def test_an_id_of_another_form_has_a_trace_too() -> None:
    assert log.trace_id("0" * 32) == "0" * 32
    assert log.trace_id("job-1") != log.trace_id("job-2")
    assert len(log.trace_id("job-1")) == 32


def test_a_level_that_does_not_exist_is_refused() -> None:
    with pytest.raises(InputError, match="CAUSAL_LOG"):
        log.connect("LOUD")

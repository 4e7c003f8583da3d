"""Metrics, alerts and charts speak of what the code logs, and every alert that was promised is there (OPS-2, OPS-3)."""

from __future__ import annotations

import json
import logging
import re
from dataclasses import replace

import pytest
from tests.models.runs import Scripted, helpful, ladder
from tests.simulation import toy
from tests.simulation.invariants import fake_table
from tests.terraform.configuration import read
from tests.test_runtime import Desk

from causal_orchestrator import reader, runtime
from causal_orchestrator.errors import ModelUnavailable

ROOT = read()["."]
LOCALS = ROOT.locals()


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> dict[str, set[str]]:
    """Event → the fields that some line of it has, over a job, a question to a model and a sweep."""
    monkeypatch.setattr(reader, "_table", fake_table)
    caplog.set_level(logging.DEBUG, logger="causal_orchestrator")
    desk, refusing = Desk(), Scripted(helpful)
    job = desk.ask()
    backends = desk.backends
    desk.backends = replace(backends, model=ladder(Scripted(helpful)))
    desk.run(job, until=desk.last(job)["agent"])
    desk.run(job)
    monkeypatch.setattr(refusing, "send", _refused)
    desk.backends = replace(backends, model=ladder(refusing))
    second = desk.ask()
    desk.run(second)
    runtime.sweep(backends, agents=toy.AGENTS)
    found: dict[str, set[str]] = {}
    for record in caplog.records:
        if record.name == "causal_orchestrator":
            line = json.loads(record.getMessage())
            found.setdefault(line["message"], set()).update(line)
    return found


def _refused(prompt: str, schema: object, *, seconds: float) -> object:
    raise ModelUnavailable("no", code="MODEL_REFUSED", details={"status": 401})


def test_every_metric_is_of_an_event_and_of_fields_that_are_logged(logged: dict[str, set[str]]) -> None:
    optional = {"code", "verdict", "cost"}  # of jobs that failed, of jobs that have one, where prices are known
    for name, counter in LOCALS["counters"].items():
        fields = {*counter["labels"], *re.findall(r"jsonPayload\.(\w+)", counter["condition"])}
        assert fields - optional <= logged[counter["event"]], name
    for name, measure in LOCALS["measures"].items():
        assert {measure["field"], *measure["labels"]} - optional <= logged[measure["event"]], name


def test_every_metric_that_is_watched_exists() -> None:
    watched = set(re.findall(r"\$\{local\.user\}/(\w+)", ROOT.text))
    assert watched <= {*LOCALS["counters"], *LOCALS["measures"], "api_seconds"}
    assert len(watched) > 8


def test_a_label_by_which_something_is_grouped_is_one_of_its_metric() -> None:
    for chart in [*LOCALS["charts"], *LOCALS["rates"].values(), *LOCALS["limits"].values()]:
        named = re.search(r"\$\{local\.user\}/(\w+)", chart.get("filter") or chart["part"])
        if named and named[1] != "api_seconds":
            metric = (LOCALS["counters"] | LOCALS["measures"])[named[1]]
            text = json.dumps(chart)
            assert set(re.findall(r"metric\.label\.(\w+)", text)) <= set(metric["labels"]), named[1]


def test_the_alerts_are_those_that_were_promised() -> None:
    rates = {name: (rate["most"], rate["period"]) for name, rate in LOCALS["rates"].items()}
    assert rates["errors"] == (0.05, "300s")
    assert rates["failed_jobs"] == (0.1, "900s")
    assert rates["model_errors"][0] == 0.01
    limits = {name: limit["most"] for name, limit in LOCALS["limits"].items()}
    assert (limits["latency"], limits["memory"], limits["job_memory"], limits["dead_letters"]) == (30, 0.9, 0.9, 0)
    assert LOCALS["limits"]["latency"]["align"] == "ALIGN_PERCENTILE_95"
    sweeps = ROOT.named("resource")["google_monitoring_alert_policy.no_sweep"].body
    assert sweeps["conditions"][0]["condition_absent"][0]["duration"] == "300s"
    told = [b.body["notification_channels"] for b in ROOT.blocks if b.labels[:1] == ("google_monitoring_alert_policy",)]
    assert told == [["${google_monitoring_notification_channel.email.id}"]] * 3

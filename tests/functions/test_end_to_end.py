"""thin"""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from typing import Any

import time
import pytest
from tests.functions.deployment import Deployment, deployed
from tests.functions.dispatcher import Dispatcher, settled

from causal_orchestrator import examples

QUESTION = {
    "treatment": "treat", "outcome": "re78", "randomized": True,
    "covariates": ["age", "educ", "black", "hisp", "marr", "nodegree", "re74", "re75"],
    "preferences": {"methods": ["difference_in_means"], "max_iterations": 0},
}


def call(d, method, path, body=None, headers=None):
    request = urllib.request.Request(d.addresses["api"].rstrip("/") + path, body, {**d.headers, **(headers or {})}, method=method)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return answer.status, answer.read()


def upload(d, data: bytes) -> str:
    boundary = "frontier"
    body = b"".join([f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="l.csv"\r\nContent-Type: text/csv\r\n\r\n'.encode(), data, f"\r\n--{boundary}--\r\n".encode()])
    status, text = call(d, "POST", "/api/v1/uploads", body, {"Content-Type": f"multipart/form-data; boundary={boundary}"})
    assert status == 201
    return json.loads(text)["dataset"]


def test_thin(tmp_path: Path) -> None:
    examples.write("lalonde", tmp_path / "lalonde.csv")
    t = time.perf_counter()
    with deployed(tmp_path) as d, Dispatcher(d).running() as dispatcher:
        print("up", time.perf_counter() - t)
        reference = upload(d, (tmp_path / "lalonde.csv").read_bytes())
        status, text = call(d, "POST", "/api/v1/jobs", json.dumps({**QUESTION, "dataset": reference}).encode(), {"Content-Type": "application/json"})
        job = json.loads(text)["job_id"]
        state: dict[str, Any] = {}

        def ended() -> bool:
            state.update(json.loads(call(d, "GET", f"/api/v1/jobs/{job}")[1]))
            return state["status"] in ("COMPLETED", "FAILED", "REJECTED")

        ok = settled(ended, seconds=90)
        print("done", time.perf_counter() - t, state, dispatcher.counts, dispatcher.failures)
        from causal_orchestrator.runtime import get_job
        _, steps = get_job(d.backends, job, tenant="acme")
        for s in steps:
            print(s.number, s.agent, s.state, s.queued_at.time(), s.started_at and (s.started_at - s.queued_at).total_seconds(), s.ended_at and s.started_at and (s.ended_at - s.started_at).total_seconds(), s.attempt, s.error)
        if not ok:
            for log in d.build.glob("*/log"):
                print(log, log.read_text()[-1500:])
        assert ok
        assert state["status"] == "COMPLETED"

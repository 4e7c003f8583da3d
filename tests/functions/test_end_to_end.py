"""The LaLonde analysis through the deployed functions, from each way in: IN-1, IN-2, IN-5, IN-6, JOB-1 to JOB-3, HON-7.

Every function is served by functions-framework from the folder that a deployment uploads. What comes out must be the
laptop's result, byte for byte, whichever way the question came in and whatever happened to the deliveries.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.functions.deployment import TENANT, Deployment, at, deployed, settled
from tests.functions.dispatcher import REQUESTS, Dispatcher, Unkindness

from causal_orchestrator import examples, runtime

pytestmark = [pytest.mark.xdist_group("functions"), pytest.mark.slow]

# One method and no iteration: what is shown here is the way, not the statistics.
QUESTION = {
    "treatment": "treat", "outcome": "re78", "randomized": True,
    "covariates": ["age", "educ", "black", "hisp", "marr", "nodegree", "re74", "re75"],
    "preferences": {"methods": ["difference_in_means"], "max_iterations": 0},
}  # fmt: skip
PUBLISHED, CENT = 1794.34, 0.005  # Dehejia and Wahba (1999), table 3
JOB_SECONDS = 240.0  # a dozen on a quiet machine
LAPTOP = """
import json, sys
import causal_orchestrator as co
co.analyze(sys.argv[1], question=json.loads(sys.argv[2]), out=sys.argv[3])
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("functions")
    examples.write("lalonde", folder / "lalonde.csv")
    return folder


@pytest.fixture(scope="module")
def deployment(place: Path) -> Iterator[Deployment]:
    with deployed(place) as found:
        yield found


@pytest.fixture(scope="module")
def dispatcher(deployment: Deployment) -> Iterator[Dispatcher]:
    with Dispatcher(deployment).running() as found:
        yield found
        assert found.failures == []


@pytest.fixture(scope="module")
def laptop(place: Path, deployment: Deployment) -> bytes:
    """The same question on embedded backends, by the same copy of the package."""
    environ = at(deployment.build / "api", {**os.environ, "CAUSAL_HOME": str(place / "laptop")})
    command = [sys.executable, "-c", LAPTOP, str(place / "lalonde.csv"), json.dumps(QUESTION), str(place / "out")]
    subprocess.run(command, cwd=place, env=environ, timeout=JOB_SECONDS, check=True, capture_output=True)
    return (place / "out" / "results.json").read_bytes()


@pytest.fixture(scope="module")
def jobs(place: Path, deployment: Deployment, dispatcher: Dispatcher) -> dict[str, str]:
    """One job from each way in, all at once: its ID by who it came from."""
    data = (place / "lalonde.csv").read_bytes()
    by_http = deployment.submit({**QUESTION, "dataset": deployment.upload(data)})
    message = json.dumps({**QUESTION, "dataset": deployment.upload(data)}).encode()
    for _ in range(2):
        dispatcher.publish(REQUESTS, message, idempotency_key="the publisher's own")
    bucket = deployment.backends.datasets
    assert bucket is not None
    bucket.create("uploads/study/lalonde.csv.question.json", json.dumps(QUESTION).encode())
    bucket.create("uploads/study/lalonde.csv", data)
    found = {"tester": by_http}

    def all_in() -> bool:
        found.update({job.principal: job.id for job in runtime.list_jobs(deployment.backends, tenant=TENANT)})
        return len(found) == 3

    assert settled(all_in, seconds=60), deployment.logs()
    return found


def results(deployment: Deployment, job: str) -> bytes:
    assert deployment.ended(job, seconds=JOB_SECONDS) == "COMPLETED", deployment.logs()
    return deployment.call("GET", f"/api/v1/jobs/{job}/results")


@pytest.mark.parametrize("way", ["tester", "message", "upload"], ids=["http", "message", "bucket"])
def test_each_way_in_gives_the_laptops_result_byte_for_byte(
    deployment: Deployment, jobs: dict[str, str], laptop: bytes, way: str
) -> None:
    found = results(deployment, jobs[way])
    primary = next(e for e in json.loads(found)["treatment_effects"] if e["role"] == "primary")
    assert primary["estimate"] == pytest.approx(PUBLISHED, abs=CENT)
    assert found == laptop


def test_each_request_gave_one_job_and_no_delivery_failed(
    deployment: Deployment, dispatcher: Dispatcher, jobs: dict[str, str]
) -> None:
    assert len(runtime.list_jobs(deployment.backends, tenant=TENANT)) == len(jobs)
    assert dispatcher.dead == []
    assert {name for name in dispatcher.counts if name.startswith("answered")} == {"answered 200"}
    assert dispatcher.counts["sweeps"] == 0  # the triggers alone carried all of it
    assert deployment.backends.documents.list("rejected") == []


def test_every_process_runs_the_staged_copy(deployment: Deployment) -> None:
    program = "import main, causal_orchestrator; print(causal_orchestrator.__file__)"
    for name in ("api", "eda", "step_job"):
        folder = deployment.build / name
        environ = at(folder, deployment.environ)
        done = subprocess.run([sys.executable, "-c", program], cwd=folder, env=environ, timeout=60, check=True, capture_output=True, text=True)  # fmt: skip
        assert Path(done.stdout.strip()).is_relative_to(folder)


def test_doubled_and_lost_deliveries_change_nothing(
    place: Path, deployment: Deployment, dispatcher: Dispatcher, laptop: bytes
) -> None:
    reference = deployment.upload((place / "lalonde.csv").read_bytes())
    before = dispatcher.counts.copy()
    dispatcher.unkindness, dispatcher.sweep_seconds = Unkindness(copies=2, loss=0.1, seed=1986), 1.0
    try:
        job = deployment.submit({**QUESTION, "dataset": reference})
        assert results(deployment, job) == laptop
    finally:
        dispatcher.unkindness, dispatcher.sweep_seconds = Unkindness(), None
    assert dispatcher.counts["lost"] > before["lost"]
    assert dispatcher.dead == []

"""R1 to R29, R68 and R69 of the corpus: every bad request ends as the data beside it say, quickly and in one form."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from tests.http import test_service
from tests.http.conftest import World
from tests.http.test_service import REQUEST, submit

from causal_orchestrator import runtime

CASES: dict[str, dict[str, Any]] = json.loads((Path(__file__).parents[1] / "corpus" / "requests.json").read_text())
SECONDS = 2.0  # of processor time: the corpus' bound for a submission
HERE = {key: case for key, case in CASES.items() if "status" in case}
NAMES = {key: case for key, case in CASES.items() if "name" in case}
ELSEWHERE = {f"R{k}" for k in range(31, 68)}  # tokens and addresses
SERVER = {"R30"}  # connections, not requests: test_server


def spelled(value: Any) -> Any:
    """Return a value whose data only say how it is made."""
    if isinstance(value, dict) and set(value) == {"repeat"}:
        return value["repeat"][0] * value["repeat"][1]
    if isinstance(value, dict) and set(value) == {"around"}:
        before, text, count, after = value["around"]
        return before + text * count + after
    if isinstance(value, dict) and set(value) == {"count"}:
        return [f"c{k}" for k in range(value["count"])]
    if isinstance(value, dict):
        return {name: spelled(item) for name, item in value.items()}
    return value


def body(case: dict[str, Any]) -> bytes | None:
    if "bytes" in case:
        return bytes.fromhex(case["bytes"])
    if "with" in case:
        return json.dumps({**REQUEST, **spelled(case["with"])}).encode()
    made = [spelled({how: case[how]}) for how in ("repeat", "around") if how in case]
    text = made[0] if made else case.get("body")
    return None if text is None else str(text).encode()


def ask(world: World, case: dict[str, Any]) -> Any:
    headers = {"Content-Type": "application/json", **world.headers("owner"), **spelled(case.get("headers", {}))}
    path = spelled(case.get("path", "/api/v1/jobs"))
    return world.client.open(path, method=case.get("method", "POST"), data=body(case), headers=headers)


@pytest.mark.parametrize("key", HERE)
def test_a_bad_request_ends_as_the_corpus_says(key: str, lasting: World) -> None:
    case, before = HERE[key], len(runtime.list_jobs(lasting.backends, tenant="acme", limit=1000))
    began = time.process_time()
    answer = ask(lasting, case)
    assert time.process_time() - began < SECONDS
    assert answer.status_code == case["status"], answer.text[:300]
    if answer.status_code >= 400:
        assert set(answer.json["error"]) == {"code", "message", "request_id"}
        assert len(answer.json["error"]["message"]) < 400
        assert len(runtime.list_jobs(lasting.backends, tenant="acme", limit=1000)) == before
    if "code" in case:
        assert answer.json["error"]["code"] == case["code"]
    assert case.get("never", "Traceback") not in answer.text
    assert "Traceback" not in answer.text


@pytest.mark.parametrize("key", NAMES)
def test_a_file_is_stored_under_a_name_of_ours_whatever_it_is_called(key: str, lasting: World) -> None:
    file = (BytesIO(b"t,y\n1,2\n"), spelled(NAMES[key]["name"]))
    answer = lasting.client.post("/api/v1/uploads", data={"file": file}, headers=lasting.headers("owner"))
    assert answer.status_code == 201
    shown = answer.json["name"]
    assert shown
    assert not {"/", "\\", "\n"} & set(shown)
    assert shown not in (".", "..")
    ident = answer.json["dataset"].split("/")[2]
    assert lasting.backends.objects.list(f"acme/uploads/{ident}/") == [f"acme/uploads/{ident}/data"]


def test_a_hundred_that_ask_at_once_with_one_key_get_one_job(world: World) -> None:
    def once(number: int) -> Any:
        client = world.client.application.test_client()
        headers = {**world.headers("owner"), "Idempotency-Key": "one"}
        return client.post("/api/v1/jobs", json=REQUEST, headers=headers)

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(once, range(100)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.text for answer in answers}) == 1
    assert len(runtime.list_jobs(world.backends, tenant="acme")) == 1


def test_a_job_deleted_while_it_runs_is_gone_and_stays_gone(world: World) -> None:
    """R16."""
    job = submit(world).json["job_id"]
    assert world.client.delete(f"/api/v1/jobs/{job}", headers=world.headers("owner")).status_code == 200
    for method in ("DELETE", "GET"):
        assert (
            world.client.open(f"/api/v1/jobs/{job}", method=method, headers=world.headers("owner")).status_code == 404
        )


def test_every_case_of_the_plan_is_here() -> None:
    covered = {key.split("-")[0] for key in CASES} | ELSEWHERE | SERVER
    assert covered == {f"R{k}" for k in range(1, 70)}
    named = {case["test"] for case in CASES.values() if "test" in case}
    assert named <= {*dir(test_service), *globals()}

"""IN-1 to IN-4, SEC-1, SEC-2, SEC-5: what the service takes, whom it knows, and what it never says."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from typing import Any

import pytest
from tests.http.conftest import World

from causal_orchestrator import runtime
from causal_orchestrator.errors import Conflict
from causal_orchestrator.http import auth
from causal_orchestrator.http.app import create_app
from causal_orchestrator.http.limits import Buckets, TooMany
from causal_orchestrator.http.routes import ROUTES

REQUEST = {"dataset": "gs://bucket/data.csv", "treatment": "t", "outcome": "y"}
SOME_JOB = "0" * 32


def submit(world: World, who: str = "owner", body: Any = None, **headers: str) -> Any:
    return world.client.post(
        "/api/v1/jobs", json=REQUEST if body is None else body, headers={**world.headers(who), **headers}
    )


def address(path: str, job: str) -> str:
    return path.replace("<job>", job).replace("<name>", "forest.svg")


def call(world: World, method: str, path: str, who: str) -> Any:
    body = {"json": REQUEST} if method == "POST" and not path.endswith("uploads") else {}
    return world.client.open(path, method=method, headers=world.headers(who), **body)


def test_a_job_is_accepted_and_found(world: World) -> None:
    answer = submit(world)
    assert answer.status_code == 202
    assert answer.json["status"] == "PENDING"
    assert answer.json["treatment_variable"] == "t"
    assert answer.headers["Location"] == f"/api/v1/jobs/{answer.json['job_id']}"
    shown = world.client.get(answer.headers["Location"], headers=world.headers("colleague"))
    assert shown.json["job_id"] == answer.json["job_id"]
    assert shown.json["progress_percentage"] == 0


def test_a_repeated_request_returns_the_same_job(world: World) -> None:
    first, second = (submit(world, **{"Idempotency-Key": "k1"}) for _ in range(2))
    assert first.json == second.json
    assert len(runtime.list_jobs(world.backends, tenant="acme")) == 1


def test_a_key_reused_for_another_request_is_refused(world: World) -> None:
    submit(world, **{"Idempotency-Key": "k1"})
    other = submit(world, body={**REQUEST, "outcome": "z2"}, **{"Idempotency-Key": "k1"})
    assert (other.status_code, other.json["error"]["code"]) == (422, "IDEMPOTENCY_MISMATCH")


def test_the_same_key_of_another_tenant_is_another_job(world: World) -> None:
    mine, theirs = submit(world, **{"Idempotency-Key": "k"}), submit(world, "stranger", **{"Idempotency-Key": "k"})
    assert mine.json["job_id"] != theirs.json["job_id"]


@pytest.mark.parametrize("route", [r for r in ROUTES if r.scope], ids=lambda r: f"{r.method} {r.path}")
def test_every_route_refuses_the_anonymous_and_the_revoked(world: World, route: Any) -> None:
    auth.revoke_key(world.backends, world.keys["colleague"])
    for who in ("anonymous", "colleague"):
        answer = call(world, route.method, address(route.path, SOME_JOB), who)
        assert answer.status_code == 401
        assert answer.json["error"]["code"] == "UNAUTHENTICATED"


@pytest.mark.parametrize("route", [r for r in ROUTES if r.scope == "write"], ids=lambda r: f"{r.method} {r.path}")
def test_a_viewer_changes_nothing(world: World, route: Any) -> None:
    assert call(world, route.method, address(route.path, SOME_JOB), "colleague").status_code == 403


@pytest.mark.parametrize("route", [r for r in ROUTES if "<job>" in r.path], ids=lambda r: f"{r.method} {r.path}")
def test_a_foreign_job_is_a_missing_job(world: World, route: Any) -> None:
    job = submit(world).json["job_id"]
    foreign = call(world, route.method, address(route.path, job), "stranger")
    missing = call(world, route.method, address(route.path, SOME_JOB), "stranger")
    assert foreign.status_code == missing.status_code == 404
    said = [{**answer.json["error"], "request_id": ""} for answer in (foreign, missing)]
    assert said[0] == said[1]


def test_every_route_but_health_states_a_right() -> None:
    assert [route.path for route in ROUTES if route.scope is None] == ["/health"]
    assert {route.scope for route in ROUTES} <= {None, "read", "write", "admin"}


@pytest.mark.parametrize("job", ["../../x", "%2e%2e%2f", ".", "__x__", "a" * 2048, "x%00y", SOME_JOB.upper() + "G"])
def test_what_is_no_job_id_is_no_job(world: World, job: str) -> None:
    answer = world.client.get(f"/api/v1/jobs/{job}", headers=world.headers("owner"))
    assert answer.status_code in (404, 308)
    assert "job_id" not in (answer.json or {})


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"", 400), (b"null", 422), (b"[]", 422), (b'"x"', 422), (b"[" * 2_000_000, 413),
        (b'{"dataset":"gs://b/x","dataset":"gs://b/y"}', 400), (b'{"cutoff": NaN}', 422), (b'{"cutoff": 1e999}', 422),
        (b'{"query":"\\ud800"}', 422), (b'{"status":"COMPLETED","dataset":"gs://b/x"}', 422),
        (b'{"tenant":"other","dataset":"gs://b/x"}', 422), (b'{"dataset":"http://169.254.169.254/"}', 422),
        (b'{"dataset":"gs://b/x","preferences":{"confidence_level":1}}', 422),
        (b'{"dataset":"gs://b/x","preferences":{"confidence_level":"0.9"}}', 422),
        (b'{"dataset":"gs://b/x","preferences":{"seed":18446744073709551616}}', 422),
        (b'{"dataset":"gs://b/x","treatment":"a","outcome":"a"}', 422), (b"{}", 422),
    ],
)  # fmt: skip
def test_a_bad_body_is_refused_with_a_code_and_a_sentence(world: World, data: bytes, status: int) -> None:
    headers = {**world.headers("owner"), "Content-Type": "application/json"}
    answer = world.client.post("/api/v1/jobs", data=data, headers=headers)
    assert answer.status_code == status, answer.json
    assert set(answer.json["error"]) == {"code", "message", "request_id"}
    assert len(answer.json["error"]["message"]) < 400


@pytest.mark.parametrize(
    "field", ["id", "state", "status", "owner", "tenant", "hops", "calls", "plan_sha256", "rev", "op"]
)
def test_no_field_of_the_document_can_be_set_from_outside(world: World, field: str) -> None:
    assert submit(world, body={**REQUEST, field: "x"}).status_code == 422


def test_a_body_that_is_not_json_is_refused_by_its_type(world: World) -> None:
    answer = world.client.post("/api/v1/jobs", data="a=b", headers=world.headers("owner"))
    assert answer.status_code == 415


def test_an_upload_is_stored_under_a_name_of_ours(world: World) -> None:
    data = {"file": (io.BytesIO(b"t,y\n1,2\n"), "../../etc/passwd")}
    answer = world.client.post("/api/v1/uploads", data=data, headers=world.headers("owner"))
    assert answer.status_code == 201
    assert answer.json["name"] == "etc_passwd"
    started = submit(world, body={**REQUEST, "dataset": answer.json["dataset"]})
    job, _ = runtime.get_job(world.backends, started.json["job_id"], tenant="acme")
    assert job.source["name"].startswith("acme/uploads/")


def place(world: World, **asked: Any) -> Any:
    return world.client.post("/api/v1/uploads", json={"filename": "a b.csv", **asked}, headers=world.headers("owner"))


def put(world: World, told: Any, data: bytes, who: str = "owner", **headers: str) -> Any:
    path = told["upload_url"].removeprefix("http://localhost")
    assert path.startswith("/api/v1/uploads/")
    return world.client.open(
        path, method=told["method"], data=data, headers={**told["headers"], **world.headers(who), **headers}
    )


def test_a_file_is_put_where_the_service_says_and_pinned_by_the_job_that_names_it(world: World) -> None:
    answer = place(world, size=8)
    told = answer.json
    assert (answer.status_code, told["name"]) == (201, "a_b.csv")
    asked = {**REQUEST, "dataset": told["dataset"]}
    early = submit(world, body=asked)
    assert (early.status_code, early.json["error"]["code"]) == (422, "UPLOAD_MISSING")
    stored = put(world, told, b"t,y\n1,2\n")
    assert stored.status_code == 201
    assert stored.json["dataset"].startswith(told["dataset"] + "/")
    job, _ = runtime.get_job(world.backends, submit(world, body=asked).json["job_id"], tenant="acme")
    name = f"acme/uploads/{told['dataset'].removeprefix('upload://')}/data"
    assert job.source == {"kind": "object", "name": name, "generation": int(stored.json["dataset"].split("/")[-1])}
    theirs = submit(world, "stranger", body=asked)
    assert theirs.json["error"]["code"] == "UPLOAD_MISSING"


def test_what_was_put_is_not_replaced(world: World) -> None:
    told = place(world).json
    first = put(world, told, b"one")
    assert put(world, told, b"one").json == first.json
    again = put(world, told, b"two")
    assert (again.status_code, again.json["error"]["code"]) == (409, "UPLOAD_EXISTS")
    theirs = put(world, told, b"two", "stranger")  # their own place under that name
    assert theirs.status_code == 201
    assert [len(world.backends.objects.list(f"{tenant}/uploads/")) for tenant in ("acme", "other")] == [1, 1]


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ({"filename": ""}, 422), ({"filename": 7}, 422), ({"filename": "x" * 256}, 422), ({"name": "x"}, 422),
        ({"size": -1}, 422), ({"size": True}, 422), ({"size": "5"}, 422), ({"size": 0.5}, 422), ({"size": 2**31 + 1}, 413),
    ],
)  # fmt: skip
def test_a_place_is_given_for_a_file_that_may_be_uploaded(world: World, asked: Any, status: int) -> None:
    assert place(world, **asked).status_code == status


def test_what_is_put_is_bytes_at_a_place_of_ours(world: World) -> None:
    told = place(world).json
    assert put(world, told, b"{}", **{"Content-Type": "application/json"}).status_code == 415
    assert put(world, told, b"{}", **{"Content-Encoding": "gzip"}).status_code == 415
    elsewhere = {**told, "upload_url": "http://localhost/api/v1/uploads/..%2Fx"}
    assert put(world, elsewhere, b"1").status_code == 404
    assert world.backends.objects.list("") == []


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=-1", "limit=1000", "limit=x", "cursor=abc", f"cursor={SOME_JOB}", "page=2", "status=NOPE"],
)
def test_a_bad_listing_is_refused(world: World, query: str) -> None:
    assert world.client.get(f"/api/v1/jobs?{query}", headers=world.headers("owner")).status_code == 422


def test_a_foreign_cursor_is_no_cursor(world: World) -> None:
    theirs = submit(world, "stranger").json["job_id"]
    answer = world.client.get(f"/api/v1/jobs?cursor={theirs}", headers=world.headers("owner"))
    assert answer.status_code == 422


def test_a_listing_is_paged_newest_first_without_repeats(world: World) -> None:
    ids = [submit(world).json["job_id"] for _ in range(5)]
    found: list[str] = []
    cursor = ""
    while True:
        page = world.client.get(f"/api/v1/jobs?limit=2{cursor}", headers=world.headers("owner")).json
        found += [job["job_id"] for job in page["jobs"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert found == ids[::-1]


def test_cancelling_twice_is_cancelling_once(world: World) -> None:
    job = submit(world).json["job_id"]
    answers = [world.client.post(f"/api/v1/jobs/{job}/cancel", headers=world.headers("owner")) for _ in range(2)]
    assert [a.status_code for a in answers] == [200, 200]
    assert {a.json["status"] for a in answers} == {"CANCELLED"}


def test_an_erased_job_is_gone(world: World) -> None:
    job = submit(world).json["job_id"]
    assert world.client.delete(f"/api/v1/jobs/{job}", headers=world.headers("owner")).status_code == 200
    assert world.client.get(f"/api/v1/jobs/{job}", headers=world.headers("owner")).status_code == 404


def test_events_stream_until_the_job_ends(world: World) -> None:
    job = submit(world).json["job_id"]
    world.client.post(f"/api/v1/jobs/{job}/cancel", headers=world.headers("owner"))
    answer = world.client.get(f"/api/v1/jobs/{job}/events", headers=world.headers("owner"))
    assert answer.content_type.startswith("text/event-stream")
    lines = answer.text.strip().split("\n")
    assert lines[1] == "event: progress"
    assert json.loads(lines[2].removeprefix("data: "))["status"] == "CANCELLED"


@pytest.mark.parametrize(
    "header", ["Bearer", "Bearer ", "Basic abc", "Bearer a,b", "Bearer co_test_" + "a" * 38, "Bearer " + "x" * 9000]
)
def test_a_malformed_credential_is_refused_with_the_same_words(world: World, header: str) -> None:
    answer = world.client.get("/api/v1/jobs", headers={"Authorization": header})
    assert answer.status_code == 401
    assert answer.json["error"]["message"] == "a valid API key or ID token is needed"
    assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_a_key_of_another_environment_is_refused(world: World) -> None:
    key = auth.make_key("prod")
    auth.add_key(world.backends, key, name="x", tenant="acme", role="admin")
    assert world.client.get("/api/v1/jobs", headers={"Authorization": f"Bearer {key}"}).status_code == 401


def test_a_key_in_the_address_is_refused(world: World) -> None:
    assert world.client.get(f"/api/v1/jobs?key={world.keys['owner']}").status_code == 400


def test_a_changed_key_fails_its_checksum() -> None:
    key = auth.make_key("test")
    assert auth.well_formed(key)
    wrong = [key[:i] + ("a" if key[i] != "a" else "b") + key[i + 1 :] for i in range(8, len(key))]
    assert not any(auth.well_formed(w) for w in wrong)


def test_another_host_is_refused(world: World) -> None:
    answer = world.client.get("/health", headers={"Host": "evil.example"})
    assert answer.status_code == 421


def test_a_post_from_another_site_is_refused(world: World) -> None:
    assert submit(world, **{"Sec-Fetch-Site": "cross-site"}).status_code == 403


def test_answers_carry_the_headers_that_keep_browsers_safe(world: World) -> None:
    answer = world.client.get("/health")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Security-Policy"] == "default-src 'none'"
    assert answer.headers["Cache-Control"] == "no-store"


def test_an_unknown_path_and_method_are_refused_in_the_same_form(world: World) -> None:
    assert world.client.get("/nope").json["error"]["code"] == "NOT_FOUND"
    answer = world.client.open("/health", method="TRACE")
    assert (answer.status_code, answer.json["error"]["code"]) == (405, "METHOD_NOT_ALLOWED")


def test_the_openapi_document_has_exactly_the_routes(world: World) -> None:
    found = world.client.get("/openapi.json", headers=world.headers("owner")).json
    listed = {(method.upper(), path) for path, item in found["paths"].items() for method in item}
    assert listed == {(r.method, r.path.replace("<", "{").replace(">", "}")) for r in ROUTES}


def test_a_bucket_never_admits_more_than_rate_times_time_plus_burst() -> None:
    now = [0.0]
    bucket = Buckets(rate=2.0, burst=3, clock=lambda: now[0])

    def admitted(tick: int) -> bool:
        now[0] = tick / 10
        try:
            bucket.take("a")
        except TooMany:
            return False
        return True

    assert 20 <= sum(admitted(tick) for tick in range(100)) <= 2.0 * 9.9 + 3


def test_a_caller_beyond_its_rate_is_told_when_to_come_back(world: World) -> None:
    world.service.reads._buckets.clear()
    tight = Buckets(rate=0.001, burst=1, clock=lambda: 0.0)
    object.__setattr__(world.service, "reads", tight)
    client = create_app(world.service).test_client()
    client.get("/api/v1/jobs", headers=world.headers("owner"))
    answer = client.get("/api/v1/jobs", headers=world.headers("owner"))
    assert answer.status_code == 429
    assert int(answer.headers["Retry-After"]) >= 1


def test_a_tenant_with_all_its_jobs_is_told_when_to_come_back_and_others_are_served(world: World) -> None:
    from causal_orchestrator import intake

    codes = [submit(world).status_code for _ in range(intake.MAX_LIVE_JOBS + 1)]
    assert codes == [202] * intake.MAX_LIVE_JOBS + [429]
    answer = submit(world)
    assert (answer.json["error"]["code"], int(answer.headers["Retry-After"]) >= 1) == ("QUOTA", True)
    assert submit(world, "stranger").status_code == 202


def test_a_full_tenant_is_counted_once_a_second_and_served_once_there_is_room(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    from causal_orchestrator import intake

    clock, free, counted = [0.0], [1], []

    def room(backends: Any, tenant: str) -> int:
        counted.append(clock[0])
        return free[0]

    monkeypatch.setattr(intake, "room", room)
    client = create_app(replace(world.service, monotonic=lambda: clock[0], rooms={})).test_client()

    def ask() -> int:
        return client.post("/api/v1/jobs", json=REQUEST, headers=world.headers("owner")).status_code

    first, free[0] = ask(), 0
    assert [first, *(ask() for _ in range(5))] == [202, *[429] * 5]
    assert counted == [0.0, 0.0]
    clock[0], free[0] = 1.0, 2
    assert [ask(), ask()] == [202, 202]
    assert counted == [0.0, 0.0, 1.0, 1.0]


def test_two_processes_together_give_a_tenant_no_more_than_its_share(world: World) -> None:
    from causal_orchestrator import intake

    both = [create_app(replace(world.service, rooms={})).test_client() for _ in range(2)]
    codes = [
        both[k % 2].post("/api/v1/jobs", json=REQUEST, headers=world.headers("owner")).status_code
        for k in range(intake.MAX_LIVE_JOBS + 10)
    ]
    assert intake.MAX_LIVE_JOBS <= codes.count(202) <= intake.MAX_LIVE_JOBS + 1


def test_a_store_that_is_too_busy_is_a_503_with_a_time(world: World) -> None:
    class Busy:
        def __getattr__(self, name: str) -> Any:
            raise Conflict("the database stayed locked")

    busy = replace(world.service, backends=replace(world.backends, documents=Busy()))
    answer = create_app(busy).test_client().get("/api/v1/jobs", headers=world.headers("owner"))
    assert (answer.status_code, answer.json["error"]["code"]) == (503, "CONFLICT")
    assert int(answer.headers["Retry-After"]) >= 1
    assert "locked" not in answer.text


@pytest.mark.parametrize("dataset", ["https://data.example.org/a.csv", "gs://other/a.csv", "bq://project-1.d.t"])
def test_a_service_fetches_from_nowhere_that_it_was_not_told_of(world: World, dataset: str) -> None:
    answer = submit(world, body={**REQUEST, "dataset": dataset})
    assert (answer.status_code, answer.json["error"]["code"]) == (422, "URL_NOT_ALLOWED")

"""The contract of `backends.ports`, for every store there is."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import requests
from tests.backends.clock import Clock
from tests.backends.contract import WORLDS, World
from tests.backends.gcp import GOOGLE_WORLDS

from causal_orchestrator.backends.local import open_store
from causal_orchestrator.backends.local.queue import CHANGES, WORK
from causal_orchestrator.backends.ports import Documents, Found, Stored, Writes
from causal_orchestrator.errors import AlreadyExists, CausalError, InputError, NotFound
from causal_orchestrator.settings import Settings

WRITERS = 32
ROUNDS = 4


def local(folder: Path) -> Iterator[World]:
    clock = Clock()
    store = open_store(Settings(home=folder / "home"), now=clock)

    def receive() -> Any:
        return next(iter(store.queue.take(WORK, holder="tester")), None)

    def written() -> list[str]:
        found = store.queue.take(CHANGES, holder="tester", limit=1000)
        store.queue.acknowledge(*found)
        return [str(loan.body["job_id"]) for loan in found]

    yield World(
        backends=store.backends, receive=receive, acknowledge=store.queue.acknowledge,
        refuse=lambda loan: store.queue.refuse(loan, "no"), advance=clock.advance, written=written,
    )  # fmt: skip
    store.close()


WORLDS["local"] = local
WORLDS.update(GOOGLE_WORLDS)
# Those of a group share their servers, which one process starts.
GROUPS = [pytest.mark.xdist_group("gcp")]


@pytest.fixture(params=[pytest.param(name, marks=GROUPS * (name in GOOGLE_WORLDS)) for name in sorted(WORLDS)])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    yield from WORLDS[request.param](tmp_path)


@pytest.fixture
def documents(world: World) -> Documents:
    return world.backends.documents


def put(documents: Documents, path: str, document: Mapping[str, Any] | None) -> Found:
    return documents.update([path], lambda found: {path: document})


# --- documents ----------------------------------------------------------------------------------------------------


def test_a_missing_document_is_none(documents: Documents) -> None:
    assert documents.get("jobs/a") is None


def test_a_document_comes_back_as_it_went_in(documents: Documents) -> None:
    document = {
        "text": "é\u2028\u0000\U0001f600", "number": 1.5e-300, "large": 2**63 - 1, "small": -(2**63), "none": None,
        "yes": True, "nested": {"$datetime": "not one", "$": {"$$": [[], {}]}, "": [1, 2.0, "3"]}, "zero": -0.0,
    }  # fmt: skip
    put(documents, "jobs/a", document)
    found = documents.get("jobs/a")
    assert found == document
    assert found is not None
    assert str(found["zero"]) == "-0.0"


@pytest.mark.parametrize("year", [1, 1969, 2026, 9999])
def test_a_datetime_comes_back_as_the_same_moment_in_utc(documents: Documents, year: int) -> None:
    moment = datetime(year, 6, 1, 12, 0, 0, 1, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    put(documents, "jobs/a", {"at": moment, "inner": [{"at": moment}]})
    found = documents.get("jobs/a")
    assert found is not None
    assert found["at"] == moment
    assert found["at"].utcoffset() == timedelta(0)
    assert found["inner"] == [{"at": moment}]


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), -float("inf"), 2**63, -(2**63) - 1, "\ud800", {"\udfff": 1}, {1: 2}, object(), b"x",
     datetime(2026, 1, 1)],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_what_no_store_can_hold_is_refused_and_nothing_is_written(documents: Documents, value: object) -> None:
    put(documents, "jobs/a", {"kept": 1})
    with pytest.raises(InputError) as caught:
        documents.update(["jobs/a", "jobs/b"], lambda found: {"jobs/a": {"kept": 2}, "jobs/b": {"deep": [value]}})
    assert caught.value.code == "NOT_JSON"
    assert documents.get("jobs/a") == {"kept": 1}


def test_a_document_beyond_the_limits_is_refused(documents: Documents) -> None:
    deep: list[Any] = []
    for _ in range(30):
        deep = [deep]
    for document in ({"text": "x" * 1_100_000}, {"deep": deep}):
        with pytest.raises(InputError) as caught:
            put(documents, "jobs/a", document)
        assert caught.value.code == "DOCUMENT_SIZE"
    put(documents, "jobs/a", {"text": "x" * 900_000})


@pytest.mark.parametrize(
    "path", ["", "jobs", "jobs/a/steps", "jobs/", "/jobs/a/b", "jobs/..", "jobs/.", "jobs/__a__", "jobs/a\n"]
)
def test_what_is_no_path_is_refused(documents: Documents, path: str) -> None:
    with pytest.raises(InputError):
        documents.get(path)


def test_update_returns_what_stands_after_it(documents: Documents) -> None:
    put(documents, "jobs/a", {"n": 1})
    put(documents, "jobs/b", {"n": 2})
    found = documents.update(
        ["jobs/a", "jobs/b", "jobs/c", "jobs/d"], lambda _: {"jobs/a": None, "jobs/c": {"n": (3,)}}
    )
    assert found == {"jobs/a": None, "jobs/b": {"n": 2}, "jobs/c": {"n": [3]}, "jobs/d": None}
    assert documents.get("jobs/a") is None


def test_an_error_in_the_change_leaves_everything_as_it_was(documents: Documents) -> None:
    put(documents, "jobs/a", {"n": 1})

    def change(found: Found) -> Writes:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        documents.update(["jobs/a"], change)
    assert documents.get("jobs/a") == {"n": 1}
    put(documents, "jobs/a", {"n": 2})


def test_a_change_may_write_only_what_it_names(documents: Documents) -> None:
    with pytest.raises(ValueError, match="jobs/b"):
        documents.update(["jobs/a"], lambda found: {"jobs/b": {"n": 1}})
    assert documents.get("jobs/b") is None


def test_changing_what_was_read_changes_nothing_stored(documents: Documents) -> None:
    put(documents, "jobs/a", {"inner": {"n": 1}})
    found = documents.get("jobs/a")
    assert found is not None
    found["inner"]["n"] = 2
    assert documents.get("jobs/a") == {"inner": {"n": 1}}


def test_no_update_of_many_at_once_is_lost(documents: Documents) -> None:
    put(documents, "jobs/a", {"n": 0})
    put(documents, "jobs/b", {"n": 0})

    def count(found: Found) -> Writes:
        return {path: {"n": (document or {})["n"] + 1} for path, document in found.items()}

    def work() -> None:
        for _ in range(ROUNDS):
            documents.update(["jobs/a", "jobs/b"], count)

    together(work)
    assert [documents.get("jobs/a"), documents.get("jobs/b")] == [{"n": WRITERS * ROUNDS}] * 2


def test_of_many_who_create_one_wins(documents: Documents) -> None:
    winners: list[int] = []

    def work() -> None:
        me = threading.get_ident()
        stands = documents.update(["jobs/a"], lambda f: {} if f["jobs/a"] else {"jobs/a": {"by": me}})
        if (stands["jobs/a"] or {})["by"] == me:
            winners.append(me)

    together(work)
    assert len(winners) == 1


def test_a_reader_never_sees_half_a_transaction(documents: Documents, request: pytest.FixtureRequest) -> None:
    if "gcp_emulators" in request.node.name:
        pytest.skip("the official emulator's queries now and then see half of a commit; the service's are snapshots")
    put(documents, "jobs/a", {"n": 0})
    torn: list[list[int]] = []
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            numbers = [document["n"] for _, document in documents.list("pairs")]
            if len(set(numbers)) > 1:
                torn.append(numbers)

    reader = threading.Thread(target=look)
    reader.start()
    for n in range(100):
        documents.update(["pairs/a", "pairs/b"], lambda _, n=n: {"pairs/a": {"n": n}, "pairs/b": {"n": n}})  # type: ignore[misc]
    over.set()
    reader.join()
    assert torn == []


# --- listing ------------------------------------------------------------------------------------------------------


@pytest.fixture
def shelf(documents: Documents) -> Documents:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    for number, key in enumerate("dbace"):
        at = start + timedelta(seconds=number // 2)
        put(
            documents,
            f"jobs/{key}",
            {"created_at": at, "tenant": "t" if key != "e" else "u", "n": number, "state": "open"},
        )
    put(documents, "jobs/z", {"tenant": "t", "state": 1})
    put(documents, "jobs/a/steps/0000", {"n": 9})
    return documents


def keys(found: list[tuple[str, Any]]) -> str:
    return "".join(path.rpartition("/")[2] for path, _ in found)


def test_a_list_is_of_one_collection_by_id(shelf: Documents) -> None:
    assert keys(shelf.list("jobs")) == "abcdez"
    assert shelf.list("jobs/a/steps") == [("jobs/a/steps/0000", {"n": 9})]
    assert shelf.list("job") == []


def test_a_list_is_narrowed_by_equal_fields(shelf: Documents) -> None:
    assert keys(shelf.list("jobs", where={"tenant": "t"})) == "abcdz"
    assert keys(shelf.list("jobs", where={"tenant": "t", "n": 2})) == "a"
    assert keys(shelf.list("jobs", where={"state": 1})) == "z"
    assert shelf.list("jobs", where={"missing": None}) == []


def test_newest_first_leaves_out_what_has_no_time(shelf: Documents) -> None:
    assert keys(shelf.list("jobs", newest_first=True)) == "ecadb"
    assert keys(shelf.list("jobs", where={"tenant": "t"}, newest_first=True)) == "cadb"


@pytest.mark.parametrize("newest_first", [False, True])
@pytest.mark.parametrize("limit", [1, 2, 3])
def test_pages_put_together_are_the_whole(shelf: Documents, *, newest_first: bool, limit: int) -> None:
    whole = shelf.list("jobs", where={"state": "open"}, newest_first=newest_first)
    pages: list[Any] = []
    while page := shelf.list(
        "jobs", where={"state": "open"}, newest_first=newest_first, limit=limit, after=pages[-1][0] if pages else None
    ):
        assert len(page) <= limit
        pages += page
    assert pages == whole


# --- messages and tasks -------------------------------------------------------------------------------------------


def drained(world: World) -> list[tuple[str, dict[str, Any]]]:
    found = []
    while (loan := world.receive()) is not None:
        found.append((loan.topic, dict(loan.body)))
        world.acknowledge(loan)
    return found


def test_what_is_published_is_received(world: World) -> None:
    for step in range(3):
        world.backends.messages.publish("eda", {"job_id": "a", "step": step})
    assert sorted(body["step"] for _, body in drained(world)) == [0, 1, 2]
    assert drained(world) == []


def test_a_message_that_is_never_settled_comes_again(world: World) -> None:
    world.backends.messages.publish("eda", {"job_id": "a"})
    assert world.receive() is not None
    assert world.receive() is None
    world.advance(3600)
    assert drained(world) == [("eda", {"job_id": "a"})]


def test_a_message_that_is_refused_comes_again_after_a_while(world: World) -> None:
    world.backends.messages.publish("eda", {"job_id": "a"})
    world.refuse(world.receive())
    assert world.receive() is None
    world.advance(700)
    assert drained(world) == [("eda", {"job_id": "a"})]


def test_a_message_published_while_its_like_is_worked_on_is_delivered_after_it(world: World) -> None:
    world.backends.messages.publish("eda", {"job_id": "a"})
    first = world.receive()
    world.backends.messages.publish("eda", {"job_id": "a"})
    world.acknowledge(first)
    assert len(drained(world)) == 1


def test_a_message_that_always_fails_is_given_up(world: World) -> None:
    world.backends.messages.publish("eda", {"job_id": "a"})
    deliveries = 0
    for _ in range(200):
        loan = world.receive()
        if loan is not None:
            deliveries += 1
            world.refuse(loan)
        world.advance(700)
    assert 8 < deliveries <= 100  # more than a step's attempts, fewer than for ever


def test_a_message_carries_ids_and_no_data(world: World) -> None:
    with pytest.raises(InputError):
        world.backends.messages.publish("eda", {"data": "x" * 4000})


def test_a_step_of_its_own_is_one_task_and_one_for_each_part(world: World) -> None:
    world.backends.tasks.start("a", 3)
    world.backends.tasks.start("b", 4, parts=3)
    bodies = [body for _, body in drained(world)]
    assert {(b["job_id"], b["step"], b.get("part")) for b in bodies} == {
        ("a", 3, None),
        ("b", 4, 0),
        ("b", 4, 1),
        ("b", 4, 2),
    }


def test_a_cancelled_task_is_not_begun(world: World) -> None:
    world.backends.tasks.start("a", 3, parts=2)
    world.backends.tasks.start("a", 4)
    world.backends.tasks.cancel("a", 3)
    assert [body["step"] for _, body in drained(world)] == [4]


def test_what_is_scheduled_comes_when_it_is_due_and_not_before(world: World) -> None:
    at = world.backends.now() + timedelta(minutes=5)
    world.backends.tasks.schedule("eda", {"job_id": "a"}, at=at)
    world.backends.messages.publish("eda", {"job_id": "a"})
    assert len(drained(world)) == 1
    world.advance(299)
    assert drained(world) == []
    world.advance(2)
    assert len(drained(world)) == 1


def test_written_steps_and_parts_are_told_of_and_nothing_else(world: World) -> None:
    documents = world.backends.documents
    put(documents, "jobs/a/steps/0001", {"n": 1})
    put(documents, "jobs/b/steps/0001/parts/0002", {"n": 1})
    put(documents, "jobs/c", {"n": 1})
    put(documents, "jobs/d/leases/0001", {"n": 1})
    with pytest.raises(RuntimeError):
        documents.update(["jobs/e/steps/0001"], _broken)
    assert sorted(set(world.written())) == ["a", "b"]
    assert world.written() == []


def _broken(found: Found) -> Writes:
    raise RuntimeError("no")


# --- objects ------------------------------------------------------------------------------------------------------


def test_an_upload_is_signed_where_the_store_takes_it_and_left_to_the_service_elsewhere(world: World) -> None:
    signed = world.backends.objects.sign_upload("t/uploads/a/data", seconds=60, most=10)
    if signed is not None:
        address, headers = signed
        answer = requests.put(address, b"t,y\n1,2\n", headers=dict(headers), timeout=10)
        assert answer.status_code == 200
    else:
        world.backends.objects.create("t/uploads/a/data", b"t,y\n1,2\n")
    found = world.backends.objects.find("t/uploads/a/data")
    assert found is not None
    assert world.backends.objects.local(found.name, found.generation).read_bytes() == b"t,y\n1,2\n"


def test_an_object_is_stored_with_hash_and_size(world: World) -> None:
    stored = world.backends.objects.create("t/j/0001/1/a.csv", b"1,2\n")
    assert (stored.sha256, stored.size) == (hashlib.sha256(b"1,2\n").hexdigest(), 4)
    with world.backends.objects.open(stored.name, stored.generation) as stream:
        assert stream.seek(2) == 2
        assert stream.read() == b"2\n"
    assert world.backends.objects.local(stored.name, stored.generation).read_bytes() == b"1,2\n"


def test_a_file_may_be_given_instead_of_bytes(world: World, tmp_path: Path) -> None:
    path = tmp_path / "x.bin"
    path.write_bytes(b"\x00" * 3_000_000)
    stored = world.backends.objects.create("t/x.bin", path)
    assert (stored.sha256, stored.size) == (hashlib.sha256(b"\x00" * 3_000_000).hexdigest(), 3_000_000)


def test_what_stands_under_a_name_is_found_and_nothing_else(world: World) -> None:
    objects = world.backends.objects
    assert objects.find("t/a") is None
    stored = objects.create("t/a", b"one")
    assert objects.find("t/a") == stored
    assert objects.find("t") is None
    objects.delete("t/a")
    assert objects.find("t/a") is None


def test_the_same_bytes_again_are_no_error_and_others_are(world: World) -> None:
    first = world.backends.objects.create("t/a", b"one")
    assert world.backends.objects.create("t/a", b"one") == first
    with pytest.raises(AlreadyExists):
        world.backends.objects.create("t/a", b"two")
    assert world.backends.objects.local("t/a", first.generation).read_bytes() == b"one"


def test_of_many_who_create_an_object_one_wins(world: World) -> None:
    winners: list[tuple[bytes, Stored]] = []

    def work() -> None:
        mine = f"{threading.get_ident()}".encode()
        try:
            winners.append((mine, world.backends.objects.create("t/a", mine)))
        except AlreadyExists:
            return

    together(work)
    ((content, stored),) = winners
    assert world.backends.objects.open("t/a", stored.generation).read() == content


def test_a_generation_is_of_one_content(world: World) -> None:
    objects = world.backends.objects
    first = objects.create("t/a", b"one")
    objects.delete("t/a")
    objects.delete("t/a")
    with pytest.raises(NotFound):
        objects.open("t/a", first.generation)
    second = objects.create("t/a", b"two")
    with pytest.raises(NotFound):
        objects.local("t/a", first.generation)
    assert objects.local("t/a", second.generation).read_bytes() == b"two"


def test_names_are_listed_by_prefix(world: World) -> None:
    objects = world.backends.objects
    names = ["t/j/0001/1/a", "t/j/0001/1/a.b", "t/j/0001/1/a/b", "t/j/0002/1/ü & %@ x", "t/k/a", "u/j/a"]
    for name in names:
        objects.create(name, name.encode())
    assert objects.list("t/j/") == sorted(names[:4])
    assert objects.list("t/j/0001/1/a.") == ["t/j/0001/1/a.b"]
    assert objects.list("t/") == sorted(names[:5])
    assert objects.list("v/") == []


@pytest.mark.parametrize(
    "name", ["", "/etc/passwd", "../x", "a/../../b", "a//b", "a/", ".", "a\x00b", "a\nb", "a/..", "\ud800", "x" * 1025]
)
def test_a_name_that_leads_nowhere_good_is_refused(world: World, name: str) -> None:
    with pytest.raises(CausalError):
        world.backends.objects.create(name, b"x")


def test_an_address_names_the_object_for_a_while(world: World) -> None:
    stored = world.backends.objects.create("t/a", b"one")
    assert world.backends.objects.sign("t/a", stored.generation, seconds=60, filename="a.txt")


# --- the rest -----------------------------------------------------------------------------------------------------


def test_ids_are_long_and_differ(world: World) -> None:
    ids = {world.backends.new_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert all(len(key) >= 32 and key.isalnum() for key in ids)


def test_a_missing_secret_is_not_found(world: World) -> None:
    with pytest.raises(NotFound):
        world.backends.secrets.get("NO_SUCH_SECRET")


def together(work: Any) -> None:
    """Run `work` in many threads at once; raise what any of them raised."""
    failures: list[BaseException] = []
    start = threading.Barrier(WRITERS)

    def one() -> None:
        start.wait()
        try:
            work()
        except BaseException as exc:
            failures.append(exc)

    threads = [threading.Thread(target=one) for _ in range(WRITERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]

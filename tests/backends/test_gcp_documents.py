"""What is particular to documents in Firestore: lost races, unknown outcomes, values that it cannot hold."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from google.cloud.firestore_v1.services.firestore import FirestoreClient
from grpc import StatusCode  # type: ignore[import-untyped]
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from tests.backends import gcp

from causal_orchestrator.backends.encoding import decode, encode
from causal_orchestrator.backends.gcp import calling
from causal_orchestrator.backends.gcp.documents import RACES
from causal_orchestrator.backends.gcp.values import from_fields, to_fields
from causal_orchestrator.backends.ports import Backends, Found, Writes
from causal_orchestrator.errors import CommitUnknown, Conflict, InputError, StorageError
from causal_orchestrator.settings import Settings
from causal_orchestrator.store import commit

pytestmark = pytest.mark.xdist_group("gcp")


@pytest.fixture
def up() -> gcp.Peers:
    return gcp.peers("peers")


@pytest.fixture
def pair(up: gcp.Peers, tmp_path: Path) -> tuple[Backends, Backends]:
    """Two processes' backends over one project."""
    chosen = gcp.settings(up, tmp_path)
    return gcp.connected(up, chosen), gcp.connected(up, chosen)


@pytest.fixture
def backends(pair: tuple[Backends, Backends]) -> Backends:
    return pair[0]


@pytest.fixture(autouse=True)
def _no_rest(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "emulators" not in request.node.name:  # its locks need the time
        monkeypatch.setattr(calling, "PAUSE_CAP", 0.001)


def increment(found: Found) -> Writes:
    return {path: {"n": (document or {"n": 0})["n"] + 1} for path, document in found.items()}


def test_a_lost_race_is_run_again_on_what_the_winner_left(pair: tuple[Backends, Backends]) -> None:
    mine, other = pair
    seen: list[Any] = []

    def change(found: Found) -> Writes:
        seen.append(found["jobs/a"])
        if len(seen) == 1:
            other.documents.update(["jobs/a"], increment)
        return increment(found)

    assert mine.documents.update(["jobs/a"], change) == {"jobs/a": {"n": 2}}
    assert seen == [None, {"n": 1}]


def test_a_document_that_was_only_read_loses_the_race_too(pair: tuple[Backends, Backends]) -> None:
    mine, other = pair
    seen: list[Any] = []

    def change(found: Found) -> Writes:
        seen.append(found["jobs/guard"])
        if len(seen) == 1:
            other.documents.update(["jobs/guard"], increment)
        return {"jobs/a": {"guard": found["jobs/guard"]}}

    assert mine.documents.update(["jobs/guard", "jobs/a"], change)["jobs/a"] == {"guard": {"n": 1}}
    assert len(seen) == 2


@pytest.mark.parametrize("kind", sorted(name.removeprefix("gcp_") for name in gcp.GOOGLE_WORLDS))
def test_a_write_between_reading_and_committing_is_never_lost(kind: str, tmp_path: Path) -> None:
    """The emulator makes the other one wait for its lock, the peer makes this one try again."""
    up = gcp.peers(kind)
    chosen = gcp.settings(up, tmp_path)
    documents = gcp.connected(up, chosen).documents
    documents.update(["jobs/a"], increment)
    waiting: list[threading.Thread] = []

    def change(found: Found) -> Writes:
        if not waiting:
            waiting.append(threading.Thread(target=lambda: _write_past(up, chosen, "jobs/a", 100)))
            waiting[0].start()
            waiting[0].join(1)
        return increment(found)

    documents.update(["jobs/a"], change)
    waiting[0].join()
    assert documents.get("jobs/a") in ({"n": 100}, {"n": 101})


def _write_past(up: gcp.Peers, chosen: Settings, path: str, n: int) -> None:
    """Write without a transaction, as someone who is not one of us."""
    database = f"projects/{chosen.project}/databases/(default)"
    document = {"name": f"{database}/documents/{path}", "fields": {"n": {"integer_value": n}}}
    raw = gcp.client(FirestoreClient, up.environ["FIRESTORE_EMULATOR_HOST"])
    raw.commit({"database": database, "writes": [{"update": document}]}, timeout=30)


def test_no_update_of_several_processes_is_lost(up: gcp.Peers, tmp_path: Path) -> None:
    chosen = gcp.settings(up, tmp_path)
    processes = [gcp.connected(up, chosen) for _ in range(4)]

    def work(backends: Backends) -> None:
        left = 5
        while left:
            with suppress(Conflict):  # who loses too many races has written nothing, and comes again
                commit(backends, ["jobs/a"], increment)
                left -= 1

    threads = [threading.Thread(target=work, args=(backends,)) for backends in processes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = processes[0].documents.get("jobs/a")
    assert found is not None
    assert found["n"] == 20


def test_who_loses_every_race_gives_up(up: gcp.Peers, backends: Backends) -> None:
    before = up.faults.calls["Commit"]
    up.faults.before["Commit"] = [StatusCode.ABORTED] * RACES
    with pytest.raises(Conflict):
        backends.documents.update(["jobs/a"], increment)
    assert up.faults.calls["Commit"] - before == RACES
    assert backends.documents.get("jobs/a") is None


@pytest.mark.parametrize(
    "code",
    [StatusCode.UNAVAILABLE, StatusCode.DEADLINE_EXCEEDED, StatusCode.INTERNAL, StatusCode.UNKNOWN, StatusCode.CANCELLED],
)  # fmt: skip
@pytest.mark.parametrize("done", [True, False])
def test_a_commit_that_was_not_answered_is_unknown_and_sent_once(
    up: gcp.Peers, backends: Backends, code: StatusCode, *, done: bool
) -> None:
    before = up.faults.calls["Commit"]
    (up.faults.after if done else up.faults.before)["Commit"] = [code]
    with pytest.raises(CommitUnknown) as caught:
        backends.documents.update(["jobs/a"], increment)
    assert caught.value.__cause__ is not None
    assert up.faults.calls["Commit"] - before == 1
    assert backends.documents.get("jobs/a") == ({"n": 1} if done else None)


def test_an_unknown_outcome_is_settled_by_reading_again(up: gcp.Peers, backends: Backends) -> None:
    up.faults.after["Commit"] = [StatusCode.UNAVAILABLE]
    up.faults.before["Commit"] = [None, StatusCode.UNAVAILABLE]
    commit(backends, ["jobs/a"], increment)
    found = backends.documents.get("jobs/a")
    assert found is not None
    assert found["n"] == 1


def test_an_error_of_the_change_is_nobodys_lost_race(up: gcp.Peers, backends: Backends) -> None:
    runs = []

    def change(found: Found) -> Writes:
        runs.append(1)
        raise Conflict("not the store's")

    with pytest.raises(Conflict):
        backends.documents.update(["jobs/a"], change)
    assert len(runs) == 1


def test_a_refused_commit_is_known_not_to_have_happened(up: gcp.Peers, backends: Backends) -> None:
    up.faults.before["Commit"] = [StatusCode.PERMISSION_DENIED]
    with pytest.raises(StorageError) as caught:
        backends.documents.update(["jobs/a"], increment)
    assert caught.value.code == "STORAGE_DENIED"


@pytest.mark.parametrize("method", ["BatchGetDocuments", "RunQuery"])
def test_reading_outlives_a_short_failure_and_ends_with_a_long_one(
    up: gcp.Peers, backends: Backends, method: str
) -> None:
    read: Callable[[], Any] = {
        "BatchGetDocuments": lambda: backends.documents.get("jobs/a"),
        "RunQuery": lambda: backends.documents.list("jobs"),
    }[method]
    up.faults.before[method] = [StatusCode.UNAVAILABLE] * (calling.TRIES - 1)
    assert not read()
    before = up.faults.calls[method]
    up.faults.before[method] = [StatusCode.UNAVAILABLE] * 100
    with pytest.raises(StorageError) as caught:
        read()
    up.faults.before[method] = []
    assert caught.value.code == "STORAGE_UNAVAILABLE"
    assert up.faults.calls[method] - before == calling.TRIES


def test_every_call_has_a_deadline_of_its_own(backends: Backends, monkeypatch: pytest.MonkeyPatch) -> None:
    client, told = backends.documents._client, []  # type: ignore[attr-defined]
    for name in ("batch_get_documents", "commit", "run_query", "rollback"):
        monkeypatch.setattr(client, name, _spying(getattr(client, name), told))
    backends.documents.update(["jobs/a"], increment)
    backends.documents.list("jobs")
    with pytest.raises(ZeroDivisionError):
        backends.documents.update(["jobs/a"], lambda found: {"jobs/a": {"n": 1 // 0}})
    assert len(told) == 5
    assert all(timeout is not None and timeout <= 30 and retry is None for timeout, retry in told)


def _spying(real: Callable[..., Any], told: list[Any]) -> Callable[..., Any]:
    def call(*args: Any, **options: Any) -> Any:
        told.append((options["timeout"], options["retry"]))
        return real(*args, **options)

    return call


def test_a_document_that_only_firestore_counts_too_large_is_refused(backends: Backends) -> None:
    document = {"numbers": [1] * 140_000}  # 280 kB of text, 1.1 MB as Firestore counts
    with pytest.raises(InputError) as caught:
        backends.documents.update(["jobs/a"], lambda found: {"jobs/a": document})
    assert caught.value.code == "DOCUMENT_SIZE"
    assert backends.documents.get("jobs/a") is None


KEYS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.sampled_from(
    ["", "$json", "$", "__a__", "____", "k" * 2000, "a.b", "a/b", "`"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.datetimes(timezones=st.timezones()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=12,
)  # fmt: skip


@hypothesis_settings(max_examples=60, deadline=None)
@given(st.dictionaries(KEYS, VALUES, max_size=4))
def test_every_document_comes_back_as_it_went_in(document: dict[str, Any]) -> None:
    plain = decode(encode(document))
    fields = to_fields("projects/p/databases/d/documents/jobs/a", plain)
    assert encode(from_fields(fields)) == encode(document)


@pytest.mark.parametrize("kind", sorted(name.removeprefix("gcp_") for name in gcp.GOOGLE_WORLDS))
def test_firestore_takes_what_it_cannot_hold_as_it_is(kind: str, tmp_path: Path) -> None:
    up = gcp.peers(kind)
    documents = gcp.connected(up, gcp.settings(up, tmp_path)).documents
    odd = {"matrix": [[1, [2]], []], "map": {"": 1}, "m2": {"__x__": [[]]}, "m3": {"k" * 2000: 1}, "m4": {"$json": "{"}}
    for k, document in enumerate([odd, {"": odd}, {"$json": 1}, {"a.b`\\": None}, {}]):
        path = f"jobs/{k}"
        documents.update([path], lambda found, d=document, p=path: {p: d})  # type: ignore[misc]
        assert documents.get(path) == document
    assert [path for path, _ in documents.list("jobs", where={"a.b`\\": None})] == ["jobs/3"]

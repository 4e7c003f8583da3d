"""What is particular to the embedded store: its file, its queue, its folder, and what happens when the disk refuses."""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.backends.clock import Clock

from causal_orchestrator.backends import connect
from causal_orchestrator.backends.local import Store, background, open_store
from causal_orchestrator.backends.local.database import Database
from causal_orchestrator.backends.local.keys import read_token, sign_token, signing_key
from causal_orchestrator.backends.local.queue import (
    BACKOFF_CAP,
    CHANGES,
    MAX_DELIVERIES,
    VISIBILITY,
    WORK,
    Delivery,
    backoff,
)
from causal_orchestrator.errors import CommitUnknown, Conflict, InputError, NotFound, StorageError
from causal_orchestrator.settings import Settings

CANARY = "canary-5d1f"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[Store]:
    opened = open_store(Settings(home=tmp_path / "home"), now=clock)
    yield opened
    opened.close()


def put(store: Store, path: str, document: dict[str, Any] | None) -> None:
    store.backends.documents.update([path], lambda found: {path: document})


def take(store: Store, lane: str = WORK, holder: str = "a") -> Delivery | None:
    return next(iter(store.queue.take(lane, holder=holder)), None)


def taken(store: Store, holder: str = "a") -> Delivery:
    loan = take(store, holder=holder)
    assert loan is not None
    return loan


# --- opening ------------------------------------------------------------------------------------------------------


def test_nobody_else_may_read_the_store(store: Store) -> None:
    put(store, "jobs/a", {"n": 1})
    store.backends.objects.create("t/a", b"x")
    signing_key(store.home / "secrets")
    for path in [store.home, *store.home.rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path.name


def test_a_store_of_a_newer_version_is_refused(store: Store) -> None:
    store.database.connection().execute("PRAGMA user_version=99")
    with pytest.raises(StorageError) as caught:
        Database(store.database.path)
    assert caught.value.code == "STORAGE_VERSION"


def test_opening_twice_in_one_process_keeps_both_usable(store: Store) -> None:
    other = open_store(Settings(home=store.home))
    for n in range(5):
        put(store, "jobs/a", {"n": n})
        put(other, "jobs/b", {"n": n})
    assert subprocess.run([sys.executable, "-c", _READ, str(store.database.path)], check=False).returncode == 0
    other.close()
    put(store, "jobs/a", {"n": 9})


_READ = "import sqlite3, sys; assert sqlite3.connect(sys.argv[1]).execute('SELECT count(*) FROM documents').fetchone() == (2,)"


def test_what_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "causal.db").write_bytes(b"not a database" * 1000)
    with pytest.raises(StorageError) as caught:
        open_store(Settings(home=tmp_path))
    assert caught.value.code == "STORAGE_CORRUPT"


def test_connect_knows_its_backends(tmp_path: Path) -> None:
    assert connect(Settings(home=tmp_path)).documents.get("jobs/a") is None
    with pytest.raises(InputError, match="no backend"):
        connect(Settings(backend="punch cards", home=tmp_path))


def test_settings_come_from_the_environment_and_arguments_stand_above_it(tmp_path: Path) -> None:
    environ = {"CAUSAL_HOME": str(tmp_path), "CAUSAL_WORKERS": "3", "SECRET": CANARY}
    found = Settings.from_environment(environ, workers=None, tenant="me")
    assert (found.home, found.workers, found.tenant, found.backend) == (tmp_path, 3, "me", "local")
    assert CANARY not in repr(found)
    with pytest.raises(InputError, match="CAUSAL_WORKERS"):
        Settings.from_environment({"CAUSAL_WORKERS": "many"})


# --- when the disk refuses ----------------------------------------------------------------------------------------


def test_a_full_disk_is_named_and_nothing_is_half_written(store: Store) -> None:
    put(store, "jobs/a", {"n": 1})
    connection = store.database.connection()
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count={pages}")
    with pytest.raises(StorageError) as caught:
        store.backends.documents.update(
            ["jobs/a", "jobs/b"], lambda found: {"jobs/a": {"n": 2}, "jobs/b": {"text": "x" * 100_000}}
        )
    assert caught.value.code == "STORAGE_FULL"
    assert store.backends.documents.get("jobs/a") == {"n": 1}
    connection.execute("PRAGMA max_page_count=1000000")
    put(store, "jobs/a", {"n": 2})


def test_a_disk_that_cannot_be_written_is_named(store: Store) -> None:
    store.database.connection().execute("PRAGMA query_only=ON")
    with pytest.raises(StorageError) as caught:
        put(store, "jobs/a", {"n": 1})
    assert caught.value.code == "STORAGE_READONLY"


def test_a_store_that_stays_locked_is_a_lost_race(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.database.connection().execute("PRAGMA busy_timeout=50")
    other = sqlite3.connect(store.database.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Conflict):
        put(store, "jobs/a", {"n": 1})
    other.execute("ROLLBACK")
    other.close()
    put(store, "jobs/a", {"n": 1})


def test_a_commit_that_the_disk_broke_off_is_unknown(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    failing = _Failing(store.database.connection())
    monkeypatch.setattr(store.database, "connection", lambda: failing)
    store.database._mine.durable = True
    with pytest.raises(CommitUnknown):
        put(store, "jobs/a", {"n": 1})


class _Failing:
    """A connection whose COMMIT fails as on a broken disk."""

    def __init__(self, real: sqlite3.Connection) -> None:
        self._real = real

    def execute(self, statement: str, *values: Any) -> Any:
        if statement == "COMMIT":
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
            raise error
        return self._real.execute(statement, *values)

    @property
    def in_transaction(self) -> bool:
        return self._real.in_transaction


CALLS = ("open", "fsync", "rename", "mkdir", "link")


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EROFS])
@pytest.mark.parametrize("nth", range(12))
def test_an_object_is_whole_or_not_there_whichever_call_fails(
    store: Store, monkeypatch: pytest.MonkeyPatch, nth: int, code: int
) -> None:
    store.presence.scratch()
    failed = _fail_nth_call(monkeypatch, nth, code)
    raised = None
    try:
        store.backends.objects.create("t/j/0001/1/a", b"one")
    except StorageError as exc:
        raised = exc.code
    monkeypatch.undo()
    names = {errno.ENOSPC: "STORAGE_FULL", errno.EROFS: "STORAGE_READONLY", errno.EIO: "STORAGE"}
    assert raised == (names[code] if failed else None)
    stored = store.backends.objects.create("t/j/0001/1/a", b"one")
    assert store.backends.objects.local("t/j/0001/1/a", stored.generation).read_bytes() == b"one"
    assert store.backends.objects.list("") == ["t/j/0001/1/a"]
    assert [p.name for p in store.presence.scratch().iterdir()] == ["lock"]


def _fail_nth_call(monkeypatch: pytest.MonkeyPatch, nth: int, code: int) -> list[str]:
    """Let the n-th of the calls that reach the disk fail once."""
    left = [nth]
    failed: list[str] = []
    for name in CALLS:
        monkeypatch.setattr(os, name, _counting(getattr(os, name), name, left, failed, code))
    return failed


def _counting(real: Any, name: str, left: list[int], failed: list[str], code: int) -> Any:
    def call(*arguments: Any, **options: Any) -> Any:
        left[0] -= 1
        if left[0] == -1:
            failed.append(name)
            raise OSError(code, os.strerror(code))
        return real(*arguments, **options)

    return call


def test_a_link_that_leads_out_of_the_store_is_not_followed(store: Store, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (store.home / "objects" / "t").symlink_to(outside)
    with pytest.raises(InputError):
        store.backends.objects.create("t/a", b"x")
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize("kind", ["symlink", "folder", "fifo"])
def test_only_a_regular_file_becomes_an_object(store: Store, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "source"
    if kind == "symlink":
        (tmp_path / "real").write_bytes(b"x")
        path.symlink_to(tmp_path / "real")
    elif kind == "folder":
        path.mkdir()
    else:
        os.mkfifo(path)
    with pytest.raises(InputError) as caught:
        store.backends.objects.create("t/a", path)
    assert caught.value.code == "NOT_A_REGULAR_FILE"


# --- the queue ----------------------------------------------------------------------------------------------------


def test_equal_messages_that_nobody_has_taken_are_one(store: Store) -> None:
    for _ in range(5):
        store.backends.messages.publish("eda", {"job_id": "a", "step": 1})
    store.queue.acknowledge(taken(store))
    assert take(store) is None


def test_the_oldest_message_comes_first(store: Store, clock: Clock) -> None:
    for step in (3, 1, 2):
        store.backends.messages.publish("eda", {"step": step})
        clock.advance(1)
    assert [taken(store).body["step"] for _ in range(3)] == [3, 1, 2]


def test_a_loan_that_has_run_out_can_neither_be_settled_nor_prolonged(store: Store, clock: Clock) -> None:
    store.backends.messages.publish("eda", {"job_id": "a"})
    late = taken(store, "a")
    clock.advance(VISIBILITY + 1)
    current = taken(store, "b")
    store.queue.acknowledge(late)
    store.queue.refuse(late, "late")
    store.queue.extend(late)
    assert store.queue.holders() == {"b"}
    clock.advance(VISIBILITY + 1)
    assert taken(store, "c").deliveries == 3
    assert current.token == 2


def test_a_loan_that_is_prolonged_stays(store: Store, clock: Clock) -> None:
    store.backends.messages.publish("eda", {"job_id": "a"})
    loan = taken(store)
    for _ in range(10):
        clock.advance(VISIBILITY / 2)
        store.queue.extend(loan)
    assert take(store) is None


def test_the_loans_of_a_dead_process_are_free_at_once(store: Store) -> None:
    store.backends.messages.publish("eda", {"job_id": "a"})
    taken(store, "dead")
    assert store.queue.release("dead") == [{"job_id": "a"}]
    assert taken(store, "b").body == {"job_id": "a"}


def test_taking_acknowledges_what_is_done_on_the_way(store: Store) -> None:
    store.backends.messages.publish("eda", {"step": 1})
    store.backends.messages.publish("eda", {"step": 2})
    (next_one,) = store.queue.take(WORK, holder="a", done=[taken(store)])
    assert next_one.body == {"step": 2}
    assert store.queue.take(WORK, holder="a", done=[next_one]) == []
    assert store.queue.holders() == set()


def test_a_message_that_is_given_up_keeps_its_last_error(store: Store, clock: Clock) -> None:
    store.backends.messages.publish("eda", {"job_id": "a"})
    for _ in range(MAX_DELIVERIES):
        store.queue.refuse(taken(store), "STORAGE: no")
        clock.advance(BACKOFF_CAP + 1)
    assert take(store) is None
    assert store.queue.dead_letters() == [("eda", {"job_id": "a"}, "STORAGE: no")]


def test_a_message_whose_receivers_all_vanish_is_given_up_too(store: Store, clock: Clock) -> None:
    store.backends.messages.publish("eda", {"job_id": "a"})
    for _ in range(MAX_DELIVERIES + 1):
        take(store)
        clock.advance(VISIBILITY + 1)
    assert len(store.queue.dead_letters()) == 1


def test_back_off_doubles_within_bounds_and_is_the_same_every_time() -> None:
    for message in range(50):
        waits = [backoff(message, n) for n in range(1, 30)]
        assert waits == [backoff(message, n) for n in range(1, 30)]
        assert all(0.25 * 2.0**n <= w <= 0.5 * 2.0**n for n, w in enumerate(waits[:7]))
        assert all(BACKOFF_CAP / 2 <= w <= BACKOFF_CAP for w in waits[7:])
    assert len({backoff(message, 3) for message in range(50)}) > 40


def test_the_coordinator_is_told_in_the_transaction_that_ends_the_step(store: Store) -> None:
    for state in ("queued", "running"):
        put(store, "jobs/a/steps/0001", {"state": state})
        assert take(store, CHANGES) is None
    put(store, "jobs/a/steps/0001", {"state": "succeeded"})
    loan = take(store, CHANGES)
    assert loan is not None
    assert loan.body == {"job_id": "a"}


# --- secrets and addresses ----------------------------------------------------------------------------------------


def test_a_secret_comes_from_the_environment_or_a_file_that_is_ours_alone(tmp_path: Path) -> None:
    secrets = open_store(Settings(home=tmp_path, environ={"ONE": "1"})).backends.secrets
    path = tmp_path / "secrets" / "TWO"
    path.write_text("2\n")
    path.chmod(0o600)
    assert (secrets.get("ONE"), secrets.get("TWO")) == ("1", "2")
    path.chmod(0o644)
    with pytest.raises(StorageError) as caught:
        secrets.get("TWO")
    assert caught.value.code == "SECRET_MODE"
    for name in ("../causal.db", "", "THREE"):
        with pytest.raises(NotFound):
            secrets.get(name)


def test_an_address_stands_for_one_object_until_its_time_is_over(store: Store, clock: Clock) -> None:
    address = store.backends.objects.sign("t/ü", 7, seconds=60, filename="b.csv")
    token = address.rpartition("/")[2]
    key = signing_key(store.home / "secrets")
    now = clock().timestamp()
    assert read_token(key, token, now=now) == ("t/ü", 7, "b.csv")
    with pytest.raises(InputError, match="no longer"):
        read_token(key, token, now=now + 61)
    claim, mac = token.split(".")
    forged = sign_token(b"other", name="t/ü", generation=7, filename="b.csv", expires=2**40)
    for bad in ("", "x", claim, f"{claim[:-2]}.{mac}", f"{claim}.{mac[:-2]}", forged, f"{forged.split('.')[0]}.{mac}"):
        with pytest.raises(InputError):
            read_token(key, bad, now=now)


# --- erasing ------------------------------------------------------------------------------------------------------


def test_after_scrubbing_no_byte_of_what_was_deleted_is_left(store: Store) -> None:
    for k in range(200):
        put(store, f"jobs/{k}", {"text": f"{CANARY} {k}" * 50})
    store.backends.objects.create("t/a", CANARY.encode())
    assert found(store)
    for k in range(200):
        put(store, f"jobs/{k}", None)
    store.backends.objects.delete("t/a")
    store.database.scrub()
    assert found(store) == []


def found(store: Store) -> list[str]:
    return [p.name for p in store.home.rglob("*") if p.is_file() and CANARY.encode() in p.read_bytes()]


# --- processes ----------------------------------------------------------------------------------------------------


def test_the_dead_are_told_from_the_living(store: Store) -> None:
    store.presence.scratch()
    code = "import sys; from pathlib import Path; from causal_orchestrator.backends.local.presence import Presence\n"
    code += "p = Presence(Path(sys.argv[1]), lambda: 'other'); p.scratch(); print(flush=True); sys.stdin.read()"
    folder = str(store.home / "processes")
    with subprocess.Popen(
        [sys.executable, "-c", code, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ) as other:  # fmt: skip
        assert other.stdout is not None
        other.stdout.readline()
        assert store.presence.dead() == []
        other.kill()
    assert store.presence.dead() == ["other"]
    store.presence.bury("other")
    assert store.presence.dead() == []


def test_a_background_call_is_repeated_until_the_context_closes() -> None:
    called = threading.Semaphore(0)

    def call() -> None:
        called.release()
        raise Conflict("this one failure is logged, not fatal")

    with background(call, 0.001):
        assert called.acquire(timeout=5)
        assert called.acquire(timeout=5)
    while called.acquire(blocking=False):  # what was called before the context closed
        pass
    assert not called.acquire(timeout=0.1)


def test_leaving_a_background_waits_for_the_call_that_is_being_made() -> None:
    entered, done = threading.Event(), []

    def call() -> None:
        entered.set()
        threading.Event().wait(0.05)
        done.append(1)

    with background(call, 0.001):
        assert entered.wait(timeout=5)
    seen = len(done)
    assert seen >= 1
    threading.Event().wait(0.1)
    assert len(done) == seen


def test_a_background_call_that_hangs_holds_up_no_other() -> None:
    free, called = threading.Event(), threading.Event()
    with background(lambda: free.wait(5) and None, 0.001), background(called.set, 0.001):
        assert called.wait(timeout=5)
        free.set()

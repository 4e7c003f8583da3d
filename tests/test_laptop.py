"""The embedded loop: jobs end, whoever works on them and whatever dies on the way."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from causal_orchestrator import attempt, laptop, ledger, runtime
from causal_orchestrator.backends.local import Store, open_store
from causal_orchestrator.backends.local.queue import WORK
from causal_orchestrator.errors import StorageError
from causal_orchestrator.question import Question
from causal_orchestrator.settings import Settings
from causal_orchestrator.state import Job, lease_path, step_path
from causal_orchestrator.worker import agents_at

ROOT = Path(__file__).parent.parent
TENANT = "tester"
TOYS = "tests.toy_agents:AGENTS"
ROUNDS = int(os.environ.get("CRASH_ROUNDS", "10"))
STEPS = 7
PATIENCE = 60.0


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(Settings(home=tmp_path / "home"))
    yield opened
    opened.close()


def settings(store: Store, workers: int) -> Settings:
    return Settings.from_environment(home=store.home, workers=workers)


def start(store: Store, count: int = 1) -> list[str]:
    return [
        runtime.start_job(store.backends, Question(query=f"toy {k}"), {"kind": "none"}, tenant=TENANT)
        for k in range(count)
    ]


def states(jobs: list[Job]) -> set[str]:
    return {job.state for job in jobs}


# --- ways to the end ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_jobs_end_with_every_step_done_once(store: Store, workers: int) -> None:
    ids = start(store, 3)
    jobs = laptop.run(settings(store, workers), job_ids=ids, agents=TOYS)
    assert [job.id for job in jobs] == ids
    assert states(jobs) == {"completed"}
    for job in ids:
        _, steps = runtime.get_job(store.backends, job, tenant=TENANT)
        assert [(s.state, s.attempt) for s in steps] == [("succeeded", 1)] * STEPS


@pytest.mark.parametrize("workers", [0, 1])
def test_a_step_in_parts_is_put_together(store: Store, workers: int) -> None:
    ids = start(store)
    jobs = laptop.run(settings(store, workers), job_ids=ids, agents="tests.toy_agents:PARTED")
    assert states(jobs) == {"completed"}
    _, steps = runtime.get_job(store.backends, ids[0], tenant=TENANT)
    assert steps[1].result is not None
    assert steps[1].result["n_cells"] == 0 + 1 + 2
    assert "CLOUD_RUN_TASK_INDEX" not in os.environ


def test_a_failure_of_the_science_ends_the_job_with_its_code(store: Store) -> None:
    jobs = laptop.run(settings(store, 0), job_ids=start(store), agents="tests.toy_agents:REFUSING")
    assert [(job.state, job.error.code if job.error else None) for job in jobs] == [("failed", "TOY")]


def test_every_change_of_a_job_is_told_until_its_end(store: Store) -> None:
    seen: list[Job] = []
    ids = start(store)
    laptop.run(settings(store, 0), job_ids=ids, agents=TOYS, on_change=seen.append)
    assert [job.state for job in seen[-1:]] == ["completed"]
    assert sorted({job.rev for job in seen}) == [job.rev for job in seen]
    assert {job.progress for job in seen} >= {100}


def test_without_jobs_to_wait_for_the_loop_returns_when_none_is_live(store: Store) -> None:
    start(store, 2)
    assert states(laptop.run(settings(store, 0), agents=TOYS)) == {"completed"}
    assert laptop.run(settings(store, 0), agents=TOYS) == []


def test_a_job_that_another_process_cancels_is_noticed(store: Store) -> None:
    ids = start(store)
    runtime.cancel(store.backends, ids[0], tenant=TENANT)
    assert states(laptop.run(settings(store, 0), job_ids=ids, agents=TOYS)) == {"cancelled"}


def test_the_serving_loop_takes_jobs_until_it_is_stopped(store: Store) -> None:
    stop = threading.Event()
    serving = threading.Thread(
        target=laptop.serve_loop, args=(settings(store, 0),), kwargs={"stop": stop, "agents": TOYS}
    )
    serving.start()
    try:
        ids = start(store)
        wait_until(lambda: runtime.get_job(store.backends, ids[0], tenant=TENANT)[0].state == "completed")
    finally:
        stop.set()
        serving.join()


def test_a_clean_end_leaves_no_process_no_loan_and_no_scratch(store: Store) -> None:
    laptop.run(settings(store, 1), job_ids=start(store), agents=TOYS)
    assert store.queue.holders() == set()
    assert list((store.home / "processes").iterdir()) == []
    assert (store.home / "lock").read_bytes() == b""


def test_the_loop_leaves_no_byte_of_an_erased_job(store: Store) -> None:
    canary = "canary-77ab"
    job = runtime.start_job(store.backends, Question(query=canary), {"kind": "none"}, tenant=TENANT)
    laptop.run(settings(store, 0), job_ids=[job], agents=TOYS)
    assert _files_with(store, canary)
    runtime.erase(store.backends, job, tenant=TENANT)
    laptop.run(settings(store, 0), agents=TOYS, idle=0.5)
    assert _files_with(store, canary) == []


def _files_with(store: Store, text: str) -> list[str]:
    return [p.name for p in store.home.rglob("*") if p.is_file() and text.encode() in p.read_bytes()]


# --- what dies on the way -----------------------------------------------------------------------------------------


def test_a_step_that_kills_its_process_twice_fails_for_good(store: Store) -> None:
    jobs = laptop.run(settings(store, 1), job_ids=start(store), agents="tests.toy_agents:KILLING")
    assert [(job.state, job.error.code if job.error else None) for job in jobs] == [("failed", "INTERNAL")]
    _, steps = runtime.get_job(store.backends, jobs[0].id, tenant=TENANT)
    assert steps[1].attempt == 2


def test_what_a_dead_process_held_is_free_at_the_next_start(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    (job,) = start(store)
    with looping(store, "tests.toy_agents:SLEEPING") as process:
        wait_until(lambda: (store.backends.documents.get(step_path(job, 1)) or {}).get("state") == "running")
        os.killpg(process.pid, signal.SIGKILL)
    lease = store.backends.documents.get(lease_path(job, 1))
    assert lease is not None
    assert lease["until"] > store.backends.now()
    monkeypatch.setenv("TOY_AWAKE", "1")
    started = time.monotonic()
    jobs = laptop.run(settings(store, 0), job_ids=[job], agents="tests.toy_agents:SLEEPING")
    assert states(jobs) == {"completed"}
    assert time.monotonic() - started < 20  # far below the lease's sixty seconds


def test_workers_end_when_their_parent_is_killed(store: Store) -> None:
    start(store)
    with looping(store, "tests.toy_agents:SLEEPING") as process:
        wait_until(lambda: len(store.queue.holders()) > 0)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        wait_until(lambda: not _living(process.pid))


def test_a_damaged_store_is_refused_after_an_unclean_end(store: Store) -> None:
    start(store, 30)
    store.database.scrub()
    (store.home / "lock").write_bytes(b"1")
    with (store.home / "causal.db").open("r+b") as stream:
        stream.seek(4096 * 3)
        stream.write(b"\xa5" * 4096 * 4)
    with pytest.raises(StorageError) as caught:
        laptop.run(settings(store, 0), agents=TOYS)
    assert caught.value.code == "STORAGE_CORRUPT"


def test_of_two_processes_on_one_store_one_sweeps_and_both_work(store: Store) -> None:
    leader = laptop._lead(store)
    assert leader is not None
    assert laptop._lead(store) is None
    assert states(laptop.run(settings(store, 0), job_ids=start(store), agents=TOYS)) == {"completed"}
    assert os.fstat(leader).st_size == 1
    os.close(leader)


@pytest.mark.slow
def test_killed_at_any_moment_every_job_still_ends_with_one_result_a_step(store: Store) -> None:
    chance = random.Random(20)  # noqa: S311
    ids = start(store, 20)
    for round_number in range(ROUNDS):
        done = ended(store)
        left = STEPS * len(ids) - done
        share = max(1, left // (ROUNDS - round_number))
        goal = done + chance.randint(0, share)
        with looping(store, TOYS, workers=chance.choice([0, 1, 2])) as process:
            wait_until(lambda goal=goal, process=process: ended(store) >= goal or process.poll() is not None)
            time.sleep(chance.random() * 0.05)
            if chance.random() < 0.7:
                os.killpg(process.pid, signal.SIGKILL)
            else:
                process.kill()
    jobs = laptop.run(settings(store, 1), job_ids=ids, agents=TOYS)
    assert states(jobs) == {"completed"}
    for job in ids:
        _, steps = runtime.get_job(store.backends, job, tenant=TENANT)
        assert [s.state for s in steps] == ["succeeded"] * STEPS
        assert ledger.verify_audit(store.backends, job) is None
        facts = [e["action"] for _, e in store.backends.documents.list(f"audit/{job}/events")]
        assert facts.count("step succeeded") == STEPS
    store.database.check()
    assert store.queue.dead_letters() == []


def test_a_process_that_slept_through_its_lease_changes_nothing(store: Store) -> None:
    (job,) = start(store)
    with looping(store, "tests.toy_agents:NAPPING", workers=0, lease=0.5) as process:
        wait_until(lambda: (store.backends.documents.get(step_path(job, 1)) or {}).get("state") == "running")
        time.sleep(0.1)
        os.killpg(process.pid, signal.SIGSTOP)
        time.sleep(0.7)
        jobs = laptop.run(settings(store, 0), job_ids=[job], agents="tests.toy_agents:NAPPING")
        before = runtime.get_job(store.backends, job, tenant=TENANT)
        os.killpg(process.pid, signal.SIGCONT)
        process.wait(PATIENCE)
    assert states(jobs) == {"completed"}
    assert before[1][1].attempt == 2
    assert runtime.get_job(store.backends, job, tenant=TENANT) == before


# --- helpers ------------------------------------------------------------------------------------------------------


def ended(store: Store) -> int:
    query = "SELECT count(*) FROM documents WHERE state='succeeded' AND collection LIKE 'jobs/%/steps'"
    return int(store.database.connection().execute(query).fetchone()[0])


@contextmanager
def looping(store: Store, agents: str, *, workers: int = 1, lease: float = 60.0) -> Iterator[subprocess.Popen[bytes]]:
    """A loop in a process group of its own, which is ended with the context."""
    code = (
        "import sys; from datetime import timedelta; from causal_orchestrator import laptop, state, attempt\n"
        "from causal_orchestrator.backends.local import queue\n"
        f"state.LEASE = attempt.LEASE = timedelta(seconds={lease}); queue.VISIBILITY = {lease}\n"
        "from causal_orchestrator.settings import Settings\n"
        f"laptop.run(Settings.from_environment(), agents={agents!r})"
    )
    environ = {**os.environ, "CAUSAL_HOME": str(store.home), "CAUSAL_WORKERS": str(workers)}
    environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "shared")])
    process = subprocess.Popen([sys.executable, "-c", code], env=environ, start_new_session=True)
    try:
        yield process
    finally:
        if _living(process.pid):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _living(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def wait_until(true: object) -> None:
    assert callable(true)
    until = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.002)


@pytest.mark.parametrize("death", [None, "killed"])
def test_a_dead_process_takes_only_its_own_leases_with_it(store: Store, death: str | None) -> None:
    (job,) = start(store)
    assert attempt._claim(store.backends, job, 0, None, agents_at(TOYS))
    held = store.backends.documents.get(lease_path(job, 0))
    assert store.queue.take(WORK, holder="dead")
    laptop.release(store, "dead", death=death)
    assert held == store.backends.documents.get(lease_path(job, 0)) is not None
    assert store.queue.take(WORK, holder=store.presence.name)
    laptop.release(store, store.presence.name, death=death)
    assert store.backends.documents.get(lease_path(job, 0)) is None

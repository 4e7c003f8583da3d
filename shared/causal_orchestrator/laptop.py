"""The embedded loop: everything that the cloud's triggers do, in one process and its workers.

The main process reads the change feed (coordinate), looks after the workers and sweeps; each worker borrows messages
and runs steps. All of them meet only in the store, so any of them may be killed at any moment.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import IO

from causal_orchestrator import runtime
from causal_orchestrator.agents import Spec
from causal_orchestrator.backends.local import Store, open_store
from causal_orchestrator.backends.local.presence import lock
from causal_orchestrator.backends.local.queue import CHANGES, WORK, Delivery
from causal_orchestrator.backends.ports import Found, Writes
from causal_orchestrator.errors import CausalError, Retriable
from causal_orchestrator.log import event
from causal_orchestrator.settings import ONE_THREAD, Settings
from causal_orchestrator.state import LIVE_JOB, RESEND_AFTER, Job, Lease, is_of, job_path, lease_path
from causal_orchestrator.worker import BATCH, GRACE_SECONDS, POLL_SECONDS, agents_at, deliver

AGENTS = "causal_orchestrator.agents:AGENTS"
SWEEP_SECONDS = 60.0
CENSUS_SECONDS = 2.0
WATCH_SECONDS = 1.0
MAX_EARLY_DEATHS = 5
MAX_FAILURES = 10

OnChange = Callable[[Job], None]


@dataclass
class _Worker:
    """A worker process and the name under which it borrows."""

    name: str
    process: subprocess.Popen[bytes]
    started: float


@dataclass
class _Loop:
    """What one run of the loop holds: the store, its workers, the jobs that are waited for and how they were last."""

    store: Store
    agents: Mapping[str, Spec]
    agents_path: str
    workers: list[_Worker] = field(default_factory=list)
    seen: dict[str, Job] = field(default_factory=dict)
    early_deaths: int = 0
    failures: int = 0
    scrubbed: set[str] = field(default_factory=set)


def run(
    settings: Settings, *, idle: float = 0.0, on_change: OnChange | None = None,
    job_ids: Collection[str] | None = None, agents: str = AGENTS,
) -> list[Job]:  # fmt: skip
    """Deliver until the given jobs have ended (or, with None, until no live job was left for `idle` seconds).

    Parameters
    ----------
    settings : Settings
        Where the store is and how many worker processes there are; 0 runs the agents in the calling process.
    on_change : callable
        Called with a job whenever it has changed.
    agents : str
        Where the table of agents is, as ``module:name``.

    Returns
    -------
    list of Job
        The jobs that were waited for (with None: those that changed), as they stand.

    Raises
    ------
    StorageError
        If the store is damaged, or stays full or out of reach.
    CausalError
        ``WORKERS`` if the workers end as soon as they start.
    """
    with _opened(settings, agents) as loop:
        quiet_since = time.monotonic()
        looked = 0.0
        while True:
            handled = _turn(loop, on_change)
            now = time.monotonic()
            if not handled and now - looked >= WATCH_SECONDS:
                looked = now
                _look(loop, job_ids or (), on_change)
            if job_ids is not None:
                if all(_ended(loop, job) for job in job_ids):
                    return [loop.seen[job] for job in job_ids]
            elif handled or _any_live(loop.store):
                quiet_since = now
            elif now - quiet_since >= idle:
                return list(loop.seen.values())
            if not handled:
                _wait(loop)


def serve_loop(settings: Settings, *, stop: threading.Event, agents: str = AGENTS) -> None:
    """Deliver until `stop` is set."""
    with _opened(settings, agents) as loop:
        while not stop.is_set():
            if not _turn(loop, None):
                _wait(loop)
            loop.seen.clear()


def scrub(settings: Settings) -> None:
    """Leave no byte of what was erased in the store's file (the loop does so itself within a minute)."""
    store = open_store(settings)
    store.database.scrub()
    store.close()


# --- delivering ---------------------------------------------------------------------------------------------------


def _turn(loop: _Loop, on_change: OnChange | None) -> bool:
    """Handle what is due now and look after the workers; say whether there was anything.

    A store that is locked, full or out of reach for a while is waited for.
    """
    try:
        handled = _handle(loop, on_change)
        _tend(loop)
    except Retriable as exc:
        loop.failures += 1
        event("turn_failed", severity="WARNING", error=exc.code, failures=loop.failures)
        if loop.failures >= MAX_FAILURES:
            raise
        time.sleep(WATCH_SECONDS)
        return False
    loop.failures = 0
    return handled


def _handle(loop: _Loop, on_change: OnChange | None) -> bool:
    store = loop.store
    handled = False
    for lane, limit in ((CHANGES, BATCH),) if loop.workers else ((CHANGES, BATCH), (WORK, 1)):
        done: list[Delivery] = []
        for delivery in store.queue.take(lane, holder=store.presence.name, limit=limit):
            done += deliver(store, delivery, loop.agents)
            handled = True
            if lane == CHANGES:
                _look(loop, [str(delivery.body["job_id"])], on_change)
        if done:
            store.queue.acknowledge(*done)
    if handled:
        _nudge(loop)
    return handled


def _look(loop: _Loop, jobs: Collection[str], on_change: OnChange | None) -> None:
    """Read jobs afresh and tell of those that have changed."""
    for job_id in jobs:
        document = loop.store.backends.documents.get(job_path(job_id))
        if document is None:
            continue
        before = loop.seen.get(job_id)
        if before is not None and before.rev == document["rev"]:
            continue
        job = loop.seen[job_id] = Job.model_validate(document)
        if on_change is not None:
            on_change(job)


def _ended(loop: _Loop, job_id: str) -> bool:
    job = loop.seen.get(job_id)
    return job is not None and job.state not in LIVE_JOB


def _any_live(store: Store) -> bool:
    return any(store.backends.documents.list("jobs", where={"state": state}, limit=1) for state in sorted(LIVE_JOB))


# --- opening and closing ------------------------------------------------------------------------------------------


@contextmanager
def _opened(settings: Settings, agents: str) -> Iterator[_Loop]:
    """Open the store, start workers and the sweeper; leave no process and no loan behind."""
    store = open_store(settings)
    store.presence.scratch()
    loop = _Loop(store=store, agents=agents_at(agents), agents_path=agents)
    leadership = _lead(store)
    over = threading.Event()
    sweeper = threading.Thread(target=_sweep, args=(loop, leadership, over), daemon=True)
    try:
        loop.workers = [_start(loop) for _ in range(settings.workers)]
        sweeper.start()
        yield loop
    finally:
        over.set()
        _stop(loop)
        if sweeper.is_alive():
            sweeper.join(GRACE_SECONDS)
        with suppress(Retriable):  # the next start finds this process dead and does the same
            release(store, store.presence.name)
        store.close()


def _lead(store: Store) -> int | None:
    """Become the process that sweeps, unless another one is; look the store over if the last one left no farewell.

    Raises
    ------
    StorageError
        ``STORAGE_CORRUPT`` if the store is damaged.
    """
    held = lock(store.home / "lock")
    if held is None:
        return None
    if os.fstat(held).st_size:
        store.database.check()
    os.pwrite(held, b"1", 0)
    return held


def _sweep(loop: _Loop, held: int | None, over: threading.Event) -> None:
    """Bury the dead every few seconds and sweep at once and every minute, as long as this process leads.

    The first time every queued step counts as overdue: the process before may have died before it sent it.
    """
    due, patience = 0.0, timedelta(0)
    while not over.is_set():
        try:
            held = _lead(loop.store) if held is None else held
            if held is not None:
                _bury(loop.store)
                if time.monotonic() >= due:
                    _sweep_once(loop, patience)
                    due, patience = time.monotonic() + SWEEP_SECONDS, RESEND_AFTER
        except CausalError as exc:
            event("sweep_failed", severity="WARNING", error=exc.code)
        over.wait(CENSUS_SECONDS)
    if held is not None:
        os.ftruncate(held, 0)
        os.close(held)


def _bury(store: Store) -> None:
    """Free what processes held that are no longer there."""
    for name in store.presence.dead():
        release(store, name)
        store.presence.bury(name)


def _sweep_once(loop: _Loop, patience: timedelta) -> None:
    runtime.sweep(loop.store.backends, agents=loop.agents, patience=patience)
    runtime.collect(loop.store.backends)
    erased = {path for path, _ in loop.store.backends.documents.list("receipts", where={"settled": False})}
    if erased - loop.scrubbed:
        loop.store.database.scrub()
        loop.scrubbed |= erased


def release(store: Store, name: str, *, death: str | None = None) -> None:
    """End the loans and the leases of a dead process, so that its steps can be taken over at once.

    `death` says how it died if that was its own doing, and not that everything was ended around it.
    """
    for body in store.queue.release(name):
        if "step" not in body:
            continue
        job, step, part = body["job_id"], body["step"], body.get("part")
        if death is not None:
            runtime.bury(store.backends, job, step, part=part, process=name, death=death)
        else:
            store.backends.documents.update([lease_path(job, step, part)], lambda found: _without(found, name))


def _without(found: Found, process: str) -> Writes:
    """Return the writes that remove the leases of a process."""
    return {path: None for path, lease in found.items() if lease and is_of(Lease.model_validate(lease), process)}


# --- workers ------------------------------------------------------------------------------------------------------


def _start(loop: _Loop) -> _Worker:
    name = loop.store.backends.new_id()
    command = [sys.executable, "-P", "-m", "causal_orchestrator.worker", name, loop.agents_path]
    environ = {**os.environ, **dict.fromkeys(ONE_THREAD, "1"), "PYTHONHASHSEED": "0"}
    environ["CAUSAL_HOME"] = str(loop.store.home)
    environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(path for path in sys.path if path))
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ)  # noqa: S603
    return _Worker(name=name, process=process, started=time.monotonic())


def _tend(loop: _Loop) -> None:
    """Replace workers that have died and free what they held."""
    for number, worker in enumerate(loop.workers):
        if worker.process.poll() is None:
            continue
        event("worker_died", severity="WARNING", code=worker.process.returncode)
        _close(worker)
        release(loop.store, worker.name, death=f"its process ended with code {worker.process.returncode}")
        loop.store.presence.bury(worker.name)
        early = time.monotonic() - worker.started < GRACE_SECONDS
        loop.early_deaths = loop.early_deaths + 1 if early else 0
        if loop.early_deaths > MAX_EARLY_DEATHS:
            raise CausalError("the worker processes end as soon as they start", code="WORKERS")
        loop.workers[number] = _start(loop)


def _nudge(loop: _Loop) -> None:
    for worker in loop.workers:
        with suppress(BrokenPipeError, ValueError):
            pipe = _pipe(worker.process.stdin)
            pipe.write(b"\n")
            pipe.flush()


def _wait(loop: _Loop) -> None:
    """Sleep until a worker has finished something, or a little while."""
    pipes = [_pipe(worker.process.stdout) for worker in loop.workers if not _pipe(worker.process.stdout).closed]
    if not pipes:
        time.sleep(POLL_SECONDS / 10)
        return
    ready, _, _ = select.select(pipes, [], [], POLL_SECONDS)
    for pipe in ready:
        os.read(pipe.fileno(), 4096)


def _stop(loop: _Loop) -> None:
    """Ask the workers to end, and end those that do not."""
    for worker in loop.workers:
        with suppress(BrokenPipeError):
            _pipe(worker.process.stdin).close()
    for worker in loop.workers:
        try:
            worker.process.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            worker.process.kill()
            worker.process.wait()
        _close(worker)
        with suppress(Retriable):
            release(loop.store, worker.name)
            loop.store.presence.bury(worker.name)


def _close(worker: _Worker) -> None:
    for pipe in (worker.process.stdin, worker.process.stdout):
        with suppress(BrokenPipeError):
            _pipe(pipe).close()


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    if pipe is None:
        raise CausalError("a worker was started without pipes", code="WORKERS")
    return pipe

"""A worker process of the embedded loop: borrows messages from the store and runs the steps that they name.

Its standard input is the parent's hand: a byte wakes it, the end of the stream (the parent's end, too) stops it.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from causal_orchestrator import agents as agent_table
from causal_orchestrator import runtime
from causal_orchestrator.agents import Spec
from causal_orchestrator.backends.local import Store, background, open_store
from causal_orchestrator.backends.local.queue import CHANGES, VISIBILITY, WORK, Delivery
from causal_orchestrator.errors import CausalError, Retriable
from causal_orchestrator.log import connect, event
from causal_orchestrator.settings import Settings

POLL_SECONDS = 0.02
GRACE_SECONDS = 5.0
REST_SECONDS = 1.0
BATCH = 32  # what the main process takes from the change feed at once
SHARE = 8  # what a worker without work takes from it when more than that is due


def main(name: str, agents_path: str) -> None:
    """Work under `name` until the parent lets go."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the parent, which ends us in order
    told = os.dup(1)
    os.dup2(2, 1)
    wake, over = threading.Event(), threading.Event()
    settings = Settings.from_environment()
    connect(settings.log_level, settings.project)
    store = open_store(settings)
    store.presence.name = name
    store.presence.scratch()
    agents = agents_at(agents_path)
    threading.Thread(target=_listen, args=(wake, over), daemon=True).start()
    cold = _modules(agents)
    held: list[Delivery] = []
    done: list[Delivery] = []
    with background(lambda: store.queue.extend(*held), VISIBILITY / 4):
        while not over.is_set():
            try:
                held[:] = store.queue.take(WORK, holder=name, done=done)
                held[:] = held or store.queue.take(CHANGES, holder=name, limit=SHARE, behind=BATCH)
                done = [delivery for loan in held for delivery in deliver(store, loan, agents)]
            except Retriable as exc:
                event("worker_failed", severity="WARNING", error=exc.code)
                over.wait(REST_SECONDS)
            if held:
                os.write(told, b"\n")
                held.clear()
            elif next(cold, None) is None:
                wake.wait(POLL_SECONDS)
                wake.clear()
    store.close()


def agents_at(path: str) -> Mapping[str, Spec]:
    """Import the table of agents that ``module:name`` names."""
    module, _, name = path.partition(":")
    found: Mapping[str, Spec] = getattr(importlib.import_module(module), name)
    return found


def deliver(store: Store, delivery: Delivery, agents: Mapping[str, Spec]) -> list[Delivery]:
    """Do what a message asks for; return it if it is done, give it back (to come again later) if it failed."""
    body = delivery.body
    try:
        if delivery.topic == CHANGES:
            runtime.coordinate(store.backends, body["job_id"], agents=agents)
        else:
            with _task(body):
                runtime.run_step(store.backends, body["job_id"], body["step"], part=body.get("part"), agents=agents)
    except Exception as exc:
        code = exc.code if isinstance(exc, CausalError) else type(exc).__name__
        event("delivery_failed", severity="WARNING", job_id=body.get("job_id"), topic=delivery.topic, error=code)
        store.queue.refuse(delivery, f"{code}: {exc}")
        return []
    return [delivery]


@contextmanager
def _task(body: Mapping[str, object]) -> Iterator[None]:
    """Say in the environment which share of the step this is, as Cloud Run does for a task."""
    if "part" not in body:
        yield
        return
    names = {"CLOUD_RUN_TASK_INDEX": str(body["part"]), "CLOUD_RUN_TASK_COUNT": str(body["parts"])}
    os.environ.update(names)
    try:
        yield
    finally:
        for name in names:
            os.environ.pop(name, None)


def _listen(wake: threading.Event, over: threading.Event) -> None:
    """Pass on the parent's nudges; at its end leave, at the latest after a while in the middle of a step."""
    while os.read(0, 4096):
        wake.set()
    over.set()
    wake.set()
    time.sleep(GRACE_SECONDS)
    os._exit(1)


def _modules(agents: Mapping[str, Spec]) -> Iterator[str]:
    """Import what the agents need, one agent at a time, while there is nothing else to do."""
    for name, spec in agents.items():
        try:
            agent_table.load(name, spec)
        except (ImportError, AttributeError) as exc:
            event("agent_not_loaded", severity="WARNING", agent=name, error=type(exc).__name__)
        yield name


if __name__ == "__main__":
    main(*sys.argv[1:])

"""A worker process of the embedded loop: borrows messages from the store and runs the steps that they name.

Its standard input is the parent's hand: a byte wakes it, the end of the stream (the parent's end, too) stops it.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping

from causal_orchestrator import agents as agent_table
from causal_orchestrator import laptop
from causal_orchestrator.agents import Spec
from causal_orchestrator.backends.local import background, open_store
from causal_orchestrator.backends.local.queue import VISIBILITY, WORK, Delivery
from causal_orchestrator.log import event
from causal_orchestrator.settings import load

POLL_SECONDS = 0.02


def main(name: str, agents_path: str) -> None:
    """Work under `name` until the parent lets go."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the parent, which ends us in order
    told = os.dup(1)
    os.dup2(2, 1)
    wake, over = threading.Event(), threading.Event()
    store = open_store(load())
    store.presence.name = name
    store.presence.scratch()
    agents = laptop.agents_at(agents_path)
    threading.Thread(target=_listen, args=(wake, over), daemon=True).start()
    cold = _modules(agents)
    held: list[Delivery] = []
    with background(lambda: store.queue.extend(*held), VISIBILITY / 4):
        while not over.is_set():
            held[:] = store.queue.take(WORK, holder=name)
            if held:
                laptop.deliver(store, held[0], agents)
                held.clear()
                os.write(told, b"\n")
            elif next(cold, None) is None:
                wake.wait(POLL_SECONDS)
                wake.clear()
    store.close()


def _listen(wake: threading.Event, over: threading.Event) -> None:
    """Pass on the parent's nudges; at its end leave, at the latest after a while in the middle of a step."""
    while os.read(0, 4096):
        wake.set()
    over.set()
    wake.set()
    time.sleep(laptop.GRACE_SECONDS)
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

"""Calls that repeat while something else works, all from one thread of the process."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from causal_orchestrator.errors import CausalError
from causal_orchestrator.log import event


@dataclass
class _Beat:
    """One repeated call; its lock is held while it is made, so that leaving waits for it."""

    call: Callable[[], None]
    seconds: float
    due: float
    over: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)


class _Pulse:
    """The beats of this process and the thread that makes their calls, started with the first of them."""

    def __init__(self) -> None:
        self._beats: list[_Beat] = []
        self._changed = threading.Condition()
        self._owner = 0

    def add(self, beat: _Beat) -> None:
        with self._changed:
            if self._owner != os.getpid():  # a fork has no threads but the one that forked
                self._beats, self._owner = [], os.getpid()
                threading.Thread(target=self._run, daemon=True, name="pulse").start()
            self._beats.append(beat)
            self._changed.notify()

    def remove(self, beat: _Beat) -> None:
        with self._changed:
            self._beats.remove(beat)
        beat.over = True
        with beat.lock:  # wait for a call that is being made
            return

    def _run(self) -> None:
        while True:
            with self._changed:
                now = time.monotonic()
                due = [beat for beat in self._beats if beat.due <= now]
                if not due:
                    self._changed.wait(min((beat.due - now for beat in self._beats), default=None))
                    continue
            for beat in due:
                _make(beat)


def _make(beat: _Beat) -> None:
    """Make one call in its own thread: a call that hangs must not hold up the others."""
    beat.due = time.monotonic() + beat.seconds

    def call() -> None:
        if not beat.lock.acquire(blocking=False):  # the call before is still at it
            return
        try:
            if not beat.over:
                beat.call()
        except CausalError as exc:
            event("background_failed", severity="WARNING", error=exc.code)
        finally:
            beat.lock.release()

    threading.Thread(target=call, daemon=True, name="beat").start()


_PULSE = _Pulse()


@contextmanager
def background(call: Callable[[], None], seconds: float) -> Iterator[None]:
    """Call `call` every `seconds` while the context is open; its failures are logged, and none outlives the context."""
    beat = _Beat(call, seconds, time.monotonic() + seconds)
    _PULSE.add(beat)
    try:
        yield
    finally:
        _PULSE.remove(beat)

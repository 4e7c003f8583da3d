"""A circuit breaker: a provider that keeps failing is left alone for a while."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

IN_A_ROW = 5
WINDOW = 20
REST_SECONDS = 60.0


class Breaker:
    """Open after `IN_A_ROW` failures in a row or when half of the last `WINDOW` calls failed; then one probe a minute.

    Parameters
    ----------
    clock : callable
        Seconds of a clock that never goes back.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._last: deque[bool] = deque(maxlen=WINDOW)
        self._in_a_row = 0
        self._resting_until: float | None = None

    def admits(self) -> bool:
        """Say whether a call may be made now; a rest that is over admits one, and the others wait for it."""
        with self._lock:
            if self._resting_until is None:
                return True
            if self._clock() < self._resting_until:
                return False
            self._resting_until = self._clock() + REST_SECONDS
            return True

    def note(self, *, good: bool) -> None:
        """Take note of how a call went."""
        with self._lock:
            probe = self._resting_until is not None
            if good and probe:
                self._last.clear()
                self._resting_until = None
            self._last.append(good)
            self._in_a_row = 0 if good else self._in_a_row + 1
            full = len(self._last) == WINDOW and sum(self._last) <= WINDOW // 2
            if not good and (probe or full or self._in_a_row >= IN_A_ROW):
                self._resting_until = self._clock() + REST_SECONDS

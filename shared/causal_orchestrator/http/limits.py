"""How much one caller may ask for: a token bucket per principal, in this process."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from causal_orchestrator.errors import CausalError

MAX_BUCKETS = 10_000


class TooMany(CausalError):
    """The caller asks faster than it may; `details["retry_after"]` says when to come back (seconds)."""

    default_code = "RATE_LIMITED"


@dataclass
class _Bucket:
    tokens: float
    at: float


class Buckets:
    """Token buckets by name: `burst` requests at once, `rate` a second after that.

    ``take`` admits at most ``rate * t + burst`` requests in any span of t seconds. `clock` gives seconds and never
    runs backwards. The least recently used bucket is forgotten beyond 10,000; it would be nearly full again.
    """

    def __init__(self, *, rate: float, burst: int, clock: Callable[[], float]) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, name: str) -> None:
        """Count one request (raises TooMany)."""
        with self._lock:
            now = self._clock()
            bucket = self._buckets.pop(name, None) or _Bucket(float(self._burst), now)
            bucket.tokens = min(float(self._burst), bucket.tokens + (now - bucket.at) * self._rate)
            bucket.at = now
            self._buckets[name] = bucket
            if len(self._buckets) > MAX_BUCKETS:
                self._buckets.popitem(last=False)
            if bucket.tokens < 1.0:
                wait = (1.0 - bucket.tokens) / self._rate
                raise TooMany("too many requests", details={"retry_after": max(1, round(wait + 0.5))})
            bucket.tokens -= 1.0

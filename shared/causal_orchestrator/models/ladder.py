"""From the first model to the second one: retries, time, breakers; whoever asks goes on offline after that.

===============  ==========================================================  ===========================
code             what happened                                               what is done
===============  ==========================================================  ===========================
MODEL_BUSY       429, 5xx                                                    again, then the second model
MODEL_LOST       no connection, or it broke off                              again, then the second model
MODEL_LATE       no answer in time                                           the second model
MODEL_REFUSED    any other status, or no credentials                         the second model
MODEL_OPEN       its circuit breaker is open                                 the second model
MODEL_INVALID    an answer that cannot be used                               the asker may ask again
MODEL_BLOCKED    the provider does not answer this                           offline
MODEL_EGRESS     the prompt holds what must not leave                        offline
===============  ==========================================================  ===========================
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from causal_orchestrator.errors import ModelUnavailable
from causal_orchestrator.log import event
from causal_orchestrator.models import egress
from causal_orchestrator.models.answers import Answer, Provider
from causal_orchestrator.models.breaker import Breaker

MAX_CALLS = 3  # HTTP calls for one reservation, over all models
FIRST_SHARE = 2 / 3  # of the time, where there is a second model
BASE_SECONDS = 1.0
MAX_PAUSE = 20.0

RETRIED = frozenset({"MODEL_BUSY", "MODEL_LOST"})
FAILED = RETRIED | {"MODEL_LATE", "MODEL_REFUSED"}
PASSED_ON = FAILED | {"MODEL_OPEN"}


@dataclass(frozen=True)
class Surroundings:
    """Time and chance: seconds of a steady clock, waiting, and a draw from [0, 1)."""

    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    draw: Callable[[], float] = random.random


class Ladder:
    """One model, or a first and a second one, asked in this order.

    Parameters
    ----------
    providers : sequence of Provider
        At most two.
    planner : str
        The name under which a job may choose it.
    prices : (float, float) or None
        Money for a million tokens in and out.
    """

    def __init__(
        self, providers: Sequence[Provider], *, planner: str = "", prices: tuple[float, float] | None = None,
        around: Surroundings | None = None,
    ) -> None:  # fmt: skip
        self.planner = planner
        self.name = providers[0].name
        self._around = around or Surroundings()
        self._rungs = [(provider, Breaker(self._around.clock)) for provider in providers]
        self._prices = prices

    def ask(self, prompt: str, schema: Mapping[str, Any], *, timeout: float) -> Answer:
        """Return an answer that claims to fit the JSON `schema` (raises `ModelUnavailable`)."""
        prompt = egress.passed(prompt, schema)
        start, made = self._around.clock(), 0
        for last, (provider, breaker) in enumerate(self._rungs, start=1 - len(self._rungs)):
            until = start + timeout * (1.0 if last == 0 else FIRST_SHARE)
            calls = MAX_CALLS - made if last == 0 else MAX_CALLS - 1
            try:
                answer, made = self._insist(provider, breaker, prompt, schema, until, made, calls)
            except _Failed as failed:
                made = failed.made
                if last == 0 or failed.cause.code not in PASSED_ON:
                    raise failed.cause from failed
            else:
                return self._charged(answer, made, self._around.clock() - start)
        raise ModelUnavailable("there is no model to ask", code="MODEL_NONE")

    def _insist(
        self, provider: Provider, breaker: Breaker, prompt: str, schema: Mapping[str, Any], until: float, made: int,
        calls: int,
    ) -> tuple[Answer, int]:  # fmt: skip
        """Call one model up to `calls` times; return its answer and how many calls were made in all."""
        for k in range(calls):
            if not breaker.admits():
                resting = ModelUnavailable(f"{provider.name} rests after failures", code="MODEL_OPEN")
                raise _Failed(resting, made)
            made += 1
            try:
                answer = provider.send(prompt, schema, seconds=until - self._around.clock())
            except ModelUnavailable as exc:
                breaker.note(good=exc.code not in FAILED)
                _tell(provider, exc)
                pause = self._pause(k, exc)
                if exc.code not in RETRIED or k == calls - 1 or self._around.clock() + pause >= until:
                    raise _Failed(exc, made) from exc
                self._around.sleep(pause)
            else:
                breaker.note(good=True)
                return answer, made
        raise _Failed(ModelUnavailable("no call is left", code="MODEL_LOST"), made)

    def _pause(self, k: int, exc: ModelUnavailable) -> float:
        """Return how long to wait before the next call: full jitter, and no less than the provider asks for."""
        jitter = self._around.draw() * min(MAX_PAUSE, BASE_SECONDS * 2.0**k)
        asked = exc.details.get("retry_after", 0.0)
        return max(jitter, asked if isinstance(asked, float) else 0.0)

    def _charged(self, answer: Answer, calls: int, seconds: float) -> Answer:
        usage = answer.usage
        cost = None
        if self._prices is not None:
            cost = (usage.tokens_in * self._prices[0] + usage.tokens_out * self._prices[1]) / 1e6
        return answer.charged(calls=calls, seconds=round(seconds, 3), cost=cost)


class _Failed(Exception):
    """One model gave no answer; so many calls were made until then."""

    def __init__(self, cause: ModelUnavailable, made: int) -> None:
        super().__init__(cause.message)
        self.cause = cause
        self.made = made


def _tell(provider: Provider, exc: ModelUnavailable) -> None:
    severity = "ERROR" if exc.details.get("status") in (401, 403) else "WARNING"
    event("model_failed", severity=severity, model=provider.name, error=exc.code, status=exc.details.get("status"))

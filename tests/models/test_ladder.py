"""Retries, the second model, the circuit breaker: over providers that are functions and a clock that is a number."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from causal_orchestrator.errors import ModelUnavailable
from causal_orchestrator.models.answers import Answer, Usage
from causal_orchestrator.models.breaker import IN_A_ROW, REST_SECONDS, WINDOW, Breaker
from causal_orchestrator.models.ladder import Ladder, Surroundings

FORM = {"title": "dispatch_to_agent", "properties": {"reasoning": {}}}
GRACE = 5.0  # seconds within which the second model is asked after the first one's time-out (PLAN-2)


@dataclass
class Time:
    now: float = 0.0
    slept: list[float] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@dataclass
class Fake:
    """A provider that does what it is told, call by call (the last thing for ever)."""

    name: str
    time: Time
    does: Sequence[str]
    asked: list[tuple[float, float]] = field(default_factory=list)

    def send(self, prompt: str, schema: Mapping[str, Any], *, seconds: float) -> Answer:
        self.asked.append((self.time.now, seconds))
        do = self.does[min(len(self.asked), len(self.does)) - 1]
        if do == "MODEL_LATE":
            self.time.now += seconds
        if do.startswith("MODEL_"):
            code, _, wait = do.partition(" ")
            raise ModelUnavailable(do, code=code, details={"retry_after": float(wait or 0)})
        return Answer({"reasoning": do}, Usage(self.name, 1_000, 100))


def built(time: Time, *does: Sequence[str], draw: Callable[[], float] = lambda: 0.5) -> tuple[Ladder, list[Fake]]:
    fakes = [Fake(f"p:{k}", time, steps) for k, steps in enumerate(does)]
    return Ladder(fakes, around=Surroundings(lambda: time.now, time.sleep, draw), prices=(2.0, 20.0)), fakes


def ask(ladder: Ladder, seconds: float = 60.0) -> Answer:
    return ladder.ask("Choose.", FORM, timeout=seconds)


def test_a_busy_provider_is_asked_again_with_growing_jitter() -> None:
    time = Time()
    ladder, (only,) = built(time, ["MODEL_BUSY", "MODEL_LOST", "yes"])
    answer = ask(ladder)
    assert (answer["reasoning"], answer.usage.calls, len(only.asked)) == ("yes", 3, 3)
    assert time.slept == [0.5, 1.0]
    assert answer.usage.seconds == 1.5
    assert answer.usage.cost == pytest.approx((1_000 * 2.0 + 100 * 20.0) / 1e6)


def test_what_the_provider_asks_to_wait_is_waited_if_there_is_time() -> None:
    time = Time()
    ladder, (only,) = built(time, ["MODEL_BUSY 30", "MODEL_BUSY 31", "yes"])
    with pytest.raises(ModelUnavailable):
        ask(ladder)
    assert (time.slept, len(only.asked)) == ([30.0], 2)


@pytest.mark.parametrize("code", ["MODEL_REFUSED", "MODEL_INVALID", "MODEL_BLOCKED", "MODEL_LATE"])
def test_what_another_call_cannot_mend_is_not_tried_again(code: str) -> None:
    ladder, (only,) = built(Time(), [code, "yes"])
    with pytest.raises(ModelUnavailable) as caught:
        ask(ladder)
    assert (caught.value.code, len(only.asked)) == (code, 1)


@pytest.mark.parametrize("code", ["MODEL_BUSY", "MODEL_LOST", "MODEL_LATE", "MODEL_REFUSED"])
def test_the_second_model_answers_when_the_first_does_not(code: str) -> None:
    ladder, (first, second) = built(Time(), [code], ["yes"])
    answer = ask(ladder)
    assert answer.usage.by == "p:1"
    assert answer.usage.calls == len(first.asked) + len(second.asked) <= 3


def test_the_second_model_is_asked_at_once_after_the_first_ones_time_out_and_has_time_left() -> None:
    time = Time()
    ladder, (first, second) = built(time, ["MODEL_LATE"], ["yes"])
    ask(ladder)
    (began, seconds), (asked, left) = first.asked[0], second.asked[0]
    assert asked - (began + seconds) <= GRACE
    assert left == pytest.approx(60.0 - seconds)
    assert left > 10


def test_with_both_dead_a_question_makes_three_calls_and_ends_in_time() -> None:
    time = Time()
    ladder, (first, second) = built(time, ["MODEL_BUSY"], ["MODEL_BUSY"], draw=lambda: 1.0)
    with pytest.raises(ModelUnavailable):
        ask(ladder)
    assert (len(first.asked), len(second.asked)) == (2, 1)
    assert time.now <= 60.0


@pytest.mark.parametrize("code", ["MODEL_INVALID", "MODEL_BLOCKED"])
def test_the_second_model_is_not_asked_what_the_first_one_answered(code: str) -> None:
    ladder, (_, second) = built(Time(), [code], ["yes"])
    with pytest.raises(ModelUnavailable):
        ask(ladder)
    assert second.asked == []


def test_a_provider_that_keeps_failing_is_left_alone_then_probed_once() -> None:
    time = Time()
    ladder, (only,) = built(time, ["MODEL_REFUSED"] * IN_A_ROW + ["MODEL_BUSY", "yes"])
    for _ in range(IN_A_ROW):
        with pytest.raises(ModelUnavailable):
            ask(ladder)
    with pytest.raises(ModelUnavailable) as resting:
        ask(ladder)
    assert (resting.value.code, len(only.asked)) == ("MODEL_OPEN", IN_A_ROW)
    time.now += REST_SECONDS
    with pytest.raises(ModelUnavailable):
        ask(ladder)
    assert len(only.asked) == IN_A_ROW + 1, "half open: one probe, and it is not repeated"
    time.now += REST_SECONDS
    assert ask(ladder)["reasoning"] == "yes"
    assert ask(ladder)["reasoning"] == "yes"


def test_half_of_the_last_twenty_failing_opens_the_breaker_and_fewer_do_not() -> None:
    def after(pattern: Sequence[bool]) -> bool:
        breaker = Breaker(lambda: 0.0)
        for good in pattern:
            breaker.note(good=good)
        return breaker.admits()

    half = [True, False] * (WINDOW // 2)
    assert not after(half)
    assert after([True, True, *half[2:]])
    assert after(half[: WINDOW - 2])


def test_while_a_probe_is_under_way_no_other_call_is_admitted() -> None:
    time = Time()
    breaker = Breaker(lambda: time.now)
    for _ in range(IN_A_ROW):
        breaker.note(good=False)
    time.now += REST_SECONDS
    assert [breaker.admits(), breaker.admits()] == [True, False]
    breaker.note(good=True)
    assert breaker.admits()

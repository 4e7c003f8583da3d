"""Small enough to try everything: one job, three steps, one of them in parts; each crash, each copy, each pair."""

from __future__ import annotations

import functools
from collections.abc import Iterable

import pytest

from . import toy
from .schedule import findings, run
from .world import Options, World

GOOD = Options(fault_minutes=0.02)
STRIDE = 40  # of the pairs, so that the whole takes seconds; the slow test takes every pair


def small(**faults: frozenset[int]) -> World:
    return run(1, options=GOOD, agents=toy.SMALL, **faults)


def found(world: World) -> str:
    ((_, job, steps),) = world.invariants.outcome()
    assert job.state == "completed", f"{job.state} {job.error}"
    return findings(world.backends, steps)


@functools.cache
def whole() -> World:
    return small()


def check(**faults: int) -> None:
    try:
        world = small(**{name: frozenset({place}) for name, place in faults.items()})
        same = found(world) == found(whole())
    except Exception as exc:
        pytest.fail(f"{faults}: {exc}")
    assert same, f"{faults}: other results"


def test_a_crash_at_any_point_changes_nothing() -> None:
    for place in range(1, whole().points + 1):
        check(crash_at=place)


def test_a_copy_of_any_message_changes_nothing() -> None:
    for place in range(1, whole().sends + 1):
        check(copy_at=place)


def test_an_unknown_outcome_of_any_commit_changes_nothing() -> None:
    for place in range(1, whole().commits + 1):
        check(unknown_at=place)


def pairs() -> Iterable[dict[str, int]]:
    for crash in range(1, whole().points + 1):
        for copy in range(1, whole().sends + 1):
            yield {"crash_at": crash, "copy_at": copy}
        for commit in range(1, whole().commits + 1):
            yield {"crash_at": crash, "unknown_at": commit}


def test_pairs_of_faults_change_nothing() -> None:
    for k, pair in enumerate(pairs()):
        if k % STRIDE == 0:
            check(**pair)


@pytest.mark.exhaustive
def test_every_pair_of_faults_changes_nothing() -> None:
    for pair in pairs():
        check(**pair)

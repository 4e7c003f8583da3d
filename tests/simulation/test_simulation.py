"""The real runtime in a bad world: whatever is lost, repeated or killed, every invariant holds and every job ends."""

from __future__ import annotations

from collections import Counter

import pytest

from . import toy
from .invariants import Violation
from .mutants import MUTANTS, applied, first_kill
from .schedule import findings, good, run, smallest
from .world import Options

SCHEDULES, CHUNK = 500, 50
# Mutants that a handful of schedules notices; all of them are run by `make mutants`.
QUICK = (
    "no fence", "lease ignored", "what runs is not voided", "revision not counted", "unknown commit taken as success",
    "shared object name", "no reservation", "two coordinators ask", "no sweeper", "created, not sent",
)  # fmt: skip


@pytest.mark.parametrize("first", range(0, SCHEDULES, CHUNK))
def test_no_schedule_breaks_an_invariant(first: int) -> None:
    for seed in range(first, first + CHUNK):
        try:
            run(seed)
        except Exception as exc:
            pytest.fail(f"{exc}; replay: python -m tests.simulation --seed {seed}")


def test_every_mutant_can_be_planted() -> None:
    for mutant in MUTANTS:
        with applied((*mutant.edits, *mutant.also)):
            pass


@pytest.mark.parametrize("seed", [1, 25, 53])
def test_the_same_seed_gives_the_same_events(seed: int) -> None:
    assert run(seed).hash.hexdigest() == run(seed).hash.hexdigest()


@pytest.mark.parametrize("model", ["unavailable", "illegal", "wrong", "slow", "first"])
def test_a_failing_or_hostile_model_changes_no_result(model: str) -> None:
    world = run(3, options=Options(model=model, traits=("iterate1",), fault_minutes=0.02))
    ((_, job, steps),) = world.invariants.outcome()
    plain = run(3, options=Options(model="none", traits=("iterate1",), fault_minutes=0.02))
    ((_, _, expected),) = plain.invariants.outcome()
    assert job.state == "completed"
    assert findings(world.backends, steps) == findings(plain.backends, expected)


def test_with_the_change_feed_dead_every_job_still_completes() -> None:
    for seed in range(5):
        world = run(seed, options=Options(changes_dead=True, fault_minutes=1))
        ((_, job, steps),) = world.invariants.outcome()
        assert job.state == "completed"
        # A hop waits for the sweeper and for the work: at most two agents' works of forty seconds and a retry.
        assert (job.ended_at - job.created_at).total_seconds() <= len(steps) * (60 + 10 + 2 * 80 + 60)


def test_with_every_trigger_dead_every_job_still_ends() -> None:
    world = run(0, options=Options(changes_dead=True, messages_dead=True, fault_minutes=1))
    ((_, job, _),) = world.invariants.outcome()
    assert (job.state, job.error.code) == ("failed", "DEADLINE")


def test_moderate_faults_stop_no_job() -> None:
    faults = Options(crash=0.003, duplicate=0.05, loss=0.01, stall=0.001, unknown=0.01, delay=1, fault_minutes=60)
    endings = Counter(job.state for seed in range(40) for _, job, _ in run(seed, options=faults).invariants.outcome())
    assert endings == {"completed": 40}


def test_a_failure_is_made_smaller_before_it_is_shown() -> None:
    mutant = next(m for m in MUTANTS if m.name == "what runs is not voided")
    seed, name = first_kill(mutant.edits, range(20)) or (-1, "")
    with applied(mutant.edits):
        skip, failure = smallest(seed)
        with pytest.raises(Violation, match=name):
            run(seed, skip=skip)
    assert failure.startswith(name)


@pytest.mark.parametrize("name", QUICK)
def test_a_planted_mutant_is_noticed(name: str) -> None:
    mutant = next(m for m in MUTANTS if m.name == name)
    assert first_kill(mutant.edits, range(30)) is not None


def test_the_good_world_completes_what_it_can() -> None:
    world = run(0, options=Options(fault_minutes=0.02))
    ((client, job, steps),) = world.invariants.outcome()
    assert job.state == "completed"
    assert len(steps) == len(toy.AGENTS)
    assert good(client.question.model_dump_json(), '{"kind":"toy","uri":"toy0"}', "{}") == findings(
        world.backends, steps
    )

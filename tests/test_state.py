"""Every transition, legal and illegal, as a table; and whatever the input, a transition or a typed refusal."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from causal_orchestrator import state
from causal_orchestrator.errors import Busy, Fenced
from causal_orchestrator.question import Question
from causal_orchestrator.state import Decision, Failure, Job, Lease, Part, Pause, Pinned, Step

NOW = datetime(2026, 1, 1, tzinfo=UTC)
STEP_STATES = ("queued", "running", "succeeded", "failed", "cancelled")
JOB_STATES = ("open", "awaiting_input", "completed", "rejected", "failed", "cancelled", "erased")
ERROR = Failure(code="X", message="x")


def step(**fields: Any) -> Step:
    decision = Decision(by="start", reasoning="r")
    return Step(job="j", step=1, number=1, agent="a", queued_at=NOW, decision=decision).change(**fields)


def job(**fields: Any) -> Job:
    return Job(
        id="j", tenant="t", created_at=NOW, updated_at=NOW, deadline_at=NOW + timedelta(hours=2), question=Question(),
        source={},
    ).change(**fields)  # fmt: skip


def pause(number: int = 1) -> Pause:
    return Pause(step=number, question="?", default={"outcome": "y"}, asked_at=NOW, until=NOW + timedelta(minutes=30))


def lease(seconds: float) -> Lease:
    return Lease(attempt=1, until=NOW + timedelta(seconds=seconds), holder="h")


STEP_MOVES = {
    "claim": lambda s: state.claim(s, None, now=NOW, holder="h")[0],
    "succeed": lambda s: state.succeed(s, 1, now=NOW, result={}, files={}, reads=()),
    "fail": lambda s: state.fail(s, 1, now=NOW, error=ERROR),
    "release": lambda s: state.release(s, 1, now=NOW),
    "void": lambda s: state.void(s, now=NOW),
}
STEP_TABLE = {
    ("claim", "queued"): "running", ("claim", "running"): "running", ("succeed", "running"): "succeeded",
    ("fail", "running"): "failed", ("release", "running"): "queued", ("void", "queued"): "cancelled",
    ("void", "running"): "cancelled", ("void", "succeeded"): "succeeded", ("void", "failed"): "failed",
    ("void", "cancelled"): "cancelled",
}  # fmt: skip


@pytest.mark.parametrize("before", STEP_STATES)
@pytest.mark.parametrize("move", STEP_MOVES)
@pytest.mark.parametrize("kind", ["step", "part"])
def test_a_step_moves_only_as_the_table_says(kind: str, move: str, before: str) -> None:
    share: Any = step(state=before, attempt=1)
    if kind == "part":
        share = Part(job="j", step=1, number=0, queued_at=NOW, state=before, attempt=1)
    after = STEP_TABLE.get((move, before))
    if after is None:
        with pytest.raises(Fenced):
            STEP_MOVES[move](share)
    else:
        assert STEP_MOVES[move](share).state == after


JOB_MOVES = {
    **{
        name: lambda j, name=name: state.end(j, name, now=NOW)
        for name in ("completed", "rejected", "failed", "cancelled")
    },
    "await": lambda j: state.await_input(j, pause(), now=NOW),
    "answer": lambda j: state.take_answer(j, None, now=NOW),
    "reopen": lambda j: state.reopen(j, now=NOW, deadline_at=NOW, status="PROFILING"),
    "wipe": lambda j: state.wipe(j, now=NOW),
}
JOB_TABLE = {
    **{(end, live): end for end in ("completed", "rejected", "failed", "cancelled") for live in ("open", "awaiting_input")},
    ("await", "open"): "awaiting_input", ("answer", "awaiting_input"): "open", ("reopen", "failed"): "open",
    **{("wipe", ended): "erased" for ended in ("completed", "rejected", "failed", "cancelled", "erased")},
}  # fmt: skip


@pytest.mark.parametrize("before", JOB_STATES)
@pytest.mark.parametrize("move", JOB_MOVES)
def test_a_job_moves_only_as_the_table_says(move: str, before: str) -> None:
    found = job(state=before, pause=pause() if before == "awaiting_input" else None)
    after = JOB_TABLE.get((move, before))
    if after is None:
        with pytest.raises(Fenced):
            JOB_MOVES[move](found)
    else:
        moved = JOB_MOVES[move](found)
        assert (moved.state, moved.rev) == (after, found.rev + 1)


@pytest.mark.parametrize("attempt", [0, 1, 3])
@pytest.mark.parametrize("move", ["succeed", "fail", "release"])
def test_only_the_running_attempt_may_end_a_step(move: str, attempt: int) -> None:
    with pytest.raises(Fenced):
        STEP_MOVES[move](step(state="running", attempt=2 if attempt == 1 else 5))


@pytest.mark.parametrize(("until", "busy"), [(-1, False), (0, False), (1, True)])
def test_a_running_step_is_taken_over_only_after_its_lease(until: float, busy: bool) -> None:
    running = step(state="running", attempt=1)
    if busy:
        with pytest.raises(Busy):
            state.claim(running, lease(until), now=NOW, holder="h")
    else:
        claimed, taken = state.claim(running, lease(until), now=NOW, holder="h")
        assert (claimed.attempt, taken.attempt, taken.until) == (2, 2, NOW + state.LEASE)


def test_the_eighth_attempt_is_the_last() -> None:
    spent, taken = state.claim(step(attempt=state.MAX_ATTEMPTS), None, now=NOW, holder="h")
    assert (spent.state, spent.error.code, taken) == ("failed", "ATTEMPTS", None)
    claimed, taken = state.claim(step(attempt=state.MAX_ATTEMPTS - 1), None, now=NOW, holder="h")
    assert claimed.state == "running"
    assert taken is not None


def test_a_released_step_rests_longer_each_time() -> None:
    rests = [state.release(step(state="running", attempt=k), k, now=NOW).not_before - NOW for k in range(1, 9)]
    assert rests == sorted(rests)
    assert rests[0] == timedelta(seconds=4)
    assert rests[-1] == state.MAX_BACK_OFF
    with pytest.raises(Busy):
        state.claim(step(not_before=NOW + timedelta(seconds=1)), None, now=NOW, holder="h")


def test_dying_twice_the_same_way_is_permanent() -> None:
    once = state.release(step(state="running", attempt=1), 1, now=NOW, death="out of memory")
    other = state.release(once.change(state="running"), 1, now=NOW, death="a bad file")
    twice = state.release(other.change(state="running"), 1, now=NOW, death="out of memory")
    assert (once.state, other.state, twice.state) == ("queued", "queued", "failed")
    assert (twice.error.code, twice.error.message) == ("INTERNAL", "out of memory")


def test_a_large_result_is_pinned_instead_of_kept() -> None:
    pinned = Pinned(name="n", generation=1, sha256="0" * 64, size=1)
    ended = state.succeed(step(state="running", attempt=1), 1, now=NOW, result=pinned, files={"f": pinned}, reads=())
    assert (ended.result, ended.result_object, ended.files) == (None, pinned, {"f": pinned})


def test_a_question_is_put_once_for_a_step() -> None:
    asked = state.await_input(job(), pause(1), now=NOW)
    answered = state.take_answer(asked, None, now=NOW)
    with pytest.raises(Fenced):
        state.await_input(answered, pause(1), now=NOW)
    assert state.await_input(answered, pause(2), now=NOW).state == "awaiting_input"


def test_answers_add_up_and_waiting_costs_no_time() -> None:
    asked = state.await_input(job(answers={"treatment": "t"}), pause(), now=NOW)
    answered = state.take_answer(asked, None, now=NOW + timedelta(minutes=20))
    assert answered.answers == {"treatment": "t", "outcome": "y"}
    assert answered.deadline_at == asked.deadline_at + timedelta(minutes=20)


def test_an_answered_question_is_not_put_again_to_a_resumed_job() -> None:
    answered = state.take_answer(state.await_input(job(), pause(), now=NOW), None, now=NOW)
    again = state.reopen(state.end(answered, "failed", now=NOW), now=NOW, deadline_at=NOW, status="PROFILING")
    with pytest.raises(Fenced):
        state.await_input(again, pause(), now=NOW)


def test_a_resumed_job_is_looked_at_again_and_never_loses_time() -> None:
    ended = state.end(job(), "failed", now=NOW, error=ERROR).change(done=True)
    again = state.reopen(ended, now=NOW, deadline_at=NOW, status="PROFILING")
    assert (again.done, again.error, again.ended_at, again.resumed) == (False, None, None, 1)
    assert again.deadline_at == ended.deadline_at


def test_an_erased_job_keeps_nothing_of_what_it_was_about() -> None:
    full = job(state="completed", question=Question(treatment="t"), answers={"outcome": "y"}, error=ERROR)
    gone = state.wipe(full, now=NOW)
    assert (gone.question, gone.answers, gone.error, gone.pause) == (Question(), {}, None, None)


def test_seeds_depend_on_agent_iteration_and_part_alone() -> None:
    seeds = {state.seed_of(1, a, i, p) for a in "ab" for i in (0, 1) for p in (None, 0, 1)}
    assert len(seeds) == 12
    assert all(0 <= seed < 2**32 for seed in seeds)


def test_no_two_attempts_share_an_object_name() -> None:
    names = {state.object_name(job(), s, a, "f", p) for s in (1, 2) for a in (1, 2) for p in (None, 0, 1)}
    assert len(names) == 12
    assert all(name.startswith("t/j/") for name in names)


def test_records_survive_their_documents() -> None:
    full = step(state="failed", error=ERROR, deaths=("x",), not_before=NOW)
    assert Step.model_validate(full.document()) == full
    asked = state.await_input(job(), pause(), now=NOW)
    assert Job.model_validate(asked.document()) == asked


steps = st.builds(
    step, state=st.sampled_from(STEP_STATES), attempt=st.integers(0, 9), deaths=st.lists(st.sampled_from("ab"), max_size=3).map(tuple),
    not_before=st.sampled_from([None, NOW - timedelta(1), NOW + timedelta(1)]),
)  # fmt: skip


@given(steps, st.sampled_from(sorted(STEP_MOVES)), st.integers(0, 9), st.none() | st.integers(-60, 60).map(lease))
def test_every_move_of_any_step_is_legal_or_refused(found: Step, move: str, attempt: int, held: Lease | None) -> None:
    moves = {
        **STEP_MOVES,
        "claim": lambda s: state.claim(s, held, now=NOW, holder="h")[0],
        "release": lambda s: state.release(s, attempt, now=NOW, death="a"),
        "fail": lambda s: state.fail(s, attempt, now=NOW, error=ERROR),
    }
    try:
        moved = moves[move](found)
    except (Fenced, Busy):
        return
    assert moved.attempt >= found.attempt
    assert found.state not in state.ENDED_STEP or moved == found
    assert moved.state in STEP_STATES

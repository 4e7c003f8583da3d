"""The rules that make the loop hold (architecture.md, section 2), each by name, and what people may ask of it."""

from __future__ import annotations

import json
import re
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.simulation import toy
from tests.simulation.invariants import fake_table
from tests.simulation.memory import MemoryDocuments, MemoryObjects, MemorySecrets

from causal_orchestrator import attempt, ledger, reader, runtime
from causal_orchestrator.backends.ports import Backends
from causal_orchestrator.errors import Busy, CausalError, Fenced, InputError, ModelUnavailable, NotFound, StorageError
from causal_orchestrator.question import Question
from causal_orchestrator.state import job_path, lease_path, step_path

START = datetime(2026, 1, 1, tzinfo=UTC)
SOURCE = {"kind": "toy", "uri": "toy"}


@contextmanager
def no_beats(call: Callable[[], None], seconds: float) -> Iterator[None]:
    yield


@dataclass
class Desk:
    """Backends in memory whose messages wait until they are delivered by hand."""

    time: datetime = START
    sent: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)
    broken: bool = False
    ids: int = 0
    backends: Backends = field(init=False)

    def __post_init__(self) -> None:
        self.backends = Backends(
            documents=MemoryDocuments(), objects=MemoryObjects(), messages=self, tasks=self, secrets=MemorySecrets(),
            now=lambda: self.time, new_id=self.new_id, background=no_beats,
        )  # fmt: skip

    def new_id(self) -> str:
        self.ids += 1
        return f"{self.ids:032x}"

    def publish(self, topic: str, body: Mapping[str, Any]) -> None:
        if self.broken:
            raise StorageError("no topic")
        self.sent.append((topic, body))

    def start(self, job: str, step: int, *, parts: int = 0) -> None:
        for part in range(parts) if parts else [None]:
            self.publish("task", {"job_id": job, "step": step, "part": part})

    def cancel(self, job: str, step: int) -> None:
        self.sent.append(("cancel", {"job_id": job, "step": step}))

    def schedule(self, topic: str, body: Mapping[str, Any], *, at: datetime) -> None:
        self.publish(topic, body)

    def ask(self, query: str = "", **more: Any) -> str:
        question = Question.model_validate({"query": query, "preferences": more})
        return runtime.start_job(self.backends, question, SOURCE, tenant="t", principal="p")

    def coordinate(self, job: str) -> None:
        runtime.coordinate(self.backends, job, agents=toy.AGENTS)

    def step(self, body: Mapping[str, Any]) -> None:
        part = body.get("part")
        runtime.run_step(self.backends, body["job_id"], body["step"], part=part, agents=toy.AGENTS)

    def run(self, job: str, until: str = "") -> str:
        """Deliver until nothing is left (or until this agent's step is queued); return the job's state."""
        while self.sent:
            if until and self.last(job)["agent"] == until and self.last(job)["state"] == "queued":
                break
            topic, body = self.sent.pop(0)
            if topic != "cancel":
                self.step(body)
            self.coordinate(job)
        return str(self.job(job)["state"])

    def job(self, job: str) -> Mapping[str, Any]:
        return self.backends.documents.get(job_path(job)) or {}

    def steps(self, job: str) -> list[Mapping[str, Any]]:
        return [document for _, document in self.backends.documents.list(f"jobs/{job}/steps")]

    def last(self, job: str) -> Mapping[str, Any]:
        return self.steps(job)[-1]


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.setattr(reader, "_table", fake_table)
    return Desk()


# --- the rules ----------------------------------------------------------------------------------------------------


def test_rule_1_an_event_is_a_hint_and_never_data(desk: Desk) -> None:
    job = desk.ask()
    desk.run(job)
    before = dict(desk.backends.documents.all())  # type: ignore[attr-defined]
    for body in (
        {"job_id": job, "step": 0},
        {"job_id": job, "step": 5},
        {"job_id": job, "step": 99},
        {"job_id": "x", "step": 0},
    ):
        desk.step(body)
        desk.coordinate(body["job_id"])
    assert dict(desk.backends.documents.all()) == before  # type: ignore[attr-defined]


def test_rule_2_the_key_is_the_idempotency(desk: Desk) -> None:
    first, again, other = (
        runtime.start_job(desk.backends, Question(), SOURCE, tenant=tenant, key="k") for tenant in ("t", "t", "u")
    )
    assert first == again != other
    with pytest.raises(InputError) as caught:
        runtime.start_job(desk.backends, Question(query="other"), SOURCE, tenant="t", key="k")
    assert caught.value.code == "IDEMPOTENCY_MISMATCH"


def test_rule_2_whoever_creates_a_step_second_reads_what_stands_there(desk: Desk) -> None:
    job = desk.ask()
    desk.step(desk.sent.pop()[1])
    desk.coordinate(job)
    desk.coordinate(job)
    assert len(desk.steps(job)) == 2
    assert len(desk.sent) == 1


def test_rule_3_what_was_created_and_not_sent_is_sent_later(desk: Desk) -> None:
    desk.broken = True
    job = desk.ask()
    desk.broken = False
    runtime.sweep(desk.backends, agents=toy.AGENTS)
    assert desk.sent == []
    desk.time += timedelta(seconds=31)
    runtime.sweep(desk.backends, agents=toy.AGENTS)
    assert [body for _, body in desk.sent] == [{"job_id": job, "step": 0}]


def heavy_job(desk: Desk) -> str:
    """Return a job whose step for a machine of its own was sent and has not begun."""
    job = desk.ask()
    desk.run(job, until="toy_effect")
    assert desk.last(job)["heavy"]
    desk.sent.clear()
    return job


def swept(desk: Desk, *moments: datetime) -> list[int]:
    """Sweep at these moments and return how many machines were asked for by then."""
    counts = []
    for moment in moments:
        desk.time = moment
        runtime.sweep(desk.backends, agents=toy.AGENTS)
        counts.append([topic for topic, _ in desk.sent].count("task"))
    return counts


def after(moment: datetime, *seconds: float) -> list[datetime]:
    return [moment + timedelta(seconds=s) for s in seconds]


def test_rule_3_a_machine_is_given_its_time_to_come_before_another_is_asked_for(desk: Desk) -> None:
    job = heavy_job(desk)
    queued = desk.last(job)["queued_at"]
    assert swept(desk, *after(queued, 61, 599, 600, 660, 1199, 1200)) == [0, 0, 1, 1, 1, 2]


def test_rule_3_a_machine_that_was_never_asked_for_is_not_waited_for(desk: Desk) -> None:
    job = desk.ask()
    desk.run(job, until="toy_graph")
    desk.broken = True
    while desk.last(job)["agent"] != "toy_effect":
        desk.step({"job_id": job, "step": desk.last(job)["number"]})
        desk.coordinate(job)
    desk.broken = False
    desk.sent.clear()
    assert swept(desk, *after(desk.last(job)["queued_at"], 29, 31, 62)) == [0, 1, 1]


def test_rule_3_a_process_that_starts_sends_what_waits_for_a_machine_at_once(desk: Desk) -> None:
    heavy_job(desk)
    runtime.sweep(desk.backends, agents=toy.AGENTS, patience=timedelta(0))
    assert len(desk.sent) == 1


def test_rule_3_what_rested_was_sent_to_no_machine_and_is_then_sent_once(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = heavy_job(desk)
    with monkeypatch.context() as patch:
        patch.setattr(toy, "work", lambda agent: (_ for _ in ()).throw(StorageError("503")))
        with pytest.raises(StorageError):
            desk.step({"job_id": job, "step": desk.last(job)["number"]})
    assert desk.sent == []
    assert swept(desk, *after(desk.last(job)["not_before"], 31, 62, 600, 631)) == [1, 1, 1, 2]


@pytest.mark.parametrize("until", ["toy_effect", "toy_graph"], ids=["heavy", "light"])
def test_rule_4_a_lease_that_ran_out_asks_for_one_machine(desk: Desk, until: str) -> None:
    """A function that was ended for want of time or memory leaves its lease behind, and nothing else."""
    job = desk.ask()
    desk.run(job, until=until)
    number = desk.last(job)["number"]
    for attempts in (1, 2):
        assert attempt._claim(desk.backends, job, number, None, toy.AGENTS)
        desk.sent.clear()
        assert swept(desk, *after(desk.time, 59, 60, 120, 659, 660)) == [0, 1, 1, 1, 2]
        assert desk.last(job)["attempt"] == attempts
    desk.sent.clear()
    desk.step({"job_id": job, "step": number})
    assert desk.steps(job)[number]["state"] == "succeeded"


def test_rule_4_only_parts_whose_machines_are_gone_are_asked_for_again(desk: Desk) -> None:
    job = desk.ask()
    desk.run(job, until="toy_confounders")
    number, queued = desk.last(job)["number"], desk.last(job)["queued_at"]
    desk.sent.clear()
    assert attempt._claim(desk.backends, job, number, 0, toy.AGENTS)
    assert swept(desk, *after(queued, 31, 59)) == [0, 0]
    assert swept(desk, *after(queued, 61, 121, 599)) == [toy.PARTS] * 3


def test_rule_8_what_was_too_large_for_a_function_is_tried_on_a_machine(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = desk.ask()
    desk.run(job, until="toy_graph")
    desk.sent.clear()
    monkeypatch.setattr(toy, "work", lambda agent: (_ for _ in ()).throw(MemoryError))
    body = {"job_id": job, "step": desk.last(job)["number"]}
    with pytest.raises(CausalError):
        desk.step(body)
    assert desk.sent == []
    assert swept(desk, *after(desk.last(job)["not_before"], 31)) == [1]
    with pytest.raises(CausalError):
        desk.step(body)
    assert desk.steps(job)[body["step"]]["state"] == "failed"


def test_rule_8_what_an_unforeseen_error_says_stays_with_the_data(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="causal_orchestrator")
    job = desk.ask()

    def work(agent: str) -> None:
        raise ValueError("could not convert string to float: 'a cell'")

    monkeypatch.setattr(toy, "work", work)
    with pytest.raises(CausalError) as caught:
        desk.step(desk.sent.pop()[1])
    (death,) = desk.last(job)["deaths"]
    assert re.fullmatch(r"ValueError at tests/test_runtime\.py:\d+ work \([0-9a-f]{8}\)", death)
    assert "a cell" not in "".join(traceback.format_exception(caught.value)) + caplog.text
    (line,) = [json.loads(r.getMessage()) for r in caplog.records if '"broke"' in r.getMessage()]
    assert (line["job_id"], line["step"], line["frames"][-1]) == (
        job,
        0,
        death[len("ValueError at ") : -len(" (01234567)")],
    )


def test_rule_4_a_late_attempt_changes_nothing(desk: Desk) -> None:
    job = desk.ask()
    late = attempt._claim(desk.backends, job, 0, None, toy.AGENTS)
    assert attempt._claim(desk.backends, job, 0, None, toy.AGENTS) is None
    desk.time += timedelta(seconds=61)
    desk.step({"job_id": job, "step": 0})
    before = desk.last(job)
    assert (before["state"], before["attempt"]) == ("succeeded", 2)
    with pytest.raises(Fenced):
        attempt._work(desk.backends, late, toy.AGENTS["dataset_fetcher"])  # type: ignore[arg-type]
    assert desk.last(job) == before
    assert not attempt._renew(desk.backends, late)  # type: ignore[arg-type]


def test_rule_4_a_late_burial_leaves_who_took_over_alone(desk: Desk) -> None:
    job = desk.ask()
    first, second = (replace(desk.backends, process=lambda name=name: name) for name in ("first", "second"))
    assert attempt._claim(first, job, 0, None, toy.AGENTS)
    desk.time += timedelta(seconds=61)
    healthy = attempt._claim(second, job, 0, None, toy.AGENTS)
    assert healthy is not None
    before = desk.last(job)
    runtime.bury(desk.backends, job, 0, process="first", death="killed")
    assert desk.last(job) == before
    assert attempt._renew(second, healthy)
    runtime.bury(desk.backends, job, 0, process="second", death="killed")
    assert (desk.last(job)["state"], desk.last(job)["deaths"]) == ("queued", ["killed"])


def test_rule_5_results_pin_objects_of_their_own_attempt(desk: Desk) -> None:
    job = desk.ask("big")
    desk.run(job)
    pinned = [p for s in desk.steps(job) for p in (*s["files"].values(), s["result_object"]) if p]
    assert any(p["name"].endswith("/result.json") for p in pinned)
    for p in pinned:
        assert p["name"].startswith(f"t/{job}/")
        desk.backends.objects.open(p["name"], p["generation"]).close()
    name = pinned[0]["name"]
    desk.backends.objects.held[name] = (pinned[0]["generation"], b"something else")  # type: ignore[attr-defined]
    with pytest.raises(StorageError):
        runtime.open_file(desk.backends, job, "snapshot.parquet", tenant="t")


def test_rule_6_a_model_cannot_end_a_job_early(desk: Desk) -> None:
    class Hasty:
        name = "hasty"

        def ask(self, prompt: str, schema: Mapping[str, Any], *, timeout: float) -> Mapping[str, Any]:
            return {"agent": "reporter", "reasoning": "done"}

    desk.backends = replace(desk.backends, model=Hasty())
    job = desk.ask()
    assert desk.run(job) == "completed"
    assert {name for name, spec in toy.AGENTS.items() if spec.mandatory} <= {s["agent"] for s in desk.steps(job)}


def test_rule_7_a_call_is_counted_before_it_is_made(desk: Desk) -> None:
    counted: list[int] = []

    class Dying:
        name = "dying"

        def ask(model, prompt: str, schema: Mapping[str, Any], *, timeout: float) -> Mapping[str, Any]:  # noqa: N805
            counted.append(desk.job(job)["calls"])
            raise KeyboardInterrupt

    desk.backends = replace(desk.backends, model=Dying())
    job = desk.ask()
    desk.step(desk.sent.pop()[1])
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            desk.coordinate(job)
    assert counted == [1, 2, 3]


def test_rule_7_a_spent_budget_leaves_the_offline_planner(desk: Desk) -> None:
    class Dear:
        name, calls = "dear", 0

        def ask(self, prompt: str, schema: Mapping[str, Any], *, timeout: float) -> Mapping[str, Any]:
            self.calls += 1
            raise ModelUnavailable("503")

    model = Dear()
    desk.backends = replace(desk.backends, model=model)
    job = desk.ask(budget={"max_llm_tokens": 5000})
    assert desk.run(job) == "completed"
    assert model.calls == desk.job(job)["calls"] <= 5
    assert desk.job(job)["tokens"] <= 5000


def test_rule_8_a_failure_of_the_science_is_a_result(desk: Desk) -> None:
    job = desk.ask("no_design")
    assert desk.run(job) == "failed"
    assert (desk.last(job)["attempt"], desk.last(job)["error"]["code"]) == (1, "DESIGN")
    assert desk.job(job)["error"]["kind"] == "design"


def test_rule_8_a_failure_of_the_world_is_a_retry(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    job = desk.ask()
    monkeypatch.setattr(toy, "work", lambda agent: (_ for _ in ()).throw(StorageError("503")))
    with pytest.raises(StorageError):
        desk.step(desk.sent.pop()[1])
    assert (desk.last(job)["state"], desk.last(job)["attempt"]) == ("queued", 1)


def test_rule_8_the_same_death_twice_is_permanent(desk: Desk) -> None:
    job = desk.ask("dies")
    desk.run(job, until="toy_graph")
    for _ in range(2):
        with pytest.raises(CausalError):
            desk.step({"job_id": job, "step": desk.last(job)["number"]})
        desk.time += timedelta(minutes=5)
    assert (desk.last(job)["state"], desk.last(job)["error"]["code"]) == ("failed", "INTERNAL")


def test_rule_9_a_step_that_failed_rests_whatever_the_messages_say(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    job = desk.ask()
    body = desk.sent.pop()[1]
    monkeypatch.setattr(toy, "work", lambda agent: (_ for _ in ()).throw(StorageError("503")))
    with pytest.raises(StorageError):
        desk.step(body)
    for _ in range(5):
        desk.step(body)
    assert desk.last(job)["attempt"] == 1
    desk.time += timedelta(seconds=4)
    with pytest.raises(StorageError):
        desk.step(body)
    assert desk.last(job)["attempt"] == 2


def test_rule_10_the_sweeper_alone_brings_a_job_to_its_end(desk: Desk) -> None:
    job = desk.ask("iterate1")
    for _ in range(100):
        while desk.sent:
            desk.step(desk.sent.pop(0)[1])
        runtime.sweep(desk.backends, agents=toy.AGENTS)
        desk.time += timedelta(seconds=60)
    assert desk.job(job)["state"] == "completed"
    assert runtime.sweep(desk.backends, agents=toy.AGENTS) == 0


def test_rule_10_without_any_delivery_a_job_ends_at_its_deadline(desk: Desk) -> None:
    job = desk.ask(budget={"max_minutes": 5})
    desk.time += timedelta(minutes=5)
    runtime.sweep(desk.backends, agents=toy.AGENTS)
    assert (desk.job(job)["state"], desk.job(job)["error"]["code"]) == ("failed", "DEADLINE")
    assert desk.last(job)["state"] == "cancelled"


def test_rule_11_the_same_request_gives_the_same_results(desk: Desk) -> None:
    jobs = [desk.ask("iterate1") for _ in range(2)]
    found = []
    for job in jobs:
        desk.sent = [(topic, body) for topic, body in desk.sent if body["job_id"] == job] or desk.sent
        desk.sent.insert(0, ("dataset_fetcher", {"job_id": job, "step": 0}))
        desk.run(job)
        found.append([(s["agent"], s["result"]) for s in desk.steps(job)])
    assert found[0] == found[1]


def test_rule_12_readers_write_once_and_write_again_what_was_lost(desk: Desk) -> None:
    job = desk.ask()
    desk.run(job)
    documents = desk.backends.documents
    before = {p: d for name in ledger.collections(job) for p, d in documents.list(name)}
    for path in before:
        documents.update([path], lambda found: dict.fromkeys(found))
    documents.update([job_path(job)], lambda found: {p: {**(d or {}), "done": False} for p, d in found.items()})
    runtime.sweep(desk.backends, agents=toy.AGENTS)
    after = {p: d for name in ledger.collections(job) for p, d in documents.list(name)}
    assert [{**d, "op": ""} for d in after.values()] == [{**d, "op": ""} for d in before.values()]


# --- audit --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("field_", ["action", "by", "at", "hash", "before", "number", "result_sha256"])
@pytest.mark.parametrize("number", [0, 3, 8])
def test_an_edited_event_is_found(desk: Desk, field_: str, number: int) -> None:
    job = desk.ask()
    desk.run(job)
    assert ledger.verify_audit(desk.backends, job) is None
    path = ledger.event_path(job, number)
    desk.backends.documents.update([path], lambda found: {path: {**(found[path] or {}), field_: "forged"}})
    assert ledger.verify_audit(desk.backends, job) == number


@pytest.mark.parametrize("number", [0, 4])
def test_a_dropped_event_is_found(desk: Desk, number: int) -> None:
    job = desk.ask()
    desk.run(job)
    path = ledger.event_path(job, number)
    desk.backends.documents.update([path], lambda found: {path: None})
    assert ledger.verify_audit(desk.backends, job) == number


def test_traces_summary_and_costs_tell_the_job(desk: Desk) -> None:
    job = desk.ask()
    desk.run(job)
    documents, steps = desk.backends.documents, desk.steps(job)
    traces = [document for _, document in documents.list(f"agent_traces/{job}/traces")]
    assert [trace["agent"] for trace in traces] == [step["agent"] for step in steps]
    assert all(trace["reasoning"] and trace["action"] == "succeeded" for trace in traces)
    summary = documents.get(f"results/{job}") or {}
    assert (summary["status"], summary["verdict"], summary["outcome"]) == ("COMPLETED", "answer", "y")
    assert summary["files"]["results.json"]["name"].startswith(f"t/{job}/")
    assert [row["agent"] for row in (documents.get(f"costs/{job}") or {})["steps"]] == [s["agent"] for s in steps]
    assert (documents.get(f"causal_paths/{job}") or {})["verdict"] == "answer"


def test_a_refusal_is_not_remembered_as_a_causal_path(desk: Desk) -> None:
    job = desk.ask("refuse")
    assert desk.run(job) == "rejected"
    assert desk.backends.documents.get(f"causal_paths/{job}") is None


# --- people -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["get_job", "cancel", "erase", "resume"])
def test_a_stranger_finds_nothing(desk: Desk, call: str) -> None:
    job = desk.ask()
    for found in (job, "0" * 32):
        with pytest.raises(NotFound, match="there is no such job"):
            getattr(runtime, call)(desk.backends, found, tenant="stranger")
    assert desk.job(job)["state"] == "open"


def test_cancel_ends_the_job_its_step_and_its_parts(desk: Desk) -> None:
    job = desk.ask()
    desk.run(job, until="toy_confounders")
    attempt._claim(desk.backends, job, desk.last(job)["number"], 0, toy.AGENTS)
    runtime.cancel(desk.backends, job, tenant="t")
    parts = desk.backends.documents.list(f"{step_path(job, desk.last(job)['number'])}/parts")
    assert [document["state"] for _, document in parts] == ["cancelled"] * toy.PARTS
    assert (desk.job(job)["state"], desk.last(job)["state"]) == ("cancelled", "cancelled")
    assert desk.backends.documents.list(f"jobs/{job}/leases") == []
    assert runtime.cancel(desk.backends, job, tenant="t").state == "cancelled"


def test_resume_repeats_what_failed_parts_included(desk: Desk) -> None:
    job = desk.ask(budget={"max_minutes": 30})
    desk.run(job, until="toy_confounders")
    desk.sent.clear()
    desk.time += timedelta(minutes=31)
    desk.coordinate(job)
    assert desk.job(job)["state"] == "failed"
    runtime.resume(desk.backends, job, tenant="t", agents=toy.AGENTS)
    runtime_parts = desk.backends.documents.list(f"{step_path(job, desk.last(job)['number'])}/parts")
    assert len(runtime_parts) == toy.PARTS
    assert desk.run(job) == "completed"


@pytest.mark.parametrize("trait", ["", "refuse"])
def test_only_a_failed_job_is_resumed(desk: Desk, trait: str) -> None:
    job = desk.ask(trait)
    desk.run(job)
    with pytest.raises(InputError) as caught:
        runtime.resume(desk.backends, job, tenant="t", agents=toy.AGENTS)
    assert caught.value.code == "NOT_RESUMABLE"


def test_an_answer_counts_and_the_default_is_taken_without_one(desk: Desk) -> None:
    answered, silent = desk.ask(confirm_roles=True), desk.ask(confirm_roles=True)
    for job in (answered, silent):
        desk.run(job)
        desk.coordinate(silent if job == answered else job)
        assert desk.job(job)["state"] == "awaiting_input"
    runtime.answer(desk.backends, answered, {"outcome": "y2"}, tenant="t", agents=toy.AGENTS)
    desk.run(answered)
    desk.time += timedelta(minutes=31)
    desk.coordinate(silent)
    desk.run(silent)
    plans = [next(s for s in desk.steps(job) if s["agent"] == "toy_design") for job in (answered, silent)]
    assert [plan["result"]["question"]["outcome"] for plan in plans] == ["y2", "y"]


def test_an_answer_that_collides_is_refused_at_the_door(desk: Desk) -> None:
    job = desk.ask(confirm_roles=True)
    desk.run(job)
    with pytest.raises(InputError) as caught:
        runtime.answer(desk.backends, job, {"outcome": "t"}, tenant="t", agents=toy.AGENTS)
    assert caught.value.code == "ROLE_CONFLICT"
    assert desk.job(job)["state"] == "awaiting_input"


def test_an_erased_job_leaves_a_receipt_and_nothing_else(desk: Desk) -> None:
    job = desk.ask("big")
    desk.run(job)
    receipt = runtime.erase(desk.backends, job, tenant="t")
    left = [path for path in desk.backends.documents.all() if not path.startswith("requests/")]  # type: ignore[attr-defined]
    assert (receipt["job"], left) == (job, [f"receipts/{job}"])
    assert desk.backends.objects.list("") == []


def test_an_erasure_that_broke_off_is_finished_by_the_sweeper(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    job = desk.ask()
    desk.run(job)
    with monkeypatch.context() as patch:
        patch.setattr(desk.backends.objects, "delete", lambda name: (_ for _ in ()).throw(StorageError("503")))
        with pytest.raises(StorageError):
            runtime.erase(desk.backends, job, tenant="t")
    runtime.sweep(desk.backends, agents=toy.AGENTS)
    assert desk.job(job) == {}
    assert desk.backends.objects.list("") == []


def test_orphans_go_after_a_day_and_what_is_pinned_stays(desk: Desk) -> None:
    job = desk.ask()
    desk.run(job)
    pinned = desk.backends.objects.list("")
    desk.backends.objects.create(f"t/{job}/0003/7/half.bin", b"half")
    assert runtime.collect(desk.backends) == 0
    desk.time += timedelta(hours=25)
    assert runtime.collect(desk.backends) == 1
    assert desk.backends.objects.list("") == pinned
    assert desk.job(job)["collected"]


def test_a_plan_alone_ends_with_the_freeze(desk: Desk) -> None:
    job = desk.ask(plan_only=True)
    assert desk.run(job) == "completed"
    assert desk.last(job)["agent"] == "toy_design"


def test_a_budget_of_steps_ends_in_order_with_what_is_known(desk: Desk) -> None:
    job = desk.ask("iterate9", budget={"max_steps": 3})
    assert desk.run(job) == "completed"
    assert desk.last(job)["agent"] == "reporter"
    assert sum(s["agent"] == "toy_effect" for s in desk.steps(job)) == 1


def test_three_quarters_of_the_minutes_leave_only_what_must_happen(desk: Desk) -> None:
    job = desk.ask(budget={"max_minutes": 40})
    desk.run(job, until="toy_confounders")
    desk.time += timedelta(minutes=31)
    assert desk.run(job) == "completed"
    assert "toy_explore" not in {s["agent"] for s in desk.steps(job)}


# --- versions and poison ------------------------------------------------------------------------------------------


def test_a_job_of_a_newer_version_is_left_to_it(desk: Desk) -> None:
    newer, own = desk.ask(), desk.ask()
    path = job_path(newer)
    desk.backends.documents.update(
        [path], lambda found: {path: {**(found[path] or {}), "schema_version": 99, "new": 1}}
    )
    with pytest.raises(Busy):
        desk.step({"job_id": newer, "step": 0})
    assert (desk.steps(newer)[0]["state"], desk.steps(newer)[0]["attempt"]) == ("queued", 0)
    desk.time += timedelta(seconds=31)
    desk.sent.clear()
    runtime.sweep(desk.backends, agents=toy.AGENTS)
    assert [body["job_id"] for _, body in desk.sent] == [own]


def test_an_agent_that_is_not_known_here_is_left_to_another_version(desk: Desk) -> None:
    job = desk.ask()
    known = {name: spec for name, spec in toy.AGENTS.items() if name != "dataset_fetcher"}
    with pytest.raises(Busy):
        runtime.run_step(desk.backends, job, 0, agents=known)
    with pytest.raises(Busy):
        runtime.coordinate(desk.backends, job, agents=known)
    assert desk.steps(job)[0]["attempt"] == 0


def test_a_dead_letter_of_a_step_that_was_taken_changes_nothing(desk: Desk) -> None:
    job = desk.ask()
    held = attempt._claim(desk.backends, job, 0, None, toy.AGENTS)
    runtime.give_up(desk.backends, job, 0)
    assert (desk.job(job)["state"], desk.last(job)["state"]) == ("open", "running")
    attempt._back(desk.backends, held, None)  # type: ignore[arg-type]
    runtime.give_up(desk.backends, job, 0)
    assert (desk.job(job)["state"], desk.job(job)["error"]["code"]) == ("failed", "DELIVERY_EXHAUSTED")
    before = desk.job(job)
    runtime.give_up(desk.backends, job, 0)
    assert desk.job(job) == before


def test_a_dead_letter_that_loses_the_race_for_its_step_changes_nothing(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, update = desk.ask(), desk.backends.documents.update

    def late(paths: Any, change: Any) -> Any:
        monkeypatch.setattr(desk.backends.documents, "update", update)
        assert attempt._claim(desk.backends, job, 0, None, toy.AGENTS) is not None
        return update(paths, change)

    monkeypatch.setattr(desk.backends.documents, "update", late)
    runtime.give_up(desk.backends, job, 0)
    assert (desk.job(job)["state"], desk.last(job)["state"]) == ("open", "running")


def test_a_document_that_cannot_be_read_stops_no_other_job(desk: Desk) -> None:
    broken, own = desk.ask(), desk.ask()
    path = job_path(broken)
    desk.backends.documents.update([path], lambda found: {path: {**(found[path] or {}), "state": "odd"}})
    desk.time += timedelta(seconds=31)
    desk.sent.clear()
    runtime.sweep(desk.backends, agents=toy.AGENTS)
    assert [body["job_id"] for _, body in desk.sent] == [own]


def test_a_defect_at_one_job_stops_no_other(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="causal_orchestrator")
    over = []
    for _ in range(2):
        over.append(job := desk.ask())
        desk.run(job)
        desk.backends.objects.create(f"t/{job}/orphan", b"late")
    broken, own = desk.ask(), desk.ask()
    desk.sent.clear()
    load = runtime.load
    monkeypatch.setattr(runtime, "load", lambda b, job: 1 // (job not in (broken, over[0])) and load(b, job))
    desk.time += timedelta(seconds=31)
    runtime.sweep(desk.backends, agents=toy.AGENTS)
    assert [body["job_id"] for _, body in desk.sent] == [own]
    desk.time += timedelta(days=1)
    assert runtime.collect(desk.backends) == 1
    told = [json.loads(r.getMessage()) for r in caplog.records if '"sweep_failed"' in r.getMessage()]
    assert [(line["job_id"], line["error"]) for line in told] == [
        (broken, "ZeroDivisionError"),
        (over[0], "ZeroDivisionError"),
    ]


def test_a_deadline_stops_the_machine_that_was_asked_for(desk: Desk) -> None:
    job = heavy_job(desk)
    desk.time = desk.job(job)["deadline_at"]
    runtime.sweep(desk.backends, agents=toy.AGENTS)
    assert desk.job(job)["error"]["code"] == "DEADLINE"
    assert desk.sent == [("cancel", {"job_id": job, "step": desk.last(job)["number"]})]


def test_renewal_keeps_a_lease_and_ends_with_the_attempt(desk: Desk) -> None:
    job = desk.ask()
    held = attempt._claim(desk.backends, job, 0, None, toy.AGENTS)
    desk.time += timedelta(seconds=50)
    assert attempt._renew(desk.backends, held)  # type: ignore[arg-type]
    lease = desk.backends.documents.get(lease_path(job, 0)) or {}
    assert lease["until"] == desk.time + timedelta(seconds=60)
    runtime.cancel(desk.backends, job, tenant="t")
    assert not attempt._renew(desk.backends, held)  # type: ignore[arg-type]


def test_the_hops_of_a_job_are_bounded(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "MAX_HOPS", 4)
    job = desk.ask()
    assert desk.run(job) == "failed"
    assert desk.job(job)["error"]["code"] == "LOOP_GUARD"
    assert desk.job(job)["hops"] == 4

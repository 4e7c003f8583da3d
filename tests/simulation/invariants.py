"""What must hold after every commit, at the end, and a day later; each check is named as in the specification."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from greenlet import getcurrent

from causal_orchestrator import ledger, store
from causal_orchestrator.agents import Turn
from causal_orchestrator.backends.ports import Document, Found, Stored
from causal_orchestrator.errors import CausalError, ModelUnavailable
from causal_orchestrator.question import canonical_json
from causal_orchestrator.state import ENDED_STEP, LIVE_JOB, MAX_ATTEMPTS, MAX_HOPS, Job, Step, lease_path, seed_of

from . import toy

if TYPE_CHECKING:
    from .world import Client, World

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
MAX_CALLS = 30  # lower than in earnest, so that schedules reach it
MAX_REPAIRS = 2
COUNTERS = ("steps", "hops", "calls", "tokens", "iteration", "resumed", "progress", "deadline_at", "rev")
STEP_MOVES = {
    ("queued", "running"), ("running", "running"), ("running", "succeeded"), ("running", "failed"),
    ("running", "queued"), ("running", "cancelled"), ("queued", "cancelled"), ("queued", "failed"),
}  # fmt: skip
JOB_MOVES = {
    ("open", "awaiting_input"), ("awaiting_input", "open"), ("failed", "open"),
    *((a, b) for a in LIVE_JOB for b in ("completed", "rejected", "failed", "cancelled")),
    *((a, "erased") for a in ("completed", "rejected", "failed", "cancelled")),
}  # fmt: skip
DELIVERIES = (40, 60)


TOYS_DEATHS = (f"{toy.Death.__name__} at ", "OSError at simulation/world.py")


class Violation(BaseException):
    """An invariant does not hold (no `except Exception` of the runtime's sees it)."""

    def __init__(self, name: str, what: str) -> None:
        super().__init__(f"{name}: {what}")
        self.name = name


def need(name: str, holds: bool, what: Callable[[], str] | str) -> None:
    if not holds:
        raise Violation(name, what if isinstance(what, str) else what())


class Invariants:
    """Watches one world."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.results: dict[str, Any] = {}
        self.executions: Counter[str] = Counter()
        self.deliveries: Counter[str] = Counter()
        self.questions: Counter[tuple[str, int, int]] = Counter()
        self.answered: set[tuple[str, int]] = set()
        self.calls: Counter[str] = Counter()
        self.written: dict[str, Stored] = {}
        self.keys: dict[tuple[str, str], str] = {}

    # --- what handlers do -----------------------------------------------------------------------------------------

    def raised(self, name: str, error: Exception) -> None:
        """A handler may raise the project's errors and what the toys raise, nothing else."""
        unforeseen = getattr(error, "code", "") == "INTERNAL" and not str(error).startswith(TOYS_DEATHS)
        known = isinstance(error, CausalError) and not unforeseen
        need("R1", known, lambda: f"{name} raised {type(error).__name__}: {error}")

    def delivered(self, topic: str, body: Mapping[str, Any]) -> None:
        """Messages carry IDs only; no job runs away (S11)."""
        need("M3", set(body) <= {"job_id", "step", "part"}, f"message {body}")
        self.deliveries[str(body["job_id"])] += 1

    def sent(self, actor: Any, topic: str) -> None:
        """M2: where nothing goes wrong, the sweeper has nothing to send."""
        world = self.world
        good = not world.fired and not world.crash_at and not world.unknown_at and not world.options.skew
        good = good and world.options.delay <= 1 and world.options.pace <= 1
        # While a coordinator waits for a slow model the sweeper may find its reply kept, and go on in its stead.
        good = good and world.options.model not in ("slow", "mixed")
        dead = world.options.changes_dead or world.options.messages_dead
        need(
            "M2",
            topic == "changes" or dead or not good or getattr(actor, "name", "") != "sweep",
            "a message was not sent",
        )

    def looked(self, actor: Any, path: str, document: Document | None) -> None:
        """Remember how many calls a coordinator saw when it last looked at a job."""
        if hasattr(actor, "looked") and document is not None and path.count("/") == 1 and path.startswith("jobs/"):
            actor.looked[document["id"]] = document["calls"]

    def asked(self, actor: Any, timeout: float) -> None:
        """S5: every call was reserved by its caller, in a committed transaction; and no call is without a limit."""
        actor.tickets -= 1
        need("S5", actor.tickets >= 0, f"{actor.name} calls the model without a reservation")
        need("M13", 0 < timeout <= 60, f"a call with the timeout {timeout}")

    def stored(self, actor: Any, stored: Stored) -> None:
        """S7: no two attempts share a name."""
        before = self.written.get(stored.name)
        need("S7", before is None or before == stored, f"{stored.name} was written twice")
        self.written[stored.name] = stored

    def started(self, client: Client) -> None:
        """S6: one key, one job."""
        need("S6", len(set(client.ids)) == 1, f"the key gave {client.ids}")
        need("S6", client.ids[0] in self.keys.values(), "a job was promised that does not exist")
        need("S14", self.keys.get((client.tenant, client.key)) == client.ids[0], "the key gave someone else's job")

    # --- every commit ---------------------------------------------------------------------------------------------

    def committed(self, before: Found, after: Found) -> None:
        for path, new in after.items():
            places = path.split("/")
            if places[0] == "jobs" and len(places) == 2:
                self._job(before[path], new)
            elif places[0] == "jobs" and places[2] == "steps":
                self._share(path, places, before, new)
            elif places[0] in ("agent_traces", "audit") and new is not None:
                need("S13", before[path] is None, f"{path} was written again")

    def _job(self, old: Document | None, new: Document | None) -> None:
        if new is None:
            need("S12", old is not None and old["state"] == "erased", "a job that was not erased was removed")
            return
        job = str(new["id"])
        if old is None:
            self._created(new)
            return
        need("S1", new["rev"] == old["rev"] + 1, lambda: f"rev {old['rev']} -> {new['rev']}")
        move = (old["state"], new["state"])
        need(
            "S2" if old["state"] not in LIVE_JOB else "S12",
            move[0] == move[1] or move in JOB_MOVES,
            f"the job went {move}",
        )
        if move == ("failed", "open"):
            need("S2", new["resumed"] == old["resumed"] + 1 and self._client(job).resumed > 0, "reopened by no one")
        if old["state"] not in LIVE_JOB and move[0] == move[1]:
            moved = {k for k in new if new[k] != old.get(k)} - {"rev", "op", "updated_at", "done", "collected"}
            need("S2", not moved, f"an ended job changed its {sorted(moved)}")
        for name in COUNTERS:
            need("S4", new[name] >= old[name], lambda name=name: f"{name} fell from {old[name]} to {new[name]}")
        need("S14", new["tenant"] == old["tenant"], "the tenant changed")
        need("S11", new["hops"] <= MAX_HOPS, "too many hops")
        need("S10", not (new["state"] in LIVE_JOB and new["done"]), "no one will look at a live job again")
        self._budget(job, old, new)
        self._asked_once(job, old, new)
        self._frozen(old, new)
        if new["state"] not in LIVE_JOB and old["state"] in LIVE_JOB:
            late = EPOCH + timedelta(seconds=self.world.now) - old["deadline_at"]
            # A sweep, a sweeper that rests for ten minutes, a stall, a clock that is wrong.
            need("L1", late < timedelta(seconds=60 + 600 + 4 * 240 + 60), f"the job outlived its deadline by {late}")

    def _created(self, new: Document) -> None:
        """S6: one key, one job; S10: it can be found."""
        mine = [c for c in self.world.clients if c.source["uri"] == new["source"]["uri"]]
        key = (new["tenant"], mine[0].key)
        need("S6", key not in self.keys, "the same key made two jobs")
        self.keys[key] = str(new["id"])
        need("S14", new["tenant"] == mine[0].tenant, "the job belongs to someone else")

    def _budget(self, job: str, old: Document, new: Document) -> None:
        """S5: the caps hold; F11: a coordinator that was overtaken does not ask."""
        more = new["calls"] - old["calls"]
        need("S5", new["calls"] <= MAX_CALLS, f"{new['calls']} calls")
        need("S5", new["tokens"] <= new["question"]["preferences"]["budget"]["max_llm_tokens"], "too many tokens")
        if more:
            actor: Any = getcurrent()
            need("S5", more == 1 and new["tokens"] > old["tokens"], "calls are reserved one by one, with their tokens")
            need("S15", new["state"] == "open", "a call was reserved for a job that is not open")
            actor.tickets = getattr(actor, "tickets", 0) + 1
            self._may_ask(actor, job, old, new)
            actor.looked[job] = new["calls"]

    def _may_ask(self, actor: Any, job: str, old: Document, new: Document) -> None:
        words = actor.name.split()
        if words[0] == "step" and len(words) == 3 and actor.attempt:
            step = self.world.documents.held.get(f"jobs/{job}/steps/{int(words[2]):04d}") or {}
            counts = (step.get("state"), step.get("attempt")) == ("running", actor.attempt)
            need("F12", counts, "an attempt that no longer counts reserves a call")
            return
        need("F11", old["calls"] == actor.looked.get(job), "an overtaken coordinator reserves a call")
        actor.reserved = actor.reserved + 1 if old["calls"] == actor.looked.get(job) and actor.reserved else 1
        need("F14", actor.name == "sweep" or actor.reserved <= 1 + MAX_REPAIRS, "the model is asked again and again")

    def _asked_once(self, job: str, old: Document, new: Document) -> None:
        if new["state"] == "awaiting_input" and old["state"] == "open":
            key = (job, new["pause"]["step"])
            self.questions[*key, new["resumed"]] += 1
            again = key in self.answered or self.questions[*key, new["resumed"]] > 1
            need("P1", not again, "a person is asked the same twice")
        if old["state"] == "awaiting_input" and new["state"] == "open":
            self.answered.add((job, new["pause"]["step"]))
        if old["state"] != "erased" and new["state"] != "erased":
            need("P2", old["answers"].items() <= new["answers"].items(), "an answer was forgotten")

    def _frozen(self, old: Document, new: Document) -> None:
        """HON-2: the plan is frozen once, and no one has seen outcome and treatment together before."""
        need("B1", old["plan_sha256"] in (None, new["plan_sha256"]), "the plan changed after the freeze")
        need("B1", new["unblinded_at"] is None or new["plan_sha256"] is not None, "unblinded before the freeze")

    def _share(self, path: str, places: list[str], before: Found, new: Document | None) -> None:
        old = before[path]
        job = self.world.documents.held.get("/".join(places[:2]))
        if new is None:
            need("S12", job is None or job["state"] == "erased", f"{path} was removed")
            return
        if job is None:
            raise Violation("F31", f"{path} was written for a job that is gone")
        need("S15", job["state"] != "erased", f"{path} was written for an erased job")
        if old is None:
            self._new_step(path, places, new, job)
            return
        move = (old["state"], new["state"])
        need("S3", old["state"] not in ENDED_STEP, f"{path} had ended ({old['state']}) and was written again")
        need("S12", move in STEP_MOVES, f"{path} went {move}")
        need("S4", new["attempt"] >= old["attempt"], f"the attempt of {path} fell")
        need("S9", new["attempt"] <= MAX_ATTEMPTS, f"{path} is attempted {new['attempt']} times")
        if move[1] == "running":
            self._may_take(path, places, move[0], before)
            need("S12", new["attempt"] == old["attempt"] + 1, f"{path} was claimed without a new attempt")
            need("S15", job["state"] == "open", f"{path} was claimed while the job is {job['state']}")
            actor: Any = getcurrent()
            actor.attempt = new["attempt"]
            self.executions[path] += 1
            need("S9", self.executions[path] <= MAX_ATTEMPTS, f"{path} was executed {self.executions[path]} times")
            self._reduces(path, places, new)
        if move == ("running", "queued"):
            rest = new["not_before"] - new["queued_at"] if new["not_before"] else timedelta(0)
            need(
                "M10",
                rest >= min(timedelta(minutes=5), timedelta(seconds=2) * 2 ** new["attempt"]),
                f"{path} is not to rest",
            )
        if move[1] == "succeeded":
            self._succeeded(path, places, new, job)

    def _new_step(self, path: str, places: list[str], new: Document, job: Document) -> None:
        """S4: a step is created only after the one before it has ended, and the job counts it."""
        if len(places) > 4:
            return
        number = int(places[3])
        need(
            "S4",
            new["state"] == "queued" and job["state"] == "open" and job["steps"] == number + 1,
            f"{path} is out of order",
        )
        if number:
            last = self.world.documents.held.get(f"jobs/{places[1]}/steps/{number - 1:04d}")
            need("S4", last is not None and last["state"] in ENDED_STEP, f"{path} was created too early")

    def _may_take(self, path: str, places: list[str], state: str, before: Found) -> None:
        """S9: no one takes over while a lease is valid, nor from a handler that is awake and renews its lease."""
        number, part = int(places[3]), int(places[5]) if len(places) > 4 else None
        lease = before.get(lease_path(places[1], number, part))
        now = self.world.clock()
        need("S9", state == "queued" or lease is None or lease["until"] <= now, f"{path} was taken under a valid lease")
        name = f"step {places[1]} {number}" + ("" if part is None else f" {part}")
        actor: Any = getcurrent()
        awake = [
            a for a in self.world.actors
            if a.name == name and a is not actor and a.at_work and not a.stalled and not self.world.faults[f"beat {name}"]
        ]  # fmt: skip
        need(
            "S9",
            state == "queued" or not awake or self.world.options.skew > 0,
            f"{path} was taken from a handler that is awake",
        )
        actor.at_work = True
        rests = (before[path] or {})["not_before"]
        need("M10", state != "queued" or rests is None or rests <= now, f"{path} did not rest")

    def _reduces(self, path: str, places: list[str], new: Document) -> None:
        if len(places) == 4 and new["parts"]:
            states = [d["state"] for _, d in self.world.documents.held.list(f"{path}/parts")]
            need("S4", states == ["succeeded"] * new["parts"], f"{path} is reduced while its parts are {states}")

    def _succeeded(self, path: str, places: list[str], new: Document, job: Document) -> None:
        """S3: one result; S7: its files are there, are what was pinned, and come from this attempt and tenant."""
        need("S3", path not in self.results, f"{path} has two results")
        self.results[path] = new["result"] or new["result_object"]
        need("S15", job["state"] == "open", f"{path} succeeded while the job is {job['state']}")
        share = places[3] if len(places) == 4 else f"{places[3]}-{places[5]}"
        prefix = f"{job['tenant']}/{places[1]}/{share}/{new['attempt']}/"
        for pinned in (*new["files"].values(), *([new["result_object"]] if new["result_object"] else ())):
            need("S7", pinned["name"].startswith(prefix), f"{pinned['name']} is not of this attempt")
            held = self.world.objects.held.get(pinned["name"])
            same = held is not None and held[0] == pinned["generation"]
            need("S7", same and hashlib.sha256(held[1]).hexdigest() == pinned["sha256"], f"{pinned['name']} differs")  # type: ignore[index]

    # --- the end --------------------------------------------------------------------------------------------------

    def _jobs(self) -> list[Document]:
        return [document for _, document in self.world.documents.held.list("jobs")]

    def _client(self, job: str) -> Client:
        return next(c for c in self.world.clients if self.keys.get((c.tenant, c.key)) == job)

    def live(self) -> list[str]:
        """Return the jobs that have not ended."""
        held = self.world.documents.held
        return [
            f"{d['id']} {d['state']} {[s['state'] for _, s in held.list('jobs/' + d['id'] + '/steps')]}"
            for d in self._jobs()
            if not d["done"]
        ]

    def open(self) -> bool:
        """Say whether anything is left to do."""
        return any(not document["done"] for document in self._jobs())

    def at_the_end(self) -> None:
        held = self.world.documents.held
        for document in self._jobs():
            job, steps = (
                Job.model_validate(document),
                [Step.model_validate(d) for _, d in held.list(f"jobs/{document['id']}/steps")],
            )
            need("L1", job.state not in LIVE_JOB, f"{job.id} has not ended")
            self._nothing_runs(job, steps)
            self._legitimate(job, steps)
            self._rounds(job, steps)
            self._same_again(job, steps)
            self._ledger(job, steps)
            budget = DELIVERIES[0] + DELIVERIES[1] * len(steps)
            need(
                "S11",
                self.deliveries[job.id] <= budget * 10,
                f"{self.deliveries[job.id]} deliveries for {len(steps)} steps",
            )

    def _nothing_runs(self, job: Job, steps: list[Step]) -> None:
        """L3: nothing lives on after the end."""
        held = self.world.documents.held
        need("L3", all(step.state in ENDED_STEP for step in steps), f"a step of the ended job is {steps[-1].state}")
        parts = [d["state"] for s in steps for _, d in held.list(f"jobs/{job.id}/steps/{s.number:04d}/parts")]
        need("L3", set(parts) <= ENDED_STEP, f"parts of the ended job are {parts}")
        need("L3", not held.list(f"jobs/{job.id}/leases"), "a lease outlives its job")

    def _legitimate(self, job: Job, steps: list[Step]) -> None:
        """L2: a job ends with a verdict unless something stopped it that may."""
        client = self._client(job.id)
        traits = client.question.query.split()
        if job.state == "cancelled":
            need("L2", client.cancelled or client.erased, "cancelled by no one")
        elif job.state == "failed":
            code = job.error.code if job.error else ""
            last = steps[-1]
            worn = self._faults(job.id, last.number) >= 2
            legitimate = {
                "DESIGN": "no_design" in traits, "BLINDNESS": "peeks" in traits, "INTERNAL": "die_hard" in traits, "ATTEMPTS": worn and last.attempt >= MAX_ATTEMPTS,
                "PART_FAILED": worn, "DEADLINE": self._late(job),
            }.get(code, False)  # fmt: skip
            need("L2", legitimate, f"the job failed: {job.error} (step {last.number}, attempt {last.attempt})")
        elif job.state in ("completed", "rejected"):
            peeked = (
                "peeks" in traits
                and job.answers.get("outcome", "y") == "y"
                and any((s.agent, s.state) == ("toy_explore", "succeeded") for s in steps)
            )
            need("B1", not peeked, "no one minds that outcome and treatment were read together")
            self._whole(job, steps)
            refused = "refuse" in traits and not client.question.preferences.plan_only
            need(
                "L2",
                (job.state == "rejected") == (refused and steps[-1].agent == "reporter"),
                f"{traits} ended {job.state}",
            )
        else:
            need("L2", job.state == "erased" and client.erased, f"the job is {job.state}")

    def _whole(self, job: Job, steps: list[Step]) -> None:
        """S16: a job is completed by what is mandatory, its answers are in its plan, its files can be read."""
        done = {step.agent for step in steps if step.state == "succeeded"}
        if self.world.agents is toy.AGENTS and not job.question.preferences.plan_only:
            missing = {n for n, spec in toy.AGENTS.items() if spec.mandatory} - done
            need(
                "S16", missing <= {s.agent for s in steps if s.state == "failed"} - {"toy_effect"}, f"without {missing}"
            )
        for step in steps:
            if step.agent == "toy_design" and step.result and job.answers.get("outcome"):
                need("P2", step.result["question"]["outcome"] == job.answers["outcome"], "the answer did not count")

    def _rounds(self, job: Job, steps: list[Step]) -> None:
        """F15: what a critique asks for is done at most as often as the job allows."""
        turns = sum(step.agent == "toy_effect" and step.decision.by != "resume" for step in steps)
        most = 1 + job.question.preferences.max_iterations
        need("F15", turns <= most or job.state == "erased", f"{turns} turns of the same agent, {most} are allowed")

    def _late(self, job: Job) -> bool:
        """Say whether the deadline may have passed: little time was given, or the world was bad until close to it."""
        options = self.world.options
        given = (job.deadline_at - job.created_at) / timedelta(minutes=1)
        return given < 60 or options.messages_dead or (options.changes_dead and given < 120)

    def _faults(self, job: str, number: int) -> int:
        prefix = f"step {job} {number}"
        return sum(n for name, n in self.world.faults.items() if prefix in name)

    def _same_again(self, job: Job, steps: list[Step]) -> None:
        """E1: every committed result is what its agent makes of the results before it, whatever happened meanwhile."""
        world = self.world
        for step in steps:
            if step.state == "succeeded":
                before = [s for s in steps if s.number < step.number]
                seen = store.view(world.backends, self._as_seen(job, before), before)
                again = _again(world, job, step, seen, before)
                need(
                    "E1",
                    again == canonical_json(store.result_of(world.backends, step)),
                    f"{step.agent} differs from itself",
                )

    def _as_seen(self, job: Job, before: list[Step]) -> Job:
        frozen = next((s.result["sha256"] for s in before if s.agent == "toy_design" and s.result), None)
        return job.change(plan_sha256=frozen)

    def _ledger(self, job: Job, steps: list[Step]) -> None:
        """S13: the audit verifies and is whole; every step has its trace; the job its summary."""
        if job.state == "erased":
            return
        backends, held = self.world.backends, self.world.documents.held
        need("S13", ledger.verify_audit(backends, job.id) is None, "the audit does not verify")
        keys = [event["key"] for _, event in held.list(f"audit/{job.id}/events")]
        wanted = ["start", *(f"step/{s.number}/{s.attempt}" for s in steps), f"end/{job.resumed}"]
        need(
            "S13", [k for k in keys if not k.startswith("end/")] == wanted[:-1], f"the audit holds {keys}, not {wanted}"
        )
        need("S2", keys.count(wanted[-1]) == 1 and keys[-1] == wanted[-1], f"the audit ends {keys[-2:]}")
        need("S13", len(held.list(f"agent_traces/{job.id}/traces")) == len(steps), "traces are missing")
        need(
            "S13", (held.get(f"results/{job.id}") or {}).get("status") == job.status, "the summary is missing or stale"
        )

    def after_collection(self) -> None:
        """S8: every object is named by a committed result; nothing of an erased job is left."""
        kept: set[str] = set()
        for path, document in self.world.documents.held.all().items():
            if "/steps/" in path:
                kept |= {p["name"] for p in document["files"].values()}
                kept |= {document["result_object"]["name"]} if document["result_object"] else set()
        orphans = sorted(set(self.world.objects.held) - kept)
        need("S8", not orphans, f"orphans: {orphans[:3]}")
        need("S8", kept <= set(self.world.objects.held), "a committed file was removed")
        there = {document["id"] for document in self._jobs()}
        for client in self.world.clients:
            for job in set(client.ids):
                left = [
                    path
                    for path in self.world.documents.held.all()
                    if job in path and not path.startswith(("receipts/", "requests/"))
                ]
                need("F31", job in there or not left, f"an erased job left {left[:3]}")

    def outcome(self) -> list[tuple[Any, ...]]:
        """Return how each job ended and what it found, for the comparison with another world."""
        held, found = self.world.documents.held, []
        for client in self.world.clients:
            job = held.get(f"jobs/{self.keys.get((client.tenant, client.key))}")
            if job is not None:
                steps = [Step.model_validate(d) for _, d in held.list(f"jobs/{job['id']}/steps")]
                found.append((client, Job.model_validate(job), steps))
        return found


class _Plain:
    """A reader without attempts, leases or faults, for computing a result again."""

    def __init__(self, world: World, before: list[Step], step: Step, part: int | None) -> None:
        self.world, self.before, self.step, self.part = world, before, step, part

    def __call__(self, columns: Any, view: Any, *, roles: Any = None) -> None:
        return None

    def file(self, agent: str, name: str) -> bytes:
        pinned = next(s.files[name] for s in reversed(self.before) if s.agent == agent and name in s.files)
        return self.world.objects.held[pinned.name][1]

    def parts(self) -> list[Mapping[str, Any]]:
        held = self.world.documents.held.list(f"jobs/{self.step.job}/steps/{self.step.number:04d}/parts")
        return [d["result"] for _, d in held]


def _again(world: World, job: Job, step: Step, seen: Any, before: list[Step]) -> str:
    def ask(prompt: str, kind: Any, /) -> Any:
        raise ModelUnavailable("none")

    seed = seed_of(job.seed, step.agent, step.iteration)
    turn = Turn(step.number, step.agent, step.parameters, seed, step.iteration, None, step.parts)
    plain: Any = _Plain(world, before, step, None)
    with ExitStack():
        return canonical_json(toy.run(seen, turn, plain, ask).result.model_dump(mode="json"))


def fake_table(path: Path, columns: tuple[str, ...], view: str, job: Any, roles: Any) -> tuple[Any, str]:
    """Stand in for the snapshot: no toy agent computes with rows."""
    return None, hashlib.sha256(f"{path}{columns}{view}".encode()).hexdigest()

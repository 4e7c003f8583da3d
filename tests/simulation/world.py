"""A simulated world: virtual time, one seeded scheduler, every handler a greenlet, every backend call a place to fail.

The runtime is the real one. A schedule has two phases: faults, then a healed world in which everything must end. The
same seed gives the same events (`World.log` is their hash).
"""

from __future__ import annotations

import hashlib
import heapq
import io
import itertools
import json
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO
from unittest import mock

from greenlet import GreenletExit, getcurrent, greenlet

from causal_orchestrator import runtime
from causal_orchestrator.agents import Spec
from causal_orchestrator.backends.ports import Backends, Document, Found, Stored, Writes
from causal_orchestrator.errors import (
    CausalError,
    CommitUnknown,
    Conflict,
    InputError,
    ModelUnavailable,
    NotFound,
    Retriable,
    StorageError,
)
from causal_orchestrator.question import Question

from . import toy
from .invariants import EPOCH, Invariants, Violation
from .memory import MemoryDocuments, MemoryObjects, MemorySecrets

CHANGES = "changes"
SWEEP_SECONDS = 60.0
MAX_TRIES = 20
MAX_EVENTS = 200_000


class Crash(GreenletExit):
    """The process of a handler is gone (no `except Exception` sees it)."""


@dataclass(frozen=True)
class Options:
    """What may go wrong, and how often; drawn per seed so that extremes occur."""

    crash: float = 0.0
    stall: float = 0.0
    duplicate: float = 0.0
    loss: float = 0.0
    delay: float = 0.05
    pace: float = 0.02
    unknown: float = 0.0
    conflict: float = 0.0
    read_error: float = 0.0
    object_error: float = 0.0
    send_error: float = 0.0
    agent_error: float = 0.0
    skew: float = 0.0
    restarts: int = 0
    sweeper_down: bool = False
    changes_dead: bool = False
    messages_dead: bool = False
    model: str = "none"
    fault_minutes: float = 20.0
    jobs: int = 1
    traits: tuple[str, ...] = ("",)
    cancel: float = 0.0
    erase: float = 0.0
    resume: float = 0.0
    confirm: float = 0.0
    hurried: float = 0.0
    tenants: int = 1


def draw(rng: random.Random) -> Options:
    """Draw the options of a schedule."""
    choose = rng.choice
    return Options(
        crash=choose([0, 0, 0.002, 0.01, 0.04]), stall=choose([0, 0, 0.002, 0.01]),
        duplicate=choose([0, 0.05, 0.3, 0.6]), loss=choose([0, 0, 0.05, 0.2]), delay=choose([0.05, 1, 10, 60]),
        unknown=choose([0, 0.02, 0.1]), conflict=choose([0, 0, 0.05, 0.2]), read_error=choose([0, 0, 0.01, 0.03]),
        object_error=choose([0, 0, 0.05, 0.2]), send_error=choose([0, 0, 0.1]), agent_error=choose([0, 0, 0, 0.1, 0.3, 0.9]), pace=choose([0.02, 0.02, 2]),
        skew=choose([0, 0, 2, 30]), restarts=choose([0, 0, 1, 3]), sweeper_down=rng.random() < 0.15,
        changes_dead=rng.random() < 0.05, messages_dead=rng.random() < 0.02,
        model=choose(["none", "none", "first", "random", "illegal", "wrong", "unavailable", "slow", "mixed"]),
        fault_minutes=choose([2, 10, 30]), jobs=choose([1, 1, 2]),
        traits=tuple(rng.choices(["", *toy.TRAITS], k=2)), cancel=choose([0, 0, 0.25, 1]), erase=choose([0, 0, 0, 0.5]),
        resume=choose([0, 0.5, 1]), confirm=choose([0, 0, 1]), hurried=choose([0, 0, 0, 0.5]), tenants=choose([1, 2]),
    )  # fmt: skip


@dataclass
class Client:
    """What one person does: ask (perhaps more than once), cancel, erase, answer, resume."""

    number: int
    tenant: str
    question: Question
    source: Mapping[str, Any]
    key: str
    says: Mapping[str, Any]
    ids: list[str] = field(default_factory=list)
    cancelled: bool = False
    erased: bool = False
    resumed: int = 0


class Actor(greenlet):
    """A handler at work: its worker's clock, and what it has seen and reserved."""

    def __init__(self, world: World, name: str, worker: int, run: Callable[[], None]) -> None:
        super().__init__(run)
        self.world, self.name, self.worker = world, name, worker
        self.stalled_until = 0.0
        self.tickets = 0
        self.stalled = self.at_work = False
        self.attempt = self.reserved = 0
        self.looked: dict[str, int] = {}
        self.beats: list[Actor] = []


class World:
    """One schedule. `skip` are the numbers of faults that are left out, `crash_at` the points to crash at."""

    def __init__(
        self, seed: int, *, options: Options | None = None, skip: frozenset[int] = frozenset(),
        crash_at: frozenset[int] = frozenset(), copy_at: frozenset[int] = frozenset(),
        unknown_at: frozenset[int] = frozenset(), agents: Mapping[str, Spec] = toy.AGENTS,
    ) -> None:  # fmt: skip
        self.rng = random.Random(seed)  # noqa: S311 (chance, not secrets)
        drawn = draw(self.rng)
        self.options = drawn if options is None else options
        self.seed, self.skip, self.agents = seed, skip, agents
        self.crash_at, self.copy_at, self.unknown_at = crash_at, copy_at, unknown_at
        self.now, self.healed = 0.0, False
        self.heal_at = self.options.fault_minutes * 60
        self.points, self.sends, self.commits, self.drawn = 0, 0, 0, 0
        self.fired: list[int] = []
        self.faults: Counter[tuple[str, int]] = Counter()
        self.heap: list[tuple[float, int, Callable[[], None]]] = []
        self.ties = itertools.count()
        self.actors: dict[Actor, None] = {}
        self.pending = 0
        self.resent = 0
        self.hash = hashlib.blake2b(digest_size=16)
        self.skews = [self.rng.uniform(-1, 1) * self.options.skew for _ in range(3)]
        self.invariants = Invariants(self)
        self.documents = SimDocuments(self)
        self.objects = SimObjects(self)
        self.backends = Backends(
            documents=self.documents, objects=self.objects, messages=SimMessages(self), tasks=SimTasks(self),
            secrets=MemorySecrets(), now=self.clock, new_id=lambda: f"{self.rng.getrandbits(128):032x}",
            background=self.background, model=None if self.options.model == "none" else SimModel(self),
        )  # fmt: skip
        self.clients = [self._client(k) for k in range(self.options.jobs)]

    # --- time and chance ------------------------------------------------------------------------------------------

    def clock(self) -> datetime:
        """The clock of the worker that looks at it."""
        actor = getcurrent()
        skew = self.skews[actor.worker] if isinstance(actor, Actor) and not self.healed else 0.0
        return EPOCH + timedelta(seconds=self.now + skew)

    def at(self, when: float, do: Callable[[], None]) -> None:
        heapq.heappush(self.heap, (max(when, self.now), next(self.ties), do))

    def note(self, *what: object) -> None:
        self.hash.update(f"{self.now:.6f} {what}\n".encode())

    def strikes(self, probability: float) -> bool:
        """Draw a fault; every one that strikes has a number, by which it can be left out."""
        if self.healed or not probability or self.rng.random() >= probability:
            return False
        self.drawn += 1
        if self.drawn in self.skip:
            return False
        self.fired.append(self.drawn)
        return True

    # --- handlers -------------------------------------------------------------------------------------------------

    def spawn(self, name: str, handler: Callable[[], None], ended: Callable[[BaseException | None], None]) -> Actor:
        """Run a handler as a greenlet; `ended` hears how it ended."""

        def run() -> None:
            actor = getcurrent()
            error: BaseException | None = None
            try:
                handler()
            except Crash as exc:
                error = exc
            except Violation:
                raise
            except Exception as exc:
                self.invariants.raised(name, exc)
                error = exc
            self.actors.pop(actor, None)
            self.note(name, "ends", type(error).__name__)
            ended(error)

        actor = Actor(self, name, self.rng.randrange(3), run)
        self.actors[actor] = None
        actor.switch()
        return actor

    def wait(self, actor: Actor, seconds: float) -> None:
        """Let others go on for a while."""
        self.at(self.now + seconds, lambda: actor.dead or actor.switch())  # type: ignore[func-returns-value]
        self.hub.switch()

    def kill(self, actor: Actor) -> None:
        """End a handler's process where it stands."""
        if not actor.dead:
            self.faults[actor.name] += 1
            actor.throw(Crash())

    def effect(self, kind: str, detail: str, do: Callable[[], Any]) -> Any:
        """Make one backend call: a scheduling point, and a place to die, before and after it."""
        actor = getcurrent()
        if not isinstance(actor, Actor):
            return do()
        self._point(actor, "before", kind, detail)
        done = do()
        self._point(actor, "after", kind, detail)
        return done

    def _point(self, actor: Actor, moment: str, kind: str, detail: str) -> None:
        self.points += 1
        self.note(actor.name, moment, kind, detail)
        if self.points in self.crash_at or self.strikes(self.options.crash):
            self.faults[actor.name] += 1
            raise Crash
        if self.strikes(self.options.stall):
            self.faults[actor.name] += 1
            actor.stalled, seconds = True, self.rng.uniform(20, 240)
            actor.stalled_until = self.now + seconds
            self.wait(actor, seconds)
        elif moment == "before" or self.rng.random() < 0.3:
            self.wait(actor, self.rng.expovariate(1 / (0.02 if self.healed else self.options.pace)))

    def fails(self, probability: float, error: type[CausalError], what: str) -> None:
        """Raise `error` if it strikes."""
        if self.strikes(probability):
            actor = getcurrent()
            self.faults[getattr(actor, "name", "")] += 1
            raise error(f"simulated: {what}")

    @contextmanager
    def background(self, call: Callable[[], None], seconds: float) -> Iterator[None]:
        """Renew in a greenlet of its own, which dies and sleeps with its owner."""
        owner = getcurrent()
        over = False

        def beat() -> None:
            if over or not isinstance(owner, Actor) or owner.dead:
                return
            if owner.stalled_until > self.now:
                self.at(owner.stalled_until + 0.001, beat)
                return
            actor = self.spawn(f"beat {owner.name}", call, lambda error: self.at(self.now + seconds, beat))
            owner.beats = [actor]

        self.at(self.now + seconds, beat)
        try:
            yield
        finally:
            over = True
            for actor in getattr(owner, "beats", []):
                if not actor.dead and actor is not getcurrent():
                    self.at(self.now, lambda actor=actor: self._silence(actor))

    def _silence(self, actor: Actor) -> None:
        if not actor.dead:
            actor.throw(Crash())

    # --- messages -------------------------------------------------------------------------------------------------

    def send(self, topic: str, body: Mapping[str, Any], *, at: float | None = None) -> None:
        """Deliver a message at least once, or, while the world is bad, less or more often."""
        self.sends += 1
        if self.sends in self.copy_at:
            self._post(topic, body, self.now + self.rng.uniform(0, 5), 0)
        self.invariants.sent(getcurrent(), topic)
        dead = self.options.changes_dead if topic == CHANGES else self.options.messages_dead
        if dead or self.strikes(self.options.loss):
            return
        copies = 1
        while copies < 4 and self.strikes(self.options.duplicate):
            copies += 1
        start = self.now if at is None else max(at, self.now)
        for _ in range(copies):
            slow = self.options.delay if not self.healed else 0.05
            self._post(topic, body, start + self.rng.uniform(0, slow), 0)

    def _post(self, topic: str, body: Mapping[str, Any], when: float, tries: int) -> None:
        self.pending += 1
        self.at(when, lambda: self._deliver(topic, body, tries))

    def _deliver(self, topic: str, body: Mapping[str, Any], tries: int) -> None:
        self.pending -= 1
        self.invariants.delivered(topic, body)

        def ended(error: BaseException | None) -> None:
            if error is not None and tries < MAX_TRIES and not self.strikes(self.options.loss):
                pause = min(600.0, 10.0 * 2**tries) * self.rng.uniform(0.5, 1)
                self._post(topic, body, self.now + pause, tries + 1)

        job = str(body["job_id"])
        if topic == CHANGES:
            self.spawn(f"coordinate {job}", lambda: runtime.coordinate(self.backends, job, agents=self.agents), ended)
            return
        number, part = int(body["step"]), body.get("part")
        name = f"step {job} {number}" + ("" if part is None else f" {part}")
        self.spawn(name, lambda: runtime.run_step(self.backends, job, number, part=part, agents=self.agents), ended)

    # --- people ---------------------------------------------------------------------------------------------------

    def _client(self, number: int) -> Client:
        rng, options = self.rng, self.options
        trait = options.traits[number % len(options.traits)]
        minutes = rng.choice([0.5, 3.0, 12.0]) if rng.random() < options.hurried else 240.0
        question = Question(
            query=trait,
            preferences={  # type: ignore[arg-type]
                "seed": rng.randrange(5), "confirm_roles": rng.random() < options.confirm,
                "budget": {"max_minutes": minutes, "max_llm_tokens": rng.choice([200_000, 20_000])},
                "plan_only": rng.random() < 0.05 and options.jobs > 1,
            },
        )  # fmt: skip
        says = {} if rng.random() < 0.5 else {"outcome": "y2"}
        tenant = f"tenant{number % options.tenants}"
        return Client(
            number, tenant, question, {"kind": "toy", "uri": f"toy{number}"}, f"key{number // options.tenants}", says
        )

    def _people(self) -> None:
        """Lay out what each person will do, and when."""
        rng, options = self.rng, self.options
        span = min(self.heal_at, rng.choice([20.0, 120.0, 600.0, 3600.0]))
        for client in self.clients:
            for _ in range(rng.choice([1, 1, 2, 3]) if options.duplicate else 1):
                self._call(client, "start", rng.uniform(0, 5), self._start)
            self._call(client, "start", self.heal_at, self._start)
            if rng.random() < options.cancel:
                when = rng.uniform(0, span)
                for _ in range(rng.choice([1, 3])):
                    self._call(client, "cancel", when + rng.uniform(0, 2), self._cancel)
            if rng.random() < options.erase:
                self._call(client, "erase", rng.uniform(0, span), self._erase)
            if rng.random() < options.resume:
                when = rng.uniform(self.heal_at / 2, self.heal_at * 1.4)
                for _ in range(rng.choice([1, 2])):
                    self._call(client, "resume", when + rng.uniform(0, 2), self._resume)
            if client.question.preferences.confirm_roles and client.says:
                for k in range(12):
                    self._call(client, "answer", 30.0 * (k + 1) + rng.uniform(0, 5), self._answer)

    def _call(self, client: Client, name: str, when: float, do: Callable[[Client], None]) -> None:
        """Let the client call, and call again if no answer comes."""

        def attempt(tries: int) -> None:
            def ended(error: BaseException | None) -> None:
                if isinstance(error, (Crash, Retriable)) and tries < 6:
                    self.at(self.now + self.rng.uniform(1, 10), lambda: attempt(tries + 1))

            self.spawn(f"{name} {client.number}", lambda: self._polite(do, client), ended)

        self.at(when, lambda: attempt(0))

    def _polite(self, do: Callable[[Client], None], client: Client) -> None:
        try:
            do(client)
        except (InputError, NotFound) as exc:
            self.note("refused", exc.code)

    def _start(self, client: Client) -> None:
        if client.ids and self.healed:
            return
        found = runtime.start_job(
            self.backends, client.question, client.source, tenant=client.tenant, key=client.key, principal="p"
        )
        client.ids.append(found)
        self.invariants.started(client)

    def _cancel(self, client: Client) -> None:
        for job in client.ids[:1]:
            client.cancelled = True
            runtime.cancel(self.backends, job, tenant=client.tenant)

    def _erase(self, client: Client) -> None:
        for job in client.ids[:1]:
            client.erased = True
            runtime.erase(self.backends, job, tenant=client.tenant)

    def _resume(self, client: Client) -> None:
        for job in client.ids[:1]:
            client.resumed += 1
            runtime.resume(self.backends, job, tenant=client.tenant, agents=self.agents)

    def _answer(self, client: Client) -> None:
        for job in client.ids[:1]:
            runtime.answer(self.backends, job, client.says, tenant=client.tenant, agents=self.agents)

    # --- running --------------------------------------------------------------------------------------------------

    def run(self) -> World:
        """Run the schedule to its end and check everything (raises Violation)."""
        self.hub = greenlet(self._loop)
        with mock.patch.object(toy, "work", self._work):
            failure = self.hub.switch()
        if failure is not None:
            raise failure
        return self

    def _work(self, agent: str) -> None:
        """Let an agent take its time, and let the world fail inside it."""
        actor = getcurrent()
        if not isinstance(actor, Actor):
            return
        self.wait(actor, self.rng.choice([0.1, 1.0, 40.0]))
        self.fails(self.options.agent_error, StorageError, f"inside {agent}")
        if self.strikes(self.options.agent_error / 8):
            self.faults[actor.name] += 1
            raise OSError(f"simulated {self.rng.randrange(10**9)}")

    def _loop(self) -> BaseException | None:
        try:
            self._people()
            self._plan_faults()
            self.at(SWEEP_SECONDS, self._sweep)
            self.at(self.heal_at, self._heal)
            limit = self.heal_at + 10 * 3600
            events = 0
            while self.heap:
                self.now, _, do = heapq.heappop(self.heap)
                events += 1
                if self.now > limit or events > MAX_EVENTS:
                    raise Violation("L1", f"not all jobs ended: {self.invariants.live()}")
                do()
                if self.healed and self._quiet():
                    break
            self._aftermath()
        except BaseException as exc:
            return exc
        finally:
            for actor in list(self.actors):
                self._silence(actor)
        return None

    def _quiet(self) -> bool:
        return (
            not self.pending and not self.actors and all(client.ids for client in self.clients)
            and self.now > self.heal_at * 1.5 and not self.invariants.open()
        )  # fmt: skip

    def _aftermath(self) -> None:
        """Check liveness and equivalence, then let a day pass and collect what was orphaned."""
        self.invariants.at_the_end()
        self.now += 25 * 3600
        runtime.collect(self.backends)
        self.invariants.after_collection()

    def _heal(self) -> None:
        self.note("healed")
        self.healed = True

    def _plan_faults(self) -> None:
        for _ in range(self.options.restarts):
            self.at(self.rng.uniform(0, self.heal_at), self._restart)
        self.down_from = self.rng.uniform(0, self.heal_at) if self.options.sweeper_down else self.heal_at + 1

    def _restart(self) -> None:
        if self.strikes(1.0):
            for actor in list(self.actors):
                if not actor.name.startswith("beat"):
                    self.kill(actor)

    def _sweep(self) -> None:
        self.at(self.now + SWEEP_SECONDS, self._sweep)
        if self.down_from <= self.now <= self.down_from + 600 and not self.healed:
            return
        for _ in range(2 if self.strikes(self.options.duplicate) else 1):
            self.spawn("sweep", lambda: runtime.sweep(self.backends, agents=self.agents) and None, lambda error: None)


# --- backends that fail -------------------------------------------------------------------------------------------


class SimDocuments:
    """Documents in memory, behind the world's effects."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.held = MemoryDocuments(self._committed)

    def get(self, path: str) -> Document | None:
        world = self.world

        def do() -> Document | None:
            world.fails(world.options.read_error, StorageError, "a read")
            found = self.held.get(path)
            world.invariants.looked(getcurrent(), path, found)
            return found

        found: Document | None = world.effect("get", path, do)
        return found

    def list(self, collection: str, **query: Any) -> list[tuple[str, Document]]:
        world = self.world

        def do() -> list[tuple[str, Document]]:
            world.fails(world.options.read_error, StorageError, "a read")
            return self.held.list(collection, **query)

        found: list[tuple[str, Document]] = world.effect("list", collection, do)
        return found

    def update(self, paths: Sequence[str], change: Callable[[Found], Writes]) -> Found:
        world = self.world

        def do() -> Found:
            world.fails(world.options.conflict, Conflict, "too much contention")
            if world.strikes(world.options.unknown / 2):
                raise CommitUnknown("simulated: not applied")
            found = self.held.update(paths, change)
            world.commits += 1
            if world.commits in world.unknown_at or world.strikes(world.options.unknown / 2):
                raise CommitUnknown("simulated: applied")
            return found

        found: Found = world.effect("update", paths[0], do)
        return found

    def _committed(self, before: Found, after: Found) -> None:
        world = self.world
        world.note("commit", sorted(after))
        world.invariants.committed(before, after)
        for path, new in after.items():
            places = path.split("/")
            if new is not None and places[0] == "jobs" and len(places) == 4 and places[2] == "steps":
                world.send(CHANGES, {"job_id": places[1]})


class SimObjects(MemoryObjects):
    """Objects in memory, behind the world's effects."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world

    def create(self, name: str, data: bytes | Path) -> Stored:
        world = self.world

        def do() -> Stored:
            world.fails(world.options.object_error / 2, StorageError, "503")
            stored = MemoryObjects.create(self, name, data)
            world.invariants.stored(getcurrent(), stored)
            world.fails(world.options.object_error / 2, StorageError, "503 after it was written")
            return stored

        stored: Stored = world.effect("create", name, do)
        return stored

    def open(self, name: str, generation: int) -> BinaryIO:
        def do() -> BinaryIO:
            self.world.fails(self.world.options.object_error / 2, StorageError, "503")
            stream = MemoryObjects.open(self, name, generation)
            return io.BytesIO(b"torn") if self.world.strikes(self.world.options.object_error) else stream

        stream: BinaryIO = self.world.effect("open", name, do)
        return stream

    def delete(self, name: str) -> None:
        self.world.effect("delete", name, lambda: MemoryObjects.delete(self, name))


class SimMessages:
    """Messages that the world delivers."""

    def __init__(self, world: World) -> None:
        self.world = world

    def publish(self, topic: str, body: Mapping[str, Any]) -> None:
        world = self.world

        def do() -> None:
            world.fails(world.options.send_error, StorageError, "the topic does not answer")
            world.send(topic, dict(body))

        world.effect("publish", f"{topic} {body}", do)


class SimTasks:
    """Machines of their own: one delivery per part."""

    def __init__(self, world: World) -> None:
        self.world = world

    def start(self, job: str, step: int, *, parts: int = 0) -> None:
        world = self.world

        def do() -> None:
            world.fails(world.options.send_error, StorageError, "no machine")
            for part in range(parts) if parts else [None]:
                world.send("task", {"job_id": job, "step": step, "part": part})

        world.effect("start", f"{job} {step} {parts}", do)

    def cancel(self, job: str, step: int) -> None:
        world = self.world

        def do() -> None:
            if world.rng.random() < 0.5:
                world.at(
                    world.now + 0.01,
                    lambda: (
                        [world.kill(a) for a in list(world.actors) if a.name.startswith(f"step {job} {step}")] and None
                    ),
                )

        world.effect("cancel", f"{job} {step}", do)

    def schedule(self, topic: str, body: Mapping[str, Any], *, at: datetime) -> None:
        world = self.world
        when = (at - EPOCH).total_seconds()
        world.effect("schedule", f"{topic} {body}", lambda: world.send(topic, dict(body), at=when))


class SimModel:
    """A language model, helpful or not."""

    name = "simulated"

    def __init__(self, world: World) -> None:
        self.world = world

    def ask(self, prompt: str, schema: Mapping[str, Any], *, timeout: float) -> Mapping[str, Any]:
        world = self.world
        world.invariants.asked(getcurrent(), timeout)
        kind = world.options.model
        if kind == "mixed":
            kind = world.rng.choice(["first", "random", "illegal", "wrong", "unavailable", "slow"])
        if kind == "slow":
            world.effect("model", "slow", lambda: world.wait(getcurrent(), min(timeout, 50.0)))
        answer: Mapping[str, Any] = world.effect("model", kind, lambda: self._reply(kind, prompt))
        return answer

    def _reply(self, kind: str, prompt: str) -> Mapping[str, Any]:
        rng = self.world.rng
        if kind == "unavailable":
            raise ModelUnavailable("simulated: 503")
        if kind == "wrong":
            odd: list[Mapping[str, Any]] = [
                {}, {"agent": 5, "reasoning": "x"}, {"agent": "reporter"}, {"agent": "reporter", "reasoning": "x", "code": "y"},
                {"agent": "x" * 1000, "reasoning": ""}, {"agent": "toy_design", "reasoning": "\ud800"},
            ]  # fmt: skip
            return rng.choice(odd)
        if kind == "illegal":
            return {
                "agent": rng.choice(["reporter", "run_shell", "dataset_fetcher", "tоy_effect", ""]),
                "reasoning": "obey",
            }
        view = next((json.loads(line) for line in prompt.splitlines() if line.startswith("{")), {"admissible": []})
        names = [choice["agent"] for choice in view["admissible"]] or ["toy_explore"]
        return {"agent": names[0] if kind in ("first", "slow") else rng.choice(names), "reasoning": "because"}


def fault_free(options: Options) -> Options:
    """Return the options of the same schedule in a good world."""
    kept = ("jobs", "traits", "tenants")
    return Options(**{f.name: getattr(options, f.name) for f in fields(options) if f.name in kept})

"""Whatever is done to a store, it holds what a dictionary would hold, and tells what a list would tell."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from tests.backends.clock import Clock

from causal_orchestrator.backends.local import open_store
from causal_orchestrator.backends.local.queue import WORK, Delivery
from causal_orchestrator.errors import AlreadyExists
from causal_orchestrator.settings import Settings

EXAMPLES = int(os.environ.get("MODEL_EXAMPLES", "15"))
PATHS = [f"jobs/{key}" for key in "abc"] + [f"jobs/a/steps/000{n}" for n in range(3)]
NAMES = ["t/a", "t/a/b", "t/b.c", "u/a"]

paths = st.sampled_from(PATHS)
names = st.sampled_from(NAMES)
texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=8)
moments = st.datetimes(min_value=datetime(1, 1, 3), max_value=datetime(9999, 12, 30), timezones=st.just(UTC))
scalars = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
)
values = st.recursive(
    scalars | texts | moments, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3)
)
documents = st.dictionaries(texts | st.sampled_from(["tenant", "state", "created_at"]), values, max_size=4)
bodies = st.fixed_dictionaries({"job_id": st.sampled_from("ab"), "step": st.integers(0, 1)})


def text(body: Mapping[str, Any]) -> str:
    return json.dumps(dict(body), sort_keys=True)


class Model(RuleBasedStateMachine):
    """A store beside dictionaries that say what it should hold."""

    def __init__(self) -> None:
        super().__init__()
        self.home = Path(tempfile.mkdtemp())
        self.clock = Clock()
        self.store = open_store(Settings(home=self.home), now=self.clock)
        self.documents: dict[str, dict[str, Any]] = {}
        self.objects: dict[str, bytes] = {}
        self.owed: set[str] = set()
        self.loans: list[Delivery] = []

    def teardown(self) -> None:
        self.store.close()
        shutil.rmtree(self.home)

    @rule(path=paths, document=documents)
    def write(self, path: str, document: dict[str, Any]) -> None:
        self.store.backends.documents.update([path], lambda found: {path: document})
        self.documents[path] = document

    @rule(first=paths, second=paths)
    def swap(self, first: str, second: str) -> None:
        self.store.backends.documents.update([first, second], lambda f: {first: f[second], second: f[first]})
        old = self.documents.pop(first, None), self.documents.pop(second, None)
        for path, document in ((second, old[0]), (first, old[1] if first != second else old[0])):
            if document is not None:
                self.documents[path] = document

    @rule(path=paths)
    def delete(self, path: str) -> None:
        self.store.backends.documents.update([path], lambda found: {path: None})
        self.documents.pop(path, None)

    @rule(name=names, data=st.binary(max_size=3))
    def create(self, name: str, data: bytes) -> None:
        try:
            self.store.backends.objects.create(name, data)
        except AlreadyExists:
            assert self.objects[name] != data
        else:
            assert self.objects.setdefault(name, data) == data

    @rule(name=names)
    def remove(self, name: str) -> None:
        self.store.backends.objects.delete(name)
        self.objects.pop(name, None)

    @rule(body=bodies)
    def publish(self, body: dict[str, Any]) -> None:
        self.store.backends.messages.publish("eda", body)
        self.owed.add(text(body))

    @rule()
    def receive(self) -> None:
        for loan in self.store.queue.take(WORK, holder="model"):
            assert text(loan.body) in self.owed | {text(held.body) for held in self.loans}
            self.owed.discard(text(loan.body))
            self.loans = [held for held in self.loans if held.id != loan.id] + [loan]

    @rule(good=st.booleans())
    def settle(self, good: bool) -> None:
        if not self.loans:
            return
        loan = self.loans.pop()
        if good:
            self.store.queue.acknowledge(loan)
        else:
            self.store.queue.refuse(loan, "no")
            self.owed.add(text(loan.body))

    @rule(seconds=st.sampled_from([0.1, 1.0, 61.0]))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.store = open_store(Settings(home=self.home), now=self.clock)

    @invariant()
    def documents_agree(self) -> None:
        port = self.store.backends.documents
        for path in PATHS:
            assert port.get(path) == self.documents.get(path)
        for collection in ("jobs", "jobs/a/steps"):
            mine = {p: d for p, d in self.documents.items() if p.rpartition("/")[0] == collection}
            assert port.list(collection) == sorted(mine.items())

    @invariant()
    def objects_agree(self) -> None:
        port = self.store.backends.objects
        assert port.list("") == sorted(self.objects)
        assert port.list("t/") == sorted(name for name in self.objects if name.startswith("t/"))

    @invariant()
    def what_is_owed_will_be_delivered(self) -> None:
        query = "SELECT body FROM queue WHERE holder IS NULL OR again=1 OR visible_at<=?"
        later = self.clock() + timedelta(days=1)
        rows = self.store.database.connection().execute(query, (later.timestamp(),)).fetchall()
        assert len(rows) >= len(self.owed)


TestModel = Model.TestCase
TestModel.settings = settings(
    max_examples=EXAMPLES, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)

"""What an agent may see: every look is checked against the stage and logged with a hash."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from causal_orchestrator import downloads
from causal_orchestrator.agents import FIRST, JobView, Spec, View
from causal_orchestrator.backends.ports import Backends, Objects
from causal_orchestrator.errors import BlindnessError, Fenced, InputError, NotFound
from causal_orchestrator.question import Question
from causal_orchestrator.results import Repair
from causal_orchestrator.state import Pinned, Read, Step
from causal_orchestrator.store import fetch, parts_of, result_of

if TYPE_CHECKING:
    import pandas as pd


@dataclass
class JobReader:
    """The eyes of one attempt. `seen` is the job before its step, `before` are the steps that ended by then.

    `split` says that this attempt reduces the parts of `step`; `alive` that the attempt still counts. What lies in
    `scratch` goes when the attempt ends.
    """

    backends: Backends
    spec: Spec
    step: Step
    seen: JobView
    before: Sequence[Step]
    split: bool
    alive: Callable[[], bool]
    scratch: ExitStack
    reads: list[Read] = field(default_factory=list)

    def __call__(self, columns: Sequence[str], view: View, *, roles: Question | None = None) -> pd.DataFrame:
        """Return `columns` under `view`; see `agents.Reader`."""
        self._open(view)
        frame, sha256 = _table(self._path("snapshot.parquet"), tuple(columns), view, self.seen, roles)
        self.reads.append(Read(view=view, columns=tuple(columns), sha256=sha256))
        return frame

    def file(self, agent: str, name: str) -> bytes:
        """Return a file of an earlier step."""
        self._live()
        return fetch(self.backends, self._pinned(agent, name))

    def parts(self) -> Sequence[Mapping[str, Any]]:
        """Return the results of this step's parts."""
        self._live()
        return [result_of(self.backends, part) for part in parts_of(self.backends, self.step)] if self.split else ()

    def source(self) -> Path:
        """Return a local path of the raw dataset."""
        self._live()
        if self.step.agent != FIRST:
            raise BlindnessError("only the fetcher reads the raw dataset")
        source = self.seen.source
        kept = {"object": self.backends.objects, "dropped": self.backends.datasets}.get(str(source.get("kind")))
        if kept is not None:
            return _unchanged(kept, str(source["name"]), int(source["generation"]))
        folder = Path(self.scratch.enter_context(TemporaryDirectory()))
        return downloads.bring(self.backends, source, folder, tenant=self.seen.tenant)

    def snapshot(self) -> Path:
        """Return a local path of the snapshot, after the freeze."""
        self._open("all")
        found = self.seen.results.get(FIRST, {})
        columns = tuple(column["name"] for column in found.get("columns", ()))
        path = self._path("snapshot.parquet")
        self.reads.append(Read(view="all", columns=columns, sha256=str(found.get("sha256", ""))))
        return path

    def _open(self, view: View) -> None:
        """Refuse a view that is closed to this step at this stage."""
        self._live()
        if self.seen.plan_sha256 is None:
            used = {read.view for read in self.reads} - {view}
            if view == "all":
                raise BlindnessError("outcome and treatment are joined only after the plan is frozen")
            if used:
                raise BlindnessError(
                    f"this step has looked at {', '.join(sorted(used))}; it may not look at {view} too"
                )
        if self.spec.views and view not in self.spec.views:
            raise BlindnessError(f"{self.step.agent} has not declared the view {view}")

    def _live(self) -> None:
        if not self.alive():
            raise Fenced("the attempt no longer counts")

    def _pinned(self, agent: str, name: str) -> Pinned:
        for step in reversed(self.before):
            if step.agent == agent and step.state == "succeeded" and name in step.files:
                return step.files[name]
        raise NotFound(f"{agent} has left no file {name!r}")

    def _path(self, name: str) -> Path:
        pinned = self._pinned(FIRST, name)
        return self.backends.objects.local(pinned.name, pinned.generation)


def _unchanged(objects: Objects, name: str, generation: int) -> Path:
    try:
        return objects.local(name, generation)
    except NotFound as exc:
        raise InputError(
            "the dataset was removed or replaced after the job was asked for", code="SOURCE_CHANGED"
        ) from exc


def _table(
    path: Path, columns: tuple[str, ...], view: View, job: JobView, roles: Question | None
) -> tuple[pd.DataFrame, str]:
    """Return the columns under the view, with the repairs in force, and the hash of what is shown."""
    from causal_orchestrator.datasets import views

    question = roles or job.question
    repairs = [Repair.model_validate(r) for r in job.results.get("data_repair", {}).get("repairs", ())]
    frame = views.table(
        path, columns, view, treatment=question.treatment, outcome=question.outcome,
        repairs=[repair for repair in repairs if repair.applied], filters=question.filters, seed=job.seed,
    )  # fmt: skip
    return frame, views.read_hash(frame)

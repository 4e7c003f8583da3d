"""The agents: what exists, what each needs and provides, and the few things that pass between them and the runtime.

An agent is a module with one public function ``run(job, step, read, ask) -> Output``. It reads and asks through its
arguments alone; the runtime stores what it returns. This module is light (no science): the coordinator imports it.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

from pydantic import BaseModel

from causal_orchestrator import results
from causal_orchestrator.question import Question
from causal_orchestrator.results import Record

if TYPE_CHECKING:
    import pandas as pd

R = TypeVar("R", bound=Record)
T = TypeVar("T", bound=BaseModel)

# What a step may see of the data (HON-2). "marginals": each column on its own, rows shuffled independently.
View = Literal["marginals", "covariates_treatment", "covariates_outcome", "all"]


@dataclass(frozen=True)
class JobView:
    """A job as agents and planner see it: the question (roles resolved so far) and what was found.

    `results` maps an agent to its latest succeeded result, `errors` to ``{"code", "message"}`` of its latest failure
    and `order` to the number of the step that holds its latest outcome. `source` says where the dataset comes from.
    """

    id: str
    tenant: str
    question: Question
    seed: int
    results: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    errors: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    order: Mapping[str, int] = field(default_factory=dict)
    source: Mapping[str, Any] = field(default_factory=dict)
    iteration: int = 0
    plan_sha256: str | None = None

    def get(self, agent: str, record: type[R]) -> R | None:
        """Return the latest result of `agent` as a `record`, or None where there is none."""
        found = self.results.get(agent)
        return None if found is None else record.model_validate(found)


@dataclass(frozen=True)
class Turn:
    """One agent's turn: its step's number, parameters, seed (already mixed with step and part) and part."""

    number: int
    agent: str
    parameters: Mapping[str, Any]
    seed: int
    iteration: int = 0
    part: int | None = None
    parts: int = 0


@dataclass(frozen=True)
class Output:
    """What an agent returns: one record, and files by plain name (bytes, or a local path to be moved away)."""

    result: Record
    files: Mapping[str, bytes | Path] = field(default_factory=dict)


class Reader(Protocol):
    """The agent's eyes. Every call is logged with its view, its columns and a hash."""

    def __call__(self, columns: Sequence[str], view: View, *, roles: Question | None = None) -> pd.DataFrame:
        """Return `columns` (repairs and filters applied, original names, row order of the snapshot) under `view`.

        `roles` may name treatment and outcome where the job has not settled them yet (the profiler).

        Raises
        ------
        BlindnessError
            If the view is closed at this stage, a column is not allowed in it, or the step used another view before.
        """

    def file(self, agent: str, name: str) -> bytes:
        """Return the file `name` of the latest succeeded step of `agent` (raises NotFound)."""

    def parts(self) -> Sequence[Mapping[str, Any]]:
        """Return the results of this step's parts, in order (empty where the step has none)."""

    def source(self) -> Path:
        """Return a local path of the job's raw dataset (the fetcher alone may ask)."""

    def snapshot(self) -> Path:
        """Return a local path of the snapshot, after the freeze only (the notebook needs the file itself)."""


class Ask(Protocol):
    """The agent's way to a language model."""

    def __call__(self, prompt: str, kind: type[T], /) -> T:
        """Return the model's answer as a `kind` (raises ModelUnavailable where there is none)."""


Worth = tuple[float, str] | None

REHEARSALS = 8  # parts of a rehearsal


@dataclass(frozen=True)
class Spec:
    """What an agent declares about itself; the coordinator knows nothing else about it.

    `requires` and `provides` are facts. `uses` are facts that it is better with: it waits for them while someone may
    still provide them. `worth` says how useful its turn would be now (0 to 1) and why, or None for not at all.
    `mandatory` agents are never skipped while they have worth. `on_failure="fail"` fails the job with the step.
    `remedies` are the critique's actions that it can carry out (a repetition is possible only through one of them or
    because something that it reads was renewed). `final` ends the job. `stage` says on which side of the freeze it
    works. `settles` agents resolve the question's roles (their result has a `question`).
    """

    result: str
    status: str
    requires: tuple[str, ...]
    provides: tuple[str, ...]
    uses: tuple[str, ...] = ()
    mandatory: bool = False
    on_failure: Literal["warn", "fail"] = "warn"
    stage: Literal["blind", "open"] = "blind"
    views: tuple[View, ...] = ()
    worth: Callable[[JobView], Worth] = lambda job: (1.0, "always")
    heavy: Callable[[JobView], bool] = lambda job: False
    parts: Callable[[JobView], int] = lambda job: 0
    remedies: tuple[str, ...] = ()
    settles: bool = False
    freezes: bool = False
    final: bool = False
    module: str = ""


def load(name: str, spec: Spec) -> Callable[[JobView, Turn, Reader, Ask], Output]:
    """Import the agent's module, now and not before, and return its function."""
    run: Callable[[JobView, Turn, Reader, Ask], Output] = importlib.import_module(
        spec.module or f"causal_orchestrator.agents.{name}"
    ).run
    return run


def _always(reason: str) -> Callable[[JobView], Worth]:
    return lambda job: (1.0, reason)


def _rows(job: JobView) -> int:
    return int(job.results.get("dataset_fetcher", {}).get("n_rows", 0))


def _repair_worth(job: JobView) -> Worth:
    snapshot = job.results.get("dataset_fetcher", {})
    troubled = sum(1 for c in snapshot.get("columns", ()) if c.get("n_missing") or c.get("flags"))
    if troubled or snapshot.get("n_duplicate_rows"):
        return 0.9, f"{troubled} columns have missing or suspect values"
    return 0.3, "states that nothing needs repair"


def _discovery_worth(job: JobView) -> Worth:
    if job.question.causal_graph:
        return 0.9, "a causal graph was given and is to be checked"
    return (0.7, "discovery was asked for") if job.question.preferences.auto_discover else None


def _propensity_worth(job: JobView) -> Worth:
    kind = job.results.get("data_profiler", {}).get("treatment_kind")
    if kind in ("binary", "multivalued"):
        return 0.8, "overlap decides which methods are admissible"
    return None


def _rehearsal_worth(job: JobView) -> Worth:
    """Rehearse on request, and where the candidates are methods for a binary treatment that covariates or chance assign."""
    profile, question = job.results.get("data_profiler", {}), job.question
    plain = profile.get("structure") == "cross_section" and profile.get("treatment_kind") == "binary"
    apart = question.instruments or question.running_variable or question.first_treated or question.mediators
    if question.preferences.profile != "full" or apart or not plain or profile.get("outcome_kind") == "categorical":
        return None
    return 0.6, "which method errs least on data like these is unknown"


def _estimation_worth(job: JobView) -> Worth:
    if job.results.get("study_design", {}).get("identified"):
        return 1.0, "the plan identifies the effect"
    return None


def _sensitivity_worth(job: JobView) -> Worth:
    effects = job.results.get("effect_estimator", {}).get("effects", ())
    if any(effect.get("status") == "ok" for effect in effects):
        return 1.0, "there is a result to be broken"
    return None


def _interpretation_worth(job: JobView) -> Worth:
    if job.question.preferences.interpretation_depth == "none":
        return None
    return 0.7, "the reader needs words"


AGENTS: dict[str, Spec] = {
    "dataset_fetcher": Spec("Snapshot", "FETCHING_DATA", (), ("snapshot",), mandatory=True, on_failure="fail", worth=_always("there are no data yet")),
    "data_profiler": Spec("Profile", "PROFILING", ("snapshot",), ("profile",), mandatory=True, on_failure="fail", views=("covariates_treatment",), settles=True, worth=_always("roles, types and structure are unknown")),
    "eda": Spec("Exploration", "EXPLORATORY_ANALYSIS", ("profile",), ("exploration",), views=("covariates_treatment",), worth=lambda job: (0.8, "quality, balance and leakage are unknown")),
    "data_repair": Spec("Repairs", "EXPLORATORY_ANALYSIS", ("profile",), ("repairs",), uses=("exploration",), views=("marginals",), worth=_repair_worth),
    "causal_discovery": Spec("Graph", "DISCOVERING_CAUSAL", ("profile",), ("graph",), uses=("exploration", "repairs"), views=("covariates_treatment",), worth=_discovery_worth, heavy=lambda job: _rows(job) > 50_000),
    "confounder_discovery": Spec("Confounders", "DISCOVERING_CAUSAL", ("profile",), ("confounders",), uses=("exploration", "repairs", "graph"), views=("covariates_treatment",), worth=lambda job: (0.8, "the adjustment set is open")),
    "ps_diagnostics": Spec("PropensityDiagnostics", "EXPLORATORY_ANALYSIS", ("profile",), ("propensity",), uses=("repairs", "confounders"), views=("covariates_treatment",), worth=_propensity_worth, heavy=lambda job: _rows(job) > 200_000),
    "rehearsal": Spec("Rehearsal", "EXPLORATORY_ANALYSIS", ("profile",), ("rehearsal",), uses=("exploration", "repairs", "graph", "confounders", "propensity"), views=("covariates_treatment",), worth=_rehearsal_worth, heavy=lambda job: True, parts=lambda job: REHEARSALS),
    "study_design": Spec("Plan", "ESTIMATING_EFFECTS", ("profile",), ("plan",), uses=("exploration", "repairs", "graph", "confounders", "propensity", "rehearsal"), mandatory=True, on_failure="fail", views=("covariates_treatment",), freezes=True, worth=_always("a plan must stand before any effect is seen")),
    "effect_estimator": Spec("Effects", "ESTIMATING_EFFECTS", ("plan",), ("effects",), mandatory=True, on_failure="fail", stage="open", views=("all",), worth=_estimation_worth, heavy=lambda job: _rows(job) > 20_000, remedies=("add_methods", "add_adjustment_sets", "more_repeats")),
    "sensitivity_analyst": Spec("Sensitivities", "SENSITIVITY_ANALYSIS", ("effects",), ("sensitivities",), mandatory=True, stage="open", views=("all",), worth=_sensitivity_worth, heavy=lambda job: _rows(job) > 20_000),
    "critique": Spec("Critique", "CRITIQUE_REVIEW", ("plan",), ("critique",), uses=("effects", "sensitivities"), mandatory=True, on_failure="fail", stage="open", worth=_always("the verdict is due")),
    "interpreter": Spec("Interpretation", "CRITIQUE_REVIEW", ("critique",), ("interpretation",), mandatory=True, stage="open", worth=_interpretation_worth),
    "visualizer": Spec("Figures", "GENERATING_NOTEBOOK", ("critique",), ("figures",), uses=("effects", "sensitivities"), mandatory=True, stage="open", views=("all",), worth=_always("what was found can be shown")),
    "notebook_generator": Spec("Notebook", "GENERATING_NOTEBOOK", ("critique",), ("notebook",), uses=("effects", "sensitivities", "interpretation"), mandatory=True, stage="open", worth=_always("the numbers must be reproducible")),
    "reporter": Spec("Report", "GENERATING_NOTEBOOK", ("critique",), ("report",), uses=("interpretation", "figures", "notebook"), mandatory=True, on_failure="fail", stage="open", final=True, worth=_always("all that was found is to be written up")),
}  # fmt: skip

FIRST = "dataset_fetcher"


def record_of(spec: Spec) -> type[Record]:
    """Return the record class that the agent writes."""
    found: type[Record] = getattr(results, spec.result)
    return found

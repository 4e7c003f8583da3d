"""What a figure may draw from: the records of a job and, where it needs them, the data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from causal_orchestrator.agents import JobView
from causal_orchestrator.question import Question, shown
from causal_orchestrator.results import (
    Confounders,
    Critique,
    Effect,
    Effects,
    Exploration,
    Graph,
    Plan,
    Profile,
    PropensityDiagnostics,
    Sensitivities,
    SensitivityResult,
    Snapshot,
)

if TYPE_CHECKING:
    import pandas as pd

# A name in a figure has less room than in a table.
NAME_WIDTH = 26


def no_file(agent: str, name: str) -> bytes | None:
    """Find no file."""
    return None


@dataclass(frozen=True)
class Evidence:
    """The records of one job, a way to its columns and one to its files; what no agent wrote is None."""

    question: Question
    read: Callable[[Sequence[str]], pd.DataFrame]
    file: Callable[[str, str], bytes | None] = no_file
    snapshot: Snapshot | None = None
    profile: Profile | None = None
    exploration: Exploration | None = None
    graph: Graph | None = None
    confounders: Confounders | None = None
    propensity: PropensityDiagnostics | None = None
    plan: Plan | None = None
    effects: Effects | None = None
    sensitivities: Sensitivities | None = None
    critique: Critique | None = None

    @property
    def primary(self) -> Effect | None:
        """The headline's entry, if it ran."""
        for effect in self.effects.effects if self.effects else ():
            if effect.role == "primary" and effect.status == "ok":
                return effect
        return None

    def sensitivity(self, *methods: str) -> SensitivityResult | None:
        """Return the first result of one of `methods` that has details."""
        for result in self.sensitivities.results if self.sensitivities else ():
            if result.method in methods and result.details:
                return result
        return None


def gather(
    job: JobView,
    read: Callable[[Sequence[str]], pd.DataFrame],
    file: Callable[[str, str], bytes | None] = no_file,
) -> Evidence:
    """Return the evidence of a job; `read` gives columns of its data, `file` a file of an agent or None."""
    plan = job.get("study_design", Plan)
    return Evidence(
        question=plan.question if plan else job.question,
        read=read,
        file=file,
        snapshot=job.get("dataset_fetcher", Snapshot),
        profile=job.get("data_profiler", Profile),
        exploration=job.get("eda", Exploration),
        graph=job.get("causal_discovery", Graph),
        confounders=job.get("confounder_discovery", Confounders),
        propensity=job.get("ps_diagnostics", PropensityDiagnostics),
        plan=plan,
        effects=job.get("effect_estimator", Effects),
        sensitivities=job.get("sensitivity_analyst", Sensitivities),
        critique=job.get("critique", Critique),
    )


def label(name: str, width: int = NAME_WIDTH) -> str:
    """Return a name from the data as a figure shows it."""
    return shown(name, width)

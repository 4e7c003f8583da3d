"""A reader over a data frame in memory that keeps the views apart and remembers what was read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from causal_orchestrator.agents import View
from causal_orchestrator.errors import BlindnessError, InputError, NotFound
from causal_orchestrator.question import Question


class FrameReader:
    """Serves one step; `reads` lists every view with its columns in the order of the calls.

    `files` maps (agent, name) to bytes, `part_results` are the step's parts. Treatment and outcome come from the
    constructor or, where the job has not settled them yet, from the `roles` of the call.
    """

    def __init__(self, frame: pd.DataFrame, treatment: str | None = None, outcome: str | None = None) -> None:
        self.frame = frame
        self.treatment = treatment
        self.outcome = outcome
        self.reads: list[tuple[View, tuple[str, ...]]] = []
        self.files: dict[tuple[str, str], bytes] = {}
        self.part_results: tuple[Mapping[str, Any], ...] = ()

    def __call__(self, columns: Sequence[str], view: View, *, roles: Question | None = None) -> pd.DataFrame:
        self._check(columns, view, roles)
        self.reads.append((view, tuple(columns)))
        chosen = self.frame.loc[:, list(columns)].copy()
        if view != "marginals":
            return chosen
        return pd.DataFrame(
            {
                name: chosen[name].to_numpy()[np.random.default_rng(k).permutation(len(chosen))]
                for k, name in enumerate(columns)
            }
        )

    def _check(self, columns: Sequence[str], view: View, roles: Question | None) -> None:
        unknown = [name for name in columns if name not in self.frame.columns]
        if unknown:
            raise InputError(f"there is no column {unknown[0]!r}", code="COLUMN_UNKNOWN")
        if self.reads and self.reads[-1][0] != view:
            raise BlindnessError(f"this step has read {self.reads[-1][0]!r} before, so {view!r} is closed")
        treatment = self.treatment or (roles.treatment if roles else None)
        outcome = self.outcome or (roles.outcome if roles else None)
        closed = {"covariates_treatment": outcome, "covariates_outcome": treatment}.get(view, "")
        if view in ("covariates_treatment", "covariates_outcome") and (treatment is None or outcome is None):
            raise BlindnessError(f"{view!r} needs to know treatment and outcome")
        if closed and closed in columns:
            raise BlindnessError(f"{closed!r} is not part of {view!r}")

    def file(self, agent: str, name: str) -> bytes:
        try:
            return self.files[agent, name]
        except KeyError as exc:
            raise NotFound(f"{agent} has no file {name!r}") from exc

    def parts(self) -> Sequence[Mapping[str, Any]]:
        return self.part_results

    def source(self) -> Path:
        raise NotFound("a frame in memory has no source file")

    def snapshot(self) -> Path:
        raise NotFound("a frame in memory has no snapshot file")

"""Say what the table is and propose who plays which role (AG-1).

Roles are proposed from names, text and marginals first; only then the covariates are seen together with the treatment
(never with the outcome or its close rivals) to find panels, cutoffs and groups.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd

from causal_orchestrator.agents import Ask, JobView, Output, Reader, Turn
from causal_orchestrator.errors import InputError
from causal_orchestrator.profiling import claims, roles, structure
from causal_orchestrator.profiling.quality import as_number
from causal_orchestrator.question import Question, ask as make_question, shown
from causal_orchestrator.results import Candidate, ColumnSummary, Note, Profile, Snapshot

RIVAL = 0.75  # a column with this share of the best outcome's score might be the outcome itself, so it is not read
MAX_LEVELS = 50  # more levels of words than this are no covariate
Candidates = Mapping[str, tuple[Candidate, ...]]


def run(job: JobView, step: Turn, read: Reader, ask: Ask) -> Output:
    """Profile the dataset and resolve the question's roles.

    Raises
    ------
    InputError
        If a named column does not exist (``COLUMN_UNKNOWN``), no treatment or outcome can be proposed with confidence
        (``ROLES_UNCLEAR``), or one of them has a single value (``TREATMENT_CONSTANT``, ``OUTCOME_CONSTANT``).
    """
    snapshot = job.get("dataset_fetcher", Snapshot)
    if snapshot is None:
        raise InputError("there is no snapshot to profile", code="NO_SNAPSHOT")
    columns = {c.name: c for c in snapshot.columns}
    _check_names(job.question, columns)
    scored = roles.candidates(snapshot.columns, job.question)
    question, chosen = _treatment_and_outcome(job.question, scored, columns)
    seen = read(_readable(question, scored, columns), "covariates_treatment", roles=question)
    return Output(_profile(question, chosen, scored, columns, seen))


def _check_names(question: Question, columns: Mapping[str, ColumnSummary]) -> None:
    for name in question.columns():
        if name not in columns:
            near = difflib.get_close_matches(name, list(columns), n=1, cutoff=0.6)
            hint = f"; did you mean {shown(near[0])!r}" if near else ""
            raise InputError(f"the dataset has no column {shown(name)!r}{hint}", code="COLUMN_UNKNOWN")


def _treatment_and_outcome(
    question: Question, scored: Candidates, columns: Mapping[str, ColumnSummary]
) -> tuple[Question, tuple[str, ...]]:
    """Fill treatment and outcome together, so that each is the best given the other."""
    taken = set(question.columns())
    pools: list[list[Candidate]] = []
    for role in ("treatment", "outcome"):
        given = getattr(question, role)
        free = [c for c in scored[role] if c.column not in taken]
        pools.append([Candidate(column=given, score=1.0, reasons=("given",))] if given else free)
    pairs = [(t.score * y.score, t, y) for t in pools[0] for y in pools[1] if t.column != y.column]
    best = max(pairs, key=lambda pair: pair[0], default=None)
    if best is None or min(best[1].score, best[2].score) < roles.CONFIDENT:
        raise _unclear(question, scored)
    _, treatment, outcome = best
    for role, candidate in (("treatment", treatment), ("outcome", outcome)):
        if columns[candidate.column].n_unique <= 1:
            raise InputError(
                f"the {role} {shown(candidate.column)!r} has a single value", code=f"{role.upper()}_CONSTANT"
            )
    found = {"treatment": treatment.column, "outcome": outcome.column}
    chosen = tuple(role for role in found if getattr(question, role) is None)
    return _fill(question, found), chosen


def _fill(question: Question, found: Mapping[str, Any]) -> Question:
    return make_question({**question.model_dump(), **found})


def _unclear(question: Question, scored: Candidates) -> InputError:
    open_roles = [role for role in ("treatment", "outcome") if getattr(question, role) is None]
    best = {role: [(c.column, c.score) for c in scored[role][:3]] for role in open_roles}
    said = "; ".join(
        f"{role}: " + (", ".join(f"{shown(name)!r} ({score:.2f})" for name, score in best[role]) or "no candidate")
        for role in open_roles
    )
    options = " and ".join(f"--{role}" for role in open_roles)
    return InputError(
        f"cannot tell the {' and the '.join(open_roles)} from names and text ({said}); give {options}, "
        "or a query such as “Did <treatment> raise <outcome>?”",
        code="ROLES_UNCLEAR",
        details={"candidates": best},
    )


def _readable(question: Question, scored: Candidates, columns: Mapping[str, ColumnSummary]) -> list[str]:
    """Return the columns that may be seen beside the treatment: no outcome and nothing that might be it."""
    best = max((c.score for c in scored["outcome"] if c.column == question.outcome), default=1.0)
    told = set(question.columns()) | {c.column for c in scored["time"] if c.score >= roles.ADOPTED}
    rivals = {c.column for c in scored["outcome"] if c.score >= max(RIVAL * best, roles.CONFIDENT)} - told
    closed = rivals | {question.outcome}
    return [name for name, c in columns.items() if name not in closed and c.kind not in ("text", "empty")]


def _profile(
    question: Question,
    chosen: tuple[str, ...],
    scored: Candidates,
    columns: Mapping[str, ColumnSummary],
    seen: pd.DataFrame,
) -> Profile:
    found: dict[str, Any] = {}
    excluded = set(question.columns()) - set(question.effect_modifiers)
    if question.covariates is None:
        found["covariates"] = [
            c.name
            for c in columns.values()
            if c.name not in excluded and c.kind not in ("text", "empty", "constant", "identifier", "datetime")
        ]
    filled = _fill(question, found)
    return Profile(
        question=filled,
        proposed=(*chosen, *found),
        structure="cross_section",
        treatment_kind=treatment_kind(columns[str(filled.treatment)]),
        outcome_kind=outcome_kind(columns[str(filled.outcome)]),
        candidates={role: tuple(c[:10]) for role, c in scored.items()},
    )


def treatment_kind(summary: ColumnSummary) -> Literal["binary", "multivalued", "continuous"]:
    """Say how the treatment is to be treated; numbers with at most five whole values are levels, not doses."""
    if summary.n_unique == 2:
        return "binary"
    if summary.kind == "categorical" or (summary.integer and summary.n_unique <= 5):
        return "multivalued"
    return "continuous"


def outcome_kind(summary: ColumnSummary) -> Literal["continuous", "binary", "count", "categorical"]:
    """Say how the outcome is to be modelled; a count is a small whole number with zeros among its values."""
    if summary.n_unique == 2:
        return "binary"
    if summary.kind == "categorical":
        return "categorical"
    small = summary.minimum is not None and summary.minimum >= 0 and (summary.mean or math.inf) < 20
    if summary.integer and small and (summary.share_zero or 0) > 0 and summary.n_unique > 2:
        return "count"
    return "continuous"

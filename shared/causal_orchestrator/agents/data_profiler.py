"""Say what the table is and propose who plays which role (AG-1).

Roles are proposed from names, text and marginals first; only then the covariates are seen together with the treatment
(never with the outcome or its close rivals) to find panels, cutoffs and groups.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Literal

import pandas as pd

from causal_orchestrator.agents import Ask, JobView, Output, Reader, Turn
from causal_orchestrator.datasets.roles import check_roles
from causal_orchestrator.errors import InputError
from causal_orchestrator.profiling import proposals, roles
from causal_orchestrator.profiling.proposals import Proposal
from causal_orchestrator.profiling.text import words
from causal_orchestrator.question import Question, shown
from causal_orchestrator.question import ask as make_question
from causal_orchestrator.results import Candidate, ColumnSummary, Note, Profile, Snapshot

RIVAL = 0.75  # a column with this share of the best outcome's score might be the outcome itself, so it is not read
POOL = 20  # candidates of each role that are paired
MAX_LEVELS = 20  # a treatment or an outcome of words with more levels is refused
Candidates = Mapping[str, tuple[Candidate, ...]]


def run(job: JobView, step: Turn, read: Reader, ask: Ask) -> Output:
    """Profile the dataset and resolve the question's roles.

    Raises
    ------
    InputError
        If no treatment or outcome can be proposed with confidence (``ROLES_UNCLEAR``), one of them holds free text or
        too many categories (``TREATMENT_KIND``, ``OUTCOME_KIND``), or the roles do not fit the columns (with the codes
        of `check_roles`).
    """
    snapshot = job.get("dataset_fetcher", Snapshot)
    if snapshot is None:
        raise InputError("there is no snapshot to profile", code="NO_SNAPSHOT")
    columns = {c.name: c for c in snapshot.columns}
    check_roles(job.question, snapshot)
    reading = roles.read_text(snapshot.columns, job.question)
    scored = dict(roles.candidates(snapshot.columns, reading))
    question = _treatment_and_outcome(job.question, scored)
    _check_usable(question, snapshot)
    notes = _rivals(job.question, question, scored)
    seen = read(_readable(job.question, question, scored, columns), "covariates_treatment", roles=question)
    return Output(_look(job.question, question, scored, columns, reading, seen, notes))


def _look(
    given: Question,
    question: Question,
    scored: dict[str, tuple[Candidate, ...]],
    columns: Mapping[str, ColumnSummary],
    reading: roles.Reading,
    seen: pd.DataFrame,
    notes: list[Note],
) -> Profile:
    """Let each look at the data fill the roles that are still open, in the order in which they build on each other."""
    looks: tuple[Callable[[Question], Proposal], ...] = (
        lambda q: proposals.propose_panel(seen, q, scored),
        lambda q: proposals.propose_named(seen, q, scored),
        lambda q: proposals.propose_cutoff(seen, q, scored, reading, columns),
        lambda q: proposals.propose_instruments(seen, q, scored, reading),
        lambda q: proposals.propose_cluster(seen, q, scored, reading),
        lambda q: proposals.propose_randomized(q, reading),
        lambda q: proposals.propose_covariates(seen, q, columns),
    )
    shape, evidence = Proposal(structure="cross_section"), dict[str, float]()
    for look in looks:
        found = look(question)
        question = _fill(question, found.roles)
        scored.update(found.candidates)
        notes += found.notes
        evidence.update(found.evidence)
        shape = found if found.structure else shape
    return Profile(
        question=question,
        proposed=tuple(f for f in Question.model_fields if getattr(question, f) != getattr(given, f)),
        structure=shape.structure or "cross_section",
        n_units=shape.n_units,
        n_periods=shape.n_periods,
        treatment_kind=treatment_kind(columns[str(question.treatment)]),
        outcome_kind=outcome_kind(columns[str(question.outcome)]),
        candidates={role: ranked[:10] for role, ranked in scored.items()},
        cutoff_evidence=evidence,
        warnings=tuple(notes),
    )


def _treatment_and_outcome(question: Question, scored: Candidates) -> Question:
    """Fill treatment and outcome together, so that each is the best given the other."""
    taken = set(question.columns())
    pools: list[list[Candidate]] = []
    for role in ("treatment", "outcome"):
        given = getattr(question, role)
        free = [c for c in scored[role] if c.column not in taken][:POOL]
        pools.append([Candidate(column=given, score=1.0, reasons=("given",))] if given else free)
    pairs = [(t.score * y.score, t, y) for t in pools[0] for y in pools[1] if t.column != y.column]
    best = max(pairs, key=lambda pair: pair[0], default=None)
    if best is None or not all(_sure(c, pool) for c, pool in zip(best[1:], pools, strict=True)):
        raise _unclear(question, scored)
    return _fill(question, {"treatment": best[1].column, "outcome": best[2].column})


def _sure(candidate: Candidate, pool: list[Candidate]) -> bool:
    """Say whether a candidate is good enough, or good and far ahead; a near tie that no text breaks settles nothing."""
    second = max((c.score for c in pool if c.column != candidate.column), default=0.0)
    told = any(reason.startswith((roles.TOLD, "given")) for reason in candidate.reasons)
    if not told and second >= RIVAL * candidate.score:
        return False
    return candidate.score >= roles.CONFIDENT or candidate.score >= max(roles.ALONE, 1.4 * second)


def _check_usable(question: Question, snapshot: Snapshot) -> None:
    check_roles(question, snapshot)
    for role in ("treatment", "outcome"):
        summary = next(c for c in snapshot.columns if c.name == getattr(question, role))
        free = summary.kind in ("text", "identifier", "datetime") and not summary.integer
        many = summary.kind == "categorical" and summary.n_unique > MAX_LEVELS
        if (free or many) and "NUMERIC_AS_TEXT" not in summary.flags:
            raise InputError(
                f"the {role} {shown(summary.name)!r} holds {summary.kind} values ({summary.n_unique} different ones); "
                "give a column of numbers or of few categories",
                code=f"{role.upper()}_KIND",
            )


def _rivals(given: Question, question: Question, scored: Candidates) -> list[Note]:
    """Tell which other columns were nearly proposed."""
    notes = []
    for role in ("treatment", "outcome"):
        if getattr(given, role) is not None:
            continue
        best = next(c for c in scored[role] if c.column == getattr(question, role))
        near = [c.column for c in scored[role] if c.column not in question.columns() and c.score >= RIVAL * best.score]
        if near:
            message = f"{shown(best.column)!r} was taken as the {role} ({best.score:.2f}); near: " + ", ".join(
                repr(shown(name)) for name in near[:5]
            )
            notes.append(Note(code=f"{role.upper()}_RIVAL", message=message, columns=(best.column, *near[:5])))
    return notes


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


def _readable(
    given: Question, question: Question, scored: Candidates, columns: Mapping[str, ColumnSummary]
) -> list[str]:
    """Return the columns that may be seen beside the treatment: no outcome and nothing that might be it."""
    open_score = max((c.score for c in scored["outcome"] if c.column == question.outcome), default=1.0)
    best = 2.0 if given.outcome else open_score
    told = set(question.columns()) | {c.column for c in scored["time"] if c.score >= roles.ADOPTED}
    rivals = {c.column for c in scored["outcome"] if c.score >= max(RIVAL * best, roles.CONFIDENT)} - told
    closed = rivals | {question.outcome}
    return [name for name, c in columns.items() if name not in closed and c.kind not in ("text", "empty")]


def treatment_kind(summary: ColumnSummary) -> Literal["binary", "multivalued", "continuous"]:
    """Say how the treatment is to be treated.

    Whole numbers are levels, not doses, if there are at most five, or at most ten and the name speaks of groups.
    """
    if summary.n_unique == 2:
        return "binary"
    groups = {"group", "arm", "tg", "condition", "cond", "class", "category", "type", "cell"} & set(words(summary.name))
    words_only = summary.kind == "categorical" and "NUMERIC_AS_TEXT" not in summary.flags
    if words_only or (summary.integer and summary.n_unique <= (10 if groups else 5)):
        return "multivalued"
    return "continuous"


def outcome_kind(summary: ColumnSummary) -> Literal["continuous", "binary", "count", "categorical"]:
    """Say how the outcome is to be modelled; a count is a small whole number with zeros among its values."""
    if summary.n_unique == 2:
        return "binary"
    if summary.kind == "categorical" and "NUMERIC_AS_TEXT" not in summary.flags:
        return "categorical"
    small = summary.minimum is not None and summary.minimum >= 0 and (summary.mean or math.inf) < 20
    if summary.integer and small and (summary.share_zero or 0) > 0 and summary.n_unique > 2:
        return "count"
    return "continuous"

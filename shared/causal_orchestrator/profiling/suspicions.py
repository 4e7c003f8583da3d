"""Columns that may be measured after, caused by, or a copy of what they should explain; found without the outcome."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from causal_orchestrator.profiling import labels, roles
from causal_orchestrator.profiling.quality import as_number
from causal_orchestrator.question import Question
from causal_orchestrator.results import ColumnSummary, Suspicion

SAMPLE = 10_000  # rows that are enough to see that two columns do not map one to one


def suspicions(frame: pd.DataFrame, columns: Sequence[ColumnSummary], question: Question) -> tuple[Suspicion, ...]:
    """List what should make a reader doubt a column as a covariate, the gravest first.

    Parameters
    ----------
    frame : DataFrame
        Covariates and treatment (no outcome).
    columns : sequence of ColumnSummary
    question : Question
        With treatment and outcome filled.
    """
    names = [c.name for c in columns]
    treatment = frame[str(question.treatment)]
    settled = set(question.columns()) - set(question.covariates or ())
    found: list[Suspicion] = []
    for summary in columns:
        if summary.name in settled or summary.kind in ("constant", "empty"):
            continue
        if reason := roles.after_treatment(summary.name, str(question.outcome), names):
            found.append(Suspicion(column=summary.name, kind="post_treatment", score=0.7, reason=reason))
        if roles.same_measure(summary.name, str(question.outcome)):
            found.append(
                Suspicion(column=summary.name, kind="leakage", score=0.9, reason="the outcome in another form")
            )
        if reason := roles.oracle(summary.name):
            found.append(Suspicion(column=summary.name, kind="leakage", score=0.9, reason=reason))
        if reason := roles.selection(summary.name):
            found.append(Suspicion(column=summary.name, kind="collider", score=0.5, reason=reason))
        if summary.kind == "identifier":
            found.append(Suspicion(column=summary.name, kind="identifier", score=0.9, reason="one value for each row"))
        elif summary.name in frame.columns and (reason := restates(frame[summary.name], treatment)):
            found.append(Suspicion(column=summary.name, kind="copy_of_treatment", score=0.95, reason=reason))
    found += _contradictions(frame, columns, question, settled)
    return tuple(sorted(found, key=lambda s: -s.score))


def _contradictions(
    frame: pd.DataFrame, columns: Sequence[ColumnSummary], question: Question, settled: set[str]
) -> list[Suspicion]:
    """List the columns whose words deny the codes of the treatment, and of the instrument, whose label they may be."""
    coded = [name for name in (str(question.treatment), *question.instruments) if name in frame.columns]
    found = []
    for summary in columns:
        if summary.name in settled or summary.name not in frame.columns or summary.kind in ("constant", "empty"):
            continue
        read = [labels.compare(frame[summary.name], frame[name], question, name=name) for name in coded]
        closest = min((label for label in read if label is not None), key=lambda label: label.denied, default=None)
        if closest is not None and closest.denied > 0:
            score = 0.95 if closest.denied >= labels.SLIPS else 0.3
            found.append(Suspicion(column=summary.name, kind="contradicts_treatment", score=score, reason=closest.reason))  # fmt: skip
    return found


def restates(column: pd.Series, treatment: pd.Series) -> str | None:
    """Say how a column restates the treatment, or None if it does not.

    It does if its values map one to one onto the treatment's, or if all rows of one arm of a two-valued treatment share
    a single value that no row of the other arm has (a dose, a start date).
    """
    known = (column.notna() & treatment.notna()).to_numpy()
    arms, arm_levels = pd.factorize(treatment[known])
    number = as_number(column[known])
    if number is not None and len(arm_levels) == 2:
        return _restates_two_arms(number, arms == 1)
    head, _ = pd.factorize(column[known].iloc[:SAMPLE])
    if len(arm_levels) < 2 or not _one_to_one(head, arms[:SAMPLE]):
        return None
    values, _ = pd.factorize(column[known])
    return "its values map one to one onto the treatment's" if _one_to_one(values, arms) else None


def _one_to_one(values: NDArray[np.int64], arms: NDArray[np.int64]) -> bool:
    width = int(arms.max(initial=0)) + 1
    pairs = np.unique(values.astype(np.int64) * width + arms)
    return len(pairs) == len(np.unique(values)) == len(np.unique(arms))


def _restates_two_arms(x: NDArray[np.float64], treated: NDArray[np.bool_]) -> str | None:
    one, zero = x[treated], x[~treated]
    if not len(one) or not len(zero):
        return None
    fixed = [bool(arm.min() == arm.max()) for arm in (one, zero)]
    if all(fixed):
        return "its values map one to one onto the treatment's" if one[0] != zero[0] else None
    if any(fixed):
        single, others = (one[0], zero) if fixed[0] else (zero[0], one)
        if not np.any(others == single):
            return "one arm has a single value of it that the other arm never has"
    return None

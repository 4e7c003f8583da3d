"""Propose repairs as declarative operations on columns, from marginals alone (AG-3, HON-10)."""

from __future__ import annotations

import pandas as pd

from causal_orchestrator.agents import Ask, JobView, Output, Reader, Turn
from causal_orchestrator.errors import InputError
from causal_orchestrator.profiling import repairing
from causal_orchestrator.results import Profile, Repair, Repairs, Snapshot


def run(job: JobView, step: Turn, read: Reader, ask: Ask) -> Output:
    """Propose and apply repairs; read the columns that need one, each on its own.

    Raises
    ------
    InputError
        If the table has not been fetched and profiled before.
    """
    snapshot, profile = job.get("dataset_fetcher", Snapshot), job.get("data_profiler", Profile)
    if snapshot is None or profile is None:
        raise InputError("the table has to be profiled before it is repaired", code="NO_PROFILE")
    question = profile.question
    wanted = repairing.worth_reading(snapshot.columns, question)
    frame = read(wanted, "marginals") if wanted else pd.DataFrame()
    repairs: list[Repair] = repairing.duplicate_rows(snapshot)
    for summary in snapshot.columns:
        if summary.name in frame.columns:
            repairs += repairing.column_repairs(frame[summary.name], summary, question)
    mechanism, notes = repairing.missing_data(snapshot.columns, question, repairs)
    return Output(Repairs(repairs=tuple(repairs), missing_data=mechanism, warnings=notes))

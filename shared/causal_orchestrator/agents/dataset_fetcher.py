"""Read the dataset once, in the guarded child, and keep it as a snapshot (AG-0)."""

from __future__ import annotations

import tempfile
from pathlib import Path

from causal_orchestrator.agents import Ask, JobView, Output, Reader, Turn
from causal_orchestrator.datasets.limits import Limits
from causal_orchestrator.datasets.roles import check_roles
from causal_orchestrator.datasets.snapshot import SNAPSHOT, snapshot


def run(job: JobView, step: Turn, read: Reader, ask: Ask) -> Output:
    """Turn the job's raw dataset into a snapshot and check the question's roles against its columns.

    Raises
    ------
    InputError
        If the file cannot be read as a table, or the question names columns that it does not have.
    """
    folder = Path(tempfile.mkdtemp(prefix="snapshot-"))
    source = read.source()
    found = snapshot(source, folder, Limits(), name=str(job.source.get("name") or source.name))
    notes = check_roles(job.question, found)
    return Output(found.model_copy(update={"warnings": (*found.warnings, *notes)}), {SNAPSHOT: folder / SNAPSHOT})

"""Write the notebook that gives the reported numbers again, and run it to see that it does (OUT-2)."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from causal_orchestrator.agents import Ask, JobView, Output, Reader, Turn
from causal_orchestrator.errors import EstimationError
from causal_orchestrator.reporting import notebook
from causal_orchestrator.results import Note, Notebook

FILE = "analysis.ipynb"


def run(job: JobView, step: Turn, read: Reader, ask: Ask) -> Output:
    """Build the notebook and execute it beside the snapshot from a clean kernel.

    A notebook that fails is delivered as it was before the run, with a warning that says what failed.
    """
    made = notebook.build(job)
    values = notebook.parameters(job)
    warnings: tuple[Note, ...] = ()
    with tempfile.TemporaryDirectory(prefix="notebook-") as name:
        folder = Path(name)
        os.symlink(read.snapshot().resolve(), folder / notebook.SNAPSHOT)
        try:
            made = notebook.execute(made, folder)
        except EstimationError as exc:
            warnings = (Note(code=exc.code, message=f"the notebook did not run to its end: {exc.message}"),)
    checked = 0 if warnings else notebook.numbers_checked(values)
    result = Notebook(n_cells=len(made["cells"]), executed=not warnings, numbers_checked=checked, warnings=warnings)
    return Output(result, {FILE: notebook.to_bytes(made)})

"""Write the finished documents: results, report, tables and manifest (OUT-1, 3, 4, 5, 6, 8)."""

from __future__ import annotations

from pathlib import PurePosixPath as Path

from causal_orchestrator.agents import Ask, JobView, Output, Reader, Turn
from causal_orchestrator.errors import InputError, NotFound
from causal_orchestrator.figures.canvas import clean
from causal_orchestrator.reporting import provenance, report, results_document, tables
from causal_orchestrator.results import Figures, Report


def run(job: JobView, step: Turn, read: Reader, ask: Ask) -> Output:
    """Gather the job's findings into documents; the model is not asked, the words were written before."""
    figures = _figures(job, read)
    artifacts = _artifacts(job)
    document = results_document.build(job, artifacts)
    files = {
        "results.json": results_document.to_bytes(document),
        "report.html": report.build(job, document, figures),
        **tables.build(document),
    }
    files["manifest.json"] = provenance.to_json(provenance.manifest(job, files=files))
    result = Report(
        verdict=document.verdict.decision,
        artifacts=artifacts,
        headline=report.headline(document),
        run_id=document.job_id,
    )
    return Output(result, files)


def _artifacts(job: JobView) -> dict[str, str]:
    """Return the documents of the job's folder by name."""
    found = {"results": "results.json", "report": "report.html", "manifest": "manifest.json"}
    if "notebook_generator" in job.results:
        found["notebook"] = "analysis.ipynb"
    if "dataset_fetcher" in job.results:
        found["snapshot"] = "snapshot.parquet"
    drawn = job.get("visualizer", Figures)
    found |= {f"figure_{figure.name}": figure.file for figure in (drawn.figures if drawn else ())}
    return found | {f"table_{Path(path).stem}_{Path(path).suffix[1:]}": path for path in tables.PATHS}


def _figures(job: JobView, read: Reader) -> dict[str, bytes]:
    """Return the figures' SVG by name, cleaned again: what goes into the page is checked where it goes in."""
    drawn = job.get("visualizer", Figures)
    found: dict[str, bytes] = {}
    for figure in drawn.figures if drawn else ():
        try:
            found[figure.name] = clean(read.file("visualizer", figure.file), name=figure.name)
        except (NotFound, InputError):
            continue  # the page links it instead
    return found

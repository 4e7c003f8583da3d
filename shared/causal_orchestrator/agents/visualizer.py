"""Draw every figure whose data exist, and say of the others what they lack (VIZ-1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from causal_orchestrator.agents import Ask, JobView, Output, Reader, Turn
from causal_orchestrator.errors import BlindnessError, CausalError, NotFound, Retriable
from causal_orchestrator.figures import FIGURES, Spec, lacking, load
from causal_orchestrator.figures.canvas import render, style
from causal_orchestrator.figures.evidence import Evidence, gather
from causal_orchestrator.question import shown
from causal_orchestrator.results import Figure, Figures

if TYPE_CHECKING:
    import pandas as pd


def run(job: JobView, step: Turn, read: Reader, ask: Ask) -> Output:
    """Draw the job's figures as SVG files; one that fails is skipped with its reason, never the step."""

    def columns(names: Sequence[str]) -> pd.DataFrame:
        return read(names, "all")

    def file(agent: str, name: str) -> bytes | None:
        try:
            return read.file(agent, name)
        except NotFound:
            return None

    evidence = gather(job, columns, file)
    made: list[Figure] = []
    skipped: dict[str, str] = {}
    files: dict[str, bytes] = {}
    for kind, spec in FIGURES.items():
        reason = lacking(spec, evidence)
        if reason is None:
            reason = _draw(kind, spec, evidence, made=made, files=files)
        if reason is not None:
            skipped[kind] = reason
    return Output(Figures(figures=tuple(made), skipped=skipped), files)


def _draw(kind: str, spec: Spec, evidence: Evidence, *, made: list[Figure], files: dict[str, bytes]) -> str | None:
    """Draw one figure into `made` and `files`, or return why it was not drawn."""
    try:
        with style():
            drawing = load(spec)(evidence)
            svg = render(drawing, name=kind, title=spec.title)
    except (Retriable, BlindnessError):
        raise
    except CausalError as exc:
        return shown(exc.message, 300)
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, ImportError, RuntimeError) as exc:
        # Whatever one picture stumbles over, the others and the job do not depend on it.
        return shown(f"{type(exc).__name__}: {exc}", 300)
    file = f"figures/{kind}.svg"
    files[file] = svg
    made.append(
        Figure(
            name=kind,
            kind=kind,
            title=spec.title,
            caption=drawing.caption,
            alt=drawing.alt,
            file=file,
            section=spec.section,
        )
    )
    return None

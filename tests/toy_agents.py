"""Agents that do nothing, for the loop's own tests: seven steps in a chain, and a table with a step in parts."""

from __future__ import annotations

from causal_orchestrator.agents import Ask, JobView, Output, Reader, Spec, Turn
from causal_orchestrator.results import Figures, Notebook, Record, Report, Snapshot

MIDDLE = ("toy_one", "toy_two", "toy_three", "toy_four", "toy_five")


def run(job: JobView, step: Turn, read: Reader, ask: Ask) -> Output:
    """Return the least result that the agent's record allows."""
    return Output(result=_result(step, len(read.parts())))


def _result(step: Turn, parts: int) -> Record:
    if step.agent == "dataset_fetcher":
        return Snapshot(
            sha256="0" * 64, source_sha256="0" * 64, source_name="toy", n_rows=0, n_columns=0, columns=(), format="csv"
        )
    if step.agent == "reporter":
        return Report(verdict="answer", artifacts={}, headline="nothing was asked")
    if step.agent == "toy_parts":
        return Notebook(n_cells=parts if step.part is None else step.part, executed=True, numbers_checked=step.seed)
    return Figures(figures=())


def _chain(*middle: str) -> dict[str, Spec]:
    facts = ["snapshot", *middle]
    table = {"dataset_fetcher": _spec("Snapshot", (), "snapshot")}
    for before, name in zip(facts, middle, strict=False):
        table[name] = _spec("Notebook" if name == "toy_parts" else "Figures", (before,), name)
    table["reporter"] = _spec("Report", (facts[-1],), "report", final=True)
    return table


def _spec(result: str, requires: tuple[str, ...], provides: str, *, final: bool = False) -> Spec:
    parts = 3 if provides == "toy_parts" else 0
    return Spec(
        result, "PROFILING", requires, (provides,), mandatory=True, on_failure="fail", final=final,
        stage="open", parts=lambda job: parts, module="tests.toy_agents",
    )  # fmt: skip


AGENTS = _chain(*MIDDLE)
PARTED = _chain("toy_parts")

"""Agents that do nothing, for the loop's own tests: seven steps in a chain, a step in parts, and some that misbehave."""

from __future__ import annotations

import os
import signal
import time

from causal_orchestrator.agents import Ask, JobView, Output, Reader, Spec, Turn
from causal_orchestrator.errors import InputError
from causal_orchestrator.results import Figures, Notebook, Record, Report, Snapshot

PARTS = 3


def run(job: JobView, step: Turn, read: Reader, ask: Ask) -> Output:
    """Return the least result that the agent's record allows, and a file from the last one."""
    if step.agent.startswith("toy_kills"):
        os.kill(os.getpid(), signal.SIGKILL)
    if step.agent == "toy_sleeps" and "TOY_AWAKE" not in os.environ:
        time.sleep(600)
    if step.agent == "toy_naps":
        time.sleep(2)
    if step.agent == "toy_refuses":
        raise InputError("the toy does not like these data", code="TOY")
    files = {"report.txt": f"{job.question.query} {step.seed}".encode()} if step.agent == "reporter" else {}
    return Output(result=_result(step, read), files=files)


def _result(step: Turn, read: Reader) -> Record:
    if step.agent == "dataset_fetcher":
        return Snapshot(
            sha256="0" * 64, source_sha256="0" * 64, source_name="toy", n_rows=0, n_columns=0, columns=(), format="csv"
        )
    if step.agent == "reporter":
        return Report(verdict="answer", artifacts={"report": "report.txt"}, headline="nothing was asked")
    if step.agent == "toy_parts" and step.part is not None:
        told = (os.environ["CLOUD_RUN_TASK_INDEX"], os.environ["CLOUD_RUN_TASK_COUNT"])
        assert told == (str(step.part), str(PARTS))
        return Notebook(n_cells=step.part, executed=True, numbers_checked=step.seed)
    if step.agent == "toy_parts":
        return Notebook(n_cells=sum(int(part["n_cells"]) for part in read.parts()), executed=True, numbers_checked=0)
    return Figures(figures=())


def _chain(*middle: str) -> dict[str, Spec]:
    """Return a table whose agents can only come in this order."""
    names = ("dataset_fetcher", *middle, "reporter")
    table = {}
    for before, name in zip((None, *names), names, strict=False):
        result = {"dataset_fetcher": "Snapshot", "reporter": "Report", "toy_parts": "Notebook"}.get(name, "Figures")
        table[name] = Spec(
            result, "PROFILING", () if before is None else (before,), (name,), mandatory=True, on_failure="fail",
            final=name == "reporter", stage="open", parts=_three if name == "toy_parts" else _none,
            module="tests.toy_agents",
        )  # fmt: skip
    return table


def _three(job: JobView) -> int:
    return PARTS


def _none(job: JobView) -> int:
    return 0


AGENTS = _chain("toy_one", "toy_two", "toy_three", "toy_four", "toy_five")
PARTED = _chain("toy_parts")
KILLING = _chain("toy_kills")
SLEEPING = _chain("toy_sleeps")
NAPPING = _chain("toy_naps")
REFUSING = _chain("toy_refuses")

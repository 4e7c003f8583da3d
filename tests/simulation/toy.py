"""Toy agents: pure, cheap, and between them every kind of trouble that an agent can make.

Every result holds a digest of all that it was computed from, so that two runs agree only if everything did. The
question's `query` says which troubles there are, as words (see `TRAITS`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from causal_orchestrator.agents import Ask, JobView, Output, Reader, Spec, Turn
from causal_orchestrator.coordinator import Reply
from causal_orchestrator.errors import DesignError, EstimationError, ModelUnavailable
from causal_orchestrator.question import Question, canonical_json
from causal_orchestrator.results import (
    Confounders,
    Critique,
    Effects,
    Exploration,
    Figures,
    Gate,
    Graph,
    Plan,
    Profile,
    Record,
    Repairs,
    Report,
    Selection,
    Sensitivities,
    SensitivityResult,
    Snapshot,
    Verdict,
)

TRAITS = (
    "iterate1", "iterate9", "refuse", "no_design", "sick_repair", "dies", "die_hard", "big", "review", "peeks", "looks",
    "sick_part",
)  # fmt: skip
PARTS = 3


class Death(Exception):
    """An end that nobody foresaw, always the same."""


def work(agent: str) -> None:
    """Be replaced by the simulated world: virtual work of an agent, and the world's failures inside one."""


def has(job: JobView, trait: str) -> bool:
    return trait in job.question.query.split()


def _digest(job: JobView, step: Turn, *inputs: Any) -> str:
    text = canonical_json([job.seed, step.agent, step.seed, step.iteration, dict(step.parameters), list(inputs)])
    return hashlib.sha256(text.encode()).hexdigest()


def _of(job: JobView, *agents: str) -> list[Any]:
    """Return earlier results as they count here: what depends on the order of other agents' turns stays out."""
    return [job.results.get(agent) for agent in agents]


def run(job: JobView, step: Turn, read: Reader, ask: Ask) -> Output:
    work(step.agent)
    record, files = AGENT[step.agent](job, step, read, ask)
    return Output(result=record, files=files)


Made = tuple[Record, Mapping[str, bytes]]


def _fetch(job: JobView, step: Turn, read: Reader, ask: Ask) -> Made:
    digest = _digest(job, step, dict(job.source))
    record = Snapshot(
        sha256=digest, source_sha256=digest, source_name="toy", n_rows=10, n_columns=2, columns=(), format="csv"
    )
    return record, {"snapshot.parquet": digest.encode()}


def _profile(job: JobView, step: Turn, read: Reader, ask: Ask) -> Made:
    read(["t", "x"], "covariates_treatment", roles=job.question)
    question = Question.model_validate({**job.question.model_dump(), "treatment": "t", "outcome": "y"})
    return Profile(question=question, proposed=("treatment", "outcome"), structure="cross_section"), {}


def _explore(job: JobView, step: Turn, read: Reader, ask: Ask) -> Made:
    read(["t", "y"] if has(job, "peeks") else ["t", "x"], "covariates_treatment")
    for _ in range(3):
        with suppress(ModelUnavailable):
            ask("what do you make of this?", Reply)
    digest = _digest(job, step, read.file("dataset_fetcher", "snapshot.parquet").decode(), _of(job, "toy_profile"))
    big = {"filler": {"x": "0" * 70_000}} if has(job, "big") else {}
    return Exploration(quality_score=float(int(digest[:8], 16)), quality_parts={}, distributions=big), {}


def _repair(job: JobView, step: Turn, read: Reader, ask: Ask) -> Made:
    if has(job, "sick_repair"):
        raise EstimationError("these data cannot be repaired")
    read(["x"], "all" if has(job, "looks") else "marginals")
    return Repairs(missing_data=_digest(job, step, _of(job, "toy_profile"))), {}


def _graph(job: JobView, step: Turn, read: Reader, ask: Ask) -> Made:
    if has(job, "dies"):
        raise Death
    decision = "REVIEW" if has(job, "review") else "ACCEPT"
    name = _digest(job, step, _of(job, "toy_profile"))
    return Graph(nodes=("t", "x"), edges=(), discovery_method=name, gate=Gate(decision=decision, confidence=0.5)), {}


def _confounders(job: JobView, step: Turn, read: Reader, ask: Ask) -> Made:
    if step.part is not None:
        if step.part == 1 and has(job, "sick_part"):
            raise EstimationError("this part finds nothing")
        digest = _digest(job, step, step.part)
        return Confounders(recommended=(digest,), method="given"), {"part.txt": digest.encode()}
    parts = [part["recommended"] for part in read.parts()]
    if len(parts) != PARTS:
        raise RuntimeError(f"bug: {len(parts)} parts of {PARTS}")
    return Confounders(recommended=(_digest(job, step, parts),), method="graph"), {}


def _design(job: JobView, step: Turn, read: Reader, ask: Ask) -> Made:
    if has(job, "no_design"):
        raise DesignError("no design identifies this")
    found = _of(job, "toy_explore", "toy_repair", "toy_graph", "toy_confounders")
    plan = Plan(
        question=job.question, design="randomized", estimand="ATE", identified=True, adjustment_set=(),
        reasons=(_digest(job, step, found),), methods=("difference_in_means",), primary="difference_in_means",
    )  # fmt: skip
    content = plan.model_dump(mode="json")
    content.pop("sha256")
    sha256 = hashlib.sha256(canonical_json(content).encode()).hexdigest()
    return plan.model_copy(update={"sha256": sha256}), {"plan.json": sha256.encode()}


def _effect(job: JobView, step: Turn, read: Reader, ask: Ask) -> Made:
    read(["t", "y"], "all")
    work(step.agent)
    if has(job, "die_hard"):
        raise Death
    note = _digest(job, step, _of(job, "toy_design"), job.plan_sha256)
    return Effects(effects=(), primary=None, selection=Selection(strategy=note, headline=None, preferred=None)), {}


def _sensitivity(job: JobView, step: Turn, read: Reader, ask: Ask) -> Made:
    digest = _digest(job, step, _of(job, "toy_effect"))
    row = SensitivityResult(method="toy", value=None, interpretation=digest, passed=True)
    return Sensitivities(results=(row,)), {"sensitivity.txt": digest.encode()}


def _critique(job: JobView, step: Turn, read: Reader, ask: Ask) -> Made:
    rounds = 9 if has(job, "iterate9") else 1 if has(job, "iterate1") else 0
    verdict = Verdict(decision="refuse" if has(job, "refuse") else "answer", reasons=())
    more = job.iteration < rounds
    comment = _digest(job, step, _of(job, "toy_effect", "toy_sensitivity"))
    record = Critique(
        decision="ITERATE" if more else "APPROVE", scores={}, verdict=verdict, actions=("again",) if more else (),
        comments=(comment,), iteration=job.iteration,
    )  # fmt: skip
    return record, {}


def _figures(job: JobView, step: Turn, read: Reader, ask: Ask) -> Made:
    return Figures(figures=()), {"one.svg": _digest(job, step, _of(job, "toy_critique")).encode(), "two.svg": b"2"}


def _report(job: JobView, step: Turn, read: Reader, ask: Ask) -> Made:
    figure = read.file("toy_figures", "one.svg") if "toy_figures" in job.results else b""  # a report may lack figures
    digest = _digest(job, step, _of(job, "toy_critique", "toy_figures"), figure.decode())
    verdict = job.results["toy_critique"]["verdict"]["decision"]
    return Report(verdict=verdict, artifacts={}, headline=digest), {"results.json": digest.encode()}


AGENT: dict[str, Callable[[JobView, Turn, Reader, Ask], Made]] = {
    "dataset_fetcher": _fetch, "toy_profile": _profile, "toy_explore": _explore, "toy_repair": _repair,
    "toy_graph": _graph, "toy_confounders": _confounders, "toy_design": _design, "toy_effect": _effect,
    "toy_sensitivity": _sensitivity, "toy_critique": _critique, "toy_figures": _figures, "reporter": _report,
}  # fmt: skip


def _spec(result: str, requires: str, provides: str, **more: Any) -> Spec:
    return Spec(result, "PROFILING", tuple(requires.split()), tuple(provides.split()), module=__name__, **more)


_COVARIATES = ("covariates_treatment",)
AGENTS: dict[str, Spec] = {
    "dataset_fetcher": _spec("Snapshot", "", "snapshot", mandatory=True, on_failure="fail"),
    "toy_profile": _spec("Profile", "snapshot", "profile", mandatory=True, on_failure="fail", settles=True, views=_COVARIATES),
    "toy_explore": _spec("Exploration", "profile", "exploration", views=_COVARIATES),
    "toy_repair": _spec("Repairs", "profile", "repairs"),
    "toy_graph": _spec("Graph", "profile", "graph", worth=lambda job: (0.5, "toy")),
    "toy_confounders": _spec("Confounders", "profile", "confounders", parts=lambda job: PARTS),
    "toy_design": _spec("Plan", "profile", "plan", uses=("exploration", "repairs", "graph", "confounders"), mandatory=True, on_failure="fail", freezes=True),
    "toy_effect": _spec("Effects", "plan", "effects", mandatory=True, on_failure="fail", stage="open", views=("all",), heavy=lambda job: True, remedies=("again",)),
    "toy_sensitivity": _spec("Sensitivities", "effects", "sensitivities", mandatory=True, stage="open"),
    "toy_critique": _spec("Critique", "plan", "critique", uses=("effects", "sensitivities"), mandatory=True, on_failure="fail", stage="open"),
    "toy_figures": _spec("Figures", "critique", "figures", mandatory=True, stage="open"),
    "reporter": _spec("Report", "critique", "report", uses=("figures",), mandatory=True, on_failure="fail", stage="open", final=True),
}  # fmt: skip

# The small scope: three steps, one of them in parts.
SMALL: dict[str, Spec] = {
    "dataset_fetcher": AGENTS["dataset_fetcher"],
    "toy_confounders": _spec("Confounders", "snapshot", "critique", mandatory=True, on_failure="fail", parts=lambda job: PARTS),
    "toy_figures": _spec("Figures", "critique", "figures", mandatory=True, on_failure="fail", stage="open", final=True),
}  # fmt: skip

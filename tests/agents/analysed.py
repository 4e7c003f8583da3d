"""A job that has been estimated: what sensitivity_analyst, critique and interpreter read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from tests.agents.reader import FrameReader

from causal_orchestrator import estimators
from causal_orchestrator.agents import JobView, Output, Turn
from causal_orchestrator.agents import critique as critic
from causal_orchestrator.agents import interpreter as writer
from causal_orchestrator.agents import sensitivity_analyst as analyst
from causal_orchestrator.errors import ModelUnavailable
from causal_orchestrator.problem import build
from causal_orchestrator.question import Question
from causal_orchestrator.results import Applicability, Effects, Plan, Record, Selection

TURN = Turn(number=9, agent="any", parameters={}, seed=1)


def silent(prompt: str, kind: type[Any], /) -> Any:
    raise ModelUnavailable("no model", code="MODEL_NONE")


def table(n: int = 400, *, seed: int = 0, effect: float = 1.0, confounding: float = 0.5) -> pd.DataFrame:
    """Return covariates `a`, `b`, an earlier outcome `y0`, a treatment `t` and an outcome `y`."""
    rng = np.random.default_rng(seed)
    a, b = rng.standard_normal((2, n))
    t = (confounding * (a + b) + rng.standard_normal(n) > 0).astype(int)
    y0 = a + rng.standard_normal(n)
    y = effect * t + a + 0.5 * b + rng.standard_normal(n)
    return pd.DataFrame({"a": a, "b": b, "y0": y0, "t": t, "y": y})


def estimated(frame: pd.DataFrame, methods: tuple[str, ...], design: str, **changed: Any) -> JobView:
    """Return a job with a plan and the effects of its methods; the first is the primary."""
    fields = {"treatment": "t", "outcome": "y", "covariates": ("a", "b", "y0"), "randomized": design == "randomized"}
    question = Question(**(fields | changed.pop("question", {})))
    plan = Plan(
        question=question, design=design, estimand=changed.pop("estimand", "ATE"), identified=True,
        reasons=("the design was given",), adjustment_set=question.covariates or (), methods=methods,
        primary=methods[0], offline_primary=methods[0],
        applicability=tuple(Applicability(method=m, admissible=True, score=1.0) for m in methods), **changed,
    )  # fmt: skip
    problem = build(frame, question)
    scale = float(problem.outcome.std(ddof=1))
    found = []
    for method in methods:
        estimate = estimators.estimate(method, problem, **plan.options.get(method, {}))
        role = "primary" if method == methods[0] else "planned"
        found.append(estimate.to_effect(role=role, standardized=estimate.estimate / scale))
    effects = Effects(
        effects=tuple(found), primary=methods[0], outcome_scale={"std": scale},
        selection=Selection(strategy="best_energy", headline=methods[0], preferred=None),
    )  # fmt: skip
    return with_results(
        JobView(id="j", tenant="t", question=question, seed=0), study_design=plan, effect_estimator=effects
    )


def with_results(job: JobView, **found: Record) -> JobView:
    """Return the job with further results, through JSON as in a document."""
    results: Mapping[str, Any] = {name: record.model_dump(mode="json") for name, record in found.items()}
    return JobView(**{**vars(job), "results": {**job.results, **results}})


def analyse(job: JobView, frame: pd.DataFrame) -> Output:
    return analyst.run(job, TURN, FrameReader(frame, "t", "y"), silent)


def judged(job: JobView, frame: pd.DataFrame, ask: Any = silent) -> JobView:
    """Return the job after sensitivity_analyst and critique."""
    job = with_results(job, sensitivity_analyst=analyse(job, frame).result)
    return with_results(job, critique=critic.run(job, TURN, FrameReader(frame), ask).result)


def written(job: JobView, ask: Any = silent) -> Any:
    return writer.run(job, TURN, FrameReader(pd.DataFrame()), ask).result

"""A rehearsal is blind, adds up whatever the order of its parts, and tells a sound method from one that is not (SEL-4)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tests.agents import profiled
from tests.agents.reader import FrameReader
from tests.agents.test_study_design import plan as designed
from tests.test_runtime import Desk

from causal_orchestrator import reader, runtime, selection
from causal_orchestrator.agents import AGENTS, REHEARSALS, Ask, JobView, Output, Reader, Spec, Turn, rehearsal
from causal_orchestrator.datasets.snapshot import snapshot_frame
from causal_orchestrator.question import Question, canonical_json
from causal_orchestrator.results import Profile, Rehearsal, Rehearsed, Report, Snapshot
from causal_orchestrator.simulate import SIMULATIONS
from causal_orchestrator.simulate.semisynthetic import Marginal, Template, copy

MADE = SIMULATIONS["confounded_linear"](300, seed=3)
PARTS = 2
FEW = 3  # copies in each part here
STANDARD_ERRORS = 4  # by chance the mean of a test leaves this many once in sixteen thousand


@pytest.fixture(scope="module", autouse=True)
def few_copies() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rehearsal, "DRAWS", FEW)
        yield


def _job(question: Question = MADE.question, frame: pd.DataFrame = MADE.frame) -> JobView:
    snapshot, _ = snapshot_frame(frame)
    found = profiled.profile(frame, question)
    return profiled.job(found.question, dataset_fetcher=snapshot, data_profiler=found)


def part(number: int, job: JobView | None = None, frame: pd.DataFrame = MADE.frame) -> Mapping[str, Any]:
    eyes = FrameReader(frame, "t", "y")
    turn = Turn(6, "rehearsal", {}, seed=100 + number, part=number, parts=PARTS)
    told = rehearsal.run(job or _job(), turn, eyes, profiled.no_model).result.model_dump(mode="json")
    assert {view for view, _ in eyes.reads} == {"covariates_treatment"}
    assert all("y" not in columns for _, columns in eyes.reads)
    return told


def joined(parts: tuple[Mapping[str, Any], ...], job: JobView | None = None) -> Rehearsal:
    eyes = FrameReader(MADE.frame, "t", "y")
    eyes.part_results = parts
    found = rehearsal.run(job or _job(), Turn(6, "rehearsal", {}, 1, parts=PARTS), eyes, profiled.no_model).result
    assert eyes.reads == []
    assert isinstance(found, Rehearsal)
    return found


@pytest.fixture(scope="module")
def parts() -> tuple[Mapping[str, Any], ...]:
    return tuple(part(k) for k in range(PARTS))


# --- what it finds --------------------------------------------------------------------------------------------------


def test_every_candidate_is_told_with_bias_error_and_coverage(parts: tuple[Mapping[str, Any], ...]) -> None:
    found = joined(parts)
    assert found.draws == PARTS * rehearsal.DRAWS
    assert {"aipw", "ols", "ipw", "regression_adjustment", "psm"} <= {row.method for row in found.methods}
    for row in found.methods:
        assert row.draws == found.draws
        if not row.failures:
            assert row.coverage is not None
            assert row.coverage_lower <= row.coverage <= row.coverage_upper
            assert row.rmse >= abs(row.bias)


def test_the_outcome_itself_changes_nothing_but_its_marginal_does(parts: tuple[Mapping[str, Any], ...]) -> None:
    """Blindness: another pairing of outcomes and rows leaves the very same digits."""
    shuffled = MADE.frame.assign(y=np.random.default_rng(0).permutation(MADE.frame["y"]))
    assert canonical_json(part(0, _job(frame=shuffled), shuffled)) == canonical_json(parts[0])
    spread = MADE.frame.assign(y=np.exp(MADE.frame["y"]))
    assert canonical_json(part(0, _job(frame=spread), spread)) != canonical_json(parts[0])


def test_parts_differ_and_a_part_repeats_itself(parts: tuple[Mapping[str, Any], ...]) -> None:
    assert canonical_json(part(1)) == canonical_json(parts[1]) != canonical_json(parts[0])


def test_it_is_worth_its_minutes_on_request_alone() -> None:
    worth = AGENTS["rehearsal"].worth
    assert worth(_job()) is None
    full = Question.model_validate(MADE.question.model_dump() | {"preferences": {"profile": "full"}})
    assert worth(_job(full)) is not None
    assert worth(replace(_job(full), question=full.model_copy(update={"instruments": ("z",)}))) is None
    assert AGENTS["rehearsal"].parts(_job(full)) == REHEARSALS


# --- copies ---------------------------------------------------------------------------------------------------------


def template(n: int = 4_000, **changed: Any) -> Template:
    rng = np.random.default_rng(5)
    x = rng.standard_normal((n, 3))
    e = 1 / (1 + np.exp(-x[:, 0]))
    t = (rng.random(n) < e) * 1.0
    levels = Marginal(quantiles={0.0: 0.0, 0.3: 0.0, 0.9: 10.0, 1.0: 50.0})
    return replace(Template(x, t, e, levels), **changed)


def seeded(k: int) -> np.random.SeedSequence:
    return np.random.SeedSequence(k)


def test_a_copy_has_the_outcomes_marginal_and_the_stated_truth() -> None:
    made = copy(template(), surface="bent", effect="constant", seed=seeded(1))
    untreated = made.outcome - made.effect * made.treatment
    assert np.mean(untreated == 0) == pytest.approx(0.3, abs=1e-3)
    assert untreated.max() <= 50
    assert made.truth["ATE"] == pytest.approx(made.effect[0]) == pytest.approx(made.truth["ATT"])


def test_the_true_effect_of_a_binary_outcome_is_its_expected_difference() -> None:
    """The same covariates with treatment by coin: the arms' difference has the stated mean."""
    kept = template(chance=None, marginal=Marginal(share=0.3))
    gaps = []
    for k in range(60):
        made = copy(kept, surface="linear", effect="varying", seed=seeded(k))
        arms = [made.outcome[made.treatment == arm].mean() for arm in (0, 1)]
        gaps.append(arms[1] - arms[0] - made.truth["ATE"])
    assert abs(np.mean(gaps)) < STANDARD_ERRORS * np.std(gaps) / np.sqrt(len(gaps))


def test_an_experiment_is_copied_by_permutation_of_whole_clusters() -> None:
    cluster = np.arange(4_000) // 20
    t = (np.random.default_rng(0).permutation(200) < 80)[cluster] * 1.0
    made = copy(
        template(treatment=t, chance=None, cluster=cluster), surface="linear", effect="constant", seed=seeded(2)
    )
    assert made.treatment.sum() == t.sum()
    assert not np.array_equal(made.treatment, t)
    assert len(np.unique(cluster * 2 + made.treatment)) == 200


def test_the_confounded_surface_biases_a_raw_comparison() -> None:
    gaps = []
    for k in range(20):
        made = copy(template(), surface="confounded", effect="constant", seed=seeded(k))
        raw = made.outcome[made.treatment == 1].mean() - made.outcome[made.treatment == 0].mean()
        gaps.append(abs(raw - made.truth["ATE"]) / made.outcome.std())
    assert np.mean(gaps) > 0.1


# --- the choice -----------------------------------------------------------------------------------------------------


def row(method: str, error: float, coverage: float, *, draws: int = 96, failures: int = 0) -> Rehearsed:
    signs = np.resize([1.0, -1.0], draws) * error * np.linspace(0.9, 1.1, draws)
    return Rehearsed(
        method=method, draws=draws, failures=failures, bias=0.0, rmse=float(np.sqrt(np.mean(signs**2))),
        coverage=coverage, errors=tuple(signs.tolist()),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "preferred"),
    [
        ([row("a", 0.10, 0.95), row("b", 0.095, 0.95)], "a"),  # lower, but not clearly
        ([row("a", 0.10, 0.95), row("b", 0.05, 0.95)], "b"),
        ([row("a", 0.10, 0.95), row("b", 0.05, 0.70)], "a"),  # errs less and does not cover
        ([row("a", 0.10, 0.70), row("b", 0.20, 0.95), row("c", 0.15, 0.94)], "c"),
        ([row("a", 0.10, 0.95, failures=30), row("b", 0.12, 0.95)], "b"),
        ([row("a", 0.10, 0.50), row("b", 0.05, 0.60)], "a"),  # none holds: the ranking stands
    ],
)
def test_the_rule_takes_what_covers_and_errs_clearly_less(rows: list[Rehearsed], preferred: str) -> None:
    choice = selection.rehearsed_choice(rows, 0.95)
    assert (choice.against, choice.preferred) == ("a", preferred)
    assert choice.reasons


def test_nothing_rehearsed_prefers_nothing() -> None:
    assert selection.rehearsed_choice([], 0.95) == selection.Choice(None, None)


def played(**changed: Any) -> dict[str, Any]:
    ranked = designed(found={})
    told = {"design": ranked.design, "estimand": ranked.estimand, "against": ranked.primary, "preferred": "ipw", "reasons": ("it errs less",)}  # fmt: skip
    return {"rehearsal": Rehearsal(**(told | changed))}


def test_the_plan_takes_the_rehearsed_primary_and_says_why() -> None:
    plan = designed(found=played())
    assert plan.primary == plan.offline_primary == "ipw" != designed().primary
    assert "it errs less" in plan.reasons


@pytest.mark.parametrize("changed", [{"estimand": "ATT"}, {"against": "psm"}, {"preferred": "double_ml"}])
def test_a_rehearsal_of_something_else_does_not_move_the_plan(changed: dict[str, str]) -> None:
    plan = designed(found=played(**changed))
    assert plan.primary == designed().primary
    assert any("is not used here" in reason for reason in plan.reasons)


def test_the_persons_primary_stands_above_the_rehearsal() -> None:
    assert designed(found=played(), preferences={"primary_method": "tmle"}).primary == "tmle"
    assert designed(found=played(), preferences={"methods": ("tmle", "aipw")}).primary in ("tmle", "aipw")


# --- in the loop ----------------------------------------------------------------------------------------------------


def run(job: JobView, step: Turn, read: Reader, ask: Ask) -> Output:
    """Stand in for the agents around the rehearsal."""
    if step.agent == "reporter":
        return Output(Report(verdict="answer", artifacts={}, headline="done"))
    record = {"dataset_fetcher": Snapshot, "data_profiler": Profile}[step.agent]
    return Output(record.model_validate(_job().results[step.agent]))


HERE = __name__
TABLE = {
    "dataset_fetcher": Spec("Snapshot", "FETCHING_DATA", (), ("snapshot",), mandatory=True, module=HERE),
    "data_profiler": Spec("Profile", "PROFILING", ("snapshot",), ("profile",), mandatory=True, settles=True, module=HERE),
    "rehearsal": replace(
        AGENTS["rehearsal"], uses=(), worth=lambda job: (1.0, "asked"), parts=lambda job: PARTS, mandatory=True
    ),
    "reporter": Spec(
        "Report", "GENERATING_NOTEBOOK", ("profile",), ("report",), uses=("rehearsal",), mandatory=True, final=True,
        module=HERE,
    ),
}  # fmt: skip


def fake_table(path: Any, columns: tuple[str, ...], view: str, job: JobView, roles: Any) -> tuple[pd.DataFrame, str]:
    return MADE.frame[list(columns)], "0" * 64


def looped(monkeypatch: pytest.MonkeyPatch, *, seed: int, times: int) -> tuple[str, list[Any], list[Mapping[str, Any]]]:
    """Run the job with its messages in an order of chance, each delivered `times` times."""
    monkeypatch.setattr(reader, "_table", fake_table)
    monkeypatch.setattr(reader.JobReader, "_path", lambda self, name: name)
    desk, order = Desk(), np.random.default_rng(seed)
    job = runtime.start_job(desk.backends, MADE.question, {"kind": "toy", "uri": "toy"}, tenant="t")
    while desk.sent:
        topic, body = desk.sent.pop(order.integers(len(desk.sent)))
        for _ in range(times if topic != "cancel" else 0):
            runtime.run_step(desk.backends, body["job_id"], body["step"], part=body.get("part"), agents=TABLE)
            runtime.coordinate(desk.backends, job, agents=TABLE)
    _, steps = runtime.get_job(desk.backends, job, tenant="t")
    return str(desk.job(job)["state"]), steps, desk.steps(job)


def test_the_order_of_the_parts_and_doubled_messages_leave_identical_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for seed, times in ((0, 1), (1, 2)):
        state, steps, _ = looped(monkeypatch, seed=seed, times=times)
        step = next(step for step in steps if step.agent == "rehearsal")
        assert (state, step.state, step.parts) == ("completed", "succeeded", PARTS)
        found.append(canonical_json(step.result or {}))
    assert found[0] == found[1]
    assert Rehearsal.model_validate_json(found[0]).draws == rehearsal.DRAWS * PARTS


def test_a_part_that_fails_fails_the_step_and_not_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = rehearsal._trials

    def broken(job: JobView, step: Turn, *rest: Any) -> Any:
        if step.part == 1:
            raise rehearsal.InputError("this share is lost", code="LOST")
        return whole(job, step, *rest)

    monkeypatch.setattr(rehearsal, "_trials", broken)
    state, steps, _ = looped(monkeypatch, seed=0, times=1)
    step = next(step for step in steps if step.agent == "rehearsal")
    assert (state, step.state) == ("completed", "failed")
    assert step.error is not None
    assert step.error.code == "PART_FAILED"

"""``results.json``: the whole analysis as one stable, versioned document (product section 15).

Equal runs give equal bytes; whatever differs between them (times, IDs, attempts, paths) stands in the manifest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from pydantic import Field

from causal_orchestrator.agents import AGENTS, JobView
from causal_orchestrator.question import Question
from causal_orchestrator.reporting import provenance
from causal_orchestrator.results import (
    Critique,
    Diagnostic,
    Edge,
    Effect,
    Effects,
    Estimand,
    Exploration,
    Gate,
    Graph,
    Interpretation,
    Plan,
    Profile,
    Record,
    Repair,
    Repairs,
    Sensitivities,
    SensitivityResult,
    Snapshot,
    Status,
    Verdict,
)

# The analyses that try to make the effect vanish or move where it should not (SENS-5).
REFUTERS = (
    "placebo_treatment", "random_common_cause", "data_subset", "bootstrap", "unobserved_common_cause", "permutation",
)  # fmt: skip


class Dataset(Record):
    """Which table was analysed."""

    sha256: str
    n_rows: int
    n_columns: int


class CausalGraph(Record):
    """The causal graph and whether it may be used."""

    nodes: tuple[str, ...]
    edges: tuple[Edge, ...]
    discovery_method: str
    gate: Gate


class Identification(Record):
    """Why the effect is, or is not, a function of the data."""

    design: str
    estimand: Estimand
    adjustment_set: tuple[str, ...]
    instruments: tuple[str, ...]
    identified: bool
    reasons: tuple[str, ...]


class TreatmentEffect(Record):
    """What one method says; its rows, diagnostics and notes stand in `details`."""

    method: str
    estimand: Estimand
    estimate: float | None
    std_error: float | None
    ci_lower: float | None
    ci_upper: float | None
    confidence_level: float
    p_value: float | None
    n: int | None
    n_treated: int | None
    covariates: tuple[str, ...]
    inference: str
    role: Literal["primary", "exploratory"]
    assumptions_tested: Mapping[str, Mapping[str, Any]]
    energy_score: float | None
    energy_components: Mapping[str, float]
    status: Status
    error: str | None
    details: Mapping[str, Any]


class Check(Record):
    """One diagnostic against its threshold (`passed` is null where it is reported and no gate)."""

    name: str
    value: float | None
    threshold: float | None
    passed: bool | None
    detail: str = ""


class Sensitivity(Record):
    """One attempt to break the headline."""

    method: str
    value: float | None
    interpretation: str
    passed: bool | None
    details: Mapping[str, Any]


class Refutations(Record):
    """How the refuters went, together."""

    n: int
    n_passed: int
    n_failed: int
    results: Mapping[str, bool | None]


class FurtherAnalysis(Record):
    """Whether more is needed, and what."""

    needed: bool
    which: tuple[str, ...]


class EstimatorSelection(Record):
    """Which method speaks, and which one the strategy would have preferred."""

    primary: str | None
    preferred: str | None
    strategy: str | None
    gap: float | None


class NetBenefit(Record):
    """What a policy gains over treating nobody, per unit, at one cost of treating a unit; intervals hold together."""

    threshold: float
    policy: Literal["treat_all", "treat_by_effect", "by_effect_less_all"]
    share: float
    estimate: float
    ci_lower: float
    ci_upper: float


class Benefits(Record):
    """Net benefits at the `given` cost or over a `range` of costs, and the gain of the learned policy over a constant one.

    Where more of the outcome is better; effects and policies were learned on other rows than they are valued on.
    """

    costs: Literal["given", "range"]
    rows: tuple[NetBenefit, ...]
    policy: Mapping[str, float | None]


class DecisionCard(Record):
    """What a decision needs, and what the next system needs (OUT-4, OUT-8)."""

    recommendation: str
    evidence_grade: Literal["high", "moderate", "low", "none"] | None
    key_findings: tuple[str, ...]
    would_change: tuple[str, ...]
    robustness_flags: Mapping[str, bool | None]
    estimator_selection: EstimatorSelection
    further_analysis: FurtherAnalysis
    net_benefit: Benefits | None = None


class Warned(Record):
    """A warning and who gave it."""

    agent: str
    code: str
    message: str
    columns: tuple[str, ...] = ()
    severity: Literal["info", "warning", "error"] = "warning"


class ResultsDocument(Record):
    """The results document, version 1."""

    schema_version: Literal["1.0"] = "1.0"
    job_id: str = Field(description="The run's content-derived ID; the job's own ID stands in the manifest.")
    status: Literal["COMPLETED", "REJECTED"]
    treatment_variable: str | None
    outcome_variable: str | None
    question: Mapping[str, Any]
    dataset: Dataset | None
    data_profile: Mapping[str, Any]
    eda: Mapping[str, Any]
    repairs: tuple[Repair, ...]
    causal_graph: CausalGraph | None
    identification: Identification | None
    analysis_plan: Mapping[str, Any]
    treatment_effects: tuple[TreatmentEffect, ...]
    selection: Mapping[str, Any]
    heterogeneity: Mapping[str, Any]
    verdict: Verdict
    diagnostics: tuple[Check, ...]
    sensitivity_results: tuple[Sensitivity, ...]
    refutations: Refutations
    critique_history: tuple[Mapping[str, Any], ...]
    interpretation: Mapping[str, Any]
    decision_card: DecisionCard
    recommendations: tuple[str, ...]
    artifacts: Mapping[str, str]
    warnings: tuple[Warned, ...]
    manifest: str


def build(
    job: JobView, artifacts: Mapping[str, str], *, replies_sha256: str = provenance.NO_REPLIES
) -> ResultsDocument:
    """Gather what every agent found into the results document.

    Parameters
    ----------
    job : JobView
        The job; a critique must be among its results.
    artifacts : Mapping of str to str
        The documents beside this one: name to relative path.
    replies_sha256 : str
        Hash of the recorded replies of a language model; the default stands for none.

    Raises
    ------
    LookupError
        If there is no critique, hence no verdict.
    """
    critique = job.get("critique", Critique)
    if critique is None:
        raise LookupError("a results document needs the critique's verdict")
    plan = job.get("study_design", Plan)
    effects = job.get("effect_estimator", Effects)
    sensitivities = job.get("sensitivity_analyst", Sensitivities)
    words = job.get("interpreter", Interpretation)
    snapshot = job.get("dataset_fetcher", Snapshot)
    repairs = job.get("data_repair", Repairs)
    question = plan.question if plan else job.question
    verdict = critique.verdict
    return ResultsDocument(
        job_id=provenance.run_id(job, replies_sha256=replies_sha256),
        status="REJECTED" if verdict.decision == "refuse" else "COMPLETED",
        treatment_variable=question.treatment,
        outcome_variable=question.outcome,
        question=_portable(question),
        dataset=_dataset(snapshot),
        data_profile=_profile(job, snapshot),
        eda=_dump(job.get("eda", Exploration)),
        repairs=repairs.repairs if repairs else (),
        causal_graph=_graph(job.get("causal_discovery", Graph)),
        identification=_identification(plan),
        analysis_plan=_plan(plan),
        treatment_effects=tuple(_effect(effect) for effect in effects.effects) if effects else (),
        selection=_dump(effects.selection) if effects else {},
        heterogeneity=effects.heterogeneity if effects else {},
        verdict=verdict,
        diagnostics=_checks(critique, effects),
        sensitivity_results=_sensitivities(sensitivities),
        refutations=_refutations(sensitivities),
        critique_history=(_dump(critique),),
        interpretation=_dump(words),
        decision_card=_card(critique, effects, sensitivities, words),
        recommendations=words.recommendations if words else (),
        artifacts=dict(artifacts),
        warnings=tuple(_warnings(job)),
        manifest="manifest.json",
    )


def to_bytes(document: ResultsDocument) -> bytes:
    """Encode the document; equal documents give equal bytes."""
    return provenance.to_json(document.model_dump(mode="json"))


def schema() -> dict[str, Any]:
    """Return the document's JSON Schema, without the records' docstrings: wording is no part of the contract."""
    found = ResultsDocument.model_json_schema()
    for record in (found, *found["$defs"].values()):
        record.pop("description", None)
    return found


def _dump(record: Record | None) -> dict[str, Any]:
    return {} if record is None else record.model_dump(mode="json")


def _portable(question: Question) -> dict[str, Any]:
    """Return the question without what belongs to one machine or one client (these stand in the manifest)."""
    dataset = question.dataset
    if dataset is not None and "://" not in dataset:
        dataset = dataset.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]
    return question.model_dump(mode="json") | {"dataset": dataset, "notify_url": None}


def _plan(plan: Plan | None) -> dict[str, Any]:
    return {} if plan is None else _dump(plan) | {"question": _portable(plan.question)}


def _dataset(snapshot: Snapshot | None) -> Dataset | None:
    if snapshot is None:
        return None
    return Dataset(sha256=snapshot.sha256, n_rows=snapshot.n_rows, n_columns=snapshot.n_columns)


def _profile(job: JobView, snapshot: Snapshot | None) -> dict[str, Any]:
    profile = _dump(job.get("data_profiler", Profile))
    profile.pop("question", None)
    columns = [_dump(column) for column in snapshot.columns] if snapshot else []
    return profile | {"columns": columns, "n_duplicate_rows": snapshot.n_duplicate_rows if snapshot else None}


def _graph(graph: Graph | None) -> CausalGraph | None:
    if graph is None:
        return None
    return CausalGraph(nodes=graph.nodes, edges=graph.edges, discovery_method=graph.discovery_method, gate=graph.gate)


def _identification(plan: Plan | None) -> Identification | None:
    if plan is None:
        return None
    return Identification(
        design=plan.design,
        estimand=plan.estimand,
        adjustment_set=plan.adjustment_set,
        instruments=plan.instruments,
        identified=plan.identified,
        reasons=plan.reasons,
    )


def _effect(effect: Effect) -> TreatmentEffect:
    found = _dump(effect)
    beside = {key: found.pop(key) for key in ("rows", "diagnostics", "notes", "standardized")}
    found["details"] = {**found["details"], **beside, "planned": effect.role != "exploratory"}
    found["role"] = "primary" if effect.role == "primary" else "exploratory"
    return TreatmentEffect.model_validate(found)


def _checks(critique: Critique, effects: Effects | None) -> tuple[Check, ...]:
    """Return the gates first, then what the methods measured; the first of a name counts."""
    found: list[Diagnostic] = [*critique.diagnostics, *(effects.diagnostics if effects else ())]
    first: dict[str, Diagnostic] = {}
    for diagnostic in found:
        first.setdefault(diagnostic.name, diagnostic)
    return tuple(
        Check(name=d.name, value=d.value, threshold=d.threshold, passed=d.passed, detail=d.detail)
        for d in first.values()
    )


def _sensitivities(found: Sensitivities | None) -> tuple[Sensitivity, ...]:
    def entry(result: SensitivityResult) -> Sensitivity:
        details = dict(result.details) | ({"error": result.error} if result.error else {})
        return Sensitivity(
            method=result.method,
            value=result.value,
            interpretation=result.interpretation,
            passed=result.passed,
            details=details,
        )

    return tuple(entry(result) for result in found.results) if found else ()


def _refutations(found: Sensitivities | None) -> Refutations:
    passed = {r.method: r.passed for r in (found.results if found else ()) if r.method in REFUTERS}
    return Refutations(
        n=len(passed),
        n_passed=sum(value is True for value in passed.values()),
        n_failed=sum(value is False for value in passed.values()),
        results=passed,
    )


def _card(
    critique: Critique, effects: Effects | None, sensitivities: Sensitivities | None, words: Interpretation | None
) -> DecisionCard:
    selection = effects.selection if effects else None
    which: Sequence[str] = tuple(dict.fromkeys((*critique.verdict.would_help, *critique.actions)))
    return DecisionCard(
        recommendation=words.recommendation if words else "",
        evidence_grade=words.grade if words else None,
        key_findings=words.key_findings if words else (),
        would_change=words.would_change if words else (),
        robustness_flags={r.method: r.passed for r in sensitivities.results} if sensitivities else {},
        estimator_selection=EstimatorSelection(
            primary=effects.primary if effects else None,
            preferred=selection.preferred if selection else None,
            strategy=selection.strategy if selection else None,
            gap=selection.gap if selection else None,
        ),
        further_analysis=FurtherAnalysis(needed=critique.verdict.decision != "answer", which=tuple(which)),
        net_benefit=_benefits(effects) if effects and critique.verdict.decision != "refuse" else None,
    )


def _benefits(effects: Effects) -> Benefits | None:
    """Return the net benefits where effects of single units were learned."""
    found = effects.heterogeneity.get("net_benefit") or {}
    rows = found.get("rows")
    if not rows:
        return None
    learned = (effects.heterogeneity.get("policy") or {}).get("gain") or {}
    return Benefits(
        costs=found["costs"],
        rows=tuple(NetBenefit.model_validate({k: row[k] for k in NetBenefit.model_fields}) for row in rows),
        policy={key: learned.get(key) for key in ("estimate", "ci_lower", "ci_upper") if learned},
    )


def _warnings(job: JobView) -> Iterator[Warned]:
    """Yield every agent's warnings and failures, in the order of the agents' table."""
    for agent in AGENTS:
        for note in job.results.get(agent, {}).get("warnings") or ():
            yield Warned.model_validate({"agent": agent, **note})
        error = job.errors.get(agent)
        if error is not None:
            yield Warned(
                agent=agent, code=str(error.get("code", "")), message=str(error.get("message", "")), severity="error"
            )

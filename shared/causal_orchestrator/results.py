"""What an agent may write: one frozen record per kind of finding.

Every record survives JSON (numbers are finite or null), so that a step's result is what the next agent reads.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field

from causal_orchestrator.question import Question

Status = Literal["ok", "failed", "not_applicable"]
Estimand = Literal[
    "ATE",
    "ATT",
    "ATC",
    "ATO",
    "SATE",
    "SATT",
    "LATE",
    "WLATE",
    "CATE",
    "PLR",
    "QTE",
    "AD",
    "ATT_GT",
    "ATT_DYNAMIC",
    "ATT_GROUP",
    "ATT_CALENDAR",
    "POLICY_VALUE",
    "POLICY_GAIN",
]
Kind = Literal["numeric", "categorical", "binary", "datetime", "text", "identifier", "constant", "empty"]
Structure = Literal["cross_section", "panel", "time_series", "repeated_cross_section"]
Design = Literal[
    "randomized", "discontinuity", "instrument", "panel", "interrupted_time_series", "unconfoundedness", "frontdoor",
    "mediation", "proximal", "transport", "network", "none",
]  # fmt: skip


def finite(value: float | None) -> float | None:
    """Return `value` as a plain float, or None where it is missing or not finite."""
    if value is None:
        return None
    number = float(value)
    return number if math.isfinite(number) else None


class Interval(Protocol):
    """Anything that may have an interval."""

    @property
    def ci_lower(self) -> float | None: ...  # noqa: D102
    @property
    def ci_upper(self) -> float | None: ...  # noqa: D102


def settled_sign(found: Interval) -> int:
    """Return the sign of an effect that its interval settles, 0 where it includes zero or there is none."""
    if found.ci_lower is None or found.ci_upper is None:
        return 0
    return (found.ci_lower > 0) - (found.ci_upper < 0)


class Record(BaseModel):
    """A frozen piece of a result; unknown fields and non-finite numbers are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, defer_build=True)


class Note(Record):
    """Something worth knowing that is not an error (`code` for machines, `message` for people)."""

    code: str
    message: str
    columns: tuple[str, ...] = ()
    severity: Literal["info", "warning"] = "warning"


# --- data ---------------------------------------------------------------------------------------------------------


class ColumnSummary(Record):
    """Marginal facts about one column; levels with fewer than ten rows are counted together in `n_rare`.

    `levels` maps the most frequent levels to their counts; it is empty for text and identifiers, and for columns
    that look like personal data. `quantiles` maps "0.01", "0.05", "0.25", "0.5", "0.75", "0.95", "0.99" to values.
    """

    name: str
    alias: str
    kind: Kind
    dtype: str
    n: int
    n_missing: int
    n_unique: int
    integer: bool = False
    mean: float | None = None
    std: float | None = None
    minimum: float | None = None
    maximum: float | None = None
    quantiles: Mapping[str, float] = {}
    skewness: float | None = None
    share_zero: float | None = None
    levels: Mapping[str, int] = {}
    n_rare: int = 0
    mass_points: Mapping[str, int] = {}
    personal_data: bool = False
    flags: tuple[str, ...] = ()


class Snapshot(Record):
    """The dataset as read once (dataset_fetcher); file ``snapshot.parquet`` holds the rows.

    `sha256` is the fingerprint of schema and values, the same for the same table whatever the file format.
    `n_duplicate_rows` counts rows that are exact copies of an earlier one.
    """

    sha256: str
    source_sha256: str
    source_name: str
    n_rows: int
    n_columns: int
    columns: tuple[ColumnSummary, ...]
    format: str
    encoding: str | None = None
    delimiter: str | None = None
    n_duplicate_rows: int = 0
    warnings: tuple[Note, ...] = ()


class Candidate(Record):
    """A column that might play a role, with a score in [0, 1] and the reasons for it."""

    column: str
    score: float
    reasons: tuple[str, ...]


class Profile(Record):
    """What the table is and who plays which role in it (data_profiler).

    `question` is the person's question with the open roles filled; `proposed` names the roles filled here.
    """

    question: Question
    proposed: tuple[str, ...]
    structure: Structure
    n_units: int | None = None
    n_periods: int | None = None
    treatment_kind: Literal["binary", "multivalued", "continuous"] | None = None
    outcome_kind: Literal["continuous", "binary", "count", "categorical"] | None = None
    candidates: Mapping[str, tuple[Candidate, ...]] = {}
    cutoff_evidence: Mapping[str, float] = {}
    warnings: tuple[Note, ...] = ()


class Suspicion(Record):
    """A column that may be measured after, caused by, or a copy of what it should explain."""

    column: str
    kind: Literal["leakage", "post_treatment", "copy_of_treatment", "contradicts_treatment", "identifier", "collider"]
    score: float
    reason: str


class Balance(Record):
    """How one covariate differs between the arms (treated minus control, in pooled standard deviations)."""

    covariate: str
    smd: float | None
    variance_ratio: float | None = None
    ks: float | None = None
    smd_adjusted: float | None = None


class Exploration(Record):
    """Outcome-free exploration of the table (eda)."""

    quality_score: float
    quality_parts: Mapping[str, float]
    missing_patterns: tuple[Mapping[str, Any], ...] = ()
    outliers: Mapping[str, Mapping[str, float]] = {}
    correlations: Mapping[str, Mapping[str, float]] = {}
    vif: Mapping[str, float | None] = {}
    balance: tuple[Balance, ...] = ()
    distributions: Mapping[str, Mapping[str, Any]] = {}
    suspicions: tuple[Suspicion, ...] = ()
    warnings: tuple[Note, ...] = ()


class Repair(Record):
    """One reversible change to one column, applied whenever the data are read; `before`/`after` are counts."""

    column: str
    action: Literal["to_numeric", "to_missing", "impute", "merge_rare", "drop_duplicates", "to_datetime", "to_binary"]
    parameters: Mapping[str, Any] = {}
    before: Mapping[str, float] = {}
    after: Mapping[str, float] = {}
    reason: str
    applied: bool = True


class Repairs(Record):
    """Every fix that was proposed, and which of them are in force (data_repair)."""

    repairs: tuple[Repair, ...] = ()
    missing_data: str = "none"
    warnings: tuple[Note, ...] = ()


# --- graph and identification -------------------------------------------------------------------------------------


class Edge(Record):
    """An edge with the share of votes for it; `type` is directed, undirected or bidirected."""

    source: str
    target: str
    type: Literal["directed", "undirected", "bidirected", "circle"] = "directed"
    confidence: float = 1.0
    votes: Mapping[str, float] = {}


class Gate(Record):
    """Whether a learned graph may be used (DISC-2)."""

    decision: Literal["ACCEPT", "AUGMENT", "REVIEW", "REJECT"]
    confidence: float
    reasons: tuple[str, ...] = ()


class Graph(Record):
    """A causal graph over covariates and treatment (causal_discovery)."""

    nodes: tuple[str, ...]
    edges: tuple[Edge, ...]
    discovery_method: str
    gate: Gate
    algorithms: Mapping[str, str] = {}
    warnings: tuple[Note, ...] = ()


class AdjustmentSet(Record):
    """Columns that close every backdoor path, and where the claim comes from."""

    columns: tuple[str, ...]
    kind: Literal["minimal", "optimal", "given", "all_pretreatment", "double_selection", "parents", "none_needed"]
    source: str


class CausalChain(Record):
    """A directed path from treatment to outcome in the graph."""

    nodes: tuple[str, ...]
    strength: float | None = None


class Confounders(Record):
    """What to adjust for, what never to adjust for, and why (confounder_discovery)."""

    recommended: tuple[str, ...]
    method: Literal["given", "graph", "double_selection", "all_pretreatment"]
    sets: tuple[AdjustmentSet, ...] = ()
    excluded: Mapping[str, str] = {}
    instruments: tuple[str, ...] = ()
    frontdoor: tuple[str, ...] = ()
    chains: tuple[CausalChain, ...] = ()
    reasons: tuple[str, ...] = ()
    warnings: tuple[Note, ...] = ()


class PropensityModel(Record):
    """One candidate model of the treatment, scored out of sample."""

    name: str
    log_loss: float
    auc: float | None = None
    brier: float | None = None
    calibration_error: float | None = None
    chosen: bool = False


class PropensityDiagnostics(Record):
    """Whether the arms can be compared at all (ps_diagnostics).

    `overlap` is the share of the target population with estimated propensity in [0.05, 0.95].
    `histogram` holds bin edges and counts per arm; `calibration` pairs of mean prediction and observed share.
    """

    models: tuple[PropensityModel, ...]
    overlap: float | None
    separated: bool
    ess: Mapping[str, float] = {}
    support: Mapping[str, float] = {}
    trimming: Mapping[str, float] = {}
    balance: tuple[Balance, ...] = ()
    violations: tuple[Mapping[str, Any], ...] = ()
    histogram: Mapping[str, tuple[float, ...]] = {}
    calibration: tuple[tuple[float, float, int], ...] = ()
    overlap_by_target: Mapping[str, float] = {}
    warnings: tuple[Note, ...] = ()


class Trial(Record):
    """One method on one copy of the data with a known effect; numbers in SD of the copy's outcome."""

    method: str
    draw: int
    surface: str
    error: float | None = None
    covered: bool | None = None
    width: float | None = None
    failure: str | None = None


class Rehearsed(Record):
    """How a method fared over all copies: bias, RMSE and mean width in SD of the outcome, and coverage.

    `coverage_lower` and `coverage_upper` are exact 95 % limits; `by_surface` gives bias and coverage for each kind of
    copy; `errors` are by draw, None where the method gave no estimate.
    """

    method: str
    draws: int
    failures: int
    bias: float | None = None
    rmse: float | None = None
    coverage: float | None = None
    coverage_lower: float | None = None
    coverage_upper: float | None = None
    width: float | None = None
    by_surface: Mapping[str, Mapping[str, float | None]] = {}
    errors: tuple[float | None, ...] = ()


class Rehearsal(Record):
    """How the candidate methods fare on copies of these data with a known effect (SEL-4).

    A part of the step holds its `trials` alone. `against` is the primary that the ranking would take, `preferred` the
    one that the rehearsal speaks for, with `reasons`; both are None where nothing could be rehearsed.
    """

    design: str = ""
    estimand: str = ""
    n: int = 0
    draws: int = 0
    methods: tuple[Rehearsed, ...] = ()
    against: str | None = None
    preferred: str | None = None
    reasons: tuple[str, ...] = ()
    trials: tuple[Trial, ...] = ()
    warnings: tuple[Note, ...] = ()


class Applicability(Record):
    """Whether a method may run here: what it needs, what speaks for it, what is missing."""

    method: str
    admissible: bool
    score: float
    reasons: tuple[str, ...] = ()
    missing: str | None = None


class Plan(Record):
    """The pre-analysis plan; hashed and frozen before outcome and treatment are joined (study_design, OUT-7).

    `sha256` is that of the canonical JSON of all other fields. `primary` is the method whose estimate is the headline,
    `offline_primary` the one that the offline planner would have taken. `thresholds` are the gates' limits.
    """

    question: Question
    design: Design
    estimand: Estimand
    identified: bool
    reasons: tuple[str, ...]
    adjustment_set: tuple[str, ...]
    instruments: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    options: Mapping[str, Mapping[str, Any]] = {}
    primary: str | None = None
    offline_primary: str | None = None
    selection_rule: str = ""
    applicability: tuple[Applicability, ...] = ()
    thresholds: Mapping[str, float] = {}
    placebo_outcomes: tuple[str, ...] = ()
    designs_considered: Mapping[str, str] = {}
    blockers: tuple[Note, ...] = ()
    would_help: tuple[str, ...] = ()
    warnings: tuple[Note, ...] = ()
    chosen_by: str = "offline"
    sha256: str = ""


# --- effects ------------------------------------------------------------------------------------------------------


class EffectRow(Record):
    """One row of a method's effects (a level, a time, a quantile, a subgroup …)."""

    term: str
    estimate: float | None
    std_error: float | None = None
    ci_lower: float | None = None
    ci_upper: float | None = None
    p_value: float | None = None
    n: int | None = None
    level: str | None = None
    reference: str | None = None
    group: str | None = None
    time: float | None = None
    event_time: float | None = None
    quantile: float | None = None
    dose: float | None = None
    subgroup: str | None = None


class Diagnostic(Record):
    """One check: what was measured, against which limit, and whether it held (None: reported, no gate)."""

    name: str
    value: float | None
    threshold: float | None = None
    passed: bool | None = None
    p_value: float | None = None
    df: float | None = None
    detail: str = ""


class Effect(Record):
    """One entry of ``treatment_effects``: what one method says."""

    method: str
    estimand: Estimand
    estimate: float | None = None
    std_error: float | None = None
    ci_lower: float | None = None
    ci_upper: float | None = None
    confidence_level: float = 0.95
    p_value: float | None = None
    n: int | None = None
    n_treated: int | None = None
    covariates: tuple[str, ...] = ()
    inference: str = ""
    role: Literal["primary", "planned", "exploratory"] = "exploratory"
    assumptions_tested: Mapping[str, Mapping[str, Any]] = {}
    energy_score: float | None = None
    energy_components: Mapping[str, float] = {}
    standardized: float | None = None
    rows: tuple[EffectRow, ...] = ()
    diagnostics: Mapping[str, Diagnostic] = {}
    status: Status = "ok"
    error: str | None = None
    notes: tuple[str, ...] = ()
    details: Mapping[str, Any] = {}


class Evaluation(Record):
    """One method's score (SEL-5)."""

    method: str
    success: bool
    estimate: float | None = None
    score: float | None = None
    parts: Mapping[str, float] = {}
    tier: str | None = None
    selected: bool = False
    reason: str = ""


class Selection(Record):
    """How the methods compare, and which the strategy prefers (never a change of the headline)."""

    strategy: str
    headline: str | None
    preferred: str | None
    gap: float | None = None
    evaluations: tuple[Evaluation, ...] = ()
    agreement: Mapping[str, Any] = {}
    notes: tuple[str, ...] = ()
    rehearsal: Mapping[str, Any] = {}


class Effects(Record):
    """What every method of the plan says (effect_estimator); `specification_curve` is SEL-3's table."""

    effects: tuple[Effect, ...]
    primary: str | None
    selection: Selection
    heterogeneity: Mapping[str, Any] = {}
    specification_curve: tuple[Mapping[str, Any], ...] = ()
    diagnostics: tuple[Diagnostic, ...] = ()
    outcome_scale: Mapping[str, float] = {}
    warnings: tuple[Note, ...] = ()


class SensitivityResult(Record):
    """One attempt to break the headline; `details` holds what a figure needs."""

    method: str
    value: float | None
    interpretation: str
    passed: bool | None
    details: Mapping[str, Any] = {}
    error: str | None = None


class Sensitivities(Record):
    """Everything that tried to break the headline (sensitivity_analyst)."""

    results: tuple[SensitivityResult, ...]
    warnings: tuple[Note, ...] = ()


# --- verdict and text ---------------------------------------------------------------------------------------------


class Verdict(Record):
    """The answer to "may this be believed?", computed from the gates alone (HON-1)."""

    decision: Literal["answer", "limited", "refuse"]
    reasons: tuple[str, ...]
    caps: tuple[str, ...] = ()
    would_help: tuple[str, ...] = ()
    codes: tuple[str, ...] = ()
    minimum_detectable_effect: float | None = None
    bounds: tuple[float, float] | None = None


class Critique(Record):
    """How good the analysis is, and whether it may stand (critique)."""

    decision: Literal["APPROVE", "ITERATE", "REJECT"]
    scores: Mapping[str, float]
    verdict: Verdict
    diagnostics: tuple[Diagnostic, ...] = ()
    actions: tuple[str, ...] = ()
    comments: tuple[str, ...] = ()
    iteration: int = 0


class Interpretation(Record):
    """The words for the reader; every number in them stands in the results (interpreter)."""

    summary: str
    narrative: tuple[str, ...] = ()
    assumptions: tuple[str, ...] = ()
    recommendations: tuple[str, ...] = ()
    headline: str = ""
    grade: Literal["high", "moderate", "low", "none"] = "low"
    recommendation: str = ""
    key_findings: tuple[str, ...] = ()
    would_change: tuple[str, ...] = ()
    expertise: str = "analyst"
    written_by: str = "template"
    warnings: tuple[Note, ...] = ()


class Figure(Record):
    """One figure: its file (an SVG among the step's files), what it shows in words, and what it was made from."""

    name: str
    kind: str
    title: str
    caption: str
    alt: str
    file: str
    section: Literal["data", "design", "effects", "heterogeneity", "sensitivity", "graph", "summary"] = "effects"


class Figures(Record):
    """All figures whose data exist (visualizer); `skipped` maps the other kinds to what they lack."""

    figures: tuple[Figure, ...]
    skipped: Mapping[str, str] = {}


class Notebook(Record):
    """The executed notebook (notebook_generator); file ``analysis.ipynb``."""

    n_cells: int
    executed: bool
    numbers_checked: int
    warnings: tuple[Note, ...] = ()


class Report(Record):
    """The finished documents (reporter); files ``results.json``, ``report.html``, ``manifest.json``, tables."""

    verdict: Literal["answer", "limited", "refuse"]
    artifacts: Mapping[str, str]
    headline: str
    run_id: str = Field(default="")

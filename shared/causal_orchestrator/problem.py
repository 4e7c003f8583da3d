"""One causal problem as arrays, its nuisances, and what a method says about it.

Rows are put into one canonical order (by a hash of covariates and treatment, then of the outcome), and covariates into
alphabetical order, so that no result depends on the order of rows or columns, nor folds on the outcome's unit.
``Problem.rows`` leads back to the rows of the frame.
"""

from __future__ import annotations

import dataclasses
import hashlib
import html
import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from causal_orchestrator.errors import DesignError, InputError, NotApplicable
from causal_orchestrator.numerics import nuisance
from causal_orchestrator.numerics.encoding import Encoding, as_numbers, encode
from causal_orchestrator.numerics.inference import (
    critical_value,
    influence_covariance,
    p_value,
    simultaneous_critical_value,
)
from causal_orchestrator.numerics.influence import multiplier_bootstrap
from causal_orchestrator.numerics.linear import independent_columns
from causal_orchestrator.numerics.logit import Link, fit_probit
from causal_orchestrator.numerics.nuisance import Nuisances
from causal_orchestrator.question import Filter, Question, shown
from causal_orchestrator.results import Diagnostic, Effect, EffectRow, Note, finite

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]
TreatmentKind = Literal["binary", "multivalued", "continuous"]
OutcomeKind = Literal["continuous", "binary", "count"]
Missing = Literal["fill", "drop"]

MIN_PER_ARM = 10
MIN_PER_PANEL_ARM = 1  # over time one treated row may be the design; each method knows what it needs
MAX_TREATMENT_LEVELS = 10
FINITE_SAMPLE = 0.1  # by how much factors like n/(n-k) may move a standard error away from the influence function's
CONTROL_WORDS = (
    "control", "controls", "ctrl", "untreated", "placebo", "none", "no", "false", "off", "never", "baseline",
    "reference", "standard", "usual care", "before", "0",
)  # fmt: skip
SOURCE_WORDS: tuple[str | float, ...] = (1.0, "1", "source", "trial", "study", "experiment", "rct", "true", "yes")
TARGET_WORDS: tuple[str | float, ...] = (0.0, "0", "target", "population", "external", "observational", "false", "no")
ARRAY_ROLES = (
    "instruments", "running_variable", "unit", "time", "first_treated", "mediators", "effect_modifiers", "cost",
    "population", "negative_controls", "treatment_proxies", "outcome_proxies", "policy", "offset", "strata",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Problem:
    """A causal question with its data as arrays; built by `build`, changed by `change`.

    outcome : shape (n,)
        Float; 0/1 for a binary outcome.
    treatment : shape (n,)
        0/1 (binary), codes 0…K-1 (multivalued, 0 the reference), or the dose (continuous).
    covariates : shape (n, p)
        Encoded covariates, finite; see `numerics.encoding`.
    covariate_sources : the column of the table behind each encoded covariate.
    rows : shape (n,)
        Position in the frame of each row of the problem.
    cluster : shape (n,) or None
        Codes 0…G-1.
    weights : shape (n,) or None
        Sampling weights with mean one.
    roles : arrays of the other roles, float (NaN where missing) or labels, (n,) or (n, k) for lists.
    unobserved : of a panel's rows without an outcome: unit, time, treatment and covariates (m, p), NaN where unknown;
        where the question names a `population`, the target's covariates (m, p) and its cluster and weights (m,);
        of a network's units without an outcome: unit, treatment, and the columns of their assignment (m,).
    """

    question: Question
    outcome: Floats
    treatment: Floats
    covariates: Floats
    covariate_names: tuple[str, ...]
    covariate_sources: tuple[str, ...]
    treatment_kind: TreatmentKind
    treatment_levels: tuple[str, ...]
    outcome_kind: OutcomeKind
    rows: Codes
    cluster: Codes | None = None
    weights: Floats | None = None
    roles: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    unobserved: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    seed: int = 0
    confidence_level: float = 0.95
    notes: tuple[Note, ...] = ()
    _kept: dict[Hashable, Nuisances] = field(default_factory=dict, repr=False)

    @property
    def n(self) -> int:
        """Number of rows."""
        return len(self.outcome)

    @property
    def n_treated(self) -> int | None:
        """Number of rows that are not at the reference level; None for a continuous treatment."""
        return None if self.treatment_kind == "continuous" else int((self.treatment > 0).sum())

    def change(self, **fields: Any) -> Problem:
        """Return a copy with other arrays (same n or fewer rows throughout) and nothing fitted yet."""
        return dataclasses.replace(self, **fields, _kept={})

    def take(self, index: NDArray[Any]) -> Problem:
        """Return the problem on some of its rows (a mask or positions, repeats allowed), nothing fitted yet."""
        cluster = None if self.cluster is None else np.unique(self.cluster[index], return_inverse=True)[1]
        return self.change(
            outcome=self.outcome[index],
            treatment=self.treatment[index],
            covariates=self.covariates[index],
            rows=self.rows[index],
            cluster=cluster,
            weights=None if self.weights is None else self.weights[index] / self.weights[index].mean(),
            roles={role: values[index] for role, values in self.roles.items()},
        )

    def parametric(self) -> Nuisances:
        """Return logit and least-squares fits on the encoded covariates, fitted once."""
        if "parametric" not in self._kept:
            self._kept["parametric"] = nuisance.parametric(self)
        return self._kept["parametric"]

    def learned(
        self,
        *,
        learners: Sequence[str] | None = None,
        folds: int | None = None,
        repeats: int | None = None,
    ) -> Nuisances:
        """Return cross-fitted, stacked fits, fitted once per recipe; without options the default recipe for n."""
        how = nuisance.recipe(self.n, learners=learners, folds=folds, repeats=repeats)
        if how not in self._kept:
            self._kept[how] = nuisance.learned(self, how)
        return self._kept[how]

    def with_learned(self, nuisances: Nuisances) -> Problem:
        """Return the same problem with learned nuisances fitted elsewhere."""
        return dataclasses.replace(self, _kept={**self._kept, nuisance.recipe(self.n): nuisances})


@dataclass(frozen=True, eq=False)
class Estimate:
    """What one method says.

    In memory only, never in a document: `influence` (n, number of contrasts) and `cate` (n,), the effect of the first
    contrast given each row's covariates (None: the method has one effect for all), with its pointwise `cate_std_error`
    and `cate_interval` (n, 2) where the method has them.
    """

    method: str
    estimand: str
    estimate: float
    std_error: float | None
    ci_lower: float | None
    ci_upper: float | None
    confidence_level: float
    p_value: float | None
    n: int
    n_treated: int | None
    inference: str
    covariates: tuple[str, ...] = ()
    rows: tuple[EffectRow, ...] = ()
    diagnostics: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    influence: Floats | None = field(default=None, repr=False)
    cate: Floats | None = field(default=None, repr=False)
    cate_std_error: Floats | None = field(default=None, repr=False)
    cate_interval: Floats | None = field(default=None, repr=False)

    @property
    def effects(self) -> pd.DataFrame:
        """The rows as a table; columns without a single value are left out, but the six numbers always stand."""
        always = ["term", "estimate", "std_error", "ci_lower", "ci_upper", "p_value", "n"]
        table = pd.DataFrame([row.model_dump() for row in self.rows], columns=list(EffectRow.model_fields))
        return table[[name for name in table.columns if name in always or table[name].notna().any()]]

    def to_effect(self, role: Literal["primary", "planned", "exploratory"] = "exploratory", **fields: Any) -> Effect:
        """Return the entry of ``treatment_effects``; `fields` set further fields of `Effect`."""
        known = {
            "method": self.method,
            "estimand": self.estimand,
            "estimate": finite(self.estimate),
            "std_error": finite(self.std_error),
            "ci_lower": finite(self.ci_lower),
            "ci_upper": finite(self.ci_upper),
            "confidence_level": self.confidence_level,
            "p_value": finite(self.p_value),
            "n": self.n,
            "n_treated": self.n_treated,
            "covariates": self.covariates,
            "inference": self.inference,
            "rows": self.rows,
            "diagnostics": {k: Diagnostic(name=k, **plain(dict(v))) for k, v in self.diagnostics.items()},
            "notes": self.notes,
            "details": plain({k: v for k, v in self.details.items() if not _long(v)}),
        }
        return Effect.model_validate({**known, "role": role, **fields})

    def _repr_html_(self) -> str:
        interval = "no interval" if self.ci_lower is None else f"[{self.ci_lower:,.4g}, {self.ci_upper:,.4g}]"
        cells = (self.method, self.estimand, f"{self.estimate:,.6g}", interval, self.inference, f"{self.n:,}")
        head = "".join(f"<th>{name}</th>" for name in ("method", "estimand", "estimate", f"{self.confidence_level:.0%} interval", "inference", "n"))  # fmt: skip
        body = "".join(f"<td>{html.escape(cell)}</td>" for cell in cells)
        return f"<table><thead><tr>{head}</tr></thead><tbody><tr>{body}</tr></tbody></table>"


def plain(value: Any) -> Any:
    """Return `value` with numpy scalars, arrays and mappings turned into JSON types; not-finite becomes None."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    return value


def _long(value: Any) -> bool:
    """Arrays with an entry per row (weights, matches) stay in memory: documents hold aggregates."""
    return isinstance(value, np.ndarray) and value.size > 200


def conclude(
    problem: Problem,
    *,
    method: str,
    estimand: str,
    estimates: Sequence[float] | Floats,
    covariance: Floats | None,
    inference: str,
    df: float | Sequence[float] | None = None,
    counts: Sequence[int] | None = None,
    means: Floats | None = None,
    means_influence: Floats | None = None,
    **fields: Any,
) -> Estimate:
    """Turn point estimates and their covariance into an `Estimate`: one row per contrast, the first is the scalar.

    Parameters
    ----------
    estimates : shape (k,)
        One contrast per level of the treatment against the reference (k = 1 for binary or continuous treatments).
    covariance : shape (k, k), or None where the method has no standard error.
    df : degrees of freedom of the t distribution, one or one per contrast; None for the normal.
    counts : number of rows behind each contrast, n where not given.
    means, means_influence : shape (K,) and (n, K)
        Mean outcome under each level; where the outcome is binary, risk and odds ratios go to ``details["ratios"]``.
    fields : the rest of `Estimate`; `covariates` are those of the question where not given.

    Notes
    -----
    With more than two levels the rows' intervals hold simultaneously (sup-t); the scalar's holds for itself.
    """
    values = np.atleast_1d(np.asarray(estimates, dtype=np.float64))
    k = len(values)
    errors = np.full(k, np.nan) if covariance is None else np.sqrt(np.diag(np.atleast_2d(covariance)))
    freedoms = list(df) if isinstance(df, Sequence) else [df] * k
    level = problem.confidence_level
    together = simultaneous_critical_value(covariance, level, seed=problem.seed) if k > 1 and covariance is not None else None  # fmt: skip
    rows = []
    for i, (value, error) in enumerate(zip(values, errors, strict=True)):
        margin = error * max(critical_value(level, freedoms[i]), together or 0.0)
        rows.append(
            EffectRow(
                term=_term(problem, i, k),
                level=problem.treatment_levels[i + 1] if problem.treatment_levels else None,
                reference=problem.treatment_levels[0] if problem.treatment_levels else None,
                estimate=finite(value),
                std_error=finite(error),
                ci_lower=finite(value - margin),
                ci_upper=finite(value + margin),
                p_value=p_value(value, error, freedoms[i]) if math.isfinite(error) else None,
                n=problem.n if counts is None else int(counts[i]),
            )
        )
    if means is not None and means_influence is not None:
        told: dict[str, Any] = {"means": dict(zip(problem.treatment_levels, means.tolist(), strict=True))}
        if problem.outcome_kind == "binary":
            told["ratios"] = _ratios(problem, means, influence_covariance(means_influence, problem.cluster))
        fields["details"] = {**told, **fields.get("details", {})}
    margin = errors[0] * critical_value(level, freedoms[0])
    has_error = bool(np.isfinite(errors[0]))
    return Estimate(
        method=method,
        estimand=estimand,
        estimate=float(values[0]),
        std_error=float(errors[0]) if has_error else None,
        ci_lower=float(values[0] - margin) if has_error else None,
        ci_upper=float(values[0] + margin) if has_error else None,
        confidence_level=level,
        p_value=rows[0].p_value,
        n=problem.n,
        n_treated=problem.n_treated,
        inference=inference,
        rows=tuple(rows),
        **{"covariates": problem.question.covariates or (), **fields},
    )


def bootstrapped(problem: Problem, estimate: Estimate) -> Estimate:
    """Return the estimate with standard errors, intervals and p-values of the multiplier bootstrap, clustered if asked.

    Raises
    ------
    NotApplicable
        If the method has no influence function, or its standard error holds more than that tells (``NO_INFLUENCE``).
    """
    psi = estimate.influence
    if psi is None or psi.shape[1] != len(estimate.rows) or not influence_tells_all(problem, estimate):
        raise NotApplicable(f"{estimate.method} has no influence function that a multiplier bootstrap could use", code="NO_INFLUENCE")  # fmt: skip
    boot = multiplier_bootstrap(psi, problem.cluster, confidence_level=problem.confidence_level, seed=problem.seed)
    critical = boot.critical if len(estimate.rows) == 1 else np.full(len(estimate.rows), boot.simultaneous)
    rows = tuple(
        row.model_copy(update=_interval(row.estimate or 0.0, error, margin))
        for row, error, margin in zip(estimate.rows, np.sqrt(np.diag(boot.covariance)), critical, strict=True)
    )
    alone = _interval(estimate.estimate, math.sqrt(boot.covariance[0, 0]), float(boot.critical[0]))
    told = f"multiplier bootstrap of the influence function, {boot.draws} draws"
    return dataclasses.replace(estimate, **alone, rows=rows, inference=told + ("" if problem.cluster is None else ", clustered"))  # fmt: skip


def _interval(value: float, error: float, critical: float) -> dict[str, Any]:
    return {"std_error": float(error), "ci_lower": float(value - critical * error), "ci_upper": float(value + critical * error), "p_value": p_value(value, float(error))}  # fmt: skip


def influence_tells_all(problem: Problem, estimate: Estimate) -> bool:
    """Return whether the influence function accounts for the estimate's own standard error, small-sample factors apart."""
    if estimate.influence is None or not estimate.std_error:
        return False
    error = math.sqrt(influence_covariance(estimate.influence[:, :1], problem.cluster)[0, 0])
    return abs(error / estimate.std_error - 1) < FINITE_SAMPLE


def probit(problem: Problem) -> Link:
    """Return a probit of the treatment on the covariates.

    Raises
    ------
    NotApplicable
        If the treatment has more than two levels (``NEEDS_TWO_LEVELS``).
    """
    if problem.treatment_kind != "binary":
        raise NotApplicable("propensity='probit' needs a treatment of two levels", code="NEEDS_TWO_LEVELS")
    return fit_probit(nuisance.with_intercept(problem.covariates), problem.treatment, problem.weights)


def _ratios(problem: Problem, means: Floats, covariance: Floats) -> list[dict[str, Any]]:
    """Risk and odds ratios of each level against the reference, intervals on the log scale (delta method)."""
    found: list[dict[str, Any]] = []
    z = critical_value(problem.confidence_level)
    if not np.all((means > 0) & (means < 1)):
        return found
    for k in range(1, len(means)):
        for name, logs, slopes in (
            ("risk ratio", np.log(means), 1 / means),
            ("odds ratio", np.log(means / (1 - means)), 1 / (means * (1 - means))),
        ):
            gradient = np.array([-slopes[0], slopes[k]])
            error = math.sqrt(gradient @ covariance[np.ix_([0, k], [0, k])] @ gradient)
            value = float(logs[k] - logs[0])
            found.append({"measure": name, "level": problem.treatment_levels[k], "reference": problem.treatment_levels[0], "estimate": math.exp(value), "ci_lower": math.exp(value - z * error), "ci_upper": math.exp(value + z * error)})  # fmt: skip
    return found


def _term(problem: Problem, i: int, k: int) -> str:
    if not problem.treatment_levels:
        return "per unit of treatment"
    return f"{problem.treatment_levels[i + 1]} vs {problem.treatment_levels[0]}"


# --- storing nuisances ----------------------------------------------------------------------------------------------


def nuisances_key(problem: Problem, snapshot_sha256: str) -> str:
    """Return the name under which the default learned nuisances of this problem are kept."""
    facts = {
        "snapshot": snapshot_sha256,
        "roles": [problem.question.treatment, problem.question.outcome, sorted(problem.question.covariates or ())],
        "encoding": problem.covariate_names,
        "rows": hashlib.sha256(np.ascontiguousarray(problem.rows).tobytes()).hexdigest(),
        "seed": problem.seed,
    }
    return nuisance.key(facts, nuisance.recipe(problem.n))


def nuisances_to_parquet(problem: Problem, *, snapshot_sha256: str) -> bytes:
    """Return the problem's learned nuisances (default recipe) as a Parquet file."""
    return nuisance.to_parquet(problem.learned(), problem.rows, name=nuisances_key(problem, snapshot_sha256))


def nuisances_from_parquet(problem: Problem, data: bytes, *, snapshot_sha256: str) -> Problem:
    """Return the problem with learned nuisances from a file of `nuisances_to_parquet`.

    Raises
    ------
    InputError
        If the file was made from other data, roles, rows, learners or code (``NUISANCES_STALE``).
    """
    found, rows, key = nuisance.from_parquet(data)
    if key != nuisances_key(problem, snapshot_sha256) or not np.array_equal(rows, problem.rows):
        raise InputError("the stored nuisances belong to another problem; fit them again", code="NUISANCES_STALE")
    return problem.with_learned(found)


# --- building -----------------------------------------------------------------------------------------------------


def build(
    frame: pd.DataFrame, question: Question, *, seed: int = 0, confidence_level: float = 0.95, missing: Missing = "fill"
) -> Problem:
    """Turn a table and a question into a problem.

    Rows without outcome or treatment, or with a weight of zero, are dropped, with a note. Without covariates in the
    question none are used. Rows without a value of some covariate are kept and the value filled in, as
    `numerics.encoding` says, or dropped where `missing` is ``drop`` (complete cases, which are right where values are
    missing for reasons that have nothing to do with the outcome beyond the covariates).

    Raises
    ------
    InputError
        If a column is missing from the table (``COLUMN_MISSING``), is not numeric where it must be, or holds
        infinite values (``NON_FINITE``).
    DesignError
        If treatment or outcome has a single value (``TREATMENT_CONSTANT``, ``OUTCOME_CONSTANT``), or an arm has fewer
        than ten units (``POSITIVITY``).
    """
    return _build(frame, question, seed=seed, confidence_level=confidence_level, blind=False, missing=missing)


def build_blind(frame: pd.DataFrame, question: Question, *, seed: int = 0) -> Problem:
    """Turn covariates and treatment into a problem without outcome (all NaN), for the stage that may not see it.

    Raises
    ------
    InputError, DesignError
        As `build` does about everything but the outcome.
    """
    return _build(frame, question, seed=seed, confidence_level=question.preferences.confidence_level, blind=True)


def _build(
    frame: pd.DataFrame,
    question: Question,
    *,
    seed: int,
    confidence_level: float,
    blind: bool,
    missing: Missing = "fill",
) -> Problem:
    frame, question = _with_treatment(frame, question)
    treatment, outcome = _required_roles(question)
    hidden = {outcome} if blind else set()
    _check_columns(frame, question, hidden)
    notes: list[Note] = []
    complete = _complete(frame, question, missing)
    kept = _rows_kept(frame, question, hidden, complete, notes)
    target = _target_rows(frame, question, complete)
    smallest = MIN_PER_PANEL_ARM if question.time is not None else MIN_PER_ARM
    coded = _code_treatment(frame[treatment].iloc[kept], treatment, question.reference_level, notes, smallest)
    kept, codes = kept[coded.kept], coded.values[coded.kept]
    data = frame.iloc[kept]
    kind: OutcomeKind = "continuous"
    values = np.full(len(data), np.nan)
    if not blind:
        values, kind = _code_outcome(data[outcome], outcome, notes)
    both = encode(frame.iloc[np.concatenate([kept, target])], question.covariates or ())
    encoded = dataclasses.replace(both, values=both.values[: len(kept)])
    _check_covariates(encoded, codes, treatment, notes)
    roles = {} if blind else _roles(data, question)
    order = _canonical_order(encoded.values, codes, values, roles)
    return Problem(
        question=question,
        outcome=values[order],
        treatment=codes[order],
        covariates=np.ascontiguousarray(encoded.values[order]),
        covariate_names=encoded.names,
        covariate_sources=encoded.sources,
        treatment_kind=coded.kind,
        treatment_levels=coded.levels,
        outcome_kind=kind,
        rows=kept[order],
        cluster=_cluster(data, question, order),
        weights=_weights(data, question, order),
        roles={role: values[order] for role, values in roles.items()},
        unobserved={}
        if blind
        else _target(frame.iloc[target], data, question, both.values[len(kept) :])
        or _unobserved(frame, question, coded.levels, encoded.names)
        or _outcomeless(frame, question, coded.levels),
        seed=seed,
        confidence_level=confidence_level,
        notes=(*notes, *encoded.notes),
    )


@dataclass(frozen=True)
class _Coded:
    values: Floats
    kind: TreatmentKind
    levels: tuple[str, ...]
    kept: NDArray[np.bool_]


def _with_treatment(frame: pd.DataFrame, question: Question) -> tuple[pd.DataFrame, Question]:
    """Derive the treatment of a panel from the time of first treatment where no column (or that one) is named.

    A missing or infinite time, or 0 where no time is 0 or less, means never.
    """
    first, time = question.first_treated, question.time
    if first is None or time is None or question.treatment not in (None, first):
        return frame, question
    if not {first, time} <= set(frame.columns):
        return frame, question.model_copy(update={"treatment": first})
    since, now = frame[first], frame[time]
    try:
        on = (now >= since) & since.notna()
        if pd.api.types.is_numeric_dtype(since) and not (now == 0).any():
            on &= since != 0
    except TypeError as exc:
        raise InputError(f"{shown(first)!r} and {shown(time)!r} cannot be compared; give both as numbers or dates", code="FIRST_TREATED_INVALID", details={"column": first}) from exc  # fmt: skip
    name = f"treated since {first}"
    return frame.assign(**{name: on.astype(np.float64)}), question.model_copy(update={"treatment": name})


def _required_roles(question: Question) -> tuple[str, str]:
    if question.treatment is None or question.outcome is None:
        lacking = "treatment" if question.treatment is None else "outcome"
        raise InputError(f"the question names no {lacking}", code="ROLE_MISSING", details={"field": lacking})
    return question.treatment, question.outcome


def _check_columns(frame: pd.DataFrame, question: Question, hidden: set[str]) -> None:
    roles = (question.treatment, question.outcome, question.weights, question.cluster, question.population)
    needed = {*roles, *(question.covariates or ()), *(rule.column for rule in question.filters)}
    for column in question.columns():
        if column in hidden or (hidden and column not in needed):
            continue
        if column not in frame.columns:
            raise InputError(
                f"the data have no column {shown(column)!r}", code="COLUMN_MISSING", details={"column": column}
            )
        if (frame.columns == column).sum() > 1:
            raise InputError(
                f"the data have several columns {shown(column)!r}", code="COLUMN_AMBIGUOUS", details={"column": column}
            )


def _complete(frame: pd.DataFrame, question: Question, missing: Missing) -> NDArray[np.bool_]:
    """Return which rows (n,) have every covariate: all of them where missing values are filled in."""
    if missing == "fill" or not question.covariates:
        return np.ones(len(frame), dtype=bool)
    return np.asarray(frame[list(question.covariates)].notna().all(axis=1))


def _rows_kept(
    frame: pd.DataFrame, question: Question, hidden: set[str], complete: NDArray[np.bool_], notes: list[Note]
) -> Codes:
    keep = np.ones(len(frame), dtype=bool)
    for rule in question.filters:
        keep &= _holds(frame[rule.column], rule)
    keep &= source_rows(frame, question)
    for role in ("treatment", "outcome", "weights", "cluster"):
        column = getattr(question, role)
        if column is None or column in hidden:
            continue
        missing = keep & frame[column].isna().to_numpy()
        if missing.any():
            keep &= ~missing
            message = f"{int(missing.sum())} rows without a value of {role} {shown(column)!r} are left out"
            notes.append(Note(code="ROWS_DROPPED", message=message, columns=(column,)))
    for without, column, what in (
        (_weightless(frame, question), question.weights, "with a weight of zero"),
        (~complete, None, "without a value of some covariate"),
    ):
        lost = int((keep & without).sum())
        if lost:
            keep &= ~without
            notes.append(Note(code="ROWS_DROPPED", message=f"{lost} rows {what} are left out", columns=() if column is None else (column,)))  # fmt: skip
    return np.flatnonzero(keep)


def _weightless(frame: pd.DataFrame, question: Question) -> NDArray[np.bool_]:
    weights = None if question.weights is None else as_numbers(frame[question.weights])
    return np.zeros(len(frame), dtype=bool) if weights is None else np.asarray(weights == 0)


def source_rows(frame: pd.DataFrame, question: Question) -> NDArray[np.bool_]:
    """Return which rows (n,) may show an effect: all, or where a `population` is marked those of the source.

    Raises
    ------
    InputError
        If the column does not mark a source and a target (``POPULATION_INVALID``).
    """
    if question.population is None:
        return np.ones(len(frame), dtype=bool)
    return _populations(frame, question.population)[0]


def _target_rows(frame: pd.DataFrame, question: Question, complete: NDArray[np.bool_]) -> Codes:
    if question.population is None:
        return np.zeros(0, dtype=np.int64)
    keep = _populations(frame, question.population)[1] & complete & ~_weightless(frame, question)
    for rule in question.filters:
        keep &= _holds(frame[rule.column], rule)
    for column in filter(None, (question.weights, question.cluster)):
        keep &= frame[column].notna().to_numpy()
    return np.flatnonzero(keep)


def _populations(frame: pd.DataFrame, name: str) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which rows belong to the source (1, or a word for a study) and which to the target (0, or its word)."""
    numbers = as_numbers(frame[name])
    labels = frame[name].astype(str).str.strip().str.lower() if numbers is None else numbers
    told = [np.asarray(pd.Series(labels).isin(words)) for words in (SOURCE_WORDS, TARGET_WORDS)]
    known = frame[name].notna().to_numpy()
    if not np.all(told[0] | told[1] | ~known) or not all(side.any() for side in told):
        raise InputError(f"population {shown(name)!r} must mark a source (1, 'source', 'trial') and a target (0, 'target'), both with rows", code="POPULATION_INVALID", details={"column": name})  # fmt: skip
    return told[0] & known, told[1] & known


def _target(
    rows: pd.DataFrame, source: pd.DataFrame, question: Question, covariates: Floats
) -> dict[str, NDArray[Any]]:
    """Return what is known of the target population, in an order that does not depend on the file's.

    Its clusters are coded like the source's where they have the same name, and beyond them otherwise.
    """
    if question.population is None:
        return {}
    found: dict[str, NDArray[Any]] = {"covariates": covariates}
    if question.cluster is not None:
        known = np.unique(source[question.cluster].astype(str))
        own = rows[question.cluster].astype(str).to_numpy(dtype=object)
        every = np.concatenate([known, np.setdiff1d(own.astype(str), known)])
        found["cluster"] = pd.Index(every).get_indexer(own).astype(np.int64)
    if question.weights is not None:
        _weights(rows, question, np.arange(len(rows)))
        own, base = (np.asarray(as_numbers(table[question.weights])) for table in (rows, source))
        found["weights"] = own / base.mean()
    keys = [values for role, values in found.items() if role != "covariates"]
    order = np.lexsort((*keys, *covariates.T)) if covariates.shape[1] or keys else np.arange(len(rows))
    return {role: values[order] for role, values in found.items()}


def _holds(series: pd.Series, rule: Filter) -> NDArray[np.bool_]:
    if rule.op == "in":
        options = rule.value if isinstance(rule.value, tuple) else (rule.value,)
        return np.asarray(series.isin(list(options)))
    compare = {"==": "eq", "!=": "ne", "<": "lt", "<=": "le", ">": "gt", ">=": "ge"}[rule.op]
    try:
        return np.asarray(getattr(series, compare)(rule.value), dtype=bool)
    except TypeError as exc:
        raise InputError(
            f"the filter on {shown(rule.column)!r} compares {series.dtype} with {type(rule.value).__name__}",
            code="FILTER_INVALID",
            details={"column": rule.column},
        ) from exc


def _code_treatment(
    series: pd.Series, name: str, reference: object, notes: list[Note], smallest: int = MIN_PER_ARM
) -> _Coded:
    numbers = as_numbers(series)
    everyone = np.ones(len(series), dtype=bool)
    if numbers is not None:
        if np.isinf(numbers).any():
            raise InputError(f"treatment {shown(name)!r} has infinite values", code="NON_FINITE", details={"column": name})  # fmt: skip
        levels = np.unique(numbers)
        few = len(levels) <= MAX_TREATMENT_LEVELS and bool(np.all(levels == np.round(levels)))
        if len(levels) > 2 and not few:
            return _Coded(numbers, "continuous", (), everyone)
        ordered = [_label(value) for value in levels]
        labels = np.array(ordered, dtype=object)[np.searchsorted(levels, numbers)]
    else:
        labels = series.astype(str).to_numpy(dtype=object)
        ordered = sorted(set(labels))
    if len(ordered) < 2:
        raise DesignError(
            f"treatment {shown(name)!r} has {len(ordered)} value; an effect needs at least two",
            code="TREATMENT_CONSTANT",
            details={"column": name},
        )
    return _code_levels(labels, ordered, name, reference, notes, smallest)


def _label(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(float(value))


def _code_levels(
    labels: NDArray[Any], ordered: list[str], name: str, reference: object, notes: list[Note], smallest: int
) -> _Coded:
    if len(ordered) > MAX_TREATMENT_LEVELS * 2:
        raise InputError(
            f"treatment {shown(name)!r} has {len(ordered)} different texts; at most {MAX_TREATMENT_LEVELS * 2} levels can be compared",
            code="TREATMENT_NOT_USABLE",
            details={"column": name},
        )
    first = _reference(ordered, name, reference)
    counts = {level: int((labels == level).sum()) for level in ordered}
    small = [level for level in ordered if counts[level] < smallest]
    if small and (len(ordered) == 2 or first in small or len(ordered) - len(small) < 2):
        raise DesignError(
            f"treatment {shown(name)!r}: level {shown(small[0])!r} has {counts[small[0]]} units, each arm needs at least {smallest}",
            code="POSITIVITY",
            details={"column": name, "counts": {shown(level): counts[level] for level in ordered}},
        )
    if small:
        dropped = sum(counts[level] for level in small)
        message = f"{dropped} rows at {len(small)} levels of treatment {shown(name)!r} with fewer than {smallest} units are left out"
        notes.append(Note(code="LEVELS_DROPPED", message=message, columns=(name,)))
    levels = [first, *(level for level in ordered if level != first and level not in small)]
    if len(levels) == 2 and levels != ["0", "1"]:
        message = f"treatment {shown(name)!r}: {shown(levels[1])!r} is treated, {shown(levels[0])!r} is control"
        notes.append(Note(code="TREATMENT_CODED", message=message, columns=(name,), severity="info"))
    code = {level: float(i) for i, level in enumerate(levels)}
    values = np.array([code.get(label, np.nan) for label in labels])
    kind: TreatmentKind = "binary" if len(levels) == 2 else "multivalued"
    return _Coded(values, kind, tuple(levels), ~np.isnan(values))


def _reference(ordered: list[str], name: str, reference: object) -> str:
    """Return the declared level, else one called control, else the first (numbers by size, text by alphabet)."""
    if reference is None:
        return next((level for word in CONTROL_WORDS for level in ordered if level.strip().lower() == word), ordered[0])
    wanted = _label(float(reference)) if isinstance(reference, int | float) else str(reference)
    for level in ordered:
        if level in (wanted, str(reference)):
            return level
    raise InputError(
        f"treatment {shown(name)!r} has no level {shown(str(reference))!r}; it has {', '.join(shown(v) for v in ordered)}",
        code="REFERENCE_UNKNOWN",
        details={"column": name},
    )


def _code_outcome(series: pd.Series, name: str, notes: list[Note]) -> tuple[Floats, OutcomeKind]:
    numbers = as_numbers(series)
    if numbers is None:
        levels = sorted(set(series.astype(str)))
        if len(levels) != 2:
            raise InputError(
                f"outcome {shown(name)!r} is text with {len(levels)} levels; give a number or a yes/no column",
                code="OUTCOME_NOT_NUMERIC",
                details={"column": name},
            )
        base = _reference(levels, name, None)
        event = next(level for level in levels if level != base)
        notes.append(Note(code="OUTCOME_CODED", message=f"outcome {shown(name)!r}: 1 is {shown(event)!r}, 0 is {shown(base)!r}", columns=(name,), severity="info"))  # fmt: skip
        return (series.astype(str) == event).to_numpy(dtype=np.float64), "binary"
    if np.isinf(numbers).any():
        raise InputError(f"outcome {shown(name)!r} has infinite values", code="NON_FINITE", details={"column": name})
    if len(numbers) == 0 or np.ptp(numbers) == 0:
        raise DesignError(f"outcome {shown(name)!r} has a single value; there is nothing to explain", code="OUTCOME_CONSTANT", details={"column": name})  # fmt: skip
    return numbers, _outcome_kind(numbers)


def _outcome_kind(numbers: Floats) -> OutcomeKind:
    distinct = np.unique(numbers[:10_000])
    if np.all(np.isin(numbers, (0.0, 1.0))):
        return "binary"
    counts = len(distinct) <= 50 and distinct[0] >= 0 and bool(np.all(numbers == np.round(numbers)))
    return "count" if counts and numbers.min() == 0 else "continuous"


def _check_covariates(encoded: Encoding, codes: Floats, treatment: str, notes: list[Note]) -> None:
    """Refuse a copy of the treatment among the covariates; note those that repeat others."""
    x = encoded.values - encoded.values.mean(axis=0)
    if not x.shape[1]:
        return
    arm = codes - codes.mean()
    explained = (arm @ x) ** 2 / np.maximum((x**2).sum(axis=0) * (arm @ arm), np.finfo(float).tiny)
    copies = np.flatnonzero(explained > 1 - 1e-9)
    if len(copies):
        column = encoded.sources[int(copies[0])]
        raise DesignError(
            f"covariate {shown(column)!r} is a copy of treatment {shown(treatment)!r}; nobody is left to compare",
            code="POSITIVITY",
            details={"column": column},
        )
    repeated = np.setdiff1d(np.arange(x.shape[1]), independent_columns(x))
    if len(repeated):
        columns = tuple(dict.fromkeys(encoded.sources[int(j)] for j in repeated))
        names = ", ".join(repr(shown(column)) for column in columns)
        notes.append(Note(code="COLLINEAR", message=f"{names} repeat what other covariates say", columns=columns, severity="info"))  # fmt: skip


def _canonical_order(
    covariates: Floats, treatment: Floats, outcome: Floats, roles: Mapping[str, NDArray[Any]]
) -> Codes:
    """Order rows by covariates and treatment (mixed), then by outcome (mixed), then by what else the question names.

    Among rows with equal covariates the place tells nothing of the outcome, which enters by rank and so without unit.
    """
    mixed = np.zeros(len(outcome), dtype=np.uint64)
    for column in (treatment, *covariates.T):
        mixed = _mix(mixed ^ np.ascontiguousarray(column + 0.0).view(np.uint64))
    ranks = np.unique(outcome, return_inverse=True)[1].astype(np.uint64)
    columns = [column for role in sorted(roles) for column in np.atleast_2d(roles[role].T)]
    ties = [np.unique(c.astype(str), return_inverse=True)[1] if c.dtype == object else c for c in columns]
    return np.lexsort((*ties, _mix(mixed ^ ranks), mixed)).astype(np.int64)


def _mix(bits: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Scramble 64 bits (the finaliser of Vigna's SplitMix64, https://prng.di.unimi.it/splitmix64.c, public domain)."""
    bits = bits + np.uint64(0x9E3779B97F4A7C15)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


def _cluster(data: pd.DataFrame, question: Question, order: Codes) -> Codes | None:
    """Clusters are the declared ones, else the units of a panel."""
    column = question.cluster or (question.unit if question.unit and question.time else None)
    if column is None:
        return None
    codes = np.unique(data[column].map(str).to_numpy(dtype=object), return_inverse=True)[1].astype(np.int64)
    if codes.max() < 1:
        raise DesignError(f"cluster {shown(column)!r} has one value; clustered errors need at least two", code="CLUSTER_CONSTANT", details={"column": column})  # fmt: skip
    return np.asarray(codes[order])


def _weights(data: pd.DataFrame, question: Question, order: Codes) -> Floats | None:
    if question.weights is None:
        return None
    weights = as_numbers(data[question.weights])
    if weights is None or not np.all(np.isfinite(weights)) or not np.all(weights > 0):
        raise InputError(
            f"weights {shown(question.weights)!r} must be numbers of at least zero",
            code="WEIGHTS_INVALID",
            details={"column": question.weights},
        )
    return np.asarray(weights[order] / weights.mean())


def _roles(data: pd.DataFrame, question: Question) -> dict[str, NDArray[Any]]:
    roles: dict[str, NDArray[Any]] = {}
    if question.network_column is not None:
        roles["network"] = data[question.network_column].astype(object).to_numpy()
    for role in ARRAY_ROLES:
        named = getattr(question, role)
        if not named:
            continue
        columns = named if isinstance(named, tuple) else (named,)
        arrays = [_role_values(data[column], dated=role in ("time", "first_treated")) for column in columns]
        roles[role] = np.column_stack(arrays) if isinstance(named, tuple) else arrays[0]
    return roles


def _unobserved(
    frame: pd.DataFrame, question: Question, levels: tuple[str, ...], names: tuple[str, ...]
) -> dict[str, NDArray[Any]]:
    """Return what is known of a panel's rows without an outcome: treatment histories run through them."""
    if question.unit is None or question.time is None or len(levels) != 2:
        return {}
    keys = [question.unit, question.time, str(question.treatment)]
    keep = frame[str(question.outcome)].isna() & frame[keys].notna().all(axis=1)
    for rule in question.filters:
        keep &= _holds(frame[rule.column], rule)
    lost = frame[keep]
    if lost.empty:
        return {}
    numbers = as_numbers(lost[keys[2]])
    labels = [_label(v) for v in numbers] if numbers is not None else lost[keys[2]].astype(str)
    covariates = np.full((len(lost), len(names)), np.nan)
    for j, name in enumerate(names):
        values = as_numbers(lost[name]) if name in lost else None
        covariates[:, j] = np.nan if values is None else values
    return {
        "unit": _role_values(lost[question.unit]),
        "time": _role_values(lost[question.time], dated=True),
        "treatment": np.array([float(label == levels[1]) for label in labels]),
        "covariates": covariates,
    }


def _outcomeless(frame: pd.DataFrame, question: Question, levels: tuple[str, ...]) -> dict[str, NDArray[Any]]:
    """Return the units of a network that have a treatment and no outcome: others were exposed to them."""
    if question.network is None or question.unit is None or len(levels) != 2:
        return {}
    treatment, unit = str(question.treatment), question.unit
    lost = frame[frame[str(question.outcome)].isna() & frame[[treatment, unit]].notna().all(axis=1)]
    if lost.empty:
        return {}
    numbers = as_numbers(lost[treatment])
    labels = [_label(v) for v in numbers] if numbers is not None else lost[treatment].astype(str)
    assigned = [*question.strata, *([question.cluster] if question.cluster else [])]
    return {
        "unit": _role_values(lost[unit]),
        "treatment": np.array([float(label == levels[1]) for label in labels]),
        "assignment": lost[assigned].astype(str).to_numpy(dtype=object),
    }


def _role_values(series: pd.Series, *, dated: bool = False) -> NDArray[Any]:
    if dated and pd.api.types.is_datetime64_any_dtype(series):
        # Days since one date for both columns, not since the earliest of each.
        days = (series - pd.Timestamp(0, tz=series.dt.tz)) / pd.Timedelta(days=1)
        return np.asarray(days.to_numpy(dtype=np.float64, na_value=np.nan))
    numbers = as_numbers(series)
    return series.astype(object).to_numpy() if numbers is None else numbers

"""Explore the table without the outcome: quality, missing patterns, outliers, collinearity, balance, suspicions (AG-2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from causal_orchestrator.agents import Ask, JobView, Output, Reader, Turn
from causal_orchestrator.errors import InputError
from causal_orchestrator.problem import source_rows
from causal_orchestrator.profiling import labels, quality
from causal_orchestrator.profiling.suspicions import suspicions
from causal_orchestrator.results import Balance, Exploration, Note, Profile, Snapshot

MAX_CORRELATED = 60  # columns that enter the correlation table
MAX_FACTORS = 200  # columns that enter the variance inflation factors
MAX_DISTANCE_ROWS = 100_000  # rows that enter the KS distance
PARTS = {"completeness": 0.35, "uniqueness": 0.15, "validity": 0.25, "outliers": 0.10, "informative": 0.15}


def run(job: JobView, step: Turn, read: Reader, ask: Ask) -> Output:
    """Describe covariates and treatment in one view that holds no outcome.

    Raises
    ------
    InputError
        If the table has not been fetched and profiled before.
    """
    snapshot, profile = job.get("dataset_fetcher", Snapshot), job.get("data_profiler", Profile)
    if snapshot is None or profile is None:
        raise InputError("the table has to be profiled before it is explored", code="NO_PROFILE")
    question = profile.question
    names = [c.name for c in snapshot.columns if c.kind not in ("text", "empty") and c.name != question.outcome]
    frame = read(names, "covariates_treatment")
    if question.population in frame.columns:
        frame = frame[source_rows(frame, question)]  # nobody was treated or not in the target
    covariates = [name for name in (question.covariates or ()) if name in frame.columns]
    X, encoded = quality.encode(frame[covariates])
    treatment = frame[str(question.treatment)]
    notes: list[Note] = []
    if labels.coded(treatment, question, str(question.treatment)) is None:
        message = "no word was held against the treatment's codes: they are not two, or nothing says which is treated"
        notes.append(Note(code="LABELS_NOT_CHECKED", message=message, severity="info"))
    beyond = _outliers(frame[covariates])
    parts = _quality_parts(snapshot, beyond)
    return Output(
        Exploration(
            quality_score=round(100 * sum(PARTS[name] * share for name, share in parts.items()), 1),
            quality_parts={name: round(100 * share, 1) for name, share in parts.items()},
            missing_patterns=quality.missing_patterns(frame),
            outliers=beyond,
            correlations=_correlations(X, encoded, notes),
            vif=_vif(X, encoded, notes),
            balance=_balance(X, encoded, treatment, step.seed, notes),
            distributions=_distributions(frame[[*covariates, str(question.treatment)]], snapshot),
            suspicions=suspicions(frame, snapshot.columns, question),
            warnings=tuple(notes),
        )
    )


def _quality_parts(snapshot: Snapshot, outliers: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Return the shares (0 to 1) of which the quality score is the weighted mean, see `PARTS`."""
    columns = snapshot.columns
    cells = max(snapshot.n_rows * max(len(columns), 1), 1)
    beyond = [counts["share"] for counts in outliers.values()]
    return {
        "completeness": 1 - sum(c.n_missing for c in columns) / cells,
        "uniqueness": 1 - snapshot.n_duplicate_rows / max(snapshot.n_rows, 1),
        "validity": 1 - sum(bool(c.flags) for c in columns) / max(len(columns), 1),
        "outliers": 1 - float(np.mean(beyond)) if beyond else 1.0,
        "informative": 1 - sum(c.kind in ("constant", "empty") for c in columns) / max(len(columns), 1),
    }


def _outliers(frame: pd.DataFrame) -> Mapping[str, Mapping[str, float]]:
    numbers = {str(name): quality.as_number(frame[name]) for name in frame.columns}
    found = {name: quality.outliers(x) for name, x in numbers.items() if x is not None}
    return {name: counts for name, counts in found.items() if counts}


def _correlations(
    X: NDArray[np.float64], names: tuple[str, ...], notes: list[Note]
) -> Mapping[str, Mapping[str, float]]:
    if X.shape[1] > MAX_CORRELATED:
        notes.append(_capped("CORRELATIONS_CAPPED", "correlations are", MAX_CORRELATED, X.shape[1]))
    return quality.top_correlations(X[:, :MAX_CORRELATED], names[:MAX_CORRELATED])


def _vif(X: NDArray[np.float64], names: tuple[str, ...], notes: list[Note]) -> Mapping[str, float | None]:
    if X.shape[1] > MAX_FACTORS:
        notes.append(_capped("VIF_CAPPED", "variance inflation factors are", MAX_FACTORS, X.shape[1]))
    kept = names[:MAX_FACTORS]
    return dict(zip(kept, quality.variance_inflation(X[:, :MAX_FACTORS]), strict=True))


def _capped(code: str, what: str, limit: int, found: int) -> Note:
    return Note(code=code, message=f"{what} shown for the first {limit} of {found} columns", severity="info")


def _balance(
    X: NDArray[np.float64], names: tuple[str, ...], treatment: pd.Series, seed: int, notes: list[Note]
) -> tuple[Balance, ...]:
    """Compare the arms of a two-valued treatment (the larger level, or the later word, is the treated arm)."""
    codes, levels = pd.factorize(treatment, sort=True)
    if len(levels) != 2:
        notes.append(
            Note(
                code="BALANCE_NEEDS_TWO_ARMS",
                message=f"balance is shown for two arms, there are {len(levels)}",
                severity="info",
            )
        )
        return ()
    known = codes >= 0
    rows = np.flatnonzero(known)
    if len(rows) > MAX_DISTANCE_ROWS:
        rows = np.sort(np.random.default_rng(seed).choice(rows, MAX_DISTANCE_ROWS, replace=False))
        notes.append(
            Note(
                code="KS_SAMPLED",
                message=f"the KS distance is computed on {MAX_DISTANCE_ROWS} rows drawn at random",
                severity="info",
            )
        )
    treated = codes == 1
    return tuple(
        Balance(
            covariate=name,
            smd=quality.standardized_mean_difference(X[known, j], treated[known]),
            variance_ratio=quality.variance_ratio(X[known, j], treated[known]),
            ks=quality.ks_distance(X[rows, j], treated[rows]),
        )
        for j, name in enumerate(names)
    )


def _distributions(frame: pd.DataFrame, snapshot: Snapshot) -> Mapping[str, Mapping[str, Any]]:
    private = {c.name for c in snapshot.columns if c.personal_data or c.kind == "identifier"}
    return {str(name): _distribution(frame[name]) for name in frame.columns if name not in private}


def _distribution(column: pd.Series) -> Mapping[str, Any]:
    number = quality.as_number(column)
    if number is not None:
        return {"kind": "number", "missing": int(column.isna().sum()), **quality.histogram(number)}
    counts = column.astype("string").value_counts()
    common = counts[counts >= quality.SMALL_CELL].head(20)
    return {
        "kind": "category",
        "missing": int(column.isna().sum()),
        "values": [str(level) for level in common.index],
        "counts": [int(n) for n in common],
        "suppressed": int(counts.sum() - common.sum()),
    }

"""Whether a binary instrument can be what it must be: the testable side of its assumptions (Kitagawa)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from causal_orchestrator.errors import NotApplicable
from causal_orchestrator.numerics.inference import sum_by
from causal_orchestrator.numerics.linear import least_squares
from causal_orchestrator.numerics.logit import fit_logit
from causal_orchestrator.results import SensitivityResult

if TYPE_CHECKING:
    from causal_orchestrator.problem import Estimate, Problem

Floats = NDArray[np.float64]

CELLS = 6  # equal shares of the outcome
FEWEST = 20  # rows in a cell, below which its mean is not near normal


def analyse(
    problem: Problem,
    estimate: Estimate,
    *,
    refit: Callable[[Problem], Estimate] | None = None,
    seed: int = 0,
) -> SensitivityResult:
    """Test what follows if the instrument is random, works through the treatment alone and moves nobody against it.

    Then the treated with any given outcome must be no fewer where the instrument is on than where it is off, and the
    untreated no more. Each inequality is tested in cells of what the covariates leave of the outcome (it holds for any
    function of both), weighted by the chance of the instrument given the covariates; the smallest p-value counts, times
    their number. A pass does not prove the assumptions.

    Returns
    -------
    SensitivityResult
        `value` is the largest violation, as a share of all rows. ``details``: `gate_p_value`, `cells`.

    Raises
    ------
    NotApplicable
        If treatment or instrument are not binary, there are several instruments, or too few rows.

    References
    ----------
    Kitagawa (2015), https://doi.org/10.3982/ECTA11974; Mourifié & Wan (2017), https://doi.org/10.1162/REST_a_00622.
    """
    on = _instrument(problem)
    d, design = problem.treatment, np.column_stack([np.ones(problem.n), problem.covariates])
    y = least_squares(design, problem.outcome, problem.weights).residuals
    chance = fit_logit(design, on, problem.weights).probability
    weights = np.ones(problem.n) if problem.weights is None else problem.weights
    contrast = weights * (on / np.clip(chance, 0.01, None) - (1 - on) / np.clip(1 - chance, 0.01, None))
    toward = 1.0 if float(contrast @ d) >= 0 else -1.0
    edges = np.unique(np.quantile(y, np.linspace(0, 1, CELLS + 1)[1:-1]))
    cell = np.searchsorted(edges, y, side="left")
    rows = []
    for k in range(len(edges) + 1):
        for arm, sign in ((1.0, 1.0), (0.0, -1.0)):
            inside = (cell == k) & (d == arm)
            if inside.sum() >= FEWEST:
                change, error = _mean(problem, sign * toward * contrast * inside)
                rows.append({"cell": k, "treated": bool(arm), "change": change, "std_error": error, "p_value": float(stats.norm.cdf(change / error))})  # fmt: skip
    if not rows:
        raise NotApplicable(f"no cell of the outcome holds {FEWEST} rows")
    worst = min(rows, key=lambda row: float(str(row["p_value"])))
    p = min(1.0, float(str(worst["p_value"])) * len(rows))
    violation = max(0.0, -float(str(worst["change"])))
    ending = "which chance explains" if p >= 0.05 else "which chance does not explain"
    return SensitivityResult(
        method="instrument_validity",
        value=violation,
        interpretation=(
            f"In {len(rows)} cells of treatment and outcome, the instrument's worst step the wrong way is {violation:.1%} "
            f"of all rows, {ending} (p = {p:.2g})."
        ),
        passed=p >= 0.05,
        details={"gate_p_value": p, "cells": rows},
    )


def _instrument(problem: Problem) -> Floats:
    instruments = problem.roles.get("instruments")
    if instruments is None or instruments.shape[1] != 1 or problem.treatment_kind != "binary":
        raise NotApplicable("needs one instrument and a binary treatment")
    values = np.unique(instruments[:, 0].astype(str) if instruments.dtype == object else instruments[:, 0])
    if len(values) != 2:
        raise NotApplicable("needs an instrument with two values")
    column = instruments[:, 0].astype(str) if instruments.dtype == object else instruments[:, 0]
    return np.asarray(column == values[1], dtype=np.float64)


def _mean(problem: Problem, values: Floats) -> tuple[float, float]:
    """Return a mean and its standard error, clustered where there are clusters."""
    mean = float(values.mean())
    errors = values - mean
    if problem.cluster is not None:
        errors = sum_by(problem.cluster, errors)
    return mean, float(np.sqrt((errors**2).sum())) / problem.n

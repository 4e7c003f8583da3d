"""Compare the arms within cells of coarsened covariates, and leave out who has nobody to be compared with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from causal_orchestrator.errors import DesignError, EstimationError, InputError, NotApplicable
from causal_orchestrator.numerics.balance import weighting_diagnostics
from causal_orchestrator.numerics.linear import least_squares
from causal_orchestrator.problem import Estimate, Problem, conclude

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]

FEW_LEFT = 0.5  # share of the target population below which a note says that the estimand has become another
ROWS_PER_SLOPE = 5


def estimate(
    problem: Problem,
    *,
    estimand: Literal["ATT", "ATE", "ATC"] = "ATT",
    bins: int | Literal["sturges"] = "sturges",
    bias_adjustment: bool = False,
) -> Estimate:
    """Estimate the effect by coarsened exact matching.

    Assumes no unmeasured confounding within cells. The estimand is that of the rows which find a cell with both arms;
    what was dropped is in ``details["dropped"]`` and in a note.

    Parameters
    ----------
    bins : number of equally wide bins of each covariate with more than two values; ``sturges`` is ⌈log₂ n + 1⌉.
    bias_adjustment : take away what covariates still explain within cells, by a regression on deviations from the
        cells' means.

    Raises
    ------
    NotApplicable
        With clusters, for which the standard error is not known (``NEEDS_INDEPENDENT_ROWS``).
    DesignError
        If no cell has rows of both arms (``POSITIVITY``).
    EstimationError
        If `bias_adjustment` is asked for and nearly every row is alone in its cell (``TOO_FEW_ROWS``).

    References
    ----------
    Iacus, King & Porro (2012), https://doi.org/10.1093/pan/mpr013; Sturges (1926).
    """
    if problem.cluster is not None:
        raise NotApplicable("coarsened exact matching has no standard error with clusters", code="NEEDS_INDEPENDENT_ROWS")  # fmt: skip
    if bins != "sturges" and not 1 <= bins <= 1000:
        raise InputError("bins must be between 1 and 1000, or 'sturges'", code="OPTION_INVALID", details={"option": "bins"})  # fmt: skip
    width = int(np.ceil(np.log2(problem.n) + 1)) if bins == "sturges" else bins
    cell = np.unique(_coarsened(problem.covariates, width), axis=0, return_inverse=True)[1].reshape(-1)
    treated = problem.treatment == 1
    counts = np.stack([np.bincount(cell[arm], minlength=int(cell.max()) + 1) for arm in (~treated, treated)])
    kept = np.asarray((counts > 0).all(axis=0))[cell]
    if not kept.any():
        raise DesignError("no cell of the coarsened covariates has rows of both arms; use fewer bins or covariates", code="POSITIVITY")  # fmt: skip
    whose = {"ATT": treated, "ATC": ~treated, "ATE": np.ones(problem.n, dtype=bool)}[estimand]
    sampling = np.ones(problem.n) if problem.weights is None else problem.weights
    outcome = problem.outcome - (_explained(problem, cell, kept, sampling) if bias_adjustment else 0.0)
    found = _within(cell[kept], treated[kept], outcome[kept], sampling[kept], whose[kept])
    weights, influence = np.zeros(problem.n), np.zeros((problem.n, 1))
    weights[kept], influence[kept, 0] = found.weights * problem.n, found.influence * problem.n
    return conclude(
        problem,
        method="cem",
        estimand=estimand,
        estimates=[found.value],
        covariance=np.array([[found.variance]]),
        inference="variance within cells and of effects between cells",
        counts=[int(kept.sum())],
        diagnostics=weighting_diagnostics(problem.covariates, problem.treatment, problem.treatment_levels, weights)
        | {"imbalance before": {"value": _imbalance(counts), "detail": "L1 distance over the cells; after it is zero"}},
        details={
            "bins": width,
            "cells": int((counts > 0).all(axis=0).sum()),
            "dropped": {
                level: int((~kept & (problem.treatment == k)).sum()) for k, level in enumerate(problem.treatment_levels)
            },
            "weights": weights,
            "stratum": np.where(kept, cell, -1),
        },
        notes=_notes(problem, kept, whose, estimand),
        influence=influence,
    )


def _coarsened(covariates: Floats, bins: int) -> Codes:
    """Return each covariate's bin (n, p); a value on a boundary belongs to the higher bin."""
    found = np.zeros(covariates.shape, dtype=np.int64)
    for j, x in enumerate(covariates.T):
        levels = np.unique(x)
        cuts = levels[1:] if len(levels) == 2 else np.linspace(levels[0], levels[-1], bins + 1)[1:-1]
        found[:, j] = np.searchsorted(cuts, x, side="right")
    return found


@dataclass(frozen=True)
class _Within:
    """The effect, its variance, the weights (m,) with which rows are compared, and their influence over n."""

    value: float
    variance: float
    weights: Floats
    influence: Floats


def _within(
    cell: Codes, treated: NDArray[np.bool_], outcome: Floats, sampling: Floats, whose: NDArray[np.bool_]
) -> _Within:
    """Average the cells' differences in means over the target's rows.

    A cell with a single row of an arm does not show that arm's variance; there the cell's distance from the average
    effect stands in for it, as in a regression with an effect for each cell.
    """
    cell = np.unique(cell, return_inverse=True)[1]
    cells = int(cell.max()) + 1
    target = sampling * whose
    share = np.bincount(cell, target, cells) / target.sum()
    size = np.stack([np.bincount(cell[arm], minlength=cells) for arm in (~treated, treated)])
    mean, each = np.zeros((2, cells)), np.zeros(len(cell))
    for k, arm in enumerate((~treated, treated)):
        mass = np.bincount(cell[arm], sampling[arm], cells)
        mean[k] = np.bincount(cell[arm], (sampling * outcome)[arm], cells) / mass
        each[arm] = (share[cell] * sampling)[arm] / mass[cell[arm]]
    gap = mean[1] - mean[0]
    value = float(share @ gap)
    arms = treated.astype(np.int64)
    own, other = size[arms, cell], size[1 - arms, cell]
    sign = np.where(treated, 1.0, -1.0)
    alone = own == 1
    away = outcome - mean[arms, cell]
    residual = np.where(alone, sign * (gap - value)[cell] * other / (other + 1), away)
    inflate = np.where(alone, (other + 1) / other, own / np.maximum(own - 1, 1))
    noise = each**2 * residual**2 * inflate
    seen = np.divide(np.bincount(cell, noise, cells), share**2, out=np.zeros(cells), where=share > 0)
    rows = np.bincount(cell, (target / target.sum()) ** 2, cells)
    between = max(0.0, float(rows @ ((gap - value) ** 2 - seen)))
    spread = target / target.sum() * (gap - value)[cell]
    shrink = np.sqrt(between / max(float(spread @ spread), np.finfo(float).tiny))
    return _Within(value, float(noise.sum()) + between, each, sign * each * residual + shrink * spread)


def _explained(problem: Problem, cell: Codes, kept: NDArray[np.bool_], sampling: Floats) -> Floats:
    """Return what the covariates explain of the outcome (n,) within cells and arms."""
    group = np.unique(2 * cell + problem.treatment.astype(np.int64), return_inverse=True)[1]
    mass = np.bincount(group, sampling)

    left = int(kept.sum()) - len(np.unique(group[kept]))
    if left < ROWS_PER_SLOPE * problem.covariates.shape[1]:
        raise EstimationError(f"{left} rows beyond the cells' means are too few for bias_adjustment; use fewer bins", code="TOO_FEW_ROWS")  # fmt: skip

    def within(values: Floats) -> Floats:
        return np.asarray(values - (np.bincount(group, sampling * values) / mass)[group])

    deviations = np.column_stack([within(x) for x in problem.covariates.T])
    slope = least_squares(deviations[kept], within(problem.outcome)[kept], sampling[kept]).coefficients
    return np.asarray((problem.covariates - problem.covariates.mean(axis=0)) @ slope)


def _imbalance(counts: NDArray[Any]) -> float:
    """Return half the summed distance between the arms' shares of the cells."""
    shares = counts / counts.sum(axis=1, keepdims=True)
    return float(np.abs(shares[1] - shares[0]).sum() / 2)


def _notes(problem: Problem, kept: NDArray[np.bool_], whose: NDArray[np.bool_], estimand: str) -> tuple[str, ...]:
    lost = int((~kept).sum())
    if not lost:
        return ()
    arms = [int((~kept & (problem.treatment == k)).sum()) for k in (0, 1)]
    told = f"{lost} rows ({arms[1]} treated, {arms[0]} control) share their cell with nobody of the other arm and are left out"
    left = float((kept & whose).sum() / whose.sum())
    if left >= FEW_LEFT:
        return (told,)
    return (told, f"only {left:.0%} of the {estimand}'s rows are left: the estimate speaks of them alone")

"""What a reader must know of an estimate: few clusters, extreme weights, and what the weights leave apart."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from causal_orchestrator.estimators import ESTIMATORS, choices, resolve
from causal_orchestrator.numerics.balance import (
    BALANCED,
    Prognosis,
    effective_sample_size,
    heaviest_share,
    moments_apart,
    prognosis_apart,
)
from causal_orchestrator.numerics.inference import critical_value, effective_clusters
from causal_orchestrator.problem import Estimate, Problem
from causal_orchestrator.question import shown

# Words with which `inference` says that errors are those of clusters.
CLUSTERED = ("clustered", "CR1", "of units")
ENOUGH_CLUSTERS = 40.0  # from about so many CR1 with t(G - 1) is close to its level
CARES = "; se='cr2' takes care of it"
MATTERS = 0.5  # standard errors by which an interval that leaves it out covers 92 % instead of 95 %
CELLS = ("stratification", "cem")  # compare within cells, whose covariates still vary
HEAVY = 10.0  # times its share that the heaviest hundredth of an arm may weigh


def cautioned(problem: Problem, estimate: Estimate) -> Estimate:
    """Return the estimate with what a reader must know of few clusters, extreme weights and what they leave apart.

    Each is a diagnostic without a decision, and a note where it is beyond its threshold. Not a part of
    `estimators.estimate`, which refuters call a hundred times.
    """
    found = {**_few_clusters(problem, estimate), **_weighing(problem, estimate)}
    notes = tuple(str(told.pop("note")) for told in found.values() if "note" in told)
    return dataclasses.replace(estimate, diagnostics={**estimate.diagnostics, **found}, notes=(*estimate.notes, *notes))


def _few_clusters(problem: Problem, estimate: Estimate) -> dict[str, dict[str, Any]]:
    clustered = any(word in estimate.inference for word in CLUSTERED) and "CR2" not in estimate.inference
    if problem.cluster is None or not estimate.std_error or not clustered:
        return {}
    moved = _moved(problem, estimate)
    known = np.isfinite(moved)
    cluster, weights = problem.cluster[known], None if problem.weights is None else problem.weights[known]
    rows = np.bincount(cluster)
    count, largest = int((rows > 0).sum()), float(rows.max() / known.sum())
    value = effective_clusters(moved[known], cluster, weights)
    detail = f"{count} clusters count like {value:.1f} equal ones; the largest holds {largest:.0%} of the rows"
    told: dict[str, Any] = {"value": value, "threshold": ENOUGH_CLUSTERS, "detail": detail}
    if value < ENOUGH_CLUSTERS:
        margin = estimate.std_error * critical_value(estimate.confidence_level, max(value - 1, 1.0))
        wider = f"{estimate.estimate - margin:.4g} to {estimate.estimate + margin:.4g}"
        offers = "cr2" in choices(resolve(estimate.method), "se")
        told["note"] = (
            f"few clusters: {detail}, and clustered standard errors tend to be too small below {ENOUGH_CLUSTERS:.0f}; "
            f"with as many degrees of freedom as that the interval runs from {wider}{CARES if offers else ''}"
        )
    return {"effective clusters": told}


def _moved(problem: Problem, estimate: Estimate) -> NDArray[np.float64]:
    """Return what the estimate gets its variation from (n,): the first instrument, or the treatment."""
    if "instruments" in ESTIMATORS[resolve(estimate.method)].needs:
        first = problem.roles["instruments"].reshape(problem.n, -1)[:, 0]
        return np.asarray(np.unique(first.astype(str), return_inverse=True)[1] if first.dtype == object else first, dtype=np.float64)  # fmt: skip
    return np.asarray(problem.treatment > 0, dtype=np.float64) if problem.treatment_kind == "multivalued" else problem.treatment  # fmt: skip


def _weighing(problem: Problem, estimate: Estimate) -> dict[str, dict[str, Any]]:
    weights = estimate.details.get("weights")
    if not isinstance(weights, np.ndarray) or weights.shape != (problem.n,) or problem.treatment_kind == "multivalued":
        return {}
    treated, binary = problem.treatment == 1, problem.treatment_kind == "binary"
    sides = {"treated": treated, "controls": ~treated} if binary else {"rows": np.ones(problem.n, dtype=bool)}
    # Rows without weight were left out by the method's design: matching and cells drop what has no counterpart.
    arms = [weights[side & (weights != 0)] for side in sides.values()]
    if not np.isfinite(weights).all() or not all(len(arm) for arm in arms):
        return {}
    shares = [heaviest_share(arm) for arm in arms]
    worst = max(range(len(arms)), key=lambda k: shares[k][0] / shares[k][1])
    value, threshold = shares[worst][0], min(HEAVY * shares[worst][1], 0.5)
    who = tuple(sides)[worst]
    size = effective_sample_size(arms[worst])
    detail = f"share of the weight of the {who} on its heaviest {shares[worst][1]:.1%}; {len(arms[worst])} rows count like {size:.0f}{_smallest(problem, estimate)}"  # fmt: skip
    found: dict[str, dict[str, Any]] = {
        "heaviest hundredth": {"value": value, "threshold": threshold, "detail": detail}
    }
    if value >= threshold:
        found["heaviest hundredth"]["note"] = f"extreme weights: {value:.0%} is the {detail}; few rows decide the estimate and its standard error may be too small"  # fmt: skip
    if not (binary and problem.covariates.shape[1]):
        return found
    apart, chance, columns = moments_apart(problem.covariates, treated, weights)
    if not columns:
        return found
    named = " × ".join(repr(shown(problem.covariate_names[j])) for j in (columns if len(columns) > 1 else columns * 2))
    limit = max(BALANCED, chance)
    found["squares and products"] = {"value": apart, "threshold": limit, "detail": f"largest standardised difference that the weights leave, of {named}"}  # fmt: skip
    if apart >= limit:
        found["squares and products"]["note"] = f"the weights leave {named} apart by {apart:.2f} SD, more than chance does: where the outcome bends that way, what rests on them alone is biased"  # fmt: skip
    return found | _prognosis(problem, estimate, weights)


def _prognosis(problem: Problem, estimate: Estimate, weights: NDArray[np.float64]) -> dict[str, dict[str, Any]]:
    """Say whether what a method leaves apart would matter; one that learns the outcome makes up for it."""
    key, error = resolve(estimate.method), estimate.std_error
    if ESTIMATORS[key].nuisances == "learned" or not error:
        return {}
    apart = prognosis_apart(problem.covariates, problem.outcome, problem.treatment == 1, weights)
    if apart is None:
        return {}
    limit = max(MATTERS * error, apart.chance)
    told: dict[str, Any] = {"value": abs(apart.bent), "threshold": limit, "detail": "what bends in the outcome (squares, products and hinges of covariates) and differs between the weighted arms"}  # fmt: skip
    if abs(apart.bent) >= limit:
        told["note"] = f"by a regression with squares, products and hinges of the covariates the arms still differ by {apart.bent:.3g} without any treatment ({abs(apart.bent) / error:.1f} standard errors): the model misses a curve or an interaction; see aipw"  # fmt: skip
    return {"prognosis": told} | (_coarse(problem, estimate, weights, apart) if key in CELLS else {})


def _coarse(
    problem: Problem, estimate: Estimate, weights: NDArray[np.float64], apart: Prognosis
) -> dict[str, dict[str, Any]]:
    """Say whether cells are too coarse; nothing where a regression within them has already been taken off."""
    treated, error = problem.treatment == 1, estimate.std_error or np.nan
    means = [weights[side] @ problem.outcome[side] / weights[side].sum() for side in (treated, ~treated)]
    if not np.isclose(means[0] - means[1], estimate.estimate, rtol=1e-6, atol=1e-9):
        return {}
    limit = max(error, apart.noise)
    told: dict[str, Any] = {"value": abs(apart.straight), "threshold": limit, "detail": "what the outcome goes along with covariates and differs between the arms within cells"}  # fmt: skip
    if abs(apart.straight) >= limit:
        told["note"] = f"the cells are coarse: within them the covariates still make the arms differ by {apart.straight:.3g} without any treatment ({abs(apart.straight) / error:.1f} standard errors); take finer ones, adjust within them, or see aipw"  # fmt: skip
    return {"coarse cells": told}


def _smallest(problem: Problem, estimate: Estimate) -> str:
    spec = ESTIMATORS[resolve(estimate.method)]
    if spec.nuisances != "parametric" or "propensity" not in " ".join(spec.assumes):
        return ""
    return f"; the smallest propensity of an arm is {problem.parametric().propensity.min():.2g}"

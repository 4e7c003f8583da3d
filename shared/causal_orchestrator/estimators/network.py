"""Direct and spillover effects of an experiment among units that are connected."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from causal_orchestrator.errors import DesignError, InputError, NotApplicable
from causal_orchestrator.numerics import network as graph
from causal_orchestrator.numerics.linear import least_squares
from causal_orchestrator.numerics.network import EXPOSURES, Assignment, Edges, Exposure, Means
from causal_orchestrator.numerics.panel import effect_row
from causal_orchestrator.problem import Estimate, Problem, conclude
from causal_orchestrator.question import shown

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]

CONTRASTS = {"direct": (2, 0), "spillover": (1, 0), "total": (3, 0), "direct among exposed": (3, 1)}
EXACT_ROWS = 2_000  # units up to which joint probabilities of pairs are held in memory
MIN_EXPOSED = 5
LEAST_DRAWS, MOST_DRAWS = 200, 100_000
MANY_EXPOSED = 30.0  # units in an exposure from which the normal interval may be relied on
_VARIANCE = {
    True: "Aronow–Samii conservative variance",
    False: "network-robust variance (pairs that share an assignment)",
}
RARE = 0.005  # probability of an exposure below which a unit would decide alone


def estimate(problem: Problem, *, exposure: Exposure = "any", draws: int = 2_000) -> Estimate:
    """Estimate what own treatment and treated neighbours do, from the exposures of one random assignment.

    Assumes that the assignment was random as declared (whole clusters where there is a `cluster`, within `strata`, as
    many treated as were), and that treatment reaches a unit from its neighbours alone. The potential outcomes are fixed:
    only the assignment is random, so this is the effect among the units of the table that have neighbours.

    Parameters
    ----------
    exposure : a unit is exposed with ``any`` treated neighbour, or with ``half`` of its neighbours treated.
    draws : simulated assignments behind the probabilities of ``half``; those of ``any`` are exact.

    Returns
    -------
    Estimate
        The direct effect: own treatment where no neighbour is treated (``SATE``), in units of the outcome. Rows for
        spillover (treated neighbours, not oneself) and total (both); Hájek means, by covariates if there are any.

    Raises
    ------
    NotApplicable
        Without a network and the units' column (``NEEDS_NETWORK``), or with sampling weights.
    InputError
        If units repeat (``UNIT_REPEATED``) or no edge joins two units of the table (``NETWORK_EMPTY``).
    DesignError
        If treatment varies within clusters (``NOT_CLUSTERED``), or too few units are in an exposure (``POSITIVITY``).

    References
    ----------
    Aronow & Samii (2017), https://doi.org/10.1214/16-AOAS1005; Leung (2022), https://doi.org/10.3982/ECTA17841.
    """
    if not LEAST_DRAWS <= draws <= MOST_DRAWS:
        raise InputError(f"draws must lie between {LEAST_DRAWS} and {MOST_DRAWS}", code="OPTION_INVALID", details={"option": "draws"})  # fmt: skip
    design = _design(problem)
    sets = graph.sets_of(design.edges, design.assignment)
    links = _links(design)
    seen = graph.exposures(design.assignment.treated, sets, links, exposure)
    n = problem.n
    if exposure == "any":
        probability = graph.exact_probabilities(sets, design.assignment)[:n]
    else:
        simulated = _simulated(design, sets, links, exposure, draws, problem.seed)
        probability = np.stack([(simulated[:, :n] == k).mean(axis=0) for k in range(4)], axis=1)
    kept = np.flatnonzero((probability > RARE).all(axis=1))
    _check(np.bincount(seen[kept], minlength=4), n)
    if n > EXACT_ROWS:
        joint = None
    elif exposure == "any":
        joint = graph.joint_probabilities(sets.take(kept), design.assignment)
    else:
        joint = _simulated_joint(simulated[:, kept])
    met = sets.both[kept]
    near = ((met @ met.T) > 0).astype(np.float64)
    outcome = _adjusted(problem, kept, seen[kept], probability[kept])
    found = graph.means(outcome, seen[kept], probability[kept], joint, near)
    return _finish(problem, design, found, kept, seen, probability, exposure, exact=joint is not None)


@dataclass(frozen=True)
class _Design:
    edges: Edges
    assignment: Assignment


def _design(problem: Problem) -> _Design:
    question = problem.question
    if question.network is None or "unit" not in problem.roles:
        raise NotApplicable("network needs a network and the column of the units", code="NEEDS_NETWORK")
    if problem.weights is not None:
        raise NotApplicable("network cannot use sampling weights", code="WEIGHTS")
    more = problem.unobserved
    names = [graph.name_of(unit) for unit in (*problem.roles["unit"], *more.get("unit", ()))]
    if len(set(names)) < len(names):
        raise InputError(f"some values of unit {shown(str(question.unit))!r} repeat; a network needs one row per unit", code="UNIT_REPEATED", details={"column": question.unit})  # fmt: skip
    if question.network_column is None:
        edges = graph.read_edges(question.network, names)
    else:
        edges = graph.read_neighbours(problem.roles["network"].tolist(), names[: problem.n], names)
    if not len(edges.source):
        raise InputError("no edge of the network joins two units of the table", code="NETWORK_EMPTY")
    return _Design(edges, _assignment(problem))


def _assignment(problem: Problem) -> Assignment:
    """Return who was drawn together and within what, the units without an outcome last."""
    more = problem.unobserved
    treatment = np.concatenate([problem.treatment, more.get("treatment", np.zeros(0))]) > 0
    n, m = problem.n, len(treatment) - problem.n
    told = more.get("assignment", np.zeros((m, 0), dtype=object))
    strata = problem.roles.get("strata", np.zeros((n, 0)))
    labels = ["/".join(map(graph.name_of, row)) for row in strata]
    labels += ["/".join(map(graph.name_of, row[: strata.shape[1]])) for row in told]
    of_unit = np.arange(n + m)
    if problem.cluster is not None:
        if m:
            raise NotApplicable("units without an outcome cannot be placed in clusters here; fill or drop them", code="OUTCOME_MISSING")  # fmt: skip
        of_unit = problem.cluster
    first = np.unique(of_unit, return_index=True)[1]
    stratum = np.unique(labels, return_inverse=True)[1].astype(np.int64)
    for values, what in ((treatment, "treatment"), (stratum, "a stratum")):
        if np.any(values != values[first][of_unit]):
            raise DesignError(f"{what} varies within clusters: these were not assigned as a whole; name them as strata instead", code="NOT_CLUSTERED")  # fmt: skip
    return Assignment(of_unit, stratum[first], treatment[first])


def _links(design: _Design) -> sparse.csr_array:
    n = len(design.assignment.of_unit)
    return sparse.csr_array((np.ones(len(design.edges.source)), (design.edges.target, design.edges.source)), shape=(n, n))  # fmt: skip


def _simulated(design: _Design, sets: graph.Sets, links: Any, rule: Exposure, draws: int, seed: int) -> NDArray[np.int8]:  # fmt: skip
    rng = np.random.default_rng(seed)
    drawn = (graph.draw(design.assignment, rng) for _ in range(draws))
    return np.array([graph.exposures(treated, sets, links, rule) for treated in drawn], dtype=np.int8)


def _simulated_joint(simulated: NDArray[np.int8]) -> dict[tuple[int, int], Floats]:
    inside = [(simulated == k).astype(np.float64) for k in range(4)]
    return {(k, j): inside[k].T @ inside[j] / len(simulated) for k in range(4) for j in range(k, 4)}


def _check(counts: Codes, n: int) -> None:
    if counts.sum() < n / 50 or min(counts[[0, 1, 2]]) < MIN_EXPOSED:
        told = ", ".join(f"{name} {count}" for name, count in zip(EXPOSURES, counts, strict=True))
        raise DesignError(f"too few units in an exposure ({told}); at least {MIN_EXPOSED} are needed in each", code="POSITIVITY", details={"counts": dict(zip(EXPOSURES, counts.tolist(), strict=True))})  # fmt: skip


def _adjusted(problem: Problem, kept: Codes, exposure: Codes, probability: Floats) -> Floats:
    """Return outcomes (kept,) less what covariates explain within exposures; their mean stays."""
    y, x = problem.outcome[kept], problem.covariates[kept]
    if not x.shape[1]:
        return y
    dummies = (exposure[:, None] == np.arange(4)) * 1.0
    spread = x.std(axis=0)
    z = (x - x.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    fit = least_squares(np.column_stack([dummies, z]), y, 1 / probability[np.arange(len(y)), exposure])
    return np.asarray(y - z @ fit.coefficients[4:])


def _finish(
    problem: Problem,
    design: _Design,
    found: Means,
    kept: Codes,
    seen: Codes,
    probability: Floats,
    rule: Exposure,
    *,
    exact: bool,
) -> Estimate:
    level = problem.confidence_level
    rows = []
    for name, (a, b) in CONTRASTS.items():
        if not np.all(np.isfinite(found.values[[a, b]])):
            continue
        variance = found.covariance[a, a] + found.covariance[b, b] - 2 * found.covariance[a, b]
        inside = int(np.isin(seen[kept], (a, b)).sum())
        error = float(np.sqrt(variance)) if variance > 0 else None
        rows.append(effect_row(name, float(found.values[a] - found.values[b]), error, confidence_level=level, n=inside))
    main = rows[0]
    if main.std_error is None:
        raise DesignError("the variance of the direct effect cannot be estimated from this assignment", code="NO_VARIATION")  # fmt: skip
    counts = np.bincount(seen[kept], minlength=4)
    rarest = float(counts[:3].min())
    told = conclude(
        problem,
        method="network",
        estimand="SATE",
        estimates=[float(main.estimate or 0.0)],
        covariance=np.array([[main.std_error**2]]),
        inference=f"{_VARIANCE[exact]}, normal",
        diagnostics={
            "least_exposed": {
                "value": rarest,
                "threshold": MANY_EXPOSED,
                "passed": rarest >= MANY_EXPOSED,
                "detail": "units in the rarest exposure",
            }
        },
        details={
            "exposure": rule,
            "exposures": [_exposure(k, int(counts[k]), found, probability[kept]) for k in range(4) if counts[k]],
            "n_edges": len(design.edges.source),
            "assignment": "units" if problem.cluster is None else "clusters",
            "n_strata": int(design.assignment.stratum.max()) + 1,
        },
        notes=_notes(problem.n - len(kept), design.edges.unknown),
    )
    return replace(told, rows=tuple(rows))


def _exposure(k: int, count: int, found: Means, probability: Floats) -> dict[str, Any]:
    return {
        "exposure": EXPOSURES[k],
        "n": count,
        "mean": float(found.values[k]),
        "std_error": float(np.sqrt(max(found.covariance[k, k], 0.0))),
        "horvitz_thompson": float(found.horvitz_thompson[k]),
        "probability": float(probability[:, k].mean()),
    }


def _notes(left: int, unknown: int) -> tuple[str, ...]:
    notes = ["the potential outcomes are taken as fixed: the effect is that among the units of the table"]
    if left:
        notes.append(f"{left} units could not have been in every exposure (those without neighbours among them) and are left out")  # fmt: skip
    if unknown:
        notes.append(f"{unknown} edges lead to units that are not in the table and are left out")
    return tuple(notes)

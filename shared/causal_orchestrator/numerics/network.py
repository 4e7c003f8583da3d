"""Interference on a network: who was exposed to what, how probable that was, and what the exposures did.

Exposure maps a whole assignment to one of four conditions of a unit: treated or not, with treated neighbours or not.
Assignment units (single units, or whole clusters) are drawn without replacement within strata, as many treated as were.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse, special

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]
Exposure = Literal["any", "half"]

EXPOSURES = ("neither", "neighbours", "own", "both")
# Each exposure as a combination of 1 and of "none treated" among oneself, one's neighbours, and both together.
COMBINATIONS = np.array([[0, 0, 0, 1], [0, 1, 0, -1], [0, 0, 1, -1], [1, -1, -1, 1]], dtype=np.float64)
_SPLIT = re.compile(r"\s*(?:->|--|,|\t|\s)\s*")


@dataclass(frozen=True)
class Edges:
    """Directed edges between places of a list of units: `source` was seen by `target`; `unknown` ends are not there."""

    source: Codes
    target: Codes
    unknown: int


@dataclass(frozen=True)
class Assignment:
    """How treatment was drawn: the assignment unit (n,) of each unit, and stratum and treatment (A,) of those."""

    of_unit: Codes
    stratum: Codes
    treated: NDArray[np.bool_]


def read_edges(text: str, units: Sequence[str]) -> Edges:
    """Read an edge list: pairs of units, one a line or parted by semicolons; ``a -> b`` goes one way, others both."""
    place = {unit: i for i, unit in enumerate(units)}
    pairs, unknown = set(), 0
    for line in re.split(r"[\n;]", text):
        ends = [part for part in _SPLIT.split(line.strip()) if part]
        if len(ends) < 2:
            continue
        if ends[0] not in place or ends[1] not in place:
            unknown += 1
            continue
        a, b = place[ends[0]], place[ends[1]]
        if a != b:
            pairs |= {(a, b)} if "->" in line else {(a, b), (b, a)}
    return _edges(pairs, unknown)


def read_neighbours(lists: Sequence[Any], units: Sequence[str], known: Sequence[str]) -> Edges:
    """Read a column that lists each unit's neighbours, parted by semicolons, commas, bars or blanks."""
    place = {unit: i for i, unit in enumerate(known)}
    pairs, unknown = set(), 0
    for unit, listed in zip(units, lists, strict=True):
        for other in _names(listed):
            if other not in place:
                unknown += 1
            elif other != unit:
                pairs.add((place[other], place[unit]))
    return _edges(pairs, unknown)


def _names(listed: Any) -> list[str]:
    if listed is None or listed != listed:
        return []
    return [name_of(part) for part in re.split(r"[;,|\s]+", str(listed).strip("[](){} ")) if part]


def name_of(value: Any) -> str:
    """Return a unit's name as text: 7, 7.0 and "7" are the same unit."""
    text = str(value).strip()
    return text[:-2] if re.fullmatch(r"-?\d+\.0", text) else text


def _edges(pairs: set[tuple[int, int]], unknown: int) -> Edges:
    found = np.array(sorted(pairs), dtype=np.int64).reshape(-1, 2)
    return Edges(found[:, 0], found[:, 1], unknown)


# --- probabilities --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sets:
    """For every unit the assignment units that are its own, its neighbours' and both: sparse (n, A) of 0 and 1."""

    own: sparse.csr_array
    neighbours: sparse.csr_array
    both: sparse.csr_array

    def take(self, rows: Codes) -> Sets:
        """Return the sets of some units."""
        return Sets(self.own[rows], self.neighbours[rows], self.both[rows])


def sets_of(edges: Edges, assignment: Assignment) -> Sets:
    """Return whose assignment bears on each unit."""
    n, a = len(assignment.of_unit), len(assignment.stratum)
    own = sparse.csr_array((np.ones(n), (np.arange(n), assignment.of_unit)), shape=(n, a))
    links = sparse.csr_array((np.ones(len(edges.source)), (edges.target, edges.source)), shape=(n, n))
    near = (links @ own).tocsr()
    near.data[:] = 1.0
    both = (own + near).tocsr()
    both.data[:] = 1.0
    return Sets(own, near, both)


def joint_probabilities(sets: Sets, assignment: Assignment) -> Mapping[tuple[int, int], Floats]:
    """Return P(i in exposure k and j in exposure l) (n, n) for every k ≤ l, exactly.

    By inclusion and exclusion over "none treated" in unions of two units' sets, each a product over strata of
    hypergeometric probabilities.
    """
    kinds = (sets.own, sets.neighbours, sets.both)
    n = sets.own.shape[0]
    none = [np.ones(n), *(_none_treated(kind, assignment) for kind in kinds)]
    joint = {(0, 0): np.ones((n, n))}
    for p in range(1, 4):
        joint[0, p] = np.broadcast_to(none[p], (n, n))
        joint[p, 0] = joint[0, p].T
        for q in range(p, 4):
            joint[p, q] = _neither_treated(kinds[p - 1], kinds[q - 1], assignment)
            joint[q, p] = joint[p, q].T
    found = {}
    for k in range(4):
        for other in range(k, 4):
            weights = np.outer(COMBINATIONS[k], COMBINATIONS[other])
            total = sum(weights[p, q] * joint[p, q] for p, q in np.argwhere(weights))
            found[k, other] = np.where(total > 1e-10, total, 0.0)
    return found


def exact_probabilities(sets: Sets, assignment: Assignment) -> Floats:
    """Return P(unit in exposure) (n, 4), exactly."""
    kinds = (sets.own, sets.neighbours, sets.both)
    none = np.column_stack([np.ones(sets.own.shape[0]), *(_none_treated(kind, assignment) for kind in kinds)])
    found = none @ COMBINATIONS.T
    return np.where(found > 1e-10, found, 0.0)


def _none_treated(kind: sparse.csr_array, assignment: Assignment) -> Floats:
    found = np.zeros(kind.shape[0])
    for s, table in enumerate(_tables(assignment)):
        found += table[_sizes(kind, assignment, s)]
    return np.exp(found)


def _neither_treated(first: sparse.csr_array, second: sparse.csr_array, assignment: Assignment) -> Floats:
    found = np.zeros((first.shape[0], second.shape[0]))
    for s, table in enumerate(_tables(assignment)):
        columns = np.flatnonzero(assignment.stratum == s)
        shared = (first[:, columns] @ second[:, columns].T).toarray()
        sizes = _sizes(first, assignment, s)[:, None] + _sizes(second, assignment, s)[None, :] - shared
        found += table[sizes.astype(np.int64)]
    return np.exp(found)


def _sizes(kind: sparse.csr_array, assignment: Assignment, stratum: int) -> Codes:
    return np.asarray(kind @ (assignment.stratum == stratum)).astype(np.int64)


def _tables(assignment: Assignment) -> list[Floats]:
    """Return for every stratum the logarithm of P(none of m units treated), by m."""
    tables = []
    for s in range(int(assignment.stratum.max()) + 1):
        inside = assignment.stratum == s
        size, treated = int(inside.sum()), int(assignment.treated[inside].sum())
        m = np.arange(size + 1)
        left = size - m
        possible = left >= treated
        value = special.gammaln(left + 1) - special.gammaln(np.maximum(left - treated, 0) + 1)
        whole = special.gammaln(size + 1) - special.gammaln(size - treated + 1)
        tables.append(np.where(possible, value - whole, -np.inf))
    return tables


def exposures(treated: NDArray[np.bool_], sets: Sets, links: sparse.csr_array, rule: Exposure) -> Codes:
    """Return the exposure 0…3 of each unit: treated among the assignment units (A,)."""
    own = sets.own @ treated > 0
    half = np.maximum(links.sum(axis=1), 1) / 2
    near = sets.neighbours @ treated > 0 if rule == "any" else links @ own >= half
    return np.asarray(2 * own + near, dtype=np.int64)


def draw(assignment: Assignment, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return another assignment (A,) of the same kind."""
    treated = np.zeros(len(assignment.stratum), dtype=bool)
    for s in range(int(assignment.stratum.max()) + 1):
        inside = np.flatnonzero(assignment.stratum == s)
        count = int(assignment.treated[inside].sum())
        treated[rng.permutation(inside)[:count]] = True
    return treated


# --- estimation -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Means:
    """Mean outcomes under each exposure (4,) (Hájek) and their covariance (4, 4); NaN where nobody was in one."""

    values: Floats
    covariance: Floats
    horvitz_thompson: Floats


def means(
    outcome: Floats, exposure: Codes, probability: Floats, joint: Mapping[tuple[int, int], Floats] | None, near: Any
) -> Means:
    """Return means under each exposure with a design-based covariance.

    Parameters
    ----------
    probability : shape (n, 4), positive.
    joint : P(i in k, j in l) for k ≤ l; None takes the products of units whose sets meet instead.
    near : sparse (n, n), which pairs of units may depend on each other (used without `joint`).

    References
    ----------
    Aronow & Samii (2017), https://doi.org/10.1214/16-AOAS1005, equations 7 to 11, on residuals from the Hájek means;
    Leung (2022), https://doi.org/10.3982/ECTA17841, for the sum over pairs that depend on each other.
    """
    n = len(outcome)
    inside = exposure[:, None] == np.arange(4)
    pull = inside / probability
    with np.errstate(divide="ignore", invalid="ignore"):
        values = (pull * outcome[:, None]).sum(axis=0) / pull.sum(axis=0)
    left = np.where(inside, outcome[:, None] - values, 0.0)
    score = left / probability
    covariance = np.empty((4, 4))
    for k in range(4):
        for other in range(k, 4):
            if joint is None:
                value = float(score[:, k] @ (near @ score[:, other]))
            else:
                value = _covariance(left, probability, joint[k, other], k, other)
            covariance[k, other] = covariance[other, k] = value / n**2
    return Means(values, covariance, (pull * outcome[:, None]).mean(axis=0))


def _covariance(left: Floats, probability: Floats, joint: Floats, k: int, other: int) -> float:
    """Return the conservative variance (k = other) or covariance of two totals."""
    a, b = left[:, k] / probability[:, k], left[:, other] / probability[:, other]
    rows, columns = np.flatnonzero(left[:, k]), np.flatnonzero(left[:, other])
    both = joint[np.ix_(rows, columns)]
    product = np.outer(probability[rows, k], probability[columns, other])
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = np.where(both > 0, 1 - product / both, 0.0)
    if k == other:
        np.fill_diagonal(factor, 1 - probability[rows, k])
    total = float(a[rows] @ factor @ b[columns])
    never = joint == 0
    if k == other:
        np.fill_diagonal(never, val=False)
    bound = never.sum(axis=1) @ (left[:, k] ** 2 / probability[:, k]) / 2
    bound += never.sum(axis=0) @ (left[:, other] ** 2 / probability[:, other]) / 2
    return total + float(bound) if k == other else total - float(bound)

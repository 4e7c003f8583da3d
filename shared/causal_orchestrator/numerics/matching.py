"""Nearest-neighbour matching and the local moments behind the variance of matching estimators.

On one coordinate (a propensity) neighbours are found by sorting, so ties cost nothing; in more by a kd-tree.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.spatial import cKDTree

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]

# Donors whose squared distance is within this of the last match's share its place (variances of the coordinate): the
# tolerance of Sekhon's Matching, https://doi.org/10.18637/jss.v042.i07, section 3.
TIED = 1e-5


@dataclass(frozen=True)
class Matches:
    """Who stands in for whom.

    average : takes values of the donors (n₀,) or (n₀, k) to each target's mean over its matches, zero without one.
    used, squared : shape (n₀,)
        How often each donor serves, and the sum of its squared shares.
    matched : shape (n₁,)
    """

    average: Callable[[Floats], Floats]
    used: Floats
    squared: Floats
    matched: NDArray[np.bool_]


def match(
    targets: Floats, donors: Floats, *, ratio: int = 1, caliper: float | None = None, ties: bool = True
) -> Matches:
    """Match each target to its `ratio` nearest donors, with replacement.

    Parameters
    ----------
    targets, donors : shape (n₁, d), (n₀, d)
        Coordinates in which distance is Euclidean.
    caliper : largest distance of a match; targets without one stay unmatched.
    ties : all donors as near as the last match share its place, else the first in order does.
    """
    ratio = min(ratio, len(donors))
    if targets.shape[1] == 1 and ties:
        return _match_on_line(targets[:, 0], donors[:, 0], ratio, caliper)
    extra = min(len(donors), ratio + (20 if ties else 0))
    distance, neighbour = cKDTree(donors).query(targets, k=np.arange(1, extra + 1))
    chosen = np.arange(extra) < ratio
    if ties:
        chosen = distance**2 <= distance[:, [ratio - 1]] ** 2 + TIED
    chosen = np.broadcast_to(chosen, distance.shape) & (distance <= (np.inf if caliper is None else caliper))
    row, place = np.nonzero(chosen)
    count = chosen.sum(axis=1)
    shares = sparse.csr_array((1 / count[row], (row, neighbour[row, place])), shape=(len(targets), len(donors)))
    return _from_shares(shares)


def _from_shares(shares: sparse.csr_array) -> Matches:
    return Matches(
        average=lambda values: np.asarray(shares @ values),
        used=np.asarray(shares.sum(axis=0)).ravel(),
        squared=np.asarray(shares.power(2).sum(axis=0)).ravel(),
        matched=np.asarray(shares.sum(axis=1)).ravel() > 0,
    )


def _match_on_line(targets: Floats, donors: Floats, ratio: int, caliper: float | None) -> Matches:
    """All donors within the distance of the last match are a window of the sorted line."""
    sorting = np.argsort(donors, kind="stable")
    line = donors[sorting]
    variance = float(np.concatenate([targets, donors]).var())
    last = np.sort(np.abs(line[_around(line, targets, ratio)] - targets[:, None]), axis=1)[:, ratio - 1]
    reach = np.sqrt(last**2 + TIED * variance)
    if caliper is not None:
        reach = np.where(last <= caliper, np.minimum(reach, caliper), -1.0)
    low, high = np.searchsorted(line, targets - reach, "left"), np.searchsorted(line, targets + reach, "right")
    high = np.maximum(low, high)
    share = np.divide(1.0, high - low, out=np.zeros(len(targets)), where=high > low)

    def average(values: Floats) -> Floats:
        centre = values.mean(axis=0)
        total = np.concatenate([np.zeros_like(values[:1]), np.cumsum(values[sorting] - centre, axis=0)])
        mean = (total[high] - total[low]) * (share if values.ndim == 1 else share[:, None])
        return np.asarray(mean + np.multiply.outer(share > 0, centre))

    def spread(amount: Floats) -> Floats:
        ends = np.bincount(low, amount, len(line) + 1) - np.bincount(high, amount, len(line) + 1)
        back = np.empty(len(line))
        back[sorting] = np.cumsum(ends)[:-1]
        return back

    return Matches(average, spread(share), spread(share**2), share > 0)


def _around(line: Floats, points: Floats, count: int) -> Codes:
    """Positions (n, up to 2·count) on a sorted line among which each point's `count` nearest are."""
    width = min(2 * count, len(line))
    start = np.clip(np.searchsorted(line, points) - count, 0, len(line) - width)
    return start[:, None] + np.arange(width)


def match_once(targets: Floats, donors: Floats, order: Codes, *, caliper: float | None = None) -> Matches:
    """Match each target to one donor of its own, greedily in `order`, on one coordinate.

    Parameters
    ----------
    targets, donors : shape (n₁,), (n₀,)
    order : positions of the targets, first come first served.
    """
    sorting = np.argsort(donors, kind="stable")
    line = donors[sorting]
    # Place p is free while above[p] == p and below[p + 1] == p + 1; the ends are sentinels.
    above, below = np.arange(len(line) + 1), np.arange(len(line) + 1)
    chosen: list[tuple[int, int]] = []
    for i in order:
        at = int(np.searchsorted(line, targets[i]))
        high, low = _root(above, at), _root(below, at) - 1
        high_gap = float(line[high] - targets[i]) if high < len(line) else np.inf
        low_gap = float(targets[i] - line[low]) if low >= 0 else np.inf
        gap, place = (low_gap, low) if low_gap <= high_gap else (high_gap, high)
        if np.isfinite(gap) and (caliper is None or gap <= caliper):
            chosen.append((int(i), int(sorting[place])))
            above[place] = place + 1
            below[place + 1] = place
    rows, columns = np.array(chosen, dtype=np.int64).reshape(-1, 2).T
    return _from_shares(sparse.csr_array((np.ones(len(rows)), (rows, columns)), shape=(len(targets), len(donors))))


def local_variance(outcome: Floats, coordinates: Floats, neighbours: int = 2) -> Floats:
    """Return the outcome's variance (n,) at each row from its nearest neighbours of the same arm.

    References
    ----------
    Abadie & Imbens (2006), equation 14: J/(J+1) (Y_i - mean of J neighbours)².
    """
    near = _neighbours(coordinates, neighbours)
    gap = outcome - outcome[near].mean(axis=1)
    return np.asarray(near.shape[1] / (near.shape[1] + 1) * gap**2)


def local_covariance(covariates: Floats, outcome: Floats, coordinates: Floats, neighbours: int = 2) -> Floats:
    """Return the covariance (n, p) of each covariate and the outcome at each row, by the same neighbours."""
    near = _neighbours(coordinates, neighbours)
    gap = outcome - outcome[near].mean(axis=1)
    gaps = np.column_stack([x - x[near].mean(axis=1) for x in covariates.T])
    return np.asarray(near.shape[1] / (near.shape[1] + 1) * gaps * gap[:, None])


def _neighbours(coordinates: Floats, count: int) -> Codes:
    """Return the nearest other rows (n, count) of each row."""
    n = len(coordinates)
    count = min(count, n - 1)
    own = np.arange(n)
    if coordinates.shape[1] > 1:
        near = cKDTree(coordinates).query(coordinates, k=np.arange(1, count + 2))[1]
        # Among exact copies the row itself may be missing from its own list; then the farthest goes.
        others = np.where((near == own[:, None]).any(axis=1, keepdims=True), near != own[:, None], np.arange(count + 1) < count)  # fmt: skip
        return np.asarray(near[others].reshape(n, count))
    sorting = np.argsort(coordinates[:, 0], kind="stable")
    line = coordinates[sorting, 0]
    width = min(2 * count + 1, n)
    places = np.clip(own - count, 0, n - width)[:, None] + np.arange(width)
    gaps = np.where(places == own[:, None], np.inf, np.abs(line[places] - line[:, None]))
    nearest = np.take_along_axis(places, np.argsort(gaps, axis=1, kind="stable")[:, :count], axis=1)
    back = np.empty((n, count), dtype=np.int64)
    back[sorting] = sorting[nearest]
    return back


def _root(parent: Codes, start: int) -> int:
    """Follow a forest of free places to its root, shortening the way."""
    root = start
    while parent[root] != root:
        root = int(parent[root])
    while parent[start] != root:
        parent[start], start = root, int(parent[start])
    return root

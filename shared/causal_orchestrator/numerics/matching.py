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

ROUNDING = 1e-8  # standard deviations of a coordinate by which distances that are equal may differ in double precision
SPARE = 20  # distinct points looked up beyond those needed, before the search for further ties widens


@dataclass(frozen=True)
class Matches:
    """Who stands in for whom.

    average : takes values of the donors (n₀,) or (n₀, k) to each target's mean over its matches, zero without one.
    used, squared : shape (n₀,)
        How often each donor serves, and the sum of its squared shares.
    count : shape (n₁,)
        How many donors stand in for each target; zero without a match.
    """

    average: Callable[[Floats], Floats]
    used: Floats
    squared: Floats
    count: Floats

    @property
    def matched(self) -> NDArray[np.bool_]:
        """Whether each target (n₁,) has a match."""
        return self.count > 0


def match(
    targets: Floats,
    donors: Floats,
    *,
    ratio: int = 1,
    caliper: float | None = None,
    ties: bool = True,
    tolerance: float = 0.0,
) -> Matches:
    """Match each target to its `ratio` nearest donors, with replacement.

    Parameters
    ----------
    targets, donors : shape (n₁, d), (n₀, d)
        Coordinates in which distance is Euclidean.
    caliper : largest distance of a match; targets without one stay unmatched.
    ties : all donors as near as the last match share its place, else the first in order do.
    tolerance : variances of the coordinate by which the squared distance of a tie may exceed that of the last match.
    """
    ratio = min(ratio, len(donors))
    variance = float(np.vstack([targets, donors]).var(axis=0).mean())
    slack = ROUNDING * np.sqrt(variance)
    if targets.shape[1] == 1 and ties:
        return _match_on_line(targets[:, 0], donors[:, 0], ratio, caliper, tolerance * variance, slack)
    points, place = np.unique(donors, axis=0, return_inverse=True)
    place = place.ravel()
    size = np.bincount(place)
    tree = cKDTree(points)
    width = min(len(points), ratio + SPARE)
    while True:
        distance, near = tree.query(targets, k=np.arange(1, width + 1))
        reached = np.cumsum(size[near], axis=1)
        last = np.take_along_axis(distance, (reached >= ratio).argmax(axis=1)[:, None], axis=1)
        chosen = distance <= np.sqrt(last**2 + tolerance * variance) + slack
        if width == len(points) or not chosen[:, -1].any():
            break
        width = min(len(points), 4 * width)
    chosen &= distance <= (np.inf if caliper is None else caliper + slack)
    if not ties:
        return _first(place, near, distance, chosen, ratio, slack)
    count = (chosen * size[near]).sum(axis=1)
    row, column = np.nonzero(chosen)
    shares = sparse.csr_array((1 / count[row], (row, near[row, column])), shape=(len(targets), len(points)))
    members = sparse.csr_array((np.ones(len(place)), (place, np.arange(len(place)))), shape=(len(points), len(place)))
    return Matches(
        average=lambda values: np.asarray(shares @ (members @ values)),
        used=np.asarray(shares.sum(axis=0)).ravel()[place],
        squared=np.asarray(shares.power(2).sum(axis=0)).ravel()[place],
        count=count.astype(np.float64),
    )


def _first(place: Codes, near: Codes, distance: Floats, chosen: NDArray[np.bool_], ratio: int, slack: float) -> Matches:
    """Take the nearest `ratio` donors of each target, equally near ones in their order."""
    by_point = np.argsort(place, kind="stable")
    start = np.searchsorted(place[by_point], np.arange(place.max() + 2))
    pairs: list[tuple[int, int]] = []
    for i in range(len(near)):
        found = np.flatnonzero(chosen[i])
        groups = [by_point[start[p] : min(start[p] + ratio, start[p + 1])] for p in near[i, found]]
        gaps = np.repeat(distance[i, found], [len(group) for group in groups])
        step = np.cumsum(np.diff(gaps, prepend=gaps[:1]) > slack)
        donors = np.concatenate([*groups, np.zeros(0, dtype=np.int64)])
        pairs += [(i, int(j)) for j in donors[np.lexsort((donors, step))][:ratio]]
    return _from_pairs(pairs, len(near), len(place))


def _from_pairs(pairs: list[tuple[int, int]], targets: int, donors: int) -> Matches:
    row, column = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    count = np.bincount(row, minlength=targets)
    shares = sparse.csr_array((1 / count[row], (row, column)), shape=(targets, donors))
    return Matches(
        average=lambda values: np.asarray(shares @ values),
        used=np.asarray(shares.sum(axis=0)).ravel(),
        squared=np.asarray(shares.power(2).sum(axis=0)).ravel(),
        count=count.astype(np.float64),
    )


def _match_on_line(
    targets: Floats, donors: Floats, ratio: int, caliper: float | None, tolerance: float, slack: float
) -> Matches:
    """All donors within the distance of the last match are a window of the sorted line; targets go along it too."""
    sorting, along = np.argsort(donors, kind="stable"), np.argsort(targets, kind="stable")
    line, targets = donors[sorting], targets[along]
    last = np.sort(np.abs(line[_around(line, targets, ratio)] - targets[:, None]), axis=1)[:, ratio - 1]
    reach = np.sqrt(last**2 + tolerance) + slack
    if caliper is not None:
        reach = np.where(last <= caliper + slack, np.minimum(reach, caliper + slack), -1.0)
    low, high = np.searchsorted(line, targets - reach, "left"), np.searchsorted(line, targets + reach, "right")
    high = np.maximum(low, high)
    count = (high - low).astype(np.float64)
    share = np.divide(1.0, count, out=np.zeros(len(targets)), where=count > 0)

    def average(values: Floats) -> Floats:
        centre = values.mean(axis=0)
        total = np.zeros((len(line) + 1, *values.shape[1:]))
        np.cumsum(values[sorting] - centre, axis=0, out=total[1:])
        mean = total[high]
        mean -= total[low]
        mean *= share if values.ndim == 1 else share[:, None]
        mean += np.multiply.outer(share > 0, centre)
        back = np.empty_like(mean)
        back[along] = mean
        return back

    def spread(amount: Floats) -> Floats:
        ends = np.bincount(low, amount, len(line) + 1) - np.bincount(high, amount, len(line) + 1)
        back = np.empty(len(line))
        back[sorting] = np.cumsum(ends)[:-1]
        return back

    counts = np.empty_like(count)
    counts[along] = count
    return Matches(average, spread(share), spread(share**2), counts)


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
    order : positions of the targets, first come first served; of equally near donors the first in order serves.
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
        if np.isfinite(low_gap):
            low = _root(above, int(np.searchsorted(line, line[low])))  # the first of those with this value
        earlier = low_gap < high_gap or (low_gap == high_gap < np.inf and sorting[low] < sorting[high])
        gap, place = (low_gap, low) if earlier else (high_gap, high)
        if np.isfinite(gap) and (caliper is None or gap <= caliper):
            chosen.append((int(i), int(sorting[place])))
            above[place] = place + 1
            below[place + 1] = place
    return _from_pairs(chosen, len(targets), len(donors))


def local_covariance(near: Matches, left: Floats, right: Floats) -> Floats:
    """Return the sample covariance (n₁,) or (n₁, p) of two variables (n₀,) or (n₀, p) among each target's matches.

    References
    ----------
    Abadie & Imbens (2016), https://doi.org/10.3982/ECTA11293, section 4; ties all count.
    """
    left, right = left - left.mean(axis=0), right - right.mean(axis=0)
    rest = near.count / np.maximum(near.count - 1, 1)
    product, means = near.average((left.T * right).T), (near.average(left).T * near.average(right)).T
    return np.asarray(((product - means).T * rest).T)


def _root(parent: Codes, start: int) -> int:
    """Follow a forest of free places to its root, shortening the way."""
    root = start
    while parent[root] != root:
        root = int(parent[root])
    while parent[start] != root:
        parent[start], start = root, int(parent[start])
    return root

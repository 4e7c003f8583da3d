"""The best shallow tree that gives each leaf one treatment, found by exact search, within a budget where there is one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations_with_replacement
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]

BINS = 32  # thresholds are quantiles where a covariate has more values
WORK = 1e8  # rows times squared covariates that a search may take
MOST_FEATURES = 30
LEAST_ROWS, LEAST_SHARE = 10, 0.05  # what a leaf of a learned policy holds
MOST_PRICED = 12  # with a budget all pairs of options are tried


@dataclass(frozen=True)
class Tree:
    """A leaf with an `action`, or a split: rows with ``features[:, feature] <= threshold`` go `left`."""

    action: int = 0
    feature: int | None = None
    threshold: float = 0.0
    left: Tree | None = None
    right: Tree | None = None

    def assign(self, features: Floats) -> Codes:
        """Return the action (n,) for each row of features (n, p)."""
        if self.feature is None or self.left is None or self.right is None:
            return np.full(len(features), self.action, dtype=np.int64)
        goes_left = features[:, self.feature] <= self.threshold
        return np.where(goes_left, self.left.assign(features), self.right.assign(features))

    def told(self, features: Floats, names: Sequence[str], levels: Sequence[str]) -> dict[str, Any]:
        """Return the tree as nested JSON with the number of rows in each node."""
        if self.feature is None or self.left is None or self.right is None:
            return {"action": levels[self.action], "n": len(features)}
        goes_left = features[:, self.feature] <= self.threshold
        return {
            "feature": names[self.feature],
            "threshold": self.threshold,
            "n": len(features),
            "left": self.left.told(features[goes_left], names, levels),
            "right": self.right.told(features[~goes_left], names, levels),
        }


def search(scores: Floats, features: Floats, *, depth: int, least: int = LEAST_ROWS) -> Tree:
    """Return the tree of at most `depth` splits in a row whose actions have the largest sum of scores.

    Parameters
    ----------
    scores : shape (n, K)
        What each action is worth in each row; sampling weights multiplied in.
    features : shape (n, p)
        Up to 32 thresholds each; where the covariates are too many for the rows, the search keeps those with the best
        single split.
    depth : 0, 1 or 2.
    least : rows that a leaf must hold.

    References
    ----------
    Zhou, Athey & Wager (2023), https://doi.org/10.1287/opre.2022.2271.
    """
    return _searched(scores, features, None, depth=depth, least=[least])[0]


@dataclass(frozen=True)
class _Binned:
    """A covariate as codes (n,): code ≤ j where its value is ≤ cuts[j]."""

    codes: Codes
    cuts: Floats
    place: int


@dataclass(frozen=True)
class _Found:
    """A tree and the sum of scores that it earns."""

    tree: Tree
    value: float


@dataclass(frozen=True)
class _Single:
    """The best split of one covariate: its value, the cut, and the actions on both sides (-inf: none is allowed)."""

    value: float
    cut: int = 0
    actions: tuple[int, int] = field(default=(0, 0))


def _codes(column: Floats) -> tuple[Codes, Floats]:
    ordered = np.sort(column)
    distinct = ordered[np.concatenate([[True], ordered[1:] != ordered[:-1]])]
    if len(distinct) > BINS:
        distinct = np.unique(ordered[(np.arange(1, BINS + 1) * (len(ordered) - 1)) // BINS])
    cuts = distinct[:-1]
    return np.searchsorted(cuts, column, side="left"), cuts


def _searched(scores: Floats, features: Floats, fold: Codes | None, *, depth: int, least: Sequence[int]) -> list[Tree]:
    """Return the best trees on the rows outside each fold, if there are folds, and, last, on all rows.

    Thresholds are those of all rows, so that sums by pairs of bins are counted once for all searches.
    """
    content = np.vstack([scores.T, np.ones(len(scores))])
    whole = _outside(np.zeros(len(scores), dtype=np.int64), 1, fold, content)[:, :, 0]  # (searches, K + 1)
    binned = [_Binned(*_codes(column), place=j) for j, column in enumerate(features.T)] if depth else []
    binned = [one for one in binned if len(one.cuts)]
    sums = [_outside(one.codes, len(one.cuts) + 1, fold, content) for one in binned]
    first = [_first_split(binned, [each[s] for each in sums], whole[s], least[s]) for s in range(len(whole))]
    if depth < 2:
        return [found.tree for found, _ in first]
    below = [{i: _leaves_below(sums[i][s], least[s]) for i in kept} for s, (_, kept) in enumerate(first)]
    for i, j in combinations_with_replacement(range(len(binned)), 2):
        searches = [s for s, each in enumerate(below) if i in each and j in each]
        shape = (len(binned[i].cuts) + 1, len(binned[j].cuts) + 1)
        if not searches:
            continue
        joint = _outside(binned[i].codes * shape[1] + binned[j].codes, shape[0] * shape[1], fold, content)
        for s in searches:
            pair = joint[s].reshape(-1, *shape)
            below[s][i] = _split_below(below[s][i], pair, j, least[s])
            if i != j:
                below[s][j] = _split_below(below[s][j], pair.swapaxes(1, 2), i, least[s])
    return [_two_splits(binned, each, found).tree for each, (found, _) in zip(below, first, strict=True)]


def _first_split(
    binned: Sequence[_Binned], histograms: Sequence[Floats], whole: Floats, least: int
) -> tuple[_Found, list[int]]:
    """Return the best tree of one split at most, and the covariates that a search for more keeps."""
    leaf = _Found(Tree(int(whole[:-1].argmax())), float(whole[:-1].max()))
    if whole[-1] < 2 * least:
        return leaf, []
    singles = [_one_split(histogram, least) for histogram in histograms]
    room = int(min(MOST_FEATURES, max(4.0, np.sqrt(WORK / whole[-1]))))
    kept = sorted(np.argsort([-single.value for single in singles], kind="stable")[:room].tolist())
    return _best_of([singles[i] for i in kept], [binned[i] for i in kept], leaf), kept


def _outside(cells: Codes, count: int, fold: Codes | None, content: Floats) -> Floats:
    """Return sums (searches, rows of content, count) by cell over the rows outside each fold and, last, over all."""
    if fold is None:
        return np.asarray([[np.bincount(cells, column, count) for column in content]], dtype=np.float64)
    folds, places = int(fold.max()) + 1, fold * count + cells
    sums = np.stack([np.bincount(places, column, folds * count).reshape(folds, count) for column in content], axis=1)
    total = sums.sum(axis=0)
    return np.concatenate([total - sums, total[None]])


def _one_split(histogram: Floats, least: int) -> _Single:
    """Return the best cut from sums of scores and counts by bin (K + 1, B)."""
    left = np.cumsum(histogram, axis=1)[:, :-1]
    right = histogram.sum(axis=1)[:, None] - left
    value = left[:-1].max(axis=0) + right[:-1].max(axis=0)
    value = np.where(np.minimum(left[-1], right[-1]) >= least, value, -np.inf)
    cut = int(value.argmax())
    return _Single(float(value[cut]), cut, (int(left[:-1, cut].argmax()), int(right[:-1, cut].argmax())))


def _best_of(singles: Sequence[_Single], kept: Sequence[_Binned], best: _Found) -> _Found:
    for single, one in zip(singles, kept, strict=True):
        if single.value > best.value + _tie(best.value) and single.actions[0] != single.actions[1]:
            sides = [Tree(action) for action in single.actions]
            best = _Found(Tree(0, one.place, float(one.cuts[single.cut]), *sides), single.value)
    return best


def _two_splits(binned: Sequence[_Binned], below: Mapping[int, _Below], best: _Found) -> _Found:
    for i, under in below.items():
        root, total = binned[i], under.gained.sum(axis=0)
        cut = int(total.argmax())
        if total[cut] > best.value + _tie(best.value):
            sides = [_subtree(under.chosen[side, cut].tolist(), binned) for side in (0, 1)]
            best = _Found(Tree(0, root.place, float(root.cuts[cut]), *sides), float(total[cut]))
    return best


@dataclass(frozen=True)
class _Below:
    """What the best single split on both sides of each cut of a root earns so far, and which it is.

    both : shape (2, K + 1, cuts)
        The sides' sums.
    gained : shape (2, cuts)
    chosen : shape (2, cuts, 4)
        Index of the covariate (-1: no split), cut, action below and above it.
    """

    both: Floats
    gained: Floats
    chosen: Codes


def _leaves_below(histogram: Floats, least: int) -> _Below:
    """Return the state before any split below a root, from sums by its bins (K + 1, B)."""
    sides = np.cumsum(histogram, axis=1)
    both = np.stack([sides[:, :-1], sides[:, -1:] - sides[:, :-1]])
    gained = np.where(both[:, -1] >= least, both[:, :-1].max(axis=1), -np.inf)
    action = both[:, :-1].argmax(axis=1)
    return _Below(both, gained, np.stack([np.full_like(action, -1), action, action, action], axis=2))


def _split_below(under: _Below, joint: Floats, index: int, least: int) -> _Below:
    """Try every cut of another covariate below every cut of the root, from sums by their bins (K + 1, B, B')."""
    sums = np.cumsum(np.cumsum(joint, axis=1), axis=2)
    low = np.stack([sums[:, :-1, :-1], sums[:, -1:, :-1] - sums[:, :-1, :-1]])  # (2, K + 1, cuts, inner cuts)
    high = under.both[..., None] - low
    value = low[:, :-1].max(axis=1) + high[:, :-1].max(axis=1)
    value[np.minimum(low[:, -1], high[:, -1]) < least] = -np.inf
    cut = value.argmax(axis=2)
    top = np.take_along_axis(value, cut[:, :, None], axis=2)[:, :, 0]
    better = top > under.gained + _tie(under.gained)
    if not better.any():
        return under
    actions = [np.take_along_axis(part[:, :-1], cut[:, None, :, None], axis=3)[..., 0].argmax(axis=1) for part in (low, high)]  # fmt: skip
    tried = np.stack([np.full_like(cut, index), cut, *actions], axis=2)
    return _Below(under.both, np.where(better, top, under.gained), np.where(better[:, :, None], tried, under.chosen))


def _subtree(coded: list[int], binned: Sequence[_Binned]) -> Tree:
    index, cut, low, high = coded
    if low == high:
        return Tree(low)
    return Tree(0, binned[index].place, float(binned[index].cuts[cut]), Tree(low), Tree(high))


def _tie(value: Any) -> Any:
    """Return what rounding may make of equal sums; the simpler tree wins a tie."""
    return 1e-12 * np.where(np.isfinite(value), np.abs(value), 0.0)


# --- budgets --------------------------------------------------------------------------------------------------------


def search_within(
    scores: Floats, costs: Floats, features: Floats, *, depth: int, limit: float, least: int = LEAST_ROWS
) -> Tree:
    """Return the tree with the largest sum of scores among those whose sum of costs is at most `limit`.

    The search is exact too: on either side of a root every split with every pair of actions is an option with a worth
    and a cost, and options of the two sides are joined along the frontier of what money can buy.

    Parameters
    ----------
    scores, costs : shape (n, K)
        Worth and cost of each action in each row; some action must cost nothing.
    """
    limit += 1e-9 * abs(limit)
    spent = costs.sum(axis=0)
    within = np.where(spent <= limit, scores.sum(axis=0), -np.inf)
    best = _Found(Tree(int(within.argmax())), float(within.max()))
    if depth == 0 or len(scores) < 2 * least:
        return best.tree
    binned = [_Binned(*_codes(column), place=j) for j, column in enumerate(features.T)]
    content = np.column_stack([scores, costs, np.ones(len(scores))])
    kept = _promising([one for one in binned if len(one.cuts)], content, least)
    for root in kept:
        tables = _options(root, kept if depth == 2 else [], content, least)
        for cut in range(len(root.cuts)):
            sides = [tuple(part[side, cut] for part in tables) for side in (0, 1)]
            total, chosen = _joined(sides[0], sides[1], limit)
            if total > best.value + _tie(best.value):
                trees = [_option(kept if depth == 2 else [], scores.shape[1], i) for i in chosen]
                best = _Found(Tree(0, root.place, float(root.cuts[cut]), *trees), total)
    return best.tree


def _histogram(one: _Binned, content: Floats) -> Floats:
    return np.column_stack([np.bincount(one.codes, column, len(one.cuts) + 1) for column in content.T])


def _promising(binned: Sequence[_Binned], content: Floats, least: int) -> list[_Binned]:
    """Return the covariates whose single split is worth most whatever it costs, as many as the rows allow."""
    k = (content.shape[1] - 1) // 2
    plain = content[:, [*range(k), content.shape[1] - 1]]
    worth = [-_one_split(_histogram(one, plain).T, least).value for one in binned]
    room = int(min(MOST_PRICED, max(4.0, np.sqrt(WORK / len(content)))))
    return [binned[i] for i in sorted(np.argsort(worth, kind="stable")[:room].tolist())]


def _options(root: _Binned, kept: Sequence[_Binned], content: Floats, least: int) -> tuple[Floats, Floats]:
    """Return worth and cost (2, cuts, options) of all that may be done on either side of each cut of the root.

    Options are the K actions without a split, then for each covariate, cut and pair of actions a split.
    """
    k = (content.shape[1] - 1) // 2
    sides = np.cumsum(_histogram(root, content), axis=0)
    both = np.stack([sides[:-1], sides[-1] - sides[:-1]])
    worth = [np.where(both[..., -1:] >= least, both[..., :k], -np.inf)]
    cost = [both[..., k:-1]]
    for one in kept:
        width = len(one.cuts) + 1
        cells = root.codes * width + one.codes
        joint = np.stack([np.bincount(cells, column, (len(root.cuts) + 1) * width) for column in content.T], axis=-1)
        sums = np.cumsum(np.cumsum(joint.reshape(len(root.cuts) + 1, width, -1), axis=0), axis=1)
        low = np.stack([sums[:-1, :-1], sums[-1:, :-1] - sums[:-1, :-1]])
        high = both[:, :, None] - low
        allowed = np.minimum(low[..., -1], high[..., -1])[..., None, None] >= least
        pairs = [low[..., part, None] + high[..., None, part] for part in (slice(0, k), slice(k, 2 * k))]
        worth.append(np.where(allowed, pairs[0], -np.inf).reshape(*both.shape[:2], -1))
        cost.append(pairs[1].reshape(*both.shape[:2], -1))
    return np.concatenate(worth, axis=2), np.concatenate(cost, axis=2)


def _joined(left: tuple[Floats, ...], right: tuple[Floats, ...], limit: float) -> tuple[float, tuple[int, int]]:
    """Return the best sum of one option of each side within the limit, and which two they are."""
    worth, cost = left
    order = np.lexsort((-worth, cost))
    frontier = np.maximum.accumulate(worth[order])
    reach = np.searchsorted(cost[order], limit - right[1], side="right") - 1
    total = np.where(reach >= 0, frontier[np.maximum(reach, 0)], -np.inf) + right[0]
    other = int(total.argmax())
    if not np.isfinite(total[other]):
        return -np.inf, (0, 0)
    first = int(np.argmax(frontier >= frontier[reach[other]]))
    return float(total[other]), (int(order[first]), other)


def _option(kept: Sequence[_Binned], k: int, index: int) -> Tree:
    """Return the subtree that an index among `_options` stands for."""
    if index < k:
        return Tree(index)
    index -= k
    for one in kept:
        here = len(one.cuts) * k * k
        if index < here:
            cut, pair = divmod(index, k * k)
            low, high = divmod(pair, k)
            return Tree(low) if low == high else Tree(0, one.place, float(one.cuts[cut]), Tree(low), Tree(high))
        index -= here
    raise IndexError(index)


# --- honest values --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Learned:
    """A learned policy: `tree` from all rows, and the actions (n,) of trees and of constants that saw other folds."""

    tree: Tree
    trees: tuple[Tree, ...]
    assigned: Codes
    constant: Codes


def learn(
    scores: Floats, costs: Floats, features: Floats, weights: Floats, fold: Codes, *, depth: int, budget: float | None
) -> Learned:
    """Learn a tree on all rows and, for an honest value, one on the complement of each fold.

    Parameters
    ----------
    scores, costs : shape (n, K)
        Worth (whatever it costs already taken off) and cost, for the budget, of each action.
    budget : largest weighted mean cost; None for no limit.
    """
    folds = int(fold.max()) + 1
    outside = [fold != k for k in range(folds)]
    every = [*outside, np.ones(len(fold), dtype=bool)]
    least = [max(LEAST_ROWS, int(LEAST_SHARE * rows.sum())) for rows in every]
    worth = scores * weights[:, None]
    if budget is None:
        trees = _searched(worth, features, fold, depth=depth, least=least)
        constants = [int(worth[rows].sum(axis=0).argmax()) for rows in outside]
    else:

        def best(rows: NDArray[np.bool_], splits: int, small: int) -> Tree:
            charged, limit = costs[rows] * weights[rows, None], budget * float(weights[rows].sum())
            return search_within(worth[rows], charged, features[rows], depth=splits, limit=limit, least=small)

        trees = [best(rows, depth, small) for rows, small in zip(every, least, strict=True)]
        constants = [best(rows, 0, small).action for rows, small in zip(outside, least, strict=False)]
    assigned, constant = np.zeros(len(fold), dtype=np.int64), np.array(constants, dtype=np.int64)[fold]
    for k in range(folds):
        assigned[fold == k] = trees[k].assign(features[fold == k])
    return Learned(trees[-1], tuple(trees[:-1]), assigned, constant)

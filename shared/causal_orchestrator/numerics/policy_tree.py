"""The best shallow tree that gives each leaf one treatment, found by exact search over binned covariates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]

BINS = 32  # thresholds are quantiles where a covariate has more values
WORK = 1e8  # rows times squared covariates that a search may take
MOST_FEATURES = 30
LEAST_ROWS = 10
BISECTIONS = 12


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
    leaf = Tree(int(scores.sum(axis=0).argmax()))
    if depth == 0 or not features.shape[1] or len(scores) < 2 * least:
        return leaf
    binned = [_Binned(*_codes(column), place=j) for j, column in enumerate(features.T)]
    binned = [one for one in binned if len(one.cuts)]
    content = np.column_stack([scores, np.ones(len(scores))])
    singles = [_one_split(_histogram(one, content), least) for one in binned]
    room = int(min(MOST_FEATURES, max(4.0, np.sqrt(WORK / len(scores)))))
    order = np.argsort([-single.value for single in singles], kind="stable")[:room]
    kept = [binned[i] for i in sorted(order.tolist())]
    best = _best_of([singles[i] for i in sorted(order.tolist())], kept, leaf, float(scores.sum(axis=0).max()))
    return best.tree if depth == 1 else _two_splits(kept, content, least, best).tree


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
    distinct = np.unique(column)
    if len(distinct) > BINS:
        distinct = np.unique(np.quantile(column, np.linspace(0, 1, BINS + 1)[1:], method="lower"))
    cuts = distinct[:-1]
    return np.searchsorted(cuts, column, side="left"), cuts


def _histogram(one: _Binned, content: Floats) -> Floats:
    return np.column_stack([np.bincount(one.codes, column, len(one.cuts) + 1) for column in content.T])


def _one_split(histogram: Floats, least: int) -> _Single:
    """Return the best cut from sums of scores and counts by bin (B, K + 1)."""
    left = np.cumsum(histogram, axis=0)[:-1]
    right = histogram.sum(axis=0) - left
    value = left[:, :-1].max(axis=1) + right[:, :-1].max(axis=1)
    value = np.where(np.minimum(left[:, -1], right[:, -1]) >= least, value, -np.inf)
    cut = int(value.argmax())
    return _Single(float(value[cut]), cut, (int(left[cut, :-1].argmax()), int(right[cut, :-1].argmax())))


def _best_of(singles: Sequence[_Single], kept: Sequence[_Binned], leaf: Tree, value: float) -> _Found:
    best = _Found(leaf, value)
    for single, one in zip(singles, kept, strict=True):
        if single.value > best.value + _tie(best.value) and single.actions[0] != single.actions[1]:
            sides = [Tree(action) for action in single.actions]
            best = _Found(Tree(0, one.place, float(one.cuts[single.cut]), *sides), single.value)
    return best


def _two_splits(kept: Sequence[_Binned], content: Floats, least: int, best: _Found) -> _Found:
    for root in kept:
        gained, subtrees = _below(root, kept, content, least)
        total = gained.sum(axis=0)
        cut = int(total.argmax())
        if total[cut] > best.value + _tie(best.value):
            sides = [_subtree(subtrees[side][cut], kept) for side in (0, 1)]
            best = _Found(Tree(0, root.place, float(root.cuts[cut]), *sides), float(total[cut]))
    return best


def _below(
    root: _Binned, kept: Sequence[_Binned], content: Floats, least: int
) -> tuple[Floats, tuple[list[list[int]], list[list[int]]]]:
    """Return for each cut of the root what the best single split on both sides earns (2, cuts), and which it is.

    A subtree is coded [action] or [index of the covariate, cut, action, action].
    """
    cuts = len(root.cuts)
    sides = np.cumsum(_histogram(root, content), axis=0)
    both = np.stack([sides[:-1], sides[-1] - sides[:-1]])  # (2, cuts, K + 1)
    gained = np.where(both[:, :, -1] >= least, both[:, :, :-1].max(axis=2), -np.inf)
    chosen = ([[int(a)] for a in both[0, :, :-1].argmax(axis=1)], [[int(a)] for a in both[1, :, :-1].argmax(axis=1)])
    for index, one in enumerate(kept):
        width = len(one.cuts) + 1
        joint = np.stack([np.bincount(root.codes * width + one.codes, column, (cuts + 1) * width) for column in content.T], axis=-1)  # fmt: skip
        sums = np.cumsum(np.cumsum(joint.reshape(cuts + 1, width, -1), axis=0), axis=1)
        low = np.stack([sums[:-1, :-1], sums[-1:, :-1] - sums[:-1, :-1]])  # (2, cuts, inner cuts, K + 1)
        high = both[:, :, None] - low
        value = low[..., :-1].max(axis=3) + high[..., :-1].max(axis=3)
        value = np.where(np.minimum(low[..., -1], high[..., -1]) >= least, value, -np.inf)
        inner = value.argmax(axis=2)
        top = np.take_along_axis(value, inner[:, :, None], axis=2)[:, :, 0]
        better = top > gained + _tie(gained)
        for side, cut in np.argwhere(better).tolist():
            at = int(inner[side, cut])
            actions = [int(low[side, cut, at, :-1].argmax()), int(high[side, cut, at, :-1].argmax())]
            chosen[side][cut] = [index, at, *actions]
        gained = np.where(better, top, gained)
    return gained, chosen


def _subtree(coded: list[int], kept: Sequence[_Binned]) -> Tree:
    if len(coded) == 1:
        return Tree(coded[0])
    index, cut, low, high = coded
    if low == high:
        return Tree(low)
    return Tree(0, kept[index].place, float(kept[index].cuts[cut]), Tree(low), Tree(high))


def _tie(value: Any) -> Any:
    """Return what rounding may make of equal sums; the simpler tree wins a tie."""
    return 1e-12 * np.where(np.isfinite(value), np.abs(value), 0.0)


# --- budgets and honest values --------------------------------------------------------------------------------------


def affordable(
    scores: Floats, costs: Floats, features: Floats, weights: Floats, *, depth: int, budget: float | None
) -> Tree:
    """Return the best tree whose mean cost stays within the budget.

    A price on the cost is raised until the tree is affordable, so the result is the best of all trees that spend no
    more than it does.

    Parameters
    ----------
    scores, costs : shape (n, K)
        Worth and cost of each action in each row.
    weights : shape (n,)
    budget : largest weighted mean cost; None for no limit.
    """

    def at(price: float) -> tuple[Tree, float]:
        tree = search((scores - price * costs) * weights[:, None], features, depth=depth)
        spent = costs[np.arange(len(costs)), tree.assign(features)]
        return tree, float(np.average(spent, weights=weights))

    tree, spent = at(0.0)
    if budget is None or spent <= budget:
        return tree
    low, high = 0.0, float(np.abs(scores).mean() / max(float(costs.mean()), np.finfo(float).tiny))
    tree, spent = at(high)
    while spent > budget:
        low, high = high, 2 * high
        tree, spent = at(high)
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        tried, spent = at(middle)
        if spent <= budget:
            tree, high = tried, middle
        else:
            low = middle
    return tree


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
    """

    def best(rows: NDArray[np.bool_], splits: int) -> Tree:
        return affordable(scores[rows], costs[rows], features[rows], weights[rows], depth=splits, budget=budget)  # fmt: skip

    assigned, constant = np.zeros(len(fold), dtype=np.int64), np.zeros(len(fold), dtype=np.int64)
    trees = []
    for k in range(int(fold.max()) + 1):
        trees.append(best(fold != k, depth))
        assigned[fold == k] = trees[-1].assign(features[fold == k])
        constant[fold == k] = best(fold != k, 0).action
    return Learned(best(np.ones(len(fold), dtype=bool), depth), tuple(trees), assigned, constant)

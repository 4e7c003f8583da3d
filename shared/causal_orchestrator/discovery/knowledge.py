"""What is known about a graph before it is searched: edges that cannot be, and edges that must be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Votes = NDArray[np.float64]


@dataclass(frozen=True)
class Knowledge:
    """Background knowledge over p columns.

    Parameters
    ----------
    forbidden : NDArray of bool, shape (p, p)
        ``forbidden[i, j]``: column i does not cause column j directly.
    required : NDArray of bool, shape (p, p)
        ``required[i, j]``: column i causes column j directly.
    """

    forbidden: NDArray[np.bool_]
    required: NDArray[np.bool_]

    @property
    def empty(self) -> bool:
        """Whether nothing is known."""
        return not (self.forbidden.any() or self.required.any())


def nothing(p: int) -> Knowledge:
    """Return the knowledge of someone who knows nothing about `p` columns."""
    return Knowledge(np.zeros((p, p), dtype=bool), np.zeros((p, p), dtype=bool))


def from_tiers(tiers: Sequence[int], required: Sequence[tuple[int, int]] = ()) -> Knowledge:
    """Return the knowledge that nothing causes a column of an earlier tier.

    Parameters
    ----------
    tiers : sequence of int, length p
        The place of each column in time; equal numbers leave the order open.
    required : sequence of (int, int)
        Edges that must be.
    """
    order = np.asarray(tiers)
    forbidden = order[:, None] > order[None, :]
    must = np.zeros_like(forbidden)
    for i, j in required:
        must[i, j] = True
    return Knowledge(forbidden | must.T, must)


def respect(votes: Votes, knowledge: Knowledge) -> Votes:
    """Return the votes with forbidden directions turned round and required edges in place.

    A vote for a forbidden direction still says that the two are adjacent, so it counts for the other direction
    where that is open.
    """
    kept: Votes = np.where(knowledge.forbidden, 0.0, votes)
    turned = np.where(knowledge.forbidden & ~knowledge.forbidden.T, votes, 0.0).T
    kept = np.minimum(kept + turned, 1.0)
    kept[knowledge.required] = 1.0
    kept[knowledge.required.T] = 0.0
    np.fill_diagonal(kept, 0.0)
    return kept


def votes_from_marks(marks: NDArray[np.int_]) -> Votes:
    """Turn causal-learn's end marks into votes.

    Parameters
    ----------
    marks : NDArray of int, shape (p, p)
        ``marks[j, i]`` is the mark at column j of the edge between i and j: 0 none, -1 tail, 1 arrow, 2 circle.

    Returns
    -------
    NDArray, shape (p, p)
        1 for tail–arrow; one half for circle–arrow along the arrow; one half each way for an edge without arrows;
        0 for arrow–arrow, which says that neither causes the other.
    """
    at_target, at_source = marks.T, marks
    arrow = at_target == 1
    votes = np.zeros(marks.shape)
    votes[arrow & (at_source == -1)] = 1.0
    votes[arrow & (at_source == 2)] = 0.5
    plain = np.isin(at_target, (-1, 2)) & np.isin(at_source, (-1, 2))
    votes[plain] = 0.5
    return votes


def equivalence_class(dag: NDArray[np.bool_]) -> Votes:
    """Return the votes of the CPDAG of a DAG: whole for compelled edges, halves for reversible ones.

    Parameters
    ----------
    dag : NDArray of bool, shape (p, p)
        ``dag[i, j]`` for ``i → j``.

    References
    ----------
    Meek (1995), rules 1 to 3, https://arxiv.org/abs/1302.4972
    """
    adjacent = dag | dag.T
    compelled = np.zeros_like(dag)
    for j in range(len(dag)):
        parents = np.flatnonzero(dag[:, j])
        for i in parents:
            # A collider i → j ← k counts where i and k are not adjacent.
            if any(k != i and not adjacent[i, k] for k in parents):
                compelled[i, j] = True
    while True:
        more = _meek(compelled, adjacent) & dag & ~compelled
        if not more.any():
            return np.where(compelled, 1.0, np.where(adjacent & ~compelled.T, 0.5, 0.0))
        compelled |= more


def _meek(compelled: NDArray[np.bool_], adjacent: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the edges that one pass of Meek's rules directs."""
    p = len(adjacent)
    apart = ~adjacent & ~np.eye(p, dtype=bool)
    open_: NDArray[np.bool_] = adjacent & ~compelled & ~compelled.T
    # Rule 1: k → i — j with k, j apart. Rule 2: i → k → j with i — j.
    first = (compelled.T.astype(int) @ apart.astype(int)) > 0
    second = (compelled.astype(int) @ compelled.astype(int)) > 0
    # Rule 3: i — k → j and i — l → j with k, l apart.
    third = np.zeros_like(open_)
    for i, j in np.argwhere(open_):
        between = np.flatnonzero(open_[i] & compelled[:, j])
        third[i, j] = any(apart[k, m] for k in between for m in between)
    rules: NDArray[np.bool_] = first | second | third
    return np.logical_and(open_, rules)

"""Background knowledge and votes."""

from __future__ import annotations

import numpy as np

from causal_orchestrator.discovery.knowledge import (
    equivalence_class,
    from_tiers,
    nothing,
    respect,
    votes_from_marks,
)


def dag(p: int, *edges: tuple[int, int]) -> np.ndarray:
    found = np.zeros((p, p), dtype=bool)
    for i, j in edges:
        found[i, j] = True
    return found


def test_every_end_mark_has_its_vote() -> None:
    tail, arrow, circle = -1, 1, 2
    # marks[j, i] is the mark at j; the rows below are (at the first, at the second, forth, back).
    for at_0, at_1, forth, back in (
        (tail, arrow, 1.0, 0.0),
        (arrow, tail, 0.0, 1.0),
        (tail, tail, 0.5, 0.5),
        (circle, circle, 0.5, 0.5),
        (circle, arrow, 0.5, 0.0),
        (arrow, arrow, 0.0, 0.0),
        (0, 0, 0.0, 0.0),
    ):
        votes = votes_from_marks(np.array([[0, at_0], [at_1, 0]]))
        assert (votes[0, 1], votes[1, 0]) == (forth, back)


def test_nothing_causes_an_earlier_tier() -> None:
    knowledge = from_tiers([0, 1, 1])
    assert knowledge.forbidden[1, 0]
    assert not knowledge.forbidden[0, 1]
    assert not knowledge.forbidden[1, 2]


def test_a_vote_against_time_counts_for_the_open_direction() -> None:
    votes = np.array([[0.0, 0.0], [1.0, 0.0]])
    assert respect(votes, from_tiers([0, 1])).tolist() == [[0.0, 1.0], [0.0, 0.0]]
    assert respect(votes, nothing(2)).tolist() == votes.tolist()


def test_required_edges_are_there_whatever_was_found() -> None:
    assert respect(np.zeros((2, 2)), from_tiers([0, 0], required=[(1, 0)])).tolist() == [[0.0, 0.0], [1.0, 0.0]]


def test_a_chain_is_reversible_and_a_collider_is_not() -> None:
    assert equivalence_class(dag(3, (0, 1), (1, 2))).tolist() == [[0, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0]]
    assert equivalence_class(dag(3, (0, 1), (2, 1))).tolist() == [[0, 1, 0], [0, 0, 0], [0, 1, 0]]


def test_meek_directs_what_a_collider_implies() -> None:
    # Rule 1: 0 → 2 ← 1 directs 2 → 3.
    assert equivalence_class(dag(4, (0, 2), (1, 2), (2, 3)))[2, 3] == 1.0
    # Rule 3: 1 → 3 ← 2 with 0 joined to all directs 0 → 3; 0 — 1 and 0 — 2 stay open.
    votes = equivalence_class(dag(4, (0, 1), (0, 2), (0, 3), (1, 3), (2, 3)))
    assert votes[0, 3] == 1.0
    assert votes[0, 1] == votes[1, 0] == 0.5

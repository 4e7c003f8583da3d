"""Votes, the graph they amount to, and the gate."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from causal_orchestrator import discovery
from causal_orchestrator.discovery import ensemble
from causal_orchestrator.discovery.ensemble import Ballot, Decision, decide, gate, vote
from causal_orchestrator.discovery.knowledge import nothing


@pytest.fixture(autouse=True)
def few_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ensemble, "MAX_ROUNDS", 3)


def ballot(**by_algorithm: list[list[float]]) -> Ballot:
    votes = {key: np.array(value, dtype=float) for key, value in by_algorithm.items()}
    return Ballot(np.mean(list(votes.values()), axis=0), votes, dict.fromkeys(votes, 1), {})


def collider(n: int = 800, seed: int = 0) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(2, n))
    c = a + b + rng.normal(size=n)
    d = c + rng.normal(size=n)
    data = np.column_stack([a, b, c, d])
    return np.asarray((data - data.mean(axis=0)) / data.std(axis=0))


def test_an_edges_confidence_is_the_share_of_votes_for_it() -> None:
    found = vote(collider(), knowledge=nothing(4), seed=0)
    mean = np.mean(list(found.by_algorithm.values()), axis=0)
    assert np.array_equal(found.confidence, mean)
    assert ((found.confidence >= 0) & (found.confidence <= 1)).all()


def test_the_ensemble_finds_a_collider_and_the_gate_lets_it_in() -> None:
    found = vote(collider(3_000), knowledge=nothing(4), alpha=0.01, seed=0)
    decision = decide(found)
    assert [(i, j) for i, j, _ in decision.directed] == [(0, 2), (1, 2), (2, 3)]
    assert decision.undirected == ()
    assert gate(found, decision).decision == "ACCEPT"


def test_noise_gives_an_empty_graph() -> None:
    noise = np.random.default_rng(0).normal(size=(1_000, 5))
    decision = decide(vote(noise, knowledge=nothing(5), seed=0))
    assert decision.directed == decision.undirected == ()


def test_the_same_seed_gives_the_same_votes_and_rounds_follow_from_the_shape() -> None:
    data = collider(400)
    first, again = vote(data, knowledge=nothing(4), seed=5), vote(data, knowledge=nothing(4), seed=5)
    assert np.array_equal(first.confidence, again.confidence)
    assert first.rounds == again.rounds
    assert all(ensemble.MIN_ROUNDS <= count <= ensemble.MAX_ROUNDS for count in first.rounds.values())


def test_gaussian_data_leave_lingam_out_and_say_so() -> None:
    found = vote(collider(), knowledge=nothing(4), seed=0)
    assert "lingam" not in found.by_algorithm
    assert "Gaussian" in found.skipped["lingam"]


def test_a_search_that_fails_leaves_the_others_voting(monkeypatch: pytest.MonkeyPatch) -> None:
    real = discovery.load

    def broken(*args: object, **kwargs: object) -> NDArray[np.float64]:
        raise ValueError("singular")

    monkeypatch.setattr(discovery, "load", lambda key: broken if key == "ges" else real(key))
    found = vote(collider(300), knowledge=nothing(4), seed=0)
    assert "failed" in found.skipped["ges"]
    assert set(found.by_algorithm) == {"pc", "fci", "notears"}


def test_undirected_votes_join_a_pair_without_a_direction() -> None:
    decision = decide(ballot(pc=[[0, 0.5], [0.5, 0]], ges=[[0, 0.5], [0.5, 0]]))
    assert decision.undirected == ((0, 1, 1.0),)
    assert decision.directed == ()


def test_a_direction_needs_the_threshold_alone() -> None:
    assert decide(ballot(a=[[0, 0.7], [0.1, 0]])).directed == ((0, 1, 0.7),)
    assert decide(ballot(a=[[0, 0.45], [0.1, 0]])).undirected == ((0, 1, pytest.approx(0.55)),)
    assert decide(ballot(a=[[0, 0.3], [0.1, 0]])) == Decision((), (), ())
    assert decide(ballot(a=[[0, 0.3], [0.1, 0]]), threshold=0.3).directed == ((0, 1, 0.3),)


def test_the_weakest_edge_of_a_cycle_is_left_out() -> None:
    cycle = [[0, 0.9, 0], [0, 0, 0.8], [0.6, 0, 0]]
    decision = decide(ballot(a=cycle))
    assert [(i, j) for i, j, _ in decision.directed] == [(0, 1), (1, 2)]
    assert decision.dropped == ((2, 0),)


def test_the_gate_falls_with_agreement_confidence_and_cycles() -> None:
    sure = [[0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    none = [[0, 0, 0, 0]] * 4
    torn = [[0, 0.5, 0, 0], [0, 0, 0.5, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    cyclic = [[0, 0.9, 0, 0], [0, 0, 0.8, 0], [0.6, 0, 0, 0], [0, 0, 0, 0]]
    scores = []
    for votes in (ballot(a=sure, b=sure), ballot(a=torn, b=torn), ballot(a=cyclic, b=cyclic), ballot(a=sure, b=none)):
        scores.append(gate(votes, decide(votes)).confidence)
    assert scores[0] == 1.0
    assert scores[0] > max(scores[1:])
    assert gate(ballot(a=sure), decide(ballot(a=sure))).decision == "ACCEPT"


def test_the_gates_decision_follows_its_confidence() -> None:
    """Both searches join 0 → 1 with the same share, so that confidence is 0.5 c + 0.35 |2c - 1| + 0.15."""
    for share, decision in ((1.0, "ACCEPT"), (0.9, "ACCEPT"), (0.7, "AUGMENT"), (0.5, "REVIEW")):
        votes = ballot(a=[[0, share, 0], [0, 0, 0], [0, 0, 0]])
        assert gate(votes, decide(votes)).confidence == pytest.approx(0.5 * share + 0.35 * (2 * share - 1) + 0.15)
        assert gate(votes, decide(votes)).decision == decision


def test_without_a_vote_the_graph_is_rejected() -> None:
    empty = Ballot(np.zeros((3, 3)), {}, {}, {"pc": "failed"})
    assert gate(empty, decide(empty)).decision == "REJECT"

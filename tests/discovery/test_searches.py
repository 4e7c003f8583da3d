"""Every search of the table on data whose graph is known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from causal_orchestrator import discovery
from causal_orchestrator.discovery import notears
from causal_orchestrator.discovery.knowledge import from_tiers, nothing
from causal_orchestrator.errors import InputError

# 0 → 2 ← 1, 2 → 3 → 4: every direction follows from the collider, so CPDAG and DAG are one.
EDGES = ((0, 2), (1, 2), (2, 3), (3, 4))
ALL = tuple(discovery.DISCOVERY)


def sample(n: int, *, uniform: bool, seed: int = 0) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    data = np.zeros((n, 5))
    for j in range(5):
        noise = rng.uniform(-1.7, 1.7, n) if uniform else rng.normal(size=n)
        data[:, j] = noise + 0.9 * sum(data[:, a] for a, b in EDGES if b == j)
    return data


def test_the_table_names_the_five_searches() -> None:
    assert ALL == ("pc", "ges", "fci", "lingam", "notears")


@pytest.mark.parametrize("key", ALL)
def test_a_search_finds_the_graph_that_the_data_came_from(key: str) -> None:
    votes = discovery.load(key)(sample(3_000, uniform=True), knowledge=nothing(5), alpha=0.01, seed=0)
    for i in range(5):
        for j in range(i + 1, 5):
            joined = votes[i, j] + votes[j, i] > 0
            assert joined == ((i, j) in EDGES), (i, j)
    assert all(votes[i, j] > votes[j, i] for i, j in EDGES)


@pytest.mark.parametrize("key", ALL)
def test_a_search_respects_what_is_known(key: str) -> None:
    # Time runs against the truth on purpose: nothing may point from a later tier to an earlier one.
    knowledge = from_tiers([4, 3, 2, 1, 0])
    votes = discovery.load(key)(sample(1_000, uniform=True), knowledge=knowledge, alpha=0.05, seed=0)
    assert not votes[knowledge.forbidden].any()
    assert votes.any()


@pytest.mark.parametrize("key", ALL)
def test_a_search_is_silent_and_leaves_its_data_alone(key: str, capfd: pytest.CaptureFixture[str]) -> None:
    data = sample(300, uniform=True)
    before = data.copy()
    first = discovery.load(key)(data, knowledge=from_tiers([0, 0, 1, 1, 1]), alpha=0.05, seed=3)
    again = discovery.load(key)(data, knowledge=from_tiers([0, 0, 1, 1, 1]), alpha=0.05, seed=3)
    assert np.array_equal(data, before)
    assert np.array_equal(first, again)
    assert capfd.readouterr() == ("", "")


def test_notears_recovers_weights_of_equal_variance_data() -> None:
    rng = np.random.default_rng(4)
    p = 8
    truth = np.triu((rng.random((p, p)) < 0.3) * rng.uniform(0.6, 1.4, (p, p)) * rng.choice([-1, 1], (p, p)), 1)
    data = rng.normal(size=(5_000, p)) @ np.linalg.inv(np.eye(p) - truth)
    found = notears.fit(np.cov(data, rowvar=False), forbidden=np.zeros((p, p), dtype=bool))
    assert np.array_equal(np.abs(found) > 0.3, truth != 0)
    # The lasso shrinks by about its penalty over the parent's residual variance (here 1).
    assert np.abs(found - truth).max() < 1.5 * notears.PENALTY


def test_notears_holds_forbidden_weights_at_zero() -> None:
    forbidden = from_tiers([4, 3, 2, 1, 0]).forbidden
    found = notears.fit(np.cov(sample(500, uniform=False), rowvar=False), forbidden=forbidden)
    assert not found[forbidden].any()


def test_a_search_that_is_not_there_is_named() -> None:
    with pytest.raises(InputError) as caught:
        discovery.resolve("magic")
    assert caught.value.code == "ALGORITHM_UNKNOWN"
    assert discovery.resolve("LiNGAM") == "lingam"

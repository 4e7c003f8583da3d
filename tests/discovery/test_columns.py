"""Columns of any kind as numbers, and votes back on the columns."""

from __future__ import annotations

import numpy as np
import pandas as pd

from causal_orchestrator.discovery import columns
from causal_orchestrator.discovery.ensemble import Ballot
from causal_orchestrator.discovery.knowledge import from_tiers

RNG = np.random.default_rng(0)


def test_a_categorical_column_becomes_indicators_of_all_levels_but_one() -> None:
    frame = pd.DataFrame({"t": RNG.normal(size=90), "c": ["red", "green", "blue"] * 30})
    numbers = columns.encode(frame)
    assert numbers.owner.tolist() == [0, 1, 1]
    assert np.allclose(numbers.data.mean(axis=0), 0)


def test_columns_that_others_explain_are_dropped_and_named_by_place() -> None:
    a, b = RNG.normal(size=(2, 100))
    frame = pd.DataFrame({"a": a, "b": b, "sum": a + b, "flat": 1.0})
    assert columns.encode(frame).dropped == (2, 3)


def test_siblings_are_never_joined_and_knowledge_reaches_every_level() -> None:
    owner = np.array([0, 1, 1])
    spread = columns.spread(from_tiers([0, 1]), owner)
    assert spread.forbidden[1, 2]
    assert spread.forbidden[2, 1]
    assert spread.forbidden[1, 0]
    assert spread.forbidden[2, 0]
    assert not spread.forbidden[0, 1]


def test_a_column_votes_with_its_strongest_level() -> None:
    votes = np.zeros((3, 3))
    votes[0, 1], votes[0, 2] = 0.4, 0.9
    found = columns.collapse(Ballot(votes, {"pc": votes}, {"pc": 1}, {}), np.array([0, 1, 1]), 2)
    assert found.confidence.tolist() == [[0.0, 0.9], [0.0, 0.0]]


def test_both_directions_together_never_pass_one() -> None:
    votes = np.zeros((3, 3))
    votes[0, 1], votes[2, 0] = 1.0, 1.0
    found = columns.collapse(Ballot(votes, {"pc": votes}, {"pc": 1}, {}), np.array([0, 1, 1]), 2)
    assert found.confidence[0, 1] + found.confidence[1, 0] == 1.0

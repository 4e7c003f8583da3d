"""Spillover within groups: found where it is, not where it is not, and not judged where nobody could show it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from causal_orchestrator.errors import NotApplicable
from causal_orchestrator.problem import Problem, build
from causal_orchestrator.question import Question
from causal_orchestrator.sensitivity import interference

DECISIVE = 1e-4
# Of 100 tests at 5 per cent, 12 or more are rejected with probability 0.004 where the level holds.
DRAWS, MOST = 100, 11


def villages(
    seed: int = 0, *, groups: int = 60, size: int = 15, spill: float = 0.0, chance: Any = None, **roles: Any
) -> Problem:
    rng = np.random.default_rng([seed, 4])
    group = np.repeat(np.arange(groups), size)
    share = rng.uniform(0.2, 0.8, groups)[group] if chance is None else chance
    treated = (rng.random(len(group)) < share) * 1.0
    others = (np.bincount(group, treated)[group] - treated) / (size - 1)
    x = rng.standard_normal(len(group))
    shock = 0.6 * rng.standard_normal(groups)[group]
    y = x + 0.5 * treated + spill * others + shock + rng.standard_normal(len(group))
    frame = pd.DataFrame({"x": x, "t": treated, "y": y, "g": group, "w": rng.uniform(0.5, 2, len(group))})
    asked = {"covariates": ("x",), "cluster": "g", "randomized": True} | roles
    made = build(frame, Question(treatment="t", outcome="y", **asked))
    return made.with_learned(made.parametric()) if asked["covariates"] else made


def analysed(problem: Problem) -> Any:
    return interference.analyse(problem, None, seed=0)


@pytest.mark.parametrize("roles", [{}, {"covariates": ()}, {"weights": "w"}])
def test_spillover_is_found_with_its_size(roles: dict[str, Any]) -> None:
    found = analysed(villages(spill=2.0, **roles))
    assert found.passed is False
    assert found.details["gate_p_value"] < DECISIVE
    assert found.value == pytest.approx(2.0, abs=1.0)


def test_villages_with_shocks_of_their_own_and_no_spillover_pass() -> None:
    found = analysed(villages())
    assert found.passed is True
    assert found.details["groups"] == 60


@pytest.mark.parametrize("groups", [12, 40])
def test_the_test_keeps_its_level_with_few_groups(groups: int) -> None:
    p_values = [analysed(villages(seed, groups=groups)).details["gate_p_value"] for seed in range(DRAWS)]
    assert sum(p < 0.05 for p in p_values) <= MOST


def test_many_groups_give_what_leaving_each_out_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = villages(groups=300, size=5)
    slow = analysed(problem)
    monkeypatch.setattr(interference, "MANY_GROUPS", 2)
    fast = analysed(problem)
    assert fast.value == slow.value
    assert fast.details["gate_p_value"] == pytest.approx(slow.details["gate_p_value"], abs=0.02)


@pytest.mark.parametrize(
    ("problem", "why"),
    [
        (lambda: villages(cluster=None), "no column names the groups"),
        (lambda: villages(groups=9, size=40), "too few"),
        (lambda: villages(chance=np.repeat(np.arange(60) % 2, 15)), "whole groups"),
        (lambda: villages(chance=np.tile(np.arange(20) % 2, 45), size=20, groups=45), "as many are treated"),
    ],
)
def test_where_nobody_could_show_it_it_is_not_judged(problem: Any, why: str) -> None:
    with pytest.raises(NotApplicable, match=why):
        analysed(problem())

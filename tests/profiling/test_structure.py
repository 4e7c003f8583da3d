"""Panels, cutoffs and groups are found where they are, and not where they are not."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from causal_orchestrator.profiling import structure


def test_gaps_lie_inside_a_units_own_span() -> None:
    unit = pd.Series([1, 1, 1, 2, 2, 3])
    time = pd.Series([2000, 2001, 2003, 2000, 2001, 2003])
    found = structure.panel(unit, time)
    assert (found.n_units, found.n_periods, found.unique, found.balanced, found.gaps) == (3, 3, True, False, 0)
    assert structure.panel(unit, pd.Series([2000, 2003, 2001, 2000, 2003, 2003])).gaps == 1
    assert structure.panel(pd.Series(["a", "a"]), pd.Series([1, 1])).duplicates == 1


@pytest.mark.parametrize("above", [True, False])
def test_a_sharp_cutoff_is_found_on_either_side(above: bool) -> None:
    x = np.linspace(-1, 1, 201)
    treated = (x >= 0.25) if above else (x < 0.25)
    found = structure.sharp_cutoff(x, treated)
    assert found is not None
    assert found.cutoff == pytest.approx(0.25)
    assert found.jump == (1.0 if above else -1.0)
    treated[100] = not treated[100]
    assert structure.sharp_cutoff(x, treated) is None


def test_the_jump_of_two_local_lines_is_exact_on_lines() -> None:
    x = np.linspace(-1, 1, 401)
    found = structure.jump_at(x, 0.2 + 0.1 * x + 0.5 * (x >= 0), 0.0)
    assert found is not None
    assert found.jump == pytest.approx(0.5, abs=1e-9)


def test_no_jump_where_there_is_a_slope_only() -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, 2000)
    t = [structure.jump_at(x, (rng.random(2000) < 0.5 + 0.4 * x).astype(float), 0.0) for _ in range(200)]
    beyond = np.mean([found is not None and found.t > 1.96 for found in t])
    assert 0.01 < beyond < 0.11  # 5 % nominal; 200 draws, 3 se are 4.6 points


def test_the_treatment_of_whole_groups_is_seen_beyond_the_first_rows() -> None:
    groups = pd.Series(np.repeat(np.arange(3000), 10))
    treated = pd.Series(np.repeat(np.arange(3000) % 2, 10))
    assert structure.constant_within(groups, treated)
    treated.iloc[-1] = 1 - treated.iloc[-1]
    assert not structure.constant_within(groups, treated)

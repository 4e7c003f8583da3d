"""Matching on treatment histories: what a set is, what it refuses."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import causal_orchestrator as co
from causal_orchestrator.errors import CausalError
from causal_orchestrator.simulate import SIMULATIONS

DRAWS, ALARM = 100, 1e-3


@pytest.mark.slow
def test_intervals_cover():
    held = 0
    for seed in range(DRAWS):
        data = SIMULATIONS["panel_staggered"](600, seed=seed)
        found = co.estimate(
            "panel_matching", data.frame, data.question, lags=2, leads=1, draws=200, lagged_outcome=False
        )
        held += found.ci_lower <= 1 <= found.ci_upper
    assert stats.binomtest(held, DRAWS, 0.95).pvalue > ALARM, held


def table(treatment, outcome):
    units, periods = len(treatment), len(treatment[0])
    cells = {"u": np.repeat(np.arange(units), periods), "p": np.tile(np.arange(periods), units)}
    return pd.DataFrame({**cells, "t": np.ravel(treatment) * 1.0, "y": np.ravel(outcome).astype(float)})


QUESTION = {"treatment": "t", "outcome": "y", "unit": "u", "time": "p"}


def test_a_unit_is_compared_with_those_of_its_history_alone():
    treatment = [[0, 0, 1], [0, 0, 0], [1, 0, 0]]
    outcome = [[0, 1, 5], [0, 2, 3], [0, 0, 100]]
    found = co.estimate("panel_matching", table(treatment, outcome), QUESTION, lags=2, leads=0)
    assert found.estimate == pytest.approx((5 - 1) - (3 - 2))
    shorter = co.estimate("panel_matching", table(treatment, outcome), QUESTION, lags=1, leads=0)
    assert shorter.estimate == pytest.approx(4 - np.mean([1, 100]))


def test_a_history_runs_through_periods_without_an_outcome():
    treatment = [[0, 0, 1], [0, 0, 0], [1, 0, 0]]
    outcome = [[0, 1, 5], [0, 2, 3], [np.nan, 0, 100]]
    found = co.estimate("panel_matching", table(treatment, outcome), QUESTION, lags=2, leads=0)
    assert found.estimate == pytest.approx((5 - 1) - (3 - 2))


@pytest.mark.parametrize(
    ("options", "code"),
    [({"lags": 9}, "NO_CONTROLS"), ({"lags": 0}, "OPTION_INVALID"), ({"draws": 3}, "OPTION_INVALID")],
)
def test_what_it_cannot_do_is_refused_with_the_reason(options, code):
    data = SIMULATIONS["panel_staggered"](300, seed=1)
    with pytest.raises(CausalError) as raised:
        co.estimate("panel_matching", data.frame, data.question, **options)
    assert raised.value.code == code

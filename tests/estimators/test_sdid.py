"""Synthetic difference in differences: coverage, what it refuses, how it weights."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import causal_orchestrator as co
from causal_orchestrator.errors import CausalError
from causal_orchestrator.numerics.panel import simplex_weights
from causal_orchestrator.simulate import SIMULATIONS

DRAWS, ALARM = 100, 1e-3


def test_weights_on_the_simplex_meet_their_conditions_of_optimality():
    rng = np.random.default_rng(1)
    columns, target = rng.standard_normal((12, 30)), rng.standard_normal(12)
    w = simplex_weights(columns, target, ridge=0.3, intercept=False)
    assert w.min() >= 0
    assert w.sum() == pytest.approx(1, abs=1e-12)
    slope = 2 * columns.T @ (columns @ w - target) + 2 * 12 * 0.3**2 * w
    used = w > 1e-10
    assert np.ptp(slope[used]) < 1e-8  # Karush–Kuhn–Tucker: one multiplier where weights are positive
    assert slope[~used].min() >= slope[used].max() - 1e-8


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["jackknife", "placebo"])
def test_intervals_do_not_cover_too_little(kind):
    held = 0
    for seed in range(DRAWS):
        data = SIMULATIONS["panel_block"](480, seed=seed)
        question = data.question.model_copy(update={"covariates": ()})
        few = data.frame[(data.frame["unit"] % 6 == 0) | ~data.frame.groupby("unit")["t"].transform("any")]
        found = co.estimate("sdid", few if kind == "placebo" else data.frame, question, inference=kind)
        held += found.ci_lower <= 1 <= found.ci_upper
    assert stats.binomtest(held, DRAWS, 0.95, alternative="less").pvalue > ALARM, held


def test_trends_that_differ_by_unit_are_weighted_away():
    rng = np.random.default_rng(2)
    units, periods = 40, 24
    load = np.r_[np.full(4, 1.5), rng.uniform(0, 2, units - 4)]
    factor = np.cumsum(rng.standard_normal(periods)) + 0.3 * np.arange(periods)
    y = load[:, None] * factor + 0.3 * rng.standard_normal((units, periods))
    t = (np.arange(units)[:, None] < 4) & (np.arange(periods) >= 16)
    frame = pd.DataFrame({
        "u": np.repeat(np.arange(units), periods), "p": np.tile(np.arange(periods), units),
        "t": t.ravel() * 1, "y": (y + 1.0 * t).ravel(),
    })  # fmt: skip
    question = {"treatment": "t", "outcome": "y", "unit": "u", "time": "p"}
    synthetic, plain = co.estimate("sdid", frame, question), co.estimate("did", frame, question)
    assert abs(plain.estimate - 1) > 1
    assert abs(synthetic.estimate - 1) < abs(plain.estimate - 1) / 2


def test_cohorts_are_pooled_by_their_treated_cells():
    data = SIMULATIONS["panel_staggered"](600, seed=3)
    found = co.estimate("sdid", data.frame, data.question)
    cells = [(c["estimate"], c["n_treated"] * (7 - c["first"])) for c in found.details["cohorts"]]
    assert found.estimate == pytest.approx(np.average([c[0] for c in cells], weights=[c[1] for c in cells]), rel=1e-9)


REFUSED = {
    "weights": ("WEIGHTS", lambda f: f.assign(w=1.0 + f["unit"] % 2), {"weights": "w"}, {}),
    "one period before": ("NO_PRE_PERIOD", lambda f: f[f["period"] >= 3], {}, {}),
    "no controls": ("NO_CONTROLS", lambda f: f[f.groupby("unit")["t"].transform("any")], {}, {}),
    "placebo with few controls": ("TOO_FEW_UNITS", lambda f: f[(f["unit"] < 20) | f.groupby("unit")["t"].transform("any")], {}, {"inference": "placebo"}),
}  # fmt: skip


@pytest.mark.parametrize("what", sorted(REFUSED))
def test_what_it_cannot_use_is_refused_with_the_reason(what):
    code, change, roles, options = REFUSED[what]
    data = SIMULATIONS["panel_block" if what != "no controls" else "panel_staggered"](300, seed=4)
    with pytest.raises(CausalError) as raised:
        co.estimate("sdid", change(data.frame), data.question.model_copy(update=roles), **options)
    assert raised.value.code == code

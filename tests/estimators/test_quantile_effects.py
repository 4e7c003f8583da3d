"""What quantile effects owe beyond the common tests."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats

from causal_orchestrator import estimators
from causal_orchestrator.errors import CausalError, InputError
from causal_orchestrator.problem import build
from causal_orchestrator.simulate import SIMULATIONS

QUICK = {"draws": 50}


def run(made, *, frame=None, **options):
    problem = build(made.frame if frame is None else frame, made.question)
    return estimators.estimate("quantile_effects", problem, **{**QUICK, **options})


def test_the_quantiles_are_those_of_the_weighted_and_augmented_distribution():
    """Against statsmodels' logit and least squares, by the definition, over every outcome of the arm."""
    frame = SIMULATIONS["confounded_linear"](300, seed=1).frame
    y, t, x = frame["y"].to_numpy(), frame["t"].to_numpy(), sm.add_constant(frame[["x0", "x1", "x2", "x3"]].to_numpy())
    e = sm.Logit(t, x).fit(disp=False).predict()
    wanted = []
    for arm in (0, 1):
        inside = t == arm
        pull = inside / np.where(arm, e, 1 - e)
        pull /= pull.sum()
        mean = sm.OLS(y[inside], x[inside]).fit().predict(x)
        sd = np.sqrt(((y - mean)[inside] ** 2).mean())
        for q in np.sort(y[inside]):
            model = stats.norm.cdf((q - mean) / sd)
            if pull @ (y <= q) - pull @ model + model.mean() >= 0.5:
                wanted.append(q)
                break
    found = run(SIMULATIONS["confounded_linear"](300, seed=1), quantiles=(0.5,))
    assert [found.details["control"][0], found.details["treated"][0]] == pytest.approx(wanted, rel=1e-12)


def test_an_effect_on_the_spread_is_seen_at_the_ends():
    made = SIMULATIONS["confounded_linear"](4_000, seed=2)
    spread = np.random.default_rng(3).standard_normal(4_000) * 2 * made.frame["t"]
    found = run(made, frame=made.frame.assign(y=made.frame["y"] + spread))
    rows = {row.quantile: row for row in found.rows}
    assert found.estimate == rows[0.5].estimate
    assert rows[0.9].estimate - rows[0.1].estimate > 1.0
    assert rows[0.1].estimate < rows[0.5].estimate < rows[0.9].estimate


def test_the_bands_hold_together_and_are_wider_than_one_interval():
    found = run(SIMULATIONS["confounded_linear"](500, seed=4))
    median = found.rows[0]
    assert median.quantile == 0.5
    assert median.ci_upper - median.ci_lower > 1.1 * (found.ci_upper - found.ci_lower)
    assert sorted(row.quantile for row in found.rows) == [0.1, 0.25, 0.5, 0.75, 0.9]


def test_without_the_median_the_first_quantile_is_the_headline():
    found = run(SIMULATIONS["confounded_linear"](400, seed=5), quantiles=(0.8, 0.2))
    assert found.estimate == found.rows[0].estimate
    assert found.rows[0].quantile == 0.2


@pytest.mark.parametrize("options", [{"quantiles": (0.0, 0.5)}, {"quantiles": ()}, {"quantiles": (1.2,)}, {"draws": 1}])
def test_options_out_of_their_range_are_refused(options):
    with pytest.raises(InputError) as raised:
        run(SIMULATIONS["confounded_linear"](300, seed=6), **options)
    assert raised.value.code == "OPTION_INVALID"


def test_a_binary_outcome_has_no_quantiles_to_speak_of():
    with pytest.raises(CausalError) as raised:
        run(SIMULATIONS["confounded_binary"](300, seed=7))
    assert raised.value.code == "OUTCOME_KIND"

"""Structural time series: the forecast by hand and by statsmodels, its interval, and what is refused."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.tsa.statespace.structural import UnobservedComponents

from causal_orchestrator import estimators
from causal_orchestrator.errors import CausalError
from causal_orchestrator.numerics import structural
from causal_orchestrator.problem import build
from causal_orchestrator.question import Question
from causal_orchestrator.simulate import SIMULATIONS
from causal_orchestrator.simulate.record import Simulated

ALARM = 1e-3
RTOL = 1e-6  # exact sums against a filter with diffuse states


def run(made, frame=None, **options):
    return estimators.estimate("bsts", build(made.frame if frame is None else frame, made.question), **options)


def test_the_joint_forecast_is_the_conditional_normal_written_out():
    """A walking level with a control, diffuse in both: generalised least squares and kriging, no filter."""
    rng = np.random.default_rng(1)
    n, before, noise, walk = 40, 30, 0.6, 0.2
    x = rng.standard_normal((n, 1))
    y = np.cumsum(walk**0.5 * rng.standard_normal(n)) + x[:, 0] + noise**0.5 * rng.standard_normal(n)
    seen = np.where(np.arange(n) < before, y, np.nan)
    model = structural._model(seen, x, structural.Form("level"))
    mean, covariance = structural._carried_on(model.filter([noise, walk]).filter_results, before)
    steps = np.minimum.outer(np.arange(n), np.arange(n))
    v = walk * steps + noise * np.eye(n)
    design = np.column_stack([np.ones(n), x])
    old, new = slice(0, before), slice(before, n)
    weigh = np.linalg.inv(v[old, old])
    spread = np.linalg.inv(design[old].T @ weigh @ design[old])
    beta = spread @ design[old].T @ weigh @ y[old]
    pull = v[new, old] @ weigh
    rest = design[new] - pull @ design[old]
    np.testing.assert_allclose(mean, design[new] @ beta + pull @ (y[old] - design[old] @ beta), rtol=RTOL)
    wanted = v[new, new] - pull @ v[old, new] + rest @ spread @ rest.T
    np.testing.assert_allclose(covariance, wanted, rtol=RTOL)


def test_without_a_walk_it_is_statsmodels_forecast():
    made = SIMULATIONS["interrupted"](120, seed=2)
    found = run(made, trend="fixed", lags=1)
    pre, post = made.frame[made.frame["t"] == 0], made.frame[made.frame["t"] == 1]
    columns = ["x0", "x1"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = UnobservedComponents(pre["y"].to_numpy(), "fixed slope", autoregressive=1, exog=pre[columns].to_numpy(), mle_regression=False)  # fmt: skip
        told = model.fit(disp=0).get_forecast(len(post), exog=post[columns].to_numpy())
    effects = [row for row in found.rows if row.time is not None]
    # Two searches for the same maximum, in other units.
    np.testing.assert_allclose([r.estimate for r in effects], post["y"] - told.predicted_mean, atol=2e-2)
    np.testing.assert_allclose([r.std_error for r in effects], told.se_mean, rtol=2e-2)


def test_mean_and_cumulative_effect_go_together():
    found = run(SIMULATIONS["forecastable"](150, seed=3), trend="level")
    cumulative = next(row for row in found.rows if row.term == "cumulative")
    count = found.n_treated
    assert cumulative.estimate == pytest.approx(count * found.estimate)
    assert cumulative.std_error == pytest.approx(count * found.std_error)
    assert len([row for row in found.rows if row.time is not None]) == count


def test_intervals_cover():
    held = [e.ci_lower <= 1 <= e.ci_upper for e in (run(SIMULATIONS["forecastable"](100, seed=s), trend="level") for s in range(25))]  # fmt: skip
    assert stats.binomtest(sum(held), 25, 0.95).pvalue > ALARM


def _reml(y, design, v):
    """Return twice the negative log-likelihood of what a design leaves (up to what all designs share), and its fit."""
    weigh = np.linalg.inv(v)
    spread = np.linalg.inv(design.T @ weigh @ design)
    beta = spread @ design.T @ weigh @ y
    left = y - design @ beta
    value = np.linalg.slogdet(v)[1] - np.linalg.slogdet(spread)[1] + left @ weigh @ left
    return value, beta, spread


def test_forms_are_compared_on_the_likelihood_of_what_a_line_leaves():
    """Written out with matrices: a walking level, a straight line and a drifting level of the same standardised series."""
    rng = np.random.default_rng(8)
    n, price = 60, np.log(60)
    y = np.cumsum(0.3 * rng.standard_normal(n)) + rng.standard_normal(n)
    y = np.round((y - y.mean()) / y.std(), structural.DIGITS)
    steps = np.minimum.outer(np.arange(n), np.arange(n))
    line = np.column_stack([np.ones(n), np.arange(n)])
    wanted = {}
    forms = [structural.Form(trend) for trend in ("level", "fixed", "drift")]
    found = structural._by_bic(y, np.zeros((n, 0)), forms)
    for form, fit, _ in found:
        own = dict(zip(fit.model.param_names, fit.params, strict=True))
        v = own["sigma2.irregular"] * np.eye(n) + own.get("sigma2.level", 0.0) * steps
        value, beta, spread = _reml(y, line, v)
        free = len(own) + (form.trend != "level")
        wanted[form.trend] = value + (beta[1] ** 2 / spread[1, 1] if form.trend == "level" else 0.0) + free * price
    bics = {form.trend: bic for form, _, bic in found}
    for trend in ("fixed", "drift"):
        assert bics[trend] - bics["level"] == pytest.approx(wanted[trend] - wanted["level"], abs=1e-5)
    assert [bic for *_, bic in found] == sorted(bics.values())


def series_of(kind, seed, n=120):
    """A series of known form with an effect of 1 in its last quarter; noise has standard deviation 1 (walk: 0.5)."""
    rng = np.random.default_rng(seed)
    steps, noise = rng.standard_normal(n), rng.standard_normal(n)
    y = {"level": noise, "walk": 0.5 * np.cumsum(steps) + 0.5 * noise, "line": 4 * np.arange(n) / n + noise}[kind]
    after = np.arange(n) >= 0.75 * n
    frame = pd.DataFrame({"y": y + after, "t": after * 1.0, "period": np.arange(n) * 1.0})
    question = Question(treatment="t", outcome="y", covariates=(), time="period")
    return Simulated(frame, question, {"ATT": 1.0}, after * 1.0)


# The forms that are right for each: noise about a level and a walk have no slope, a line has no walk. A walk of small
# steps follows a line closely: at this length BIC tells a line that rises by three standard deviations of the noise in
# about seven of ten series (72 of 100), while its interval covers whichever form is taken.
RIGHT = {"level": "level", "walk": "level", "line": "fixed"}
RATE = {"level": 0.9, "walk": 0.9, "line": 0.7}


def _chosen(kind, seeds):
    return [run(series_of(kind, seed)) for seed in seeds]


@pytest.mark.parametrize("kind", sorted(RIGHT))
def test_the_form_is_chosen_by_what_came_before(kind):
    found = _chosen(kind, range(8))
    right = sum(each.details["trend"] == RIGHT[kind] for each in found)
    assert stats.binomtest(right, len(found), RATE[kind], alternative="less").pvalue > 0.01, f"{right} of {len(found)}"
    held = sum(each.ci_lower <= 1 <= each.ci_upper for each in found)
    assert stats.binomtest(held, len(found), 0.95).pvalue > ALARM


@pytest.mark.exhaustive
@pytest.mark.parametrize("kind", sorted(RIGHT))
def test_the_right_form_and_an_interval_that_covers_over_many_series(kind):
    found = _chosen(kind, range(1_000, 1_100))
    right = sum(each.details["trend"] == RIGHT[kind] for each in found)
    held = sum(each.ci_lower <= 1 <= each.ci_upper for each in found)
    assert stats.binomtest(right, len(found), RATE[kind], alternative="less").pvalue > 0.01, f"{right} of {len(found)}"
    assert stats.binomtest(held, len(found), 0.95).pvalue > ALARM, f"{held} of {len(found)}"


def test_a_season_and_a_gap_are_borne():
    made = SIMULATIONS["forecastable"](150, seed=5)
    season = 3 * np.sin(2 * np.pi * made.frame["period"] / 12)
    frame = made.frame.assign(y=made.frame["y"] + season)
    gap = frame[(frame["period"] < 40) | (frame["period"] > 44)]
    found = run(made, gap, trend="level", seasonality=1)
    assert abs(found.estimate - 1) < 4 * found.std_error
    assert found.std_error < 0.5 * run(made, gap, trend="level").std_error


BROKEN = {
    "SERIES_TOO_SHORT": (lambda f: f[f["period"] > 112], {}),
    "SEVERAL_SERIES": (lambda f: f.assign(period=f["period"] // 2), {}),
    "OPTION_INVALID": (lambda f: f, {"seasonality": 7}),
}


@pytest.mark.parametrize("code", sorted(BROKEN))
def test_what_cannot_be_estimated_is_said(code):
    change, options = BROKEN[code]
    made = SIMULATIONS["forecastable"](150, seed=6)
    with pytest.raises(CausalError) as raised:
        run(made, change(made.frame), **options)
    assert raised.value.code == code

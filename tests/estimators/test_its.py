"""Interrupted time series: segments, seasons, families, refusals."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import stats

import causal_orchestrator as co
from causal_orchestrator import estimators
from causal_orchestrator.errors import CausalError
from causal_orchestrator.problem import build
from causal_orchestrator.simulate import SIMULATIONS

DATA = Path(os.environ.get("CAUSAL_TEST_DATA", Path(__file__).parents[2] / ".." / "shared" / "data"))
RTOL = 1e-8  # the same formulas as statsmodels
GRID = 1e-3  # steps of a half thousandth in the coefficient
DRAWS, ALARM = 150, 1e-3
INTERVAL = 6e-4  # printed to three or four digits

published = pytest.mark.skipif(not (DATA / "expectations.json").exists(), reason="no folder with published numbers")


def test_newey_west_is_that_of_statsmodels():
    made = SIMULATIONS["interrupted"](60, seed=1)
    found = co.estimate("its", made.frame, made.question, lags=3)
    f = made.frame
    after = f["t"].to_numpy()
    design = np.column_stack([np.ones(60), after, after * (f["period"] - 36), f["period"], f["x0"], f["x1"]])
    fit = sm.OLS(f["y"].to_numpy(), design).fit(cov_type="HAC", cov_kwds={"maxlags": 3, "use_correction": True})
    rows = {row.term: row for row in found.rows}
    assert rows["level change"].estimate == pytest.approx(fit.params[1], rel=RTOL)
    assert rows["level change"].std_error == pytest.approx(fit.bse[1], rel=RTOL)
    assert rows["slope change"].std_error == pytest.approx(fit.bse[2], rel=RTOL)


def test_without_lags_given_the_variance_is_freed_of_its_bias_under_the_working_model():
    """By the definition with n × n matrices, the coefficient solved for on a grid."""
    n, reach = 50, 3
    made = SIMULATIONS["interrupted"](n, seed=4, persistence=0.5)
    found = co.estimate("its", made.frame, made.question)
    f = made.frame
    after = f["t"].to_numpy()
    x = np.column_stack([np.ones(n), after, after * (f["period"] - 30), f["period"], f["x0"], f["x1"]])
    bread = np.linalg.inv(x.T @ x)
    left = np.eye(n) - x @ bread @ x.T
    e = left @ f["y"].to_numpy()
    distance = np.abs(np.subtract.outer(np.arange(n), np.arange(n)))

    def shown(rho):
        omega = left @ rho**distance @ left
        return np.trace(omega, offset=1) / np.trace(omega)

    grid = np.linspace(-0.9, 0.95, 3_701)
    rho = grid[np.argmin([abs(shown(r) - (e[1:] @ e[:-1]) / (e @ e)) for r in grid])]
    omega = rho**distance
    since = f["period"][after > 0] - 30
    d = x @ bread @ np.array([0, 1, since.mean(), 0, 0, 0])
    form = np.outer(d, d) * np.maximum(1 - distance / (reach + 1), 0)
    expected = form @ left @ omega @ left
    variance = (e @ form @ e) * (d @ omega @ d) / np.trace(expected)
    df = np.trace(expected) ** 2 / np.trace(expected @ expected)
    assert found.std_error == pytest.approx(np.sqrt(variance), rel=GRID)
    assert found.ci_upper - found.estimate == pytest.approx(stats.t.ppf(0.975, df) * np.sqrt(variance), rel=GRID)


@pytest.mark.parametrize("times", [40, 120])
def test_intervals_cover_in_short_series_with_dependent_errors(times):
    held = 0
    for seed in range(DRAWS):
        made = SIMULATIONS["interrupted"](times, seed=900 + seed, persistence=0.4)
        found = estimators.estimate("its", build(made.frame, made.question))
        held += found.ci_lower <= 1 <= found.ci_upper
    assert stats.binomtest(held, DRAWS, 0.95).pvalue > ALARM, held


@published
def test_the_smoking_ban_of_sicily_is_reproduced():
    frame = pd.read_csv(DATA / "its_sicily_smokeban.csv")
    wanted = {e["id"]: e for e in json.loads((DATA / "expectations.json").read_text())}
    question = {"treatment": "smokban", "outcome": "aces", "time": "time", "offset": "stdpop"}
    step = co.estimate("its", frame, question, family="poisson", slope=False)
    season = co.estimate("its", frame, question, family="quasipoisson", slope=False, seasonality=2)
    for found, key in ((step, "sicily_step"), (season, "sicily_seasonal")):
        ratio = found.details["rate_ratio"]
        assert ratio["estimate"] == pytest.approx(wanted[key]["expected"], abs=wanted[key]["tolerance"])
        assert [ratio["ci_lower"], ratio["ci_upper"]] == pytest.approx(wanted[key]["computed"]["ci"], abs=INTERVAL)
    slope = co.estimate("its", frame, question, family="quasipoisson", seasonality=2)
    row = next(r for r in slope.rows if r.term == "slope change")
    assert row.estimate == pytest.approx(wanted["sicily_slope"]["expected"], abs=wanted["sicily_slope"]["tolerance"])
    assert row.std_error == pytest.approx(wanted["sicily_slope"]["computed"]["se"], rel=1e-5)
    assert slope.diagnostics["dispersion"]["passed"] is False


def test_the_interruption_may_be_named_instead():
    made = SIMULATIONS["interrupted"](100, seed=2)
    named = co.estimate("its", made.frame, made.question, interruption=60.0)
    assert named.estimate == co.estimate("its", made.frame, made.question).estimate


def test_a_season_that_is_left_out_widens_the_interval():
    made = SIMULATIONS["interrupted"](120, seed=3)
    frame = made.frame.assign(y=made.frame["y"] + 3 * np.sin(2 * np.pi * made.frame["period"] / 12))
    without, with_season = (co.estimate("its", frame, made.question, seasonality=s) for s in (None, 1))
    assert with_season.std_error < without.std_error
    assert abs(with_season.estimate - 1) < 4 * with_season.std_error


REFUSED = {
    "SERIES_TOO_SHORT": (lambda f: f[f["period"] > 56], {}),
    "SEVERAL_SERIES": (lambda f: pd.concat([f, f]), {}),
    "TREATMENT_REVERSES": (lambda f: f.assign(t=np.where(f["period"] > 95, 0.0, f["t"])), {}),
    "OUTCOME_KIND": (lambda f: f.assign(y=f["y"] - 10), {"family": "poisson"}),
    "OPTION_INVALID": (lambda f: f, {"lags": -1}),
}


@pytest.mark.parametrize("code", sorted(REFUSED))
def test_what_it_cannot_use_is_refused_with_the_reason(code):
    change, options = REFUSED[code]
    made = SIMULATIONS["interrupted"](100, seed=4)
    with pytest.raises(CausalError) as raised:
        co.estimate("its", change(made.frame), made.question, **options)
    assert raised.value.code == code

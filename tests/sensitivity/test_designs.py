"""What breaks a discontinuity, an instrument, a comparison with donors and an interrupted series is found."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from tests.sensitivity.problems import refit_with

from causal_orchestrator import estimators
from causal_orchestrator.errors import NotApplicable
from causal_orchestrator.problem import build
from causal_orchestrator.question import Question
from causal_orchestrator.sensitivity import (
    discontinuity,
    donors,
    instrument,
    instrument_confounding,
    instrument_validity,
    placebo_interruptions,
    robustness_value,
)
from causal_orchestrator.simulate import SIMULATIONS

BISECTED = 1e-6


def problem_of(name, n, seed=0, change=None, **options):
    made = SIMULATIONS[name](n, seed=seed, **options)
    return build(made.frame if change is None else change(made.frame), made.question)


# --- discontinuity ----------------------------------------------------------------------------------------------------


def test_a_smooth_discontinuity_says_the_same_in_every_window():
    problem = problem_of("cutoff", 2_000)
    found = discontinuity.analyse(problem, estimators.estimate("rdd", problem))
    assert found.passed
    assert {row["kind"] for row in found.details["rows"]} == {"bandwidth", "donut", "headline"}
    assert found.details["breakdown"]["share_sorted"] > 0.3


def test_rows_heaped_beside_the_cutoff_are_found_out_by_the_donut():
    def heaped(frame):
        near = frame["r"].between(0, 0.02)
        return frame.assign(y=frame["y"] + 3.0 * near)

    problem = problem_of("cutoff", 4_000, change=heaped)
    found = discontinuity.analyse(problem, estimators.estimate("rdd", problem))
    assert not found.passed
    assert found.details["gate_p_value"] < 0.05


def test_a_treatment_below_the_cutoff_has_the_sign_of_the_headline():
    problem = problem_of("cutoff", 2_000, change=lambda frame: frame.assign(t=1 - frame["t"]))
    headline = estimators.estimate("rdd", problem)
    found = discontinuity.analyse(problem, headline)
    assert headline.estimate < 0
    assert all(row["estimate"] < 0 for row in found.details["rows"])
    assert found.passed


# --- instruments ------------------------------------------------------------------------------------------------------


def test_the_breakdown_of_exclusion_is_where_the_interval_reaches_zero():
    problem = problem_of("encouraged", 2_000)
    found = instrument.analyse(problem, estimators.estimate("iv_2sls", problem))
    entry = found.details["instruments"][0]
    scale = problem.outcome.std(ddof=1) / instrument.iv.partial_out(problem, ("z",)).instruments[:, 0].std()
    gamma = entry["breakdown"] * scale
    shifted = problem.change(outcome=problem.outcome - gamma * problem.roles["instruments"][:, 0])
    assert estimators.estimate("iv_2sls", shifted).ci_lower == pytest.approx(0, abs=1e-3)  # bisected on γ to this
    assert found.passed
    assert 0 < entry["share_of_explaining"] < 1
    assert set(found.details["covariates"]) == {"x0", "x1", "x2"}


def test_unions_widen_with_the_direct_effect_and_begin_at_the_interval():
    problem = problem_of("encouraged_dose", 2_000)
    headline = estimators.estimate("iv_2sls", problem)
    for entry in instrument.analyse(problem, headline).details["instruments"]:
        widths = [step["ci_upper"] - step["ci_lower"] for step in entry["curve"]]
        assert entry["curve"][0]["ci_lower"] == pytest.approx(headline.ci_lower, abs=BISECTED)
        assert np.all(np.diff(widths) > 0)


def test_weak_instruments_do_not_pass():
    problem = problem_of("encouraged", 500, strength=0.05)
    found = instrument.analyse(problem, estimators.estimate("iv_2sls", problem))
    assert not found.passed
    assert found.value == 0.0


def test_an_instrument_that_goes_with_a_strong_covariate_is_not_robust():
    robust = robustness_value.analyse
    clean = problem_of("encouraged", 2_000)
    assert instrument_confounding.analyse(clean, estimators.estimate("iv_2sls", clean), robustness=robust).passed

    def confounded(frame):
        rng = np.random.default_rng(3)
        z = (frame["x0"] + frame["x1"] + rng.standard_normal(len(frame)) > 0) * 1.0
        t = (z + 0.6 * rng.standard_normal(len(frame)) > 0.5) * 1.0
        return frame.assign(z=z, t=t, y=frame["x0"] + frame["x1"] + 0.4 * t + rng.standard_normal(len(frame)))

    problem = problem_of("encouraged", 2_000, change=confounded)
    found = instrument_confounding.analyse(problem, estimators.estimate("iv_2sls", problem), robustness=robust)
    assert found.passed is False
    assert found.details["strongest"] in ("x0", "x1")


def test_an_instrument_that_moves_the_always_takers_is_refuted():
    rng = np.random.default_rng(5)
    n = 4_000
    always, z = rng.random(n) < 0.6, rng.random(n) < 0.5
    t = always | (z & (rng.random(n) < 0.2))
    y = rng.standard_normal(n) + 1.5 * z
    frame = pd.DataFrame({"t": t * 1.0, "z": z * 1.0, "y": y})
    problem = build(frame, Question(treatment="t", outcome="y", covariates=(), instruments=("z",)))
    found = instrument_validity.analyse(problem, estimators.estimate("iv_2sls", problem))
    assert not found.passed


def test_valid_instruments_are_rarely_refuted():
    refuted = 0
    for seed in range(40):
        problem = problem_of("encouraged_types", 1_000, seed=seed)
        refuted += not instrument_validity.analyse(problem, estimators.estimate("iv_2sls", problem)).passed
    assert refuted <= 5  # of 40 at 5 per cent: six or more happen in one of seventy such tests


def test_several_instruments_have_no_cells():
    problem = problem_of("encouraged_dose", 500)
    with pytest.raises(NotApplicable):
        instrument_validity.analyse(problem, estimators.estimate("iv_2sls", problem))


# --- donors -----------------------------------------------------------------------------------------------------------


def one_treated(own=0.0, lucky=0.0, seed=0):
    rng = np.random.default_rng(seed)
    units, periods, start = 15, 24, 16
    factor = np.cumsum(rng.standard_normal(periods))
    y = 10 + np.linspace(0.5, 1.5, units)[:, None] * factor + 0.2 * rng.standard_normal((units, periods))
    y[7] += own * np.cumsum(rng.standard_normal(periods))
    y[7, start:] += 0.0 if lucky else 5.0
    if lucky:  # the treated unit's twin among the donors, which alone falls afterwards
        y[8] = y[7] + lucky * rng.standard_normal(periods)
        y[8, start:] -= 5.0
    frame = pd.DataFrame(
        {"unit": np.repeat(np.arange(units), periods), "time": np.tile(np.arange(periods), units), "y": y.ravel()}
    )
    frame["t"] = ((frame["unit"] == 7) & (frame["time"] >= start)) * 1.0
    return build(frame, Question(treatment="t", outcome="y", unit="unit", time="time", covariates=()))


@pytest.mark.parametrize("method", ["synthetic_control", "sdid"])
def test_many_like_donors_pass_and_a_course_of_its_own_does_not(method):
    quick = refit_with("synthetic_control", placebo=False)  # for both: what is asked here is what is made of it
    clean, wild = one_treated(), one_treated(own=1.5)
    good = donors.analyse(clean, estimators.estimate(method, clean), quick=quick)
    assert good.passed
    assert good.value > 0.9
    assert all(row["estimate"] is not None for row in (*good.details["donors"], *good.details["times"]))
    assert not donors.analyse(wild, estimators.estimate(method, wild), quick=quick).details["held"]["fit"]


def test_an_effect_that_one_donor_makes_is_told():
    problem = one_treated(lucky=0.02)
    quick = refit_with("synthetic_control", placebo=False)
    found = donors.analyse(problem, estimators.estimate("synthetic_control", problem), quick=quick)
    assert not found.details["held"]["donors"]
    assert "donors" in found.interpretation


# --- one series -------------------------------------------------------------------------------------------------------


def test_no_interruption_is_found_where_none_was():
    problem = problem_of("interrupted", 200)
    found = placebo_interruptions.analyse(problem, estimators.estimate("its", problem), refit=refit_with("its"))
    assert found.passed
    assert len(found.details["rows"]) == 3


def test_a_step_before_the_interruption_is_found():
    made = SIMULATIONS["interrupted"](200, seed=0)
    frame = made.frame.assign(y=made.frame["y"] + 3.0 * (made.frame["period"] >= 60))
    problem = build(frame, made.question)
    found = placebo_interruptions.analyse(problem, estimators.estimate("its", problem), refit=refit_with("its"))
    assert not found.passed


def test_a_short_series_is_not_cut():
    made = SIMULATIONS["interrupted"](15, seed=0)
    problem = build(made.frame, dataclasses.replace(made).question.model_copy(update={"covariates": ()}))
    with pytest.raises(NotApplicable):
        placebo_interruptions.analyse(problem, estimators.estimate("its", problem), refit=refit_with("its"))

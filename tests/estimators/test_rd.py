"""What discontinuities owe beyond the common tests."""

from __future__ import annotations

import numpy as np
import pytest

from causal_orchestrator import estimators
from causal_orchestrator.errors import DesignError, InputError, NotApplicable
from causal_orchestrator.problem import build
from causal_orchestrator.simulate import SIMULATIONS

BOTH = {"rdd": "cutoff", "rdd_fuzzy": "cutoff_fuzzy"}


def run(method, made, *, frame=None, seed=0, question=None, **options):
    problem = build(made.frame if frame is None else frame, question or made.question, seed=seed)
    return estimators.estimate(method, problem, **options)


@pytest.mark.parametrize("method", BOTH)
def test_the_headline_interval_is_the_robust_one_around_the_corrected_estimate(method):
    found = run(method, SIMULATIONS[BOTH[method]](800, seed=1))
    rows = {row.term: row for row in found.rows}
    assert found.estimate == rows["conventional"].estimate
    assert (found.ci_lower, found.ci_upper) == (rows["robust"].ci_lower, rows["robust"].ci_upper)
    assert rows["robust"].estimate == rows["bias-corrected"].estimate
    assert rows["robust"].std_error > rows["bias-corrected"].std_error
    assert found.std_error == rows["robust"].std_error


def test_a_treatment_below_the_cutoff_turns_the_sign():
    made = SIMULATIONS["cutoff"](800, seed=2)
    mirrored = made.frame.assign(r=-made.frame["r"])
    found, straight = run("rdd", made, frame=mirrored), run("rdd", made)
    assert found.details["treated_above"] is False
    assert found.estimate == pytest.approx(straight.estimate, rel=1e-9)
    assert (found.ci_lower, found.ci_upper) == pytest.approx((straight.ci_lower, straight.ci_upper), rel=1e-9)
    assert found.ci_lower < found.estimate < found.ci_upper


def test_rows_exactly_on_the_cutoff_stay_on_the_side_that_their_treatment_names():
    made = SIMULATIONS["cutoff"](800, seed=3)
    rounded = made.frame["r"].round(2)
    frame = made.frame.assign(r=rounded, t=(rounded > 0) * 1.0)
    assert run("rdd", made, frame=frame).details["treated_above"] is True


def test_self_selection_at_the_cutoff_is_seen_in_the_density():
    made = SIMULATIONS["cutoff"](3_000, seed=4)
    assert run("rdd", made).diagnostics["density"]["passed"]
    rng = np.random.default_rng(0)
    kept = (made.frame["r"] >= 0) | (made.frame["r"] < -0.5) | (rng.random(3_000) < 0.4)
    found = run("rdd", made, frame=made.frame[kept])
    assert not found.diagnostics["density"]["passed"]
    assert any("chosen their side" in note for note in found.notes)


def test_a_covariate_that_jumps_is_seen():
    made = SIMULATIONS["cutoff"](2_000, seed=5)
    assert run("rdd", made).diagnostics["covariate_continuity"]["passed"]
    jumping = made.frame.assign(x1=made.frame["x1"] + 1.5 * made.frame["t"])
    found = run("rdd", made, frame=jumping)
    assert not found.diagnostics["covariate_continuity"]["passed"]
    assert found.details["covariate_continuity"]["x1"]["estimate"] == pytest.approx(1.5, abs=0.5)


def test_a_jump_where_nothing_happens_is_seen():
    made = SIMULATIONS["cutoff"](3_000, seed=16)
    assert run("rdd", made).diagnostics["placebo_cutoffs"]["passed"]
    # A third of the right side, where the placebo cutoff lies.
    place = np.quantile(made.frame["r"][made.frame["r"] >= 0], 1 / 3)
    frame = made.frame.assign(y=made.frame["y"] + (made.frame["r"] >= place))
    assert not run("rdd", made, frame=frame).diagnostics["placebo_cutoffs"]["passed"]


def test_a_donut_leaves_its_rows_out_and_the_curve_has_the_bandwidths():
    made = SIMULATIONS["cutoff"](1_500, seed=7)
    found = run("rdd", made, donut=0.1)
    assert found.n == int((made.frame["r"].abs() >= 0.1).sum())
    whole = run("rdd", made)
    h = whole.details["bandwidths"]["h"][0]
    assert [row["bandwidth"] / h for row in whole.details["bandwidth_curve"]] == pytest.approx(
        [0.5, 0.75, 1.25, 1.5, 2]
    )
    assert all(abs(row["estimate"] - 1) < 4 * row["std_error"] for row in whole.details["bandwidth_curve"])
    assert all(row["n"] < sum(whole.details["n_within"]) + 60 for row in whole.details["donut"])


def test_covariates_sharpen_the_estimate_when_asked():
    made = SIMULATIONS["cutoff"](2_000, seed=8)
    frame = made.frame.assign(y=made.frame["y"] + made.frame["x1"])
    plain, adjusted = run("rdd", made, frame=frame), run("rdd", made, frame=frame, covariate_adjusted=True)
    assert adjusted.std_error < 0.7 * plain.std_error
    assert (plain.covariates, adjusted.covariates) == ((), made.question.covariates)


def test_a_small_jump_of_the_treatment_is_said():
    made = SIMULATIONS["cutoff_fuzzy"](600, seed=9)
    rng = np.random.default_rng(1)
    found = run("rdd_fuzzy", made, frame=made.frame.assign(t=(rng.random(600) < 0.5) * 1.0))
    assert not found.diagnostics["first_stage_F"]["passed"]
    assert any("hardly jumps" in note for note in found.notes)


def test_each_method_sends_the_other_designs_away():
    sharp, fuzzy = SIMULATIONS["cutoff"](400, seed=10), SIMULATIONS["cutoff_fuzzy"](400, seed=10)
    with pytest.raises(NotApplicable, match="rdd_fuzzy") as raised:
        run("rdd", fuzzy)
    assert raised.value.code == "NOT_SHARP"
    with pytest.raises(NotApplicable) as raised:
        run("rdd_fuzzy", sharp)
    assert raised.value.code == "NOT_FUZZY"


@pytest.mark.parametrize("method", BOTH)
def test_what_is_missing_is_named(method):
    made = SIMULATIONS[BOTH[method]](400, seed=11)
    for change, kind, code in (
        ({"running_variable": None}, NotApplicable, "NEEDS_RUNNING_VARIABLE"),
        ({"cutoff": None}, NotApplicable, "NEEDS_CUTOFF"),
        ({"weights": "w"}, NotApplicable, "NEEDS_EQUAL_WEIGHTS"),
        ({"cutoff": 5.0}, (DesignError, NotApplicable), None),
    ):
        with pytest.raises(kind) as raised:
            run(method, made, frame=made.frame.assign(w=2.0), question=made.question.model_copy(update=change))
        assert code is None or raised.value.code == code
    words = made.frame.assign(r=[f"value {i}" for i in range(400)])
    with pytest.raises(InputError, match="'r'"):
        run(method, made, frame=words)
    for options in ({"bandwidth": -1.0}, {"polynomial": 9}, {"donut": -0.1}, {"kernel": "gaussian"}):
        with pytest.raises(InputError) as raised:
            run(method, made, **options)
        assert raised.value.code == "OPTION_INVALID"


@pytest.mark.parametrize("method", BOTH)
def test_too_few_rows_or_values_beside_the_cutoff_are_refused(method):
    made = SIMULATIONS[BOTH[method]](400, seed=12)
    coarse = made.frame.assign(r=np.where(made.frame["r"] >= 0, 1.0, -1.0) * np.ceil(made.frame["r"].abs() * 2))
    with pytest.raises(DesignError) as raised:
        run(method, made, frame=coarse)
    assert raised.value.code == "TOO_FEW_MASS_POINTS"
    far = made.frame.assign(r=np.where(made.frame["r"] >= 0, made.frame["r"] + 3, made.frame["r"]))
    with pytest.raises(DesignError) as raised:
        run(method, made, frame=far, bandwidth=0.5)
    assert raised.value.code == "TOO_FEW_MASS_POINTS"


def test_rows_without_a_running_variable_are_left_out():
    made = SIMULATIONS["cutoff"](600, seed=13)
    gaps = made.frame.assign(r=made.frame["r"].where(made.frame.index >= 50))
    assert run("rdd", made, frame=gaps).estimate == pytest.approx(run("rdd", made, frame=made.frame.iloc[50:]).estimate, rel=1e-9)  # fmt: skip

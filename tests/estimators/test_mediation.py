"""What mediation owes beyond the common tests."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from causal_orchestrator import estimators
from causal_orchestrator.errors import DesignError, InputError, NotApplicable
from causal_orchestrator.problem import build
from causal_orchestrator.simulate import SIMULATIONS

DRAWS = 120
ALARM = 1e-3


def run(made, *, frame=None, question=None, seed=0, **options):
    problem = build(made.frame if frame is None else frame, question or made.question, seed=seed)
    return estimators.estimate("mediation", problem, **options)


def rows(found):
    return {row.term: row for row in found.rows}


def test_the_parts_are_recovered_and_add_up():
    found = rows(run(SIMULATIONS["mediated"](3_000, seed=1)))
    assert found["ACME"].estimate == pytest.approx(0.6, abs=4 * found["ACME"].std_error)
    assert found["ADE"].estimate == pytest.approx(0.4, abs=4 * found["ADE"].std_error)
    assert found["ACME (treated)"].estimate + found["ADE (control)"].estimate == pytest.approx(found["total"].estimate)
    assert found["proportion mediated"].estimate == pytest.approx(found["ACME"].estimate / found["total"].estimate)


def test_linear_models_give_the_product_of_coefficients():
    made = SIMULATIONS["mediated"](400, seed=2)
    x = made.frame[["x0", "x1", "x2"]].to_numpy()
    one, t, m = np.ones(400), made.frame["t"].to_numpy(), made.frame["m"].to_numpy()
    first = np.linalg.lstsq(np.column_stack([one, t, x]), m, rcond=None)[0]
    second = np.linalg.lstsq(np.column_stack([one, t, m, x]), made.frame["y"], rcond=None)[0]
    found = rows(run(made))
    assert found["ACME"].estimate == pytest.approx(first[1] * second[2], rel=1e-9)
    assert found["ADE"].estimate == pytest.approx(second[1], rel=1e-9)


@pytest.mark.slow
def test_the_interval_of_the_mediated_part_covers():
    held = 0
    for seed in range(DRAWS):
        row = rows(run(SIMULATIONS["mediated"](250, seed=900 + seed), seed=seed, draws=300))["ACME"]
        held += row.ci_lower <= 0.6 <= row.ci_upper
    assert stats.binomtest(held, DRAWS, 0.95).pvalue > ALARM, f"{held} of {DRAWS}"


def test_an_interaction_lets_the_parts_differ_between_the_arms():
    made = SIMULATIONS["mediated"](2_000, seed=3)
    frame = made.frame.assign(y=made.frame["y"] + made.frame["t"] * made.frame["m"])
    found = rows(run(made, frame=frame, models="interaction"))
    assert found["ACME (treated)"].estimate - found["ACME (control)"].estimate == pytest.approx(0.8, abs=0.25)
    plain = rows(run(made, frame=frame))
    assert plain["ACME (treated)"].estimate == pytest.approx(plain["ACME (control)"].estimate)


@pytest.mark.parametrize("binary", ["m", "y", "both"])
def test_binary_mediators_and_outcomes_keep_the_total(binary):
    made = SIMULATIONS["mediated"](4_000, seed=4)
    changed = {c: (made.frame[c] > made.frame[c].mean()) * 1.0 for c in ("m", "y") if binary in (c, "both")}
    frame = made.frame.assign(**changed)
    found = run(made, frame=frame)
    raw = frame.groupby("t")["y"].mean().diff().iloc[1]  # assigned by coin
    assert found.estimate == pytest.approx(raw, abs=0.1 if binary == "m" else 0.03)
    assert rows(found)["ACME"].ci_lower > 0


def test_the_correlation_that_explains_the_part_away_is_that_of_the_hidden_cause():
    hidden = SIMULATIONS["mediated"](20_000, seed=5, through=0.0, hidden=1.0)
    found = run(hidden)
    assert rows(found)["ACME"].estimate > 0.2  # spurious: nothing goes through
    # The residuals of both models given the covariates are u + e: their correlation is one half.
    told = found.details["sensitivity"]
    assert told["rho_at_zero"] == pytest.approx(0.5, abs=0.03)
    at = dict(zip(told["rho"], told["acme"], strict=True))
    assert at[0.0] == pytest.approx(rows(found)["ACME"].estimate, rel=1e-9)
    assert at[0.5] == pytest.approx(0.0, abs=0.03)


def test_what_cannot_be_a_mediator_is_refused_by_name():
    made = SIMULATIONS["mediated"](300, seed=6)
    with pytest.raises(DesignError, match="'m'") as raised:
        run(made, frame=made.frame.assign(m=2.0))
    assert raised.value.code == "MEDIATOR_CONSTANT"
    with pytest.raises(InputError, match="'m'"):
        run(made, frame=made.frame.assign(m=[f"level {i % 4}" for i in range(300)]))
    for mediators, code in (((), "NEEDS_MEDIATORS"), (("m", "x2"), "ONE_MEDIATOR")):
        question = made.question.model_copy(update={"mediators": mediators, "covariates": ("x0",)})
        with pytest.raises(NotApplicable) as none:
            run(made, question=question)
        assert none.value.code == code
    with pytest.raises(InputError) as few:
        run(made, draws=10)
    assert few.value.code == "OPTION_INVALID"

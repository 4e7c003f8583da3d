"""Values of policies against closed forms on six rows, and what the columns of policies may hold."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from causal_orchestrator import estimators
from causal_orchestrator.errors import InputError
from causal_orchestrator.numerics.nuisance import Nuisances
from causal_orchestrator.problem import build
from causal_orchestrator.question import Question
from causal_orchestrator.simulate import SIMULATIONS

RTOL = 1e-12  # sums of a few numbers

# Twelve repetitions of six rows: treatment, outcome, propensity, predictions under control and treatment, policy.
T = np.array([1, 1, 0, 0, 1, 0])
Y = np.array([3.0, 5.0, 1.0, 2.0, 4.0, 0.0])
E = np.array([0.5, 0.25, 0.5, 0.2, 0.8, 0.4])
MU0 = np.array([1.0, 2.0, 1.5, 1.0, 3.0, 0.5])
MU1 = np.array([2.5, 4.0, 2.0, 3.0, 4.5, 1.0])
PI = np.array([1, 0, 0, 1, 1, 0])
COPIES = 12

# By hand, from the formulas of Dudík, Erhan, Langford & Li (2014), equations 2.1, 2.2 and 3.1.
DM = (2.5 + 2 + 1.5 + 3 + 4.5 + 0.5) / 6
DR = DM + ((3 - 2.5) / 0.5 + (1 - 1.5) / 0.5 + (4 - 4.5) / 0.8 + (0 - 0.5) / 0.6) / 6
SNIPS = (3 / 0.5 + 1 / 0.5 + 4 / 0.8 + 0 / 0.6) / (1 / 0.5 + 1 / 0.5 + 1 / 0.8 + 1 / 0.6)


def table(**columns):
    named = {"t": T, "y": Y, "pi": PI, "x": np.arange(6.0), **columns}
    return pd.DataFrame({name: np.tile(values, COPIES) for name, values in named.items()})


def problem(frame, **roles):
    made = build(frame, Question(treatment="t", outcome="y", covariates=["x"], policy="pi", **roles))
    at = made.rows % 6
    known = Nuisances(
        kind="learned",
        propensity=np.stack([1 - E[at], E[at]], axis=1)[None],
        outcome_by_level=np.stack([MU0[at], MU1[at]], axis=1)[None],
        outcome=np.zeros((1, made.n)),
        treatment=E[at][None],
        fold=np.zeros((1, made.n), dtype=np.int64),
    )
    return made.with_learned(known)


@pytest.mark.parametrize(("score", "value"), [("dr", DR), ("dm", DM), ("snips", SNIPS)])
def test_values_are_those_of_the_closed_forms(score, value):
    found = estimators.estimate("off_policy", problem(table()), score=score)
    assert found.estimate == pytest.approx(value, rel=RTOL)
    assert (found.std_error is None) == (score == "dm")


def test_standard_errors_are_those_of_the_rows():
    row = np.where(PI == 1, MU1, MU0) + (T == PI) / np.where(T == 1, E, 1 - E) * (Y - np.where(T == 1, MU1, MU0))
    found = estimators.estimate("off_policy", problem(table()))
    assert found.std_error == pytest.approx(np.tile(row, COPIES).std(ddof=1) / np.sqrt(6 * COPIES), rel=RTOL)


def test_what_was_observed_and_the_constants_stand_beside_it():
    found = estimators.estimate("off_policy", problem(table())).effects.set_index("term")["estimate"]
    assert list(found.index) == ["given", "treat_all", "treat_none", "as observed"]
    assert found["as observed"] == pytest.approx(Y.mean(), rel=RTOL)
    assert found["treat_all"] == pytest.approx((MU1 + T * (Y - MU1) / E).mean(), rel=RTOL)


def test_a_chance_of_treatment_is_a_policy():
    chance = np.array([0.3, 0.0, 1.0, 0.5, 0.25, 0.8])
    ratio = np.where(T == 1, chance / E, (1 - chance) / (1 - E))
    row = chance * MU1 + (1 - chance) * MU0 + ratio * (Y - np.where(T == 1, MU1, MU0))
    found = estimators.estimate("off_policy", problem(table(pi=chance)))
    assert found.estimate == pytest.approx(row.mean(), rel=RTOL)


def test_costs_are_taken_off_where_a_policy_treats():
    cost = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    found = estimators.estimate("off_policy", problem(table(c=cost), cost="c"))
    assert found.details["net"]["given"] == pytest.approx(DR - (1 + 4 + 5) / 6, rel=RTOL)
    assert found.details["net"]["as observed"] == pytest.approx(Y.mean() - (1 + 2 + 5) / 6, rel=RTOL)


@pytest.mark.parametrize("values", [PI * 2.0, np.array([0.5, np.nan, 0, 1, 1, 1]), np.array(["a", "0", "1", "1", "0", "0"])])  # fmt: skip
def test_a_column_that_is_no_policy_is_refused_by_name(values):
    with pytest.raises(InputError, match="'pi'") as raised:
        estimators.estimate("off_policy", problem(table(pi=values)))
    assert raised.value.code == "POLICY_INVALID"


def test_an_unknown_policy_is_refused():
    with pytest.raises(InputError) as raised:
        estimators.estimate("off_policy", problem(table()), policy="flip a coin")
    assert raised.value.code == "POLICY_INVALID"


def test_each_of_several_levels_is_a_policy():
    made = SIMULATIONS["confounded_arms"](3_000, seed=16)
    quick = {"learners": ("linear",), "folds": 2, "repeats": 1}
    found = estimators.estimate("off_policy", build(made.frame, made.question), policy="2", **quick)
    rows = found.effects.set_index("term")
    assert list(rows.index) == ["everyone 2", "everyone 1", "everyone 0", "as observed"]
    for name, truth in (("everyone 2", 1.0), ("everyone 1", 0.5), ("everyone 0", 0.0)):
        assert abs(rows.loc[name, "estimate"] - truth) < 4 * rows.loc[name, "std_error"]


def test_a_gain_is_surer_than_the_two_values_apart():
    """Values of two policies share their rows."""
    made = SIMULATIONS["confounded_policy"](2_000, seed=3)
    quick = {"learners": ("linear",), "folds": 2, "repeats": 1}
    found = estimators.estimate("off_policy", build(made.frame, made.question), **quick)
    gain = next(row for row in found.details["contrasts"] if row["against"] == "treat_none")
    assert abs(gain["gain"] - made.truth["POLICY_VALUE"]) < 4 * gain["std_error"]
    assert gain["std_error"] < found.std_error


def test_a_learned_policy_is_valued_on_rows_that_it_did_not_see():
    made = SIMULATIONS["confounded_heterogeneous"](2_000, seed=3)
    quick = {"learners": ("linear",), "folds": 2, "repeats": 1}
    found = estimators.estimate("off_policy", build(made.frame, made.question), **quick)
    assert found.details["policy"] == "learned"
    best = 1 + 0.0833  # E[max(0, 1 + x0)] for a normal x0
    assert found.estimate < best + 4 * found.std_error
    assert found.estimate > 1.0 - 4 * found.std_error

"""Agreement of three outcome models: definition, no interval, determinism, refusals."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from causal_orchestrator import estimators
from causal_orchestrator.errors import CausalError
from causal_orchestrator.estimators.counterfactual_consensus import agreement
from causal_orchestrator.identification.methods import HEAVY_COST
from causal_orchestrator.problem import build
from causal_orchestrator.results import Effect
from causal_orchestrator.simulate import SIMULATIONS

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "counterfactual_consensus.json").read_text())
RTOL = 1e-12


@pytest.fixture(scope="module")
def made():
    return SIMULATIONS["confounded_nonlinear"](600, seed=1)


@pytest.fixture(scope="module")
def found(made):
    return estimators.estimate("counterfactual_consensus", build(made.frame, made.question))


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: case["level"])
def test_agreement_is_as_defined(case):
    told = agreement(dict(zip("abc", case["values"], strict=True)), case["sd"])
    for key in ("mean", "standard_deviation"):
        assert told[key] == pytest.approx(case[key], rel=RTOL)
    assert (told["minimum"], told["maximum"]) == (min(case["values"]), max(case["values"]))
    assert told["level"] == case["level"]


def test_the_estimate_is_the_mean_of_three_systems_without_an_interval(found):
    systems = found.details["systems"]
    assert set(systems) == {"linear", "polynomial ridge", "forest"}
    assert found.estimate == pytest.approx(np.mean(list(systems.values())), rel=RTOL)
    assert found.cate.mean() == pytest.approx(found.estimate)
    assert (found.std_error, found.ci_lower, found.p_value) == (None, None, None)
    assert found.inference.startswith("none")
    assert Effect.model_validate(json.loads(found.to_effect().model_dump_json())) == found.to_effect()


def test_where_a_line_is_wrong_the_systems_disagree(found):
    systems = found.details["systems"]
    assert abs(systems["linear"] - 1) > 2 * abs(systems["polynomial ridge"] - 1)
    assert found.details["agreement"]["level"] == "low"
    assert any("not robustness" in note for note in found.notes)


def test_order_of_rows_does_not_matter(made, found):
    again = build(made.frame.sample(frac=1.0, random_state=2), made.question)
    assert estimators.estimate("counterfactual_consensus", again).estimate == found.estimate


def test_it_waits_for_the_full_profile():
    assert estimators.ESTIMATORS["counterfactual_consensus"].cost(445, 8) > HEAVY_COST


def test_a_dose_is_refused():
    dose = SIMULATIONS["confounded_dose"](300, seed=3)
    with pytest.raises(CausalError) as raised:
        estimators.estimate("counterfactual_consensus", build(dose.frame, dose.question))
    assert raised.value.code == "TREATMENT_KIND"

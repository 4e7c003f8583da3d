"""Whether the arms can be compared is judged without the outcome."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest

from causal_orchestrator.agents import JobView, Turn
from causal_orchestrator.agents.ps_diagnostics import area_under_curve, run
from causal_orchestrator.results import PropensityDiagnostics
from causal_orchestrator.simulate import SIMULATIONS


def diagnose(made, **question):
    asked = made.question.model_copy(update=question)
    job = JobView(id="j", tenant="t", question=asked, seed=0)

    def read(columns, view, *, roles=None):
        assert view == "covariates_treatment"
        assert "y" not in columns
        return made.frame[list(columns)]

    return run(job, Turn(4, "ps_diagnostics", {}, 0), read, None)


@pytest.fixture(scope="module")
def confounded():
    made = SIMULATIONS["confounded_linear"](1_000, seed=1)
    return made, diagnose(made)


def test_the_outcome_is_never_read(confounded):
    assert isinstance(confounded[1].result, PropensityDiagnostics)


def test_the_true_form_of_the_propensity_is_found_good(confounded):
    models = {m.name: m for m in confounded[1].result.models}
    assert models["linear"].log_loss < models["mean"].log_loss - 0.03
    assert models["mixture"].log_loss < models["mean"].log_loss - 0.03
    assert models["mixture"].calibration_error < 0.05
    assert [m.name for m in models.values() if m.chosen] == ["mixture"]


def test_weighting_improves_the_balance_of_a_confounder(confounded):
    balance = {b.covariate: b for b in confounded[1].result.balance}
    assert balance["x0"].smd > 0.4
    assert abs(balance["x0"].smd_adjusted) < 0.1
    assert 0 < balance["x0"].ks < 1


def test_overlap_is_good_where_it_is_and_poor_where_it_is_not(confounded):
    weak = diagnose(SIMULATIONS["weak_overlap"](1_000, seed=2)).result
    assert confounded[1].result.overlap > 0.95
    assert weak.overlap < 0.8
    assert "OVERLAP" in {n.code for n in weak.warnings}
    assert weak.trimming["share_left_out"] > 0.1
    assert any(v["column"] == "x0" for v in weak.violations)


def test_overlap_is_that_of_the_target_population():
    made = SIMULATIONS["weak_overlap"](1_000, seed=2)
    shares = {e: diagnose(made, estimand=e).result.overlap for e in ("ATE", "ATT", "ATC")}
    n1 = (made.frame["t"] == 1).mean()
    assert shares["ATE"] == pytest.approx(n1 * shares["ATT"] + (1 - n1) * shares["ATC"])


def test_a_treatment_that_follows_a_covariate_is_separated():
    made = SIMULATIONS["confounded_linear"](600, seed=3)
    rule = type(made)(made.frame.assign(t=(made.frame["x0"] > 0) * 1.0), made.question, made.truth, made.effect)
    assert diagnose(rule).result.separated
    assert not diagnose(made).result.separated


def test_in_an_experiment_nothing_is_separated_and_the_sample_stays_whole():
    made = SIMULATIONS["randomized"](600, seed=4)
    found = diagnose(made).result
    assert found.overlap == 1.0
    assert found.ess["1"] > 0.9 * found.ess["1 rows"]
    assert found.trimming["cut"] == 0.0


def test_histogram_and_calibration_count_everyone(confounded):
    made, output = confounded
    found = output.result
    assert sum(found.histogram["treated"]) == made.frame["t"].sum()
    assert sum(found.histogram["control"]) == (1 - made.frame["t"]).sum()
    assert sum(n for _, _, n in found.calibration) == len(made.frame)


def test_the_propensities_are_kept_by_row(confounded):
    made, output = confounded
    kept = pd.read_parquet(io.BytesIO(output.files["nuisances.parquet"])).set_index("row").sort_index()
    assert len(kept) == len(made.frame)
    assert kept["e"].between(0, 1).all()
    assert np.corrcoef(kept["e"], made.frame["x0"] + made.frame["x1"])[0, 1] > 0.9


def test_several_levels_go_through():
    found = diagnose(SIMULATIONS["confounded_arms"](900, seed=5)).result
    assert {"0", "1", "2"} <= set(found.ess)


def test_without_covariates_or_with_a_dose_there_is_nothing_to_model():
    dose = diagnose(SIMULATIONS["confounded_dose"](300, seed=6)).result
    alone = diagnose(SIMULATIONS["randomized"](300, seed=6), covariates=()).result
    assert dose.models == alone.models == ()
    assert "NO_PROPENSITY" in {n.code for n in dose.warnings} & {n.code for n in alone.warnings}


def test_the_area_under_the_curve_counts_pairs():
    predicted, treated = np.array([0.1, 0.4, 0.4, 0.8]), np.array([0.0, 0.0, 1.0, 1.0])
    assert area_under_curve(predicted, treated) == pytest.approx(3.5 / 4)

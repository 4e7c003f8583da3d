"""The analyst runs what fits the design, and survives what fails."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tests.agents.analysed import TURN, JobView, analyse, estimated, silent, table, with_results
from tests.agents.reader import FrameReader

from causal_orchestrator import sensitivity
from causal_orchestrator.agents.critique import run as critique
from causal_orchestrator.errors import EstimationError, InputError
from causal_orchestrator.results import PropensityDiagnostics

DATA = Path(os.environ.get("CAUSAL_TEST_DATA", Path(__file__).parents[2] / "../shared/data"))
COVARIATES = ("age", "education", "black", "hispanic", "married", "nodegree", "re74", "re75")
needs_data = pytest.mark.skipif(not DATA.exists(), reason="the reference data are not on this machine")


def methods_of(output):
    return [r.method for r in output.result.results]


def test_an_experiment_is_not_asked_about_confounding():
    frame = table(confounding=0.0)
    found = methods_of(analyse(estimated(frame, ("difference_in_means",), "randomized"), frame))
    assert found == ["balance_test", "placebo_treatment", "data_subset", "bootstrap"]


def test_an_observational_study_is_asked_about_everything_that_fits():
    frame = table()
    job = estimated(frame, ("ols",), "unconfoundedness", placebo_outcomes=("y0",))
    found = methods_of(analyse(job, frame))
    fitting = {key for key, spec in sensitivity.SENSITIVITY.items() if "unconfoundedness" in spec.designs}
    assert set(found) == fitting - {"manski_bounds", "attrition", "interference"}


def test_outcomes_that_are_missing_in_one_arm_limit_an_experiment():
    frame = table(n=1000, confounding=0.0)
    lost = (frame["t"] == 1) & (frame["b"] < -0.5)
    frame["y"] = frame["y"].mask(lost)
    job = estimated(frame, ("difference_in_means",), "randomized")
    job = with_results(job, sensitivity_analyst=analyse(job, frame).result)
    found = critique(job, TURN, FrameReader(frame), silent).result
    assert "ATTRITION" in found.verdict.codes
    assert found.verdict.decision == "limited"


def test_a_placebo_outcome_is_not_adjusted_for_by_itself():
    # Were `y0` among its own covariates, its effect would be exactly zero.
    frame = table(n=4000)
    frame["y0"] = frame["y0"] + frame["t"]
    job = estimated(frame, ("ols",), "unconfoundedness", placebo_outcomes=("y0",))
    placebo = next(r for r in analyse(job, frame).result.results if r.method == "placebo_outcomes")
    assert placebo.details["outside"] == ["y0"]
    assert placebo.details["rows"][0]["estimate"] == pytest.approx(1.0, abs=0.1)  # three standard errors


def test_a_failing_analysis_is_a_warning_and_the_others_stand(monkeypatch):
    frame = table()
    job = estimated(frame, ("ols",), "unconfoundedness")

    def load(key):
        def broken(problem, estimate, **rest):
            raise np.linalg.LinAlgError("singular") if key == "oster" else EstimationError("no number")

        return broken if key in ("oster", "e_value") else real(key)

    real = sensitivity.load
    monkeypatch.setattr(sensitivity, "load", load)
    found = analyse(job, frame).result
    errors = {r.method: r.error for r in found.results if r.error}
    assert set(errors) == {"oster", "e_value"}
    assert errors["oster"].startswith("NUMERICAL")
    assert [n.code for n in found.warnings] == ["SENSITIVITY_FAILED"] * 2
    assert sum(r.error is None for r in found.results) >= 6


def test_a_placebo_that_cannot_be_used_spoils_no_other_analysis():
    frame = table().assign(words="x")
    job = estimated(frame, ("ols",), "unconfoundedness", placebo_outcomes=("words",))
    found = analyse(job, frame).result
    assert [r.method for r in found.results if r.error] == ["placebo_outcomes"]


def test_without_a_primary_there_is_nothing_to_test():
    with pytest.raises(InputError, match="no primary"):
        analyse(
            JobView(id="j", tenant="t", question=estimated(table(), ("ols",), "randomized").question, seed=0), table()
        )


def test_the_same_job_gives_the_same_digits():
    frame = table()
    job = estimated(frame, ("ols",), "unconfoundedness", placebo_outcomes=("y0",))
    first, second = (analyse(job, frame).result.model_dump_json() for _ in range(2))
    assert first == second


def test_the_order_of_the_rows_does_not_matter():
    frame = table()
    job = estimated(frame, ("ols",), "unconfoundedness")
    first, second = (analyse(job, f).result for f in (frame, frame.sample(frac=1, random_state=1)))
    for a, b in zip(first.results, second.results, strict=True):
        assert a.value == pytest.approx(b.value, rel=1e-9)  # summed in another order


def test_a_method_with_learned_nuisances_is_redrawn_with_parametric_ones_and_says_so():
    frame = table(n=200)
    job = estimated(frame, ("aipw",), "unconfoundedness")
    found = {r.method: r for r in analyse(job, frame).result.results}
    assert found["placebo_treatment"].details["nuisances"] == "parametric"
    assert found["placebo_treatment"].details["draws"] == 100
    assert "parametric" in found["bootstrap"].interpretation
    assert "nuisances" not in found["e_value"].details


def lalonde(controls=None):
    treated = pd.read_csv(DATA / "lalonde_nsw_dw.csv")
    if controls is None:
        return treated
    comparison = pd.read_parquet(DATA / controls) if controls.endswith("parquet") else pd.read_csv(DATA / controls)
    return pd.concat([treated[treated["treat"] == 1], comparison], ignore_index=True)


def verdict_of(frame, methods, design, propensity=None, **changed):
    question = {"treatment": "treat", "outcome": "re78", "covariates": COVARIATES}
    job = estimated(frame, methods, design, question=question, placebo_outcomes=("re75", "re74"), **changed)
    reader = FrameReader(frame, "treat", "re78")
    from causal_orchestrator.agents.sensitivity_analyst import run

    job = with_results(job, sensitivity_analyst=run(job, TURN, reader, silent).result)
    if propensity is not None:
        job = with_results(job, ps_diagnostics=propensity)
    return critique(job, TURN, reader, silent).result


@needs_data
def test_the_lalonde_experiment_is_answered():
    found = verdict_of(lalonde(), ("difference_in_means", "ols"), "randomized")
    assert found.decision == "APPROVE"
    assert found.verdict.decision == "answer"


@needs_data
@pytest.mark.parametrize(
    ("controls", "overlap"),
    [
        ("lalonde_psid_controls.csv", 0.14),
        pytest.param("lalonde_cps_controls.parquet", 0.03, marks=pytest.mark.slow),
    ],
)
def test_the_treated_of_the_experiment_with_controls_from_surveys_are_not_answered(controls, overlap):
    frame, options = lalonde(controls), {"regression_adjustment": {"estimand": "ATT"}}
    fields = {
        "methods": ("regression_adjustment",),
        "design": "unconfoundedness",
        "estimand": "ATT",
        "options": options,
    }
    assert verdict_of(frame, **fields).verdict.decision == "limited"
    # The share of all units with a propensity in [0.05, 0.95], as ps_diagnostics finds it.
    seen = PropensityDiagnostics(models=(), overlap=overlap, separated=False)
    found = verdict_of(frame, propensity=seen, **fields)
    assert (found.decision, found.verdict.decision) == ("REJECT", "refuse")
    assert "OVERLAP" in found.verdict.codes
    assert found.verdict.would_help
    assert found.verdict.minimum_detectable_effect > 0

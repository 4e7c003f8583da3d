"""The profiler: roles from words first, structure from covariates and treatment, never the outcome."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tests.agents.profiled import profile
from tests.agents.reader import FrameReader

from causal_orchestrator.errors import InputError
from causal_orchestrator.question import Question

DATA = Path(os.environ.get("CAUSAL_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
described = pytest.mark.skipif(
    not (DATA / "causcibench").exists(), reason="CAUSAL_TEST_DATA holds no described questions"
)

# 45 of the 50 described questions can be answered; in the five others the treatment never varies.
TREATMENTS_FOUND = 45
OUTCOMES_FOUND = 45


@pytest.fixture(scope="module")
def lalonde() -> pd.DataFrame:
    from causaldata import nsw_mixtape

    frame: pd.DataFrame = nsw_mixtape.load_pandas().data
    return frame


def trial(n: int = 400, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"age": rng.integers(20, 60, n), "income": rng.normal(30, 5, n).round(2)})
    frame["coaching"] = rng.integers(0, 2, n)
    frame["exam_score"] = frame["age"] * 0.1 + frame["coaching"] + rng.normal(size=n)
    return frame


# --- LaLonde ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("query", ["", "Did the training programme raise earnings in 1978?"])
def test_the_lalonde_experiment_needs_no_roles(lalonde: pd.DataFrame, query: str) -> None:
    found = profile(lalonde, Question(query=query))
    assert (found.question.treatment, found.question.outcome) == ("treat", "re78")
    assert found.question.covariates == ("age", "educ", "black", "hisp", "marr", "nodegree", "re74", "re75")
    assert (found.structure, found.treatment_kind, found.outcome_kind) == ("cross_section", "binary", "continuous")
    assert set(found.proposed) == {"treatment", "outcome", "covariates"}


def test_every_proposed_role_has_a_score_and_reasons_in_words(lalonde: pd.DataFrame) -> None:
    found = profile(lalonde)
    for role in ("treatment", "outcome", "covariates"):
        assert found.candidates[role]
        assert all(0 <= c.score <= 1 and c.reasons and all(c.reasons) for c in found.candidates[role])


# --- blindness --------------------------------------------------------------------------------------------------------


def test_one_view_is_read_and_neither_outcome_nor_its_rival_is_in_it() -> None:
    frame = trial()
    frame["final_exam_score"] = frame["exam_score"] + 1
    reader = FrameReader(frame)
    found = profile(frame, Question(query="Does coaching improve the exam score?"), reader)
    assert [view for view, _ in reader.reads] == ["covariates_treatment"]
    read = set(reader.reads[0][1])
    assert {"coaching", "age", "income"} <= read
    assert not read & {"exam_score", "final_exam_score"}
    assert "OUTCOME_RIVAL" in {note.code for note in found.warnings}


def test_values_of_the_outcome_change_nothing() -> None:
    frame = trial()
    other = frame.assign(exam_score=np.random.default_rng(9).permutation(frame["exam_score"].to_numpy()))
    question = Question(query="Does coaching improve the exam score?")
    assert profile(frame, question) == profile(other, question)


# --- given roles ------------------------------------------------------------------------------------------------------


def test_given_roles_stay_as_they_are() -> None:
    frame = trial()
    given = Question(
        treatment="income", outcome="age", covariates=("coaching",), query="Does coaching raise exam_score?"
    )
    found = profile(frame, given)
    assert found.question == given
    assert found.proposed == ()


def test_an_empty_list_of_covariates_means_none() -> None:
    assert (
        profile(trial(), Question(treatment="coaching", outcome="exam_score", covariates=())).question.covariates == ()
    )


def test_a_doubtful_given_covariate_is_told_and_kept() -> None:
    frame = trial().assign(post_interview=1.0 * np.arange(400) % 7)
    found = profile(frame, Question(treatment="coaching", outcome="exam_score", covariates=("post_interview",)))
    assert found.question.covariates == ("post_interview",)
    assert "COVARIATE_DOUBTFUL" in {note.code for note in found.warnings}


@pytest.mark.parametrize(
    ("question", "code"),
    [
        (Question(treatment="coachin", outcome="exam_score"), "COLUMN_UNKNOWN"),
        (Question(treatment="fixed", outcome="exam_score"), "TREATMENT_CONSTANT"),
        (Question(treatment="coaching", outcome="fixed"), "OUTCOME_CONSTANT"),
        (Question(treatment="coaching", outcome="words"), "OUTCOME_KIND"),
        (Question(), "ROLES_UNCLEAR"),
    ],
)
def test_what_cannot_be_used_is_refused_with_a_code(question: Question, code: str) -> None:
    frame = pd.DataFrame(
        {
            "coaching": np.arange(60) % 2,
            "exam_score": np.arange(60) * 1.5,
            "fixed": 1,
            "words": [f"w{k % 30}" for k in range(60)],
        }
    )
    if not question.treatment:
        frame = frame.rename(columns={"coaching": "v1", "exam_score": "v2"}).drop(columns=["fixed", "words"])
    with pytest.raises(InputError) as caught:
        profile(frame, question)
    assert caught.value.code == code


def test_an_unclear_request_says_what_to_give() -> None:
    frame = pd.DataFrame({f"v{k}": np.random.default_rng(k).normal(size=50) for k in range(4)})
    with pytest.raises(InputError, match="--treatment and --outcome") as caught:
        profile(frame)
    assert set(caught.value.details["candidates"]) == {"treatment", "outcome"}  # type: ignore[call-overload]


def test_two_equally_good_treatments_are_not_chosen_between() -> None:
    frame = trial().assign(mentoring_program=0, tutoring_program=0)
    frame["mentoring_program"] = np.arange(400) % 2
    frame["tutoring_program"] = np.arange(400) // 2 % 2
    with pytest.raises(InputError, match="cannot tell the treatment"):
        profile(frame.drop(columns="coaching"), Question(outcome="exam_score"))


# --- randomisation ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("description", "expected"),
    [
        ("Pupils were randomly assigned to receive coaching or nothing.", True),
        ("The data come from a randomised controlled trial of coaching.", True),
        ("Coaching was given by lottery: places were drawn at random.", True),
        ("The data come from a random sample of households.", False),
        ("Coaching was not randomly assigned; pupils chose it themselves.", False),
        ("Observational data; a randomized trial was not feasible.", False),
        ("Values are missing at random. A random forest was used before.", False),
        ("", False),
    ],
)
def test_randomisation_is_taken_from_the_text_only(description: str, expected: bool) -> None:
    found = profile(trial(), Question(treatment="coaching", outcome="exam_score", description=description))
    assert found.question.randomized is expected
    assert ("randomized" in found.proposed) is expected


def test_perfect_balance_is_no_randomisation() -> None:
    half = trial().drop(columns="coaching")
    frame = pd.concat([half.assign(coaching=0), half.assign(coaching=1)], ignore_index=True)
    assert profile(frame, Question(treatment="coaching", outcome="exam_score")).question.randomized is False


def test_a_drawn_invitation_is_an_instrument_and_the_treatment_is_not_randomised() -> None:
    frame = trial()
    rng = np.random.default_rng(1)
    frame.insert(0, "invited_to_coaching", rng.integers(0, 2, 400))
    frame["attended_coaching"] = ((rng.random(400) < 0.6) & (frame["invited_to_coaching"] == 1)).astype(int)
    text = "Pupils were randomly selected to receive an invitation to coaching."
    found = profile(
        frame.drop(columns="coaching"), Question(query="Does coaching improve the exam score?", description=text)
    )
    assert found.question.treatment == "attended_coaching"
    assert found.question.instruments == ("invited_to_coaching",)
    assert found.question.randomized is False


# --- structure --------------------------------------------------------------------------------------------------------


def test_a_panel_is_found_without_telling_names() -> None:
    units, years = np.repeat(np.arange(40), 6), np.tile(np.arange(2000, 2006), 40)
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"wb": units, "year": years, "policy": ((units % 2 == 0) & (years >= 2003)).astype(int)})
    frame["z"] = rng.normal(size=240)
    frame["growth"] = rng.normal(size=240)
    found = profile(frame, Question(treatment="policy", outcome="growth"))
    assert (found.structure, found.n_units, found.n_periods) == ("panel", 40, 6)
    assert (found.question.unit, found.question.time) == ("wb", "year")
    assert found.question.covariates == ("z",)


def test_rows_that_repeat_a_given_unit_and_time_are_told() -> None:
    frame = pd.DataFrame({"firm": [1, 1, 2, 2] * 10, "year": [2000, 2000, 2000, 2001] * 10})
    frame["policy"] = np.arange(40) % 2
    frame["profit"] = np.arange(40) * 1.0
    found = profile(frame, Question(treatment="policy", outcome="profit", unit="firm", time="year"))
    assert "PANEL_DUPLICATES" in {note.code for note in found.warnings}
    assert found.structure == "repeated_cross_section"


def test_one_row_for_each_of_regular_times_is_a_series() -> None:
    frame = pd.DataFrame({"time": np.arange(60), "ban": (np.arange(60) >= 40).astype(int)})
    frame["admissions"] = np.random.default_rng(0).poisson(50, 60)
    assert profile(frame, Question(treatment="ban", outcome="admissions")).structure == "time_series"


def threshold(n: int = 600, *, fuzzy: bool = False) -> pd.DataFrame:
    rng = np.random.default_rng(3)
    frame = pd.DataFrame({"points": rng.uniform(0, 100, n).round(1), "age": rng.integers(18, 30, n)})
    chance = np.where(frame["points"] >= 60, 0.85, 0.15) if fuzzy else (frame["points"] >= 60).astype(float)
    frame["grant"] = (rng.random(n) < chance).astype(int)
    frame["wage"] = rng.normal(size=n)
    return frame


def test_a_number_that_separates_the_arms_is_the_running_variable() -> None:
    found = profile(threshold(), Question(treatment="grant", outcome="wage"))
    assert found.question.running_variable == "points"
    assert found.question.cutoff == pytest.approx(60, abs=0.5)  # the smallest treated value
    assert found.cutoff_evidence["sharp"] == 1.0
    assert "points" not in (found.question.covariates or ())


def test_a_fuzzy_threshold_is_taken_from_the_text_and_weighed_by_the_data() -> None:
    question = Question(
        treatment="grant", outcome="wage", description="Applicants with 60 points or more were eligible."
    )
    found = profile(threshold(fuzzy=True), question)
    assert (found.question.running_variable, found.question.cutoff) == ("points", 60.0)
    assert found.cutoff_evidence["sharp"] == 0.0
    assert found.cutoff_evidence["jump"] == pytest.approx(0.7, abs=0.15)  # 3 se of a local share with ~150 rows a side
    assert profile(threshold(fuzzy=True), question.model_copy(update={"description": ""})).question.cutoff is None


def test_a_threshold_at_which_nothing_jumps_is_not_believed() -> None:
    question = Question(
        treatment="grant", outcome="wage", description="Applicants with 30 points or more were eligible."
    )
    assert profile(threshold(fuzzy=True), question).question.running_variable is None


def test_the_cutoff_of_a_given_running_variable_is_found() -> None:
    found = profile(threshold(), Question(treatment="grant", outcome="wage", running_variable="points"))
    assert found.question.cutoff == pytest.approx(60, abs=0.5)
    assert "cutoff" in found.proposed


def test_a_dose_that_is_zero_for_the_controls_is_no_running_variable_and_no_covariate() -> None:
    frame = trial()
    frame["months_coached"] = np.where(frame["coaching"] == 1, np.random.default_rng(0).uniform(1, 24, 400), 0.0)
    found = profile(frame, Question(treatment="coaching", outcome="exam_score"))
    assert found.question.running_variable is None
    assert found.question.covariates == ("age", "income")


def test_groups_treated_as_a_whole_are_the_cluster() -> None:
    frame = trial()
    frame["village_id"] = np.arange(400) // 10
    frame["coaching"] = frame["village_id"] % 2
    assert profile(frame, Question(treatment="coaching", outcome="exam_score")).question.cluster == "village_id"
    frame["coaching"] = np.arange(400) % 2
    assert profile(frame, Question(treatment="coaching", outcome="exam_score")).question.cluster is None


def test_later_measurements_copies_and_identifiers_are_no_covariates() -> None:
    frame = trial()
    frame["respondent_id"] = np.arange(400) + 1000
    frame["assigned"] = np.where(frame["coaching"] == 1, "yes", "no")
    frame["income_followup"] = frame["income"] + 1
    frame["log_exam_score"] = np.log(frame["exam_score"] + 20)
    frame["y_counterfactual"] = 0.5 * np.arange(400)
    found = profile(frame, Question(treatment="coaching", outcome="exam_score"))
    assert found.question.covariates == ("age", "income")


def test_names_with_code_in_them_are_names() -> None:
    hostile = "'); __import__('os').system('x') #"
    frame = trial().rename(columns={"age": hostile, "income": "Q(`x`) ~ [y"})
    found = profile(
        frame, Question(query="Does coaching improve the exam score?", description=f"{hostile} (*[ is odd.")
    )
    assert found.question.covariates == (hostile, "Q(`x`) ~ [y")


# --- the described questions ------------------------------------------------------------------------------------------


@described
def test_described_questions_are_understood() -> None:
    treatments = outcomes = constant = 0
    for asked in json.loads((DATA / "causcibench" / "queries.json").read_text(encoding="utf-8")):
        frame = pd.read_csv(DATA / "causcibench" / asked["data_files"])
        question = Question(query=asked["natural_language_query"], description=asked["data_description"])
        try:
            found = profile(frame, question).question
        except InputError as error:
            constant += error.code == "TREATMENT_CONSTANT" and repr(asked["treatment"]) in error.message
            continue
        treatments += found.treatment == asked["treatment"]
        outcomes += found.outcome == asked["outcome"]
        if asked["method"] == "rdd":
            assert found.running_variable == asked["running_var"]
            assert found.cutoff is not None
        if asked["method"] == "did_twfe":
            assert (found.unit, found.time) == (asked["state_var"], asked["temporal_var"])
        if asked["method"] == "iv_encouragement":
            assert found.instruments == (asked["instrument_var"],)
        assert found.randomized is (asked["method"] == "rct")
    assert constant == 5
    assert treatments >= TREATMENTS_FOUND
    assert outcomes >= OUTCOMES_FOUND

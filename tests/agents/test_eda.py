"""Exploration: one view without the outcome, quality with its parts, balance, suspicions."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from tests.agents.profiled import after_profile

from causal_orchestrator.agents import eda
from causal_orchestrator.question import Question
from causal_orchestrator.results import Exploration

ROLES = Question(treatment="coaching", outcome="exam_score")


def table(n: int = 400) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"age": rng.normal(40, 10, n), "town": rng.choice(["a", "b", "c"], n)})
    frame["coaching"] = (rng.random(n) < 1 / (1 + np.exp(-(frame["age"] - 40) / 10))).astype(int)
    frame["twice_age"] = 2 * frame["age"]
    frame["exam_score"] = rng.normal(size=n)
    return frame


def explore(frame: pd.DataFrame, question: Question = ROLES) -> Exploration:
    found: Exploration = after_profile(eda, frame, question)[0]
    return found


def test_the_only_view_holds_no_outcome() -> None:
    _, reader = after_profile(eda, table(), ROLES)
    ((view, columns),) = reader.reads
    assert view == "covariates_treatment"
    assert "exam_score" not in columns
    assert set(columns) == {"age", "town", "coaching", "twice_age"}


def test_values_of_the_outcome_change_nothing() -> None:
    frame = table()
    assert explore(frame) == explore(frame.assign(exam_score=np.arange(400.0)))


def test_lalonde_is_balanced_but_for_degree_and_schooling() -> None:
    from causaldata import nsw_mixtape

    found = explore(nsw_mixtape.load_pandas().data, Question(treatment="treat", outcome="re78"))
    smd = {b.covariate: b.smd for b in found.balance}
    # Dehejia & Wahba (1999), table 1: nodegree 0.71 against 0.83, pooled standard deviation 0.42.
    assert smd["nodegree"] == pytest.approx(-0.304, abs=0.001)
    assert abs(smd["re74"] or 0) < 0.01
    assert found.vif["age"] is not None
    assert found.vif["age"] < 1.2
    assert found.suspicions == ()


def test_balance_shows_every_level_of_a_category_and_the_direction() -> None:
    balance = {b.covariate: b for b in explore(table()).balance}
    assert {"age", "town=a", "town=b", "town=c"} <= set(balance)
    assert (balance["age"].smd or 0) > 0.5
    assert 0 < (balance["age"].ks or 0) <= 1


def test_columns_that_determine_each_other_have_no_finite_factor() -> None:
    vif = explore(table()).vif
    assert vif["age"] is None
    assert vif["twice_age"] is None


def test_quality_falls_with_each_of_its_parts() -> None:
    clean = explore(table())
    holes = table()
    holes.loc[:199, "age"] = np.nan
    copies = pd.concat([table(), table()], ignore_index=True)
    assert clean.quality_score > 95
    assert explore(holes).quality_parts["completeness"] < clean.quality_parts["completeness"]
    assert explore(copies).quality_parts["uniqueness"] == pytest.approx(50, abs=0.1)
    assert max(explore(holes).quality_score, explore(copies).quality_score) < clean.quality_score


def test_missing_patterns_are_counted_and_small_ones_hidden() -> None:
    frame = table()
    frame.loc[:49, ["age", "twice_age"]] = np.nan
    frame.loc[50:54, "town"] = None  # five rows: fewer than ten
    found = {tuple(p["missing"]): p["n"] for p in explore(frame).missing_patterns}
    assert found == {(): 345, ("age", "twice_age"): 50}


def test_suspicions_name_copies_later_columns_and_leaks() -> None:
    frame = table()
    frame["arm"] = np.where(frame["coaching"] == 1, "new", "old")
    frame["age_followup"] = frame["age"] + 1
    frame["exam_score_z"] = frame["exam_score"] * 2
    frame["dropout"] = np.arange(400) % 2
    kinds = {s.column: s.kind for s in explore(frame).suspicions}
    assert kinds == {
        "arm": "copy_of_treatment",
        "age_followup": "post_treatment",
        "exam_score_z": "leakage",
        "dropout": "collider",
    }


def test_bins_with_fewer_than_ten_rows_are_empty() -> None:
    found = explore(table(), ROLES).distributions
    assert set(found) == {"age", "town", "coaching", "twice_age"}
    for shape in found.values():
        assert all(n == 0 or n >= 10 for n in shape["counts"])
        assert sum(shape["counts"]) + shape["suppressed"] + shape["missing"] == 400


def test_wide_tables_are_capped_with_a_note() -> None:
    rng = np.random.default_rng(1)
    frame = pd.DataFrame(rng.normal(size=(300, 70)), columns=[f"v{k}" for k in range(70)])
    frame["coaching"], frame["exam_score"] = np.arange(300) % 2, rng.normal(size=300)
    found = explore(frame)
    assert "CORRELATIONS_CAPPED" in {note.code for note in found.warnings}
    shown = set(found.correlations) | {b for row in found.correlations.values() for b in row}
    assert not shown & {"v60", "v69"}


def test_many_rows_are_sampled_for_the_ks_distance_with_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(eda, "MAX_DISTANCE_ROWS", 200)
    found = explore(table())
    assert "KS_SAMPLED" in {note.code for note in found.warnings}
    assert found == explore(table())


def test_the_result_survives_json() -> None:
    frame = table()
    frame["flat"] = 1.0
    frame["holes"] = np.where(np.arange(400) < 398, np.nan, 1.0)
    found = explore(frame)
    text = json.dumps(found.model_dump(mode="json"), allow_nan=False)
    assert Exploration.model_validate_json(text) == found


def test_a_column_of_words_that_contradicts_the_treatment_is_found_and_one_that_agrees_is_not() -> None:
    frame = table()
    words = np.where(frame["coaching"] == 1, "coaching", "no coaching")
    wrong = np.where(np.arange(400) % 5 == 0, words[::-1], words)
    found = explore(frame.assign(arm=wrong, group=words))
    denying = [s for s in found.suspicions if s.kind == "contradicts_treatment"]
    assert [s.column for s in denying] == ["arm"]
    assert denying[0].score > 0.5
    assert "'coaching' codes as treated" in denying[0].reason


def test_a_slip_is_told_and_weighs_little() -> None:
    frame = table(1_000)
    words = np.where(frame["coaching"] == 1, "coaching", "no coaching")
    words[0] = "no coaching" if words[0] == "coaching" else "coaching"
    (found,) = [s for s in explore(frame.assign(arm=words)).suspicions if s.kind == "contradicts_treatment"]
    assert found.score < 0.5


def test_the_instruments_label_does_not_contradict_the_treatment_that_was_taken_up() -> None:
    rng = np.random.default_rng(1)
    frame = table(1_000).assign(lottery=rng.integers(0, 2, 1_000))
    frame["coaching"] = frame["lottery"] * (rng.random(1_000) < 0.8)
    frame["arm"] = np.where(frame["lottery"] == 1, "treated", "control")
    alone = explore(frame)
    beside = explore(frame, ROLES.model_copy(update={"instruments": ("lottery",)}))
    kinds = [{s.kind for s in found.suspicions if s.column == "arm"} for found in (alone, beside)]
    assert "contradicts_treatment" in kinds[0]
    assert "contradicts_treatment" not in kinds[1]


def test_a_treatment_of_three_levels_has_no_label_to_be_held_against_it() -> None:
    frame = table().assign(coaching=np.arange(400) % 3)
    assert "LABELS_NOT_CHECKED" in {note.code for note in explore(frame).warnings}
    assert "LABELS_NOT_CHECKED" not in {note.code for note in explore(table()).warnings}

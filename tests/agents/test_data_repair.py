"""Repairs: declarative, counted, applied only by a stated rule, and never to treatment or outcome."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tests.agents.profiled import after_profile

from causal_orchestrator.agents import data_repair
from causal_orchestrator.datasets import views
from causal_orchestrator.datasets.snapshot import snapshot_frame
from causal_orchestrator.profiling.repairing import indicators
from causal_orchestrator.question import Question
from causal_orchestrator.results import Repair, Repairs

ROLES = Question(treatment="coaching", outcome="exam_score")


def table(n: int = 400) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"age": rng.integers(20, 60, n).astype(float), "town": rng.choice(["a", "b", "c"], n)})
    frame["coaching"] = np.arange(n) % 2
    frame["exam_score"] = rng.normal(size=n)
    return frame


def repair(frame: pd.DataFrame, question: Question = ROLES) -> Repairs:
    found, reader = after_profile(data_repair, frame, question)
    assert {view for view, _ in reader.reads} <= {"marginals"}
    assert isinstance(found, Repairs)
    return found


def only(found: Repairs, column: str, action: str) -> Repair:
    (match,) = [r for r in found.repairs if (r.column, r.action) == (column, action)]
    return match


def load(frame: pd.DataFrame, found: Repairs, folder: Path, columns: list[str] | None = None) -> pd.DataFrame:
    path = folder / "snapshot.parquet"
    path.write_bytes(snapshot_frame(frame)[1])
    return views.load(path, columns, found.repairs)


def test_a_clean_table_needs_nothing() -> None:
    assert repair(table()) == Repairs()


def test_a_missing_covariate_is_filled_and_marked(tmp_path: Path) -> None:
    frame = table()
    frame.loc[:39, "age"] = np.nan
    frame.loc[20:49, "town"] = None
    found = repair(frame)
    age, town = only(found, "age", "impute"), only(found, "town", "impute")
    assert age.parameters["value"] == frame["age"].median()
    assert (age.before, age.after) == ({"missing": 40}, {"missing": 0})
    assert town.parameters["strategy"] == "mode"
    assert "missing is as good as a further covariate" in found.missing_data
    assert indicators(found, ["town", "age"]) == ("town__missing", "age__missing")
    repaired = load(frame, found, tmp_path)
    assert repaired[["age", "town"]].notna().all().all()
    assert repaired["age__missing"].sum() == 40
    assert repaired["age"].iloc[40:].tolist() == frame["age"].iloc[40:].tolist()


@pytest.mark.parametrize("column", ["coaching", "exam_score"])
def test_treatment_and_outcome_are_never_imputed(column: str) -> None:
    frame = table()
    frame[column] = frame[column].astype(float)
    frame.loc[:39, column] = np.nan
    frame.loc[40:49, column] = -999  # so that the column is looked at
    found = repair(frame)
    assert [r.action for r in found.repairs if r.column == column] == ["to_missing"]
    assert not [r for r in found.repairs if r.column == column and r.applied]
    assert "nothing is imputed" in found.missing_data


def test_numbers_written_as_text_become_numbers(tmp_path: Path) -> None:
    frame = table()
    frame["salary"] = [f"${1000 + k:,}" for k in range(400)]
    frame.loc[:9, "salary"] = "n/a"
    question = ROLES.model_copy(update={"covariates": ("age", "salary")})
    found = repair(frame, question)
    assert only(found, "salary", "to_numeric").parameters["thousands"] == ","
    assert only(found, "salary", "to_missing").after["missing"] == 10
    repaired = load(frame, found, tmp_path, ["salary"])["salary"]
    assert repaired.iloc[399] == 1399.0
    assert repaired.iloc[0] == only(found, "salary", "impute").parameters["value"] == 1204.5


def test_codes_with_leading_zeros_stay_text() -> None:
    frame = table()
    frame["zip"] = [f"{k % 30:05d}" for k in range(400)]
    assert not [r for r in repair(frame).repairs if r.action == "to_numeric"]


def test_a_decimal_comma_is_only_proposed() -> None:
    frame = table()
    frame["height"] = [f"1,{50 + k % 40}" for k in range(400)]
    assert only(repair(frame), "height", "to_numeric").applied is False


def test_a_far_code_for_missing_is_applied_and_a_near_one_proposed(tmp_path: Path) -> None:
    frame = table()
    frame["income"] = np.random.default_rng(1).normal(50, 5, 400).round(1)
    frame["score"] = np.random.default_rng(2).normal(60, 9, 400).round(1)
    frame.loc[:9, "income"] = -999
    frame.loc[:9, "score"] = 99
    frame.loc[10, "score"] = 98.0
    found = repair(frame)
    code = only(found, "income", "to_missing")
    assert code.applied
    assert code.parameters["values"] == [-999.0]
    assert code.after == {"missing": 10, "code": 0}
    assert not [r for r in found.repairs if r.column == "score" and r.applied]
    assert (load(frame, found, tmp_path)["income"] > 0).all()


def test_a_code_that_the_description_documents_is_applied() -> None:
    frame = table()
    frame["score"] = np.random.default_rng(2).uniform(0, 60, 400).round(1)
    frame.loc[:9, "score"] = 99
    assert only(repair(frame), "score", "to_missing").applied is False
    told = ROLES.model_copy(update={"dictionary": {"score": "test score, 99 = missing"}})
    assert only(repair(frame, told), "score", "to_missing").applied


def test_a_code_in_the_outcome_is_only_proposed() -> None:
    frame = table()
    frame.loc[:9, "exam_score"] = -999
    assert only(repair(frame), "exam_score", "to_missing").applied is False


def test_impossible_ages_become_missing_but_centred_ages_stay(tmp_path: Path) -> None:
    frame = table()
    frame.loc[:4, "age"] = [-3, 230, 180, -1, 150]
    found = repair(frame)
    assert only(found, "age", "to_missing").after == {"missing": 5, "impossible": 0}
    assert load(frame, found, tmp_path)["age"].between(0, 120).all()
    assert repair(frame.assign(age=frame["age"] - 40)).repairs == ()


def test_rare_categories_are_merged_without_naming_them(tmp_path: Path) -> None:
    frame = table()
    frame.loc[:3, "town"] = ["Atlantis", "Atlantis", "Eldorado", "Eldorado"]
    found = repair(frame)
    assert "Atlantis" not in str(only(found, "town", "merge_rare").model_dump())
    assert set(load(frame, found, tmp_path)["town"]) == {"a", "b", "c", "(other)"}


def test_equal_rows_are_dropped_only_where_an_identifier_repeats() -> None:
    frame = table()
    doubled = pd.concat([frame, frame.head(20)], ignore_index=True)
    assert only(repair(doubled), "*", "drop_duplicates").applied is False
    named = frame.assign(person_id=np.arange(400) + 500)
    doubled = pd.concat([named, named.head(20)], ignore_index=True)
    dropped = only(repair(doubled), "*", "drop_duplicates")
    assert dropped.applied
    assert (dropped.before, dropped.after) == ({"rows": 420}, {"rows": 400})


def test_mostly_missing_columns_are_told() -> None:
    frame = table()
    frame.loc[:299, "age"] = np.nan
    assert [n.columns for n in repair(frame).warnings if n.code == "MOSTLY_MISSING"] == [("age",)]

"""What a step sees of a snapshot: its columns, repaired and filtered, and nothing that its view hides."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from causal_orchestrator.agents import View
from causal_orchestrator.datasets import views
from causal_orchestrator.datasets.snapshot import snapshot_frame
from causal_orchestrator.errors import BlindnessError, InputError
from causal_orchestrator.question import Filter
from causal_orchestrator.results import Repair

N = 400


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    rng = np.random.default_rng(1)
    x = rng.normal(size=N)
    t = (x + rng.normal(size=N) > 0).astype(int)
    made = pd.DataFrame({"t": t, "x": x, "y": 3 * t + x, "g": rng.choice(["a", "b", "c"], N, p=[0.6, 0.39, 0.01])})
    made["m"] = np.where(np.arange(N) % 10 == 0, np.nan, x)
    made["w"] = [f"{i + 1},000.5%" for i in range(N)]
    made["d"] = pd.Timestamp("2024-01-01") + pd.to_timedelta(np.arange(N), unit="D")
    return made


@pytest.fixture(scope="module")
def path(frame: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("views") / "snapshot.parquet"
    target.write_bytes(snapshot_frame(frame)[1])
    return target


def repair(column: str, action: str, **parameters: object) -> Repair:
    return Repair.model_validate({"column": column, "action": action, "parameters": parameters, "reason": "test"})


def test_a_snapshot_gives_back_the_frame(path: Path, frame: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(views.load(path), frame, check_dtype=False)


def test_only_the_named_columns_are_given_in_their_order(path: Path) -> None:
    assert list(views.load(path, ["y", "t"])) == ["y", "t"]


def test_an_unknown_column_is_refused_with_the_nearest_name(path: Path) -> None:
    with pytest.raises(InputError, match="'y'") as caught:
        views.load(path, ["Y"])
    assert caught.value.code == "COLUMN_UNKNOWN"


def test_marginals_keep_every_column_and_lose_what_binds_them(path: Path, frame: pd.DataFrame) -> None:
    seen = views.table(path, ["t", "x", "y"], "marginals", seed=3)
    for name in ("t", "x", "y"):
        np.testing.assert_array_equal(np.sort(seen[name]), np.sort(frame[name]))
    # Twice the standard error of a correlation of nothing, and then some; the data have 0.9.
    assert abs(seen.corr().to_numpy()[np.triu_indices(3, 1)]).max() < 4 / np.sqrt(N)


def test_marginals_depend_on_the_seed_alone(path: Path) -> None:
    first, again = (views.table(path, ["x", "y"], "marginals", seed=3) for _ in range(2))
    other = views.table(path, ["x", "y"], "marginals", seed=4)
    assert views.read_hash(first) == views.read_hash(again) != views.read_hash(other)


@pytest.mark.parametrize(("view", "hidden"), [("covariates_treatment", "y"), ("covariates_outcome", "t")])
def test_a_view_hides_its_column(path: Path, view: View, hidden: str) -> None:
    with pytest.raises(BlindnessError):
        views.table(path, ["x", hidden], view, treatment="t", outcome="y")


def test_where_an_outcome_is_missing_is_hidden_like_the_outcome(path: Path) -> None:
    told = [repair("m", "impute", value=0.0, indicator="m__missing")]
    with pytest.raises(BlindnessError):
        views.table(path, ["t", "m__missing"], "covariates_treatment", treatment="t", outcome="m", repairs=told)


def test_an_imputation_fills_and_marks(path: Path, frame: pd.DataFrame) -> None:
    seen = views.load(path, ["m", "was"], [repair("m", "impute", strategy="median", indicator="was")])
    gone = frame["m"].isna()
    assert (seen["m"][gone] == frame["m"].median()).all()
    np.testing.assert_array_equal(seen["was"], gone.astype(int))


def test_an_imputed_value_does_not_depend_on_the_filter(path: Path) -> None:
    told = [repair("m", "impute", strategy="mean")]
    whole = views.load(path, ["m", "x"], told)
    part = views.load(path, ["m", "x"], told, [Filter(column="x", op=">", value=0.0)])
    np.testing.assert_array_equal(part["m"], whole["m"][whole["x"] > 0])


def test_an_indicator_cannot_replace_a_column(path: Path) -> None:
    with pytest.raises(InputError) as caught:
        views.load(path, ["m"], [repair("m", "impute", value=0.0, indicator="x")])
    assert caught.value.code == "REPAIR_INVALID"


def test_numbers_in_disguise_become_numbers(path: Path) -> None:
    seen = views.load(path, ["w"], [repair("w", "to_numeric", decimal=".", thousands=",")])
    assert seen["w"].tolist()[:2] == [1000.5, 2000.5]


def test_codes_become_missing(path: Path, frame: pd.DataFrame) -> None:
    seen = views.load(
        path, ["g", "x"], [repair("g", "to_missing", values=["c"]), repair("x", "to_missing", below=-1.0)]
    )
    assert seen["g"].isna().sum() == (frame["g"] == "c").sum() > 0
    assert seen["x"].min() >= -1


def test_rare_levels_are_merged(path: Path, frame: pd.DataFrame) -> None:
    seen = views.load(path, ["g"], [repair("g", "merge_rare", minimum=10, into="rest")])
    assert set(seen["g"]) == {"a", "b", "rest"}
    assert (seen["g"] == "rest").sum() == (frame["g"] == "c").sum()


def test_a_binary_repair_maps_levels(path: Path, frame: pd.DataFrame) -> None:
    seen = views.load(
        path, ["g", "x"], [repair("g", "to_binary", true=["a"], false=["b"]), repair("x", "to_binary", threshold=0)]
    )
    assert seen["g"].sum() == (frame["g"] == "a").sum()
    assert seen["g"].isna().sum() == (frame["g"] == "c").sum()
    np.testing.assert_array_equal(seen["x"], (frame["x"] > 0).astype(float))


def test_a_repair_that_is_not_in_force_changes_nothing(path: Path) -> None:
    told = repair("g", "to_missing", values=["a"]).model_copy(update={"applied": False})
    assert views.load(path, ["g"], [told])["g"].notna().all()


def test_duplicates_are_judged_on_all_columns_whatever_is_read(tmp_path: Path) -> None:
    made = pd.DataFrame({"a": [1, 1, 1], "b": [1, 1, 2]})
    (tmp_path / "s.parquet").write_bytes(snapshot_frame(made)[1])
    assert len(views.load(tmp_path / "s.parquet", ["a"], [repair("*", "drop_duplicates")])) == 2


@pytest.mark.parametrize(
    ("column", "op", "value"),
    [("x", ">", 0.5), ("t", "==", 1), ("g", "in", ("a", "c")), ("g", "!=", "a"), ("d", ">=", "2024-06-01")],
)
def test_a_filter_keeps_the_rows_where_it_holds(
    path: Path, frame: pd.DataFrame, column: str, op: str, value: object
) -> None:
    seen = views.load(path, ["x"], filters=[Filter.model_validate({"column": column, "op": op, "value": value})])
    cells = frame[column]
    if column == "d":
        value = pd.Timestamp(str(value))
    holds = {">": cells.gt, "==": cells.eq, "in": cells.isin, "!=": cells.ne, ">=": cells.ge}[op](value)
    np.testing.assert_array_equal(seen["x"], frame["x"][holds])


def test_a_filter_never_keeps_a_missing_cell(path: Path) -> None:
    seen = views.load(path, ["m"], filters=[Filter(column="m", op="!=", value=99.0)])
    assert seen["m"].notna().all()


@pytest.mark.parametrize(("column", "value"), [("x", "high"), ("g", 1), ("d", "someday")])
def test_a_filter_of_another_type_is_refused(path: Path, column: str, value: object) -> None:
    with pytest.raises(InputError) as caught:
        views.load(path, ["x"], filters=[Filter.model_validate({"column": column, "op": "==", "value": value})])
    assert caught.value.code == "FILTER_TYPE"


def test_the_hash_of_a_read_is_that_of_its_values(path: Path) -> None:
    seen = views.load(path, ["x", "g"])
    changed = seen.copy()
    changed.loc[0, "x"] += 1e-9
    assert views.read_hash(seen) == views.read_hash(seen.copy()) != views.read_hash(changed)
    assert views.read_hash(seen) != views.read_hash(seen.rename(columns={"x": "z"}))

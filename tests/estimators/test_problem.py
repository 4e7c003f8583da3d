"""How a table and a question become arrays."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from causal_orchestrator.errors import DesignError, InputError
from causal_orchestrator.problem import (
    Estimate,
    build,
    build_blind,
    conclude,
    nuisances_from_parquet,
    nuisances_to_parquet,
)
from causal_orchestrator.question import Question, ask
from causal_orchestrator.simulate import SIMULATIONS

N = 60


def frame_with(**columns):
    rng = np.random.default_rng(0)
    base = {"t": np.arange(N) % 2, "y": rng.standard_normal(N), "x": rng.standard_normal(N)}
    return pd.DataFrame({**base, **columns})


def built(frame, **question):
    return build(frame, Question(**{"treatment": "t", "outcome": "y", **question}))


def in_order(problem, values):
    """Put an array of the problem back into the order of the frame's rows."""
    back = np.empty(problem.n, dtype=values.dtype)
    back[np.argsort(problem.rows)] = np.arange(problem.n)
    return values[np.argsort(problem.rows)]


@pytest.mark.parametrize(
    ("values", "treated"),
    [
        (np.arange(N) % 2, "1"),
        (np.arange(N) % 2 == 1, "1"),
        (1 + np.arange(N) % 2, "2"),
        (np.where(np.arange(N) % 2, "drug", "placebo"), "drug"),
        (np.where(np.arange(N) % 2, "Yes", "No"), "Yes"),
        (np.where(np.arange(N) % 2, "beta", "alpha"), "beta"),
    ],
)
def test_a_treatment_of_two_values_is_coded_with_control_as_zero(values, treated):
    problem = built(frame_with(t=values))
    assert problem.treatment_kind == "binary"
    assert problem.treatment_levels[1] == treated
    assert in_order(problem, problem.treatment).tolist() == (np.arange(N) % 2).tolist()


def test_the_reference_level_decides_who_is_treated():
    problem = built(frame_with(t=np.where(np.arange(N) % 2, "beta", "alpha")), reference_level="beta")
    assert problem.treatment_levels == ("beta", "alpha")
    assert any("'alpha' is treated" in note.message for note in problem.notes)


def test_an_unknown_reference_level_is_refused():
    with pytest.raises(InputError, match="gamma") as raised:
        built(frame_with(), reference_level="gamma")
    assert raised.value.code == "REFERENCE_UNKNOWN"


def test_several_levels_are_codes_and_many_values_a_dose():
    assert built(frame_with(t=np.arange(N) % 3)).treatment_kind == "multivalued"
    assert built(frame_with(t=np.linspace(0, 1, N))).treatment_kind == "continuous"


def test_rows_at_rare_levels_are_left_out_with_a_note():
    problem = built(frame_with(t=np.where(np.arange(N) < 3, 2, np.arange(N) % 2)))
    assert problem.treatment_levels == ("0", "1")
    assert problem.n == N - 3
    assert [note.code for note in problem.notes][:1] == ["LEVELS_DROPPED"]


def test_rows_without_outcome_or_treatment_are_left_out_and_counted():
    frame = frame_with().astype({"t": float})
    frame.loc[:4, "y"] = np.nan
    frame.loc[5:6, "t"] = np.nan
    problem = built(frame)
    assert problem.n == N - 7
    assert {note.message.split()[0] for note in problem.notes if note.code == "ROWS_DROPPED"} == {"5", "2"}
    assert set(problem.rows) == set(range(7, N))


def test_categories_become_indicators_without_the_most_frequent_level():
    colour = np.array(["red", "red", "green", "blue"] * (N // 4), dtype=object)
    problem = built(frame_with(colour=colour), covariates=["colour"])
    assert problem.covariate_names == ("colour=blue", "colour=green")
    assert problem.covariate_sources == ("colour", "colour")
    assert problem.covariates.sum() == N // 2


def test_missing_covariates_are_filled_with_an_indicator_and_a_note():
    x = np.random.default_rng(1).standard_normal(N)
    x[:12] = np.nan
    problem = built(frame_with(x=x), covariates=["x"])
    assert problem.covariate_names == ("x", "x (missing)")
    assert in_order(problem, problem.covariates[:, 1])[:14].tolist() == [1] * 12 + [0] * 2
    assert in_order(problem, problem.covariates[:, 0])[0] == np.median(x[12:])
    assert [note.code for note in problem.notes] == ["MISSING_FILLED"]


def test_an_indicator_for_a_handful_of_rows_is_not_made():
    """It would be predicted perfectly, and no arm could stand in for the other there."""
    x = np.random.default_rng(1).standard_normal(N)
    x[:3] = np.nan
    rare = np.array(["red", "green"] * (N // 2), dtype=object)
    rare[:3] = "blue"
    problem = built(frame_with(x=x, colour=rare), covariates=["x", "colour"])
    assert problem.covariate_names == ("colour=red", "x")
    assert [note.code for note in problem.notes] == ["LEVELS_MERGED", "MISSING_FILLED"]


def test_dates_become_days_and_free_text_is_left_out_with_a_note():
    dates = pd.date_range("2020-01-01", periods=N)
    text = [f"comment {i}" for i in range(N)]
    problem = built(frame_with(day=dates, text=text), covariates=["day", "text"])
    assert problem.covariate_names == ("day",)
    assert in_order(problem, problem.covariates[:, 0]).tolist() == list(range(N))
    assert [note.code for note in problem.notes] == ["COVARIATE_TEXT"]


def test_text_that_is_numbers_is_numbers():
    problem = built(frame_with(x=[str(i / 2) for i in range(N)]), covariates=["x"])
    assert problem.covariate_names == ("x",)


def test_filters_choose_rows():
    problem = built(frame_with(), filters=[{"column": "x", "op": ">", "value": 0}])
    assert problem.n == int((frame_with()["x"] > 0).sum())


def test_a_filter_that_cannot_be_compared_names_its_column():
    with pytest.raises(InputError, match="'x'") as raised:
        built(frame_with(), filters=[{"column": "x", "op": ">", "value": "red"}])
    assert raised.value.details == {"column": "x"}


def test_weights_have_mean_one_and_none_is_negative():
    problem = built(frame_with(w=np.arange(1, N + 1)), weights="w")
    assert problem.weights.mean() == pytest.approx(1.0)
    with pytest.raises(InputError) as raised:
        built(frame_with(w=np.arange(N) - 1.0), weights="w")
    assert raised.value.code == "WEIGHTS_INVALID"


def test_rows_of_no_weight_are_as_if_they_were_not_there():
    frame = frame_with(w=np.arange(N) % 5)
    problem, without = (built(f, weights="w", covariates=["x"]) for f in (frame, frame[frame["w"] > 0]))
    assert np.array_equal(problem.outcome, without.outcome)
    assert np.array_equal(problem.weights, without.weights)
    assert [note.message for note in problem.notes] == [f"{N // 5} rows with a weight of zero are left out"]


def test_complete_cases_are_those_with_every_covariate():
    frame = frame_with(
        v=[np.nan if i % 4 == 0 else i for i in range(N)], c=[None if i % 3 == 0 else "a" for i in range(N)]
    )
    asked = Question(treatment="t", outcome="y", covariates=["v", "c", "x"])
    problem = build(frame, asked, missing="drop")
    assert sorted(problem.rows) == [i for i in range(N) if i % 4 and i % 3]
    assert problem.covariate_names == ("v", "x")
    assert any(
        note.message == f"{N - problem.n} rows without a value of some covariate are left out" for note in problem.notes
    )
    assert build(frame, asked).n == N


def test_two_clusters_are_refused_in_words():
    with pytest.raises(InputError, match="one column") as raised:
        ask({"treatment": "t", "outcome": "y", "cluster": ["g", "h"]})
    assert raised.value.code == "TWO_WAY_CLUSTERS"
    assert ask({"treatment": "t", "outcome": "y", "cluster": ["g"]}).cluster == "g"


def test_among_equal_rows_the_outcome_has_no_place_of_its_own():
    frame = frame_with(x=0.0, y=np.arange(N) ** 2.0)
    order = built(frame).outcome
    other = built(frame.assign(y=1e6 + 3.0 * frame["y"])).outcome
    assert np.array_equal(other, 1e6 + 3.0 * order)
    for arm in (order[: N // 2], order[N // 2 :]):
        assert abs(np.corrcoef(np.arange(N // 2), arm)[0, 1]) < 0.5


def test_a_single_cluster_is_refused():
    with pytest.raises(DesignError) as raised:
        built(frame_with(g="all"), cluster="g")
    assert raised.value.code == "CLUSTER_CONSTANT"


def test_a_column_that_occurs_twice_is_refused():
    frame = pd.concat([frame_with(), frame_with()[["x"]]], axis=1)
    with pytest.raises(InputError) as raised:
        built(frame, covariates=["x"])
    assert raised.value.code == "COLUMN_AMBIGUOUS"


def test_other_roles_travel_as_arrays():
    problem = built(frame_with(z=np.arange(N), m="a"), instruments=["z"], mediators=["m"])
    assert problem.roles["instruments"].shape == (N, 1)
    assert in_order(problem, problem.roles["instruments"][:, 0]).tolist() == list(range(N))
    assert set(problem.roles["mediators"].ravel()) == {"a"}


def test_the_blind_problem_never_needs_the_outcome():
    problem = build_blind(frame_with().drop(columns="y"), Question(treatment="t", outcome="y", covariates=["x"]))
    assert np.isnan(problem.outcome).all()
    assert problem.covariates.shape == (N, 1)


def test_change_forgets_what_was_fitted():
    made = SIMULATIONS["confounded_linear"](300, seed=1)
    problem = build(made.frame, made.question)
    before = problem.parametric()
    changed = problem.change(outcome=problem.outcome + problem.treatment)
    gap = (changed.parametric().mu1 - before.mu1).mean()
    assert gap == pytest.approx(1.0)
    assert problem.parametric() is before


def test_taking_rows_keeps_their_parts_together():
    made = SIMULATIONS["confounded_clusters"](300, seed=1)
    problem = build(made.frame, made.question)
    part = problem.take(np.arange(0, 300, 3))
    assert part.n == 100
    assert np.array_equal(part.outcome, problem.outcome[::3])
    assert part.cluster.max() + 1 == len(np.unique(part.cluster))


def test_stored_nuisances_come_back_and_only_to_their_own_problem():
    made = SIMULATIONS["confounded_linear"](200, seed=1)
    problem = build(made.frame, made.question)
    stored = nuisances_to_parquet(problem, snapshot_sha256="a")
    again = nuisances_from_parquet(build(made.frame, made.question), stored, snapshot_sha256="a")
    assert np.array_equal(again.learned().propensity, problem.learned().propensity)
    assert np.array_equal(again.learned().outcome_by_level, problem.learned().outcome_by_level)
    for other, snapshot in ((build(made.frame, made.question, seed=1), "a"), (problem, "b")):
        with pytest.raises(InputError) as raised:
            nuisances_from_parquet(other, stored, snapshot_sha256=snapshot)
        assert raised.value.code == "NUISANCES_STALE"


def test_names_from_the_data_are_escaped_in_a_notebook():
    problem = built(frame_with(t=np.where(np.arange(N) % 2, "<script>", "a")))
    estimate = conclude(problem, method="ols", estimand="ATE", estimates=[1.0], covariance=None, inference="<b>")
    assert isinstance(estimate, Estimate)
    assert estimate.std_error is None
    assert estimate.p_value is None
    assert "<b>" not in estimate._repr_html_()


def test_an_ensemble_of_all_arms_is_not_fitted_again_without_the_treatment():
    made = SIMULATIONS["confounded_heterogeneous"](600, seed=2)
    found = build(made.frame, made.question).learned(learners=("joint_boosting",), folds=2, repeats=1)
    np.testing.assert_allclose(found.m, (1 - found.e) * found.mu0 + found.e * found.mu1, atol=1e-12)
    assert "outcome" not in found.learners

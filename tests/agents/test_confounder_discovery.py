"""What to adjust for, what never to adjust for, and why."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from tests.agents.reader import FrameReader

from causal_orchestrator.agents import JobView, Turn
from causal_orchestrator.agents.confounder_discovery import run
from causal_orchestrator.errors import InputError, ModelUnavailable
from causal_orchestrator.question import Question
from causal_orchestrator.results import (
    ColumnSummary,
    Confounders,
    Edge,
    Exploration,
    Gate,
    Graph,
    Profile,
    Record,
    Snapshot,
    Suspicion,
)


def no_model(prompt: str, kind: Any, /) -> Any:
    raise ModelUnavailable("there is none")


def frame(n: int = 600, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    a, b, c = rng.normal(size=(3, n))
    t = (1.5 * a + rng.normal(size=n) > 0).astype(int)
    return pd.DataFrame({"a": a, "b": b, "c": c, "t": t, "y": a + b + t + rng.normal(size=n)})


def confounders(
    data: pd.DataFrame | None = None,
    *,
    named: bool = False,
    kinds: dict[str, str] | None = None,
    found: dict[str, Record] | None = None,
    **roles: Any,
) -> Confounders:
    data = frame() if data is None else data
    asked: dict[str, Any] = {"treatment": "t", "outcome": "y"}
    if named:
        asked["covariates"] = [c for c in data.columns if c not in ("t", "y")]
    question = Question.model_validate(asked | roles)
    columns = tuple(
        ColumnSummary(
            name=name,
            alias=f"x{k}",
            kind=(kinds or {}).get(name, "numeric"),  # type: ignore[arg-type]
            dtype="float64",
            n=len(data),
            n_missing=0,
            n_unique=99,
        )
        for k, name in enumerate(data.columns)
    )
    snapshot = Snapshot(
        sha256="0",
        source_sha256="0",
        source_name="d",
        n_rows=len(data),
        n_columns=len(columns),
        columns=columns,
        format="csv",
    )
    profile = Profile(question=question, proposed=(), structure="cross_section", treatment_kind="binary")
    records = {"data_profiler": profile, "dataset_fetcher": snapshot} | (found or {})
    job = JobView(
        id="j",
        tenant="t",
        question=question,
        seed=0,
        results={k: r.model_dump(mode="json") for k, r in records.items()},
    )
    reader = FrameReader(data, "t", "y")
    result = run(job, Turn(number=5, agent="confounder_discovery", parameters={}, seed=0), reader, no_model).result
    assert isinstance(result, Confounders)
    assert {view for view, _ in reader.reads} <= {"covariates_treatment"}
    return result


def suspects(column: str, kind: str = "post_treatment", score: float = 0.7) -> dict[str, Record]:
    suspicion = Suspicion(column=column, kind=kind, score=score, reason="its name")  # type: ignore[arg-type]
    return {"eda": Exploration(quality_score=90, quality_parts={}, suspicions=(suspicion,))}


def graph(*edges: str, decision: str = "ACCEPT", method: str = "given", confidence: float = 1.0) -> dict[str, Record]:
    pairs = [edge.split(">") for edge in edges]
    return {
        "causal_discovery": Graph(
            nodes=tuple(dict.fromkeys(name for pair in pairs for name in pair)),
            edges=tuple(Edge(source=s, target=e, confidence=confidence) for s, e in pairs),
            discovery_method=method,
            gate=Gate(decision=decision, confidence=1.0),  # type: ignore[arg-type]
        )
    }


def test_without_a_graph_every_covariate_before_the_treatment_is_adjusted_for() -> None:
    found = confounders()
    assert found.recommended == ("a", "b", "c")
    assert found.method == "all_pretreatment"
    assert any("lasso" in reason and "'a'" in reason and "'b'" not in reason for reason in found.reasons)


def test_what_a_person_names_is_kept() -> None:
    found = confounders(covariates=["b"])
    assert (found.recommended, found.method) == (("b",), "given")


def test_a_suspect_is_left_out_with_its_reason() -> None:
    found = confounders(found=suspects("b"))
    assert found.recommended == ("a", "c")
    assert "after the treatment" in found.excluded["b"]


def test_a_suspect_that_was_named_is_kept_and_warned_about() -> None:
    found = confounders(named=True, found=suspects("b"))
    assert found.recommended == ("a", "b", "c")
    warning = next(w for w in found.warnings if w.code == "DOUBTFUL_COVARIATE")
    assert warning.columns == ("b",)


def test_a_label_of_the_arms_that_contradicts_the_treatment_is_left_out_though_named() -> None:
    found = confounders(named=True, found=suspects("b", "contradicts_treatment", 0.95))
    assert "b" not in found.recommended
    assert "names the arms" in found.excluded["b"]


def test_a_weak_suspicion_changes_nothing() -> None:
    assert confounders(found=suspects("b", score=0.3)).recommended == ("a", "b", "c")


@pytest.mark.parametrize("role", ["mediators", "instruments", "negative_controls", "outcome_proxies"])
def test_columns_with_a_role_of_their_own_are_never_adjusted_for(role: str) -> None:
    for named in (False, True):
        found = confounders(named=named, **{role: ["c"]})
        assert "c" not in found.recommended
        assert found.excluded["c"]


@pytest.mark.parametrize("kind", ["identifier", "text", "constant", "empty"])
def test_columns_that_say_nothing_are_left_out(kind: str) -> None:
    assert "c" in confounders(kinds={"c": kind}).excluded


def test_under_randomisation_covariates_are_for_precision() -> None:
    found = confounders(randomized=True)
    assert any(s.kind == "none_needed" for s in found.sets)
    assert any("precision" in reason for reason in found.reasons)


def test_too_many_covariates_leave_those_that_predict_the_treatment_and_earlier_outcomes() -> None:
    rng = np.random.default_rng(3)
    data = pd.DataFrame(rng.normal(size=(80, 30)), columns=[f"c{k}" for k in range(30)])
    data["y_pre"] = rng.normal(size=80)
    data["t"] = (3 * data["c0"] + rng.normal(size=80) > 0).astype(int)
    data["y"] = 0.0
    found = confounders(data)
    assert found.method == "double_selection"
    assert set(found.recommended) >= {"c0", "y_pre"}
    assert len(found.recommended) < 10


# --- graphs -------------------------------------------------------------------------------------------------------


def test_a_given_graph_gives_the_optimal_set_and_the_chains() -> None:
    found = confounders(found=graph("a>t", "a>y", "b>y", "t>y", "c>t"))
    assert (found.recommended, found.method) == (("a", "b"), "graph")
    assert found.sets[0].kind == "optimal"
    assert ("a",) in [s.columns for s in found.sets if s.kind == "minimal"]
    assert [chain.nodes for chain in found.chains] == [("t", "y")]
    assert found.instruments == ("c",)
    assert "instrument" in found.excluded["c"]


def test_mediators_and_colliders_of_the_graph_are_excluded() -> None:
    found = confounders(found=graph("a>t", "a>y", "t>b", "b>y", "t>c", "y>c"))
    assert found.recommended == ("a",)
    assert "mediates" in found.excluded["b"]
    assert "collider" in found.excluded["c"]


def test_a_collider_that_was_named_is_kept_and_warned_about_twice() -> None:
    found = confounders(named=True, found=graph("a>t", "a>y", "t>y", "t>c", "y>c"))
    assert "c" in found.recommended
    assert {w.code for w in found.warnings} == {"DOUBTFUL_COVARIATE", "GRAPH_DISAGREES"}


def test_hidden_confounding_is_said_and_the_ways_round_it_are_named() -> None:
    found = confounders(found=graph("U>t", "U>y", "t>b", "b>y", "c>t"))
    assert "NO_BACKDOOR_SET" in {w.code for w in found.warnings}
    assert found.frontdoor == ("b",)
    assert found.instruments == ("c",)
    assert found.method == "all_pretreatment"
    assert "b" not in found.recommended


def test_a_learned_graph_takes_out_effects_of_the_treatment_and_names_its_causes() -> None:
    found = confounders(found=graph("a>t", "t>c", method="ensemble"))
    assert found.recommended == ("a", "b")
    assert "c" in found.excluded
    assert ("a",) in [s.columns for s in found.sets if s.kind == "parents"]


def test_a_middling_graph_excludes_on_sure_edges_alone() -> None:
    unsure = graph("a>t", "t>c", decision="AUGMENT", method="ensemble", confidence=0.6)
    assert "c" in confounders(found=unsure).recommended
    sure = graph("a>t", "t>c", decision="AUGMENT", method="ensemble", confidence=0.95)
    assert "c" not in confounders(found=sure).recommended


@pytest.mark.parametrize("decision", ["REVIEW", "REJECT"])
def test_a_graph_that_is_not_trusted_changes_nothing(decision: str) -> None:
    found = confounders(found=graph("a>t", "t>c", decision=decision, method="ensemble"))
    assert found.recommended == ("a", "b", "c")


def test_open_roles_are_a_typed_error() -> None:
    question = Question(treatment="t")
    profile = Profile(question=question, proposed=(), structure="cross_section")
    job = JobView(
        id="j", tenant="t", question=question, seed=0, results={"data_profiler": profile.model_dump(mode="json")}
    )
    with pytest.raises(InputError) as caught:
        run(job, Turn(number=1, agent="confounder_discovery", parameters={}, seed=0), FrameReader(frame()), no_model)
    assert caught.value.code == "ROLES_OPEN"

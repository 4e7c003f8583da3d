"""Given graphs checked, graphs learned blind to the outcome, and failures that fail nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from tests.agents.reader import FrameReader

from causal_orchestrator import discovery
from causal_orchestrator.agents import JobView, Turn
from causal_orchestrator.agents.causal_discovery import MAX_COLUMNS, run
from causal_orchestrator.discovery import ensemble
from causal_orchestrator.errors import ModelUnavailable
from causal_orchestrator.question import Question
from causal_orchestrator.results import ColumnSummary, Graph, Profile, Snapshot


@pytest.fixture(autouse=True)
def few_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ensemble, "MAX_ROUNDS", 2)


def no_model(prompt: str, kind: Any, /) -> Any:
    raise ModelUnavailable("there is none")


def frame(n: int = 1_500, seed: int = 0) -> pd.DataFrame:
    """Draw a → t, b → t, t → late; y depends on everything."""
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(2, n))
    t = (a + b + rng.normal(size=n) > 0).astype(int)
    late = 2.0 * t + rng.normal(size=n)
    return pd.DataFrame({"a": a, "b": b, "late": late, "t": t, "y": a + t + rng.normal(size=n)})


def graph(
    data: pd.DataFrame | None = None, *, proposed: tuple[str, ...] = (), auto: bool = True, **roles: Any
) -> tuple[Graph, FrameReader]:
    data = frame() if data is None else data
    asked = {"treatment": "t", "outcome": "y", "covariates": [c for c in data.columns if c not in ("t", "y")]}
    preferences = {"auto_discover": auto} | roles.pop("preferences", {})
    question = Question.model_validate(asked | roles | {"preferences": preferences})
    profile = Profile(question=question, proposed=proposed, structure="cross_section", treatment_kind="binary")
    columns = tuple(
        ColumnSummary(name=c, alias=f"x{k}", kind="numeric", dtype="float64", n=len(data), n_missing=0, n_unique=99)
        for k, c in enumerate(data.columns)
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
    results = {"data_profiler": profile.model_dump(mode="json"), "dataset_fetcher": snapshot.model_dump(mode="json")}
    reader = FrameReader(data, "t", "y")
    job = JobView(id="j", tenant="t", question=question, seed=0, results=results)
    result = run(job, Turn(number=4, agent="causal_discovery", parameters={}, seed=3), reader, no_model).result
    assert isinstance(result, Graph)
    return result, reader


def directed(found: Graph) -> set[tuple[str, str]]:
    return {(e.source, e.target) for e in found.edges if e.type == "directed"}


def test_a_graph_is_learned_over_covariates_and_treatment_alone() -> None:
    found, reader = graph(proposed=("covariates",))
    assert {("a", "t"), ("b", "t")} <= directed(found)
    assert found.nodes[0] == "t"
    assert "y" not in found.nodes
    assert [view for view, _ in reader.reads] == ["covariates_treatment"]
    assert found.gate.decision in ("ACCEPT", "AUGMENT")


def test_every_edge_carries_the_votes_of_each_search() -> None:
    found, _ = graph()
    for edge in found.edges:
        assert set(edge.votes) == {"pc", "ges", "fci", "notears"}
        assert edge.confidence == pytest.approx(float(np.mean(list(edge.votes.values()))), abs=1e-5)


def test_covariates_that_a_person_named_are_not_caused_by_the_treatment() -> None:
    named, _ = graph()
    found, _ = graph(proposed=("covariates",))
    assert ("t", "late") in directed(found)
    assert not any(source == "t" for source, _ in directed(named))


def test_the_order_of_years_and_what_nothing_causes_are_known() -> None:
    rng = np.random.default_rng(1)
    age = rng.normal(size=800)
    late = 0.9 * age + rng.normal(size=800)
    early = 0.9 * late + rng.normal(size=800)  # the names say the reverse
    data = pd.DataFrame({"pay75": late, "pay74": early, "age": age, "t": (rng.random(800) < 0.5).astype(int)})
    found, _ = graph(data.assign(y=0.0), proposed=("covariates",))
    assert ("pay75", "pay74") not in directed(found)
    assert not any(target == "age" for _, target in directed(found))


def test_the_same_seed_gives_the_same_graph() -> None:
    assert graph()[0] == graph()[0]


def test_chosen_searches_and_thresholds_are_used() -> None:
    found, _ = graph(preferences={"discovery_algorithms": ["PC", "ges"], "discovery_threshold": 0.9})
    assert set(found.algorithms) == {"pc", "ges"}
    assert all(edge.confidence >= 0.9 - 1e-6 for edge in found.edges)


def test_a_wide_table_is_capped_with_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    data = pd.DataFrame(rng.normal(size=(200, MAX_COLUMNS + 5)), columns=[f"c{k}" for k in range(MAX_COLUMNS + 5)])
    data["t"], data["y"] = (rng.random(200) < 0.5).astype(int), 0.0
    found, _ = graph(data, preferences={"discovery_algorithms": ["pc"]})
    assert len(found.nodes) == MAX_COLUMNS
    assert "COLUMNS_CAPPED" in {note.code for note in found.warnings}


# --- given graphs -------------------------------------------------------------------------------------------------


def test_a_given_graph_is_taken_as_it_is() -> None:
    found, reader = graph(auto=False, causal_graph="digraph { a -> t; a -> y; t -> y; U [latent]; U -> y }")
    assert directed(found) == {("a", "t"), ("a", "y"), ("t", "y"), ("U", "y")}
    assert (found.discovery_method, found.gate.decision) == ("given", "ACCEPT")
    assert reader.reads == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("t -> y; y -> t", "cycle"),
        ("t -> y; ghost -> t", "ghost"),
        ("a -> b", "lacks the treatment or the outcome"),
        ("digraph { t -> y", "cannot be read"),
    ],
)
def test_a_given_graph_that_cannot_stand_is_rejected_with_its_reason(text: str, reason: str) -> None:
    found, _ = graph(auto=False, causal_graph=text)
    assert found.gate.decision == "REJECT"
    assert reason in found.gate.reasons[0]
    assert found.edges == ()
    assert found.warnings


def test_a_learned_graph_adds_only_sure_edges_that_close_no_cycle() -> None:
    found, _ = graph(proposed=("covariates",), causal_graph="t -> y; a -> y; late -> a")
    assert {("t", "y"), ("a", "y"), ("late", "a")} <= directed(found)
    added = [e for e in found.edges if (e.source, e.target) not in {("t", "y"), ("a", "y"), ("late", "a")}]
    floor = 0.9 if found.gate.decision == "AUGMENT" else 0.5
    assert all(edge.confidence >= floor for edge in added)
    pairs = directed(found)
    assert not {("t", "late"), ("a", "t")} <= pairs  # with late → a they would close a cycle


# --- failures -----------------------------------------------------------------------------------------------------


def test_too_few_rows_are_no_failure() -> None:
    found, _ = graph(frame(n=20))
    assert found.gate.decision == "REJECT"


def test_an_unknown_search_is_no_failure() -> None:
    found, _ = graph(preferences={"discovery_algorithms": ["magic"]})
    assert found.gate.decision == "REJECT"
    assert "magic" in found.gate.reasons[0]


def test_searches_that_all_fail_are_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object, **kwargs: object) -> Any:
        raise ValueError("singular")

    monkeypatch.setattr(discovery, "load", lambda key: broken)
    found, _ = graph()
    assert found.gate.decision == "REJECT"
    assert found.edges == ()


def test_names_are_data() -> None:
    odd = 'a"; import os # {x0} \n<script>'
    found, _ = graph(frame().rename(columns={"a": odd}), preferences={"discovery_algorithms": ["pc"]})
    assert odd in found.nodes
    assert any(edge.source == odd for edge in found.edges)

"""Adjustment sets, instruments and front doors on graphs whose answers are in the books."""

from __future__ import annotations

from itertools import chain, combinations

import networkx as nx
import numpy as np
import pytest

from causal_orchestrator.errors import InputError
from causal_orchestrator.identification import graph


def dag(*edges: str, confounded: tuple[tuple[str, str], ...] = ()) -> nx.DiGraph:
    return graph.build((), [(e.split(">")[0], e.split(">")[1]) for e in edges], confounded)


CONFOUNDED = dag("C>T", "C>Y", "T>Y", "P>Y", "I>T")
MEDIATED = dag("U>T", "U>Y", "T>M", "M>Y")
M_BIAS = dag("A>Z", "B>Z", "A>T", "B>Y", "T>Y")


def test_a_confounder_must_be_adjusted_for() -> None:
    assert not graph.is_valid(CONFOUNDED, "T", "Y", ())
    assert graph.is_valid(CONFOUNDED, "T", "Y", {"C"})
    assert graph.minimal(CONFOUNDED, "T", "Y", "CPI") == (("C",),)


def test_the_optimal_set_takes_causes_of_the_outcome_and_leaves_instruments() -> None:
    assert graph.optimal(CONFOUNDED, "T", "Y", "CPI") == ("C", "P")


def test_the_optimal_set_must_be_observed() -> None:
    assert graph.optimal(CONFOUNDED, "T", "Y", "CI") is None
    assert graph.optimal(CONFOUNDED, "T", "Y", "PI") is None


def test_the_collider_of_m_bias_needs_its_parents_or_nothing() -> None:
    assert graph.is_valid(M_BIAS, "T", "Y", ())
    assert not graph.is_valid(M_BIAS, "T", "Y", {"Z"})
    assert graph.is_valid(M_BIAS, "T", "Y", {"Z", "A"})
    assert graph.minimal(M_BIAS, "T", "Y", "ABZ") == ((),)


def test_mediators_and_their_descendants_are_forbidden() -> None:
    g = dag("T>M", "M>Y", "M>D", "C>T", "C>Y", "T>K", "Y>K")
    assert graph.forbidden(g, "T", "Y") == {"T", "M", "Y", "D", "K"}
    found = graph.roles(g, "T", "Y", "MDCK")
    assert set(found) == {"M", "D", "K"}
    assert "mediates" in found["M"]
    assert "collider" in found["K"]


def test_an_effect_of_the_treatment_off_the_causal_path_is_excluded_too() -> None:
    assert set(graph.roles(dag("T>Y", "T>E"), "T", "Y", "E")) == {"E"}


def test_hidden_confounding_leaves_front_door_and_instrument() -> None:
    g = dag("U>T", "U>Y", "T>M", "M>Y", "Z>T")
    assert graph.largest(g, "T", "Y", "TMYZ") is None
    assert graph.minimal(g, "T", "Y", "TMYZ") == ()
    assert graph.frontdoor(g, "T", "Y", "TMYZ") == ("M",)
    assert graph.instruments(g, "T", "Y", "TMYZ") == ("Z",)


def test_a_bidirected_edge_is_a_hidden_common_cause() -> None:
    g = dag("T>Y", "Z>T", confounded=(("T", "Y"),))
    assert graph.largest(g, "T", "Y", "TYZ") is None
    assert graph.instruments(g, "T", "Y", "TYZ") == ("Z",)


def test_a_cause_of_the_outcome_is_no_instrument() -> None:
    assert graph.instruments(dag("Z>T", "Z>Y", "T>Y"), "T", "Y", "Z") == ()


def test_a_mediator_with_a_hidden_cause_shared_with_the_outcome_is_no_front_door() -> None:
    g = dag("U>T", "U>Y", "T>M", "M>Y", confounded=(("M", "Y"),))
    assert graph.frontdoor(g, "T", "Y", "TMY") == ()


def test_chains_are_the_directed_paths() -> None:
    g = dag("T>M", "M>Y", "T>Y", "C>T", "C>Y")
    assert graph.chains(g, "T", "Y") == (("T", "Y"), ("T", "M", "Y"))


def test_a_cycle_is_named() -> None:
    with pytest.raises(InputError, match="cycle") as caught:
        dag("a>b", "b>c", "c>a")
    assert caught.value.code == "GRAPH_CYCLIC"


def _random_dag(seed: int, p: int = 6) -> nx.DiGraph:
    rng = np.random.default_rng(seed)
    names = [f"v{i}" for i in range(p)]
    pairs = [(names[i], names[j]) for i in range(p) for j in range(i + 1, p) if rng.random() < 0.4]
    return graph.build(names, [*pairs, ("v2", "v5")])


def _adjusted_effect(cov: np.ndarray, t: int, y: int, adjusted: list[int]) -> float:
    rows = [t, *adjusted]
    return float(np.linalg.solve(cov[np.ix_(rows, rows)], cov[rows, y])[0])


EXACT = 1e-9  # population regressions: rounding alone


@pytest.mark.parametrize("seed", range(12))
def test_a_set_is_valid_just_when_the_population_regression_gives_the_total_effect(seed: int) -> None:
    """Brute force over every set of a random linear model with generic coefficients."""
    g = _random_dag(seed)
    p = len(g)
    rng = np.random.default_rng(1000 + seed)
    B = np.zeros((p, p))
    for a, b in g.edges:
        B[int(a[1:]), int(b[1:])] = rng.uniform(0.5, 1.5) * rng.choice([-1, 1])
    total = np.linalg.inv(np.eye(p) - B)
    cov = total.T @ np.diag(rng.uniform(0.5, 2.0, p)) @ total
    t, y = 2, 5
    others = [k for k in range(p) if k not in (t, y)]
    for subset in chain.from_iterable(combinations(others, k) for k in range(len(others) + 1)):
        same = abs(_adjusted_effect(cov, t, y, list(subset)) - total[t, y]) < EXACT
        assert graph.is_valid(g, "v2", "v5", {f"v{k}" for k in subset}) == same
    largest = graph.largest(g, "v2", "v5", [f"v{k}" for k in others])
    assert largest is not None
    best = graph.optimal(g, "v2", "v5", [f"v{k}" for k in others])
    assert best is not None
    variances = {}
    for subset in chain.from_iterable(combinations(others, k) for k in range(len(others) + 1)):
        if graph.is_valid(g, "v2", "v5", {f"v{k}" for k in subset}):
            rows = [t, *subset]
            residual = cov[y, y] - cov[y, rows] @ np.linalg.solve(cov[np.ix_(rows, rows)], cov[rows, y])
            inner = list(subset)
            own = cov[t, t] - (
                cov[t, inner] @ np.linalg.solve(cov[np.ix_(inner, inner)], cov[inner, t]) if inner else 0.0
            )
            variances[subset] = residual / own
    mine = tuple(sorted(int(name[1:]) for name in best))
    assert variances[mine] <= min(variances.values()) + EXACT

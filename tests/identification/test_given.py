"""Reading a graph that a person wrote."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from causal_orchestrator.errors import InputError
from causal_orchestrator.identification.given import parse


def test_dot_with_chains_groups_quotes_and_attributes() -> None:
    graph = parse(
        """digraph "G" {
            rankdir=LR; node [shape=box];
            a -> b -> c [color=red];   // a chain
            "x y" -> {b, c}
            lone
        }"""
    )
    assert graph.edges == (("a", "b"), ("b", "c"), ("x y", "b"), ("x y", "c"))
    assert set(graph.nodes) == {"a", "b", "c", "x y", "lone"}


def test_dagitty_with_latent_nodes_and_bidirected_edges() -> None:
    graph = parse('dag {\n X [exposure,pos="-1,2"]\n Y [outcome]\n U [latent]\n X -> Y\n U -> {X Y}\n A <-> B }')
    assert graph.edges == (("X", "Y"), ("U", "X"), ("U", "Y"))
    assert graph.confounded == (("A", "B"),)
    assert graph.latent == ("U",)


def test_a_node_marked_as_not_observed_is_latent() -> None:
    assert parse("digraph { U [observed=no]; U -> a; U -> b }").latent == ("U",)
    assert parse("digraph { U [observed=yes]; U -> a; U -> b }").latent == ()


def test_gml_takes_its_labels() -> None:
    text = 'graph [ directed 1 node [ id 0 label "a b" ] node [ id 1 label "c" ] edge [ source 0 target 1 ] ]'
    assert parse(text).edges == (("a b", "c"),)


@pytest.mark.parametrize(
    "text",
    ["a -> b\nb -> c", "a,b\nb,c", "a b\nb c", "a -> b -> c", "b <- a; b -> c", "# edges\na → b\n\nb → c"],
)
def test_edge_lists_of_every_form_say_the_same(text: str) -> None:
    assert parse(text).edges == (("a", "b"), ("b", "c"))


def test_hyphens_belong_to_names() -> None:
    assert parse("digraph {pre-test->post-test}").edges == (("pre-test", "post-test"),)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "digraph { a -> b",
        "digraph { a -> }",
        "digraph { a [color=red }",
        "graph { a -- b }",
        "a -> ",
        "one two three",
        "graph [ directed 1 node [ id 0 ] edge [ source 0 target 9 ] ]",
        "graph [ directed 0 node [ id 0 ] node [ id 1 ] edge [ source 0 target 1 ] ]",
        "digraph { a }",
    ],
)
def test_what_is_no_directed_graph_is_refused(text: str) -> None:
    with pytest.raises(InputError) as caught:
        parse(text)
    assert caught.value.code == "GRAPH_INVALID"


def test_a_name_that_looks_like_code_stays_a_name() -> None:
    name = "__import__('os').system('true')"
    assert parse(f'digraph {{ "{name}" -> b }}').edges == ((name, "b"),)


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.text(max_size=80), st.text(alphabet='digraph{}[]->;,=" ab\n<', max_size=80)))
def test_any_text_is_a_graph_or_a_typed_error(text: str) -> None:
    try:
        graph = parse(text)
    except InputError:
        return
    assert graph.edges or graph.confounded

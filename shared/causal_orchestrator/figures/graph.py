"""The causal graph, drawn in layers so that causes stand left of what they cause."""

from __future__ import annotations

import math
from typing import Any

import networkx as nx

from causal_orchestrator.errors import NotApplicable
from causal_orchestrator.figures.canvas import BLUE, GREEN, INK, TREATED, Drawing, sheet
from causal_orchestrator.figures.evidence import Evidence, label
from causal_orchestrator.results import Edge

MOST_NODES = 24
ARROWS = {"directed": "-|>", "undirected": "-", "bidirected": "<|-|>", "circle": "-"}


def causal_graph(evidence: Evidence) -> Drawing:
    """Draw the learned graph; the width and number of an edge are the share of votes for it."""
    graph = evidence.graph
    if graph is None or not graph.edges:
        raise NotApplicable("the graph has no edges")
    linked = {name for edge in graph.edges for name in (edge.source, edge.target)}
    nodes = [name for name in graph.nodes if name in linked][:MOST_NODES]
    edges = [edge for edge in graph.edges if edge.source in nodes and edge.target in nodes]
    places = _places(nodes, edges)
    depth = 1 + max(x for x, _ in places.values())
    tallest = max(sum(1 for p in places.values() if p[0] == x) for x in range(int(depth)))
    figure, axes = sheet(max(2.2, 0.75 * tallest + 0.6))
    for edge in edges:
        _draw_edge(axes, edge, places)
    for name in nodes:
        _draw_node(axes, name, places[name], evidence)
    axes.set_xlim(-0.55, depth - 0.45)
    axes.set_ylim(-0.6, tallest - 0.4)
    axes.set_axis_off()
    strongest = max(edges, key=lambda e: e.confidence)
    return Drawing(
        figure,
        f"Learned by {label(graph.discovery_method)} (gate: {graph.gate.decision}). Numbers are the share of votes for an "
        "edge; lines without a head have no settled direction.",
        f"{len(nodes)} nodes and {len(edges)} edges; the surest is {label(strongest.source)} to {label(strongest.target)}.",
    )


def _places(nodes: list[str], edges: list[Edge]) -> dict[str, tuple[float, float]]:
    """Return a column and a height for every node: a node stands right of all its causes where there is no cycle."""
    directed = nx.DiGraph()
    directed.add_nodes_from(nodes)
    directed.add_edges_from((e.source, e.target) for e in edges if e.type == "directed")
    components = nx.condensation(directed)
    layer: dict[str, int] = {}
    for group in nx.lexicographical_topological_sort(components):
        before = [layer[name] for p in components.predecessors(group) for name in components.nodes[p]["members"]]
        for name in components.nodes[group]["members"]:
            layer[name] = 1 + max(before, default=-1)
    places: dict[str, tuple[float, float]] = {}
    tallest = max(sum(1 for v in layer.values() if v == x) for x in set(layer.values()))
    for x in sorted(set(layer.values())):
        column = [name for name in nodes if layer[name] == x]
        for i, name in enumerate(column):
            places[name] = (float(x), (i + 0.5) * tallest / len(column) - 0.5 + 0.13 * (x % 2))
    return places


def _draw_edge(axes: Any, edge: Edge, places: dict[str, tuple[float, float]]) -> None:
    (x0, y0), (x1, y1) = places[edge.source], places[edge.target]
    bend = 0.0 if abs(x1 - x0) == 1 else 0.22
    axes.annotate(
        "", xy=(x1, y1), xytext=(x0, y0),
        arrowprops={"arrowstyle": ARROWS[edge.type], "color": BLUE, "alpha": 0.35 + 0.6 * edge.confidence,
                    "linewidth": 0.8 + 2.0 * edge.confidence, "shrinkA": 26, "shrinkB": 26,
                    "connectionstyle": f"arc3,rad={bend}"},
    )  # fmt: skip
    length = math.hypot(x1 - x0, y1 - y0) or 1.0
    shift = bend * length / 2
    axes.text((x0 + x1) / 2 + shift * (y1 - y0) / length, (y0 + y1) / 2 - shift * (x1 - x0) / length,
              f"{edge.confidence:.2f}", fontsize=8, ha="center", va="center",
              bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.2})  # fmt: skip


def _draw_node(axes: Any, name: str, place: tuple[float, float], evidence: Evidence) -> None:
    question = evidence.question
    colour = TREATED if name == question.treatment else GREEN if name == question.outcome else INK
    axes.text(*place, label(name, 14), ha="center", va="center", fontsize=10, color=colour,
              bbox={"boxstyle": "round,pad=0.4", "facecolor": "white", "edgecolor": colour, "linewidth": 1.3})  # fmt: skip

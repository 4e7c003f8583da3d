"""Figures of interference: who is connected with whom, and how far the treatment of others reaches."""

from __future__ import annotations

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from causal_orchestrator.errors import NotApplicable
from causal_orchestrator.figures.canvas import BLUE, INK, MUTED, ORANGE, PURPLE, SKY, VERMILION, Drawing, number, sheet
from causal_orchestrator.figures.canvas import plain as numbered
from causal_orchestrator.figures.evidence import Evidence, label
from causal_orchestrator.numerics import network
from causal_orchestrator.problem import Problem, build

Codes = NDArray[np.int64]

MOST_UNITS = 70
ROUNDS = 200
LOOKS = {
    "treated": VERMILION,
    "treated, with treated neighbours": PURPLE,
    "with treated neighbours": ORANGE,
    "neither": SKY,
}


def graph(evidence: Evidence) -> Drawing:
    """Draw the units around the best connected one, and whom the treatment of others reaches."""
    problem = build(evidence.read(evidence.question.columns()), evidence.question)
    edges = _edges(problem)
    links = nx.DiGraph()
    links.add_edges_from(zip(edges.source.tolist(), edges.target.tolist(), strict=True))
    if not links.number_of_nodes():
        raise NotApplicable("no edge of the network joins two units of the table")
    treated = problem.treatment > 0
    kinds = [_kind(bool(treated[unit]), bool(treated[list(links.predecessors(unit))].any())) for unit in sorted(links)]
    kind = dict(zip(sorted(links), kinds, strict=True))
    near = _around(links)
    part = links.subgraph(near)
    places = nx.spring_layout(nx.Graph(part), seed=0, iterations=ROUNDS, k=1.6 / np.sqrt(len(near)))
    figure, axes = sheet(4.4)
    for a, b in sorted(part.edges):
        reaches = bool(treated[a])
        axes.plot(*zip(places[a], places[b], strict=True), color=VERMILION if reaches else "#b8c0c8", linewidth=1.3 if reaches else 0.7, alpha=0.6 if reaches else 0.9, zorder=1)  # fmt: skip
    for name, colour in LOOKS.items():
        inside = [places[unit] for unit in near if kind[unit] == name]
        count = sum(value == name for value in kinds)
        at = np.array(inside).reshape(-1, 2)
        axes.scatter(at[:, 0], at[:, 1], s=58, color=colour, edgecolors="white", linewidths=0.8, label=f"{name} ({count:,})", zorder=2)  # fmt: skip
    axes.set_axis_off()
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=1)
    shown = f"The {len(near)} of {len(kind):,} connected units nearest to the best connected one" if len(near) < len(kind) else f"All {len(kind)} connected units"  # fmt: skip
    counts = "; ".join(f"{name} {sum(value == name for value in kinds)}" for name in LOOKS)
    return Drawing(
        figure,
        f"{shown}; lines from treated units are coloured. In brackets how many of all connected units.",
        f"{len(edges.source):,} directed edges. {counts}.",
    )


def _edges(problem: Problem) -> network.Edges:
    question = problem.question
    if question.network is None or "unit" not in problem.roles:
        raise NotApplicable("needs a network and the column of the units")
    names = [network.name_of(unit) for unit in problem.roles["unit"]]
    if len(set(names)) < len(names):
        raise NotApplicable("needs one row per unit")
    if question.network_column is None:
        return network.read_edges(question.network, names)
    return network.read_neighbours(problem.roles["network"].tolist(), names, names)


def _kind(own: bool, neighbours: bool) -> str:
    return list(LOOKS)[int(neighbours) if own else 3 - int(neighbours)]


def _around(links: nx.DiGraph) -> list[int]:
    """Return units in the order in which they are met from the best connected one, nearest first, sorted."""
    plain = nx.Graph(links)
    start = max(sorted(plain), key=plain.degree)
    met = [start, *(unit for _, unit in nx.bfs_edges(plain, start, sort_neighbors=sorted))]
    return sorted(met[:MOST_UNITS])


def spread(evidence: Evidence) -> Drawing:
    """Draw what the nearest treated unit does, step by step away from it."""
    found = evidence.sensitivity("exposure_mapping")
    steps = [row for row in (found.details.get("steps") or () if found else ()) if row.get("std_error") is not None]
    if not steps:
        raise NotApplicable("spillovers by distance were not estimated")
    figure, axes = sheet(2.9)
    at = [row["steps"] for row in steps]
    axes.axhline(0, color=INK, linewidth=0.9)
    for row in steps:
        colour = VERMILION if row["steps"] == 1 else BLUE
        axes.plot([row["steps"]] * 2, [row["ci_lower"], row["ci_upper"]], color=colour, linewidth=2.4, solid_capstyle="round")  # fmt: skip
        axes.plot([row["steps"]], [row["estimate"]], "o", color=colour, markeredgecolor="white", markersize=9)
    axes.plot(at, [row["estimate"] for row in steps], color=MUTED, linewidth=1.0, linestyle=(0, (4, 3)), zorder=0)
    axes.set_xticks(at, [f"{row['steps']}\n{row['n']:,} units" for row in steps])
    axes.set_xlim(0.5, max(at) + 0.5)
    axes.set_xlabel("steps to treated units")
    axes.set_ylabel(f"spillover on {label(evidence.question.outcome or 'the outcome', 18)}")
    numbered(axes, "y")
    return Drawing(
        figure,
        "What treated units exactly so many steps away do to a unit that is not treated itself, with 95% intervals. Where "
        "treatment reaches neighbours alone, everything beyond one step is zero.",
        "; ".join(f"at {row['steps']}: {number(row['estimate'])}" for row in steps),
    )

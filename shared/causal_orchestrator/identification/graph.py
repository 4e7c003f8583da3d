"""What a causal graph says about an effect: adjustment sets, instruments, front doors, chains.

Nodes are whatever names the graph has; hidden nodes are in the graph and not among `observed`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from itertools import combinations, islice
from typing import Any

import networkx as nx

from causal_orchestrator.errors import InputError

Names = tuple[str, ...]
# Paths and sets beyond these tell a reader nothing more.
MAX_CHAINS = 50
MAX_SET_SIZE = 3


def build(
    nodes: Iterable[str], edges: Iterable[tuple[str, str]], confounded: Sequence[tuple[str, str]] = ()
) -> nx.DiGraph[str]:
    """Return the graph; each pair joined by a hidden common cause gets a hidden node of its own.

    Raises
    ------
    InputError
        If there is a cycle (``GRAPH_CYCLIC``).
    """
    dag: nx.DiGraph[str] = nx.DiGraph()
    dag.add_nodes_from(nodes)
    dag.add_edges_from(edges)
    for i, (left, right) in enumerate(confounded):
        hidden = f"\x00hidden {i}"  # no column can have this name
        dag.add_edges_from([(hidden, left), (hidden, right)])
    if not nx.is_directed_acyclic_graph(dag):
        cycle = " → ".join(str(edge[0]) for edge in nx.find_cycle(dag))
        raise InputError(f"the causal graph has a cycle through {cycle}", code="GRAPH_CYCLIC")
    return dag


def separated(dag: nx.DiGraph[str], left: Iterable[str], right: Iterable[str], given: Iterable[str] = ()) -> bool:
    """Return whether `given` d-separates `left` from `right`."""
    return bool(nx.is_d_separator(dag, set(left), set(right), set(given)))


def causal_nodes(dag: nx.DiGraph[str], treatment: str, outcome: str) -> set[str]:
    """Return the nodes on directed paths from treatment to outcome, the treatment apart."""
    return (nx.descendants(dag, treatment) & (nx.ancestors(dag, outcome) | {outcome})) if treatment in dag else set()


def forbidden(dag: nx.DiGraph[str], treatment: str, outcome: str) -> set[str]:
    """Return what must never be adjusted for: nodes on the causal paths, their descendants, and the treatment.

    References
    ----------
    Perković et al. (2018), Definition 5, https://jmlr.org/papers/v18/16-319.html
    """
    on_paths = causal_nodes(dag, treatment, outcome)
    return on_paths.union(*(nx.descendants(dag, node) for node in on_paths), {treatment})


def is_valid(dag: nx.DiGraph[str], treatment: str, outcome: str, adjusted: Collection[str]) -> bool:
    """Return whether adjusting for `adjusted` identifies the total effect (the generalised backdoor criterion).

    References
    ----------
    Perković et al. (2018), Theorem 7, https://jmlr.org/papers/v18/16-319.html
    """
    if set(adjusted) & (forbidden(dag, treatment, outcome) | {outcome}):
        return False
    return separated(_backdoor(dag, treatment, outcome), {treatment}, {outcome}, adjusted)


def optimal(dag: nx.DiGraph[str], treatment: str, outcome: str, observed: Collection[str]) -> Names | None:
    """Return the valid adjustment set with the smallest asymptotic variance, or None where it is not all observed.

    It is the parents of the causal nodes that are not forbidden themselves.

    References
    ----------
    Henckel, Perković and Maathuis (2022), Theorem 3.10, https://doi.org/10.1111/rssb.12451
    """
    shut = forbidden(dag, treatment, outcome)
    parents = {p for node in causal_nodes(dag, treatment, outcome) for p in dag.predecessors(node)}
    found = tuple(sorted(parents - shut))
    return found if set(found) <= set(observed) and is_valid(dag, treatment, outcome, found) else None


def largest(dag: nx.DiGraph[str], treatment: str, outcome: str, observed: Collection[str]) -> Names | None:
    """Return the observed ancestors of treatment and outcome that may be adjusted for, or None if no set is valid.

    If any observed set is valid, this one is (van der Zander, Liśkiewicz and Textor 2019, Theorem 2).
    """
    shut = forbidden(dag, treatment, outcome)
    ancestors = nx.ancestors(dag, treatment) | nx.ancestors(dag, outcome)
    found = tuple(sorted((ancestors & set(observed)) - shut - {outcome}))
    return found if is_valid(dag, treatment, outcome, found) else None


def minimal(dag: nx.DiGraph[str], treatment: str, outcome: str, observed: Collection[str]) -> tuple[Names, ...]:
    """Return minimal valid adjustment sets, the smallest first: nothing can be taken from any of them.

    One is made by dropping nodes in the order of their names, others by dropping in the reverse order and by sparing
    each node in turn; the list need not be complete.
    """
    start = largest(dag, treatment, outcome, observed)
    if start is None:
        return ()
    orders = [start, start[::-1], *([n for n in start if n != kept] + [kept] for kept in start)]
    found = {_thinned(dag, treatment, outcome, start, order) for order in orders}
    return tuple(sorted(found, key=lambda names: (len(names), names)))


def instruments(dag: nx.DiGraph[str], treatment: str, outcome: str, observed: Collection[str]) -> Names:
    """Return observed causes or correlates of the treatment that reach the outcome through the treatment alone.

    Such a node is connected with the treatment and, once the treatment's own effects are cut, separated from the
    outcome (Pearl 2009, Definition 7.4.1, without a conditioning set).
    """
    without = dag.copy()
    without.remove_edges_from(list(dag.out_edges(treatment)))
    later = nx.descendants(dag, treatment) | {treatment, outcome}
    return tuple(
        sorted(
            node
            for node in set(observed) - later
            if node in dag and not separated(dag, {node}, {treatment}) and separated(without, {node}, {outcome})
        )
    )


def frontdoor(dag: nx.DiGraph[str], treatment: str, outcome: str, observed: Collection[str]) -> Names:
    """Return the smallest set of observed mediators that satisfies the front-door criterion, or nothing.

    References
    ----------
    Pearl (2009), Definition 3.3.3: the set meets every directed path, no backdoor path leads from the treatment to it,
    and the treatment blocks every backdoor path from it to the outcome.
    """
    mediators = sorted((causal_nodes(dag, treatment, outcome) - {outcome}) & set(observed))
    for size in range(1, MAX_SET_SIZE + 1):
        for chosen in combinations(mediators, size):
            if _is_frontdoor(dag, treatment, outcome, chosen):
                return chosen
    return ()


def chains(dag: nx.DiGraph[str], treatment: str, outcome: str) -> tuple[Names, ...]:
    """Return the directed paths from treatment to outcome, the shortest first, at most `MAX_CHAINS`."""
    paths = islice(nx.all_simple_paths(dag, treatment, outcome), MAX_CHAINS * 20)
    return tuple(sorted((tuple(path) for path in paths), key=lambda path: (len(path), path))[:MAX_CHAINS])


def roles(dag: nx.DiGraph[str], treatment: str, outcome: str, observed: Collection[str]) -> dict[str, str]:
    """Return why each observed node that may not be adjusted for is excluded."""
    on_paths = causal_nodes(dag, treatment, outcome) - {outcome}
    shut = forbidden(dag, treatment, outcome) - {treatment, outcome}
    later = nx.descendants(dag, treatment) | nx.descendants(dag, outcome)
    reasons: dict[str, str] = {}
    for node in sorted(set(observed) & set(dag) - {treatment, outcome}):
        if node in on_paths:
            reasons[node] = "it mediates the effect: it lies on a causal path from treatment to outcome"
        elif node in nx.descendants(dag, outcome) and node in nx.descendants(dag, treatment):
            reasons[node] = "it is a common effect of treatment and outcome (a collider)"
        elif node in shut or node in later:
            reasons[node] = "it is an effect of the treatment, of a mediator or of the outcome"
    return reasons


def _backdoor(dag: nx.DiGraph[str], treatment: str, outcome: str) -> nx.DiGraph[str]:
    """Return the proper backdoor graph: without the first edges of causal paths."""
    on_paths = causal_nodes(dag, treatment, outcome)
    cut: nx.DiGraph[str] = dag.copy()
    cut.remove_edges_from([(treatment, node) for node in dag.successors(treatment) if node in on_paths])
    return cut


def _thinned(dag: nx.DiGraph[str], treatment: str, outcome: str, start: Names, order: Sequence[str]) -> Names:
    kept: Any = set(start)
    for node in order:
        if is_valid(dag, treatment, outcome, kept - {node}):
            kept = kept - {node}
    return tuple(sorted(kept))


def _is_frontdoor(dag: nx.DiGraph[str], treatment: str, outcome: str, chosen: Names) -> bool:
    rest = dag.copy()
    rest.remove_nodes_from(chosen)
    if nx.has_path(rest, treatment, outcome):
        return False
    from_treatment = dag.copy()
    from_treatment.remove_edges_from(list(dag.out_edges(treatment)))
    if not separated(from_treatment, {treatment}, chosen):
        return False
    from_mediators = dag.copy()
    from_mediators.remove_edges_from([edge for node in chosen for edge in dag.out_edges(node)])
    return separated(from_mediators, chosen, {outcome}, {treatment})

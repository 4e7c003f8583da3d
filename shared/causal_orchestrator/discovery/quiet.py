"""The library of graph searches prints and shows progress; here it is made quiet and told what is known."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from causal_orchestrator.discovery.knowledge import Knowledge


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Swallow what a library writes to the terminal, and its warnings about numerics."""
    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        yield


def background(knowledge: Knowledge) -> Any:
    """Return the knowledge in causal-learn's form (its nodes are called X1, X2, …), or None where there is none."""
    if knowledge.empty:
        return None
    from causallearn.graph.GraphNode import GraphNode
    from causallearn.utils.PCUtils.BackgroundKnowledge import BackgroundKnowledge

    nodes = [GraphNode(f"X{i + 1}") for i in range(len(knowledge.forbidden))]
    told = BackgroundKnowledge()
    for i, j in np.argwhere(knowledge.forbidden):
        told.add_forbidden_by_node(nodes[i], nodes[j])
    for i, j in np.argwhere(knowledge.required):
        told.add_required_by_node(nodes[i], nodes[j])
    return told

"""FCI: a PAG that allows for hidden common causes (Spirtes, Glymour and Scheines 2000)."""

from __future__ import annotations

import numpy as np

from causal_orchestrator.discovery.knowledge import Knowledge, Votes, respect, votes_from_marks
from causal_orchestrator.discovery.quiet import background, quietly


def search(data: Votes, *, knowledge: Knowledge, alpha: float = 0.05, seed: int = 0) -> Votes:
    """Search with Fisher's z test at level `alpha`.

    Parameters
    ----------
    data : NDArray, shape (n, p)
        Standardised columns.
    knowledge : Knowledge
        Forbidden and required edges.

    Returns
    -------
    NDArray, shape (p, p)
        ``votes[i, j]`` for ``i → j``; an edge with two arrows (a hidden common cause) votes for neither.

    References
    ----------
    Zhang (2008), https://doi.org/10.1016/j.artint.2008.08.001 (the complete orientation rules).
    """
    from causallearn.search.ConstraintBased.FCI import fci

    with quietly():
        graph, _ = fci(
            data,
            alpha=alpha,
            background_knowledge=background(knowledge),
            verbose=False,
            show_progress=False,
        )
    return respect(votes_from_marks(np.asarray(graph.graph, dtype=int)), knowledge)

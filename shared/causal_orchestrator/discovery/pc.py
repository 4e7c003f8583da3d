"""PC: a CPDAG from conditional independences (Spirtes, Glymour and Scheines 2000)."""

from __future__ import annotations

import numpy as np

from causal_orchestrator.discovery.knowledge import Knowledge, Votes, respect, votes_from_marks
from causal_orchestrator.discovery.quiet import background, quietly


def search(data: Votes, *, knowledge: Knowledge, alpha: float = 0.05, seed: int = 0) -> Votes:
    """Search with Fisher's z test at level `alpha`, in the order-independent form.

    Parameters
    ----------
    data : NDArray, shape (n, p)
        Standardised columns.
    knowledge : Knowledge
        Forbidden and required edges.

    Returns
    -------
    NDArray, shape (p, p)
        ``votes[i, j]`` for ``i → j``.

    References
    ----------
    Colombo and Maathuis (2014), https://jmlr.org/papers/v15/colombo14a.html (the stable skeleton).
    """
    from causallearn.search.ConstraintBased.PC import pc

    with quietly():
        found = pc(data, alpha=alpha, stable=True, background_knowledge=background(knowledge), show_progress=False)
    return respect(votes_from_marks(np.asarray(found.G.graph, dtype=int)), knowledge)

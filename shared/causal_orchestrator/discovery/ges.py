"""GES: the CPDAG with the best score (Chickering 2002)."""

from __future__ import annotations

import numpy as np

from causal_orchestrator.discovery.knowledge import Knowledge, Votes, respect, votes_from_marks
from causal_orchestrator.discovery.quiet import quietly


def search(data: Votes, *, knowledge: Knowledge, alpha: float = 0.05, seed: int = 0) -> Votes:
    """Search greedily over equivalence classes with the Gaussian BIC (`alpha` is not used).

    The search itself knows no background knowledge; it is imposed on what was found.

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
    Chickering (2002), https://jmlr.org/papers/v3/chickering02b.html
    """
    from causallearn.search.ScoreBased.GES import ges

    with quietly():
        found = ges(cov=np.cov(data, rowvar=False, bias=True), n=len(data), score_func="local_score_BIC_from_cov")
    return respect(votes_from_marks(np.asarray(found["G"].graph, dtype=int)), knowledge)

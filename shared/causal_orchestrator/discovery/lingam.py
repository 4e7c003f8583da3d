"""DirectLiNGAM: a DAG from non-Gaussian errors (Shimizu et al. 2011)."""

from __future__ import annotations

import numpy as np

from causal_orchestrator.discovery.knowledge import Knowledge, Votes, respect
from causal_orchestrator.discovery.quiet import quietly

# The search is cubic in columns and linear in rows; beyond these rows the order it finds no longer changes.
MAX_ROWS = 2_000
# Standardised coefficients below this are not edges.
SMALLEST_EFFECT = 0.1


def search(data: Votes, *, knowledge: Knowledge, alpha: float = 0.05, seed: int = 0) -> Votes:
    """Search for the causal order by the independence of residuals (`alpha` is not used).

    Parameters
    ----------
    data : NDArray, shape (n, p)
        Standardised columns; `seed` draws the rows where there are more than `MAX_ROWS`.
    knowledge : Knowledge
        Forbidden and required edges.

    Returns
    -------
    NDArray, shape (p, p)
        ``votes[i, j]`` is 1 for ``i → j``.

    References
    ----------
    Shimizu et al. (2011), https://jmlr.org/papers/v12/shimizu11a.html
    """
    from causallearn.search.FCMBased.lingam import DirectLiNGAM

    if len(data) > MAX_ROWS:
        data = data[np.sort(np.random.default_rng(seed).choice(len(data), MAX_ROWS, replace=False))]
    model = DirectLiNGAM(random_state=seed, prior_knowledge=None if knowledge.empty else _prior(knowledge))
    with quietly():
        model.fit(data)
    # The library's matrix has effects in rows and causes in columns.
    coefficients = np.nan_to_num(np.asarray(model.adjacency_matrix_, dtype=float)).T
    return respect((np.abs(coefficients) > SMALLEST_EFFECT).astype(float), knowledge)


def _prior(knowledge: Knowledge) -> Votes:
    prior = np.where(knowledge.forbidden, 0, -1)
    prior[knowledge.required] = 1
    np.fill_diagonal(prior, -1)
    return prior.T

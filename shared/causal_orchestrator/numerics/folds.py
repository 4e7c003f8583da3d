"""Folds for cross-fitting: stratified by treatment, whole clusters together, fixed by the seed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Codes = NDArray[np.int64]


def folds(strata: NDArray[np.float64], count: int, *, seed: int, cluster: Codes | None = None) -> Codes:
    """Return the fold 0…count-1 of each row (n,).

    Parameters
    ----------
    strata : shape (n,)
        Rows with the same value are spread evenly over the folds. Rows must stand in an order that does not depend on
        the file's (see `problem`).
    cluster : shape (n,), optional
        Codes 0…G-1; a cluster stays in one fold and `strata` is then not balanced exactly.
    """
    rng = np.random.default_rng(seed)
    if cluster is not None:
        groups = int(cluster.max()) + 1
        count = min(count, groups)
        of_cluster = np.empty(groups, dtype=np.int64)
        of_cluster[rng.permutation(groups)] = np.arange(groups) % count
        return of_cluster[cluster]
    order = rng.permutation(len(strata))
    order = order[np.argsort(strata[order], kind="stable")]
    fold = np.empty(len(strata), dtype=np.int64)
    fold[order] = np.arange(len(strata)) % count
    return fold

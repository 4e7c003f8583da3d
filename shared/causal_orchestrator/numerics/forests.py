"""An honest causal forest on residuals, cross-fitted, with the variance of each row's effect."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from causal_orchestrator.errors import InputError, NotApplicable

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]

BAG = 4  # trees that share a half-sample, from whose spread the variance comes
MOST_TREES = 10_000
LEAF = 5


@dataclass(frozen=True)
class Grown:
    """Effect and standard error of each row (n,), from trees that did not see it, and the covariates' shares (p,)."""

    effect: Floats
    std_error: Floats
    importance: Floats


def grow(
    covariates: Floats,
    treatment: Floats,
    outcome: Floats,
    weights: Floats | None,
    fold: Codes,
    *,
    trees: int,
    seed: int,
) -> Grown:
    """Grow one forest on the complement of each fold and read the fold's effects off it.

    Parameters
    ----------
    covariates : shape (n, p)
    treatment, outcome : shape (n,)
        Residuals from their expectations given the covariates.
    fold : shape (n,)
        Codes 0…K-1; clusters stay whole where the folds keep them whole.
    trees : per forest, a multiple of four.

    Raises
    ------
    NotApplicable
        If econml is not installed (``EXTRA_MISSING``).
    InputError
        If `trees` is out of its range (``OPTION_INVALID``).

    References
    ----------
    Athey, Tibshirani & Wager (2019), https://doi.org/10.1214/18-AOS1709; the forest is econml's.
    """
    if trees % BAG or not 2 * BAG <= trees <= MOST_TREES:
        raise InputError(f"trees must be a multiple of {BAG} from {2 * BAG} to {MOST_TREES}, found {trees}", code="OPTION_INVALID", details={"option": "trees"})  # fmt: skip
    try:
        from econml.grf import CausalForest  # type: ignore[import-untyped]
    except ImportError as exc:
        raise NotApplicable(
            "a causal forest needs econml; the extra `methods` brings it", code="EXTRA_MISSING"
        ) from exc
    scale = float(outcome.std()) or 1.0
    effect, variance = np.zeros(len(outcome)), np.zeros(len(outcome))
    importance = np.zeros(covariates.shape[1])
    for k in range(int(fold.max()) + 1):
        into, held = fold != k, fold == k
        forest = CausalForest(trees, criterion="het", min_samples_leaf=LEAF, subforest_size=BAG, n_jobs=1, random_state=seed + k)  # fmt: skip
        forest.fit(
            covariates[into],
            treatment[into, None],
            outcome[into, None] / scale,
            sample_weight=None if weights is None else weights[into],
        )
        point, spread = forest.predict_and_var(covariates[held])
        effect[held], variance[held] = point[:, 0], spread[:, 0, 0]
        importance += forest.feature_importances()
    return Grown(scale * effect, scale * np.sqrt(variance), importance / max(importance.sum(), np.finfo(float).tiny))

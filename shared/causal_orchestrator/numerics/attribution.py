"""What moves a prediction: Shapley values of boosted trees, on rows that the trees did not see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from causal_orchestrator.errors import NotApplicable

Floats = NDArray[np.float64]

TREES = {"num_leaves": 8, "learning_rate": 0.1, "min_data_in_leaf": 20, "lambda_l2": 1.0}
ROUNDS = 80
FIXED = {"deterministic": True, "force_row_wise": True, "num_threads": 1, "verbosity": -1, "objective": "regression"}
FOLDS = 2


@dataclass(frozen=True)
class Attribution:
    """Shapley values (n, g) of g columns for each row, in units of the target, and the share of variance predicted."""

    values: Floats
    names: tuple[str, ...]
    explained: float

    @property
    def importance(self) -> Floats:
        """Mean absolute value (g,)."""
        return np.asarray(np.abs(self.values).mean(axis=0))


def attribute(features: Floats, target: Floats, sources: Sequence[str], *, seed: int) -> Attribution:
    """Return what each column does to predictions of the target, cross-fitted.

    The values are exact for the trees (path-dependent TreeSHAP): with the mean they add up to a row's prediction.
    They say what the trees use, which is not what moves the target.

    Parameters
    ----------
    features : shape (n, p)
    target : shape (n,)
    sources : the column of the table behind each feature; values of features of one column are added.

    Raises
    ------
    NotApplicable
        Where LightGBM can't be loaded (``EXTRA_MISSING``).

    References
    ----------
    Lundberg, Erion, Chen et al. (2020), https://doi.org/10.1038/s42256-019-0138-9; computed by LightGBM.
    """
    try:
        import lightgbm
    except (ImportError, OSError) as exc:  # it is not there, or the system's libgomp.so.1 is not
        raise NotApplicable(f"Shapley values need lightgbm: {exc}", code="EXTRA_MISSING") from exc
    n = len(target)
    centre, scale = float(target.mean()), float(target.std()) or 1.0
    y = (target - centre) / scale
    fold = np.random.default_rng(seed).permutation(n) % FOLDS
    each, predicted = np.zeros(features.shape), np.zeros(n)
    for k in range(FOLDS):
        into, held = fold != k, fold == k
        grown = lightgbm.train({**TREES, **FIXED, "seed": seed}, lightgbm.Dataset(features[into], y[into]), ROUNDS)
        parts = np.asarray(grown.predict(features[held], pred_contrib=True))
        each[held], predicted[held] = parts[:, :-1], parts.sum(axis=1)
    names = tuple(dict.fromkeys(sources))
    member = np.array([[source == name for name in names] for source in sources], dtype=np.float64)
    explained = 1 - float(((y - predicted) ** 2).mean() / max(float(y.var()), np.finfo(float).tiny))
    return Attribution(scale * each @ member, names, explained)

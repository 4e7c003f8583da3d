"""A policy learned from a problem's doubly robust scores, with an assignment of each row that did not see it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from causal_orchestrator.errors import InputError
from causal_orchestrator.numerics.doubly_robust import limited
from causal_orchestrator.numerics.folds import folds
from causal_orchestrator.numerics.nuisance import Nuisances
from causal_orchestrator.numerics.policy_tree import Learned, learn
from causal_orchestrator.question import Question, shown

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]

FOLDS = 5


class Source(Protocol):
    """What learning a policy needs of a problem."""

    @property
    def question(self) -> Question: ...  # noqa: D102
    @property
    def outcome(self) -> Floats: ...  # noqa: D102
    @property
    def treatment(self) -> Floats: ...  # noqa: D102
    @property
    def treatment_levels(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def covariates(self) -> Floats: ...  # noqa: D102
    @property
    def covariate_sources(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def weights(self) -> Floats | None: ...  # noqa: D102
    @property
    def cluster(self) -> Codes | None: ...  # noqa: D102
    @property
    def roles(self) -> Mapping[str, NDArray[Any]]: ...  # noqa: D102
    @property
    def seed(self) -> int: ...  # noqa: D102


def scores(source: Source, found: Nuisances, *, trim: float) -> Floats:
    """Return the doubly robust score (n, K) of each row's outcome under each level, mean over the repetitions."""
    own = source.treatment[:, None] == np.arange(len(source.treatment_levels))
    propensities = limited(found, trim)[1]
    each = found.outcome_by_level + own * (source.outcome[:, None] - found.outcome_by_level) / propensities
    return np.asarray(each.mean(axis=0))


def costs(source: Source) -> Floats | None:
    """Return the cost (n, K) of giving each row each level, or None where the question names none.

    Raises
    ------
    InputError
        If a cost is missing or no number (``COST_INVALID``).
    """
    if "cost" not in source.roles:
        return None
    column = source.roles["cost"]
    if column.dtype.kind != "f" or not np.isfinite(column).all():
        name = str(source.question.cost)
        raise InputError(f"the cost {shown(name)!r} must be a number in every row", code="COST_INVALID", details={"column": name})  # fmt: skip
    return np.asarray(column[:, None] * (np.arange(len(source.treatment_levels)) > 0))


def deciding(source: Source) -> Codes:
    """Return the encoded covariates that a policy may look at: the effect modifiers, where the question names any."""
    named = set(source.question.effect_modifiers)
    chosen = [j for j, column in enumerate(source.covariate_sources) if column in named]
    return np.array(chosen or range(source.covariates.shape[1]), dtype=np.int64)


def learned(source: Source, found: Nuisances, *, depth: int, budget: float | None, trim: float) -> Learned:
    """Learn a policy of the covariates that maximises the outcome less costs, within a budget.

    Parameters
    ----------
    budget : largest mean cost per row; where the question names no cost, each treated row costs one and the outcome
        pays for nothing, so that it is a share of rows.

    Raises
    ------
    InputError
        If the budget is negative (``OPTION_INVALID``) or a cost is unusable (``COST_INVALID``).
    """
    if budget is not None and not budget >= 0:
        raise InputError(f"budget must not be negative, found {budget}", code="OPTION_INVALID", details={"option": "budget"})  # fmt: skip
    worth, charged = scores(source, found, trim=trim), costs(source)
    counted = np.ones(worth.shape) * (np.arange(worth.shape[1]) > 0) if charged is None else charged
    net = worth if charged is None else worth - charged
    weights = np.ones(len(worth)) if source.weights is None else source.weights
    fold = folds(source.treatment, FOLDS, seed=source.seed, cluster=source.cluster)
    return learn(net, counted, source.covariates[:, deciding(source)], weights, fold, depth=depth, budget=budget)

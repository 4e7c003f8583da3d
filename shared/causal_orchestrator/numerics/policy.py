"""What a policy is worth on the shared nuisances: doubly robust, weighted, or by the outcome model alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from causal_orchestrator.errors import InputError
from causal_orchestrator.numerics.doubly_robust import limited
from causal_orchestrator.numerics.inference import Joined, median_over_repeats
from causal_orchestrator.numerics.nuisance import Nuisances
from causal_orchestrator.question import shown

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]
Score = Literal["dr", "snips", "dm"]


class Sample(Protocol):
    """What values of policies need of a problem."""

    @property
    def outcome(self) -> Floats: ...  # noqa: D102
    @property
    def treatment(self) -> Floats: ...  # noqa: D102
    @property
    def weights(self) -> Floats | None: ...  # noqa: D102
    @property
    def cluster(self) -> Codes | None: ...  # noqa: D102


@dataclass(frozen=True)
class Values:
    """Values (m,) of m policies; `joined` has covariance and influence (n, m), None for the outcome model alone.

    `effective` (m,) is the number of rows that the weights of each policy are worth.
    """

    values: Floats
    joined: Joined | None
    effective: Floats
    moved: float


def value(sample: Sample, found: Nuisances, policies: Floats, *, score: Score, trim: float) -> Values:
    """Return the mean outcome under each policy.

    Parameters
    ----------
    policies : shape (m, n, K)
        Chance that policy m gives row n the level k; sums to one over k.
    score : ``dr`` augments the outcome model by weighted residuals; ``snips`` is the self-normalised weighted mean,
        with propensities taken as known; ``dm`` is the outcome model alone, without a standard error.
    trim : propensities are moved into [trim, 1 - trim].

    References
    ----------
    Dudík, Erhan, Langford & Li (2014), https://doi.org/10.1214/14-STS500; Swaminathan & Joachims (2015), "The
    self-normalized estimator for counterfactual learning".
    """
    moved, propensities = limited(found, trim)
    s = np.ones(len(sample.outcome)) if sample.weights is None else sample.weights
    own = sample.treatment.astype(np.int64)
    at = np.arange(len(own))
    values, influences, effective = [], [], []
    for propensity, outcomes in zip(propensities, found.outcome_by_level, strict=True):
        ratio = policies[:, at, own] / propensity[at, own]
        model = np.einsum("mnk,nk->mn", policies, outcomes)
        weighted = s * ratio
        if score == "snips":
            mean = weighted @ sample.outcome / weighted.sum(axis=1)
            influence = weighted * (sample.outcome - mean[:, None]) / weighted.mean(axis=1, keepdims=True)
        else:
            row = model if score == "dm" else model + ratio * (sample.outcome - outcomes[at, own])
            mean = row @ s / s.sum()
            influence = s * (row - mean[:, None])
        values.append(mean)
        influences.append(influence.T)
        effective.append(weighted.sum(axis=1) ** 2 / np.maximum((weighted**2).sum(axis=1), np.finfo(float).tiny))
    joined = None if score == "dm" else median_over_repeats(np.array(values), np.array(influences), sample.cluster)
    middle = np.median(np.array(values), axis=0)
    return Values(middle, joined, np.median(np.array(effective), axis=0), moved)


def constant(level: int, n: int, levels: int) -> Floats:
    """Return the policy (n, K) that gives everyone one level."""
    return np.tile(np.eye(levels)[level], (n, 1))


def by_code(codes: Codes, levels: int) -> Floats:
    """Return the policy (n, K) that gives each row the level of its code."""
    return np.eye(levels)[codes]


def from_column(column: NDArray[Any], levels: tuple[str, ...], name: str) -> Floats:
    """Return the policy (n, K) in a column of levels or, for two levels, of chances of the second.

    Raises
    ------
    InputError
        If the column misses values or holds anything else (``POLICY_INVALID``).
    """
    labels = np.array([_label(item) for item in column], dtype=object)
    if np.isin(labels, levels).all():
        code = {level: k for k, level in enumerate(levels)}
        return by_code(np.array([code[label] for label in labels], dtype=np.int64), len(levels))
    if column.dtype.kind == "f" and len(levels) == 2 and np.all((column >= 0) & (column <= 1)):
        return np.column_stack([1 - column, column])
    raise InputError(
        f"the policy {shown(name)!r} must name a level of the treatment in every row ({', '.join(shown(v) for v in levels)})"
        + (", or the chance of the second" if len(levels) == 2 else ""),
        code="POLICY_INVALID",
        details={"column": name},
    )


def _label(item: object) -> str:
    if isinstance(item, float) and np.isfinite(item):
        return str(int(item)) if item == int(item) else repr(float(item))
    return str(item)

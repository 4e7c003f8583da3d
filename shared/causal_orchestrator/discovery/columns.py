"""Make columns of any kind into the numbers that a graph search sees, and bring its votes back to the columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from causal_orchestrator.discovery.ensemble import Ballot
from causal_orchestrator.discovery.knowledge import Knowledge, Votes

MAX_LEVELS = 6
# Columns that others explain beyond this carry no information of their own and make covariances singular.
COLLINEAR = 0.9999


@dataclass(frozen=True)
class Numbers:
    """The encoded table.

    Parameters
    ----------
    data : NDArray, shape (n, q)
        Standardised; a categorical column has several (one for each frequent level but the first).
    owner : NDArray of int, shape (q,)
        The place in the original list of columns of each encoded one.
    dropped : tuple of int
        Original columns without variation or explained by those before them.
    """

    data: NDArray[np.float64]
    owner: NDArray[np.int_]
    dropped: tuple[int, ...]


def encode(frame: pd.DataFrame) -> Numbers:
    """Encode complete rows of `frame`; the first column is the last to be dropped as collinear.

    Numbers and dates stay numbers; anything else becomes indicators of its most frequent levels.
    """
    parts: list[NDArray[np.float64]] = []
    owner: list[int] = []
    for place, name in enumerate(frame.columns):
        for column in _numeric(frame[name]):
            parts.append(column)
            owner.append(place)
    kept = _independent(parts)
    data = np.column_stack([parts[k] for k in kept]) if kept else np.empty((len(frame), 0))
    owners = np.array([owner[k] for k in kept], dtype=int)
    dropped = tuple(sorted(set(range(frame.shape[1])) - set(owners.tolist())))
    return Numbers(data, owners, dropped)


def spread(knowledge: Knowledge, owner: NDArray[np.int_]) -> Knowledge:
    """Return the knowledge about columns as knowledge about their encoded forms; siblings are never joined."""
    grid = np.ix_(owner, owner)
    siblings = owner[:, None] == owner[None, :]
    # A required edge between columns need not hold for each level, so it is imposed on single columns alone.
    single = np.bincount(owner, minlength=len(knowledge.forbidden))[owner] == 1
    required = knowledge.required[grid] & single[:, None] & single[None, :]
    return Knowledge(knowledge.forbidden[grid] | siblings, required)


def collapse(ballot: Ballot, owner: NDArray[np.int_], p: int) -> Ballot:
    """Return the ballot over the `p` original columns: a column's vote is the strongest of its encoded forms."""
    by_algorithm = {key: _strongest(votes, owner, p) for key, votes in ballot.by_algorithm.items()}
    confidence = np.mean(list(by_algorithm.values()), axis=0) if by_algorithm else np.zeros((p, p))
    return Ballot(confidence, by_algorithm, ballot.rounds, ballot.skipped)


def _numeric(column: pd.Series) -> list[NDArray[np.float64]]:
    if pd.api.types.is_bool_dtype(column) or pd.api.types.is_numeric_dtype(column):
        return [_standard(column.to_numpy(dtype=float))]
    if pd.api.types.is_datetime64_any_dtype(column):
        return [_standard(column.astype("int64").to_numpy(dtype=float))]
    text = column.astype(str)
    counts = text.value_counts()
    levels = sorted(counts.index, key=lambda level: (-counts[level], level))[1:MAX_LEVELS]
    return [_standard((text == level).to_numpy(dtype=float)) for level in levels]


def _standard(values: NDArray[np.float64]) -> NDArray[np.float64]:
    centred = values - values.mean()
    size = float(centred.std())
    return np.asarray(centred / size) if size > 0 else centred


def _independent(parts: Sequence[NDArray[np.float64]]) -> list[int]:
    kept: list[int] = []
    basis: list[NDArray[np.float64]] = []  # orthonormal
    for k, column in enumerate(parts):
        total = float(column @ column)
        if total == 0.0:
            continue
        rest = column
        for direction in basis:
            rest = rest - (rest @ direction) * direction
        left = float(rest @ rest)
        if left <= (1.0 - COLLINEAR) * total:
            continue
        kept.append(k)
        basis.append(np.asarray(rest / np.sqrt(left)))
    return kept


def _strongest(votes: Votes, owner: NDArray[np.int_], p: int) -> Votes:
    found = np.zeros((p, p))
    np.maximum.at(found, (owner[:, None], owner[None, :]), votes)
    np.fill_diagonal(found, 0.0)
    both = found + found.T
    return np.asarray(found / np.where(both > 1.0, both, 1.0))

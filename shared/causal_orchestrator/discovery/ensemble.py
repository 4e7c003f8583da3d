"""Several searches on several subsamples vote on every edge; a gate says whether the result may be used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from causal_orchestrator import discovery
from causal_orchestrator.discovery.knowledge import Knowledge, Votes
from causal_orchestrator.errors import CausalError
from causal_orchestrator.results import Gate

# Milliseconds by the declared costs that each search may use up in rounds. A count, not a clock: the number of rounds
# is a function of the shape of the data alone.
BUDGET = 1_500.0
MIN_ROUNDS, MAX_ROUNDS = 2, 20
# Rounds after the first run on subsamples without replacement of the share of distinct rows in a bootstrap sample:
# drawing with replacement would double the variance of every test statistic and fill the graph with false edges.
SUBSAMPLE = 0.632
MAX_ROWS = 20_000
# Share of columns whose normality must be rejected for a search that lives on non-Gaussian errors.
NON_GAUSSIAN_SHARE = 0.5
MIN_LEVELS_OF_CONTINUOUS = 10


@dataclass(frozen=True)
class Ballot:
    """What the searches said.

    Parameters
    ----------
    confidence : NDArray, shape (p, p)
        ``confidence[i, j]`` is the share of votes for ``i → j``, the mean over searches of the mean over rounds.
    by_algorithm : mapping of str to NDArray, shape (p, p)
        The same for each search.
    rounds : mapping of str to int
        How often each search ran.
    skipped : mapping of str to str
        Searches that did not take part, and why.
    """

    confidence: Votes
    by_algorithm: Mapping[str, Votes]
    rounds: Mapping[str, int]
    skipped: Mapping[str, str]


@dataclass(frozen=True)
class Decision:
    """The graph that the votes amount to.

    Parameters
    ----------
    directed, undirected : tuples of (int, int, float)
        Edges with their confidence; an undirected edge has the share of votes for either direction.
    dropped : tuple of (int, int)
        Directed edges that would have closed a cycle.
    """

    directed: tuple[tuple[int, int, float], ...]
    undirected: tuple[tuple[int, int, float], ...]
    dropped: tuple[tuple[int, int], ...]


def vote(
    data: NDArray[np.float64],
    *,
    knowledge: Knowledge,
    algorithms: Sequence[str] = (),
    alpha: float = 0.05,
    seed: int = 0,
) -> Ballot:
    """Run the searches in rounds and count their votes.

    Parameters
    ----------
    data : NDArray, shape (n, p)
        Standardised columns without missing values.
    knowledge : Knowledge
        Forbidden and required edges.
    algorithms : sequence of str
        Keys of DISCOVERY; all where empty.

    Returns
    -------
    Ballot
        A search that fails is skipped with its reason; without any vote the confidence is zero everywhere.
    """
    n, p = data.shape
    rng = np.random.default_rng(seed)
    draws = [np.sort(rng.permutation(n)[: max(2, int(SUBSAMPLE * n))]) for _ in range(MAX_ROUNDS - 1)]
    by_algorithm: dict[str, Votes] = {}
    rounds: dict[str, int] = {}
    skipped: dict[str, str] = {}
    for key in algorithms or discovery.DISCOVERY:
        unfit = _unfit(key, data)
        if unfit is not None:
            skipped[key] = unfit
            continue
        count = _rounds(key, n, p)
        samples = [data, *(data[rows] for rows in draws[: count - 1])]
        search = discovery.load(key)
        try:
            found = [
                search(_scaled(part), knowledge=knowledge, alpha=alpha, seed=seed + i) for i, part in enumerate(samples)
            ]
        # A search of a library may fail in ways of its own on degenerate columns; the others still vote.
        except (CausalError, ValueError, ArithmeticError, IndexError, KeyError, np.linalg.LinAlgError) as exc:
            skipped[key] = f"failed: {type(exc).__name__}"
            continue
        by_algorithm[key], rounds[key] = np.mean(found, axis=0), count
    confidence = np.mean(list(by_algorithm.values()), axis=0) if by_algorithm else np.zeros((p, p))
    return Ballot(confidence, by_algorithm, rounds, skipped)


def decide(ballot: Ballot, *, threshold: float = 0.5) -> Decision:
    """Return the edges whose share of votes reaches the threshold.

    A pair is joined if the votes for either direction together reach the threshold; the edge has a direction if one
    direction reaches it alone and the other does not. Directed edges enter by falling confidence, and one that would
    close a cycle is left out.
    """
    share = ballot.confidence
    p = len(share)
    # Sums of shares carry rounding errors of some ulp.
    reached = threshold - 1e-9
    pairs = [(i, j) for i in range(p) for j in range(i + 1, p) if share[i, j] + share[j, i] >= reached]
    aimed = [(i, j) if share[i, j] >= share[j, i] else (j, i) for i, j in pairs]
    directed = [(i, j) for i, j in aimed if share[i, j] >= reached > share[j, i]]
    kept, dropped = _acyclic(sorted(directed, key=lambda e: (-share[e], e)), p)
    return Decision(
        directed=tuple((i, j, float(share[i, j])) for i, j in sorted(kept)),
        undirected=tuple(
            (i, j, float(min(1.0, share[i, j] + share[j, i]))) for i, j in aimed if (i, j) not in set(directed)
        ),
        dropped=tuple(dropped),
    )


def gate(ballot: Ballot, decision: Decision) -> Gate:
    """Say whether the graph may be used (DISC-2): ACCEPT ≥ 0.8, AUGMENT ≥ 0.5, REVIEW ≥ 0.3, REJECT below.

    The confidence is validity × (0.5 edge confidence + 0.35 agreement + 0.15 sparsity). Validity is the share of
    directed edges that closed no cycle; agreement is over the pairs that any search joins; sparsity falls from one
    where more than half of all pairs are joined.
    """
    if not ballot.by_algorithm:
        return Gate(decision="REJECT", confidence=0.0, reasons=("no search gave a result",))
    p = len(ballot.confidence)
    edges = (*decision.directed, *decision.undirected)
    joined = len(edges)
    strength = float(np.mean([c for *_, c in edges])) if edges else 1.0 - float(_adjacency(ballot.confidence).max())
    agreement = _agreement(ballot)
    density = joined / max(1, p * (p - 1) // 2)
    sparsity = float(np.clip(2.0 * (1.0 - density), 0.0, 1.0))
    proposed = len(decision.directed) + len(decision.dropped)
    validity = 1.0 - len(decision.dropped) / proposed if proposed else 1.0
    confidence = validity * (0.5 * strength + 0.35 * agreement + 0.15 * sparsity)
    return Gate(
        decision="ACCEPT"
        if confidence >= 0.8
        else "AUGMENT"
        if confidence >= 0.5
        else "REVIEW"
        if confidence >= 0.3
        else "REJECT",
        confidence=round(confidence, 6),
        reasons=(
            f"mean edge confidence {strength:.2f} over {joined} edges",
            f"the searches agree on {agreement:.0%} of the pairs that any of them joins",
            f"{density:.0%} of all pairs are joined",
            f"{len(decision.dropped)} edges would have closed a cycle",
        ),
    )


def _rounds(key: str, n: int, p: int) -> int:
    return int(np.clip(BUDGET / discovery.DISCOVERY[key].cost(n, p), MIN_ROUNDS, MAX_ROUNDS))


def _scaled(data: NDArray[np.float64]) -> NDArray[np.float64]:
    spread = data.std(axis=0)
    return np.asarray((data - data.mean(axis=0)) / np.where(spread > 0, spread, 1.0))


def _unfit(key: str, data: NDArray[np.float64]) -> str | None:
    if data.shape[1] < 2:
        return "there are fewer than two columns"
    if not discovery.DISCOVERY[key].non_gaussian:
        return None
    continuous = [column for column in data.T if len(np.unique(column)) >= MIN_LEVELS_OF_CONTINUOUS]
    if len(continuous) < NON_GAUSSIAN_SHARE * data.shape[1]:
        return "most columns are discrete, and it needs continuous ones"
    rejected = sum(float(stats.jarque_bera(column).pvalue) < 0.01 for column in continuous)
    if rejected < NON_GAUSSIAN_SHARE * len(continuous):
        return "most columns look Gaussian, and it needs the contrary"
    return None


def _adjacency(votes: Votes) -> Votes:
    return np.minimum(votes + votes.T, 1.0)


def _agreement(ballot: Ballot) -> float:
    """Return how one-sided the searches are about the pairs that any of them joins, from 0 to 1."""
    upper = np.triu_indices(len(ballot.confidence), 1)
    joined = np.array([_adjacency(v)[upper] for v in ballot.by_algorithm.values()])  # (searches, pairs)
    open_pairs = joined.max(axis=0) >= 0.5
    if not open_pairs.any():
        return 1.0
    return float(np.abs(2.0 * joined[:, open_pairs].mean(axis=0) - 1.0).mean())


def _acyclic(edges: Sequence[tuple[int, int]], p: int) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    reach = np.eye(p, dtype=bool)  # reach[i, j]: a directed path leads from i to j
    kept, dropped = [], []
    for i, j in edges:
        if reach[j, i]:
            dropped.append((i, j))
            continue
        kept.append((i, j))
        reach |= np.outer(reach[:, i], reach[j])
    return kept, dropped

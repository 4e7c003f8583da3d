"""What the refuters share: re-drawn treatments, refits over many draws, and summaries of their distribution."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from causal_orchestrator.errors import CausalError, EstimationError

if TYPE_CHECKING:
    from causal_orchestrator.problem import Estimate, Problem

Floats = NDArray[np.float64]

# Of one refuter on its own: five of them at 0.01 err together in at most 5 % of sound analyses. The verdict does not
# count these: it judges the p-values of all gates together by Holm's method.
LEVEL = 0.01
QUANTILES = (0.025, 0.25, 0.5, 0.75, 0.975)
MAX_FAILED = 0.2


@dataclass(frozen=True)
class Draws:
    """Estimates (B,) and standard errors (B,), NaN where there is none, over B draws; `failed` draws gave nothing."""

    estimates: Floats
    std_errors: Floats
    failed: int = 0


def permuted(problem: Problem, rng: np.random.Generator) -> Floats:
    """Return the treatment as another draw of the same assignment would give it.

    Whole clusters are permuted where the treatment does not vary within them, and rows otherwise, within the declared
    strata.
    """
    treatment = problem.treatment
    if problem.cluster is not None and _constant_within(problem.cluster, treatment):
        groups, first = np.unique(problem.cluster, return_index=True)
        by_group = treatment[first]
        return np.asarray(by_group[_shuffle(_strata(problem, first), rng)][np.searchsorted(groups, problem.cluster)])
    return np.asarray(treatment[_shuffle(_strata(problem, None), rng)])


def over(problems: Iterable[Problem], refit: Callable[[Problem], Estimate]) -> Draws:
    """Refit on every problem; a draw that the method refuses is counted, not hidden.

    Raises
    ------
    EstimationError
        If more than a fifth of the draws failed (``REFITS_FAILED``).
    """
    values: list[float] = []
    errors: list[float] = []
    failed = 0
    for problem in problems:
        try:
            found = refit(problem)
        except CausalError:
            failed += 1
            continue
        values.append(found.estimate)
        errors.append(np.nan if found.std_error is None else found.std_error)
    if not values or failed > MAX_FAILED * (failed + len(values)):
        raise EstimationError(f"{failed} of {failed + len(values)} refits gave no estimate", code="REFITS_FAILED")
    return Draws(np.array(values), np.array(errors), failed)


def summary(values: Floats) -> Mapping[str, Any]:
    """Return count, mean, standard deviation, quantiles and histogram of a distribution."""
    counts, edges = np.histogram(values, bins=min(20, max(5, len(values) // 5)))
    return {
        "draws": len(values),
        "mean": float(values.mean()),
        "std": float(values.std(ddof=1)) if len(values) > 1 else 0.0,
        "quantiles": {f"{q:g}": float(np.quantile(values, q)) for q in QUANTILES},
        "histogram": {"edges": [float(v) for v in edges], "counts": [int(v) for v in counts]},
    }


def _constant_within(cluster: NDArray[np.int64], treatment: Floats) -> bool:
    order = np.lexsort((treatment, cluster))
    same = np.diff(cluster[order]) == 0
    return not bool(np.any(same & (np.diff(treatment[order]) != 0)))


def _strata(problem: Problem, first: NDArray[np.int64] | None) -> NDArray[np.int64]:
    size = problem.n if first is None else len(first)
    labels = problem.roles.get("strata")
    if labels is None:
        return np.zeros(size, dtype=np.int64)
    rows = labels.reshape(problem.n, -1).astype(str)
    codes = np.unique(rows, axis=0, return_inverse=True)[1].reshape(-1)
    return np.asarray(codes if first is None else codes[first])


def _shuffle(strata: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Return positions shuffled within strata."""
    if not strata.any():
        return rng.permutation(len(strata))
    target = np.argsort(strata, kind="stable")
    source = np.lexsort((rng.random(len(strata)), strata))
    order = np.empty(len(strata), dtype=np.int64)
    order[target] = source
    return order

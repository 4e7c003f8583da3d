"""Refit on random parts of the data: the estimate may move as far as its standard error says, no further."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from causal_orchestrator.errors import NotApplicable
from causal_orchestrator.results import SensitivityResult
from causal_orchestrator.sensitivity.draws import LEVEL, over, summary

if TYPE_CHECKING:
    from causal_orchestrator.problem import Estimate, Problem

SHARE = 0.8
# A spread up to a half above the standard error's is what finite samples and learners do; more is a finding.
MAX_SPREAD = 1.5


def analyse(
    problem: Problem,
    estimate: Estimate,
    *,
    refit: Callable[[Problem], Estimate],
    seed: int,
    draws: int = 20,
    share: float = SHARE,
) -> SensitivityResult:
    """Refit on `draws` random subsets that keep `share` of the rows (of the clusters where there are any).

    Given the data, a subset estimate of a regular method differs from the full one by a standard deviation of
    ``std_error * sqrt(1/share - 1)``. Passes unless the subsets spread more than 1.5 times as much and a chi-squared
    test says that it is no accident.

    Returns
    -------
    SensitivityResult
        `value` is the ratio of the subsets' spread to what the standard error implies.

    Raises
    ------
    NotApplicable
        If the estimate has no standard error.

    References
    ----------
    Politis, Romano and Wolf (1999), Subsampling, ch. 2.
    """
    if not estimate.std_error:
        raise NotApplicable("the estimate has no standard error that its spread could be compared with")
    found = over(_subsets(problem, np.random.default_rng(seed), draws, share), refit)
    expected = estimate.std_error * np.sqrt(1 / share - 1)
    squares = float((((found.estimates - estimate.estimate) / expected) ** 2).sum())
    ratio = float(np.sqrt(squares / len(found.estimates)))
    p = float(stats.chi2.sf(squares / MAX_SPREAD**2, len(found.estimates)))
    passed = p >= LEVEL
    return SensitivityResult(
        method="data_subset",
        value=ratio,
        interpretation=(
            f"On random {share:.0%} parts of the data the estimate spreads {ratio:.2f} times as much as its standard "
            f"error implies, {'no more' if passed else 'more'} than sampling explains."
        ),
        passed=passed,
        details={
            **summary(found.estimates),
            "estimate": estimate.estimate,
            "share": share,
            "gate_p_value": p,
            "threshold": MAX_SPREAD,
            "failed": found.failed,
        },
    )


def _subsets(problem: Problem, rng: np.random.Generator, draws: int, share: float) -> Iterator[Problem]:
    """Yield subsets with each arm's share kept, so that no draw loses an arm."""
    for _ in range(draws):
        if problem.cluster is not None:
            groups = int(problem.cluster.max()) + 1
            kept = rng.permutation(groups)[: max(2, round(share * groups))]
            yield problem.take(np.flatnonzero(np.isin(problem.cluster, kept)))
        else:
            yield problem.take(np.sort(_within_arms(problem, rng, share)))


def _within_arms(problem: Problem, rng: np.random.Generator, share: float) -> np.ndarray:
    if problem.treatment_kind == "continuous":
        return rng.permutation(problem.n)[: round(share * problem.n)]
    arms = [np.flatnonzero(problem.treatment == level) for level in np.unique(problem.treatment)]
    return np.concatenate([rng.permutation(arm)[: max(2, round(share * len(arm)))] for arm in arms])

"""Draw the data anew with replacement: the spread must agree with the standard error that was claimed."""

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

# A claimed standard error that is a third too small turns a 95 % interval into one of 81 %.
MAX_RATIO = 1.5


def analyse(
    problem: Problem, estimate: Estimate, *, refit: Callable[[Problem], Estimate], seed: int, draws: int = 30
) -> SensitivityResult:
    """Refit on `draws` pairs-bootstrap samples (of clusters where there are any).

    Passes unless the bootstrap's spread is more than 1.5 times the standard error beyond chance (chi-squared test).
    Not for matching, where the pairs bootstrap is invalid.

    Returns
    -------
    SensitivityResult
        `value` is the bootstrap standard deviation over the standard error.

    Raises
    ------
    NotApplicable
        If the estimate has no standard error.

    References
    ----------
    Efron and Tibshirani (1993); Abadie and Imbens (2008), https://doi.org/10.3982/ECTA6474 (matching).
    """
    if not estimate.std_error:
        raise NotApplicable("the estimate has no standard error that its spread could be compared with")
    found = over(_resampled(problem, np.random.default_rng(seed), draws), refit)
    spread = float(found.estimates.std(ddof=1))
    ratio = spread / estimate.std_error
    freedom = len(found.estimates) - 1
    p = float(stats.chi2.sf(freedom * (ratio / MAX_RATIO) ** 2, freedom))
    passed = p >= LEVEL
    return SensitivityResult(
        method="bootstrap",
        value=ratio,
        interpretation=(
            f"Over {len(found.estimates)} bootstrap samples the estimate spreads {ratio:.2f} times its standard error, "
            f"{'no more' if passed else 'more'} than chance explains."
        ),
        passed=passed,
        details={
            **summary(found.estimates),
            "estimate": estimate.estimate,
            "std_error": estimate.std_error,
            "gate_p_value": p,
            "threshold": MAX_RATIO,
            "failed": found.failed,
        },
    )


def _resampled(problem: Problem, rng: np.random.Generator, draws: int) -> Iterator[Problem]:
    for _ in range(draws):
        if problem.cluster is None:
            yield problem.take(np.sort(rng.integers(problem.n, size=problem.n)))
            continue
        members = [np.flatnonzero(problem.cluster == g) for g in range(int(problem.cluster.max()) + 1)]
        chosen = rng.integers(len(members), size=len(members))
        # A cluster drawn twice counts as two, or the clustered variance would be too small.
        codes = np.repeat(np.arange(len(chosen)), [len(members[g]) for g in chosen])
        drawn = problem.take(np.concatenate([members[g] for g in chosen]))
        yield drawn.change(cluster=codes)

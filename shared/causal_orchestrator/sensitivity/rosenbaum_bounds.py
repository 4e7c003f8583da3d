"""How unequal the odds of treatment within matched pairs must be before the effect is no longer significant."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.spatial import cKDTree

from causal_orchestrator.errors import NotApplicable
from causal_orchestrator.numerics.inference import bracket
from causal_orchestrator.results import SensitivityResult

if TYPE_CHECKING:
    from causal_orchestrator.problem import Estimate, Problem

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]

CALIPER = 0.2  # standard deviations of the logit propensity (Austin 2011, https://doi.org/10.1002/pst.433)
MIN_PAIRS = 10
NEIGHBOURS = 50
LARGEST = 100.0
CURVE = (1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.75, 2.0, 2.5, 3.0, 4.0, 5.0)


def analyse(
    problem: Problem, estimate: Estimate, *, refit: Callable[[Problem], Estimate] | None = None, seed: int = 0
) -> SensitivityResult:
    """Bound the signed-rank test on disjoint matched pairs made for this analysis.

    Treated and untreated rows are paired one to one on the logit of the propensity, closest pairs first, within a
    caliper of 0.2 standard deviations. Gamma is the ratio of the odds of treatment that two units of a pair may have.
    The test is about the pairs' sharp null, not about the headline's estimand. No gate.

    Returns
    -------
    SensitivityResult
        `value` is the largest gamma at which the one-sided test in the estimate's direction still rejects (1 where it
        does not reject to begin with). ``details``: `pairs`, `curve` (gamma, upper bound of the p-value).

    Raises
    ------
    NotApplicable
        If there are fewer than ten pairs.

    References
    ----------
    Rosenbaum (2002), Observational Studies, section 4.3.3.
    """
    logit = _logit(problem.parametric().e)
    left, right = disjoint_pairs(logit, problem.treatment == 1)
    if len(left) < MIN_PAIRS:
        raise NotApplicable(f"only {len(left)} pairs of similar units could be formed; {MIN_PAIRS} are needed")
    direction = 1.0 if estimate.estimate >= 0 else -1.0
    differences = direction * (problem.outcome[left] - problem.outcome[right])
    alpha = (1 - estimate.confidence_level) / 2
    gamma = largest_gamma(differences, alpha)
    return SensitivityResult(
        method="rosenbaum_bounds",
        value=gamma,
        interpretation=_sentence(len(left), gamma, upper_p_value(differences, 1.0), alpha),
        passed=None,
        details={
            "pairs": len(left),
            "alpha": alpha,
            "curve": [[g, upper_p_value(differences, g)] for g in CURVE],
            "mean_difference": float(direction * differences.mean()),
        },
    )


def upper_p_value(differences: Floats, gamma: float) -> float:
    """Return the largest one-sided p-value of the signed-rank test if hidden bias is at most `gamma`.

    Normal approximation with average ranks for ties; pairs without a difference are ranked and count for neither side
    (equation 4.13).
    """
    if not np.any(differences != 0):
        return 1.0
    ranks = stats.rankdata(np.abs(differences)) * (differences != 0)
    statistic = float(ranks[differences > 0].sum())
    share = gamma / (1 + gamma)
    mean, variance = share * float(ranks.sum()), share * (1 - share) * float((ranks**2).sum())
    return float(stats.norm.sf((statistic - mean) / math.sqrt(variance)))


def largest_gamma(differences: Floats, alpha: float) -> float:
    """Return the largest gamma (at most 100) at which the bound stays at or below `alpha`; 1 if there is none."""
    if upper_p_value(differences, 1.0) > alpha:
        return 1.0
    if upper_p_value(differences, LARGEST) <= alpha:
        return LARGEST
    return bracket(lambda gamma: not upper_p_value(differences, gamma) <= alpha, 1.0, LARGEST, steps=50)[0]


def disjoint_pairs(score: Floats, treated: NDArray[np.bool_]) -> tuple[Codes, Codes]:
    """Pair treated with untreated rows one to one, the closest scores first, within the caliper.

    Each treated row considers its fifty nearest untreated ones, so that the work grows as n log n.
    """
    left, right = np.flatnonzero(treated), np.flatnonzero(~treated)
    if len(left) == 0 or len(right) == 0:
        return left[:0], right[:0]
    caliper = CALIPER * float(np.std(score))
    k = min(NEIGHBOURS, len(right))
    distances, nearest = cKDTree(score[right][:, None]).query(score[left][:, None], k=k)
    distances, nearest = distances.reshape(len(left), k), nearest.reshape(len(left), k)
    order = np.lexsort((nearest.ravel(), np.repeat(np.arange(len(left)), k), distances.ravel()))
    used_left, used_right = np.zeros(len(left), dtype=bool), np.zeros(len(right), dtype=bool)
    pairs: list[tuple[int, int]] = []
    for position in order:
        i, j = int(position) // k, int(nearest.ravel()[position])
        if distances.ravel()[position] > caliper:
            break
        if not used_left[i] and not used_right[j]:
            used_left[i] = used_right[j] = True
            pairs.append((i, j))
    chosen = np.array(sorted(pairs), dtype=np.int64).reshape(-1, 2)
    return left[chosen[:, 0]], right[chosen[:, 1]]


def _logit(propensity: Floats) -> Floats:
    clipped = np.clip(propensity, 1e-6, 1 - 1e-6)
    return np.asarray(np.log(clipped / (1 - clipped)))


def _sentence(pairs: int, gamma: float, p: float, alpha: float) -> str:
    if gamma <= 1.0:
        return (
            f"In {pairs} matched pairs the effect is not significant even without hidden bias (one-sided p = {p:.3g})."
        )
    return (
        f"In {pairs} matched pairs the effect stays significant (one-sided, {alpha:.3g}) unless hidden bias makes the "
        f"odds of treatment within a pair differ by a factor of more than {gamma:.2f}."
    )

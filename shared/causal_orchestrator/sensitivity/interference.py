"""Does the outcome go with how many others of one's group are treated? Then the treatment of some may reach others."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from causal_orchestrator.errors import NotApplicable
from causal_orchestrator.numerics.inference import effective_clusters, p_value
from causal_orchestrator.numerics.linear import covariance, least_squares
from causal_orchestrator.results import SensitivityResult
from causal_orchestrator.sensitivity.draws import LEVEL

if TYPE_CHECKING:
    from causal_orchestrator.problem import Estimate, Problem

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]

FEWEST_GROUPS = 10
MANY_GROUPS = 500  # from which leaving each one out adds nothing
OWN = 1e-6  # share of its variance that the others' share must keep beside own treatment and covariates


def analyse(
    problem: Problem,
    estimate: Estimate,
    *,
    refit: Callable[[Problem], Estimate] | None = None,
    seed: int,
) -> SensitivityResult:
    """Test whether the share of treated others in the group predicts the outcome, given own treatment and covariates.

    Without interference it does not where the treatment was assigned at random, or at random given the covariates. The
    outcome enters less what covariates predict of it (the shared learned nuisances). The standard error is the
    jackknife's over groups (CR1 from 500 groups on); t has as many degrees of freedom as there are effective groups, less
    one. A rejection has a second reading, that groups with more treated differ otherwise, which
    spoils the comparison as much.

    Returns
    -------
    SensitivityResult
        `value` is the slope on the others' share: how much higher the outcome is where all others are treated than
        where none is. ``details``: `gate_p_value`, `groups`, `share_sd` (SD of the others' share beside own treatment).

    Raises
    ------
    NotApplicable
        If no groups are named, the treatment is not binary or does not vary within groups, all groups have the same
        share of treated, or there are fewer than ten groups.

    References
    ----------
    Manski (1993), https://doi.org/10.2307/2298123, on what such a slope can mean; MacKinnon, Nielsen & Webb (2023),
    https://doi.org/10.1016/j.jeconom.2022.04.001, on the jackknife over clusters.
    """
    group, share, kept = _others(problem)
    outcome, covariates = _unexplained(problem)
    rest = np.column_stack([np.ones(len(kept)), problem.treatment[kept], covariates[kept]])
    weights = None if problem.weights is None else problem.weights[kept]
    left = least_squares(rest, share, weights).residuals
    if left @ left <= OWN * ((share - share.mean()) ** 2).sum():
        raise NotApplicable("as many are treated in every group, so nobody shows what more treated neighbours do")
    slope, error = _slope(np.column_stack([rest, share]), outcome[kept], weights, group)
    groups, freedom = int(group.max()) + 1, max(effective_clusters(left, group, weights, shared=True) - 1, 1.0)
    found = p_value(slope, error, freedom)
    p = 1.0 if found is None else found
    passed = p >= LEVEL
    return SensitivityResult(
        method="interference",
        value=slope,
        interpretation=(
            f"Given own treatment, the outcome differs by {slope:.3g} between those whose group's others are all "
            f"treated and those of whom none is ({groups:,} groups); so much arises by chance with p = {p:.3g}."
        ),
        passed=passed,
        details={"gate_p_value": p, "groups": groups, "df": freedom, "share_sd": float(left.std())},
    )


def _others(problem: Problem) -> tuple[Codes, Floats, Codes]:
    """Return group codes, the share of treated others, and the rows (positions) in groups of two or more."""
    if problem.question.cluster is None or problem.cluster is None:
        raise NotApplicable("no column names the groups within which people could reach each other")
    if problem.treatment_kind != "binary":
        raise NotApplicable("needs a binary treatment")
    sizes = np.bincount(problem.cluster)
    kept = np.flatnonzero(sizes[problem.cluster] > 1)
    treated = np.bincount(problem.cluster, problem.treatment)
    mixed = (treated > 0) & (treated < sizes)
    if not mixed.any():
        raise NotApplicable("whole groups are treated or not, so nobody has treated and untreated neighbours")
    if (sizes > 1).sum() < FEWEST_GROUPS:
        raise NotApplicable(f"{int((sizes > 1).sum())} groups of two or more are too few to tell")
    own = problem.cluster[kept]
    share = (treated[own] - problem.treatment[kept]) / (sizes[own] - 1)
    return np.unique(own, return_inverse=True)[1].astype(np.int64), share, kept


def _unexplained(problem: Problem) -> tuple[Floats, Floats]:
    """Return the outcome less its mean given the covariates (n,), and the covariates with the propensity (n, p + 1).

    What own treatment explains of the difference goes with treatment less propensity (Robinson 1988).
    """
    if not problem.covariates.shape[1]:
        return problem.outcome, problem.covariates
    learned = problem.learned()
    return problem.outcome - learned.m, np.column_stack([problem.covariates, learned.e])


def _slope(design: Floats, outcome: Floats, weights: Floats | None, group: Codes) -> tuple[float, float]:
    """Return the last coefficient and its standard error, from leaving out one group at a time (CR3), or CR1 of many."""
    fit = least_squares(design, outcome, weights)
    groups = int(group.max()) + 1
    if groups >= MANY_GROUPS:
        return float(fit.coefficients[-1]), float(np.sqrt(covariance(fit, "cluster", group)[-1, -1]))
    x = design[:, fit.kept] * (1.0 if weights is None else np.sqrt(weights)[:, None])
    y = outcome * (1.0 if weights is None else np.sqrt(weights))
    gram, moment = x.T @ x, x.T @ y
    places = np.split(np.argsort(group, kind="stable"), np.cumsum(np.bincount(group))[:-1])
    without = [np.linalg.lstsq(gram - x[g].T @ x[g], moment - x[g].T @ y[g])[0][-1] for g in places]
    spread = ((np.array(without) - fit.coefficients[-1]) ** 2).sum()
    return float(fit.coefficients[-1]), float(np.sqrt(spread * (groups - 1) / groups))

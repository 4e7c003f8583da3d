"""Could a random assignment have produced these differences between the arms? One test for all covariates together."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from causal_orchestrator.errors import NotApplicable
from causal_orchestrator.numerics.linear import independent_columns
from causal_orchestrator.results import SensitivityResult
from causal_orchestrator.sensitivity.draws import LEVEL, permuted

if TYPE_CHECKING:
    from causal_orchestrator.problem import Estimate, Problem

Floats = NDArray[np.float64]

ASYMPTOTIC_ROWS = 20_000


def analyse(
    problem: Problem,
    estimate: Estimate,
    *,
    refit: Callable[[Problem], Estimate] | None = None,
    seed: int,
    draws: int = 999,
) -> SensitivityResult:
    """Compare the joint imbalance of all covariates with that of re-drawn assignments (within strata and clusters).

    The statistic is Hansen and Bowers' d², the squared Mahalanobis length of the differences in means; its
    distribution is that over `draws` permutations of the treatment, so the p-value is exact. From 20,000 rows on,
    without strata or clusters, it is the chi-squared distribution that the permutations tend to.

    Returns
    -------
    SensitivityResult
        `value` is the statistic over the number of independent covariates (1 is what chance gives);
        ``details["p_value"]`` the test's.

    Raises
    ------
    NotApplicable
        If there are no covariates or the treatment is not binary.

    References
    ----------
    Hansen and Bowers (2008), Statistical Science 23:219, https://doi.org/10.1214/08-STS254
    """
    if problem.treatment_kind != "binary" or problem.covariates.shape[1] == 0:
        raise NotApplicable("needs covariates and a binary treatment")
    basis = _basis(problem.covariates)
    if basis.shape[1] == 0:
        raise NotApplicable("the covariates do not vary")
    observed = _distance(basis, problem.treatment)
    if problem.n >= ASYMPTOTIC_ROWS and problem.cluster is None and "strata" not in problem.roles:
        draws, expected, p = 0, float(basis.shape[1]), float(stats.chi2.sf(observed, basis.shape[1]))
    else:
        rng = np.random.default_rng(seed)
        others = np.array([_distance(basis, permuted(problem, rng)) for _ in range(draws)])
        expected, p = float(others.mean()), (1 + int((others >= observed * (1 - 1e-12)).sum())) / (1 + draws)
    passed = p >= LEVEL
    return SensitivityResult(
        method="balance_test",
        value=observed / basis.shape[1],
        interpretation=(
            f"The covariates differ jointly between the arms {observed / expected:.2f} times as much as "
            f"under random assignment on average; so much arises by chance with p = {p:.3g}."
        ),
        passed=passed,
        details={
            "p_value": p,
            "statistic": observed,
            "df": basis.shape[1],
            "draws": draws,
            "mean_under_randomisation": expected,
        },
    )


def _basis(covariates: Floats) -> Floats:
    """Return an orthonormal basis (n, r) of the centred covariates."""
    centred = covariates - covariates.mean(axis=0)
    kept = independent_columns(centred[:, np.linalg.norm(centred, axis=0) > 0])
    return np.asarray(np.linalg.qr(centred[:, np.linalg.norm(centred, axis=0) > 0][:, kept])[0])


def _distance(basis: Floats, treatment: Floats) -> float:
    """Return d²: n - 1 times the share of the treatment's variation that the covariates span."""
    centred = treatment - treatment.mean()
    projected = basis.T @ centred
    return float((len(treatment) - 1) * (projected @ projected) / (centred @ centred))

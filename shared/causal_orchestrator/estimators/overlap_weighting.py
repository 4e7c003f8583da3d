"""Compare the arms where both could have happened: weights that fade towards propensities of zero and one."""

from __future__ import annotations

import numpy as np

from causal_orchestrator.errors import DesignError, InputError
from causal_orchestrator.numerics.balance import effective_sample_size, weighting_diagnostics
from causal_orchestrator.numerics.inference import influence_covariance
from causal_orchestrator.numerics.nuisance import with_intercept
from causal_orchestrator.numerics.weighting import weighted_means
from causal_orchestrator.problem import Estimate, Problem, conclude

NOBODY = 1e-4  # mean overlap weight of an arm
FEWEST = 5.0  # effective rows of an arm


def estimate(problem: Problem, *, trim: float = 0.0, stabilized: bool = False, normalized: bool = True) -> Estimate:
    """Estimate the average effect in the overlap population (ATO).

    Treated rows weigh 1 - e(x), controls e(x), with a logit propensity, which balances the covariates' means exactly;
    with several levels 1/e_k(x) over Σ 1/e_j(x). Standard errors stack the logit's estimating equations.

    Parameters
    ----------
    trim : leave out rows with a propensity (of any level) below `trim` or above 1 - `trim`, with a note.
    stabilized : multiply the weights in ``details`` by the arm's share, which changes their scale alone.
    normalized : weights sum to one in each arm (Hájek), else they are divided by the overlap of everyone.

    Raises
    ------
    InputError
        If `trim` is out of its range (``OPTION_INVALID``).
    DesignError
        If next to no row is in the overlap (``POSITIVITY``).

    References
    ----------
    Li, Morgan & Zaslavsky (2018), https://doi.org/10.1080/01621459.2016.1260466; Li & Li (2019),
    https://doi.org/10.1214/19-AOAS1282.
    """
    if not 0 <= trim < 0.5:
        raise InputError(f"trim must lie in [0, 0.5), found {trim}", code="OPTION_INVALID", details={"option": "trim"})
    probability = problem.parametric().propensity[0]
    kept = np.asarray(((probability >= trim) & (probability <= 1 - trim)).all(axis=1))
    dropped = problem.n - int(kept.sum())
    found = weighted_means(
        with_intercept(problem.covariates),
        problem.treatment,
        problem.outcome,
        np.clip(probability, 1e-300, None),
        target="ATO",
        sampling=problem.weights,
        kept=kept if dropped else None,
        normalized=normalized,
    )
    codes = problem.treatment.astype(np.int64)
    arms = [found.weights[codes == k] for k in range(len(problem.treatment_levels))]
    if min(mine.mean() for mine in arms) < NOBODY or min(effective_sample_size(mine) for mine in arms) < FEWEST:
        raise DesignError("hardly a row could have had another treatment: there is no overlap", code="POSITIVITY")
    contrast = found.influence[:, 1:] - found.influence[:, [0]]
    return conclude(
        problem,
        method="overlap_weighting",
        estimand="ATO",
        estimates=found.means[1:] - found.means[0],
        covariance=influence_covariance(contrast, problem.cluster, of_scores=False),
        inference="stacked estimating equations" + ("" if problem.cluster is None else ", clustered"),
        diagnostics=weighting_diagnostics(
            problem.covariates, problem.treatment, problem.treatment_levels, found.weights
        ),
        details={"weights": found.weights * (np.bincount(codes) / problem.n)[codes] if stabilized else found.weights},
        notes=(f"{dropped} rows with a propensity outside [{trim:g}, {1 - trim:g}] are left out",) if dropped else (),
        influence=contrast,
        means=found.means,
        means_influence=found.influence,
    )

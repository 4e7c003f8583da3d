"""Weight each arm to the target population by the inverse of its estimated propensity."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from causal_orchestrator.errors import DesignError, InputError
from causal_orchestrator.numerics.balance import weighting_diagnostics
from causal_orchestrator.numerics.inference import influence_covariance
from causal_orchestrator.numerics.nuisance import with_intercept
from causal_orchestrator.numerics.weighting import WeightedMeans, weighted_means
from causal_orchestrator.problem import Estimate, Problem, conclude, probit

Floats = NDArray[np.float64]

UNDERFLOW = 1e-10  # a propensity of zero in all but name
FEW = 0.01  # share of rows that may have one


def estimate(
    problem: Problem,
    *,
    estimand: Literal["ATE", "ATT", "ATC"] = "ATE",
    trim: float = 0.0,
    stabilized: bool = True,
    normalized: bool = True,
    propensity: Literal["logit", "probit"] = "logit",
) -> Estimate:
    """Estimate the effect by inverse-probability weighting with a logit or probit propensity.

    Assumes no unmeasured confounding, overlap and a right propensity model. Standard errors stack the propensity's
    estimating equations under the means' and so account for the estimated propensity.

    Parameters
    ----------
    trim : leave out rows with a propensity (of any level) below `trim` or above 1 - `trim`; the estimand is then that
        of the rows kept, and a note says how many.
    stabilized : multiply weights by the arm's share. With normalised weights this changes the weights' scale alone.
    normalized : weights sum to one in each arm (Hájek), else Horvitz–Thompson.
    propensity : the model of the treatment; ``probit`` for two levels.

    Raises
    ------
    NotApplicable
        If a probit is asked for with more than two levels (``NEEDS_TWO_LEVELS``).
    DesignError
        If more than a hundredth of the rows have an estimated propensity of zero (``POSITIVITY``) and are not trimmed.

    References
    ----------
    Lunceford & Davidian (2004), https://doi.org/10.1002/sim.1903; Robins, Hernán & Brumback (2000) on stabilisation.
    """
    if not 0 <= trim < 0.5:
        raise InputError(f"trim must lie in [0, 0.5), found {trim}", code="OPTION_INVALID", details={"option": "trim"})
    link = probit(problem) if propensity == "probit" else None
    probability = problem.parametric().propensity[0]
    if link is not None:
        probability = np.column_stack([1 - link.probability, link.probability])
    inside = (probability >= trim) & (probability <= 1 - trim)
    kept = np.asarray(inside.all(axis=1))
    impossible = int((probability[kept] < UNDERFLOW).any(axis=1).sum())
    if impossible > FEW * problem.n:
        raise DesignError("some rows have an estimated propensity of zero: there is no overlap; use trim or overlap_weighting", code="POSITIVITY")  # fmt: skip
    arms = [int((kept & (problem.treatment == k)).sum()) for k in range(len(problem.treatment_levels))]
    if min(arms) < 2:
        raise DesignError(f"after trimming at {trim} an arm has {min(arms)} rows", code="POSITIVITY")
    found = [
        weighted_means(
            with_intercept(problem.covariates),
            problem.treatment,
            problem.outcome,
            np.clip(probability, UNDERFLOW, None),
            target=estimand,
            level=level,
            sampling=problem.weights,
            kept=kept,
            normalized=normalized,
            link=link,
        )
        for level in (range(1, len(problem.treatment_levels)) if estimand == "ATT" else (1,))
    ]
    dropped = problem.n - int(kept.sum())
    alone = (f"{impossible} rows could have had one treatment only; nobody stands in for them",) if impossible else ()
    left = (f"{dropped} rows with a propensity outside [{trim:g}, {1 - trim:g}] are left out",) if dropped else ()
    weights = _stabilised(problem, found[0].weights) if stabilized and estimand == "ATE" else found[0].weights
    return _concluded(problem, found, estimand, weights, left + alone)


def _concluded(
    problem: Problem, found: list[WeightedMeans], estimand: str, weights: Floats, notes: tuple[str, ...]
) -> Estimate:
    levels = len(problem.treatment_levels)
    each = found * (levels - 1) if len(found) == 1 else found
    contrast = np.column_stack([one.influence[:, k] - one.influence[:, 0] for k, one in enumerate(each, start=1)])
    return conclude(
        problem,
        method="ipw",
        estimand=estimand,
        estimates=[one.means[k] - one.means[0] for k, one in enumerate(each, start=1)],
        covariance=influence_covariance(contrast, problem.cluster, of_scores=False),
        inference="stacked estimating equations" + ("" if problem.cluster is None else ", clustered"),
        diagnostics=weighting_diagnostics(problem.covariates, problem.treatment, problem.treatment_levels, weights),
        details={"weights": weights},
        notes=notes,
        influence=contrast,
        means=found[0].means if len(found) == 1 else None,
        means_influence=found[0].influence,
    )


def _stabilised(problem: Problem, weights: Floats) -> Floats:
    shares = np.bincount(problem.treatment.astype(np.int64)) / problem.n
    return np.asarray(weights * shares[problem.treatment.astype(np.int64)])

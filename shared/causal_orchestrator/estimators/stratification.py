"""Compare the arms within strata of the propensity, or of the covariates themselves."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from causal_orchestrator.errors import DesignError, InputError
from causal_orchestrator.numerics.balance import weighting_diagnostics
from causal_orchestrator.numerics.inference import influence_covariance
from causal_orchestrator.problem import Estimate, Problem, conclude

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]


def estimate(
    problem: Problem,
    *,
    estimand: Literal["ATE", "ATT", "ATC"] = "ATE",
    strata: int | Literal["exact"] = 5,
) -> Estimate:
    """Estimate the effect by the strata's differences in means, weighted to the target population.

    Assumes no unmeasured confounding given the strata; some bias from differences within strata remains (about a
    tenth with five). Within-stratum (Neyman) variances; the propensity's estimation is not accounted for.

    Parameters
    ----------
    strata : number of quantile strata of the logit propensity (quantiles of everyone, the treated or the controls, as
        the estimand says), or ``exact``: every combination of the covariates' values.

    Notes
    -----
    Strata in which an arm has no row are left out and a note says how many rows that concerns.

    References
    ----------
    Rosenbaum & Rubin (1984), https://doi.org/10.1080/01621459.1984.10478078
    """
    if strata != "exact" and not 2 <= strata <= 1000:
        raise InputError("strata must be between 2 and 1000, or 'exact'", code="OPTION_INVALID", details={"option": "strata"})  # fmt: skip
    treated = np.asarray(problem.treatment == 1)
    stratum = _exact(problem.covariates) if strata == "exact" else _quantiles(problem, estimand, strata)
    weights = np.ones(problem.n) if problem.weights is None else problem.weights
    count = int(stratum.max()) + 1
    arms = np.stack([np.bincount(stratum, weights=a, minlength=count) for a in (~treated, treated)])
    full = np.all(arms > 0, axis=0)
    kept = full[stratum]
    if not full.any():
        raise DesignError("no stratum has rows of both arms", code="POSITIVITY")
    target = weights * kept * {"ATE": np.ones(problem.n), "ATT": treated, "ATC": ~treated}[estimand]
    share = np.bincount(stratum, weights=target, minlength=count)
    balancing = np.zeros(problem.n)
    residual = np.zeros(problem.n)
    variance, value = 0.0, 0.0
    share = share / share.sum()
    for sign, arm in ((1, treated), (-1, ~treated)):
        mass = np.bincount(stratum[arm], weights=weights[arm], minlength=count)
        total = np.bincount(stratum[arm], weights=(weights * problem.outcome)[arm], minlength=count)
        mean = np.divide(total, mass, out=np.zeros(count), where=mass > 0)
        value += sign * float(share @ mean)
        weight = np.divide(share, mass, out=np.zeros(count), where=mass > 0)[stratum] * weights * arm * kept
        balancing += weight * problem.n
        residual += sign * problem.n * weight * (problem.outcome - mean[stratum])
        size = arms[int(sign == 1)]
        inflate = np.divide(size, size - 1, out=np.ones(count), where=size > 1)[stratum]
        variance += float((weight**2 * (problem.outcome - mean[stratum]) ** 2 * inflate).sum())
    between = _spread(problem, stratum, target, share, treated, weights, value)
    influence = residual + between
    if problem.cluster is not None:
        joint = influence_covariance(influence[:, None], problem.cluster)
    else:
        joint = np.array([[variance + float((between**2).sum()) / problem.n**2]])
    lost = int((~kept).sum())
    single = int(((arms == 1).any(axis=0) & full).sum())
    notes = [f"{int((~full & (arms.sum(axis=0) > 0)).sum())} strata with {lost} rows lack an arm and are left out"] if lost else []  # fmt: skip
    if single:
        notes.append(f"{single} strata have an arm of one row, whose variance cannot be seen")
    return conclude(
        problem,
        method="stratification",
        estimand=estimand,
        estimates=[value],
        covariance=joint,
        inference="within-stratum variance" if problem.cluster is None else "influence function, clustered",
        diagnostics=weighting_diagnostics(
            problem.covariates, problem.treatment, problem.treatment_levels, np.where(balancing > 0, balancing, 0.0)
        ),
        details={"strata": int(full.sum()), "weights": balancing, "stratum": stratum},
        notes=tuple(notes),
        influence=influence[:, None],
    )


def _quantiles(problem: Problem, estimand: str, count: int) -> Codes:
    propensity = problem.parametric().propensity[0, :, 1]
    treated = problem.treatment == 1
    whose = {"ATE": propensity, "ATT": propensity[treated], "ATC": propensity[~treated]}[estimand]
    cuts = np.unique(np.quantile(whose, np.linspace(0, 1, count + 1)[1:-1]))
    return np.searchsorted(cuts, propensity, side="left").astype(np.int64)


def _exact(covariates: Floats) -> Codes:
    if covariates.shape[1] == 0:
        return np.zeros(len(covariates), dtype=np.int64)
    return np.unique(covariates, axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64)


def _spread(problem: Problem, stratum: Codes, target: Floats, share: Floats, treated: NDArray[np.bool_], weights: Floats, value: float) -> Floats:  # fmt: skip
    """How each row's stratum moves the average: target weight × (stratum's difference - average)."""
    count = len(share)
    difference = np.zeros(count)
    for sign, arm in ((1, treated), (-1, ~treated)):
        mass = np.bincount(stratum[arm], weights=weights[arm], minlength=count)
        total = np.bincount(stratum[arm], weights=(weights * problem.outcome)[arm], minlength=count)
        difference += sign * np.divide(total, mass, out=np.zeros(count), where=mass > 0)
    return np.asarray(target / target.mean() * (difference[stratum] - value))

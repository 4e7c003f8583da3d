"""Compare the arms' means."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from causal_orchestrator.errors import InputError
from causal_orchestrator.numerics.linear import CR2, errors_of, few_degrees, least_squares
from causal_orchestrator.problem import Estimate, Problem, conclude

Floats = NDArray[np.float64]

_SOURCE = {
    "welch": "Welch (Neyman) variance, t",
    "hc0": "HC0, t",
    "hc1": "HC1, t",
    "hc2": "HC2, t",
    "hc3": "HC3, t",
    "classical": "classical, t",
    "cluster": "CR1 clustered, t",
    "cr2": CR2,
}


def estimate(
    problem: Problem, *, se: Literal["welch", "hc0", "hc1", "hc2", "hc3", "classical", "cluster", "cr2"] | None = None
) -> Estimate:
    """Estimate the average effect of a randomised treatment by the difference in mean outcomes.

    Assumes random assignment. Covariates are not used. One row per level of the treatment against the reference.

    Parameters
    ----------
    se : how the standard error is obtained.
        ``welch`` (default without clusters): s₁²/n₁ + s₀²/n₀, Neyman's conservative variance, with Welch–Satterthwaite
        degrees of freedom; ``hc0`` to ``hc3``: of the regression on the arms (without weights ``hc2`` is Neyman's
        variance); ``classical``: one common variance; ``cluster`` (default with clusters): CR1; ``cr2``: bias-reduced
        with Satterthwaite's degrees of freedom, for few clusters.

    Returns
    -------
    Estimate
        The ATE in units of the outcome.

    Raises
    ------
    InputError
        If ``cluster`` or ``cr2`` is asked for without a cluster (``OPTION_INVALID``).

    References
    ----------
    Neyman (1923); Imbens & Rubin (2015), Causal Inference for Statistics, ch. 6; Imbens & Kolesár (2016),
    https://doi.org/10.1162/REST_a_00552, on CR2.
    """
    kind = se or ("welch" if problem.cluster is None else "cluster")
    if kind in ("cluster", "cr2") and problem.cluster is None:
        raise InputError(f"se={kind!r} needs a cluster column", code="OPTION_INVALID", details={"option": "se"})
    levels = np.arange(len(problem.treatment_levels))
    arms = (problem.treatment[:, None] == levels).astype(np.float64)
    counts = arms.sum(axis=0)
    weights = np.ones(problem.n) if problem.weights is None else problem.weights
    shares = arms * weights[:, None] / (arms.T @ weights)
    means = shares.T @ problem.outcome
    by_arm = problem.n * shares * (problem.outcome[:, None] - means)
    influence = by_arm[:, 1:] - by_arm[:, [0]]
    if kind == "welch" and problem.weights is None:
        variances = np.array([problem.outcome[arms[:, k] == 1].var(ddof=1) for k in levels]) / counts
        joint = np.diag(variances[1:]) + variances[0]
        df = [_welch_df(variances[[0, k]], counts[[0, k]]) for k in levels[1:]]
    else:
        design = np.column_stack([np.ones(problem.n), arms[:, 1:]])
        fit = least_squares(design, problem.outcome, problem.weights)
        errors = errors_of(fit, "hc1" if kind == "welch" else kind, levels[1:], problem.cluster)
        joint, df = errors.covariance, errors.df.tolist()
    return conclude(
        problem,
        method="difference_in_means",
        estimand="ATE",
        estimates=means[1:] - means[0],
        covariance=joint,
        df=df,
        counts=[int(counts[0] + counts[k]) for k in levels[1:]],
        inference=_SOURCE["hc1" if kind == "welch" and problem.weights is not None else kind],
        covariates=(),
        influence=influence,
        means=means,
        means_influence=by_arm,
        notes=few_degrees(np.array(df) if kind == "cr2" else None),
    )


def _welch_df(variances: Floats, counts: Floats) -> float:
    return float(variances.sum() ** 2 / (variances**2 / (counts - 1)).sum())

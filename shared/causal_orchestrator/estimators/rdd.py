"""Sharp regression discontinuity."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from causal_orchestrator.errors import NotApplicable
from causal_orchestrator.numerics import rd, rd_checks
from causal_orchestrator.problem import Estimate, Problem, conclude


def estimate(
    problem: Problem,
    *,
    bandwidth: float | None = None,
    kernel: rd.Kernel = "triangular",
    polynomial: int = 1,
    bandwidth_rule: rd.Rule = "mserd",
    donut: float = 0.0,
    covariate_adjusted: bool = False,
) -> Estimate:
    """Estimate the jump of the outcome where a running variable decides the treatment.

    Assumes that what else moves the outcome is continuous at the cutoff, and that nobody can choose the side exactly.
    Rows without a running variable are left out. Sampling weights are refused.

    Parameters
    ----------
    bandwidth : largest distance to the cutoff, in units of the running variable; chosen by `bandwidth_rule` if None.
    kernel : weight of a row by its distance.
    polynomial : order of the local polynomial, 0 to 4; the bias is estimated by one of one order more.
    bandwidth_rule : as rdrobust names them: least mean squared error with one bandwidth (``mserd``), one for each
        side (``msetwo``), of both sides' sum (``msesum``), or combined (``msecomb1``, ``msecomb2``); ``cer…`` for least
        coverage error.
    donut : rows nearer to the cutoff than this are left out.
    covariate_adjusted : the question's covariates sharpen the estimate.

    Returns
    -------
    Estimate
        The conventional estimate at the cutoff (``LATE``) in units of the outcome; its interval and standard error are
        the robust bias-corrected ones. Rows hold all three. Density test, continuity of covariates, placebo cutoffs,
        donuts and bandwidth curve are in ``diagnostics`` and ``details``.

    Raises
    ------
    NotApplicable
        Without running variable or cutoff (``NEEDS_RUNNING_VARIABLE``, ``NEEDS_CUTOFF``), with sampling weights, or
        where the cutoff does not decide the treatment alone (``NOT_SHARP``).
    DesignError
        If there are too few rows or values beside the cutoff (``NO_UNITS_NEAR_CUTOFF``, ``TOO_FEW_MASS_POINTS``).
    InputError
        If an option is out of its range (``OPTION_INVALID``).

    References
    ----------
    Calonico, Cattaneo & Titiunik (2014), https://doi.org/10.3982/ECTA11757; Cattaneo, Idrobo & Titiunik (2020),
    https://doi.org/10.1017/9781108684606.
    """
    x = rd_checks.distances(problem, bandwidth=bandwidth, polynomial=polynomial, donut=donut)
    whole, x = (problem, x) if np.isfinite(x).all() else (problem.take(np.isfinite(x)), x[np.isfinite(x)])
    right, sign = _sides(x, whole.treatment == 1)
    if donut:
        kept = np.abs(x) >= donut
        whole, x, right = whole.take(kept), x[kept], right[kept]
    setting = rd_checks.Setting(
        x, right, whole.outcome, None, whole.covariates[:, : None if covariate_adjusted else 0], whole.cluster,
        p=polynomial, kernel=kernel, rule=bandwidth_rule, bandwidth=bandwidth,
    )  # fmt: skip
    found = rd_checks.effect(setting)
    level = problem.confidence_level
    probed = rd_checks.probe(setting, found, covariates=whole.covariates, names=whole.covariate_names, level=level)
    told = conclude(
        whole,
        method="rdd",
        estimand="LATE",
        estimates=[sign * found.conventional],
        covariance=np.array([[found.robust_error**2]]),
        inference="robust bias-corrected, nearest neighbours" if whole.cluster is None else "robust bias-corrected, CR1",
        covariates=(whole.question.covariates or ()) if covariate_adjusted else (),
        diagnostics=probed.diagnostics,
        details={**probed.details, "cutoff": problem.question.cutoff, "kernel": kernel, "polynomial": polynomial, "treated_above": sign > 0},
        notes=probed.notes,
    )  # fmt: skip
    rows = tuple(told.rows[0].model_copy(update=numbers) for numbers in rd_checks.three(found, sign, level))
    return replace(told, ci_lower=rows[2].ci_lower, ci_upper=rows[2].ci_upper, p_value=rows[2].p_value, rows=rows)


def _sides(x: NDArray[np.float64], treated: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], float]:
    """Return which rows are right of the cutoff, as the treatment has it for rows exactly on it, and the effect's sign."""
    for rule in (x >= 0, x > 0):
        if np.array_equal(treated, rule):
            return treated, 1.0
        if np.array_equal(treated, ~rule):
            return ~treated, -1.0
    share = float(np.mean(treated != (x >= 0)))
    raise NotApplicable(
        f"the cutoff does not decide the treatment alone ({min(share, 1 - share):.1%} of rows contradict it); `rdd_fuzzy` is for that",
        code="NOT_SHARP",
    )

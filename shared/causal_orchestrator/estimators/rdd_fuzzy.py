"""Fuzzy regression discontinuity."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from causal_orchestrator.errors import NotApplicable
from causal_orchestrator.numerics import rd, rd_checks
from causal_orchestrator.problem import Estimate, Problem, conclude

WEAK = 10.0  # F of the treatment's jump below which the ratio's interval misleads (Feir, Lemieux & Marmer 2016)


def estimate(
    problem: Problem,
    *,
    bandwidth: float | None = None,
    kernel: rd.Kernel = "triangular",
    polynomial: int = 1,
    bandwidth_rule: rd.Rule = "mserd",
    donut: float = 0.0,
    covariate_adjusted: bool = False,
    sharpbw: bool = False,
) -> Estimate:
    """Estimate the effect of a treatment whose chance jumps where a running variable passes a cutoff.

    Assumes that what else moves the outcome is continuous at the cutoff, that nobody can choose the side exactly, and
    that passing it moves nobody's treatment against the others'. Rows without a running variable are left out. Sampling
    weights are refused.

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
    sharpbw : choose the bandwidth for the outcome's own jump; else, as rdrobust does, for the ratio of both, which
        depends on the outcome's origin.

    Returns
    -------
    Estimate
        The ratio of both jumps: the effect at the cutoff on those whose treatment it moves (``LATE``), in units of the
        outcome per unit of treatment; interval and standard error are the robust bias-corrected ones. The first stage
        is in ``diagnostics``, with the same checks as `rdd`.

    Raises
    ------
    NotApplicable
        Without running variable or cutoff (``NEEDS_RUNNING_VARIABLE``, ``NEEDS_CUTOFF``), with sampling weights, or
        where the cutoff decides the treatment alone (``NOT_FUZZY``).
    DesignError
        If there are too few rows or values beside the cutoff (``NO_UNITS_NEAR_CUTOFF``, ``TOO_FEW_MASS_POINTS``), or
        the treatment does not change there (``NO_JUMP``).
    InputError
        If an option is out of its range (``OPTION_INVALID``).

    References
    ----------
    Hahn, Todd & Van der Klaauw (2001), https://doi.org/10.1111/1468-0262.00183; Calonico, Cattaneo & Titiunik (2014),
    https://doi.org/10.3982/ECTA11757.
    """
    x = rd_checks.distances(problem, bandwidth=bandwidth, polynomial=polynomial, donut=donut)
    whole, x = (problem, x) if np.isfinite(x).all() else (problem.take(np.isfinite(x)), x[np.isfinite(x)])
    right = x >= 0
    if any(np.array_equal(whole.treatment == 1, rule) for rule in (x >= 0, x > 0, x < 0, x <= 0)):
        raise NotApplicable("the cutoff decides the treatment alone; `rdd` is for that", code="NOT_FUZZY")
    if donut:
        kept = np.abs(x) >= donut
        whole, x, right = whole.take(kept), x[kept], right[kept]
    setting = rd_checks.Setting(
        x, right, whole.outcome, whole.treatment, whole.covariates[:, : None if covariate_adjusted else 0], whole.cluster,
        p=polynomial, kernel=kernel, rule=bandwidth_rule, bandwidth=bandwidth, sharpbw=sharpbw,
    )  # fmt: skip
    found = rd_checks.effect(setting)
    level = problem.confidence_level
    probed = rd_checks.probe(setting, found, covariates=whole.covariates, names=whole.covariate_names, level=level)
    first, error, robust = found.first_stage or (1.0, 0.0, 0.0)
    stage = {"jump": first, "std_error": error, "robust_error": robust}
    value = (first / error) ** 2 if error > 0 else np.inf
    strength = {"value": value, "threshold": WEAK, "passed": value >= WEAK}
    weak = (
        () if value >= WEAK else (f"the treatment hardly jumps at the cutoff (F {value:.3g}): the interval misleads",)
    )
    told = conclude(
        whole,
        method="rdd_fuzzy",
        estimand="LATE",
        estimates=[found.conventional],
        covariance=np.array([[found.robust_error**2]]),
        inference="robust bias-corrected, nearest neighbours" if whole.cluster is None else "robust bias-corrected, CR1",
        covariates=(whole.question.covariates or ()) if covariate_adjusted else (),
        diagnostics={"first_stage_F": strength, **probed.diagnostics},
        details={**probed.details, "cutoff": problem.question.cutoff, "kernel": kernel, "polynomial": polynomial, "first_stage": stage},
        notes=(*probed.notes, *weak),
    )  # fmt: skip
    rows = tuple(told.rows[0].model_copy(update=numbers) for numbers in rd_checks.three(found, 1.0, level))
    return replace(told, ci_lower=rows[2].ci_lower, ci_upper=rows[2].ci_upper, p_value=rows[2].p_value, rows=rows)

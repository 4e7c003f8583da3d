"""Limited-information maximum likelihood."""

from __future__ import annotations

from typing import Literal

import numpy as np

from causal_orchestrator.errors import InputError
from causal_orchestrator.numerics import iv
from causal_orchestrator.problem import Estimate, Problem, conclude


def estimate(
    problem: Problem, *, se: Literal["classical", "hc0", "hc1", "cluster"] | None = None, fuller: float = 0.0
) -> Estimate:
    """Estimate the effect of a treatment that instruments move, by limited-information maximum likelihood.

    Assumes what two-stage least squares does, and is less biased than it where instruments are many or weak. With one
    instrument and ``fuller=0`` both are the same. Rows without an instrument are left out.

    Parameters
    ----------
    se : how the standard error is obtained; HC1 by default, CR1 with clusters; ``hc0`` is HC1 without its factor
        n/(n - k), as Stata's ivregress has it.
    fuller : Fuller's constant, at least zero; 1 makes the estimator nearly unbiased and gives it moments.

    Returns
    -------
    Estimate
        As `iv_2sls` returns it; κ is in ``details``.

    Raises
    ------
    NotApplicable
        Without instruments (``NEEDS_INSTRUMENTS``).
    DesignError
        If an instrument is constant or explained by covariates (``INSTRUMENT_CONSTANT``, ``INSTRUMENT_COLLINEAR``).
    InputError
        If `fuller` is negative or ``cluster`` is asked for without a cluster (``OPTION_INVALID``).

    References
    ----------
    Anderson & Rubin (1949), https://doi.org/10.1214/aoms/1177730090; Fuller (1977), https://doi.org/10.2307/1912683.
    """
    if not 0 <= fuller < float("inf"):
        raise InputError(f"fuller must be at least 0, found {fuller}", code="OPTION_INVALID", details={"option": "fuller"})  # fmt: skip
    if se == "cluster" and problem.cluster is None:
        raise InputError("se='cluster' needs a cluster column", code="OPTION_INVALID", details={"option": "se"})
    kind = se or ("hc1" if problem.cluster is None else "cluster")
    complete = iv.complete_rows(problem)
    whole = problem if complete.all() else problem.take(complete)
    data = iv.partial_out(whole, problem.question.instruments)
    fit = iv.k_class(data, kappa=iv.liml_kappa(data, fuller=fuller), kind=kind)
    told = iv.report(whole, data, fit, kind=kind, level=problem.confidence_level, lost=problem.n - whole.n)
    return conclude(
        whole,
        method="iv_liml",
        estimand=told.estimand,
        estimates=[fit.coefficient],
        covariance=np.array([[fit.variance]]),
        df=fit.df,
        inference=iv.SOURCE[kind],
        diagnostics=told.diagnostics,
        details=told.details,
        notes=told.notes,
        influence=fit.influence,
    )

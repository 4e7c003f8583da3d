"""Two-step generalised method of moments."""

from __future__ import annotations

from typing import Literal

import numpy as np

from causal_orchestrator.errors import InputError
from causal_orchestrator.numerics import iv
from causal_orchestrator.problem import Estimate, Problem, conclude


def estimate(problem: Problem, *, se: Literal["classical", "hc0", "hc1", "cluster"] | None = None) -> Estimate:
    """Estimate the effect of a treatment that instruments move, by two-step efficient GMM.

    Assumes what two-stage least squares does. With several instruments and unequal variances the weights make it more
    precise; with one instrument both are the same. Rows without an instrument are left out.

    Parameters
    ----------
    se : which variance of the moments both the weights and the standard error use; HC1 by default, CR1 with clusters.

    Returns
    -------
    Estimate
        As `iv_2sls` returns it; Hansen's J is in ``diagnostics``.

    Raises
    ------
    NotApplicable
        Without instruments (``NEEDS_INSTRUMENTS``).
    DesignError
        If an instrument is constant or explained by covariates (``INSTRUMENT_CONSTANT``, ``INSTRUMENT_COLLINEAR``),
        or there are fewer clusters than instruments (``TOO_FEW_CLUSTERS``).
    InputError
        If ``cluster`` is asked for without a cluster (``OPTION_INVALID``).

    References
    ----------
    Hansen (1982), https://doi.org/10.2307/1912775.
    """
    if se == "cluster" and problem.cluster is None:
        raise InputError("se='cluster' needs a cluster column", code="OPTION_INVALID", details={"option": "se"})
    kind = se or ("hc1" if problem.cluster is None else "cluster")
    complete = iv.complete_rows(problem)
    whole = problem if complete.all() else problem.take(complete)
    data = iv.partial_out(whole, problem.question.instruments)
    fit = iv.gmm(data, kind=kind)
    told = iv.report(whole, data, fit, kind=kind, level=problem.confidence_level, lost=problem.n - whole.n)
    return conclude(
        whole,
        method="iv_gmm",
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

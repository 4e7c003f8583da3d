"""Two-stage least squares."""

from __future__ import annotations

from typing import Literal

import numpy as np

from causal_orchestrator.errors import InputError
from causal_orchestrator.numerics import iv
from causal_orchestrator.problem import Estimate, Problem, conclude


def estimate(problem: Problem, *, se: Literal["classical", "hc0", "hc1", "cluster"] | None = None) -> Estimate:
    """Estimate the effect of a treatment that instruments move, by two-stage least squares.

    Assumes that the instruments are as good as random given the covariates, move the outcome through the treatment
    alone, move it at all, and move nobody's treatment against the others'. Rows without an instrument are left out.

    Parameters
    ----------
    se : how the standard error is obtained; HC1 by default, CR1 with clusters; ``hc0`` is HC1 without its factor
        n/(n - k), as Stata's ivregress has it.

    Returns
    -------
    Estimate
        The LATE where the treatment is binary and covariates are none or saturated, else the weighted effect
        ``WLATE``, in units of the outcome per unit of treatment. First stage, Anderson–Rubin set, tF interval and the
        compliers' profile are in ``details``.

    Raises
    ------
    NotApplicable
        Without instruments (``NEEDS_INSTRUMENTS``).
    DesignError
        If an instrument is constant or explained by covariates (``INSTRUMENT_CONSTANT``, ``INSTRUMENT_COLLINEAR``).
    InputError
        If ``cluster`` is asked for without a cluster (``OPTION_INVALID``).

    References
    ----------
    Theil (1953); Imbens & Angrist (1994), https://doi.org/10.2307/2951620; Blandhol, Bonney, Mogstad & Torgovitsky
    (2022), https://doi.org/10.3386/w29709, for the label.
    """
    if se == "cluster" and problem.cluster is None:
        raise InputError("se='cluster' needs a cluster column", code="OPTION_INVALID", details={"option": "se"})
    kind = se or ("hc1" if problem.cluster is None else "cluster")
    complete = iv.complete_rows(problem)
    whole = problem if complete.all() else problem.take(complete)
    data = iv.partial_out(whole, problem.question.instruments)
    fit = iv.k_class(data, kappa=1.0, kind=kind)
    told = iv.report(whole, data, fit, kind=kind, level=problem.confidence_level, lost=problem.n - whole.n)
    return conclude(
        whole,
        method="iv_2sls",
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

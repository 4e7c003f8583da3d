"""Instrumental variables on what learned covariates leave of outcome, treatment and instrument."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from causal_orchestrator.numerics import iv, nuisance
from causal_orchestrator.numerics.inference import median_over_repeats
from causal_orchestrator.numerics.orthogonal_iv import instruments_given_covariates, partially_linear
from causal_orchestrator.problem import Estimate, Problem, conclude

Floats = NDArray[np.float64]


def estimate(
    problem: Problem,
    *,
    learners: Sequence[str] | None = None,
    folds: int | None = None,
    repeats: int | None = None,
) -> Estimate:
    """Estimate the coefficient of the treatment in the partially linear model with instruments (PLIV).

    Assumes that the instruments are as good as random given the covariates and move the outcome through the treatment
    alone. Rows without an instrument are left out. The estimand weights effects by how much the instrument moves the
    treatment (labelled WLATE).

    Parameters
    ----------
    learners, folds, repeats : see `numerics.nuisance.recipe`.

    Raises
    ------
    NotApplicable
        Without instruments (``NEEDS_INSTRUMENTS``).
    DesignError
        If an instrument has one value (``INSTRUMENT_CONSTANT``), or nothing is left of it beside the covariates.
    EstimationError
        If what is left of the instrument does not move the treatment (``INSTRUMENT_WEAK``).

    References
    ----------
    Chernozhukov et al. (2018), https://doi.org/10.1111/ectj.12097, section 4.2. First stage, Anderson–Rubin set and tF
    are those of `iv_2sls` on the residuals.
    """
    complete = iv.complete_rows(problem)
    whole = problem if complete.all() else problem.take(complete)
    instruments = iv.instrument_numbers(whole.roles["instruments"], whole.question.instruments)
    how = nuisance.recipe(whole.n, learners=learners, folds=folds, repeats=repeats)
    found = whole.learned(learners=learners, folds=folds, repeats=repeats)
    left = instruments - instruments_given_covariates(whole, instruments, how)
    weights = np.ones(whole.n) if whole.weights is None else whole.weights
    each = [
        partially_linear(whole.outcome - found.outcome[r], whole.treatment - found.treatment[r], left[r], weights)
        for r in range(how.repeats)
    ]
    joined = median_over_repeats(np.array([[v] for v, _ in each]), np.array([i for _, i in each]), whole.cluster)
    kind: iv.Covariance = "hc1" if whole.cluster is None else "cluster"
    root = np.sqrt(weights)
    residuals = iv.Partialled(
        root * (whole.outcome - found.m), root * (whole.treatment - found.treatment.mean(axis=0)),
        root[:, None] * left.mean(axis=0), 1, whole.cluster,
    )  # fmt: skip
    told = iv.report(whole, residuals, iv.k_class(residuals, kappa=1.0, kind=kind), kind=kind, level=whole.confidence_level, lost=problem.n - whole.n)  # fmt: skip
    return conclude(
        whole,
        method="double_ml_iv",
        estimand="WLATE",
        estimates=joined.estimates,
        covariance=joined.covariance,
        inference="influence function" + ("" if whole.cluster is None else ", clustered"),
        diagnostics=told.diagnostics,
        details={
            **told.details,
            "learners": dict(found.learners),
            "repeats": how.repeats,
            "folds": int(found.fold.max()) + 1,
        },
        notes=told.notes,
        influence=joined.influence,
    )

"""How strong a hidden common cause of instrument and outcome must be to overturn the conclusion."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from causal_orchestrator.errors import NotApplicable
from causal_orchestrator.numerics import iv
from causal_orchestrator.results import SensitivityResult

if TYPE_CHECKING:
    from causal_orchestrator.problem import Estimate, Problem


def analyse(
    problem: Problem,
    estimate: Estimate,
    *,
    refit: Callable[[Problem], Estimate] | None = None,
    seed: int = 0,
    robustness: Callable[[Problem, Estimate], SensitivityResult],
) -> SensitivityResult:
    """Ask of the instrument's own effect on the outcome what is asked of a treatment that was not randomised.

    A test that the effect is zero is a test that the reduced form is: what explains the reduced form away explains the
    effect away (Anderson and Rubin). Several instruments are taken as the one combination that predicts the treatment
    best. Passes if a hidden common cause as strong as the strongest covariate would change nothing.

    Parameters
    ----------
    robustness : the analysis `robustness_value`.

    Returns
    -------
    SensitivityResult
        As `robustness_value`, for the reduced form.

    Raises
    ------
    NotApplicable
        If there are no covariates.

    References
    ----------
    Cinelli & Hazlett (2025), https://doi.org/10.1093/biomet/asaf004.
    """
    if not problem.covariates.shape[1]:
        raise NotApplicable("needs covariates to benchmark a confounder against")
    complete = iv.complete_rows(problem)
    whole = problem if complete.all() else problem.take(complete)
    instruments = iv.instrument_numbers(whole.roles["instruments"], problem.question.instruments)
    if instruments.shape[1] > 1:
        design = np.column_stack([np.ones(whole.n), instruments, whole.covariates])
        first = np.linalg.lstsq(design, whole.treatment, rcond=None)[0][1 : 1 + instruments.shape[1]]
        instruments = (instruments @ first)[:, None]
    found = robustness(whole.change(treatment=instruments[:, 0]), replace(estimate, method="reduced_form"))
    told = "For the instrument's own effect on the outcome: " + found.interpretation
    return found.model_copy(update={"method": "instrument_confounding", "interpretation": told})

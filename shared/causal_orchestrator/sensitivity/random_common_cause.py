"""Add a covariate of pure noise: a sound estimate does not move."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from causal_orchestrator.errors import NotApplicable
from causal_orchestrator.results import SensitivityResult
from causal_orchestrator.sensitivity.draws import over, summary

if TYPE_CHECKING:
    from causal_orchestrator.problem import Estimate, Problem

# Noise moves a least-squares estimate by about 1/sqrt(n) standard errors; a quarter means an unstable method.
MAX_SHIFT = 0.25


def analyse(
    problem: Problem, estimate: Estimate, *, refit: Callable[[Problem], Estimate], seed: int, draws: int = 10
) -> SensitivityResult:
    """Refit with a standard normal covariate added, `draws` times.

    Passes if the mean absolute shift is at most a quarter of the standard error.

    Returns
    -------
    SensitivityResult
        `value` is the mean absolute shift in standard errors; ``details`` the distribution of the estimates.

    Raises
    ------
    NotApplicable
        If the method has no standard error to measure the shift by, or does not use covariates.
    """
    if not estimate.std_error:
        raise NotApplicable("the estimate has no standard error to measure a shift by")
    found = over(_noisy(problem, np.random.default_rng(seed), draws), refit)
    shifts = np.abs(found.estimates - estimate.estimate) / estimate.std_error
    if not np.any(shifts > 0):
        raise NotApplicable(f"{estimate.method} does not use covariates, so a further one cannot move it")
    shift = float(shifts.mean())
    passed = shift <= MAX_SHIFT
    return SensitivityResult(
        method="random_common_cause",
        value=shift,
        interpretation=(
            f"A random covariate moves the estimate by {shift:.2g} standard errors on average, "
            f"{'within' if passed else 'beyond'} the {MAX_SHIFT:g} that are allowed."
        ),
        passed=passed,
        details={
            **summary(found.estimates),
            "estimate": estimate.estimate,
            "max_shift": float(shifts.max()),
            "threshold": MAX_SHIFT,
            "failed": found.failed,
        },
    )


def _noisy(problem: Problem, rng: np.random.Generator, draws: int) -> Iterator[Problem]:
    for _ in range(draws):
        noise = rng.standard_normal(problem.n)
        yield problem.change(
            covariates=np.column_stack([problem.covariates, noise]),
            covariate_names=(*problem.covariate_names, "random common cause"),
            covariate_sources=(*problem.covariate_sources, "random common cause"),
        )

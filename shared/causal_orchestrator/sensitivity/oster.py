"""How much more selection on unobservables than on observables would explain the linear estimate away (Oster)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from causal_orchestrator.errors import NotApplicable
from causal_orchestrator.numerics.linear import least_squares
from causal_orchestrator.results import SensitivityResult, finite

if TYPE_CHECKING:
    from causal_orchestrator.problem import Estimate, Problem

Floats = NDArray[np.float64]

R2_MULTIPLE = 1.3  # Oster's bound on R² if everything were observed, as a multiple of the controlled regression's
ROBUST = 1.0  # equal selection


@dataclass(frozen=True)
class Moments:
    """What the formulas take: the effect without and with controls, both R², and the variances (Oster's notation).

    `sigma_yy` and `sigma_xx` are the variances of outcome and treatment, `tau_x` that of the treatment given the
    controls.
    """

    beta_short: float
    r2_short: float
    beta_long: float
    r2_long: float
    sigma_yy: float
    sigma_xx: float
    tau_x: float


def analyse(
    problem: Problem,
    estimate: Estimate,
    *,
    refit: Callable[[Problem], Estimate] | None = None,
    seed: int = 0,
    r2_multiple: float = R2_MULTIPLE,
) -> SensitivityResult:
    """Compute Oster's delta for an effect of zero, and the effect under equal selection.

    About the linear regression of outcome on treatment and covariates, which stands beside the headline where that is
    another method's. No gate: delta compares with observed covariates whose choice is the analyst's.

    Returns
    -------
    SensitivityResult
        `value` is delta. ``details``: `beta_star` (the bias-adjusted effect at delta = 1 that is nearest to the
        controlled one), `r2_max`, and the moments.

    Raises
    ------
    NotApplicable
        If there are no covariates, or they explain nothing or everything.

    References
    ----------
    Oster (2019), Journal of Business & Economic Statistics 37:187, Propositions 2 and 3,
    https://doi.org/10.1080/07350015.2016.1227711
    """
    if problem.covariates.shape[1] == 0:
        raise NotApplicable("needs covariates to compare unobserved selection with")
    moments = _moments(problem)
    r2_max = min(1.0, r2_multiple * moments.r2_long)
    if not moments.r2_short < moments.r2_long < r2_max or not moments.tau_x > 0:
        raise NotApplicable("the covariates explain nothing of the outcome, or everything")
    value = delta(moments, r2_max)
    star = beta_star(moments, r2_max)
    return SensitivityResult(
        method="oster",
        value=finite(value),
        interpretation=_sentence(value, star, r2_max),
        passed=None,
        details={**vars(moments), "r2_max": r2_max, "beta_star": star, "delta": finite(value)},
    )


def delta(moments: Moments, r2_max: float, beta: float = 0.0) -> float:
    """Return the relative degree of selection at which the effect is `beta` (Proposition 3)."""
    m = moments
    gap, moved = m.beta_long - beta, m.beta_short - m.beta_long
    room, gained = (r2_max - m.r2_long) * m.sigma_yy, (m.r2_long - m.r2_short) * m.sigma_yy
    shared = 2 * gap**2 * m.tau_x * moved * m.sigma_xx + gap**3 * (m.tau_x * m.sigma_xx - m.tau_x**2)
    top = gap * gained * m.tau_x + gap * m.sigma_xx * m.tau_x * moved**2 + shared
    bottom = (
        room * moved * m.sigma_xx
        + gap * room * (m.sigma_xx - m.tau_x)
        + gap**2 * m.tau_x * moved * m.sigma_xx
        + gap**3 * (m.tau_x * m.sigma_xx - m.tau_x**2)
    )
    return top / bottom if bottom != 0 else float("inf")


def beta_star(moments: Moments, r2_max: float) -> float:
    """Return the effect under equal selection: of the solutions of delta(beta) = 1, that nearest to the controlled effect.

    With delta = 1 the cubic terms cancel (Proposition 2's quadratic): with nu = beta_long - beta,
    ``nu² tau moved sigma + nu (gained tau + sigma tau moved² - room (sigma - tau)) - room moved sigma = 0``.
    """
    m = moments
    moved = m.beta_short - m.beta_long
    room, gained = (r2_max - m.r2_long) * m.sigma_yy, (m.r2_long - m.r2_short) * m.sigma_yy
    square = m.tau_x * moved * m.sigma_xx
    line = gained * m.tau_x + m.sigma_xx * m.tau_x * moved**2 - room * (m.sigma_xx - m.tau_x)
    constant = -room * moved * m.sigma_xx
    if square == 0:
        return m.beta_long + (constant / line if line else 0.0)
    roots = np.roots([square, line, constant])
    real = roots[np.abs(roots.imag) < 1e-9 * (1 + np.abs(roots.real))].real
    nu = min(real, key=abs)
    return float(m.beta_long - nu)


def _moments(problem: Problem) -> Moments:
    ones = np.ones((problem.n, 1))
    y, d, w = problem.outcome, problem.treatment, problem.weights
    base = np.column_stack([ones, problem.covariates])
    short = least_squares(np.column_stack([ones, d]), y, w)
    long = least_squares(np.column_stack([base, d]), y, w)
    first = least_squares(base, d, w)
    sigma_yy, sigma_xx = (
        _variance(least_squares(ones, y, w).residuals, w),
        _variance(least_squares(ones, d, w).residuals, w),
    )
    return Moments(
        beta_short=float(short.coefficients[1]),
        r2_short=1 - _variance(short.residuals, w) / sigma_yy,
        beta_long=float(long.coefficients[-1]),
        r2_long=1 - _variance(long.residuals, w) / sigma_yy,
        sigma_yy=sigma_yy,
        sigma_xx=sigma_xx,
        tau_x=_variance(first.residuals, w),
    )


def _variance(residuals: Floats, weights: Floats | None) -> float:
    return float(np.average(residuals**2, weights=weights))


def _sentence(value: float, star: float, r2_max: float) -> str:
    if not np.isfinite(value) or value < 0:
        share = "No selection on unobservables in the direction of the observed one"
    else:
        share = f"Selection on unobservables {value:.2f} times that on the covariates"
    return (
        f"{share} would bring the linear estimate to zero (largest R² {r2_max:.2f}); under equal selection it is "
        f"{star:.4g}."
    )

"""How strong an unobserved confounder must be, in partial R², to overturn the linear estimate (Cinelli and Hazlett)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from causal_orchestrator.errors import NotApplicable
from causal_orchestrator.numerics.inference import bracket
from causal_orchestrator.numerics.linear import LeastSquares, covariance, least_squares
from causal_orchestrator.question import shown
from causal_orchestrator.results import SensitivityResult, finite

if TYPE_CHECKING:
    from causal_orchestrator.problem import Estimate, Problem

Floats = NDArray[np.float64]

MULTIPLES = (1, 2, 3)
GRID = 25


@dataclass(frozen=True)
class Bound:
    """What a confounder `multiple` times as strong as `covariate` would do (partial R² in [0, 1])."""

    covariate: str
    multiple: float
    r2_treatment: float
    r2_outcome: float
    estimate: float
    std_error: float
    t: float


@dataclass(frozen=True)
class Companion:
    """The linear regression beside the headline: effect, classical standard error, and partial R² of each covariate.

    A categorical covariate is one benchmark, however many columns encode it.
    """

    estimate: float
    std_error: float
    dof: int
    names: tuple[str, ...]
    r2_outcome: Floats
    r2_treatment: Floats


def analyse(
    problem: Problem, estimate: Estimate, *, refit: Callable[[Problem], Estimate] | None = None, seed: int = 0
) -> SensitivityResult:
    """Compute robustness values of the linear companion, benchmarked against the observed covariates.

    The companion is OLS of outcome on treatment and covariates with classical standard errors; the numbers are about
    it, also where the headline is another method's. Passes if a confounder as strong as the strongest observed
    covariate would leave the sign and the significance of the effect as they are. Where the effect is not
    distinguishable from zero to begin with there is nothing to be explained away and no gate.

    Returns
    -------
    SensitivityResult
        `value` is RV (q = 1). ``details``: `rv_alpha`, `r2_treatment_outcome`, `bounds` (per covariate and multiple),
        `breakdown` (how many times as strong as each covariate a confounder must be to bring the estimate to zero),
        `contours` (grid of adjusted estimates and t values over both partial R²).

    Raises
    ------
    NotApplicable
        If there are no covariates, or more columns than rows allow.

    References
    ----------
    Cinelli and Hazlett (2020), JRSS B 82:39, https://doi.org/10.1111/rssb.12348
    """
    fit = companion(problem)
    alpha = 1 - estimate.confidence_level
    t = fit.estimate / fit.std_error
    rv = robustness_value(t=t, dof=fit.dof)
    rv_alpha = robustness_value(t=t, dof=fit.dof, alpha=alpha)
    bounds = [bound for k in MULTIPLES for bound in _benchmarks(fit, float(k))]
    strongest = _strongest([bound for bound in bounds if bound.multiple == 1])
    critical = float(stats.t.ppf(1 - alpha / 2, fit.dof - 1))
    passed = None if abs(t) < critical or strongest is None else _stands(strongest, fit.estimate, critical)
    return SensitivityResult(
        method="robustness_value",
        value=rv,
        interpretation=_sentence(rv, rv_alpha, alpha, strongest, passed),
        passed=passed,
        details={
            "rv": rv,
            "rv_alpha": rv_alpha,
            "alpha": alpha,
            "r2_treatment_outcome": t**2 / (t**2 + fit.dof),
            "companion": {"estimate": fit.estimate, "std_error": fit.std_error, "dof": fit.dof, "t": t},
            "strongest": None if strongest is None else strongest.covariate,
            "bounds": [vars(bound) for bound in bounds],
            "breakdown": breakdown(fit),
            "contours": _contours(fit, bounds),
        },
    )


def robustness_value(*, t: float, dof: int, q: float = 1.0, alpha: float | None = None) -> float:
    """Return the partial R² with both treatment and outcome that reduces the estimate by 100 q per cent.

    With `alpha`, that which makes the reduced effect no longer significant at that level (their section 4.2, with the
    exact value where the confounder's share of the treatment binds).
    """
    f = q * abs(t) / math.sqrt(dof)
    critical = 0.0 if alpha is None else float(stats.t.ppf(1 - alpha / 2, dof - 1)) / math.sqrt(dof - 1)
    excess = f - critical
    if excess <= 0:
        return 0.0
    if critical > 0 and f > 1 / critical:
        return (f**2 - critical**2) / (1 + f**2)
    return 0.5 * (math.sqrt(excess**4 + 4 * excess**2) - excess**2)


def adjusted(
    *, estimate: float, std_error: float, dof: int, r2_treatment: float, r2_outcome: float
) -> tuple[float, float]:
    """Return effect and standard error after a confounder of given partial R² (their equations 12 and 13).

    The confounder is taken to work against the estimate: it moves it towards, and past, zero.
    """
    bias = std_error * math.sqrt(dof * r2_outcome * r2_treatment / (1 - r2_treatment))
    moved = math.copysign(1.0, estimate) * (abs(estimate) - bias)
    error = std_error * math.sqrt((1 - r2_outcome) / (1 - r2_treatment) * dof / (dof - 1))
    return moved, error


def benchmark(*, r2_treatment: float, r2_outcome: float, multiple: float) -> tuple[float, float] | None:
    """Return the partial R² of a confounder `multiple` times as strong as a covariate with the given ones.

    None where that much confounding is impossible (the shares would exceed one). Their section 4.4, equation 21.
    """
    if multiple * r2_treatment / (1 - r2_treatment) >= 1 or r2_outcome >= 1:
        return None
    shared = multiple * r2_treatment**2 / ((1 - multiple * r2_treatment) * (1 - r2_treatment))
    if shared >= 1:
        return None
    eta = (math.sqrt(multiple) + math.sqrt(shared)) / math.sqrt(1 - shared)
    outcome = eta**2 * r2_outcome / (1 - r2_outcome)
    return multiple * r2_treatment / (1 - r2_treatment), min(outcome, 1.0)


def companion(problem: Problem) -> Companion:
    """Fit outcome and treatment on the covariates by least squares and keep what the formulas need.

    Raises
    ------
    NotApplicable
        If there are no covariates, or they leave no variation of the treatment or no degrees of freedom.
    """
    x = problem.covariates
    if x.shape[1] == 0:
        raise NotApplicable("needs covariates to benchmark a confounder against")
    base = np.column_stack([np.ones(problem.n), x])
    long = least_squares(np.column_stack([base, problem.treatment]), problem.outcome, problem.weights)
    first = least_squares(base, problem.treatment, problem.weights)
    last = base.shape[1]
    dof = problem.n - len(long.kept)
    if dof < 2 or last not in long.kept:
        raise NotApplicable("the covariates leave no variation of the treatment, or no degrees of freedom")
    sources = dict.fromkeys(problem.covariate_sources)
    groups = [[i + 1 for i, s in enumerate(problem.covariate_sources) if s == source] for source in sources]
    return Companion(
        estimate=float(long.coefficients[last]),
        std_error=float(np.sqrt(covariance(long, "classical")[last, last])),
        dof=dof,
        names=tuple(sources),
        r2_outcome=np.array([_partial_r2(long, group) for group in groups]),
        r2_treatment=np.array([_partial_r2(first, group) for group in groups]),
    )


def _partial_r2(fit: LeastSquares, group: list[int]) -> float:
    """Return the partial R² of some regressors together, from their Wald statistic (t² for a single one)."""
    kept = [i for i in group if i in fit.kept]
    if not kept:
        return 0.0
    beta = fit.coefficients[kept]
    wald = float(beta @ np.linalg.solve(covariance(fit, "classical")[np.ix_(kept, kept)], beta))
    return wald / (wald + len(fit.residuals) - len(fit.kept))


def breakdown(fit: Companion) -> dict[str, float]:
    """Return per covariate how many times as strong a confounder must be to bring the estimate to zero.

    A covariate is left out where no possible multiple does (HON-6). Solved by bisection: the bias grows with k.
    """
    found = {}
    for name, r2_d, r2_y in zip(fit.names, fit.r2_treatment, fit.r2_outcome, strict=True):
        multiple = _tipping_multiple(fit, float(r2_d), float(r2_y))
        if multiple is not None:
            found[name] = multiple
    return found


def _tipping_multiple(fit: Companion, r2_treatment: float, r2_outcome: float) -> float | None:
    if r2_treatment <= 0 or r2_outcome <= 0:
        return None
    overturns, most = partial(_overturns, fit, r2_treatment, r2_outcome), (1 - r2_treatment) / r2_treatment * (1 - 1e-9)
    if not overturns(most):
        return None
    high = bracket(overturns, 0.0, most, steps=60)[1]
    possible = benchmark(r2_treatment=r2_treatment, r2_outcome=r2_outcome, multiple=high)
    return None if possible is None else high


def _overturns(fit: Companion, r2_treatment: float, r2_outcome: float, multiple: float) -> bool:
    """Say whether that much confounding brings the estimate to zero, or is more than there can be."""
    strength = benchmark(r2_treatment=r2_treatment, r2_outcome=r2_outcome, multiple=multiple)
    if strength is None:
        return True
    moved, _ = adjusted(
        estimate=fit.estimate, std_error=fit.std_error, dof=fit.dof, r2_treatment=strength[0], r2_outcome=strength[1]
    )
    return moved * fit.estimate <= 0


def _benchmarks(fit: Companion, multiple: float) -> list[Bound]:
    found = []
    for name, r2_d, r2_y in zip(fit.names, fit.r2_treatment, fit.r2_outcome, strict=True):
        strength = benchmark(r2_treatment=float(r2_d), r2_outcome=float(r2_y), multiple=multiple)
        if strength is None:
            continue
        moved, error = adjusted(
            estimate=fit.estimate, std_error=fit.std_error, dof=fit.dof,
            r2_treatment=strength[0], r2_outcome=strength[1],
        )  # fmt: skip
        t = moved / error if error > 0 else 0.0
        found.append(Bound(name, multiple, strength[0], strength[1], moved, error, t))
    return found


def _strongest(bounds: list[Bound]) -> Bound | None:
    """Return the benchmark that moves the estimate most."""
    return max(bounds, key=lambda bound: bound.r2_outcome * bound.r2_treatment, default=None)


def _stands(bound: Bound, estimate: float, critical: float) -> bool:
    return bound.estimate * estimate > 0 and abs(bound.t) > critical


def _contours(fit: Companion, bounds: list[Bound]) -> Mapping[str, Any]:
    """Return adjusted estimates and t values over a grid that holds every benchmark and the robustness value."""
    rv = robustness_value(t=fit.estimate / fit.std_error, dof=fit.dof)
    top_d = min(0.95, 1.2 * max([rv, *(b.r2_treatment for b in bounds)]))
    top_y = min(0.95, 1.2 * max([rv, *(b.r2_outcome for b in bounds)]))
    along_d = np.linspace(0.0, max(top_d, 0.05), GRID)
    along_y = np.linspace(0.0, max(top_y, 0.05), GRID)
    cells = [
        [
            adjusted(
                estimate=fit.estimate, std_error=fit.std_error, dof=fit.dof, r2_treatment=float(d), r2_outcome=float(y)
            )
            for d in along_d
        ]
        for y in along_y
    ]
    return {
        "r2_treatment": [float(v) for v in along_d],
        "r2_outcome": [float(v) for v in along_y],
        "estimate": [[finite(cell[0]) for cell in row] for row in cells],
        "t": [[finite(cell[0] / cell[1]) for cell in row] for row in cells],
    }


def _sentence(rv: float, rv_alpha: float, alpha: float, strongest: Bound | None, passed: bool | None) -> str:
    text = (
        f"Unobserved confounders that explain {rv:.1%} of the remaining variation of both treatment and outcome would "
        f"bring the linear estimate to zero; {rv_alpha:.1%} would make it indistinguishable from zero at the "
        f"{alpha:.0%} level."
    )
    if strongest is None or passed is None:
        return text
    ending = "would leave the conclusion as it is" if passed else "would overturn the conclusion"
    return f"{text} One as strong as {shown(strongest.covariate)!r} {ending}."

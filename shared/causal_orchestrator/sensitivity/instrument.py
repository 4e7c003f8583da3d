"""How far the instrument may fall short of what is assumed of it before the conclusion breaks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from causal_orchestrator.errors import NotApplicable
from causal_orchestrator.numerics import iv
from causal_orchestrator.numerics.inference import bracket, critical_value
from causal_orchestrator.numerics.linear import least_squares
from causal_orchestrator.question import shown
from causal_orchestrator.results import SensitivityResult

if TYPE_CHECKING:
    from causal_orchestrator.problem import Estimate, Problem

Floats = NDArray[np.float64]

STEPS = 41
TOP = 2.0  # direct effects are drawn up to this many times the one that would explain everything


def analyse(
    problem: Problem,
    estimate: Estimate,
    *,
    refit: Callable[[Problem], Estimate] | None = None,
    seed: int = 0,
) -> SensitivityResult:
    """Stand the Anderson–Rubin set beside the interval, and let the instrument have an effect of its own.

    The instrument may move the outcome by itself by γ, from -g to g: the effect then lies in the union of the intervals
    over γ (Conley, Hansen and Rossi). The breakdown is the smallest g with which the union holds zero, in standard
    deviations of the outcome per standard deviation of the instrument, so that it can be held against what the
    covariates do. Passes if the Anderson–Rubin set is bounded and says of zero what the interval says.

    Returns
    -------
    SensitivityResult
        `value` is the breakdown of the weakest instrument (zero where the interval holds zero). ``details``:
        `anderson_rubin`, `instruments` (per instrument its `breakdown`, the share of its reduced form that is, and the
        `curve` of unions), `covariates` (what each does to the outcome, on the same scale).

    Raises
    ------
    NotApplicable
        If the estimate holds no Anderson–Rubin set.

    References
    ----------
    Conley, Hansen & Rossi (2012), https://doi.org/10.1162/REST_a_00139; Anderson & Rubin (1949).
    """
    weak = estimate.details.get("anderson_rubin")
    if weak is None or estimate.ci_lower is None or estimate.ci_upper is None:
        raise NotApplicable("the estimate holds no Anderson–Rubin set")
    complete = iv.complete_rows(problem)
    whole = problem if complete.all() else problem.take(complete)
    data = iv.partial_out(whole, problem.question.instruments)
    kind: iv.Covariance = "hc1" if whole.cluster is None else "cluster"
    spread = float(np.std(whole.outcome, ddof=1))
    names = _names(problem.question.instruments, data.k)
    found = [_direct(data, j, name, kind, estimate.confidence_level, spread) for j, name in enumerate(names)]
    weakest = min(found, key=lambda entry: entry["breakdown"])
    covariates = _covariates(whole, spread)
    held = _holds_zero(weak["intervals"]) == (estimate.ci_lower <= 0 <= estimate.ci_upper)
    passed = weak["shape"] == "bounded" and held
    return SensitivityResult(
        method="instrument",
        value=weakest["breakdown"],
        interpretation=_sentence(weak, weakest, covariates, held=held),
        passed=passed,
        details={"anderson_rubin": weak, "agrees": held, "instruments": found, "covariates": covariates},
    )


def _names(columns: Sequence[str], k: int) -> list[str]:
    return list(columns) if len(columns) == k else [f"instrument {j + 1}" for j in range(k)]


def _direct(data: iv.Partialled, j: int, name: str, kind: iv.Covariance, level: float, spread: float) -> dict[str, Any]:
    """Return how large a direct effect of instrument `j` may be, and the unions of intervals on the way there."""
    z = data.instruments[:, j]
    scale = spread / float(np.std(z))
    moved = _slope(data, z, kind)
    full = abs(_slope(data, data.outcome, kind).value / moved.value)
    bounds = np.linspace(0.0, TOP * full, STEPS)
    unions = [_union(data, z, bound, kind, level) for bound in bounds]
    inside = [low <= 0 <= high for low, high in unions]
    limit = _bisect(data, z, kind, level, bounds, inside) if any(inside) else float(bounds[-1])
    return {
        "name": name,
        "breakdown": limit / scale,
        "share_of_explaining": limit / full if full > 0 else 0.0,
        "curve": [
            {"bound": float(b / scale), "ci_lower": low, "ci_upper": high} for b, (low, high) in zip(bounds, unions, strict=True)
        ],
    }  # fmt: skip


@dataclass(frozen=True)
class _Slope:
    value: float
    std_error: float
    df: float


def _slope(data: iv.Partialled, outcome: Floats, kind: iv.Covariance) -> _Slope:
    changed = replace(data, outcome=outcome)
    fit = iv.k_class(changed, kappa=1.0, kind=kind)
    return _Slope(fit.coefficient, float(np.sqrt(fit.variance)), fit.df)


def _union(data: iv.Partialled, z: Floats, bound: float, kind: iv.Covariance, level: float) -> tuple[float, float]:
    """Return the union of the intervals at the ends: between them it grows with the direct effect."""
    ends: list[float] = []
    for gamma in (-bound, bound):
        slope = _slope(data, data.outcome - gamma * z, kind)
        margin = critical_value(level, slope.df) * slope.std_error
        ends += [slope.value - margin, slope.value + margin]
    return min(ends), max(ends)


def _bisect(
    data: iv.Partialled, z: Floats, kind: iv.Covariance, level: float, bounds: Floats, inside: list[bool]
) -> float:
    first = inside.index(True)
    if first == 0:
        return 0.0

    def holds(gamma: float) -> bool:
        low, high = _union(data, z, gamma, kind, level)
        return low <= 0 <= high

    return bracket(holds, float(bounds[first - 1]), float(bounds[first]), steps=30)[1]


def _covariates(problem: Problem, spread: float) -> dict[str, float]:
    """Return what one standard deviation of each covariate does to the outcome, in its standard deviations."""
    x = problem.covariates
    if not x.shape[1]:
        return {}
    instruments = iv.instrument_numbers(problem.roles["instruments"], problem.question.instruments)
    fit = least_squares(np.column_stack([np.ones(problem.n), instruments, x]), problem.outcome, problem.weights)
    effects = np.abs(fit.coefficients[1 + instruments.shape[1] :]) * x.std(axis=0) / spread
    found: dict[str, float] = {}
    for source, effect in zip(problem.covariate_sources, effects, strict=True):
        found[source] = max(found.get(source, 0.0), float(effect))
    return found


def _holds_zero(intervals: Sequence[Sequence[float | None]]) -> bool:
    return any((low is None or low <= 0) and (high is None or high >= 0) for low, high in intervals)


def _sentence(weak: Mapping[str, Any], entry: Mapping[str, Any], covariates: Mapping[str, float], *, held: bool) -> str:
    name = shown(entry["name"])
    text = f"Whatever the instruments' strength, the values not rejected (Anderson–Rubin) are {_set(weak)}. "
    if entry["breakdown"] <= 0:
        text += "The interval holds zero, so no direct effect is needed to explain it."
    else:
        text += (
            f"If {name!r} moved the outcome by itself by {entry['breakdown']:.3g} SD per SD "
            f"({entry['share_of_explaining']:.0%} of what would explain the effect), the effect could be zero"
        )
        near = max(covariates.items(), key=lambda pair: pair[1], default=None)
        text += f"; the strongest covariate, {shown(near[0])!r}, moves it by {near[1]:.3g}." if near else "."
    return text if held else f"{text} The set and the usual interval disagree about zero."


def _set(weak: Mapping[str, Any]) -> str:
    if weak["shape"] == "empty":
        return "none"
    parts = [f"[{_end(low, '−∞')}, {_end(high, '∞')}]" for low, high in weak["intervals"]]
    return " and ".join(parts)


def _end(value: float | None, missing: str) -> str:
    return missing if value is None or not np.isfinite(value) else f"{value:.3g}"

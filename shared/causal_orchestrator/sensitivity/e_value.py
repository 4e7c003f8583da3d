"""The E-value: how strong an unmeasured confounder must be, on the risk-ratio scale, to explain the effect away."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from causal_orchestrator.errors import NotApplicable
from causal_orchestrator.results import SensitivityResult, finite

if TYPE_CHECKING:
    from collections.abc import Callable

    from causal_orchestrator.problem import Estimate, Problem

# Chinn (2000), through VanderWeele and Ding (2017): a standardised difference d is a risk ratio of exp(0.91 d).
LOG_RISK_RATIO_PER_SD = 0.91


def analyse(
    problem: Problem, estimate: Estimate, *, refit: Callable[[Problem], Estimate] | None = None, seed: int = 0
) -> SensitivityResult:
    """Compute the E-value of the estimate and of the limit of its interval that is nearer to no effect.

    A binary or count outcome uses the risk (rate) ratio that the effect implies at the standardised mean outcome of
    the untreated; a continuous one uses ``exp(0.91 d)`` with d the effect in standard deviations of the outcome given
    treatment. A continuous treatment is taken per standard deviation. There is no gate: the number is to be read.

    Returns
    -------
    SensitivityResult
        `value` is the E-value of the estimate, at least 1; ``details["ci_limit"]`` that of the limit (1 where the
        interval includes no effect), ``details["curve"]`` pairs (risk ratio with treatment, with outcome) that
        together would explain the estimate away.

    Raises
    ------
    NotApplicable
        If there is no variation to standardise by, or the implied risks leave (0, infinity).

    References
    ----------
    VanderWeele and Ding (2017), Annals of Internal Medicine 167:268, https://doi.org/10.7326/M16-2607
    """
    point, lower, upper, scale = _risk_ratios(problem, estimate)
    value = e_value(point)
    limit = None if lower is None or upper is None else limit_e_value(lower, upper)
    share = "" if limit is None else f", and {limit:.2f} to move the interval to include no effect"
    return SensitivityResult(
        method="e_value",
        value=value,
        interpretation=(
            f"An unmeasured confounder would have to be associated with treatment and with outcome by a risk ratio of "
            f"{value:.2f} each, beyond the measured covariates, to explain the estimate away{share}."
        ),
        passed=None,
        details={
            "risk_ratio": point,
            "risk_ratio_lower": finite(lower),
            "risk_ratio_upper": finite(upper),
            "scale": scale,
            "ci_limit": finite(limit),
            "curve": _curve(point, value),
        },
    )


def e_value(risk_ratio: float) -> float:
    """Return the E-value of a risk ratio (VanderWeele and Ding 2017, p. 270); 1 for no effect."""
    ratio = risk_ratio if risk_ratio >= 1 else 1 / risk_ratio
    return ratio + math.sqrt(ratio * (ratio - 1))


def limit_e_value(lower: float, upper: float) -> float:
    """Return the E-value of the limit nearer to 1, which is 1 where the interval contains 1."""
    if lower <= 1 <= upper:
        return 1.0
    return e_value(lower if lower > 1 else upper)


def _risk_ratios(problem: Problem, estimate: Estimate) -> tuple[float, float | None, float | None, str]:
    """Turn estimate and interval into risk ratios."""
    treatment, outcome = problem.treatment, problem.outcome
    per = float(np.std(treatment, ddof=1)) if problem.treatment_kind == "continuous" else 1.0
    effects = [None if v is None else v * per for v in (estimate.estimate, estimate.ci_lower, estimate.ci_upper)]
    if problem.outcome_kind == "continuous":
        spread = _spread(treatment, outcome, problem.treatment_kind)
        ratios = [None if v is None else math.exp(LOG_RISK_RATIO_PER_SD * v / spread) for v in effects]
        scale = "exp(0.91 d)"
    else:
        baseline = _baseline(problem, estimate)
        ratios = [None if v is None else _ratio(baseline, v) for v in effects]
        scale = "risk ratio" if problem.outcome_kind == "binary" else "rate ratio"
    point = ratios[0]
    if point is None or not (0 < point < math.inf):
        raise NotApplicable("the effect and the mean outcome of the untreated imply no positive risk ratio")
    return point, ratios[1], ratios[2], scale


def _baseline(problem: Problem, estimate: Estimate) -> float:
    """Return the mean outcome of the untreated: the method's own, else the one that the effect leaves."""
    means = estimate.details.get("means", {})
    if problem.treatment_levels and problem.treatment_levels[0] in means:
        return float(means[problem.treatment_levels[0]])
    return float(problem.outcome.mean() - estimate.estimate * problem.treatment.mean())


def _spread(treatment: np.ndarray, outcome: np.ndarray, kind: str) -> float:
    """Return the standard deviation of the outcome within arms (or given a continuous treatment)."""
    if kind == "continuous":
        design = np.column_stack([np.ones_like(treatment), treatment])
        residuals = outcome - design @ np.linalg.lstsq(design, outcome, rcond=None)[0]
        spread = float(np.sqrt(residuals @ residuals / max(len(outcome) - 2, 1)))
    else:
        arms = [outcome[treatment == level] for level in np.unique(treatment)]
        within = sum(float(((arm - arm.mean()) ** 2).sum()) for arm in arms)
        spread = math.sqrt(within / max(len(outcome) - len(arms), 1))
    if not spread > 0:
        raise NotApplicable("the outcome does not vary within the arms, so no standardised effect exists")
    return spread


def _ratio(baseline: float, effect: float) -> float:
    """Return (baseline + effect) / baseline, at the border where a limit leaves the possible risks."""
    if not baseline > 0:
        raise NotApplicable("the standardised mean outcome of the untreated is not positive, so no risk ratio exists")
    return max((baseline + effect) / baseline, 1e-9)


def _curve(risk_ratio: float, value: float) -> list[list[float]]:
    """Return the border of joint confounding strengths that explain the ratio away (their equation 1)."""
    ratio = max(risk_ratio, 1 / risk_ratio)
    if ratio <= 1 + 1e-12:
        return []
    along = np.geomspace(ratio * 1.02, max(value * 4, ratio * 1.1), 40)
    return [[float(a), float(ratio * (1 - a) / (ratio - a))] for a in along]

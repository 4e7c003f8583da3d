"""How far trends may part before a difference in differences loses its conclusion (Rambachan and Roth)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from causal_orchestrator.errors import NotApplicable
from causal_orchestrator.numerics import honest
from causal_orchestrator.numerics.inference import p_value
from causal_orchestrator.numerics.panel import layout
from causal_orchestrator.results import SensitivityResult

if TYPE_CHECKING:
    from causal_orchestrator.problem import Estimate, Problem

Floats = NDArray[np.float64]

RELATIVE = (0.0, 0.5, 1.0, 1.5, 2.0)
CURVES = (0.0, 0.25, 0.5, 1.0)  # of the largest change of slope seen before
BENCHMARK = 1.0  # what happened before may happen again, and no more
FEWEST_TREATED = 5  # below, clustered errors of an event study say nothing


def analyse(
    problem: Problem,
    estimate: Estimate,
    *,
    refit: Callable[[Problem], Estimate] | None = None,
    seed: int = 0,
    event_study: Callable[[Problem], Estimate],
    precision: float = 0.2,
) -> SensitivityResult:
    """Bound the effect where trends are not parallel, and find where the conclusion breaks.

    Passes if the conclusion stands where (a) trends part in the first period of treatment by as much as they ever did
    from one period to the next before (M̄ = 1), and (b) any linear difference in trends goes on through all periods of
    the headline (M = 0). The conclusion stands if the interval still excludes zero or, where the headline finds nothing,
    still lies within `precision` standard deviations of the outcome around zero. (a) is asked of the first period since
    over several the noise in the moves before adds up; how the headline fares under it is in ``details``.

    Parameters
    ----------
    event_study : estimates by event time, all against one reference period, with their joint covariance in ``details``.

    Returns
    -------
    SensitivityResult
        `value` is the breakdown M̄ of the effect in the first period (None: beyond every one that was tried, or there is
        no effect to lose). ``details``: intervals by bound for the headline's own weights over periods (`relative`,
        `smoothness`) and for the first period (`first_period`), `breakdown` of each, `slope` of the differences before
        per period with its `p_value`, and the event study.

    Raises
    ------
    NotApplicable
        If fewer than five units are treated, or no period before the reference is seen.

    References
    ----------
    Rambachan & Roth (2023), https://doi.org/10.1093/restud/rdad018.
    """
    treated = _treated_units(problem)
    if treated < FEWEST_TREATED:
        raise NotApplicable(f"{treated} treated units are too few for an event study with clustered errors")
    study, times = _study(problem, estimate, event_study(problem))
    first = replace(study, weights=(np.arange(len(study.weights)) == np.flatnonzero(study.weights)[0]).astype(np.float64))  # fmt: skip
    level = estimate.confidence_level
    bend = float(np.abs(np.diff(study.moves) if len(study.moves) > 1 else study.moves).max())
    linear = honest.smoothness(study, 0.0, level)
    again = honest.relative_magnitudes(first, BENCHMARK, level, seed=seed)
    zero = _within(estimate.ci_lower, estimate.ci_upper)
    band = precision * float(np.std(problem.outcome, ddof=1))
    passed = all(_stands(ends, band if zero else None) for ends in (linear, again))
    breakdown = {
        "first_period": honest.relative_breakdown(first, level, seed=seed),
        "relative": honest.relative_breakdown(study, level, seed=seed),
        "smoothness": honest.smoothness_breakdown(study, level),
        "largest_bend_before": bend,
    }
    slope, error = _slope(study)
    return SensitivityResult(
        method="honest_did",
        value=None if zero else breakdown["first_period"],
        interpretation=_sentence(study, again, linear, breakdown["first_period"], zero=zero, passed=passed),
        passed=passed,
        details={
            "relative": [_interval(m, honest.relative_magnitudes(study, m, level, seed=seed)) for m in RELATIVE],
            "first_period": [_interval(m, honest.relative_magnitudes(first, m, level, seed=seed)) for m in RELATIVE],
            "smoothness": [_interval(share * bend, honest.smoothness(study, share * bend, level)) for share in CURVES],
            "breakdown": breakdown,
            "original": {"estimate": study.effect, **_interval(0.0, _usual(study, level))},
            "slope": {"estimate": slope, "std_error": error, "p_value": p_value(slope, error)},
            "largest_move_before": float(np.abs(study.moves).max()),
            "event_times": list(times),
            "estimates": [*study.before.tolist(), *study.after.tolist()],
            "std_errors": np.sqrt(np.diag(study.covariance)).tolist(),
            "weights": study.weights.tolist(),
        },
    )


def _interval(bound: float, ends: tuple[float, float]) -> dict[str, float]:
    return {"bound": float(bound), "ci_lower": float(ends[0]), "ci_upper": float(ends[1])}


def _usual(study: honest.EventStudy, level: float) -> tuple[float, float]:
    half = honest.folded_quantile(0.0, study.std_error, level)
    return study.effect - half, study.effect + half


def _within(low: float | None, high: float | None) -> bool:
    return low is None or high is None or low <= 0 <= high


def _treated_units(problem: Problem) -> int:
    panel = _layout(problem)
    return int((np.isfinite(panel.first) & (panel.first > 0)).sum())


def _layout(problem: Problem) -> Any:
    roles = problem.roles
    return layout(unit=roles.get("unit"), time=roles.get("time"), treatment=problem.treatment, first_treated=roles.get("first_treated"))  # fmt: skip


def _study(problem: Problem, estimate: Estimate, found: Estimate) -> tuple[honest.EventStudy, tuple[float, ...]]:
    """Return the unbroken run of event times around the reference, and the headline's weights on those after."""
    by_time = {row.event_time: row.estimate for row in found.rows if row.event_time is not None and row.group is None}
    covariance = np.array(found.details["event_covariance"])
    times = [float(e) for e in found.details["event_times"]]
    known = [i for i, e in enumerate(times) if covariance[i, i] > 0 and by_time.get(e) is not None]
    gaps = [e for e in np.arange(min(times), max(times)) if e not in {times[i] for i in known}]
    reference = max((e for e in gaps if e < 0), default=None)
    if reference is None:
        raise NotApplicable("the event study has no reference period before treatment")
    before = _run([i for i in known if times[i] < reference][::-1], times, reference)[::-1]
    after = _run([i for i in known if times[i] > reference], times, reference)
    if not before:
        raise NotApplicable("no period before the reference is seen, so trends before treatment cannot be compared")
    kept = [*before, *after]
    values = np.array([float(by_time[times[i]] or 0.0) for i in kept])
    weights = _weights(problem, estimate, [times[i] for i in after])
    cut = covariance[np.ix_(kept, kept)]
    return honest.EventStudy(values[: len(before)], values[len(before) :], cut, weights), tuple(times[i] for i in kept)


def _run(indices: list[int], times: list[float], reference: float) -> list[int]:
    """Return the indices up to the first gap."""
    run, last = [], reference
    for i in indices:
        if abs(times[i] - last) > 1.5:
            break
        run.append(i)
        last = times[i]
    return run


def _weights(problem: Problem, estimate: Estimate, times: list[float]) -> Floats:
    """Return the weight of each event time in the headline: its treated rows, or the same for each if it is dynamic."""
    event = _layout(problem).event_time
    counts = np.array([float((event == e).sum()) if e >= 0 else 0.0 for e in times])
    if estimate.details.get("aggregation") == "dynamic":
        counts = (counts > 0).astype(np.float64)
    if not counts.any():
        raise NotApplicable("no period under treatment follows the reference without a gap")
    return np.asarray(counts / counts.sum())


def _slope(study: honest.EventStudy) -> tuple[float, float]:
    """Return the linear trend of the differences before, per period, by generalised least squares through the reference."""
    p = len(study.before)
    time = -np.arange(p, 0, -1.0)
    weighted = np.linalg.solve(study.covariance[:p, :p], time)
    variance = 1 / float(weighted @ time)
    return float(weighted @ study.before) * variance, float(np.sqrt(variance))


def _stands(ends: tuple[float, float], band: float | None) -> bool:
    low, high = ends
    return not _within(low, high) if band is None else -band <= low and high <= band


def _sentence(
    study: honest.EventStudy, again: tuple[float, float], linear: tuple[float, float], breakdown: float | None,
    *, zero: bool, passed: bool,
) -> str:  # fmt: skip
    text = (
        f"If trends part when treatment starts by as much as they ever did from one period to the next before "
        f"({np.abs(study.moves).max():.3g}), the first effect lies in [{again[0]:.3g}, {again[1]:.3g}]; if a linear "
        f"difference in trends goes on, the effect lies in [{linear[0]:.3g}, {linear[1]:.3g}]"
    )
    if zero:
        return f"{text}: {'still a precise zero' if passed else 'no longer a precise zero'}."
    limit = f"more than {honest.MOST:g}" if breakdown is None else f"{breakdown:.2g}"
    return f"{text}. The first effect is told from zero up to {limit} times the moves before."

"""Dose and response: the mean outcome at each dose of a continuous treatment, and the average derivative."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from causal_orchestrator.errors import DesignError, InputError
from causal_orchestrator.numerics import gps
from causal_orchestrator.numerics.dose import LARGEST_RATIO, Pseudo, Reach, curve, pseudo_outcomes, reach
from causal_orchestrator.numerics.inference import critical_value, influence_covariance, simultaneous_critical_value
from causal_orchestrator.problem import Estimate, Problem, conclude
from causal_orchestrator.results import EffectRow, finite

Floats = NDArray[np.float64]
Method = Literal["dr_kernel", "gps", "msm"]

MIN_ROWS = 60
GRID = 15  # doses from the 5 % to the 95 % quantile
MOST_DOSES = 200
SUPPORTED = 0.8  # share of rows for whom a dose must have been possible, as of the overlap of arms
EFFECTIVE = 10  # rows near a dose, as many as their weights are worth
FOLDS = {500: 10, 5_000: 5}  # below so many rows so many folds, which leave more rows to learn from; 3 beyond
SPECIFIED = 0.05  # level of the test of a parametric curve's form
EDGE, CROWDED = 0.01, 0.05  # part of the range that is its end, and the share of doses that may lie there
LEAST_DRAWS, MOST_DRAWS = 50, 10_000


def estimate(
    problem: Problem,
    *,
    grid: Sequence[float] | None = None,
    method: Method = "dr_kernel",
    folds: int | None = None,
    draws: int = 200,
) -> Estimate:
    """Estimate the mean outcome that each dose would bring about, and the average derivative.

    Assumes no unmeasured confounding, and that every dose of the grid was possible for everyone. Nothing is said of
    doses beyond those seen.

    Parameters
    ----------
    grid : doses of the rows, within the range of those seen; by default 15 from the 5 % to the 95 % quantile.
    method : ``dr_kernel`` smooths cross-fitted doubly robust pseudo-outcomes, right if the regression or the density is;
        ``gps`` regresses the outcome on a quadratic in the dose and its generalized propensity score, which is normal
        or gamma, whichever is likelier; ``msm`` fits a quadratic in the dose with stabilised normal-density weights.
    folds : folds of the cross-fitting (``dr_kernel``); by default 10 below 500 rows, 5 below 5,000, else 3.
    draws : bootstrap samples (``gps`` and ``msm``).

    Returns
    -------
    Estimate
        The average derivative (``AD``), in units of the outcome per unit of dose: over rows and their own doses for
        ``dr_kernel``, of the fitted curve at the rows' doses for the others. Then a row per dose: the mean outcome with
        an interval that holds for the whole curve (Gaussian multiplier bootstrap); pointwise ones are in ``details``.

    Raises
    ------
    InputError
        If the grid leaves the range of the doses or an option is out of its own (``OPTION_INVALID``).
    DesignError
        With fewer than 60 rows (``TOO_FEW_ROWS``).

    References
    ----------
    Kennedy, Ma, McHugh & Small (2017), https://doi.org/10.1111/rssb.12212; Hirano & Imbens (2004),
    https://doi.org/10.1002/0470090456.ch7; Robins, Hernán & Brumback (2000); Hernán & Robins, Causal Inference: What
    If, section 12.4.
    """
    doses = _grid(problem, grid)
    if problem.n < MIN_ROWS:
        raise DesignError(f"{problem.n} rows are too few for a curve; at least {MIN_ROWS} are needed", code="TOO_FEW_ROWS")  # fmt: skip
    if folds is not None and not 2 <= folds <= problem.n // 20:
        raise InputError(f"folds must lie between 2 and {problem.n // 20}", code="OPTION_INVALID", details={"option": "folds"})  # fmt: skip
    if not LEAST_DRAWS <= draws <= MOST_DRAWS:
        raise InputError(f"draws must lie between {LEAST_DRAWS} and {MOST_DRAWS}", code="OPTION_INVALID", details={"option": "draws"})  # fmt: skip
    if method == "dr_kernel":
        return _doubly_robust(problem, doses, folds or _folds(problem.n))
    return _parametric(problem, doses, method, draws)


def _folds(n: int) -> int:
    """Return the usual number of folds, of 20 rows or more each."""
    return min(next((count for below, count in FOLDS.items() if n < below), 3), n // 20)


def _grid(problem: Problem, grid: Sequence[float] | None) -> Floats:
    a = problem.treatment
    if grid is None:
        return np.unique(np.quantile(a, np.linspace(0.05, 0.95, GRID)))
    doses = np.unique(np.asarray(grid, dtype=np.float64))
    if not 1 <= len(doses) <= MOST_DOSES or not np.all((doses >= a.min()) & (doses <= a.max())):
        raise InputError(f"grid must hold 1 to {MOST_DOSES} doses between {a.min():g} and {a.max():g}, the ones seen", code="OPTION_INVALID", details={"option": "grid"})  # fmt: skip
    return doses


def _doubly_robust(problem: Problem, doses: Floats, count: int) -> Estimate:
    crowded = _crowding(problem.treatment)
    found = pseudo_outcomes(problem, count, ends=(crowded[0] > CROWDED, crowded[1] > CROWDED))
    w = np.ones(problem.n) if problem.weights is None else problem.weights
    counted = float(np.average(found.counted, weights=w))
    mean = float(np.average(found.derivative, weights=w)) / counted
    slope = (w * (found.derivative - mean * found.counted) / counted)[:, None]
    bent = curve(found, problem, doses)
    reached = reach(found, problem, doses)
    supported = (reached.share >= SUPPORTED) & (bent.effective >= EFFECTIVE)
    span = _span(problem.treatment, found.counted)
    return _told(
        problem,
        doses,
        (mean, influence_covariance(slope, problem.cluster)),
        (bent.values, influence_covariance(bent.influence, problem.cluster)),
        supported,
        (reached.below, reached.above),
        inference="influence function" + ("" if problem.cluster is None else ", clustered"),
        diagnostics=_diagnostics(found, reached.share, bent.effective, max(crowded)),
        details={
            "method": "dr_kernel",
            "bandwidth": bent.bandwidth,
            "folds": count,
            "within_reach": reached.share,
            "extrapolation": np.stack([reached.below, reached.above]),
            "effective_rows": bent.effective,
            "shares": found.shares,
            "derivative_over": span,
        },
        notes=_notes(found, doses[~supported], reached, span),
        influence=slope,
    )


def _diagnostics(found: Pseudo, reach: Floats, effective: Floats, crowded: float) -> dict[str, dict[str, Any]]:
    return {
        "dose_support": {
            "value": float(reach.min()),
            "threshold": SUPPORTED,
            "passed": bool(reach.min() >= SUPPORTED and effective.min() >= EFFECTIVE),
            "detail": f"share of rows for whom the rarest dose of the grid was within reach ({effective.min():.0f} effective rows near it at the least)",
        },
        "edge_mass": {
            "value": crowded,
            "threshold": CROWDED,
            "passed": crowded <= CROWDED,
            "detail": "share of doses at one end of their range, which the average derivative leaves out",
        },
        "density_ratio": {
            "value": float(np.quantile(found.ratio, 0.99)),
            "threshold": LARGEST_RATIO,
            "passed": found.capped < 0.01,
            "detail": "99 % quantile of marginal over conditional density of a row's own dose",
        },
    }  # fmt: skip


def _crowding(a: Floats) -> tuple[float, float]:
    """Return the shares of doses at the lower and at the upper end: there a derivative is told by one side alone."""
    close = EDGE * float(np.ptp(a))
    return float((a - a.min() < close).mean()), float((a.max() - a < close).mean())


def _span(a: Floats, counted: Floats) -> list[float] | None:
    """Return the range of doses that the average derivative is over, None if it is over all."""
    return None if np.all(counted == 1) else [float(a[counted > 0].min()), float(a[counted > 0].max())]


def _notes(found: Pseudo, beyond: Floats, reached: Reach, span: list[float] | None) -> tuple[str, ...]:
    notes = [f"{found.capped:.1%} of density ratios were brought down to {LARGEST_RATIO:g}"] if found.capped else []
    if len(beyond):
        told = ", ".join(f"{dose:g}" for dose in beyond[:8])
        notes.append(f"at dose {told} the curve is not estimable: too few rows could have had it")
    if (reached.share < 1).any():
        notes.append("the curve's intervals are wider by as much as the learners disagree on rows that could hardly have had the dose")  # fmt: skip
    if span:
        notes.append(f"the average derivative is over doses from {span[0]:.4g} to {span[1]:.4g}, of rows that count the less the nearer they are to an end where doses crowd")  # fmt: skip
    return tuple(notes)


def _parametric(problem: Problem, doses: Floats, method: Method, draws: int) -> Estimate:
    fit = gps.hirano_imbens if method == "gps" else gps.weighted_quadratic
    found = fit(gps.rows_of(problem), doses)
    again = partial(fit, family=found.family)
    sampled = gps.bootstrap(problem, doses, again, draws=draws, seed=problem.seed, cluster=problem.cluster)
    joint = np.atleast_2d(np.cov(sampled, rowvar=False))
    return _told(
        problem,
        doses,
        (found.slope, joint[:1, :1]),
        (found.values, joint[1:, 1:]),
        np.ones(len(doses), dtype=bool),
        (np.zeros(len(doses)), np.zeros(len(doses))),
        inference=f"bootstrap of {'rows' if problem.cluster is None else 'clusters'}, {len(sampled)} draws",
        diagnostics={
            "density": {
                "value": found.log_likelihood,
                "detail": f"log-likelihood of the {found.family} density of the dose",
            },
            "specification": _specification(problem, found.score),
        },
        details={
            "method": method,
            "density": found.family,
            **({} if found.weights is None else {"weights": found.weights}),
        },
        notes=("the average derivative is that of the fitted curve at the rows' doses",),
    )


def _specification(problem: Problem, score: Floats) -> dict[str, Any]:
    """Test the scores (n, q) of terms that the fitted curve lacks; the density is taken as known."""
    total = score.sum(axis=0)
    spread = influence_covariance(score * problem.n, problem.cluster)
    statistic = float(total @ np.linalg.pinv(spread, hermitian=True) @ total)
    p_value = float(stats.chi2.sf(statistic, score.shape[1]))
    return {
        "value": statistic,
        "df": score.shape[1],
        "p_value": p_value,
        "passed": p_value >= SPECIFIED,
        "detail": "score test of cubic terms: where they matter the curve and its intervals are off",
    }


def _told(
    problem: Problem,
    doses: Floats,
    slope: tuple[float, Floats],
    bent: tuple[Floats, Floats],
    supported: NDArray[np.bool_],
    bound: tuple[Floats, Floats],
    **fields: Any,
) -> Estimate:
    """Return the average derivative as the scalar, and the curve in the rows, empty where it has no support.

    `bound` is how far the curve may be below and above its estimate for want of support; intervals are so much wider.
    """
    values, joint = np.where(supported, bent[0], np.nan), bent[1][np.ix_(supported, supported)]
    errors = np.full(len(doses), np.nan)
    errors[supported] = np.sqrt(np.diag(joint))
    level = problem.confidence_level
    together = critical_value(level)
    if supported.any():
        together = max(simultaneous_critical_value(joint, level, seed=problem.seed), together)
    margin = critical_value(level) * errors
    span = fields["details"].get("derivative_over")
    details = {
        **fields.pop("details"),
        "supported": supported,
        "critical_value": together,
        "pointwise": {"dose": doses, "ci_lower": values - margin - bound[0], "ci_upper": values + margin + bound[1]},
    }
    told = conclude(problem, method="dose_response", estimand="AD", estimates=[slope[0]], covariance=slope[1], details=details, **fields)  # fmt: skip
    curve_rows = [
        EffectRow(
            term=f"mean outcome at dose {dose:g}",
            dose=float(dose),
            estimate=finite(value),
            std_error=finite(error),
            ci_lower=finite(value - together * error - below),
            ci_upper=finite(value + together * error + above),
            n=problem.n,
        )
        for dose, value, error, below, above in zip(doses, values, errors, *bound, strict=True)
    ]
    term = "average derivative" + (f" over doses from {span[0]:.4g} to {span[1]:.4g}" if span else "")
    return replace(told, rows=(told.rows[0].model_copy(update={"term": term}), *curve_rows))

"""Dose and response: the mean outcome at each dose of a continuous treatment, and the average derivative."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from causal_orchestrator.errors import DesignError, InputError
from causal_orchestrator.numerics import gps
from causal_orchestrator.numerics.dose import LARGEST_RATIO, curve, pseudo_outcomes, within_reach
from causal_orchestrator.numerics.inference import critical_value, influence_covariance, simultaneous_critical_value
from causal_orchestrator.problem import Estimate, Problem, conclude
from causal_orchestrator.results import EffectRow, finite

Floats = NDArray[np.float64]
Method = Literal["dr_kernel", "gps", "msm"]

MIN_ROWS = 60
GRID = 15  # doses from the 5 % to the 95 % quantile
MOST_DOSES = 200
SUPPORTED = 0.75  # share of rows for whom a dose must have been possible
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
    folds : folds of the cross-fitting (``dr_kernel``), 5 by default.
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
        return _doubly_robust(problem, doses, folds or 5)
    return _parametric(problem, doses, method, draws)


def _grid(problem: Problem, grid: Sequence[float] | None) -> Floats:
    a = problem.treatment
    if grid is None:
        return np.unique(np.quantile(a, np.linspace(0.05, 0.95, GRID)))
    doses = np.unique(np.asarray(grid, dtype=np.float64))
    if not 1 <= len(doses) <= MOST_DOSES or not np.all((doses >= a.min()) & (doses <= a.max())):
        raise InputError(f"grid must hold 1 to {MOST_DOSES} doses between {a.min():g} and {a.max():g}, the ones seen", code="OPTION_INVALID", details={"option": "grid"})  # fmt: skip
    return doses


def _doubly_robust(problem: Problem, doses: Floats, count: int) -> Estimate:
    found = pseudo_outcomes(problem, count)
    w = np.ones(problem.n) if problem.weights is None else problem.weights
    mean = float(np.average(found.derivative, weights=w))
    slope = (w * (found.derivative - mean))[:, None]
    bent = curve(found, problem, doses)
    joint = influence_covariance(bent.influence, problem.cluster)
    reach = within_reach(problem, doses)
    return _told(
        problem,
        doses,
        (mean, influence_covariance(slope, problem.cluster)),
        (bent.values, joint),
        inference="influence function" + ("" if problem.cluster is None else ", clustered"),
        diagnostics={
            "dose_support": {
                "value": float(reach.min()),
                "threshold": SUPPORTED,
                "passed": bool(reach.min() >= SUPPORTED),
                "detail": "share of rows for whom the rarest dose of the grid was within reach",
            },
            "edge_mass": _edge(problem.treatment),
            "density_ratio": {
                "value": float(np.quantile(found.ratio, 0.99)),
                "threshold": LARGEST_RATIO,
                "passed": found.capped < 0.01,
                "detail": "99 % quantile of marginal over conditional density of a row's own dose",
            },
        },
        details={"method": "dr_kernel", "bandwidth": bent.bandwidth, "folds": count, "within_reach": reach},
        notes=_notes(found.capped, doses[reach < SUPPORTED]),
        influence=slope,
    )


def _edge(a: Floats) -> dict[str, Any]:
    """Say how many doses crowd at an end of their range: there the derivative is told by one side alone."""
    close = EDGE * float(np.ptp(a))
    share = max(float((a - a.min() < close).mean()), float((a.max() - a < close).mean()))
    return {"value": share, "threshold": CROWDED, "passed": share <= CROWDED, "detail": "share of doses at one end of their range, where the average derivative is poorly told"}  # fmt: skip


def _notes(capped: float, beyond: Floats) -> tuple[str, ...]:
    notes = [f"{capped:.1%} of density ratios were brought down to {LARGEST_RATIO:g}"] if capped else []
    if len(beyond):
        told = ", ".join(f"{dose:g}" for dose in beyond[:8])
        notes.append(
            f"at dose {told} the curve rests on a regression's extrapolation: many rows could hardly have had it"
        )
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
        inference=f"bootstrap of {'rows' if problem.cluster is None else 'clusters'}, {len(sampled)} draws",
        diagnostics={
            "density": {
                "value": found.log_likelihood,
                "detail": f"log-likelihood of the {found.family} density of the dose",
            }
        },
        details={"method": method, "density": found.family},
        notes=("the average derivative is that of the fitted curve at the rows' doses",),
    )


def _told(
    problem: Problem, doses: Floats, slope: tuple[float, Floats], bent: tuple[Floats, Floats], **fields: Any
) -> Estimate:
    """Return the average derivative as the scalar, and the curve in the rows."""
    values, joint = bent
    errors = np.sqrt(np.diag(joint))
    level = problem.confidence_level
    together = max(simultaneous_critical_value(joint, level, seed=problem.seed), critical_value(level))
    margin = critical_value(level) * errors
    details = {
        **fields.pop("details"),
        "critical_value": together,
        "pointwise": {"dose": doses, "ci_lower": values - margin, "ci_upper": values + margin},
    }
    told = conclude(problem, method="dose_response", estimand="AD", estimates=[slope[0]], covariance=slope[1], details=details, **fields)  # fmt: skip
    curve_rows = [
        EffectRow(
            term=f"mean outcome at dose {dose:g}",
            dose=float(dose),
            estimate=finite(value),
            std_error=finite(error),
            ci_lower=finite(value - together * error),
            ci_upper=finite(value + together * error),
            n=problem.n,
        )
        for dose, value, error in zip(doses, values, errors, strict=True)
    ]
    return replace(told, rows=(told.rows[0].model_copy(update={"term": "average derivative"}), *curve_rows))

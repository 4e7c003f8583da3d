"""Orthogonal scores of instrumental variables, and the nuisances that they need beside the shared ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from causal_orchestrator.errors import EstimationError
from causal_orchestrator.numerics import nuisance
from causal_orchestrator.numerics.linear import least_squares
from causal_orchestrator.numerics.nuisance import Nuisances, Recipe, Sample

Floats = NDArray[np.float64]

NOTHING = 1e-12  # share of variances below which the instrument moves nothing


def partially_linear(outcome: Floats, treatment: Floats, instruments: Floats, weights: Floats) -> tuple[float, Floats]:
    """Return the coefficient and its influence (n, 1) from residuals given the covariates.

    Parameters
    ----------
    outcome, treatment : shape (n,)
    instruments : shape (n, k)
        With several, their best linear prediction of the treatment's residual is the instrument.

    References
    ----------
    Chernozhukov et al. (2018), https://doi.org/10.1111/ectj.12097, equation 4.8 (partialling out).
    """
    moved = instruments[:, 0]
    if instruments.shape[1] > 1:
        design = np.column_stack([np.ones(len(outcome)), instruments])
        moved = design @ least_squares(design, treatment, weights).coefficients
    slope = float(np.mean(weights * moved * treatment))
    if not slope**2 > NOTHING * float(np.mean(weights * moved**2) * np.mean(weights * treatment**2)):
        raise EstimationError("the instrument does not move the treatment beside the covariates", code="INSTRUMENT_WEAK")  # fmt: skip
    value = float(np.mean(weights * moved * outcome)) / slope
    return value, (weights * moved * (outcome - value * treatment) / slope)[:, None]


def instruments_given_covariates(sample: Sample, instruments: Floats, how: Recipe) -> Floats:
    """Return cross-fitted E[instrument | covariates] (R, n, k), on the folds of the shared nuisances."""
    found = np.zeros((how.repeats, *instruments.shape))
    for r in range(how.repeats):
        cross = nuisance.cross_fitter(sample, how, seed=sample.seed + nuisance.REPEAT_STEP * r)
        for j, z in enumerate(instruments.T):
            if np.all(np.isin(z, (0.0, 1.0))):
                found[r, :, j] = cross(z, kind="probability")[0]
            else:
                centre, scale = z.mean(), z.std() or 1.0
                found[r, :, j] = centre + scale * cross((z - centre) / scale, kind="mean")[0]
    return found


def by_instrument(sample: Sample, instrument: Floats, how: Recipe) -> tuple[Nuisances, Nuisances]:
    """Return cross-fitted nuisances of outcome and of take-up with a binary instrument in the treatment's place.

    `propensity` is P(instrument | covariates) and `outcome_by_level` E[outcome or take-up | instrument, covariates].
    """
    y, t = sample.outcome, sample.treatment
    kind = "probability" if sample.outcome_kind == "binary" else "mean"
    centre, scale = (0.0, 1.0) if kind == "probability" else (float(y.mean()), float(y.std()))
    n = len(y)
    propensity, outcome, taken = (np.zeros((how.repeats, n, 2)) for _ in range(3))
    fold = np.zeros((how.repeats, n), dtype=np.int64)
    shares: dict[str, dict[str, float]] = {}
    for r in range(how.repeats):
        cross = nuisance.cross_fitter(_Moved(sample, instrument), how, seed=sample.seed + nuisance.REPEAT_STEP * r)
        propensity[r], shares["instrument"] = nuisance.cross_fit_propensity(cross, instrument, 2)
        fold[r] = cross.fold
        for k in (0, 1):
            fitted, shares[f"outcome at {k}"] = cross((y - centre) / scale, kind="probability" if kind == "probability" else "mean", rows=instrument == k)  # fmt: skip
            outcome[r, :, k] = centre + scale * fitted
            taken[r, :, k], shares[f"treatment at {k}"] = cross(t, kind="probability", rows=instrument == k)
    zero = np.zeros((how.repeats, n))
    whole = Nuisances("learned", propensity, outcome, zero, propensity[:, :, 1], fold, shares)
    return whole, replace(whole, outcome_by_level=taken)


class _Moved:
    """A sample whose treatment is another column."""

    def __init__(self, sample: Sample, treatment: Floats) -> None:
        self.outcome, self.covariates = sample.outcome, sample.covariates
        self.treatment, self.treatment_levels = treatment, ("0", "1")
        self.outcome_kind, self.weights = sample.outcome_kind, sample.weights
        self.cluster, self.seed = sample.cluster, sample.seed


def local_effect(outcome_scores: Floats, takeup_scores: Floats) -> tuple[float, Floats, float, Floats]:
    """Return the ratio of the instrument's effects with its influence (n, 1), and the denominator with its own.

    Parameters
    ----------
    outcome_scores, takeup_scores : shape (n,)
        Doubly robust scores of the instrument's effect on outcome and on take-up.

    References
    ----------
    Chernozhukov et al. (2018), equation 5.5; Frölich (2007), https://doi.org/10.1016/j.jeconom.2006.06.004.
    """
    share = float(takeup_scores.mean())
    value = float(outcome_scores.mean()) / share
    return value, ((outcome_scores - value * takeup_scores) / share)[:, None], share, takeup_scores - share

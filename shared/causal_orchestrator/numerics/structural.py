"""Structural time series: a level, a trend, a season and controls, fitted before an interruption and carried on."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from causal_orchestrator.errors import EstimationError

Floats = NDArray[np.float64]
Trend = Literal["level", "drift", "trend", "fixed"]

DIGITS = 7  # to which standardised series are rounded where variances are sought: no optimiser sees the outcome's unit
GRID = 9  # standard deviations of a walk that are tried
FALLEN = 6.0  # log-likelihood below its maximum from where on nothing is plausible
SMALLEST_WALK = 1e-3  # standard deviation of a step, in those of the series, that is as good as none
LARGE = 1e6  # a variance of a standardised state beyond which the data before did not tell it
_LEVELS = {
    "level": "local level",
    "drift": "local linear deterministic trend",
    "trend": "local linear trend",
    "fixed": "fixed slope",
}
_SLOPE = 1  # place of the slope among the states


@dataclass(frozen=True)
class Form:
    """What the series is made of.

    trend : a level that walks at random (``level``), and drifts (``drift``), or with a slope that walks too (``trend``),
        or a straight line (``fixed``).
    waves : pairs of sine and cosine of a season of length `period`; lags : order of autoregressive noise.
    """

    trend: Trend
    lags: int = 0
    waves: int = 0
    period: float = 12.0


@dataclass(frozen=True)
class Forecast:
    """The series as it would have gone on: `mean` (h,), its joint `covariance` (h, h), and how the fit went before.

    `errors` are the standardised one-step errors before the interruption; `df` what is left to estimate the scale; `bic`
    is comparable among forms.
    """

    mean: Floats
    covariance: Floats
    form: Form
    variances: dict[str, float]
    bic: float
    errors: Floats
    df: float


def forecast(outcome: Floats, controls: Floats, before: int, forms: Sequence[Form]) -> Forecast:
    """Fit the series on its first `before` times and forecast the rest, given the controls throughout.

    Parameters
    ----------
    outcome : shape (n,)
        At equal steps of time; NaN where missing. What comes after is not looked at.
    controls : shape (n, p)
        Regressors that the interruption did not move; their coefficients are states with a diffuse prior.
    forms : of several the one with the least BIC is carried on.

    Raises
    ------
    EstimationError
        If for no form the likelihood has a maximum that the optimiser finds, and the series before tells the states
        (``NOT_CONVERGED``).

    References
    ----------
    Harvey (1989), Forecasting, Structural Time Series Models and the Kalman Filter; Durbin & Koopman (2012), chapters
    4 to 7; Brodersen, Gallusser, Koehler, Remy & Scott (2015), https://doi.org/10.1214/14-AOAS788.
    """
    centre, unit = float(np.nanmean(outcome[:before])), float(np.nanstd(outcome[:before])) or 1.0
    y = (outcome - centre) / unit
    y[before:] = np.nan
    spread = controls[:before].std(axis=0)
    x = (controls - controls[:before].mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    failed = None
    for form, fit, bic in _by_bic(y[:before], x[:before], forms):
        try:
            mean, covariance, errors = _forecast(y, x, before, form, fit)
        except EstimationError as exc:
            failed = exc
            continue
        seen = int(np.isfinite(y[:before]).sum())
        return Forecast(
            mean=centre + unit * mean,
            covariance=unit**2 * covariance,
            form=form,
            variances={name: float(value) for name, value in zip(fit.model.param_names, fit.params, strict=True)},
            bic=bic,
            errors=errors,
            df=float(max(seen - fit.model.k_states - len(fit.params), 1)),
        )
    raise failed or EstimationError("the series could not be fitted", code="NOT_CONVERGED")


def _by_bic(y: Floats, x: Floats, forms: Sequence[Form]) -> list[tuple[Form, Any, float]]:
    """Return the forms that can be fitted with their fits and BICs, the least first."""
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for form in forms:
            try:
                fit = _model(np.round(y, DIGITS), np.round(x, DIGITS), form).fit(disp=0, maxiter=200)
                found.append((form, fit, _bic(fit, form)))
            except (np.linalg.LinAlgError, ValueError) as exc:
                if len(forms) == 1:
                    raise EstimationError(f"the series could not be fitted ({exc})", code="NOT_CONVERGED") from exc
    return sorted(found, key=lambda each: each[2])


def _forecast(y: Floats, x: Floats, before: int, form: Form, fit: Any) -> tuple[Floats, Floats, Floats]:
    """Return forecasts (h,) with their covariance, and the standardised one-step errors before."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        whole = _model(y, x, form)
        try:
            told = whole.filter(fit.params).filter_results
            mean, covariance = _averaged(whole, fit.params, before)
        except (np.linalg.LinAlgError, ValueError) as exc:
            raise EstimationError(f"the series could not be fitted ({exc})", code="NOT_CONVERGED") from exc
    if not np.all(np.isfinite(covariance)) or np.diag(covariance).max() > LARGE:
        raise EstimationError("the times before do not tell the trend, the season and the controls apart; fewer would do", code="NOT_CONVERGED")  # fmt: skip
    errors = told.standardized_forecasts_error[0, int(told.loglikelihood_burn) + whole.k_states : before]
    return mean, covariance, np.asarray(errors[np.isfinite(errors)])


def _bic(fit: Any, form: Form) -> float:
    """Return a BIC on the footing that all forms share: the likelihood of what neither level nor slope explains.

    A likelihood with diffuse states is that of the data less what these states explain, so forms with and without a
    slope do not have likelihoods of the same data. A level without a slope is taken as one whose slope is known to be
    zero: a diffuse slope is set beside it, and the square of that slope's t-ratio is what its being zero costs in twice
    the log-likelihood. A slope that is there counts as one parameter more.

    References
    ----------
    Francke, Koopman & de Vos (2010), https://doi.org/10.1111/j.1467-9892.2010.00673.x, on likelihoods with diffuse
    states; Harville (1974), https://doi.org/10.1093/biomet/61.2.383, on those of residuals.
    """
    model = fit.model
    price = float(np.log(np.isfinite(model.endog).sum()))
    if form.trend != "level":
        return float(-2 * fit.llf + (len(fit.params) + 1) * price)
    x = np.zeros((model.nobs, 0)) if model.exog is None else model.exog
    lined = _model(model.endog[:, 0], x, replace(form, trend="drift")).filter(fit.params)
    told = lined.filter_results
    slope, variance = told.predicted_state[_SLOPE, -1], told.predicted_state_cov[_SLOPE, _SLOPE, -1]
    return float(-2 * lined.llf + slope**2 / variance + len(fit.params) * price)


def _model(y: Floats, x: Floats, form: Form) -> Any:
    from statsmodels.tsa.statespace.structural import UnobservedComponents

    return UnobservedComponents(
        y,
        level=_LEVELS[form.trend],
        freq_seasonal=[{"period": form.period, "harmonics": form.waves}] if form.waves else None,
        autoregressive=form.lags or None,
        exog=x if x.shape[1] else None,
        mle_regression=False,
        use_exact_diffuse=True,
    )


def _averaged(model: Any, params: Floats, before: int) -> tuple[Floats, Floats]:
    """Return forecasts (h,) and covariance averaged over how much level and slope may walk.

    Where their variances are small the likelihood is flat, and a plug-in of its maximum, often zero, is too sure. The
    posterior under a flat prior on the standard deviations is summed over a grid, the other variances as estimated.
    """
    walks = [j for j, name in enumerate(model.param_names) if name in ("sigma2.level", "sigma2.trend")]
    best = model.filter(params)
    axes = [_plausible(model, params, j, float(best.llf)) for j in walks]
    weights, means, covariances = [], [], []
    for steps in product(*axes):
        tried = params.copy()
        tried[walks] = np.square(steps)
        told = model.filter(tried)
        weights.append(float(told.llf))
        mean, covariance = _carried_on(told.filter_results, before)
        means.append(mean)
        covariances.append(covariance)
    share = np.exp(np.array(weights) - max(weights))
    share /= share.sum()
    each = np.array(means)
    centre = share @ each
    joint = np.einsum("g,gij->ij", share, np.array(covariances))
    return centre, joint + (each - centre).T @ ((each - centre) * share[:, None])


def _plausible(model: Any, params: Floats, j: int, best: float) -> Floats:
    """Return standard deviations from zero to where the likelihood has fallen by `FALLEN`, evenly spaced."""
    top = max(float(np.sqrt(params[j])), SMALLEST_WALK)
    for _ in range(40):
        tried = params.copy()
        tried[j] = top**2
        if float(model.filter(tried).llf) < best - FALLEN:
            break
        top *= 1.4
    return np.linspace(0.0, top, GRID)


def _carried_on(told: Any, before: int) -> tuple[Floats, Floats]:
    """Return the forecasts (h,) and their joint covariance: ``Cov(α_k, α_h) = T^(k-h) P_h`` for k ≥ h."""
    design, transition = np.asarray(told.design), np.asarray(told.transition)[:, :, 0]
    n = told.nobs
    rows = design[0].T if design.shape[2] == n else np.repeat(design[0].T, n, axis=0)  # (n, states)
    state, spread = told.predicted_state[:, before:n], told.predicted_state_cov[:, :, before:n]
    if told.predicted_diffuse_state_cov is not None and np.abs(told.predicted_diffuse_state_cov[:, :, before]).max() > 0:  # fmt: skip
        spread = np.full_like(spread, np.inf)
    h = n - before
    covariance = float(np.asarray(told.obs_cov)[0, 0, 0]) * np.eye(h)
    carried = np.zeros((len(transition), 0))  # T^(k-h) P_h z_h for every h before k
    for k in range(h):
        carried = np.column_stack([transition @ carried, spread[:, :, k] @ rows[before + k]])
        shared = rows[before + k] @ carried
        covariance[k, : k + 1] += shared
        covariance[:k, k] += shared[:k]
    return np.einsum("ts,st->t", rows[before:], state), covariance

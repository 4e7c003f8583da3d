"""Parametric dose-response curves from the density of the dose given the covariates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special, stats

from causal_orchestrator.errors import DesignError, EstimationError
from causal_orchestrator.numerics.linear import independent_columns, least_squares
from causal_orchestrator.numerics.nuisance import with_intercept

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]
Density = Callable[[Floats], Floats]
FAMILIES = ("normal", "gamma (log link)", "gamma (inverse link)")

STEPS, TOLERANCE = 60, 1e-8
LOST = 0.1  # largest share of bootstrap samples in which a density may fail
STEP = 1e-4  # of the standard deviation of the dose, for derivatives


class Sample(Protocol):
    """What is taken from a problem."""

    @property
    def outcome(self) -> Floats: ...  # noqa: D102
    @property
    def treatment(self) -> Floats: ...  # noqa: D102
    @property
    def covariates(self) -> Floats: ...  # noqa: D102
    @property
    def weights(self) -> Floats | None: ...  # noqa: D102


@dataclass(frozen=True)
class Rows:
    """Outcome, dose, design (n, k) with an intercept, and weights (n,)."""

    outcome: Floats
    dose: Floats
    design: Floats
    weights: Floats

    def take(self, index: NDArray[np.int64]) -> Rows:
        """Return some of the rows, repeats allowed."""
        return Rows(self.outcome[index], self.dose[index], self.design[index], self.weights[index])


@dataclass(frozen=True)
class Fitted:
    """The response at each dose of the grid (g,), the mean derivative, and the density that was taken.

    score : shape (n, q)
        Of the cubic terms that the curve lacks; their sum is about zero if it lacks nothing.
    weights : shape (n,)
        Of the rows, where the curve rests on weights for their doses.
    """

    values: Floats
    slope: float
    family: str
    log_likelihood: float
    score: Floats
    weights: Floats | None = None


def rows_of(sample: Sample) -> Rows:
    """Return a problem's rows."""
    w = np.ones(len(sample.outcome)) if sample.weights is None else sample.weights
    design = with_intercept(sample.covariates)
    return Rows(sample.outcome, sample.treatment, design[:, independent_columns(design)], w)


def hirano_imbens(rows: Rows, grid: Floats, *, family: str | None = None) -> Fitted:
    """Regress the outcome on a full quadratic in the dose and its density, and average it over the rows at each dose.

    Parameters
    ----------
    family : the density of the dose; by default the likeliest of ``FAMILIES`` that the doses allow.

    References
    ----------
    Hirano & Imbens (2004), https://doi.org/10.1002/0470090456.ch7, section 7.4.
    """
    family, density, likelihood = _likeliest(rows, (family,) if family else FAMILIES)
    centre, unit = float(rows.dose.mean()), float(rows.dose.std())
    level = float(density(rows.dose).mean())

    def terms(dose: Floats) -> Floats:
        t, r = (dose - centre) / unit, density(dose) / level
        return np.column_stack([np.ones_like(t), t, t**2, r, r**2, t * r])

    fit = least_squares(terms(rows.dose), rows.outcome, rows.weights)
    t, r = (rows.dose - centre) / unit, density(rows.dose) / level
    cubic = np.column_stack([t**3, r**3, t**2 * r, t * r**2])
    score = _score(cubic, terms(rows.dose), rows.outcome - terms(rows.dose) @ fit.coefficients, rows.weights)

    def response(dose: Floats) -> Floats:
        return np.asarray(terms(dose) @ fit.coefficients)

    n = len(rows.dose)
    values = np.array([np.average(response(np.full(n, dose)), weights=rows.weights) for dose in grid])
    step = np.minimum(STEP * unit, rows.dose / 2) if family != "normal" else np.full(n, STEP * unit)
    slopes = (response(rows.dose + step) - response(rows.dose - step)) / (2 * step)
    return Fitted(values, float(np.average(slopes, weights=rows.weights)), family, likelihood, score)


def weighted_quadratic(rows: Rows, grid: Floats, *, family: str | None = "normal") -> Fitted:
    """Fit a quadratic in the dose with weights f(a) / f(a | x) of normal densities (a marginal structural model).

    References
    ----------
    Robins, Hernán & Brumback (2000), https://doi.org/10.1097/00001648-200009000-00011.
    """
    density, likelihood = _normal(rows)
    mean = float(np.average(rows.dose, weights=rows.weights))
    n = rows.weights.sum()
    spread = float(np.sqrt(rows.weights @ (rows.dose - mean) ** 2 / (n - 1)))
    weights = rows.weights * stats.norm.pdf(rows.dose, mean, spread) / np.maximum(density(rows.dose), np.finfo(float).tiny)  # fmt: skip
    t, at = (rows.dose - mean) / spread, (grid - mean) / spread
    fit = least_squares(np.vander(t, 3, increasing=True), rows.outcome, weights)
    slopes = (fit.coefficients[1] + 2 * fit.coefficients[2] * t) / spread
    values = np.vander(at, 3, increasing=True) @ fit.coefficients
    design = np.vander(t, 3, increasing=True)
    score = _score((t**3)[:, None], design, rows.outcome - design @ fit.coefficients, weights)
    return Fitted(values, float(np.average(slopes, weights=rows.weights)), "normal", likelihood, score, weights)


def _score(added: Floats, design: Floats, residuals: Floats, weights: Floats) -> Floats:
    """Return the scores (n, q) of added terms in a weighted regression, whatever the errors' variance.

    References
    ----------
    Wooldridge (1991), "On the application of robust, regression-based diagnostics", section 3,
    https://doi.org/10.1016/0304-4076(91)90031-8.
    """
    root = np.sqrt(weights)[:, None]
    projected = np.linalg.lstsq(design * root, added * root, rcond=None)[0]
    return (added - design @ projected) * (weights * residuals)[:, None]


def bootstrap(
    sample: Sample,
    grid: Floats,
    fit: Callable[[Rows, Floats], Fitted],
    *,
    draws: int,
    seed: int,
    cluster: Codes | None,
) -> Floats:
    """Return the slope and the curve (draws, 1 + g) in resamples of rows, or of clusters.

    Raises
    ------
    EstimationError
        If too many resamples fail (``BOOTSTRAP_FAILED``).
    """
    rng = np.random.default_rng(seed)
    rows, n = rows_of(sample), len(sample.outcome)
    groups = None if cluster is None else [np.flatnonzero(cluster == g) for g in range(int(cluster.max()) + 1)]
    found = []
    for _ in range(draws):
        if groups is None:
            index = rng.integers(0, n, n)
        else:
            index = np.concatenate([groups[g] for g in rng.integers(0, len(groups), len(groups))])
        try:
            told = fit(rows.take(index), grid)
        except (EstimationError, DesignError, np.linalg.LinAlgError):
            continue
        found.append([told.slope, *told.values])
    if len(found) < (1 - LOST) * draws:
        raise EstimationError(f"the density of the dose failed in {draws - len(found)} of {draws} bootstrap samples", code="BOOTSTRAP_FAILED")  # fmt: skip
    return np.array(found)


# --- densities ------------------------------------------------------------------------------------------------------


def _likeliest(rows: Rows, families: Sequence[str]) -> tuple[str, Density, float]:
    """Return the density with the highest likelihood: normal, or for positive doses gamma with either link."""
    found = []
    for family in families:
        if family == "normal":
            found.append((family, *_normal(rows)))
        elif rows.dose.min() > 0 and (told := _gamma(rows, family)) is not None:
            found.append((family, *told))
    if not found:
        raise EstimationError(f"no {families[0]} density fits the doses", code="NOT_CONVERGED")
    return max(found, key=lambda each: each[2])


def _normal(rows: Rows) -> tuple[Density, float]:
    fit = least_squares(rows.design, rows.dose, rows.weights)
    mean, k = rows.design @ fit.coefficients, len(fit.kept)
    total = rows.weights.sum()
    spread = float(np.sqrt(rows.weights @ fit.residuals**2 / (total - k)))
    if not spread > 1e-9 * float(rows.dose.std()):
        raise DesignError("covariates explain the dose exactly: nobody could have had another", code="POSITIVITY")
    return lambda dose: np.asarray(stats.norm.pdf(dose, mean, spread)), float(rows.weights @ stats.norm.logpdf(rows.dose, mean, spread))  # fmt: skip


def _gamma(rows: Rows, family: str) -> tuple[Density, float] | None:
    """Fit a gamma density by maximum likelihood (mean by scoring, then shape); None where the mean leaves its domain."""
    w, a = rows.weights, rows.dose
    mean = _log_mean(rows) if "log" in family else _inverse_mean(rows)
    if mean is None:
        return None
    gap = float(w @ (a / mean - 1 - np.log(a / mean)) / w.sum())  # half the mean deviance: log(k) - digamma(k)
    if not (np.isfinite(gap) and gap > 0):
        return None
    shape = float(optimize.brentq(lambda k: np.log(k) - special.digamma(k) - gap, 1e-6, 1e8))
    likelihood = float(w @ stats.gamma.logpdf(a, shape, scale=mean / shape))
    return lambda dose: np.asarray(stats.gamma.pdf(dose, shape, scale=mean / shape)), likelihood


def _log_mean(rows: Rows) -> Floats | None:
    """Return the mean (n,) of a gamma regression with logarithmic link, by scoring; its weights do not depend on it."""
    x, a, w = rows.design, rows.dose, rows.weights
    inverse = np.linalg.pinv((x * w[:, None]).T @ x, hermitian=True)
    eta = np.full(len(a), np.log(np.average(a, weights=w)))
    for _ in range(STEPS):
        step = x @ (inverse @ (x.T @ (w * (a * np.exp(-eta) - 1))))
        eta = eta + step / max(1.0, float(np.abs(step).max()))
        if np.abs(step).max() < TOLERANCE:
            return np.asarray(np.exp(eta))
    return None


def _inverse_mean(rows: Rows) -> Floats | None:
    """Return the mean (n,) of a gamma regression with inverse link: its likelihood Σ log η - a η is concave (Newton)."""
    x, a, w = rows.design, rows.dose, rows.weights
    beta = np.linalg.lstsq(x, np.full(len(a), 1 / np.average(a, weights=w)), rcond=None)[0]
    eta = x @ beta
    for _ in range(STEPS):
        gradient, hessian = x.T @ (w * (1 / eta - a)), (x * (w / eta**2)[:, None]).T @ x
        step = np.linalg.lstsq(hessian, gradient, rcond=None)[0]
        change = x @ step
        size = min(1.0, 0.9 / max(float((-change / eta).max()), 1e-300))
        beta, eta = beta + size * step, eta + size * change
        if float(np.abs(change / eta).max()) < TOLERANCE:
            return np.asarray(1 / eta)
    return None

"""What a dose does: cross-fitted doubly robust pseudo-outcomes, a local curve through them, the average derivative.

The regression μ(x, a) is linear in smooth features of covariates and dose, so that averages over the covariates and
derivatives in the dose are sums. The density π(a | x) is that of a location and scale model, on the scale (the dose or
its logarithm) on which the doses are less skewed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from causal_orchestrator.numerics import learners
from causal_orchestrator.numerics.folds import folds

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]

KNOTS = (0.1, 0.3, 0.5, 0.7, 0.95)  # quantiles of the dose; beyond the last the response is linear
MOST_CROSSED = 12  # covariates whose slope may change with the dose
RIESZ_RIDGE = 1e-3  # times the mean squared feature
BINS = 400  # the doses are counted in so many bins where densities and bandwidths are sought
DENSITY_ROWS = 5_000  # covariates over which a density is averaged
RESIDUALS = 2_000  # points at which the density of residuals is kept
MARGINAL_BINS = 100
TAIL = 0.05  # share of a normal in the density of residuals, so that none is impossible
LARGEST_RATIO = 20.0  # of marginal to conditional density; beyond it a row would decide alone
REACHED = 0.2  # a dose is within a row's reach if its density there is that share of the marginal one
BANDWIDTHS = np.geomspace(0.1, 2.0, 16)  # in standard deviations of the dose
LEAST_INSIDE = 15  # rows within a bandwidth
INNER = (0.025, 0.975)  # quantiles of the dose between which bandwidths are compared
WINSOR = (0.01, 0.99)  # quantiles to which pseudo-outcomes are brought there: their tails say nothing of the curve


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
    @property
    def cluster(self) -> Codes | None: ...  # noqa: D102
    @property
    def seed(self) -> int: ...  # noqa: D102


@dataclass(frozen=True)
class Pseudo:
    """Doubly robust pseudo-outcomes and what their errors come from.

    pseudo : shape (n,)
        Its regression on the dose is the dose-response curve.
    derivative : shape (n,)
        Its mean is the average derivative.
    regressions : one per fold, with `fold` (n,) saying whose row it serves.
    capped : share of density ratios that were brought down to `LARGEST_RATIO`.
    """

    pseudo: Floats
    derivative: Floats
    ratio: Floats
    fold: Codes
    regressions: tuple[Regression, ...]
    capped: float


@dataclass(frozen=True)
class Smooth:
    """Features of covariates and dose: ``[f(x), s(a), s(a) ⊗ z]`` with f, z given row by row and s by its knots."""

    rows: Floats
    crossed: Floats
    centre: float
    scale: float
    knots: Floats

    def of_dose(self, a: Floats) -> tuple[Floats, Floats]:
        """Return the dose's features (m, s) and their derivatives."""
        z = (a - self.centre) / self.scale
        over = [np.maximum(z - k, 0.0) for k in self.knots]
        bends = [over[j] ** 2 - over[-1] ** 2 for j in range(len(self.knots) - 1)]
        slopes = [2 * (over[j] - over[-1]) for j in range(len(self.knots) - 1)]
        ones = np.ones_like(z)
        return np.column_stack([z, *bends]), np.column_stack([ones, *slopes]) / self.scale

    def at(self, rows: NDArray[np.bool_] | slice, a: Floats) -> tuple[Floats, Floats]:
        """Return the features (m, k) of rows with doses `a` (m,), and their derivatives in the dose."""
        s, ds = self.of_dose(a)
        f, z = self.rows[rows], self.crossed[rows]
        both = [np.column_stack([part, *(part * z[:, [j]] for j in range(z.shape[1]))]) for part in (s, ds)]
        return np.column_stack([f, both[0]]), np.column_stack([np.zeros_like(f), both[1]])


@dataclass(frozen=True)
class Regression:
    """A fitted μ(x, a) = intercept + features·slopes."""

    smooth: Smooth
    intercept: float
    slopes: Floats

    def parts(self) -> tuple[Floats, Floats]:
        """Return what the covariates add by themselves (n,) and the coefficients (n, s) of each row's dose features."""
        f, z = self.smooth.rows.shape[1], self.smooth.crossed
        by_dose = self.slopes[f:].reshape(1 + z.shape[1], -1)
        return self.intercept + self.smooth.rows @ self.slopes[:f], by_dose[0] + z @ by_dose[1:]


def smooth_features(covariates: Floats, treatment: Floats) -> Smooth:
    """Return the features for these covariates (n, p) and doses (n,)."""
    spread = covariates.std(axis=0)
    z = (covariates - covariates.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    centre, scale = float(treatment.mean()), float(treatment.std())
    knots = np.unique(np.quantile((treatment - centre) / scale, KNOTS))
    rows = learners.features("interactions", covariates) if covariates.shape[1] else covariates
    return Smooth(rows, z[:, :MOST_CROSSED], centre, scale, knots)


def pseudo_outcomes(sample: Sample, count: int) -> Pseudo:
    """Return doubly robust pseudo-outcomes, cross-fitted over `count` folds.

    References
    ----------
    Kennedy, Ma, McHugh & Small (2017), https://doi.org/10.1111/rssb.12212, equation 3, for the curve; Chernozhukov,
    Newey & Singh (2022), https://doi.org/10.3982/ECTA18515, for the derivative by a learned Riesz representer.
    """
    y, a, n = sample.outcome, sample.treatment, len(sample.outcome)
    w = np.ones(n) if sample.weights is None else sample.weights
    smooth = smooth_features(sample.covariates, a)
    fold = folds(a, count, seed=sample.seed, cluster=sample.cluster)
    own, slope = smooth.at(slice(None), a)
    pseudo, derivative, ratio = np.empty(n), np.empty(n), np.empty(n)
    fitted = []
    for k in range(int(fold.max()) + 1):
        into, held = fold != k, fold == k
        found = _regression(smooth, own, y, w, into)
        fitted.append(found)
        base, by_dose = found.parts()
        s, _ = smooth.of_dose(a[held])
        mean = np.average(base, weights=w) + s @ np.average(by_dose, axis=0, weights=w)
        left = y[held] - found.intercept - own[held] @ found.slopes
        ratio[held] = _density_ratio(sample.covariates, a, w, into, held)
        pseudo[held] = np.minimum(ratio[held], LARGEST_RATIO) * left + mean
        derivative[held] = slope[held] @ found.slopes + _riesz(own, slope, w, into, held) * left
    return Pseudo(pseudo, derivative, ratio, fold, tuple(fitted), float((ratio > LARGEST_RATIO).mean()))


def _regression(smooth: Smooth, own: Floats, y: Floats, w: Floats, into: NDArray[np.bool_]) -> Regression:
    centre, spread = own[into].mean(axis=0), own[into].std(axis=0)
    spread = np.where(spread > 0, spread, 1.0)
    level, unit = float(y[into].mean()), float(y[into].std()) or 1.0
    predict = learners.ridge_regression((own[into] - centre) / spread, (y[into] - level) / unit, w[into])
    origin = float(predict(np.zeros((1, own.shape[1])))[0])
    slopes = (predict(np.eye(own.shape[1])) - origin) * unit / spread
    return Regression(smooth, level + unit * origin - float(centre @ slopes), slopes)


def _riesz(own: Floats, slope: Floats, w: Floats, into: NDArray[np.bool_], held: NDArray[np.bool_]) -> Floats:
    """Return α (held,) with E[α g] = E[∂g/∂a] for every g in the span of the features, learned on `into`."""
    centre, spread = own[into].mean(axis=0), own[into].std(axis=0)
    spread = np.where(spread > 0, spread, 1.0)
    x = np.column_stack([np.ones(len(own)), (own - centre) / spread])
    target = np.concatenate([[0.0], np.average(slope[into] / spread, axis=0, weights=w[into])])
    gram = (x[into] * w[into][:, None]).T @ x[into] / w[into].sum()
    ridge = RIESZ_RIDGE * np.diag([0.0, *np.ones(own.shape[1])])
    return np.asarray(x[held] @ np.linalg.solve(gram + ridge, target))


# --- the density of the dose ----------------------------------------------------------------------------------------


def working_scale(a: Floats) -> tuple[Floats, Callable[[Floats], Floats]]:
    """Return the doses on the scale on which they are less skewed, and how others get there."""
    if a.min() > 0 and abs(stats.skew(np.log(a))) < abs(stats.skew(a)):
        return np.log(a), lambda other: np.asarray(np.log(other))
    return a, lambda other: other


def _density_ratio(x: Floats, a: Floats, w: Floats, into: NDArray[np.bool_], held: NDArray[np.bool_]) -> Floats:
    """Return marginal over conditional density (held,) of each row's dose; the marginal averages the conditional."""
    u, _ = working_scale(a)
    conditional = _conditional_density(x, u, w, into)
    everyone = np.arange(len(u))[:: max(1, len(u) // DENSITY_ROWS)]
    grid = np.linspace(u.min(), u.max(), MARGINAL_BINS)
    marginal = [np.average(conditional(np.full(len(everyone), g), everyone), weights=w[everyone]) for g in grid]
    top, bottom = np.interp(u[held], grid, marginal), conditional(u[held], np.flatnonzero(held))
    return np.asarray(top / np.maximum(bottom, 1e-6 * top + np.finfo(float).tiny))


def within_reach(sample: Sample, grid: Floats) -> Floats:
    """Return for each dose of `grid` the share (g,) of rows whose density there is not far below the average one."""
    n = len(sample.outcome)
    w = np.ones(n) if sample.weights is None else sample.weights
    u, onto = working_scale(sample.treatment)
    conditional = _conditional_density(sample.covariates, u, w, np.ones(n, dtype=bool))
    everyone = np.arange(n)[:: max(1, n // DENSITY_ROWS)]
    found = [conditional(np.full(len(everyone), dose), everyone) for dose in onto(grid)]
    return np.array([np.average(d > REACHED * np.average(d, weights=w[everyone]), weights=w[everyone]) for d in found])


def _conditional_density(x: Floats, u: Floats, w: Floats, into: NDArray[np.bool_]) -> Callable[[Floats, Codes], Floats]:
    """Return the density of doses (m,) for given rows (m,), learned on `into`."""
    middle, width = _location_and_scale(x, u, w, into)
    residual = (u[into] - middle[into]) / width[into]
    at = np.linspace(residual.min() - 3.0, residual.max() + 3.0, RESIDUALS)
    density = _kernel_density(residual, w[into], at)

    def conditional(dose: Floats, who: Codes) -> Floats:
        return np.asarray(np.interp((dose - middle[who]) / width[who], at, density, left=0.0, right=0.0) / width[who])

    return conditional


def _location_and_scale(x: Floats, u: Floats, w: Floats, into: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Return E[u | x] and the conditional standard deviation (n,), learned on `into`; log-variance is linear in x."""
    if not x.shape[1]:
        return np.full(len(u), np.average(u[into], weights=w[into])), np.full(len(u), u[into].std())
    seen, plain = learners.features("interactions", x), learners.features("linear", x)
    unit = float(u[into].std())
    middle = unit * learners.ridge_regression(seen[into], u[into] / unit, w[into])(seen)
    squared = (u - middle) ** 2
    overall = float(np.average(squared[into], weights=w[into]))
    log_variance = learners.ridge_regression(plain[into], np.log(squared[into] / overall + 1e-3), w[into])(plain)
    shape = np.exp(np.clip(log_variance - log_variance[into].mean(), -3.0, 3.0))
    level = float(np.average(squared[into] / shape[into], weights=w[into]))
    return middle, np.sqrt(shape * level)


def _kernel_density(values: Floats, w: Floats, at: Floats) -> Floats:
    """Return a Gaussian kernel density (m,), by counts on the grid `at`; Silverman's bandwidth."""
    step = at[1] - at[0]
    spread = min(float(values.std()), float(np.subtract(*np.quantile(values, [0.75, 0.25]))) / 1.349)
    bandwidth = max(0.9 * spread * len(values) ** -0.2, step)
    counts = _spread_out(values, w, at)
    reach = np.arange(-int(4 * bandwidth / step), int(4 * bandwidth / step) + 1) * step
    density = np.convolve(counts, stats.norm.pdf(reach / bandwidth) / bandwidth, mode="same") / w.sum()
    return np.asarray((1 - TAIL) * density + TAIL * stats.norm.pdf(at, values.mean(), 2 * values.std()))


def _spread_out(values: Floats, w: Floats, at: Floats) -> Floats:
    """Return the weight (m,) at each grid point, each value's shared between its two neighbours."""
    place = np.clip((values - at[0]) / (at[1] - at[0]), 0, len(at) - 1 - 1e-9)
    left = place.astype(np.int64)
    part = place - left
    return np.asarray(np.bincount(left, w * (1 - part), len(at)) + np.bincount(left + 1, w * part, len(at)))


# --- the curve ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Curve:
    """The response at each dose of a grid (g,) with its influence (n, g)."""

    values: Floats
    influence: Floats
    bandwidth: float


def bandwidth(dose: Floats, pseudo: Floats, w: Floats) -> float:
    """Return the bandwidth of local linear regression with the least leave-one-out squared error, on counted doses.

    References
    ----------
    Kennedy et al. (2017), section 3.5: the outcome of cross-validation is the pseudo-outcome.
    """
    at = np.linspace(dose.min(), dose.max(), BINS)
    y = np.clip(pseudo, *np.quantile(pseudo, WINSOR))
    low, high = np.quantile(dose, INNER)
    inner = (dose >= low) & (dose <= high)
    count, total = _spread_out(dose, w, at), _spread_out(dose, w * y, at)
    gap = at[None, :] - at[:, None]
    best, least = float(BANDWIDTHS[-1] * dose.std()), float("inf")
    for h in BANDWIDTHS * dose.std():
        if min(_inside(dose, low, h), _inside(dose, high, h)) < LEAST_INSIDE:
            continue
        kernel = _epanechnikov(gap / h)
        s0, s1, s2 = kernel @ count, (kernel * gap) @ count, (kernel * gap**2) @ count
        det = np.maximum(s0 * s2 - s1**2, 1e-9 * s0**2 * h**2 + np.finfo(float).tiny)
        mean = np.interp(dose[inner], at, (s2 * (kernel @ total) - s1 * ((kernel * gap) @ total)) / det)
        leverage = w[inner] * np.interp(dose[inner], at, 0.75 * s2 / det)
        error = (y[inner] - mean) / (1 - np.minimum(leverage, 0.5))
        loss = float(np.average(error**2, weights=w[inner]))
        if loss < least:
            best, least = float(h), loss
    return best


def _inside(dose: Floats, at: float, h: float) -> int:
    return int(np.count_nonzero(np.abs(dose - at) < h))


def _epanechnikov(z: Floats) -> Floats:
    return np.asarray(0.75 * np.maximum(1 - z**2, 0.0))


def curve(found: Pseudo, sample: Sample, grid: Floats) -> Curve:
    """Return the response at each dose of `grid`, by local quadratic regression at the local linear bandwidth.

    That is the local linear curve less its estimated bias, whose interval is centred where it should be.

    References
    ----------
    Kennedy et al. (2017), theorem 3, for the influence (with the part of the averaged regression); Calonico, Cattaneo
    & Titiunik (2014), remark 7, and Takatsu & Westling (2025), https://doi.org/10.1093/jrsssb/qkae117, for the
    correction of the bias.
    """
    n = len(sample.outcome)
    w = np.ones(n) if sample.weights is None else sample.weights
    u, onto = working_scale(sample.treatment)
    h = bandwidth(u, found.pseudo, w)
    bases, by_doses = zip(*(regression.parts() for regression in found.regressions), strict=True)
    s, _ = found.regressions[0].smooth.of_dose(sample.treatment)
    values, influence = np.empty(len(grid)), np.empty((n, len(grid)))
    for g, dose in enumerate(onto(grid)):
        pull, values[g], left = _local(u, found.pseudo, w, float(dose), h)
        influence[:, g] = n * pull * left
        for k, (base, by_dose) in enumerate(zip(bases, by_doses, strict=True)):
            inside = np.where(found.fold == k, pull, 0.0)
            through = inside.sum() * base + by_dose @ (inside @ s)
            influence[:, g] += w / w.mean() * (through - np.average(through, weights=w))
    return Curve(values, influence, h)


def _local(u: Floats, pseudo: Floats, w: Floats, dose: float, h: float) -> tuple[Floats, float, Floats]:
    """Return the weights (n,) of a local quadratic fit at `dose`, its value and the residuals without each row (n,)."""
    z = (u - dose) / h
    while np.count_nonzero(np.abs(z) < 1) < LEAST_INSIDE:
        z = z / 1.25
    kernel = _epanechnikov(z) * w
    design = np.column_stack([np.ones_like(z), z, z**2])
    gram = (design * kernel[:, None]).T @ design
    inverse = np.linalg.pinv(gram, hermitian=True)
    beta = inverse @ (design.T @ (kernel * pseudo))
    leverage = kernel * ((design @ inverse) * design).sum(axis=1)
    left = (pseudo - design @ beta) / np.maximum(1 - leverage, 0.5)
    return kernel * (design @ inverse[0]), float(beta[0]), left

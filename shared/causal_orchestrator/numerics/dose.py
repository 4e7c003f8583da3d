"""What a dose does: cross-fitted doubly robust pseudo-outcomes, a local curve through them, the average derivative.

The regression μ(x, a) is a stack of ridge fits in smooth features of covariates and dose and of boosted trees; the
density π(a | x) is a mixture of location and scale models, whose location is learned by ridge and by trees, on the
scale (the dose or its logarithm) on which the doses are less skewed. Every row is served by the fits of other folds, and
the shares are those of least cross-fitted loss.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from threadpoolctl import threadpool_limits

from causal_orchestrator.numerics import learners
from causal_orchestrator.numerics.folds import folds
from causal_orchestrator.numerics.nuisance import stack_shares

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]
Rows = NDArray[np.bool_]

KNOTS = (0.1, 0.3, 0.5, 0.7, 0.95)  # quantiles of the dose; beyond the last the response is linear
MOST_CROSSED = 12  # covariates whose slope may change with the dose
MOST_BENT = 24  # functions of covariates that the bends in the dose may depend on
NODES, TREE_NODES = 48, 16  # doses at which ridge and the slower trees are averaged over the covariates
STEP = 0.25  # of the standard deviation of the dose: trees' derivative is that over so much either side
RIESZ_RIDGES = np.geomspace(1e-4, 1.0, 7)  # times the mean squared feature
RIESZ_PARTS = 5  # among which the ridge is chosen
BINS = 400  # the doses are counted in so many bins where bandwidths are sought
DENSITY_ROWS = 2_000  # covariates over which a density is averaged
RESIDUALS = 2_000  # points at which the density of residuals is kept
MIXING = 50  # steps to the likeliest mixture of densities
TAIL = 0.05  # share of a normal in the density of residuals, so that none is impossible
LARGEST_RATIO = 20.0  # of marginal to conditional density; beyond it a row would decide alone
REACHED = 0.2  # a dose is within a row's reach if its density there is that share of the marginal one
TAPER = (0.05, 0.2)  # quantiles between which a row's weight in the average derivative rises, at a crowded end
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
        Its mean over that of `counted` (n,) is the average derivative, of the rows that count there.
    ratio : shape (n,)
        Marginal over conditional density of a row's own dose.
    nodes, table : shapes (g,) and (n, g)
        Doses on their working scale, and what each row's regression says there.
    lowest, highest : shape (n, g)
        What the learners of the stack say there at the least and at the most.
    capped : share of density ratios that were brought down to `LARGEST_RATIO`.
    shares : of the learners, for the outcome and for the density.
    """

    pseudo: Floats
    derivative: Floats
    counted: Floats
    ratio: Floats
    fold: Codes
    nodes: Floats
    table: Floats
    lowest: Floats
    highest: Floats
    density: Density
    capped: float
    shares: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Scale:
    """The scale on which doses are less skewed: the dose or its logarithm."""

    logarithm: bool

    def of(self, a: Floats) -> Floats:
        """Return doses (m,) on this scale."""
        return np.asarray(np.log(a)) if self.logarithm else a

    def back(self, u: Floats) -> Floats:
        """Return doses (m,) from this scale."""
        return np.asarray(np.exp(u)) if self.logarithm else u

    def slope(self, a: Floats) -> Floats:
        """Return the scale's derivative in the dose (m,)."""
        return 1 / a if self.logarithm else np.ones_like(a)


def working_scale(a: Floats) -> Scale:
    """Return the scale on which the doses (n,) are less skewed."""
    return Scale(bool(a.min() > 0 and abs(stats.skew(np.log(a))) < abs(stats.skew(a))))


# --- the outcome ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Smooth:
    """Features of covariates and dose: ``[f(x), s(a), s(a) ⊗ z]`` with f, z given row by row and s by its knots."""

    rows: Floats
    crossed: Floats
    scale: Scale
    centre: float
    spread: float
    knots: Floats

    def of_dose(self, a: Floats) -> tuple[Floats, Floats]:
        """Return the dose's features (m, s) and their derivatives."""
        z = (self.scale.of(a) - self.centre) / self.spread
        over = [np.maximum(z - k, 0.0) for k in self.knots]
        bends = [over[j] ** 2 - over[-1] ** 2 for j in range(len(self.knots) - 1)]
        slopes = [2 * (over[j] - over[-1]) for j in range(len(self.knots) - 1)]
        inner = self.scale.slope(a) / self.spread
        return np.column_stack([z, *bends]), np.column_stack([np.ones_like(z), *slopes]) * inner[:, None]

    def at(self, rows: Rows | slice, a: Floats) -> tuple[Floats, Floats]:
        """Return the features (m, k) of rows with doses `a` (m,), and their derivatives in the dose."""
        s, ds = self.of_dose(a)
        f, z = self.rows[rows], self.crossed[rows]
        both = [np.column_stack([part, *(part * z[:, [j]] for j in range(z.shape[1]))]) for part in (s, ds)]
        return np.column_stack([f, both[0]]), np.column_stack([np.zeros_like(f), both[1]])


@dataclass(frozen=True)
class Regression:
    """A fitted μ(x, a): at the held rows' own doses with its derivative (m,), and for any doses (g,) as a table."""

    own: Floats
    slope: Floats
    table: Callable[[Floats], Floats]


def smooth_features(covariates: Floats, treatment: Floats) -> tuple[Smooth, ...]:
    """Return the features for these covariates (n, p) and doses (n,): of the dose as it is, and richer ones.

    The richer ones are on the working scale, and their bends depend on all functions of the covariates, where these
    are few; where they would be the same as the first they are left out.
    """
    spread = covariates.std(axis=0)
    z = (covariates - covariates.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    rows = learners.features("interactions", covariates) if covariates.shape[1] else covariates
    scale, few = working_scale(treatment), 0 < rows.shape[1] <= MOST_BENT
    plain = _smooth(rows, z[:, :MOST_CROSSED], treatment, Scale(False))
    if not (few or scale.logarithm):
        return (plain,)
    return plain, _smooth(rows, rows if few else z[:, :MOST_CROSSED], treatment, scale)


def _smooth(rows: Floats, crossed: Floats, a: Floats, scale: Scale) -> Smooth:
    u = scale.of(a)
    centre, spread = float(u.mean()), float(u.std())
    return Smooth(rows, crossed, scale, centre, spread, np.unique(np.quantile((u - centre) / spread, KNOTS)))


def pseudo_outcomes(sample: Sample, count: int, *, ends: tuple[bool, bool] = (False, False)) -> Pseudo:
    """Return doubly robust pseudo-outcomes, cross-fitted over `count` folds.

    Parameters
    ----------
    ends : whether doses crowd at the lower and at the upper end of their range. There the average derivative has no
        bounded Riesz representer; rows near a crowded end count less, and those at it nothing.

    References
    ----------
    Kennedy, Ma, McHugh & Small (2017), https://doi.org/10.1111/rssb.12212, equation 3, for the curve; Chernozhukov,
    Newey & Singh (2022), https://doi.org/10.3982/ECTA18515, for the derivative by a learned Riesz representer; Powell,
    Stock & Stoker (1989), https://doi.org/10.2307/1913713, for weights that vanish at the ends.
    """
    y, a, n = sample.outcome, sample.treatment, len(sample.outcome)
    w = np.ones(n) if sample.weights is None else sample.weights
    fold = folds(a, count, seed=sample.seed, cluster=sample.cluster)
    scale = working_scale(a)
    counted = _counted(a, ends)
    with threadpool_limits(limits=1):
        found = _regressions(sample, w, fold, scale, counted)
        density, mixed = _density(sample.covariates, scale.of(a), w, fold, sample.seed)
    ratio = _density_ratio(density, scale.of(a), found.nodes, w)
    left = y - found.own
    mean = _averaged(found.table, found.nodes, scale.of(a), w, fold)
    return Pseudo(
        pseudo=np.minimum(ratio, LARGEST_RATIO) * left + mean,
        derivative=counted * found.slope + found.riesz * left,
        counted=counted,
        ratio=ratio,
        fold=fold,
        nodes=found.nodes,
        table=found.table,
        lowest=found.lowest,
        highest=found.highest,
        density=density,
        capped=float((ratio > LARGEST_RATIO).mean()),
        shares={"outcome": found.shares, "density": mixed},
    )


def _counted(a: Floats, ends: tuple[bool, bool]) -> Floats:
    """Return how much each row (n,) counts in the average derivative: one but near a crowded end."""
    out = np.ones_like(a)
    for crowded, side in zip(ends, (1.0, -1.0), strict=True):
        if crowded:
            low, high = np.quantile(side * a, TAPER)
            out *= np.clip((side * a - low) / max(high - low, np.finfo(float).tiny), 0.0, 1.0)
    return out if out.any() else np.ones_like(a)


@dataclass(frozen=True)
class Stacked:
    """μ and its derivative at the rows' doses (n,), α (n,), nodes (g,), μ there and its extremes (n, g), and shares."""

    own: Floats
    slope: Floats
    riesz: Floats
    nodes: Floats
    table: Floats
    lowest: Floats
    highest: Floats
    shares: dict[str, float]


def _regressions(sample: Sample, w: Floats, fold: Codes, scale: Scale, counted: Floats) -> Stacked:
    y, a, x = sample.outcome, sample.treatment, sample.covariates
    smooths = smooth_features(x, a)
    features = [smooth.at(slice(None), a) for smooth in smooths]
    every, bends = (np.column_stack([each[j] for each in features]) for j in (0, 1))
    names = (*("smooth", "bent")[: len(smooths)], "boosting")
    own, slope = np.empty((len(y), len(names))), np.empty((len(y), len(names)))
    riesz, rise, fitted = np.empty(len(y)), np.empty(len(y)), []
    for k in range(int(fold.max()) + 1):
        into, held = fold != k, fold == k
        found = [_ridge(smooth, *pair, y, w, into, held) for smooth, pair in zip(smooths, features, strict=True)]
        found.append(_boosted(x, scale, a, y, w, into, held, sample.seed))
        fitted.append(found)
        own[held] = np.column_stack([each.own for each in found])
        slope[held] = np.column_stack([each.slope for each in found])
        riesz[held], rise[held] = _riesz(every, bends, counted, w, into, held)
    # The ridge has shrunk α; on the rows that it was not learned on its least loss is at this multiple of it.
    riesz *= float(w @ (counted * rise)) / float(w @ riesz**2)
    shares = stack_shares(own, y, w)
    nodes = np.unique(np.quantile(scale.of(a), np.linspace(0, 1, NODES)))
    table, lowest, highest = (np.empty((len(y), len(nodes))) for _ in range(3))
    for k, found in enumerate(fitted):
        each = np.stack([one.table(scale.back(nodes)) for one in found])
        table[fold == k], lowest[fold == k], highest[fold == k] = np.tensordot(shares, each, 1), each.min(0), each.max(0)  # fmt: skip
    mixed = dict(zip(names, shares.tolist(), strict=True))
    return Stacked(own @ shares, slope @ shares, riesz, nodes, table, lowest, highest, mixed)


def _ridge(smooth: Smooth, own: Floats, slope: Floats, y: Floats, w: Floats, into: Rows, held: Rows) -> Regression:
    centre, spread = own[into].mean(axis=0), own[into].std(axis=0)
    spread = np.where(spread > 0, spread, 1.0)
    level, unit = float(y[into].mean()), float(y[into].std()) or 1.0
    line = learners.ridge_regression((own[into] - centre) / spread, (y[into] - level) / unit, w[into])
    slopes = line.slopes * unit / spread
    intercept = level + unit * line.intercept - float(centre @ slopes)

    def table(doses: Floats) -> Floats:
        f, z = smooth.rows.shape[1], smooth.crossed[held]
        by_dose = slopes[f:].reshape(1 + z.shape[1], -1)
        alone = intercept + smooth.rows[held] @ slopes[:f]
        return np.asarray(alone[:, None] + (by_dose[0] + z @ by_dose[1:]) @ smooth.of_dose(doses)[0].T)

    return Regression(intercept + own[held] @ slopes, slope[held] @ slopes, table)


def _boosted(x: Floats, scale: Scale, a: Floats, y: Floats, w: Floats, into: Rows, held: Rows, seed: int) -> Regression:
    u = scale.of(a)
    level, unit = float(y[into].mean()), float(y[into].std()) or 1.0
    learned = learners.fit("boosting", np.column_stack([x, u])[into], (y[into] - level) / unit, _some(w, into), kind="mean", seed=seed)  # fmt: skip

    def at(dose: Floats) -> Floats:
        return level + unit * learned(np.column_stack([x[held], dose]))

    step, m = STEP * float(u.std()), int(held.sum())
    slope = (at(u[held] + step) - at(u[held] - step)) / (2 * step) * scale.slope(a[held])

    def table(doses: Floats) -> Floats:
        nodes = scale.of(doses)
        few = nodes[np.unique(np.linspace(0, len(nodes) - 1, TREE_NODES).round().astype(np.int64))]
        told = learned(np.column_stack([np.tile(x[held], (len(few), 1)), np.repeat(few, m)]))
        left, way = _hats(nodes, few)
        rows = told.reshape(len(few), m).T
        return np.asarray(level + unit * (rows[:, left] * (1 - way) + rows[:, left + 1] * way))

    return Regression(at(u[held]), slope, table)


def _some(w: Floats, into: Rows) -> Floats | None:
    """Return the weights of some rows, None if they are all one: learners are then quicker."""
    return None if np.all(w == 1) else w[into]


def _riesz(own: Floats, slope: Floats, counted: Floats, w: Floats, into: Rows, held: Rows) -> tuple[Floats, Floats]:
    """Return α (held,) and its derivative in the dose, with E[α g] = E[c ∂g/∂a] for every g in the span of the features, learned on `into`.

    The ridge is that of least loss on rows left out, E[α² - 2 c ∂α/∂a]; α goes no farther than on the rows that it was
    learned on, for its products of features know no bound.
    """
    centre, spread = own[into].mean(axis=0), own[into].std(axis=0)
    spread = np.where(spread > 0, spread, 1.0)
    x = np.column_stack([np.ones(len(own)), (own - centre) / spread])
    derivative = np.column_stack([np.zeros(len(own)), counted[:, None] * slope / spread])
    penalty = np.diag([0.0, *np.ones(own.shape[1])])
    parts = [np.flatnonzero(into)[j::RIESZ_PARTS] for j in range(RIESZ_PARTS)]
    grams = [(x[rows] * w[rows, None]).T @ x[rows] / w[into].sum() for rows in parts]
    targets = [w[rows] @ derivative[rows] / w[into].sum() for rows in parts]
    gram, target = np.sum(grams, axis=0), np.sum(targets, axis=0)

    def loss(ridge: float) -> float:
        missed = 0.0
        for g, t in zip(grams, targets, strict=True):
            rho = np.linalg.solve(gram - g + ridge * penalty, target - t)
            missed += float(rho @ g @ rho - 2 * t @ rho)
        return missed

    rho = np.linalg.solve(gram + min(RIESZ_RIDGES, key=loss) * penalty, target)
    seen = x[into] @ rho
    return np.clip(x[held] @ rho, seen.min(), seen.max()), slope[held] @ (rho[1:] / spread)


def _hats(u: Floats, nodes: Floats) -> tuple[Codes, Floats]:
    """Return the node to the left of each dose (m,) and the way to the next."""
    left = np.clip(np.searchsorted(nodes, u, side="right") - 1, 0, len(nodes) - 2)
    return left, np.clip((u - nodes[left]) / (nodes[left + 1] - nodes[left]), 0.0, 1.0)


def _averaged(table: Floats, nodes: Floats, u: Floats, w: Floats, fold: Codes) -> Floats:
    """Return the regression at each row's dose (n,), averaged over the covariates of its fold."""
    out = np.empty(len(u))
    for k in range(int(fold.max()) + 1):
        held = fold == k
        out[held] = np.interp(u[held], nodes, np.average(table[held], axis=0, weights=w[held]))
    return out


# --- the density of the dose ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Density:
    """A mixture of location and scale models of the dose, on its working scale, given each row's covariates."""

    middle: Floats  # (n, models)
    width: Floats  # (n, models)
    grid: Floats  # (models, points) of residuals
    height: Floats  # (models, points)
    shares: Floats  # (models,)

    def each(self, u: Floats, rows: Codes | slice = slice(None)) -> Floats:
        """Return what each model says of doses (m,) of the rows (m, models)."""
        middle, width = self.middle[rows], self.width[rows]
        z = (u[:, None] - middle) / width
        told = [np.interp(z[:, j], self.grid[j], self.height[j], left=0.0, right=0.0) for j in range(z.shape[1])]
        return np.column_stack(told) / width

    def everywhere(self, dose: float, rows: Codes) -> Floats:
        """Return the density of one dose for each of the rows."""
        return np.asarray(self.each(np.full(len(rows), dose), rows) @ self.shares)


def _density(x: Floats, u: Floats, w: Floats, fold: Codes, seed: int) -> tuple[Density, dict[str, float]]:
    names = ("interactions", "boosting") if x.shape[1] else ("mean",)
    found = [_location_and_scale(name, x, u, w, fold, seed) for name in names]
    middle, width = (np.column_stack([each[j] for each in found]) for j in (0, 1))
    residual = (u[:, None] - middle) / width
    grid = np.linspace(residual.min(axis=0) - 3.0, residual.max(axis=0) + 3.0, RESIDUALS).T
    height = np.array([_kernel_density(residual[:, j], w, grid[j]) for j in range(len(names))])
    alike = Density(middle, width, grid, height, np.full(len(names), 1 / len(names)))
    shares = _likeliest_mixture(alike.each(u), w)
    return Density(middle, width, grid, height, shares), dict(zip(names, shares.tolist(), strict=True))


def _likeliest_mixture(density: Floats, w: Floats) -> Floats:
    """Return the shares (models,) of highest cross-fitted likelihood, by expectation and maximisation."""
    shares = np.full(density.shape[1], 1 / density.shape[1])
    for _ in range(MIXING):
        joint = density * shares + np.finfo(float).tiny
        shares = np.average(joint / joint.sum(axis=1, keepdims=True), axis=0, weights=w)
    return np.asarray(shares)


def _location_and_scale(name: str, x: Floats, u: Floats, w: Floats, fold: Codes, seed: int) -> tuple[Floats, Floats]:
    """Return E[u | x] and the conditional standard deviation (n,), out of fold; log-variance is linear in x."""
    unit = float(u.std())
    middle = unit * _out_of_fold(name, x, u / unit, w, fold, seed)
    squared = (u - middle) ** 2
    overall = float(np.average(squared, weights=w))
    log_variance = _out_of_fold("linear" if x.shape[1] else "mean", x, np.log(squared / overall + 1e-3), w, fold, seed)
    shape = np.exp(np.clip(log_variance - log_variance.mean(), -3.0, 3.0))
    return middle, np.sqrt(shape * float(np.average(squared / shape, weights=w)))


def _out_of_fold(name: str, x: Floats, target: Floats, w: Floats, fold: Codes, seed: int) -> Floats:
    seen, out = learners.features(name, x), np.empty(len(target))
    for k in range(int(fold.max()) + 1):
        into, held = fold != k, fold == k
        out[held] = learners.fit(name, seen[into], target[into], _some(w, into), kind="mean", seed=seed)(seen[held])
    return out


def _density_ratio(density: Density, u: Floats, nodes: Floats, w: Floats) -> Floats:
    """Return marginal over conditional density (n,) of each row's dose; the marginal averages the conditional."""
    everyone = _everyone(len(u))
    marginal = [np.average(density.everywhere(node, everyone), weights=w[everyone]) for node in nodes]
    top, bottom = np.interp(u, nodes, marginal), density.each(u) @ density.shares
    return np.asarray(top / np.maximum(bottom, 1e-6 * top + np.finfo(float).tiny))


def _everyone(n: int) -> Codes:
    return np.arange(n)[:: max(1, n // DENSITY_ROWS)]


@dataclass(frozen=True)
class Reach:
    """For each dose of a grid (g,): the share of rows that it was possible for, and how far the others may be out.

    `below` and `above` are how much lower and higher the curve would be if the regression of the rows beyond reach were
    the learner's that says the least or the most: ridge goes on with a trend, trees stay where they were.
    """

    share: Floats
    below: Floats
    above: Floats


def reach(found: Pseudo, sample: Sample, grid: Floats) -> Reach:
    """Return who could have had each dose of `grid`: those whose density there is not far below the average one."""
    who = _everyone(len(sample.outcome))
    w = np.ones(len(who)) if sample.weights is None else sample.weights[who]
    w = w / w.sum()
    gaps = np.stack([(found.table - found.lowest)[who], (found.highest - found.table)[who]])
    told = []
    for u in working_scale(sample.treatment).of(grid):
        density = found.density.everywhere(u, who)
        beyond = w * (density <= REACHED * float(w @ density))
        left, way = _hats(np.array([u]), found.nodes)
        gap = gaps[:, :, left[0]] * (1 - way[0]) + gaps[:, :, left[0] + 1] * way[0]
        told.append([1 - beyond.sum(), *(gap @ beyond)])
    return Reach(*np.array(told).T)


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
    """The response at each dose of a grid (g,) with its influence (n, g) and the effective number of rows (g,)."""

    values: Floats
    influence: Floats
    bandwidth: float
    effective: Floats


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
    scale = working_scale(sample.treatment)
    u = scale.of(sample.treatment)
    h = bandwidth(u, found.pseudo, w)
    left, way = _hats(u, found.nodes)
    ratio = np.minimum(found.ratio, LARGEST_RATIO)
    values, influence, effective = np.empty(len(grid)), np.empty((n, len(grid))), np.empty(len(grid))
    for g, dose in enumerate(scale.of(grid)):
        pull, values[g], error = _local(u, found.pseudo, w, float(dose), h)
        influence[:, g] = n * pull * error
        near = _epanechnikov((u - dose) / h) * w * ratio
        effective[g] = near.sum() ** 2 / max(float(near @ near), np.finfo(float).tiny)
        for k in range(int(found.fold.max()) + 1):
            held = found.fold == k
            nodes = np.bincount(left[held], (pull * (1 - way))[held], len(found.nodes))
            nodes += np.bincount(left[held] + 1, (pull * way)[held], len(found.nodes))
            through = found.table[held] @ nodes
            influence[held, g] += n * w[held] / w[held].sum() * (through - np.average(through, weights=w[held]))
    return Curve(values, influence, h, effective)


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

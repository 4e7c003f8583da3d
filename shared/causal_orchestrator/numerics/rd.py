"""Local polynomials on both sides of a cutoff: bandwidths, estimates with robust bias-corrected errors, density test.

Letters follow Calonico, Cattaneo & Titiunik (2014), https://doi.org/10.3982/ECTA11757, and Calonico, Cattaneo, Farrell &
Titiunik (2019), https://doi.org/10.1162/rest_a_00760: p is the order of the estimate, q = p + 1 that of the bias, h and b
their bandwidths.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from causal_orchestrator.errors import DesignError
from causal_orchestrator.numerics.inference import sum_by

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]
Kernel = Literal["triangular", "uniform", "epanechnikov"]
Rule = Literal["mserd", "msetwo", "msesum", "msecomb1", "msecomb2", "cerrd", "certwo", "cersum", "cercomb1", "cercomb2"]

NEIGHBOURS = 3  # behind each row's variance
PILOT = {"triangular": 2.576, "uniform": 1.843, "epanechnikov": 2.34}  # constants of the rule of thumb
MASS = 0.2  # share of repeated values from which a bandwidth must reach `REACH` distinct ones
REACH = 10
EDGE = 1 + np.sqrt(np.finfo(np.float64).eps)  # keeps the last value's weight positive
BINOMIAL = 20  # rows nearest to the cutoff on the sparser side that the binomial test looks at


@dataclass(frozen=True)
class Side:
    """Rows on one side, nearest value first or last: distance `x` (n,) ascending, responses `d` (n, m), clusters.

    The first response is the outcome, the second the treatment if the design is fuzzy, the rest covariates.
    """

    x: Floats
    d: Floats
    cluster: Codes | None = None

    def near(self, bandwidth: float, kernel: Kernel) -> tuple[Side, Floats]:
        """Return the rows with positive kernel weight, and the weights."""
        weight = kernel_weight(self.x, bandwidth, kernel)
        inside = weight > 0
        cluster = None if self.cluster is None else np.unique(self.cluster[inside], return_inverse=True)[1]
        return Side(self.x[inside], self.d[inside], cluster), weight[inside]

    def without_treatment(self) -> Side:
        """Return a fuzzy design's side without its second response."""
        return Side(self.x, np.delete(self.d, 1, axis=1), self.cluster)


@dataclass(frozen=True)
class Bandwidths:
    """Bandwidths h of the estimate and b of the bias, left and right."""

    h: tuple[float, float]
    b: tuple[float, float]


@dataclass(frozen=True)
class Jump:
    """The effect at the cutoff, conventional and bias-corrected, with both standard errors.

    `first_stage` holds the jump of the treatment and its conventional and robust errors in a fuzzy design; `n` counts
    rows within h, left and right.
    """

    conventional: float
    bias_corrected: float
    std_error: float
    robust_error: float
    n: tuple[int, int]
    bandwidths: Bandwidths
    first_stage: tuple[float, float, float] | None = None


def sides(x: Floats, right: NDArray[np.bool_], responses: Floats, cluster: Codes | None = None) -> tuple[Side, Side]:
    """Split rows at the cutoff; `x` is the signed distance to it."""
    found = []
    for inside in (~right, right):
        rows = np.flatnonzero(inside)
        rows = rows[np.argsort(x[rows], kind="stable")]
        found.append(Side(x[rows], responses[rows], None if cluster is None else cluster[rows]))
    return found[0], found[1]


def kernel_weight(x: Floats, bandwidth: float, kernel: Kernel) -> Floats:
    """Return the kernel's weights over the bandwidth."""
    u = np.abs(x / bandwidth)
    shape = {"uniform": 0.5 + 0 * u, "epanechnikov": 0.75 * (1 - u**2), "triangular": 1 - u}[kernel]
    return np.asarray(np.where(u <= 1, shape, 0.0) / bandwidth)


def powers(x: Floats, order: int) -> Floats:
    """Return 1, x, …, x^order."""
    return np.vander(x, order + 1, increasing=True)


# --- variances --------------------------------------------------------------------------------------------------------


def neighbour_residuals(side: Side) -> Floats:
    """Return each row's response less the mean of its nearest neighbours, scaled to its own variance; ties all count."""
    values, first, counts = np.unique(side.x, return_index=True, return_counts=True)
    starts, ends = first.copy(), first + counts
    low, high = np.arange(len(values)), np.arange(len(values))
    wanted = min(NEIGHBOURS, len(side.x) - 1)
    while True:
        short = ends - starts - 1 < wanted
        if not short.any():
            break
        left = np.where(low > 0, values - values[np.maximum(low - 1, 0)], np.inf)
        right = np.where(high < len(values) - 1, values[np.minimum(high + 1, len(values) - 1)] - values, np.inf)
        slack = np.sqrt(np.finfo(np.float64).eps) * np.maximum(np.where(np.isinf(left), 0, left), np.where(np.isinf(right), 0, right))  # fmt: skip
        low = np.where(short & (left <= right + slack), low - 1, low)
        high = np.where(short & (right <= left + slack), high + 1, high)
        starts, ends = first[low], first[high] + counts[high]
    group = np.repeat(np.arange(len(values)), counts)
    totals = np.vstack([np.zeros(side.d.shape[1]), np.cumsum(side.d, axis=0)])
    around = (totals[ends] - totals[starts])[group] - side.d
    others = (ends - starts - 1)[group][:, None]
    return np.asarray(np.sqrt(others / (others + 1)) * (side.d - around / others))


def _meat(side: Side, regressors: Floats, residuals: Floats, used: int) -> Floats:
    """Return the variance of ``regressors' residuals``; clustered with CR1's factor after `used` coefficients."""
    scores = regressors * residuals[:, None]
    if side.cluster is None:
        return np.asarray(scores.T @ scores)
    sums = sum_by(side.cluster, scores)
    groups, n = len(sums), len(residuals)
    if groups < 2:
        raise DesignError("a side of the cutoff has one cluster within the bandwidth; clustered errors need two", code="CLUSTER_CONSTANT")  # fmt: skip
    return np.asarray(sums.T @ sums * (n - 1) / (n - used) * groups / (groups - 1))


def _residuals(side: Side, fitted: Floats) -> Floats:
    return neighbour_residuals(side) if side.cluster is None else side.d - fitted


def _inverse(gram: Floats) -> Floats:
    # Powers of a small or large distance differ by many digits in size: only what is left after scaling counts as zero.
    size = np.sqrt(np.diag(gram))
    size = np.where(size > 0, size, 1.0)
    return np.asarray(np.linalg.pinv(gram / np.outer(size, size), hermitian=True, rcond=1e-14) / np.outer(size, size))


# --- combining outcome, treatment and covariates ----------------------------------------------------------------------


def _combination(jump: Floats, slopes: Floats, *, fuzzy: bool) -> tuple[Floats, Floats, float, float]:
    """Return the linear form of the effect in the responses, that of the treatment's jump, and both jumps.

    Parameters
    ----------
    jump : shape (m,)
        Jump of each response.
    slopes : shape (number of covariates, 1 or 2)
        Coefficients of covariates in outcome and treatment.
    """
    form = np.zeros((2, len(jump)))
    form[0, 0] = 1.0
    form[0, 1 + fuzzy :] = -slopes[:, 0]
    if not fuzzy:
        return form[0], form[1], float(form[0] @ jump), 1.0
    form[1, 1] = 1.0
    form[1, 2:] = -slopes[:, 1]
    effect, first = float(form[0] @ jump), float(form[1] @ jump)
    return form[0] / first - form[1] * effect / first**2, form[1], effect, first


def _slopes(parts: list[tuple[Side, Floats, Floats, Floats]], *, fuzzy: bool) -> Floats:
    """Return the coefficients of covariates beside one polynomial on each side (pooled over `parts`)."""
    z = slice(1 + fuzzy, None)
    count = parts[0][0].d.shape[1] - 1 - fuzzy
    if not count:
        return np.zeros((0, 1 + fuzzy))
    gram, cross = np.zeros((count, count)), np.zeros((count, 1 + fuzzy))
    for side, weight, design, inverse in parts:
        moments = (design * weight[:, None]).T @ side.d
        product = (side.d * weight[:, None]).T @ side.d - moments.T @ inverse @ moments
        gram += product[z, z]
        cross += product[z, : 1 + fuzzy]
    return np.asarray(np.linalg.pinv(gram, hermitian=True, rcond=1e-10) @ cross)


# --- bandwidths -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Constants:
    variance: float
    bias: float
    regularisation: float
    rate: float


def _constants(
    side: Side, *, order: int, derivative: int, bias_order: int, pilot: float, wide: float, regular: bool, kernel: Kernel,
    fuzzy: bool,
) -> _Constants:  # fmt: skip
    """Return variance and bias of a derivative's estimate, from a pilot and a wider fit on one side."""
    near, weight = side.near(pilot, kernel)
    _enough(near.x, order)
    design = powers(near.x, order)
    weighted = design * weight[:, None]
    inverse = _inverse(design.T @ weighted)
    beta = inverse @ weighted.T @ near.d
    slopes = _slopes([(near, weight, design, inverse)], fuzzy=fuzzy)
    if fuzzy and not abs(beta[derivative, 1]) > 0:
        raise DesignError("on a side of the cutoff the treatment does not vary near it, so no bandwidth can be chosen for the ratio; say sharpbw=True or give `bandwidth`", code="NO_VARIATION")  # fmt: skip
    form, *_ = _combination(beta[derivative], slopes, fuzzy=fuzzy)
    spread = inverse @ _meat(near, weighted, _residuals(near, design @ beta) @ form, order + 1) @ inverse
    scaled = pilot ** np.arange(order + 1) * (inverse @ weighted.T @ (near.x / pilot) ** (order + 1))
    constant = float(scaled[derivative])
    far, weight = side.near(wide, kernel)
    _enough(far.x, bias_order)
    design = powers(far.x, bias_order)
    weighted = design * weight[:, None]
    inverse = _inverse(design.T @ weighted)
    beta = inverse @ weighted.T @ far.d
    regularisation = 0.0
    if regular:
        noise = inverse @ _meat(far, weighted, _residuals(far, design @ beta) @ form, bias_order + 1) @ inverse
        regularisation = 3 * constant**2 * float(noise[-1, -1])
    gap = 2 * (order + 1 - derivative)
    return _Constants(
        variance=(2 * derivative + 1) * pilot ** (2 * derivative + 1) * float(spread[derivative, derivative]),
        bias=float(np.sqrt(gap) * constant * (form @ beta[-1])),
        regularisation=gap * regularisation,
        rate=1 / (2 * order + 3),
    )


def _enough(x: Floats, order: int) -> None:
    if len(np.unique(x)) < order + 1:
        raise DesignError(
            f"a side of the cutoff has {len(np.unique(x))} distinct values near it; a polynomial of order {order} needs "
            f"{order + 1}; give `bandwidth`, or a running variable with more values",
            code="TOO_FEW_MASS_POINTS",
        )


def bandwidths(
    left: Side, right: Side, *, p: int = 1, kernel: Kernel = "triangular", rule: Rule = "mserd", fuzzy: bool = False
) -> Bandwidths:
    """Return the bandwidths that minimise the mean squared error (or coverage error) at the cutoff.

    Where `fuzzy`, the error is that of outcome over treatment, linearised on each side where its own fits lie (as
    rdrobust has it), which depends on the outcome's origin; else that of the outcome.

    References
    ----------
    Calonico, Cattaneo & Titiunik (2014), section 5 and supplement; Calonico, Cattaneo & Farrell (2020),
    https://doi.org/10.1093/ectj/utz022, for coverage error (``cer…``). ``…two`` takes one for each side, ``…sum`` that
    of the sum of both sides, ``…comb1`` the lesser of ``rd`` and ``sum``, ``…comb2`` the middle one of all three. With
    repeated values the pilot counts distinct ones.
    """
    shape = rule[3:]
    shapes = {"comb1": ("rd", "sum"), "comb2": ("rd", "two", "sum")}.get(shape, (shape,))
    found = [_least_error(left, right, p, kernel, one, fuzzy=fuzzy) for one in shapes]
    h, b = (tuple(float(np.median(side) if shape == "comb2" else min(side)) for side in zip(*both, strict=True)) for both in zip(*found, strict=True))  # fmt: skip
    if rule.startswith("cer"):
        n = len(left.x) + len(right.x)
        units = n if left.cluster is None else len(np.unique(np.concatenate([left.cluster, right.cluster])))
        h = tuple(value * units ** (-p / ((3 + p) * (3 + 2 * p))) for value in h)
    return Bandwidths((h[0], h[1]), (b[0], b[1]))


def _least_error(
    left: Side, right: Side, p: int, kernel: Kernel, shape: str, *, fuzzy: bool
) -> tuple[list[float], list[float]]:
    """Return the bandwidths h and b, left and right, of least mean squared error of the jump, the sum or each side."""
    x = np.concatenate([left.x, right.x])
    scale = float(np.std(x, ddof=1))
    pair = tuple(Side(side.x / scale, side.d, side.cluster) for side in (left, right))
    q = p + 1
    reach = [float(np.abs(side.x).max()) for side in pair]
    distinct = [np.unique(np.abs(side.x)) for side in pair]
    quartiles = np.quantile(x / scale, [0.25, 0.75], method="averaged_inverted_cdf")
    count = len(distinct[0]) + len(distinct[1])
    pilot = min(PILOT[kernel] * min(1.0, float(np.ptp(quartiles)) / 1.349) * count ** (-1 / 5), max(reach))
    floors = [0.0, 0.0]
    if any(1 - len(values) / len(side.x) >= MASS for values, side in zip(distinct, pair, strict=True)):
        floors = [float(values[min(REACH, len(values)) - 1]) * EDGE for values in distinct]
        pilot = max(pilot, *floors)

    def best(order: int, derivative: int, bias_order: int, wide: list[float], *, regular: bool, floor: bool) -> list[float]:  # fmt: skip
        c = [
            _constants(side, order=order, derivative=derivative, bias_order=bias_order, pilot=pilot, wide=w, regular=regular, kernel=kernel, fuzzy=fuzzy)
            for side, w in zip(pair, wide, strict=True)
        ]  # fmt: skip
        if any(s.variance <= 0 for s in c):
            raise DesignError("the outcome does not vary beside the cutoff, so no bandwidth can be chosen; give `bandwidth`", code="NO_VARIATION")  # fmt: skip
        if shape == "two":
            found = [(s.variance / (s.bias**2 + s.regularisation)) ** s.rate for s in c]
            limits = reach
        else:
            noise, penalty = c[0].variance + c[1].variance, c[0].regularisation + c[1].regularisation
            bias = c[1].bias + c[0].bias if shape == "sum" else c[1].bias - c[0].bias
            found = [(noise / (bias**2 + penalty)) ** c[0].rate] * 2
            limits = [max(reach)] * 2
        lows = (floors if shape == "two" else [max(floors)] * 2) if floor else [0.0, 0.0]
        return [max(min(value, limit), low) for value, limit, low in zip(found, limits, lows, strict=True)]

    d = best(q + 1, q + 1, q + 2, [r * EDGE for r in reach], regular=False, floor=True)
    b = best(q, p + 1, q + 1, d, regular=True, floor=False)
    h = best(p, 0, q, b, regular=True, floor=False)
    return [scale * value for value in h], [scale * value for value in b]


# --- estimates --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Fit:
    side: Side
    weight: Floats
    design: Floats
    inverse: Floats
    weighted: Floats  # regressors of the conventional estimate
    corrected: Floats  # and of the bias-corrected one
    beta: Floats
    beta_corrected: Floats
    fitted: Floats
    fitted_q: Floats
    n: int


def _fit(side: Side, h: float, b: float, p: int, kernel: Kernel) -> _Fit:
    near, _ = side.near(max(h, b), kernel)
    weight, wide = kernel_weight(near.x, h, kernel), kernel_weight(near.x, b, kernel)
    q = p + 1
    _enough(near.x[weight > 0], p)
    _enough(near.x[wide > 0], q)
    full = powers(near.x, q)
    design = full[:, : p + 1]
    weighted = design * weight[:, None]
    inverse = _inverse(design.T @ weighted)
    inverse_q = _inverse(full.T @ (full * wide[:, None]))
    bend = weighted.T @ (near.x / h) ** (p + 1)
    corrected = weighted - h ** (p + 1) * np.outer(full @ inverse_q[p + 1] * wide, bend)
    beta = inverse @ weighted.T @ near.d
    beta_q = inverse_q @ (full * wide[:, None]).T @ near.d
    return _Fit(
        near, weight, design, inverse, weighted, corrected, beta, inverse @ corrected.T @ near.d,
        design @ beta, full @ beta_q, int((weight > 0).sum()),
    )  # fmt: skip


def jump(left: Side, right: Side, widths: Bandwidths, *, p: int = 1, kernel: Kernel = "triangular", fuzzy: bool = False) -> Jump:  # fmt: skip
    """Estimate the jump at the cutoff by local polynomials with the given bandwidths.

    Raises
    ------
    DesignError
        If a side has too few distinct values within a bandwidth (``TOO_FEW_MASS_POINTS``), or the treatment does not
        jump at all (``NO_JUMP``).
    """
    fits = [_fit(side, widths.h[i], widths.b[i], p, kernel) for i, side in enumerate((left, right))]
    slopes = _slopes([(f.side, f.weight, f.design, f.inverse) for f in fits], fuzzy=fuzzy)
    step, corrected = fits[1].beta[0] - fits[0].beta[0], fits[1].beta_corrected[0] - fits[0].beta_corrected[0]
    if fuzzy and not abs(step[1]) > 1e-12:
        raise DesignError("the treatment does not change at the cutoff at all", code="NO_JUMP")
    form, first_form, effect, first = _combination(step, slopes, fuzzy=fuzzy)
    # The form's derivative at the conventional jumps corrects both of them at once (delta method).
    conventional = effect / first
    bias_corrected = conventional - float(form @ (step - corrected))
    errors = [_error(fits, chosen, p) for chosen in (form, first_form)]
    return Jump(
        conventional=conventional,
        bias_corrected=bias_corrected,
        std_error=errors[0][0],
        robust_error=errors[0][1],
        n=(fits[0].n, fits[1].n),
        bandwidths=widths,
        first_stage=(first, *errors[1]) if fuzzy else None,
    )


def _error(fits: list[_Fit], form: Floats, p: int) -> tuple[float, float]:
    plain = robust = 0.0
    for fit in fits:
        own = _residuals(fit.side, fit.fitted) @ form
        wide = own if fit.side.cluster is None else (fit.side.d - fit.fitted_q) @ form
        plain += float((fit.inverse @ _meat(fit.side, fit.weighted, own, p + 1) @ fit.inverse)[0, 0])
        robust += float((fit.inverse @ _meat(fit.side, fit.corrected, wide, p + 2) @ fit.inverse)[0, 0])
    return float(np.sqrt(plain)), float(np.sqrt(robust))


# --- the density of the running variable --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Density:
    """Densities just left and right of the cutoff, the test of their equality, and an exact binomial one nearby."""

    left: float
    right: float
    statistic: float
    p_value: float
    bandwidth: float
    binomial_p_value: float
    binomial_counts: tuple[int, int]


def density_test(x: Floats, *, right: NDArray[np.bool_], bandwidth: float | None = None, order: int = 3) -> Density:
    """Test that the density of the running variable does not jump at the cutoff.

    Local polynomials of the empirical distribution function on each side; the order is one above the one that the
    bandwidth suits, which makes the test robust to bias. Without `bandwidth` a rule of thumb is used.

    References
    ----------
    Cattaneo, Jansson & Ma (2020), https://doi.org/10.1080/01621459.2019.1635480; the binomial test is that of
    Cattaneo, Titiunik & Vazquez-Bare (2017), https://doi.org/10.1002/pam.21985.
    """
    ranks = np.lexsort((right, x))
    x, right = x[ranks], right[ranks]
    n = len(x)
    spread = min(float(np.std(x, ddof=1)), float(np.subtract(*np.quantile(x, [0.75, 0.25]))) / 1.349)
    width = bandwidth or PILOT["triangular"] * spread * n ** (-1 / 5)
    # Repeated values share the highest rank among them.
    share = (np.searchsorted(x, x, side="right") - 1) / (n - 1)
    slopes, influences = [], []
    for inside in (~right, right):
        weight = kernel_weight(x, width, "triangular") * inside
        _enough(x[weight > 0], order)
        design = powers(x / width, order)
        weighted = design * weight[:, None]
        pull = _inverse(design.T @ weighted)[1] / width
        projected = weighted @ pull
        tail = np.cumsum(projected[::-1])[::-1][np.searchsorted(x, x, side="left")] / (n - 1)
        slopes.append(float(projected @ share))
        influences.append(tail - tail.mean())
    difference = influences[1] - influences[0]
    statistic = (slopes[1] - slopes[0]) / float(np.sqrt(difference @ difference))
    counts, chance = _binomial(x, right)
    return Density(
        slopes[0], slopes[1], statistic, float(2 * stats.norm.sf(abs(statistic))), float(width), chance, counts
    )


def _binomial(x: Floats, right: NDArray[np.bool_]) -> tuple[tuple[int, int], float]:
    near = [np.sort(np.abs(x[side])) for side in (~right, right)]
    window = max(side[min(BINOMIAL, len(side)) - 1] for side in near)
    counts = (int((near[0] <= window).sum()), int((near[1] <= window).sum()))
    return counts, float(stats.binomtest(counts[0], sum(counts), 0.5).pvalue)

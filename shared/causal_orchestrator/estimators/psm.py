"""Match each unit to those of the other arm that are most like it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import special

from causal_orchestrator.errors import DesignError, InputError, NotApplicable
from causal_orchestrator.numerics.balance import weighting_diagnostics
from causal_orchestrator.numerics.linear import least_squares
from causal_orchestrator.numerics.logit import Link, fit_logit
from causal_orchestrator.numerics.matching import Matches, local_covariance, match, match_once
from causal_orchestrator.numerics.mestimation import inverse
from causal_orchestrator.numerics.nuisance import with_intercept
from causal_orchestrator.problem import Estimate, Problem, conclude, probit

Floats = NDArray[np.float64]
Distance = Literal["logit_ps", "ps", "mahalanobis"]
StandardError = Literal["abadie_imbens_2016", "abadie_imbens_2006", "homoskedastic"]

AIMED = {"ATT": (1,), "ATC": (0,), "ATE": (0, 1)}  # arms whose units are matched
# Rows of one arm behind each local moment, the row itself among them: Abadie & Imbens (2016) on a propensity, (2006) else.
NEIGHBOURS = {"ps": 2, "logit_ps": 2, "mahalanobis": 3}
BOOTSTRAP = 200  # draws of kernel matching's standard error
NOTHING = 1e-9  # a sum of kernel weights that is rounding
CALIPER = 0.2  # standard deviations of the logit propensity (Austin 2011)


def estimate(
    problem: Problem,
    *,
    estimand: Literal["ATT", "ATE", "ATC"] = "ATT",
    distance: Distance = "logit_ps",
    caliper: float | Literal["auto"] | None = "auto",
    replace: bool = True,
    ties: bool = True,
    ratio: int = 1,
    distance_tolerance: float = 0.0,
    bias_adjustment: bool = False,
    variance: StandardError | None = None,
    propensity: Literal["logit", "probit"] = "logit",
    kernel: Literal["epanechnikov", "uniform"] | None = None,
    bandwidth: float = 0.06,
) -> Estimate:
    """Estimate the effect by nearest-neighbour matching, or by kernel matching.

    Assumes no unmeasured confounding and overlap. With replacement the standard error is Abadie and Imbens', with
    their 2016 correction for the estimated propensity; without, that of the paired differences; with a kernel that of
    a bootstrap of rows, the propensity fitted anew each time.

    Parameters
    ----------
    distance : difference of the propensity's linear predictor (``logit_ps``), of the propensity, or Mahalanobis' in the
        covariates.
    caliper : largest distance of a match, in standard deviations of the logit propensity (or of `distance`'s own
        scale); ``auto`` is 0.2 for propensities and none for Mahalanobis. Units without a match are left out and a
        note says how many.
    replace : controls may serve more than once; else greedily once each, highest propensity first and of equally near
        ones the first in the file (ATT and ATC only, `ratio` 1, propensity distances), as in MatchIt.
    ties : equally near units share the match; else the first in the file does.
    distance_tolerance : what still counts as equally near: squared distances that differ by at most this many
        variances of the distance's scale. 0 is exact, as in Stata's teffects and in MatchIt; Sekhon's Matching has 1e-5.
    bias_adjustment : add the difference of a linear outcome regression between unit and match (Abadie & Imbens 2011).
    variance : ``abadie_imbens_2006`` takes the propensity as known; ``homoskedastic`` does too, with one variance for all
        rows, from the matched differences (the default of Sekhon's Matching).
    propensity : the model of the treatment.
    kernel : match each unit with the kernel-weighted mean of all others within `bandwidth` (``uniform``: radius
        matching); `caliper`, `ratio` and `ties` are then not used.
    bandwidth : of the kernel, in units of `distance`; 0.06 suits ``distance="ps"``, as in psmatch2.

    Raises
    ------
    NotApplicable
        With clusters or sampling weights, for which the standard error is not known.
    DesignError
        If no unit finds a match within the caliper (``POSITIVITY``).

    References
    ----------
    Abadie & Imbens (2006), https://doi.org/10.1111/j.1468-0262.2006.00655.x; (2011),
    https://doi.org/10.1198/jbes.2009.07333; (2016), https://doi.org/10.3982/ECTA11293; Austin (2011),
    https://doi.org/10.1002/pst.433; Heckman, Ichimura & Todd (1997), https://doi.org/10.2307/2971733, for kernels.
    """
    _check(problem, estimand=estimand, distance=distance, replace=replace, ratio=ratio)
    if kernel is not None:
        return _by_kernel(problem, _Smoother(estimand, distance, propensity, kernel, bandwidth), bias_adjustment)
    link = probit(problem) if propensity == "probit" else None
    coordinates = _coordinates(problem, distance, link)
    width = CALIPER if caliper == "auto" and distance != "mahalanobis" else None if caliper == "auto" else caliper
    limit = None if width is None else width * (1.0 if distance == "mahalanobis" else float(coordinates.std(ddof=1)))
    aimed = np.isin(problem.treatment, AIMED[estimand])
    filed = np.argsort(problem.rows, kind="stable")  # ties go by place in the file
    imputed = np.zeros((problem.n, 2))
    imputed[np.arange(problem.n), problem.treatment.astype(np.int64)] = problem.outcome
    used, matched = np.zeros(problem.n), np.zeros(problem.n, dtype=bool)
    squared, pairs = np.zeros(problem.n), np.zeros(problem.n)
    for arm in AIMED[estimand]:
        targets, donors = (filed[problem.treatment[filed] == a] for a in (arm, 1 - arm))
        found = _matches(
            coordinates, targets, donors, replace=replace, ratio=ratio, ties=ties, limit=limit,
            tolerance=distance_tolerance,
        )  # fmt: skip
        other = found.average(problem.outcome[donors])
        pairs[targets] = found.average(problem.outcome[donors] ** 2) - other**2
        if bias_adjustment:
            other = other + _correction(problem, found, targets, donors)
        imputed[targets, 1 - arm] = other
        matched[targets] = found.matched
        used[donors] += found.used
        squared[donors] += found.squared
    if not matched.any():
        raise DesignError("no unit has a match within the caliper", code="POSITIVITY")
    target = matched & aimed
    difference = imputed[:, 1] - imputed[:, 0]
    value = float(difference[target].mean())
    pieces = _Pieces(
        problem, coordinates, target, difference, used, squared, pairs, value, estimand, NEIGHBOURS[distance], link
    )
    kind = variance or ("abadie_imbens_2006" if distance == "mahalanobis" else "abadie_imbens_2016")
    found_variance, inference = _variance(pieces, kind) if replace else _paired(pieces)
    weights = np.where(target, 1.0, 0.0) + used
    lost = int((aimed & ~matched).sum())
    notes = (f"{lost} units have no match within the caliper and are left out",) if lost else ()
    return conclude(
        problem,
        method="psm",
        estimand=estimand,
        estimates=[value],
        covariance=np.array([[found_variance]]),
        inference=inference,
        diagnostics=weighting_diagnostics(problem.covariates, problem.treatment, problem.treatment_levels, weights),
        details={"weights": weights, "matched": int(target.sum()), "caliper": limit, "distance": distance},
        notes=notes,
        influence=None,
    )


@dataclass(frozen=True)
class _Pieces:
    problem: Problem
    coordinates: Floats
    target: NDArray[np.bool_]
    difference: Floats
    used: Floats
    squared: Floats
    pairs: Floats  # variance of the outcome within each row's matches
    value: float
    estimand: str
    neighbours: int
    link: Link | None


def _check(problem: Problem, *, estimand: str, distance: str, replace: bool, ratio: int) -> None:
    if problem.cluster is not None or problem.weights is not None:
        raise NotApplicable("matching has no standard error with clusters or sampling weights", code="NEEDS_INDEPENDENT_ROWS")  # fmt: skip
    if not problem.covariates.shape[1]:
        raise NotApplicable("matching needs covariates", code="NEEDS_COVARIATES")
    if not 1 <= ratio <= 100:
        raise InputError("ratio must be between 1 and 100", code="OPTION_INVALID", details={"option": "ratio"})
    if not replace and (estimand == "ATE" or ratio != 1 or distance == "mahalanobis"):
        raise InputError("replace=False is for ATT or ATC, ratio 1 and a propensity distance", code="OPTION_INVALID", details={"option": "replace"})  # fmt: skip


def _coordinates(problem: Problem, distance: Distance, link: Link | None) -> Floats:
    if distance == "mahalanobis":
        x = problem.covariates - problem.covariates.mean(axis=0)
        values, vectors = np.linalg.eigh(np.cov(x, rowvar=False).reshape(x.shape[1], -1))
        real = values > 1e-10 * values.max()
        return np.asarray(x @ vectors[:, real] / np.sqrt(values[real]))
    propensity = problem.parametric().propensity[0, :, 1] if link is None else link.probability
    if distance == "ps":
        return propensity[:, None]
    line = special.logit if link is None else special.ndtri
    return np.asarray(line(np.clip(propensity, 1e-12, 1 - 1e-12))[:, None])


def _matches(
    coordinates: Floats,
    targets: NDArray[np.int64],
    donors: NDArray[np.int64],
    *,
    replace: bool,
    ratio: int,
    ties: bool,
    limit: float | None,
    tolerance: float,
) -> Matches:
    if replace:
        return match(
            coordinates[targets], coordinates[donors], ratio=ratio, caliper=limit, ties=ties, tolerance=tolerance
        )
    line = coordinates[:, 0]
    order = np.argsort(-line[targets], kind="stable")
    return match_once(line[targets], line[donors], order, caliper=limit)


def _correction(problem: Problem, found: Matches, targets: NDArray[np.int64], donors: NDArray[np.int64]) -> Floats:  # fmt: skip
    """Difference of the donors' regression between unit and matches, fitted on the donors as often as they are used."""
    x = with_intercept(problem.covariates)
    serving = found.used > 0
    fit = least_squares(x[donors][serving], problem.outcome[donors][serving], found.used[serving])
    fitted = x @ fit.coefficients
    return np.asarray((fitted[targets] - found.average(fitted[donors])) * found.matched)


def _variance(pieces: _Pieces, kind: str) -> tuple[float, str]:
    problem, target = pieces.problem, pieces.target
    size = int(target.sum())
    spread = float(((pieces.difference[target] - pieces.value) ** 2).sum())
    if kind == "homoskedastic":
        noise = np.full(problem.n, (spread + float(pieces.pairs[target].sum())) / (2 * size))
    else:
        noise = _by_arm(pieces)
    own = pieces.used**2 - pieces.squared + (2 * pieces.used if pieces.estimand == "ATE" else 0.0)
    variance = (spread + float(own @ noise)) / size**2
    if kind != "abadie_imbens_2016":
        return variance, "Abadie–Imbens (2006)" + (", one variance" if kind == "homoskedastic" else "")
    adjusted = variance + _for_estimated_propensity(pieces)
    if not adjusted > 0:
        return variance, "Abadie–Imbens (2006); the 2016 correction exceeds it"
    return adjusted, "Abadie–Imbens (2016), estimated propensity"


def _by_arm(pieces: _Pieces) -> Floats:
    problem, noise = pieces.problem, np.zeros(pieces.problem.n)
    for arm in (0, 1):
        rows = problem.treatment == arm
        own, outcome = pieces.coordinates[rows], problem.outcome[rows]
        noise[rows] = local_covariance(match(own, own, ratio=pieces.neighbours), outcome, outcome)
    return noise


def _for_estimated_propensity(pieces: _Pieces) -> float:
    """Return what the estimated logit adds to the variance (Abadie & Imbens 2016, theorem 2)."""
    problem, line = pieces.problem, pieces.coordinates
    x = with_intercept(problem.covariates)
    link = pieces.link
    e = problem.parametric().propensity[0, :, 1] if link is None else link.probability
    density = e * (1 - e) if link is None else link.slope
    information = inverse((x * (density**2 / (e * (1 - e)))[:, None]).T @ x)
    covariances, level = np.zeros((2, problem.n, x.shape[1])), np.zeros((2, problem.n))
    for arm in (0, 1):
        rows = problem.treatment == arm
        near = match(line, line[rows], ratio=pieces.neighbours)
        covariances[arm] = local_covariance(near, x[rows], problem.outcome[rows])
        level[arm] = near.average(problem.outcome[rows])
    if pieces.estimand == "ATE":
        c = density @ (covariances[1] / e[:, None] + covariances[0] / (1 - e)[:, None]) / problem.n
        return -float(c @ information @ c)
    share, own = (e, 1) if pieces.estimand == "ATT" else (1 - e, 0)
    c = density @ (covariances[own] + (share / (1 - share))[:, None] * covariances[1 - own]) / share.sum()
    gradient = (density * (level[1] - level[0] - pieces.value)) @ x / share.sum()
    return float(gradient @ information @ gradient - c @ information @ c)


def _paired(pieces: _Pieces) -> tuple[float, str]:
    gaps = pieces.difference[pieces.target] - pieces.value
    return float((gaps**2).sum()) / len(gaps) ** 2, "paired differences (Abadie & Spiess 2022)"


# --- kernel matching ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Smoother:
    estimand: str
    distance: Distance
    propensity: str
    kernel: str
    bandwidth: float


@dataclass(frozen=True)
class _Smoothed:
    """The effect, which rows (n,) it is about, and every row's weight (n,)."""

    value: float
    target: NDArray[np.bool_]
    weights: Floats


def _by_kernel(problem: Problem, how: _Smoother, bias_adjustment: bool) -> Estimate:
    if how.distance == "mahalanobis" or bias_adjustment or not 0 < how.bandwidth < np.inf:
        raise InputError("a kernel is for distances of the propensity, without bias_adjustment, and has a positive bandwidth", code="OPTION_INVALID", details={"option": "kernel"})  # fmt: skip
    found = _smoothed(problem, how)
    aimed = np.isin(problem.treatment, AIMED[how.estimand])
    lost = int((aimed & ~found.target).sum())
    rng = np.random.default_rng(problem.seed)
    again = [_smoothed(problem.take(rng.integers(0, problem.n, problem.n)), how).value for _ in range(BOOTSTRAP)]
    return conclude(
        problem,
        method="psm",
        estimand=how.estimand,
        estimates=[found.value],
        covariance=np.array([[np.var(again, ddof=1)]]),
        inference=f"bootstrap of rows, {BOOTSTRAP} draws",
        diagnostics=weighting_diagnostics(
            problem.covariates, problem.treatment, problem.treatment_levels, found.weights
        ),
        details={"weights": found.weights, "matched": int(found.target.sum()), "distance": how.distance, "bandwidth": how.bandwidth},
        notes=(f"{lost} units have no match within the bandwidth and are left out",) if lost else (),
    )  # fmt: skip


def _smoothed(problem: Problem, how: _Smoother) -> _Smoothed:
    line = _line(problem, how)
    arm, gap, target, weights = problem.treatment, np.zeros(problem.n), np.zeros(problem.n, dtype=bool), np.zeros(problem.n)  # fmt: skip
    for own in AIMED[how.estimand]:
        mine, others = np.flatnonzero(arm == own), np.flatnonzero(arm != own)
        ones, outcome = np.ones(len(others)), problem.outcome[others]
        centre = outcome.mean()
        mass = _kernel_sums(line[mine], line[others], ones, how)
        reached = mass > NOTHING
        mine, mass = mine[reached], mass[reached]
        other = centre + _kernel_sums(line[mine], line[others], outcome - centre, how) / mass
        gap[mine] = (2 * own - 1) * (problem.outcome[mine] - other)
        target[mine] = True
        weights[mine] += 1.0
        weights[others] += _kernel_sums(line[others], line[mine], 1 / mass, how)
    if not target.any():
        raise DesignError("no unit has a match within the bandwidth", code="POSITIVITY")
    return _Smoothed(float(gap[target].mean()), target, weights)


def _line(problem: Problem, how: _Smoother) -> Floats:
    if how.propensity == "probit":
        return _coordinates(problem, how.distance, probit(problem))[:, 0]
    e = fit_logit(with_intercept(problem.covariates), problem.treatment).probability
    return e if how.distance == "ps" else np.asarray(special.logit(np.clip(e, 1e-12, 1 - 1e-12)))


def _kernel_sums(at: Floats, places: Floats, values: Floats, how: _Smoother) -> Floats:
    """Return ``Σ_j K((at_i - places_j)/h) values_j`` from running sums over sorted places."""
    order = np.argsort(places, kind="stable")
    ranked, values = places[order], values[order]
    low = np.searchsorted(ranked, at - how.bandwidth, side="left")
    high = np.searchsorted(ranked, at + how.bandwidth, side="right")

    def within(moment: Floats) -> Floats:
        total = np.concatenate([[0.0], np.cumsum(moment)])
        return np.asarray(total[high] - total[low])

    plain = within(values)
    if how.kernel == "uniform":
        return plain
    squared = at**2 * plain - 2 * at * within(ranked * values) + within(ranked**2 * values)
    return np.asarray(plain - squared / how.bandwidth**2)

"""Instrumental variables with one endogenous treatment: k-class and GMM estimators, and what probes them.

Controls are partialled out of outcome, treatment and instruments (Frisch, Waugh and Lovell), which changes none of the
estimators below: what is left is algebra with one regressor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

from causal_orchestrator.errors import DesignError, NotApplicable
from causal_orchestrator.numerics.inference import critical_value, sum_by
from causal_orchestrator.numerics.linear import independent_columns
from causal_orchestrator.numerics.logit import fit_logit

Floats = NDArray[np.float64]
Covariance = Literal["classical", "hc0", "hc1", "cluster"]
SOURCE = {"classical": "classical, t", "hc0": "HC0, t", "hc1": "HC1, t", "cluster": "CR1 clustered, t"}

WEAK = 10.0  # effective F below which the usual interval misleads (Stock & Yogo 2005; Andrews, Stock & Sun 2019)
MOP_BIAS = 10.0  # 1/τ with τ = 10 % of the worst-case bias (Montiel Olea & Pflueger 2013)
EXACT = 1e-12  # share of the treatment's variance that rounding may leave where instruments determine it
GRID = 2001  # angles at which the robust Anderson–Rubin statistic is looked at before its roots are refined
LEVELS = 20  # a text with more values is no instrument

# Critical values of the tF procedure at 5 % for √F = 2.0, 2.1, … 10.3 (Lee, McCrary, Moreira & Porter 2022, table 3).
TF_ROOTS = np.arange(20, 104) / 10
TF_CRITICAL = np.array([
    18.66, 9.74, 7.37, 6.18, 5.43, 4.92, 4.54, 4.25, 4.01, 3.82, 3.65, 3.51, 3.39, 3.29, 3.19, 3.11, 3.03, 2.97, 2.91,
    2.85, 2.80, 2.75, 2.71, 2.67, 2.63, 2.60, 2.57, 2.54, 2.51, 2.48, 2.46, 2.43, 2.41, 2.39, 2.37, 2.35, 2.33, 2.32,
    2.30, 2.29, 2.27, 2.26, 2.24, 2.23, 2.22, 2.21, 2.20, 2.19, 2.17, 2.16, 2.16, 2.15, 2.14, 2.13, 2.12, 2.11, 2.10,
    2.10, 2.09, 2.08, 2.08, 2.07, 2.06, 2.06, 2.05, 2.04, 2.04, 2.03, 2.03, 2.02, 2.02, 2.01, 2.01, 2.00, 2.00, 1.99,
    1.99, 1.99, 1.98, 1.98, 1.97, 1.97, 1.97, 1.96,
])  # fmt: skip


class Sample(Protocol):
    """What is taken from a problem."""

    @property
    def outcome(self) -> Floats: ...  # noqa: D102
    @property
    def treatment(self) -> Floats: ...  # noqa: D102
    @property
    def covariates(self) -> Floats: ...  # noqa: D102
    @property
    def covariate_names(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def treatment_kind(self) -> str: ...  # noqa: D102
    @property
    def cluster(self) -> NDArray[np.int64] | None: ...  # noqa: D102
    @property
    def weights(self) -> Floats | None: ...  # noqa: D102
    @property
    def roles(self) -> Mapping[str, NDArray[Any]]: ...  # noqa: D102


@dataclass(frozen=True)
class Partialled:
    """Outcome (n,), treatment (n,) and instruments (n, k) without what controls explain, times the root of the weights.

    `controls` counts the controls, the intercept among them; `basis` (n, controls) are orthonormal columns that span them,
    None where they were taken out otherwise.
    """

    outcome: Floats
    treatment: Floats
    instruments: Floats
    controls: int
    cluster: NDArray[np.int64] | None
    basis: Floats | None = None

    @property
    def n(self) -> int:
        """Number of rows."""
        return len(self.outcome)

    @property
    def k(self) -> int:
        """Number of instruments."""
        return int(self.instruments.shape[1])

    def projected(self, values: Floats) -> Floats:
        """Return what instruments explain of `values` (n,) or (n, m)."""
        return np.asarray(self.instruments @ np.linalg.solve(self.instruments.T @ self.instruments, self.instruments.T @ values))  # fmt: skip


@dataclass(frozen=True)
class Fit:
    """A coefficient, its variance, residuals (n,) and influence (n, 1); `kappa` of the k-class, None for GMM."""

    coefficient: float
    variance: float
    residuals: Floats
    influence: Floats
    df: float
    kappa: float | None = 1.0
    overidentification: float | None = None


def complete_rows(sample: Sample) -> NDArray[np.bool_]:
    """Return which rows have a value of every instrument.

    Raises
    ------
    NotApplicable
        If there is no instrument (``NEEDS_INSTRUMENTS``).
    """
    instruments = sample.roles.get("instruments")
    if instruments is None:
        raise NotApplicable("the method needs an instrument", code="NEEDS_INSTRUMENTS")
    if instruments.dtype == object:
        return np.array([all(value is not None and value == value for value in row) for row in instruments])
    return np.asarray(np.isfinite(instruments).all(axis=1))


def partial_out(sample: Sample, names: Sequence[str]) -> Partialled:
    """Take the controls out of outcome, treatment and instruments.

    Parameters
    ----------
    names : the instruments' columns, for messages.

    Raises
    ------
    DesignError
        If an instrument has one value (``INSTRUMENT_CONSTANT``), or none is left beside the controls
        (``INSTRUMENT_COLLINEAR``), or they determine the treatment (``INSTRUMENT_IS_TREATMENT``), or there are too few
        rows (``TOO_FEW_ROWS``).
    """
    instruments = instrument_numbers(sample.roles["instruments"], names)
    n = len(sample.outcome)
    root = np.ones(n) if sample.weights is None else np.sqrt(sample.weights)
    controls = np.column_stack([np.ones(n), sample.covariates]) * root[:, None]
    controls = controls[:, independent_columns(controls)]
    both = np.column_stack([controls, instruments * root[:, None]])
    kept = [j for j in independent_columns(both) if j >= controls.shape[1]]
    if not kept:
        raise DesignError("the covariates explain every instrument exactly; nothing is left that moves the treatment", code="INSTRUMENT_COLLINEAR")  # fmt: skip
    if n <= controls.shape[1] + len(kept) + 1:
        raise DesignError(f"{n} rows are too few for {controls.shape[1]} controls and {len(kept)} instruments", code="TOO_FEW_ROWS")  # fmt: skip
    values = np.column_stack([sample.outcome * root, sample.treatment * root, both[:, kept]])
    q, _ = np.linalg.qr(controls)
    left = values - q @ (q.T @ values)
    data = Partialled(left[:, 0], left[:, 1], left[:, 2:], controls.shape[1], sample.cluster, q)
    unexplained = data.treatment - data.projected(data.treatment)
    if unexplained @ unexplained <= EXACT * (data.treatment @ data.treatment):
        raise DesignError("the instruments determine the treatment exactly: it is its own instrument, and `ols` says the same", code="INSTRUMENT_IS_TREATMENT")  # fmt: skip
    return data


def instrument_numbers(instruments: NDArray[Any], names: Sequence[str]) -> Floats:
    """Return the instruments as numbers; levels of a text become indicators, the first left out."""
    columns: list[Floats] = []
    for name, values in zip(names, instruments.T, strict=True):
        levels, codes = np.unique(values.astype(str) if values.dtype == object else values, return_inverse=True)
        if len(levels) < 2:
            raise DesignError(f"instrument {name!r} has a single value; it moves nothing", code="INSTRUMENT_CONSTANT", details={"column": name})  # fmt: skip
        if values.dtype != object:
            columns.append(values.astype(np.float64))
            continue
        try:
            columns.append(values.astype(np.float64))
        except ValueError:
            if len(levels) > LEVELS:
                raise DesignError(f"instrument {name!r} is text with {len(levels)} values; at most {LEVELS} can be used", code="INSTRUMENT_NOT_USABLE", details={"column": name}) from None  # fmt: skip
            columns += [(codes == level).astype(np.float64) for level in range(1, len(levels))]
    return np.column_stack(columns)


# --- estimators -----------------------------------------------------------------------------------------------------


def k_class(data: Partialled, *, kappa: float, kind: Covariance) -> Fit:
    """Fit ``β = d'(I - κM)y / d'(I - κM)d``: 2SLS with κ = 1, LIML and Fuller with that of `liml_kappa`.

    References
    ----------
    Davidson & MacKinnon (1993), Estimation and Inference in Econometrics, ch. 18; robust variances from the scores
    ``Pd · e`` of the projected treatment, as ivregress and linearmodels have them.
    """
    y, d = data.outcome, data.treatment
    projected = data.projected(d)
    instrumented = d - kappa * (d - projected)
    slope = float(instrumented @ d)
    coefficient = float(instrumented @ y) / slope
    residuals = y - coefficient * d
    if kind == "classical":
        variance = float(residuals @ residuals) / (data.n - data.controls - 1) / abs(slope)
    else:
        variance = float(_meat(data, projected[:, None], residuals, kind, data.controls + 1)[0, 0]) / slope**2
    influence = data.n * (projected * residuals / slope)[:, None]
    return Fit(coefficient, variance, residuals, influence, _freedom(data, kind), kappa)


def liml_kappa(data: Partialled, *, fuller: float = 0.0) -> float:
    """Return LIML's κ: the least ratio of the variance of y - βd to that left by the instruments; Fuller's is smaller.

    References
    ----------
    Anderson & Rubin (1949); Fuller (1977), Econometrica 45(4), with constant `fuller`.
    """
    both = np.column_stack([data.outcome, data.treatment])
    left = both - data.projected(both)
    ratios = np.linalg.eigvals(np.linalg.solve(left.T @ left, both.T @ both)).real
    return float(ratios.min()) - fuller / (data.n - data.controls - data.k)


def gmm(data: Partialled, *, kind: Covariance) -> Fit:
    """Fit by two-step GMM, the weights from the residuals of 2SLS.

    References
    ----------
    Hansen (1982), Econometrica 50(4); Hayashi (2000), Econometrics, ch. 3. Partialling out leaves two-step GMM
    unchanged, since the controls' moments are exactly identified.
    """
    z, d, y = data.instruments, data.treatment, data.outcome
    first = k_class(data, kappa=1.0, kind=kind)
    used = data.controls + 1
    weight = np.linalg.inv(_meat(data, z, first.residuals, kind, used) / _inflation(data, kind, used))
    slope = z.T @ d
    pull = weight @ slope / float(slope @ weight @ slope)
    coefficient = float(pull @ (z.T @ y))
    residuals = y - coefficient * d
    moved = _controls_moved(data, z, first.residuals, residuals, kind)
    variance = float(pull @ _meat(data, z, residuals + moved, kind, used) @ pull)
    moments = z.T @ residuals
    return Fit(coefficient, variance, residuals, data.n * (z @ pull * residuals)[:, None], _freedom(data, kind), None, float(moments @ weight @ moments))  # fmt: skip


def _controls_moved(data: Partialled, z: Floats, first: Floats, residuals: Floats, kind: Covariance) -> Floats:
    """Return what the controls' GMM coefficients leave (n,) beyond least squares.

    Their moments are zero only up to what the weights make of the instruments' moments: with S the variance of all
    moments, ``C'u = S_cz S_zz^-1 z'u``.
    """
    if data.basis is None:
        return np.zeros(data.n)
    both = _meat(data, np.column_stack([z, data.basis]), first, kind, data.controls + 1)
    return np.asarray(data.basis @ (both[data.k :, : data.k] @ np.linalg.solve(both[: data.k, : data.k], z.T @ residuals)))  # fmt: skip


def _freedom(data: Partialled, kind: Covariance) -> float:
    if kind == "cluster" and data.cluster is not None:
        return float(data.cluster.max())
    return float(data.n - data.controls - 1)


def _meat(data: Partialled, regressors: Floats, residuals: Floats, kind: Covariance, used: int) -> Floats:
    """Return the estimated variance of ``regressors' residuals`` after `used` coefficients."""
    if kind == "classical":
        return np.asarray(regressors.T @ regressors * float(residuals @ residuals) / (data.n - used))
    scores = regressors * residuals[:, None]
    if kind == "cluster" and data.cluster is not None:
        scores = sum_by(data.cluster, scores)
    return np.asarray(scores.T @ scores * _inflation(data, kind, used))


def _inflation(data: Partialled, kind: Covariance, used: int) -> float:
    """Return the small-sample factor of a variance after `used` coefficients."""
    if kind == "cluster" and data.cluster is not None:
        groups = int(data.cluster.max()) + 1
        return groups / (groups - 1) * (data.n - 1) / (data.n - used)
    return 1.0 if kind == "hc0" else data.n / (data.n - used)


# --- tests ------------------------------------------------------------------------------------------------------------


def first_stage(data: Partialled, kind: Covariance) -> dict[str, Any]:
    """Return how strongly the instruments move the treatment.

    References
    ----------
    Montiel Olea & Pflueger (2013), https://doi.org/10.1080/00401706.2013.806694: effective F with the critical value
    of the simplified procedure, 5 % level, worst-case bias of 10 %.
    """
    z, d = data.instruments, data.treatment
    gram = z.T @ z
    coefficients = np.linalg.solve(gram, z.T @ d)
    errors = d - z @ coefficients
    used = data.controls + data.k
    explained = float(coefficients @ gram @ coefficients)
    plain = explained / data.k / (float(errors @ errors) / (data.n - used))
    meat = _meat(data, z, errors, kind, used)
    robust = float((z.T @ d) @ np.linalg.solve(meat, z.T @ d)) / data.k
    values, vectors = np.linalg.eigh(gram)
    root = vectors / np.sqrt(values) @ vectors.T
    spread = root @ meat @ root
    trace = float(np.trace(spread))
    inner = float((spread**2).sum()) + 2 * MOP_BIAS * trace * float(np.linalg.eigvalsh(spread)[-1])
    freedom = trace**2 * (1 + 2 * MOP_BIAS) / inner
    return {
        "F": plain,
        "F_robust": robust,
        "effective_F": explained / trace,
        "effective_F_critical": float(stats.ncx2.ppf(0.95, freedom, freedom * MOP_BIAS)) / freedom,
        "partial_r2": explained / float(d @ d),
        "coefficients": coefficients.tolist(),
        "std_errors": np.sqrt(np.diag(np.linalg.solve(gram, np.linalg.solve(gram, meat).T))).tolist(),
        "df": [data.k, data.n - used],
    }


def sargan(data: Partialled, residuals: Floats) -> float:
    """Return Sargan's statistic, n times the R² of the residuals on the instruments; χ² with k - 1 degrees."""
    return float(data.n * (residuals @ data.projected(residuals)) / (residuals @ residuals))


def wu_hausman(data: Partialled, kind: Covariance) -> tuple[float, int]:
    """Return the F (1, df) statistic that the treatment is exogenous, and df, from the control function."""
    d = data.treatment
    design = np.column_stack([d, d - data.projected(d)])
    inverse = np.linalg.inv(design.T @ design)
    coefficients = inverse @ design.T @ data.outcome
    errors = data.outcome - design @ coefficients
    used = data.controls + 2
    variance = inverse @ _meat(data, design, errors, kind, used) @ inverse
    return float(coefficients[1] ** 2 / variance[1, 1]), data.n - used


@dataclass(frozen=True)
class ConfidenceSet:
    """A union of `intervals`, infinite ends among them, and its `shape` in words."""

    intervals: tuple[tuple[float, float], ...]
    shape: Literal["bounded", "unbounded", "everything", "empty"]


def anderson_rubin(data: Partialled, level: float, kind: Covariance, *, centre: float, scale: float) -> ConfidenceSet:
    """Return the values of the effect that Anderson and Rubin's test does not reject, whatever the instruments' strength.

    The test is quadratic in the effect where errors are homoskedastic or there is one instrument; else its roots are
    sought along ``centre + scale·tan θ``.

    References
    ----------
    Anderson & Rubin (1949), https://doi.org/10.1214/aoms/1177730090; Dufour & Taamouti (2005),
    https://doi.org/10.1111/j.1468-0262.2005.00618.x, for the shapes.
    """
    used = data.controls + data.k
    freedom = data.cluster.max() if kind == "cluster" and data.cluster is not None else data.n - used
    limit = float(stats.f.ppf(level, data.k, freedom)) * data.k
    both = np.column_stack([data.outcome, data.treatment])
    if kind == "classical" or data.k == 1:
        accepted = _quadratic(data, both, limit, kind, used)
        return _solve_quadratic(*accepted)
    return _search(data, both, limit, kind, used, centre=centre, scale=scale)


def _quadratic(data: Partialled, both: Floats, limit: float, kind: Covariance, used: int) -> tuple[float, float, float]:
    explained = data.projected(both)
    left = both - explained
    if kind == "classical":
        form = both.T @ explained - limit * left.T @ left / (data.n - used)
    else:
        z = data.instruments[:, 0]
        spread = _cross_meat(data, left, kind, used)[:, :, 0, 0]
        form = np.outer(z @ both, z @ both) - limit * spread
    return float(form[1, 1]), float(-2 * form[0, 1]), float(form[0, 0])


def _cross_meat(data: Partialled, left: Floats, kind: Covariance, used: int) -> Floats:
    """Return Ω (2, 2, k, k): the variance of Z'(y - βd) is Ω_yy - β(Ω_yd + Ω_dy) + β²Ω_dd."""
    scores = np.stack([data.instruments * left[:, [j]] for j in (0, 1)])
    if kind == "cluster" and data.cluster is not None:
        scores = np.stack([sum_by(data.cluster, part) for part in scores])
    return np.asarray(np.einsum("ang,bnh->abgh", scores, scores) * _inflation(data, kind, used))


def _solve_quadratic(a: float, b: float, c: float) -> ConfidenceSet:
    """Return where ``aβ² + bβ + c ≤ 0``."""
    discriminant = b * b - 4 * a * c
    if a > 0 and discriminant < 0:
        return ConfidenceSet((), "empty")
    if a <= 0 and discriminant <= 0:
        return ConfidenceSet(((-np.inf, np.inf),), "everything")
    root = -(b + np.copysign(np.sqrt(discriminant), b)) / 2
    low, high = sorted((float(root / a) if a else float("inf"), float(c / root)))
    if a > 0:
        return ConfidenceSet(((low, high),), "bounded")
    return ConfidenceSet(((-np.inf, low), (high, np.inf)), "unbounded")


def _search(
    data: Partialled, both: Floats, limit: float, kind: Covariance, used: int, *, centre: float, scale: float
) -> ConfidenceSet:
    left = both - data.projected(both)
    spread = _cross_meat(data, left, kind, used)
    moments = data.instruments.T @ both

    def excess(angles: Floats) -> Floats:
        """AR statistic less its limit at the effects ``centre + scale tan(angle)``, in homogeneous coordinates."""
        directions = np.column_stack([np.cos(angles), -(centre * np.cos(angles) + scale * np.sin(angles))])
        meats = np.einsum("ma,mb,abgh->mgh", directions, directions, spread, optimize=True)
        found = directions @ moments.T
        return np.asarray(np.einsum("mg,mg->m", found, np.linalg.solve(meats, found[:, :, None])[:, :, 0]) - limit)

    def at(angle: float) -> float:
        return float(excess(np.array([angle]))[0])

    angles = np.linspace(-np.pi / 2, np.pi / 2, GRID)
    signs = np.sign(excess(angles))
    turns = np.flatnonzero(signs[:-1] != signs[1:])
    roots = [float(optimize.brentq(at, angles[i], angles[i + 1])) for i in turns]
    edges = [-np.pi / 2, *roots, np.pi / 2]
    inside = [(low, high) for low, high in pairwise(edges) if at((low + high) / 2) <= 0]

    def effect(angle: float) -> float:
        return float(np.sign(angle) * np.inf) if abs(angle) == np.pi / 2 else centre + scale * float(np.tan(angle))

    intervals = tuple((effect(low), effect(high)) for low, high in inside)
    if not intervals:
        return ConfidenceSet((), "empty")
    if len(edges) == 2:
        return ConfidenceSet(intervals, "everything")
    return ConfidenceSet(intervals, "unbounded" if np.isinf(intervals).any() else "bounded")


def tf_critical_value(first_stage_f: float) -> float:
    """Return the 5 % critical value of the t statistic that a first stage this strong deserves; inf below F = 3.84.

    References
    ----------
    Lee, McCrary, Moreira & Porter (2022), https://doi.org/10.1257/aer.20211063; linear between the table's entries.
    """
    if first_stage_f <= float(stats.chi2.ppf(0.95, 1)):
        return float("inf")
    return float(np.interp(np.sqrt(first_stage_f), TF_ROOTS, TF_CRITICAL))


# --- whose effect -----------------------------------------------------------------------------------------------------


def saturated(covariates: Floats) -> bool:
    """Return whether there are no covariates or they have a free mean in each of their cells."""
    if not covariates.shape[1]:
        return True
    design = np.column_stack([np.ones(len(covariates)), covariates])
    return len(np.unique(covariates, axis=0)) == len(independent_columns(design))


def compliers(sample: Sample) -> dict[str, Any] | None:
    """Return the share and the mean covariates of those whom a binary instrument moves; None where it is not binary.

    References
    ----------
    Abadie (2003), https://doi.org/10.1016/S0304-4076(02)00201-4, κ weights with a logit of the instrument.
    """
    instruments = sample.roles["instruments"]
    if sample.treatment_kind != "binary" or instruments.shape[1] != 1 or instruments.dtype == object:
        return None
    low, high = np.unique(instruments)[[0, -1]]
    if not np.isin(instruments, (low, high)).all():
        return None
    weights = np.ones(len(instruments)) if sample.weights is None else sample.weights
    d, z = sample.treatment, (instruments[:, 0] == high).astype(np.float64)
    chance = fit_logit(np.column_stack([np.ones(len(z)), sample.covariates]), z, sample.weights).probability
    encouraged, other = weights * z / chance, weights * (1 - z) / (1 - chance)
    taken = [float(w @ d / w.sum()) for w in (other, encouraged)]
    if taken[1] < taken[0]:
        d = 1 - d
    kappa = weights * (1 - d * (1 - z) / (1 - chance) - (1 - d) * z / chance)
    profile = {
        name: {"compliers": float(kappa @ x / kappa.sum()), "everyone": float(weights @ x / weights.sum())}
        for name, x in zip(sample.covariate_names, sample.covariates.T, strict=True)
    }
    share = abs(taken[1] - taken[0])
    return {"share": share, "always_takers": min(taken), "never_takers": 1 - max(taken), "profile": profile}


@dataclass(frozen=True)
class Report:
    """What stands beside the coefficient."""

    estimand: str
    diagnostics: dict[str, dict[str, Any]]
    details: dict[str, Any]
    notes: tuple[str, ...]


def report(sample: Sample, data: Partialled, fit: Fit, *, kind: Covariance, level: float, lost: int = 0) -> Report:
    """Gather the first stage, the tests, the weak-instrument intervals and the compliers; `lost` rows had no instrument."""
    stage = first_stage(data, kind)
    strength = stage["effective_F"]
    diagnostics: dict[str, dict[str, Any]] = {
        "first_stage_F": {"value": stage["F"], "p_value": float(stats.f.sf(stage["F"], *stage["df"]))},
        "effective_F": {"value": strength, "threshold": WEAK, "passed": bool(strength >= WEAK)},
    }
    if data.k > 1:
        value = sargan(data, fit.residuals)
        diagnostics["sargan"] = {"value": value, "df": data.k - 1, "p_value": float(stats.chi2.sf(value, data.k - 1))}
        robust = fit.overidentification if fit.overidentification is not None else gmm(data, kind=kind).overidentification  # fmt: skip
        held = float(stats.chi2.sf(robust or 0.0, data.k - 1))
        diagnostics["hansen_j"] = {"value": robust, "df": data.k - 1, "p_value": held, "threshold": 0.05, "passed": held >= 0.05}  # fmt: skip
    value, df = wu_hausman(data, kind)
    diagnostics["wu_hausman"] = {"value": value, "df": df, "p_value": float(stats.f.sf(value, 1, df))}
    weak = anderson_rubin(data, level, kind, centre=fit.coefficient, scale=float(np.sqrt(fit.variance)))
    details: dict[str, Any] = {
        "first_stage": stage,
        "anderson_rubin": {"intervals": [list(pair) for pair in weak.intervals], "shape": weak.shape, "confidence_level": level},
        "tF": _tf(data, fit, stage, level),
        "kappa": fit.kappa,
        "compliers": compliers(sample),
    }  # fmt: skip
    own = sample.treatment_kind == "binary" and saturated(sample.covariates)
    return Report("LATE" if own else "WLATE", diagnostics, details, _notes(strength, weak, own=own, lost=lost))


def _tf(data: Partialled, fit: Fit, stage: Mapping[str, Any], level: float) -> dict[str, Any] | None:
    """Return the tF interval at 95 %, where there is one instrument; ends are null where it is unbounded."""
    if data.k != 1 or abs(level - 0.95) > 1e-12:
        return None
    critical = max(tf_critical_value(stage["F_robust"]), critical_value(level))
    margin = critical * float(np.sqrt(fit.variance))
    return {"critical_value": critical, "ci_lower": fit.coefficient - margin, "ci_upper": fit.coefficient + margin}


def _notes(strength: float, weak: ConfidenceSet, *, own: bool, lost: int) -> tuple[str, ...]:
    notes = [f"{lost} rows without an instrument are left out"] if lost else []
    if strength < WEAK:
        notes.append(f"the instruments are weak (effective F {strength:.3g}, below {WEAK:g}): trust the Anderson–Rubin set, not the interval")  # fmt: skip
    if weak.shape in ("unbounded", "everything"):
        notes.append("the Anderson–Rubin set is unbounded: the data do not limit the effect on at least one side")
    if weak.shape == "empty":
        notes.append("the Anderson–Rubin set is empty: the instruments contradict each other or the model")
    if not own:
        notes.append(
            "a weighted average of effects of those whom the instruments move, by how strongly they do (WLATE)"
        )
    return tuple(notes)

"""What an event study says when trends need not be parallel: intervals under bounded violations, and where they break.

Rambachan & Roth (2023), https://doi.org/10.1093/restud/rdad018. With δ the difference in trends, zero in the reference
period: Δ^SD(M) holds if its slope changes by at most M from one period to the next; Δ^RM(M̄) holds if after treatment it
moves by at most M̄ times its largest move before, from one period to the next.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize
from scipy.special import ndtr, ndtri

Floats = NDArray[np.float64]
Interval = tuple[float, float]

FIRST_STAGE = 0.1  # share of the size spent on the least favourable test of the hybrid, as the authors recommend
DRAWS = 4_000  # the least favourable test spends a tenth of the size: its limit's Monte Carlo error is then below 0.05
GRID = 801
REACH = 10.0  # standard errors beyond the identified set at which the grid ends
TIGHT = 1e-4  # of a standard error: how near an end of an interval is found
MOST = 20.0  # the largest M̄ at which a breakdown is looked for


@dataclass(frozen=True)
class EventStudy:
    """Estimates by event time, without the reference period.

    before : shape (P,), the estimates of the P periods before the reference, in time, and after : shape (Q,).
    covariance : shape (P + Q, P + Q)
    weights : shape (Q,), of the periods after in the effect asked about.
    """

    before: Floats
    after: Floats
    covariance: Floats
    weights: Floats

    @property
    def effect(self) -> float:
        """The effect asked about if trends are parallel."""
        return float(self.weights @ self.after)

    @property
    def std_error(self) -> float:
        """Its standard error."""
        p = len(self.before)
        return float(np.sqrt(self.weights @ self.covariance[p:, p:] @ self.weights))

    @property
    def moves(self) -> Floats:
        """How much the estimates move from each period before to the next, the reference being the last (P,)."""
        return np.diff(np.append(self.before, 0.0))


# --- smoothness -----------------------------------------------------------------------------------------------------


def smoothness(study: EventStudy, bound: float, level: float = 0.95) -> Interval:
    """Return the shortest interval of fixed length around an affine estimator that covers under Δ^SD(bound).

    The estimator takes a combination of the estimates before from that after. It must cancel every linear trend; its
    bias is then `bound` times the absolute sum of its coefficients on changes of slope, and its variance is quadratic in
    them: the pairs of bias and variance worth considering are those of a lasso path, which is followed exactly.

    References
    ----------
    Rambachan & Roth (2023), section 4.1; Armstrong & Kolesár (2018), https://doi.org/10.3982/ECTA14434.
    """
    return _shortest_interval(study, _path(study), bound, level)


def _shortest_interval(study: EventStudy, path: _Path, bound: float, level: float) -> Interval:
    best = min((_shortest(path, i, bound, level) for i in range(len(path.turns))), key=lambda found: found[0])
    half, vector = best
    centre = float(vector @ np.append(study.before, study.after))
    return centre - half, centre + half


@dataclass(frozen=True)
class _Path:
    """Vectors (P + Q,) ``base + basis @ c`` over the corners (K, P - 1) of a lasso path in c; `fixed` bias per bound."""

    base: Floats
    basis: Floats
    turns: Floats
    covariance: Floats
    fixed: float


def _path(study: EventStudy) -> _Path:
    from sklearn.linear_model import lars_path

    p, q = len(study.before), len(study.after)
    back = np.arange(p, 0, -1.0)  # periods between each estimate before and the reference
    ahead = np.arange(1, q + 1.0)
    # Coefficients on the changes of slope at 0, -1, … are sums of (back - j) times those on the estimates before.
    inverse = np.linalg.inv(np.clip(back - np.arange(p)[:, None], 0.0, None))
    slope = float(ahead @ study.weights)
    later = np.array([np.clip(ahead - j, 0.0, None) @ study.weights for j in range(1, q)])
    base = np.append(inverse[:, 0] * slope, study.weights)
    basis = np.vstack([inverse[:, 1:], np.zeros((q, p - 1))])
    fixed = abs(slope) + float(np.abs(later).sum())
    if p == 1:
        return _Path(base, basis, np.zeros((1, 0)), study.covariance, fixed)
    root = _root(study.covariance)
    scale = float(np.sqrt(np.trace(study.covariance)))
    turns = np.asarray(lars_path(root @ basis / scale, -root @ base / scale, method="lasso", eps=1e-15)[2]).T
    return _Path(base, basis, turns, study.covariance, fixed)


def _root(covariance: Floats) -> Floats:
    values, vectors = np.linalg.eigh(covariance)
    return np.asarray(np.sqrt(np.clip(values, 0.0, None))[:, None] * vectors.T)


def _shortest(path: _Path, i: int, bound: float, level: float) -> tuple[float, Floats]:
    """Return the least half-length between a corner of the path and the next, with its vector."""
    start = path.turns[i]
    step = path.turns[min(i + 1, len(path.turns) - 1)] - start

    def vector(share: float) -> Floats:
        return np.asarray(path.base + path.basis @ (start + share * step))

    def half(share: float) -> float:
        v = vector(share)
        bias = bound * (path.fixed + float(np.abs(start + share * step).sum()))
        return folded_quantile(bias, float(np.sqrt(v @ path.covariance @ v)), level)

    shares = [0.0, 1.0]
    if step.any():
        shares.append(float(optimize.minimize_scalar(half, bounds=(0.0, 1.0), method="bounded", options={"xatol": 1e-10}).x))  # fmt: skip
    best = min(shares, key=lambda share: float(half(share)))
    return half(best), vector(best)


def folded_quantile(bias: float, error: float, level: float) -> float:
    """Return the quantile of |bias + error·Z|, Z standard normal."""
    if not error > 0:
        return abs(bias)
    b = abs(bias) / error

    def excess(c: float) -> float:
        return float(ndtr(c - b) - ndtr(-c - b)) - level

    low, high = b + float(ndtri(level)) - 1e-9, b + float(ndtri(0.5 + level / 2)) + 1e-9
    return error * float(optimize.brentq(excess, max(low, 0.0), high, xtol=1e-13))


# --- relative magnitudes --------------------------------------------------------------------------------------------


def relative_magnitudes(study: EventStudy, bound: float, level: float = 0.95, *, seed: int = 0) -> Interval:
    """Return the ends of the set of effects that the conditional least favourable hybrid test accepts under Δ^RM(bound).

    Δ^RM is the union, over the move before that is the largest and its sign, of sets defined by linear inequalities; an
    effect is accepted if the test of one of them accepts it. With the differences of the effects as the only nuisances
    the linear programme behind the test has two corners that involve the effect, and one for each period after.

    References
    ----------
    Rambachan & Roth (2023), section 3.3; Andrews, Roth & Pakes (2023), https://doi.org/10.1093/restud/rdad001.
    """
    pieces = _pieces(study, bound, level, seed)
    widest = bound * float(np.abs(study.moves).max()) * _turn(study) + REACH * study.std_error * (1 + bound)
    grid = study.effect + np.linspace(-widest, widest, GRID)

    def accepted(effects: Floats) -> NDArray[np.bool_]:
        return np.asarray(np.any([piece.accepts(effects) for piece in pieces], axis=0))

    inside = np.flatnonzero(accepted(grid))
    if not len(inside):
        return study.effect, study.effect
    fine = TIGHT * study.std_error
    return (
        _end(accepted, outer=grid[max(inside[0] - 1, 0)], inner=grid[inside[0]], fine=fine),
        _end(accepted, outer=grid[min(inside[-1] + 1, GRID - 1)], inner=grid[inside[-1]], fine=fine),
    )


def _end(accepted: Callable[[Floats], NDArray[np.bool_]], *, outer: float, inner: float, fine: float) -> float:
    while abs(outer - inner) > fine:
        middle = (outer + inner) / 2
        if accepted(np.array([middle]))[0]:
            inner = middle
        else:
            outer = middle
    return float(outer)


def _turn(study: EventStudy) -> float:
    """Return by how much the effect asked about moves if every period after adds one unit of violation."""
    return float(np.abs(np.cumsum(study.weights[::-1])).sum())


@dataclass(frozen=True)
class _Piece:
    """Linear forms of the estimates, each at most zero in expectation: `values` (J,), less `slopes` (J,) times the effect.

    `covariance` (J, J) is that of the forms, `limit` the least favourable critical value, `size` that of the second step.
    """

    values: Floats
    slopes: Floats
    covariance: Floats
    limit: float
    size: float

    def accepts(self, effects: Floats) -> NDArray[np.bool_]:
        """Test every effect (m,): first against the least favourable case, then given which form is the largest."""
        forms = self.values - effects[:, None] * self.slopes
        top = forms.argmax(axis=1)
        statistic = forms[np.arange(len(effects)), top]
        variance = np.diag(self.covariance)[top]
        ratio = self.covariance[top] / np.where(variance > 0, variance, 1.0)[:, None]
        rest = forms - ratio * statistic[:, None]
        with np.errstate(divide="ignore", invalid="ignore"):
            edge = rest / (1 - ratio)
        low = np.where(ratio < 1 - 1e-12, edge, -np.inf).max(axis=1)
        high = np.minimum(np.where(ratio > 1 + 1e-12, edge, np.inf).min(axis=1), self.limit)
        error = np.sqrt(variance)
        critical = np.maximum(_truncated(1 - self.size, low / error, high / error), 0.0) * error
        return np.asarray((statistic <= self.limit) & ((statistic <= critical) | (statistic < low)))


def _truncated(p: float, low: Floats, high: Floats) -> Floats:
    """Return the quantile of a standard normal between two limits, from the tail that keeps its digits."""
    upper = -ndtri(ndtr(-low) - p * (ndtr(-low) - ndtr(-high)))
    lower = ndtri(ndtr(low) + p * (ndtr(high) - ndtr(low)))
    return np.asarray(np.where(low > 0, upper, lower))


def _pieces(study: EventStudy, bound: float, level: float, seed: int) -> list[_Piece]:
    p, q = len(study.before), len(study.after)
    draws = np.random.default_rng(seed).standard_normal((DRAWS, p + q)) @ _root(study.covariance)
    # Rows of `steps` turn the estimates into their moves from period to period, the reference (zero) in between.
    steps = np.diff(np.insert(np.eye(p + q), p, 0.0, axis=0), axis=0)
    return [_piece(study, sign * steps[s], steps[p:], bound, level, draws) for s in range(p) for sign in (1.0, -1.0)]


def _piece(study: EventStudy, largest: Floats, after: Floats, bound: float, level: float, draws: Floats) -> _Piece:
    """Build the forms where `largest` (P + Q,) is the largest move before; `after` (Q, P + Q) are the moves after."""
    sigma = study.covariance
    allowed = bound * largest
    up, down = (np.sqrt(np.einsum("ij,jk,ik->i", rows, sigma, rows)) for rows in (after - allowed, -after - allowed))
    share = np.cumsum(study.weights[::-1])[::-1]  # of each period's move in the effect
    target = np.append(np.zeros(len(study.before)), study.weights)
    total = float(np.abs(share).sum())
    forms, slopes = [], []
    for sign in (1.0, -1.0):
        scale = float(np.abs(share) @ np.where(sign * share >= 0, up, down))
        forms.append((sign * target - total * allowed) / scale)
        slopes.append(sign / scale)
    if bound > 0:
        forms += [-2 * allowed / (a + b) for a, b in zip(up, down, strict=True)]
        slopes += [0.0] * len(up)
    rows = np.array(forms)
    alpha = 1 - level
    spent = FIRST_STAGE * alpha
    limit = float(np.quantile((draws @ rows.T).max(axis=1), 1 - spent))
    estimates = np.append(study.before, study.after)
    return _Piece(rows @ estimates, np.array(slopes), rows @ sigma @ rows.T, limit, (alpha - spent) / (1 - spent))


# --- where the conclusion breaks ------------------------------------------------------------------------------------


def relative_breakdown(study: EventStudy, level: float = 0.95, *, seed: int = 0, value: float = 0.0) -> float | None:
    """Return the largest M̄ at which `value` is still rejected: 0 if it never is, None if it is up to `MOST`."""

    def rejected(bound: float) -> bool:
        return not any(bool(piece.accepts(np.array([value]))[0]) for piece in _pieces(study, bound, level, seed))

    return _last(rejected, np.append(np.arange(0, 3, 0.25), np.arange(3, MOST + 1)))


def smoothness_breakdown(study: EventStudy, level: float = 0.95, *, value: float = 0.0) -> float | None:
    """Return the largest M at which the interval leaves `value` out: 0 if it never does."""
    unit = max(abs(study.effect - value), study.std_error)

    path = _path(study)

    def rejected(bound: float) -> bool:
        low, high = _shortest_interval(study, path, bound, level)
        return not low <= value <= high

    return _last(rejected, unit * np.append(0.0, np.geomspace(1e-3, MOST, 30)))


def _last(rejected: Callable[[float], bool], bounds: Floats) -> float | None:
    """Return the bound at which a rejection is lost, found between the first two bounds where it is."""
    before = 0.0
    for bound in bounds:
        if not rejected(float(bound)):
            break
        before = float(bound)
    else:
        return None
    if bound == bounds[0]:
        return 0.0
    low, high = before, float(bound)
    for _ in range(12):
        middle = (low + high) / 2
        low, high = (middle, high) if rejected(middle) else (low, middle)
    return low

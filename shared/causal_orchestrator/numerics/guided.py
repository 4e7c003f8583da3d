"""Boosted trees guided by a surface, for tables of many rows; what fits of several targets share is made once.

Trees need many splits for a slope and miss pure products. So a least-squares surface of columns, hinges, squares and
products comes first; trees see it as a column beside bins of the covariates, and learn a mean from what it leaves. Bins,
bounds and knots depend on covariates alone, and sums of products of the surface's terms are kept by fold and arm, so that
another target on the same folds costs only its own moments and trees.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, special

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]
Bins = NDArray[np.uint8]
Predictor = Callable[[Floats], Floats]
Target = Literal["mean", "probability"]

BINS = 64
SEEN = 200_000  # rows from which bins, bounds and knots are taken
WINSOR = 0.001  # there are many rows; products matter most in the corners
KNOTS = (0.25, 0.5, 0.75)
WORK = 6e10  # rows times squared terms that a surface may cost; rows between are left out
SHARE = 50  # rows for each term, so that the surface fits the rows that it has seen hardly better than others
BLOCK = 5_000  # rows expanded at once
RIDGE = 1e-6  # of the average squared term: indicators are their own squares
TREES = {
    "max_iter": 200, "learning_rate": 0.15, "max_leaf_nodes": 31, "max_bins": BINS, "min_samples_leaf": 100,
    "early_stopping": True, "n_iter_no_change": 6,
}  # fmt: skip
ASIDE = 0.15  # share of the rows on which the number of trees is chosen


@dataclass(frozen=True)
class Frame:
    """How columns are seen: `cuts` of each column's bins; bounds, centre and scale (p,); hinges' columns and knots (h,)."""

    cuts: tuple[Floats, ...]
    low: Floats
    high: Floats
    centre: Floats
    scale: Floats
    hinged: Codes
    knots: Floats
    products: bool

    @property
    def terms(self) -> int:
        """Number of terms of the surface."""
        p = len(self.low)
        return 1 + p + (len(self.hinged) + p * (p + 1) // 2 if self.products else 0)


@dataclass(frozen=True)
class Surface:
    """Coefficients (T,) of the terms, and what each arm adds (levels, 1 + p) to intercept and slopes."""

    beta: Floats
    arms: Floats


@dataclass(frozen=True)
class Shared:
    """What fits on the same folds share.

    x : shape (n, p)
    bins : shape (n, p)
        In the order of the values.
    fold, arm : shape (n,)
    enters : shape (n,)
        Whether the row enters surfaces.
    grams : shape (folds, levels, T, T)
        Weighted sums of products of terms over the rows that enter.
    """

    frame: Frame
    x: Floats
    bins: Bins
    fold: Codes
    arm: Codes
    weights: Floats | None
    enters: NDArray[np.bool_]
    grams: Floats


def share(
    x: Floats,
    fold: Codes,
    arm: Codes,
    weights: Floats | None,
    *,
    each: Callable[[Callable[[int], None]], None] | None = None,
) -> Shared:
    """Return what fits on the complements of the folds share.

    Parameters
    ----------
    x : shape (n, p)
    fold, arm : shape (n,)
        Codes from 0.
    each : runs a function for each fold, side by side where that pays.
    """
    folds, levels = int(fold.max()) + 1, int(arm.max()) + 1
    learned = len(x) if folds == 1 else len(x) * (folds - 1) // folds
    frame = _frame(x, learned)
    bins = np.empty(x.shape, dtype=np.uint8, order="F")
    every = math.ceil(learned * frame.terms**2 / WORK)
    enters = np.zeros(len(x), dtype=bool)
    grams = np.zeros((folds, levels, frame.terms, frame.terms))

    def turn(k: int) -> None:
        bins[fold == k] = _binned(frame, x[fold == k])
        for a in range(levels):
            rows = np.flatnonzero((fold == k) & (arm == a))[::every]
            enters[rows] = True
            grams[k, a] = _gram(frame, x, rows, weights)

    if each is None:
        for k in range(folds):
            turn(k)
    else:
        each(turn)
    return Shared(frame, x, bins, fold, arm, weights, enters, grams)


def fit(x: Floats, target: Floats, weights: Floats | None, *, kind: Target, seed: int) -> Predictor:
    """Fit one target on all rows of x (n, p); return a function from columns (m, p) to E[target | columns] (m,)."""
    shared = share(x, np.zeros(len(x), dtype=np.int64), np.zeros(len(x), dtype=np.int64), weights)
    rows = np.arange(len(x))
    surface = _surface(shared, rows, target, weights)
    grown = _grown(
        _columns(shared.bins, _heights(shared.frame, surface, x)[:, 0]), target, weights, kind=kind, seed=seed
    )
    return lambda new: grown(_columns(_binned(shared.frame, new), _heights(shared.frame, surface, new)[:, 0]))


def surface(x: Floats, target: Floats, weights: Floats | None) -> Predictor:
    """Fit the surface alone: the nested one of least Cp among constant, plane, and all terms where rows suffice.

    References
    ----------
    Box & Wilson (1951), https://doi.org/10.1111/j.2517-6161.1951.tb00067.x; Mallows (1973),
    https://doi.org/10.1080/00401706.1973.10489103.
    """
    shared = share(x, np.zeros(len(x), dtype=np.int64), np.zeros(len(x), dtype=np.int64), weights)
    found = _surface(shared, np.arange(len(x)), target, weights)
    return lambda new: _heights(shared.frame, found, new)[:, 0]


def held_out(
    shared: Shared,
    k: int,
    target: Floats,
    *,
    rows: NDArray[np.bool_],
    weights: Floats | None,
    kind: Target,
    seed: int,
) -> Floats:
    """Return predictions for the rows of fold k, learned on those of `rows` in other folds.

    Parameters
    ----------
    target : shape (n,)
    weights : shape (n,)
        The array that `shared` has, or another for this target.
    """
    into, held = np.flatnonzero(rows & (shared.fold != k)), np.flatnonzero(shared.fold == k)
    into = into if len(into) else np.flatnonzero(rows)
    found, frame = _surface(shared, into, target, weights), shared.frame
    seen, new = (_columns(shared.bins[part], _heights(frame, found, shared.x[part])[:, 0]) for part in (into, held))
    return _grown(seen, target[into], None if weights is None else weights[into], kind=kind, seed=seed)(new)


def held_out_by_level(shared: Shared, k: int, target: Floats, *, kind: Target, seed: int) -> Floats:
    """Return predictions (m, levels) for the rows of fold k under each arm, all arms learned at once in other folds."""
    into, held = np.flatnonzero(shared.fold != k), np.flatnonzero(shared.fold == k)
    found, frame, levels = _surface_of_arms(shared, into, target), shared.frame, shared.grams.shape[1]
    arm = shared.arm[into]
    height = _heights(frame, found, shared.x[into])[np.arange(len(into)), arm]
    weights = None if shared.weights is None else shared.weights[into]
    seen = _columns(shared.bins[into], *(arm == a for a in range(1, levels)), height)
    grown = _grown(seen, target[into], weights, kind=kind, seed=seed)
    out, bins, heights = np.empty((len(held), levels)), shared.bins[held], _heights(frame, found, shared.x[held])
    for a in range(levels):
        given = (np.full(len(held), a == b) for b in range(1, levels))
        out[:, a] = grown(_columns(bins, *given, heights[:, a]))
    return out


# --- how columns are seen -------------------------------------------------------------------------------------------


def _frame(x: Floats, learned: int) -> Frame:
    """Return the frame of columns x (n, p) for fits on `learned` rows."""
    some, p = np.sort(x[:: math.ceil(len(x) / SEEN)].T, axis=1), x.shape[1]
    last = some.shape[1] - 1
    low, high = (some[:, round(last * share)] for share in (WINSOR, 1 - WINSOR))
    low, high = np.where(high > low, low, -np.inf), np.where(high > low, high, np.inf)
    centre, scale = some.mean(axis=1), some.std(axis=1)
    scale = np.where(scale > 0, scale, 1.0)
    cuts = tuple(_cuts(column) for column in some)
    quantiles = (np.clip(some[:, [int(share * last) for share in KNOTS]].T, low, high) - centre) / scale
    hinges = [(j, knot) for j in range(p) if len(cuts[j]) > 1 for knot in np.unique(quantiles[:, j]).tolist()]
    terms = 1 + p + len(hinges) + p * (p + 1) // 2
    enough = min(learned, WORK / terms**2) >= SHARE * terms
    hinged, knots = np.array([j for j, _ in hinges], dtype=np.int64), np.array([knot for _, knot in hinges])
    return Frame(cuts, low, high, centre, scale, hinged, knots, enough)


def _cuts(ordered: Floats) -> Floats:
    """Return the upper bounds of all bins but the last: every value where they are few, else quantiles."""
    distinct = ordered[np.concatenate([[True], ordered[1:] != ordered[:-1]])]
    if len(distinct) > BINS:
        distinct = np.unique(ordered[np.arange(1, BINS + 1) * len(ordered) // BINS - 1])
    return np.asarray(distinct[:-1])


def _binned(frame: Frame, x: Floats) -> Bins:
    bins = np.empty(x.shape, dtype=np.uint8, order="F")
    for j, cuts in enumerate(frame.cuts):
        bins[:, j] = np.searchsorted(cuts, np.ascontiguousarray(x[:, j]), side="left")
    return bins


def _columns(bins: Bins, *more: NDArray[Any]) -> Floats:
    """Return what trees see: bins and further columns, column by column in memory, as trees read them."""
    p = bins.shape[1]
    columns = np.empty((len(bins), p + len(more)), order="F")
    columns[:, :p] = bins
    for j, column in enumerate(more):
        columns[:, p + j] = column
    return columns


# --- the surface ----------------------------------------------------------------------------------------------------


def _standard(frame: Frame, x: Floats) -> Floats:
    return np.asarray((np.clip(x, frame.low, frame.high) - frame.centre) / frame.scale)


def _expanded(frame: Frame, x: Floats) -> Floats:
    """Return the terms (T, m): one, columns, hinges, and products of columns with themselves and later ones."""
    z = np.ascontiguousarray(_standard(frame, x).T)
    p, h = len(z), len(frame.hinged)
    terms = np.empty((frame.terms, len(x)))
    terms[0], terms[1 : p + 1] = 1.0, z
    if frame.products:
        np.maximum(z[frame.hinged] - frame.knots[:, None], 0.0, out=terms[p + 1 : p + 1 + h])
        at = p + 1 + h
        for j in range(p):
            np.multiply(z[j:], z[j], out=terms[at : at + p - j])
            at += p - j
    return terms


def _gram(frame: Frame, x: Floats, rows: Codes, weights: Floats | None) -> Floats:
    gram = np.zeros((frame.terms, frame.terms))
    for start in range(0, len(rows), BLOCK):
        block = rows[start : start + BLOCK]
        terms = _expanded(frame, x[block])
        terms *= 1.0 if weights is None else np.sqrt(weights[block])
        gram += terms @ terms.T
    return gram


def _moments(frame: Frame, x: Floats, rows: Codes, weighted: Floats) -> Floats:
    """Return the sums (T,) of terms times the weighted target over the rows; of products without forming them."""
    p, h = x.shape[1], len(frame.hinged)
    out, products = np.zeros(frame.terms), np.zeros((p, p))
    for start in range(0, len(rows), BLOCK):
        block = rows[start : start + BLOCK]
        z, v = _standard(frame, x[block]), weighted[block]
        out[0] += v.sum()
        out[1 : p + 1] += v @ z
        if frame.products:
            out[p + 1 : p + 1 + h] += v @ np.maximum(z[:, frame.hinged] - frame.knots, 0.0)
            products += (z * v[:, None]).T @ z
    if frame.products:
        out[p + 1 + h :] = products[np.triu_indices(p)]
    return out


def _heights(frame: Frame, found: Surface, x: Floats) -> Floats:
    """Return the surface (m, levels) at columns x (m, p) under each arm."""
    p, h = x.shape[1], len(frame.hinged)
    products = np.zeros((p, p))
    if frame.products:
        products[np.triu_indices(p)] = found.beta[p + 1 + h :]
    planes, out = found.beta[: p + 1] + found.arms, np.empty((len(x), len(found.arms)))
    for start in range(0, len(x), BLOCK):
        z = _standard(frame, x[start : start + BLOCK])
        bent = np.einsum("ij,ij->i", z @ products, z)
        if frame.products:
            bent += np.maximum(z[:, frame.hinged] - frame.knots, 0.0) @ found.beta[p + 1 : p + 1 + h]
        out[start : start + BLOCK] = planes[:, 0] + z @ planes[:, 1:].T + bent[:, None]
    return out


def _surface(shared: Shared, into: Codes, target: Floats, weights: Floats | None) -> Surface:
    frame, rows = shared.frame, into[shared.enters[into]]
    gram = _kept(shared, into) if weights is shared.weights else None
    gram = _gram(frame, shared.x, rows, weights) if gram is None else gram
    weighted = target if weights is None else target * weights
    moments = _moments(frame, shared.x, rows, weighted)
    p, square = len(frame.low), float(target[rows] @ weighted[rows])
    sets = [np.arange(1), np.arange(p + 1), np.arange(frame.terms)]
    beta = _least_cp(gram, moments, square, len(rows), sets)
    return Surface(beta, np.zeros((1, p + 1)))


def _kept(shared: Shared, into: Codes) -> Floats | None:
    """Return the sum of the grams whose rows `into` are, or None where it cuts through a fold or an arm."""
    folds, levels = shared.grams.shape[:2]
    group = shared.fold * levels + shared.arm
    inside = np.bincount(group[into], minlength=folds * levels)
    whole = np.bincount(group, minlength=folds * levels)
    if not ((inside == 0) | (inside == whole)).all():
        return None
    return np.asarray(shared.grams.reshape(folds * levels, *shared.grams.shape[2:])[inside > 0].sum(axis=0))


def _surface_of_arms(shared: Shared, into: Codes, target: Floats) -> Surface:
    """Fit one surface to all arms, each with its own intercept and, where that pays, its own slopes."""
    frame, levels, terms = shared.frame, shared.grams.shape[1], shared.frame.terms
    p = len(frame.low)
    by_arm = shared.grams[np.unique(shared.fold[into])].sum(axis=0)
    weighted = target if shared.weights is None else target * shared.weights
    rows = [part[shared.enters[part]] for part in (into[shared.arm[into] == a] for a in range(levels))]
    moments = [_moments(frame, shared.x, part, weighted) for part in rows]
    size, plane = terms + (levels - 1) * (p + 1), np.arange(p + 1)
    gram, cross = np.zeros((size, size)), np.zeros(size)
    gram[:terms, :terms], cross[:terms] = by_arm.sum(axis=0), sum(moments)
    own = [terms + (a - 1) * (p + 1) + plane for a in range(1, levels)]
    for a, place in enumerate(own, start=1):
        gram[:terms, place] = by_arm[a][:, : p + 1]
        gram[place, :terms] = by_arm[a][: p + 1]
        gram[np.ix_(place, place)] = by_arm[a][: p + 1, : p + 1]
        cross[place] = moments[a][: p + 1]
    levels_only = np.array([place[0] for place in own], dtype=np.int64)
    bases = [np.arange(1), plane, np.arange(terms)]
    sets = [np.concatenate([base, levels_only]) for base in bases]
    if min(len(part) for part in rows) >= SHARE * (p + 1):
        sets += [np.concatenate([base, *own]) for base in bases[1:]]
    every = np.concatenate(rows)
    found = _least_cp(gram, cross, float(target[every] @ weighted[every]), len(every), sets)
    return Surface(found[:terms], np.vstack([np.zeros(p + 1), found[terms:].reshape(levels - 1, p + 1)]))


def _least_cp(gram: Floats, cross: Floats, square: float, count: int, sets: Sequence[Codes]) -> Floats:
    """Return least-squares coefficients on the set of terms of least Cp (Mallows 1973), zero elsewhere.

    The first set always may serve, others where there are `SHARE` rows for each of their terms.
    """
    sets = [chosen for i, chosen in enumerate(sets) if i == 0 or count >= SHARE * len(chosen)]
    fits, losses = [], []
    for chosen in sets:
        part = gram[np.ix_(chosen, chosen)]
        ridge = RIDGE * np.trace(part) / len(part) * np.diag(chosen > 0)  # none on the intercept
        beta = linalg.solve(part + ridge, cross[chosen], assume_a="pos")
        fits.append(beta)
        losses.append(square - 2 * float(beta @ cross[chosen]) + float(beta @ part @ beta))
    largest = int(np.argmax([len(chosen) for chosen in sets]))
    noise = max(losses[largest], 0.0) / max(count - len(sets[largest]), 1)
    best = int(np.argmin([loss + 2 * noise * len(chosen) for loss, chosen in zip(losses, sets, strict=True)]))
    out = np.zeros(len(cross))
    out[sets[best]] = fits[best]
    return out


# --- the trees ------------------------------------------------------------------------------------------------------


def _grown(seen: Floats, target: Floats, weights: Floats | None, *, kind: Target, seed: int) -> Predictor:
    """Boost trees on columns of which the last is the surface, as many as lose least on the rows put aside."""
    from sklearn import ensemble

    classify = kind == "probability"
    left = target if classify else target - seen[:, -1]
    level = float(np.average(left, weights=weights))
    aside = np.random.default_rng(seed).random(len(left)) < ASIDE
    if not aside.any() or np.ptp(left[~aside]) == 0:
        return lambda new: np.full(len(new), level) + (0.0 if classify else new[:, -1])
    made = ensemble.HistGradientBoostingClassifier if classify else ensemble.HistGradientBoostingRegressor
    model: Any = made(**TREES, random_state=seed)
    w, w_aside = (None, None) if weights is None else (weights[~aside], weights[aside])
    model.fit(
        _of(seen, ~aside), left[~aside], sample_weight=w,
        X_val=_of(seen, aside), y_val=left[aside], sample_weight_val=w_aside,
    )  # fmt: skip
    trees = int(np.argmax(model.validation_score_))

    def predict(new: Floats) -> Floats:
        if not trees:
            return np.full(len(new), level) + (0.0 if classify else new[:, -1])
        out = np.empty(len(new))
        for start in range(0, len(new), BLOCK):
            block = new[start : start + BLOCK]
            stages = model.staged_decision_function(block) if classify else model.staged_predict(block)
            out[start : start + BLOCK] = np.ravel(next(islice(stages, trees - 1, None)))
        return special.expit(out) if classify else out + new[:, -1]

    return predict


def _of(seen: Floats, rows: NDArray[np.bool_]) -> Floats:
    """Return some rows, column by column in memory as all are."""
    return np.asarray(seen.T[:, rows].T)

"""How an effect function sorts rows: groups, best linear predictor, targeting curves, all from doubly robust scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from causal_orchestrator.numerics.inference import (
    critical_value,
    influence_covariance,
    p_value,
    simultaneous_critical_value,
)
from causal_orchestrator.numerics.linear import independent_columns, least_squares

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]

GROUPS = 5
SHARES = np.linspace(0.05, 1.0, 20)
NEAR = 0.05  # ranks on either side from which the mean score at a cut is taken
BARS, GRID, SMALL_CELL = 24, 8, 10


def describe(
    cate: Floats,
    scores: Floats,
    *,
    weights: Floats | None,
    cluster: Codes | None,
    confidence_level: float,
    seed: int,
) -> dict[str, Any]:
    """Return what doubly robust scores say about an effect function that was learned on other rows.

    Parameters
    ----------
    cate : shape (n,)
        The effect function at each row, cross-fitted.
    scores : shape (n,)
        Doubly robust score of each row's effect.

    Returns
    -------
    dict
        ``groups``: mean score by fifths of `cate` with simultaneous intervals; ``best_linear_predictor``: mean effect
        and slope of the scores on `cate` (one if it is calibrated); ``autoc`` and ``qini`` with standard errors;
        ``curve``: see `gain_curve`; ``histogram`` of `cate` where no bar shows fewer than ten rows.

    References
    ----------
    Chernozhukov, Demirer, Duflo & Fernández-Val (2018), https://arxiv.org/abs/1712.04802; Yadlowsky et al. (2025),
    https://doi.org/10.1080/01621459.2024.2393466.
    """
    w = np.ones(len(cate)) if weights is None else weights
    told: dict[str, Any] = {
        "mean": float(np.average(cate, weights=w)),
        "standard_deviation": float(np.sqrt(np.average((cate - np.average(cate, weights=w)) ** 2, weights=w))),
        "quantiles": dict(zip(("5%", "25%", "50%", "75%", "95%"), np.quantile(cate, (0.05, 0.25, 0.5, 0.75, 0.95)).tolist(), strict=True)),
    }  # fmt: skip
    told["histogram"] = histogram(cate)
    if not np.ptp(cate) > 1e-9 * max(float(np.abs(cate).max()), np.finfo(float).tiny):
        return told
    told["groups"] = _groups(cate, scores, w, cluster, confidence_level, seed)
    at = _sorted(cate, w)
    told["curve"] = _gain_curve(at, scores, cluster, confidence_level, seed)
    told["best_linear_predictor"] = _best_linear_predictor(cate, scores, w, cluster)
    for name in ("autoc", "qini"):
        value, influence = _targeting(at, scores, curve=name)
        error = float(np.sqrt(influence_covariance(influence[:, None], cluster)[0, 0]))
        margin = critical_value(confidence_level) * error
        told[name] = {"estimate": value, "std_error": error, "ci_lower": value - margin, "ci_upper": value + margin, "p_value": p_value(value, error)}  # fmt: skip
    return told


def _groups(cate: Floats, scores: Floats, w: Floats, cluster: Codes | None, level: float, seed: int) -> list[dict[str, Any]]:  # fmt: skip
    cuts = np.unique(np.quantile(cate, np.linspace(0, 1, GROUPS + 1)[1:-1]))
    group = np.searchsorted(cuts, cate, side="left")
    group = np.unique(group, return_inverse=True)[1]
    shares = (group[:, None] == np.arange(int(group.max()) + 1)) * w[:, None]
    means = scores @ shares / shares.sum(axis=0)
    influence = shares * (scores[:, None] - means) / shares.mean(axis=0)
    covariance = influence_covariance(influence, cluster)
    errors, critical = np.sqrt(np.diag(covariance)), simultaneous_critical_value(covariance, level, seed=seed)
    return [
        {"group": k + 1, "predicted": float(predicted), "estimate": float(mean), "std_error": float(error), "ci_lower": float(mean - critical * error), "ci_upper": float(mean + critical * error), "n": int(count)}
        for k, (predicted, mean, error, count) in enumerate(zip(cate @ shares / shares.sum(axis=0), means, errors, np.bincount(group), strict=True))
    ]  # fmt: skip


def _best_linear_predictor(cate: Floats, scores: Floats, w: Floats, cluster: Codes | None) -> dict[str, Any]:
    design = np.column_stack([np.ones(len(cate)), cate - np.average(cate, weights=w)])
    fit = least_squares(design, scores, w)
    bread = np.linalg.inv((design * w[:, None]).T @ design / len(cate))
    errors = np.sqrt(np.diag(influence_covariance((design * (w * fit.residuals)[:, None]) @ bread, cluster)))
    mean, slope = fit.coefficients
    return {
        "mean": float(mean),
        "mean_std_error": float(errors[0]),
        "slope": float(slope),
        "slope_std_error": float(errors[1]),
        "p_value": p_value(float(slope), float(errors[1])),
        "p_value_calibrated": p_value(float(slope) - 1, float(errors[1])),
    }


def targeting(cate: Floats, scores: Floats, w: Floats, *, curve: str) -> tuple[float, Floats]:
    """Return the area under the targeting operator characteristic, and its influence (n,).

    With u the share of rows that come before a row when sorted by `cate` from the top, the area is E[score · g(u)],
    g = -log u - 1 (AUTOC) or ½ - u (Qini). The influence function accounts for u being estimated.

    Parameters
    ----------
    cate, scores, w : shape (n,)
    curve : ``autoc`` or ``qini``
    """
    return _targeting(_sorted(cate, w), scores, curve=curve)


@dataclass(frozen=True)
class _Sorted:
    """Rows from the highest effect down; those with equal effects form a group and share their ranks.

    rows, group, weights : shape (n,)
        Positions, groups 0…G-1 and weights in that order.
    mass, end : shape (G,)
        Weight of each group, and share of all weight that has come when it ends.
    """

    rows: Codes
    group: Codes
    weights: Floats
    mass: Floats
    end: Floats


def _sorted(cate: Floats, w: Floats) -> _Sorted:
    rows = np.argsort(-cate, kind="stable")
    ordered = cate[rows]
    group = np.concatenate([[0], np.cumsum(ordered[1:] != ordered[:-1])])
    mass = np.asarray(np.bincount(group, w[rows]), dtype=np.float64)
    return _Sorted(rows, group, w[rows], mass, np.cumsum(mass) / mass.sum())


def _targeting(at: _Sorted, scores: Floats, *, curve: str) -> tuple[float, Floats]:
    ordered, mass, end, group = scores[at.rows], at.mass, at.end, at.group
    total = np.bincount(group, at.weights * ordered)
    mean = total / mass
    middle = end - mass / mass.sum() / 2
    if curve == "autoc":
        edges = np.concatenate([[0.0], end])
        area = np.where(edges > 0, edges * np.log(np.maximum(edges, np.finfo(float).tiny)), 0.0) - edges
        g = -np.diff(area) / np.diff(edges) - 1
        slope = -1 / middle
    else:
        g, slope = 0.5 - middle, np.full(len(middle), -1.0)
    value = float(total @ g / mass.sum())
    # A row at rank u shifts the ranks of all that come after it.
    pull = mass / mass.sum() * mean * slope
    after = np.cumsum(pull[::-1])[::-1] - pull / 2
    through = (after - float(pull @ end) + float(pull @ (mass / mass.sum())) / 2)[group]
    influence = np.zeros(len(scores))
    influence[at.rows] = at.weights / at.weights.mean() * (ordered * g[group] - value + through)
    return value, influence


def histogram(cate: Floats) -> dict[str, Any]:
    """Return edges and counts of the effects, bars of fewer than ten rows left out at the ends and joined inside."""
    if len(cate) < 2 * SMALL_CELL or not np.ptp(cate) > 0:
        return {}
    low, high = np.sort(cate)[[SMALL_CELL - 1, -SMALL_CELL]]
    if not high > low:
        return {}
    counts, edges = np.histogram(np.clip(cate, low, high), bins=BARS, range=(low, high))
    kept, sums, run = [float(edges[0])], [], 0
    for count, edge in zip(counts.tolist(), edges[1:].tolist(), strict=True):
        run += count
        if run >= SMALL_CELL:
            kept.append(edge)
            sums.append(run)
            run = 0
    if run and sums:
        sums[-1] += run
        kept[-1] = float(edges[-1])
    return {"edges": kept, "counts": sums}


def gain_curve(cate: Floats, scores: Floats, w: Floats, cluster: Codes | None, level: float, seed: int) -> list[dict[str, float]]:  # fmt: skip
    """Return what treating the share of rows with the highest `cate` gains per row of the population (uplift curve).

    With q the cut of `cate` at share u, the gain is E[score · 1(cate ≥ q)]; its influence function accounts for q being
    estimated. Intervals hold together over the shares; ``random`` is what treating as many at random would gain.

    References
    ----------
    Radcliffe (2007), "Using control groups to target on predicted lift"; Yadlowsky et al. (2025),
    https://doi.org/10.1080/01621459.2024.2393466, for the influence function.
    """
    return _gain_curve(_sorted(cate, w), scores, cluster, level, seed)


def _gain_curve(at: _Sorted, scores: Floats, cluster: Codes | None, level: float, seed: int) -> list[dict[str, float]]:
    ordered, mass = scores[at.rows], at.mass / at.mass.sum()
    v = at.weights / at.weights.mean()
    middle = (at.end - mass / 2)[at.group]
    starts = np.searchsorted(at.group, np.arange(len(mass) + 1))
    gains, influences = np.empty(len(SHARES)), np.empty((len(SHARES), len(scores)))
    for j, share in enumerate(SHARES.tolist()):
        first, last = np.searchsorted(middle, [share - NEAR, share + NEAR])
        near = slice(first, last)
        at_cut = float(np.average(ordered[near], weights=v[near])) if first < last and share < 1 else 0.0
        k = int(np.searchsorted(at.end, share, side="right"))  # tied rows are taken in part
        part = float((share - at.end[k]) / mass[k] + 1) if k < len(mass) else 1.0
        top, tied = slice(0, starts[k]), slice(starts[k], starts[min(k + 1, len(mass))])
        taken = influences[j]
        taken[:] = 0.0
        taken[top], taken[tied] = 1.0, min(max(part, 0.0), 1.0)
        gains[j] = float((v * ordered) @ taken) / len(v)
        influences[j] = v * (taken * (ordered - at_cut) - (gains[j] - at_cut * share))
    mean = float(np.average(ordered, weights=v))
    covariance = influence_covariance(influences.T, None if cluster is None else cluster[at.rows])
    errors, critical = np.sqrt(np.diag(covariance)), simultaneous_critical_value(covariance, level, seed=seed)
    return [
        {"share": float(u), "gain": float(g), "random": float(u) * mean, "std_error": float(e), "ci_lower": float(g - critical * e), "ci_upper": float(g + critical * e)}
        for u, g, e in zip(SHARES, gains, errors, strict=True)
    ]  # fmt: skip


# --- subgroups and projections --------------------------------------------------------------------------------------


def subgroups(
    scores: Floats, members: Floats, *, weights: Floats | None, cluster: Codes | None
) -> tuple[Floats, Floats]:
    """Return the mean score (g,) of each group of rows, and their joint covariance (g, g).

    Parameters
    ----------
    members : shape (n, g)
        0/1: who belongs to which group; groups may overlap.

    References
    ----------
    Chernozhukov, Demirer, Duflo & Fernández-Val (2018), https://arxiv.org/abs/1712.04802; Semenova & Chernozhukov
    (2021), https://doi.org/10.1093/ectj/utaa027.
    """
    shares = members * (np.ones(len(scores)) if weights is None else weights)[:, None]
    means = scores @ shares / shares.sum(axis=0)
    return means, influence_covariance(shares * (scores[:, None] - means) / shares.mean(axis=0), cluster)


def projection(
    scores: Floats,
    covariates: Floats,
    names: Sequence[str],
    *,
    weights: Floats | None,
    cluster: Codes | None,
    confidence_level: float,
    seed: int,
) -> dict[str, Any]:
    """Return the best linear projection of the effect on covariates, and the test that it is the same for all.

    Coefficients are per standard deviation of the covariate; intervals hold together. The p-value is that of Wald's
    test that all are zero.

    References
    ----------
    Semenova & Chernozhukov (2021), https://doi.org/10.1093/ectj/utaa027.
    """
    w = np.ones(len(scores)) if weights is None else weights
    spread = covariates.std(axis=0)
    centred = (covariates - np.average(covariates, axis=0, weights=w)) / np.where(spread > 0, spread, 1.0)
    kept = independent_columns(np.column_stack([np.ones(len(scores)), centred]))[1:] - 1
    if not len(kept) or len(scores) <= 2 * len(kept):
        return {}
    design = np.column_stack([np.ones(len(scores)), centred[:, kept]])
    fit = least_squares(design, scores, weights)
    bread = np.linalg.inv((design * w[:, None]).T @ design / len(scores))
    covariance = influence_covariance((design * (w * fit.residuals)[:, None]) @ bread, cluster)[1:, 1:]
    slopes, errors = fit.coefficients[1:], np.sqrt(np.diag(covariance))
    critical = simultaneous_critical_value(covariance, confidence_level, seed=seed)
    statistic = float(slopes @ np.linalg.solve(covariance, slopes))
    rows = [
        {"term": names[j], "estimate": float(b), "std_error": float(e), "ci_lower": float(b - critical * e), "ci_upper": float(b + critical * e), "p_value": p_value(float(b), float(e))}
        for j, b, e in zip(kept.tolist(), slopes, errors, strict=True)
    ]  # fmt: skip
    return {
        "rows": rows,
        "statistic": statistic,
        "df": len(kept),
        "p_value": float(stats.chi2.sf(statistic, len(kept))),
    }


def landscape(cate: Floats, first: Floats, second: Floats) -> dict[str, Any]:
    """Return mean effects over a grid of quantiles of two covariates; cells of fewer than ten rows are empty.

    ``effect[i][j]`` is for the i-th cell of the first and the j-th of the second covariate.
    """
    edges = [np.unique(np.quantile(x, np.linspace(0.02, 0.98, GRID + 1))) for x in (first, second)]
    if min(len(e) for e in edges) < 3:
        return {}
    inside = [(x >= e[0]) & (x <= e[-1]) for x, e in zip((first, second), edges, strict=True)]
    both = inside[0] & inside[1]
    places = [np.clip(np.searchsorted(e, x[both], side="right") - 1, 0, len(e) - 2) for x, e in zip((first, second), edges, strict=True)]  # fmt: skip
    shape = (len(edges[0]) - 1, len(edges[1]) - 1)
    cell = places[0] * shape[1] + places[1]
    count = np.bincount(cell, minlength=shape[0] * shape[1])
    total = np.bincount(cell, cate[both], minlength=shape[0] * shape[1])
    mean = np.where(count >= SMALL_CELL, total / np.maximum(count, 1), np.nan).reshape(shape)
    return {"edges": [e.tolist() for e in edges], "effect": [[None if np.isnan(v) else float(v) for v in row] for row in mean]}  # fmt: skip

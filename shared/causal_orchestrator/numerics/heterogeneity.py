"""How an effect function sorts rows: groups, best linear predictor, targeting curves, all from doubly robust scores."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from causal_orchestrator.numerics.inference import (
    critical_value,
    influence_covariance,
    p_value,
    simultaneous_critical_value,
)
from causal_orchestrator.numerics.linear import least_squares

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]

GROUPS = 5


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
        and slope of the scores on `cate` (one if it is calibrated); ``autoc`` and ``qini`` with standard errors.

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
    if not np.ptp(cate) > 1e-9 * max(float(np.abs(cate).max()), np.finfo(float).tiny):
        return told
    told["groups"] = _groups(cate, scores, w, cluster, confidence_level, seed)
    told["best_linear_predictor"] = _best_linear_predictor(cate, scores, w, cluster)
    for name in ("autoc", "qini"):
        value, influence = targeting(cate, scores, w, curve=name)
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
        {"group": k + 1, "predicted": float(np.average(cate[group == k], weights=w[group == k])), "estimate": float(mean), "std_error": float(error), "ci_lower": float(mean - critical * error), "ci_upper": float(mean + critical * error), "n": int((group == k).sum())}
        for k, (mean, error) in enumerate(zip(means, errors, strict=True))
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
    order = np.argsort(-cate, kind="stable")
    group = np.unique(-cate[order], return_inverse=True)[1]
    mass = np.bincount(group, w[order])
    # Rows with the same effect share their ranks.
    total = np.bincount(group, (w * scores)[order])
    mean = total / mass
    end = np.cumsum(mass) / mass.sum()
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
    influence = np.zeros(len(cate))
    influence[order] = w[order] / w.mean() * (scores[order] * g[group] - value + through)
    return value, influence

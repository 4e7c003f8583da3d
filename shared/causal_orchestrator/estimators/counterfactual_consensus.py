"""Ask three different outcome models for each row's counterfactual, and see whether they agree."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from causal_orchestrator.numerics import nuisance
from causal_orchestrator.problem import Estimate, Problem, conclude

Floats = NDArray[np.float64]

SYSTEMS = {"linear": "linear", "polynomial ridge": "interactions", "forest": "forest"}
HIGH, MODERATE = 0.05, 0.10  # standard deviation between systems, in standard deviations of the outcome


def estimate(problem: Problem, *, folds: int = 2) -> Estimate:
    """Estimate the average effect as the mean over three systems of outcome models: linear, polynomial ridge, forest.

    Assumes no unmeasured confounding. Each system predicts both outcomes of every row from models of the arms that did
    not see it. The spread between systems says how far models agree: it is no standard error, and agreement is no
    robustness, since all share the same covariates.

    Parameters
    ----------
    folds : number of cross-fitting folds.

    Returns
    -------
    Estimate
        Without an interval; ``details["systems"]`` has each system's effect, ``details["agreement"]`` their mean,
        standard deviation, range and the level ``high`` (below 0.05 standard deviations of the outcome), ``moderate``
        (below 0.1) or ``low``; ``details["compared"]`` what else sets them apart.
    """
    how = nuisance.recipe(problem.n, learners=tuple(SYSTEMS.values()), folds=folds, repeats=1)
    cross = nuisance.cross_fitter(problem, how, seed=problem.seed)
    centre, scale = float(problem.outcome.mean()), float(problem.outcome.std())
    kind = "probability" if problem.outcome_kind == "binary" else "mean"
    target = problem.outcome if kind == "probability" else (problem.outcome - centre) / scale
    arms = [
        cross.separately(target, kind="probability" if kind == "probability" else "mean", rows=problem.treatment == k)
        for k in (0, 1)
    ]
    effects = (arms[1] - arms[0]) * (1.0 if kind == "probability" else scale)
    outcomes = arms if kind == "probability" else [centre + scale * arm for arm in arms]
    values = np.average(effects, axis=0, weights=problem.weights)
    told = agreement(dict(zip(SYSTEMS, values.tolist(), strict=True)), float(problem.outcome.std()))
    return conclude(
        problem,
        method="counterfactual_consensus",
        estimand="ATE",
        estimates=[float(values.mean())],
        covariance=None,
        inference="none: the spread of three outcome models stands in its place",
        diagnostics={
            "agreement": {"value": told["relative_standard_deviation"], "threshold": MODERATE, "passed": told["level"] != "low", "detail": told["level"]}
        },
        details={"systems": told.pop("systems"), "agreement": told, "folds": folds, "compared": _compared(problem, outcomes, effects)},
        notes=("agreement of models with one another is not robustness: they share their covariates",),
        cate=effects.mean(axis=1),
    )  # fmt: skip


def _compared(problem: Problem, outcomes: list[Floats], effects: Floats) -> dict[str, Any]:
    """Return, system by system, mean outcomes under control and treatment, quantiles of the effects, and the fit.

    The fit is the share of variance within the arms that is predicted on rows left out; `together` are the correlations
    (3, 3) of the systems' effects of single rows, None where one of them has one effect for all.
    """
    y, t, w = problem.outcome, problem.treatment.astype(np.int64), problem.weights
    means = [np.average(each, axis=0, weights=w) for each in outcomes]
    own = np.where(t[:, None] == 1, outcomes[1], outcomes[0])
    rest = np.average((y[:, None] - own) ** 2, axis=0, weights=w)
    within = y - np.array([y[t == k].mean() for k in (0, 1)])[t]
    whole = max(float(np.average(within**2, weights=w)), np.finfo(float).tiny)
    quantiles, spread = np.quantile(effects, (0.05, 0.25, 0.5, 0.75, 0.95), axis=0), effects.std(axis=0)
    differ = bool((spread > 1e-9 * max(float(np.abs(effects).max()), np.finfo(float).tiny)).all())
    return {
        "means": {name: [float(mean[j]) for mean in means] for j, name in enumerate(SYSTEMS)},
        "quantiles": {name: quantiles[:, j].tolist() for j, name in enumerate(SYSTEMS)},
        "together": np.corrcoef(effects.T).tolist() if differ else None,
        "fit": {name: 1 - float(rest[j] / whole) for j, name in enumerate(SYSTEMS)},
    }


def agreement(systems: dict[str, float], outcome_sd: float) -> dict[str, Any]:
    """Return mean, standard deviation and range of the systems' effects, and how well they agree."""
    values = np.array(list(systems.values()))
    spread = float(values.std())
    relative = spread / outcome_sd
    return {
        "systems": systems,
        "mean": float(values.mean()),
        "standard_deviation": spread,
        "minimum": float(values.min()),
        "maximum": float(values.max()),
        "relative_standard_deviation": relative,
        "level": "high" if relative < HIGH else "moderate" if relative < MODERATE else "low",
    }

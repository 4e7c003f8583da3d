"""Effect functions of the covariates: what S-, T-, X-, R- and DR-learners fit, each from the shared nuisances.

A `Fitter` fits a target on some rows and predicts it at every row: cross-fitted with the shared learners, or least
squares for ``parametric``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from causal_orchestrator.numerics import learners as library
from causal_orchestrator.numerics import nuisance
from causal_orchestrator.numerics.doubly_robust import doubly_robust
from causal_orchestrator.numerics.heterogeneity import describe
from causal_orchestrator.numerics.inference import critical_value
from causal_orchestrator.numerics.linear import least_squares
from causal_orchestrator.numerics.nuisance import Nuisances, Recipe, Sample, with_intercept

Floats = NDArray[np.float64]
Rows = NDArray[np.bool_]
Score = Literal["mean", "dr"]

CLIP = 0.01  # propensities are moved into [CLIP, 1 - CLIP] before something is divided by them


class Fitter(Protocol):
    """Fit `target` (n,) on `rows` with `weights` (n,) and predict it at every row (n,)."""

    def __call__(self, target: Floats, rows: Rows, weights: Floats | None = None) -> Floats: ...  # noqa: D102


def fitter(sample: Sample, how: Recipe | None, found: Nuisances) -> Fitter:
    """Return the fit of a target on the covariates, on the folds of nuisances found by the same recipe.

    Parameters
    ----------
    how : None is least squares on all rows without cross-fitting.
    """
    if how is None:
        return _least_squares(sample)
    cross = nuisance.cross_fitter(sample, how, seed=sample.seed, shared=found.shared)

    def fit(target: Floats, rows: Rows, weights: Floats | None = None) -> Floats:
        combined = _product(sample.weights, weights)
        centre = float(np.average(target[rows], weights=None if combined is None else combined[rows]))
        scale = float(target[rows].std()) or 1.0
        found = replace(cross, weights=combined)((target - centre) / scale, kind="mean", rows=rows)[0]
        return np.asarray(centre + scale * found)

    return fit


def _least_squares(sample: Sample) -> Fitter:
    design = with_intercept(sample.covariates)

    def fit(target: Floats, rows: Rows, weights: Floats | None = None) -> Floats:
        w = _product(sample.weights, weights)
        return np.asarray(
            design @ least_squares(design[rows], target[rows], None if w is None else w[rows]).coefficients
        )

    return fit


def _product(first: Floats | None, second: Floats | None) -> Floats | None:
    if first is None or second is None:
        return first if second is None else second
    return first * second


def t_learner(sample: Sample, found: Nuisances) -> Floats:
    """Return the difference of the arms' regressions (Künzel et al. 2019)."""
    return found.mu1 - found.mu0


def s_learner(sample: Sample, found: Nuisances, how: Recipe | None) -> Floats:
    """Return what one regression on covariates and treatment predicts under treatment less under control.

    Where all learners learn the outcome in both arms at once, that regression is the shared one.
    """
    if how is not None and set(how.learners) <= library.JOINT:
        return found.mu1 - found.mu0
    x, t, n = sample.covariates, sample.treatment, len(sample.outcome)
    if how is None:
        design = np.column_stack([np.ones(n), x - x.mean(axis=0), t])
        return np.full(n, float(least_squares(design, sample.outcome, sample.weights).coefficients[-1]))
    # Both versions of each row stand in one table, so that learners see them on one scale.
    both = np.column_stack([np.concatenate([x, x]), np.repeat([0.0, 1.0], n)])
    fold = nuisance.cross_fitter(sample, how, seed=sample.seed).fold
    seen = {name: library.features(name, both) for name in how.learners}
    own = np.arange(n) + n * t.astype(np.int64)
    y = sample.outcome
    centre, scale = float(y.mean()), float(y.std())
    each = np.zeros((len(how.learners), 2 * n))
    for j, name in enumerate(how.learners):
        for k in range(int(fold.max()) + 1):
            into, held = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
            w = None if sample.weights is None else sample.weights[into]
            predict = library.fit(
                name, seen[name][own[into]], (y[into] - centre) / scale, w, kind="mean", seed=sample.seed
            )
            for version in (0, n):
                each[j, held + version] = predict(seen[name][held + version])
    shares = nuisance.stack_shares(each[:, own].T, (y - centre) / scale, sample.weights)
    return np.asarray(scale * (shares @ (each[:, n:] - each[:, :n])))


def x_learner(sample: Sample, found: Nuisances, fit: Fitter) -> Floats:
    """Return the arms' regressions of imputed effects, mixed by the propensity (Künzel et al. 2019, equations 9-11)."""
    treated = np.asarray(sample.treatment == 1)
    on_treated = fit(sample.outcome - found.mu0, treated)
    on_control = fit(found.mu1 - sample.outcome, ~treated)
    return np.asarray(found.e * on_control + (1 - found.e) * on_treated)


def r_learner(sample: Sample, found: Nuisances, fit: Fitter | None) -> Floats:
    """Return the minimiser of the residual loss (Nie & Wager 2021, equation 4): `fit` None is linear in the covariates."""
    left = sample.treatment - np.clip(found.e, CLIP, 1 - CLIP)
    unexplained = sample.outcome - found.m
    if fit is not None:
        return fit(unexplained / left, np.ones(len(left), dtype=bool), left**2)
    design = with_intercept(sample.covariates)
    return np.asarray(design @ least_squares(design * left[:, None], unexplained, sample.weights).coefficients)


def dr_learner(scores: Floats, fit: Fitter) -> Floats:
    """Return the regression of the doubly robust scores on the covariates (Kennedy 2023)."""
    return fit(scores, np.ones(len(scores), dtype=bool))


def doubly_robust_scores(sample: Sample, found: Nuisances) -> Floats:
    """Return each row's doubly robust score (n,) of the effect, mean over the repetitions."""
    e = np.clip(found.propensity[:, :, 1], CLIP, 1 - CLIP)
    mu0, mu1 = found.outcome_by_level[:, :, 0], found.outcome_by_level[:, :, 1]
    t, y = sample.treatment, sample.outcome
    return np.asarray((mu1 - mu0 + t * (y - mu1) / e - (1 - t) * (y - mu0) / (1 - e)).mean(axis=0))


Learner = Callable[[Sample, Nuisances, Recipe | None, Floats], Floats]
LEARNERS: dict[str, Learner] = {
    "t_learner": lambda sample, found, how, scores: t_learner(sample, found),
    "s_learner": lambda sample, found, how, scores: s_learner(sample, found, how),
    "x_learner": lambda sample, found, how, scores: x_learner(sample, found, fitter(sample, how, found)),
    "r_learner": lambda sample, found, how, scores: r_learner(
        sample, found, None if how is None else fitter(sample, how, found)
    ),
    "dr_learner": lambda sample, found, how, scores: dr_learner(scores, fitter(sample, how, found)),
}


class Source(Sample, Protocol):
    """A sample with its shared nuisances."""

    @property
    def n(self) -> int: ...  # noqa: D102
    @property
    def confidence_level(self) -> float: ...  # noqa: D102
    def parametric(self) -> Nuisances: ...  # noqa: D102
    def learned(self, *, learners: Sequence[str] | None, folds: int | None, repeats: int | None) -> Nuisances: ...  # noqa: D102


def effects(
    source: Source,
    method: str,
    *,
    learners: Sequence[str] | str | None,
    folds: int | None,
    repeats: int | None,
    score: Score,
) -> dict[str, Any]:
    """Return the fields of a learner's estimate: the effect function, its mean or the doubly robust effect.

    Parameters
    ----------
    learners : as `numerics.nuisance.recipe`, or ``parametric`` for logit and least squares without cross-fitting.
    score : ``mean`` gives the mean of the effect function, which has no interval; ``dr`` the doubly robust effect with
        that of its influence function (the estimate of `aipw`).
    """
    how = None
    if isinstance(learners, str):
        found = source.parametric()
    else:
        how = nuisance.recipe(source.n, learners=learners, folds=folds, repeats=repeats)
        found = source.learned(learners=learners, folds=folds, repeats=repeats)
    scores = doubly_robust_scores(source, found)
    cate = LEARNERS[method](source, found, how, scores)
    robust = doubly_robust(source, found, estimand="ATE", trim=CLIP)
    own = score == "mean"
    value, error = float(robust.joined.estimates[0]), float(np.sqrt(robust.joined.covariance[0, 0]))
    margin = critical_value(source.confidence_level) * error
    return {
        "estimates": [float(np.average(cate, weights=source.weights))] if own else robust.joined.estimates,
        "covariance": None if own else robust.joined.covariance,
        "inference": "none: a mean of learned effects has no standard error; details hold the doubly robust interval" if own else "influence function of the doubly robust score" + ("" if source.cluster is None else ", clustered"),
        "influence": None if own else robust.joined.influence,
        "cate": cate,
        "details": {
            "doubly_robust": {"estimate": value, "std_error": error, "ci_lower": value - margin, "ci_upper": value + margin},
            "heterogeneity": describe(cate, scores, weights=source.weights, cluster=source.cluster, confidence_level=source.confidence_level, seed=source.seed),
            "learners": dict(found.learners),
            "repeats": len(found.propensity),
            "folds": int(found.fold.max()) + 1,
            "weights": robust.weights,
        },
        "notes": () if own else ("the effect and its interval are those of aipw; the learner gives the effect of each row",),
    }  # fmt: skip

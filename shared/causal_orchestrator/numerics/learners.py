"""The library of learners for nuisance functions: each takes features, target and weights, and returns a predictor.

``linear`` and ``interactions`` are ridge fits whose penalty is chosen by (approximate) leave-one-out loss, in closed
form; ``sparse_interactions`` is such a fit made twice, so that few features carry it; ``boosting`` and ``forest`` are
scikit-learn's, ``bart`` is stochtree's. All are deterministic given their seed and run on one thread. Those in `JOINT`
learn the outcome in all arms at once, with the treatment among the features.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, special

from causal_orchestrator.errors import NotApplicable
from causal_orchestrator.numerics import guided

Floats = NDArray[np.float64]
Predictor = Callable[[Floats], Floats]
Target = Literal["mean", "probability"]

PENALTIES = np.geomspace(1e-4, 1e2, 7)  # times the average squared feature
MAX_PRODUCTS = 150  # pairwise products enter up to this many
WINSOR = 0.01
FAR_OUT = 3.0  # interquartile ranges beyond the quartiles (Tukey's outer fences)
NEGLIGIBLE = 0.01  # of the largest slope: features below it are dropped from the second fit of `adaptive`
SCORING_STEPS = 30
BOOSTING = {
    "max_iter": 200, "learning_rate": 0.1, "max_leaf_nodes": 15, "min_samples_leaf": 20, "l2_regularization": 1.0,
    "early_stopping": True, "n_iter_no_change": 8, "validation_fraction": 0.15,
}  # fmt: skip
# One ensemble for all arms needs small leaves, to tell the arms apart where one of them is rare.
JOINT_BOOSTING = {**BOOSTING, "min_samples_leaf": 5, "l2_regularization": 0.0}
JOINT = frozenset({"joint_boosting", "guided_boosting", "bart"})
BART_TREES, BART_START, BART_BURNED, BART_KEPT = 100, 5, 200, 200  # trees; draws grown from the root, dropped, kept
FOREST = {"n_estimators": 200, "min_samples_leaf": 10, "max_features": "sqrt", "max_samples": 0.7}
SETTLED = 1e-7  # change of the linear predictor; far below the noise of a learner


def features(name: str, x: Floats) -> Floats:
    """Return what a learner sees of the covariates: made without the target, so once for all rows, folds and targets.

    ``linear`` sees standardised columns; ``interactions`` also hinges at the quartiles of columns with more than two
    values, and products, both of columns clipped at their tails; ``sparse_interactions``, which keeps few of them, the
    same of columns clipped only where they lie far out; trees see the columns as they are.
    """
    if name == "linear":
        return _standardised(x)
    if name in ("interactions", "sparse_interactions"):
        return _standardised(_interactions(x, tails=name == "sparse_interactions"))
    return x


def fit(name: str, x: Floats, target: Floats, weights: Floats | None, *, kind: Target, seed: int) -> Predictor:
    """Fit one learner.

    Parameters
    ----------
    name : ``linear``, ``interactions``, ``sparse_interactions``, ``boosting``, ``joint_boosting``, ``guided_boosting``,
        ``forest``, ``bart`` or ``mean``
    x : shape (n, p)
        Its `features`.
    target : shape (n,), in {0, 1} where `kind` is ``probability``.
    weights : shape (n,), positive; None if all are one.

    Returns
    -------
    Predictor
        A function from features (m, p) to E[target | features] (m,).

    Raises
    ------
    NotApplicable
        If ``bart`` is asked for without its library (``EXTRA_MISSING``) or with weights (``WEIGHTED``).
    """
    if name == "mean" or x.shape[1] == 0 or np.ptp(target) == 0:
        centre = float(np.average(target, weights=weights))
        return lambda new: np.full(len(new), centre)
    if name == "bart":
        return _bart(x, target, weights, kind=kind, seed=seed)
    if name == "guided_boosting":
        return guided.fit(x, target, weights, kind=kind, seed=seed)
    if name in ("boosting", "joint_boosting", "forest"):
        return _trees(name, x, target, weights, kind=kind, seed=seed)
    ridge = ridge_regression if kind == "mean" else ridge_logit
    w = np.ones(len(target)) if weights is None else weights
    return adaptive(ridge, x, target, w) if name == "sparse_interactions" else ridge(x, target, w)


def _standardised(x: Floats) -> Floats:
    scale = x.std(axis=0)
    return np.asarray((x - x.mean(axis=0)) / np.where(scale > 0, scale, 1.0))


def _interactions(x: Floats, *, tails: bool) -> Floats:
    z = _standardised(x)
    low, high = np.quantile(z, [WINSOR, 1 - WINSOR], axis=0) if z.shape[1] else (0.0, 0.0)
    if tails and z.shape[1]:
        lower, upper = np.quantile(z, [0.25, 0.75], axis=0)
        reach = FAR_OUT * (upper - lower)
        low, high = np.minimum(low, lower - reach), np.maximum(high, upper + reach)
    clipped = np.where(high > low, np.clip(z, low, high), z)
    smooth = [j for j in range(z.shape[1]) if len(np.unique(z[:2000, j])) > 2]
    knots = [(j, knot) for j in smooth for knot in np.unique(np.quantile(z[:, j], (0.25, 0.5, 0.75)))]
    p = z.shape[1]
    pairs = [(i, j) for i in range(p) for j in range(i + (i not in smooth), p)]
    pairs = pairs if len(pairs) <= MAX_PRODUCTS else [(j, j) for j in smooth]
    hinges = [np.maximum(clipped[:, j] - knot, 0.0) for j, knot in knots]
    return np.column_stack([z, *hinges, *(clipped[:, i] * clipped[:, j] for i, j in pairs)])


@dataclass(frozen=True)
class Line:
    """A linear predictor with coefficients (p,), and the function that makes the mean of it."""

    intercept: float
    slopes: Floats
    kind: Target = "mean"

    def __call__(self, new: Floats) -> Floats:
        """Return E[target | features] (m,) of features (m, p)."""
        predictor = self.intercept + new @ self.slopes
        return np.asarray(special.expit(predictor) if self.kind == "probability" else predictor)


def adaptive(ridge: Callable[[Floats, Floats, Floats], Line], x: Floats, target: Floats, weights: Floats) -> Line:
    """Fit `ridge` twice, the second time with each feature as large as its first slope, so that small ones vanish.

    Parameters
    ----------
    x : shape (n, p), standardised.

    References
    ----------
    Frommlet & Nuel (2016), "An adaptive ridge procedure for L0 regularization", of which this is one step,
    https://doi.org/10.1371/journal.pone.0148620
    """
    first = ridge(x, target, weights)
    size = np.abs(first.slopes)
    kept = size > NEGLIGIBLE * size.max()
    if not kept.any():
        return first
    size = size[kept] / np.sqrt(np.mean(size[kept] ** 2))
    line = ridge(x[:, kept] * size, target, weights)
    slopes = np.zeros(x.shape[1])
    slopes[kept] = line.slopes * size
    return replace(line, slopes=slopes)


def ridge_regression(x: Floats, target: Floats, weights: Floats) -> Line:
    """Fit ridge regression with the penalty of least leave-one-out squared error.

    References
    ----------
    Golub, Heath & Wahba (1979), https://doi.org/10.1080/00401706.1979.10489751
    """
    w = weights / weights.sum()
    x_mean, y_mean = w @ x, float(w @ target)
    root = np.sqrt(w)[:, None]
    centred = (x - x_mean) * root
    y = (target - y_mean) * root[:, 0]
    values, vectors = linalg.eigh(centred.T @ centred)
    values = np.clip(values, 0.0, None)
    rotated = centred @ vectors
    moment = rotated.T @ y
    best, least = np.zeros(x.shape[1]), np.inf
    for penalty in PENALTIES * max(values.sum() / max(len(values), 1), 1e-12):
        shrunk = 1 / (values + penalty)
        leverage = np.clip((rotated**2) @ shrunk + w, None, 0.99)
        loss = float((((y - rotated @ (shrunk * moment)) / (1 - leverage)) ** 2).sum())
        if loss < least:
            best, least = vectors @ (shrunk * moment), loss
    return Line(y_mean - float(x_mean @ best), best)


def ridge_logit(x: Floats, target: Floats, weights: Floats) -> Line:
    """Fit ridge logistic regression with the penalty of least approximate leave-one-out deviance.

    References
    ----------
    Rad & Maleki (2020), "A scalable estimate of the out-of-sample prediction error via approximate leave-one-out",
    https://doi.org/10.1111/rssb.12374
    """
    w = weights / weights.mean()
    n, p = x.shape
    design = np.column_stack([np.ones(n), x])
    share = float(np.clip(np.average(target, weights=w), 1e-6, 1 - 1e-6))
    beta = np.concatenate([[special.logit(share)], np.zeros(p)])
    best, least = beta, np.inf
    for penalty in PENALTIES[::-1] * n / 4:
        ridge = np.full(p + 1, penalty)
        ridge[0] = 0.0
        beta, inverse = _scored(design, target, w, beta, ridge)
        predictor = design @ beta
        probability = special.expit(predictor)
        leverage = np.einsum("ij,ij->i", design @ inverse, design)
        v = w * probability * (1 - probability)
        without = predictor - leverage * w * (target - probability) / np.clip(1 - v * leverage, 0.01, None)
        loss = float(w @ (np.logaddexp(0.0, without) - target * without))
        if loss < least:
            best, least = beta, loss
    return Line(float(best[0]), best[1:], "probability")


def _scored(design: Floats, target: Floats, w: Floats, beta: Floats, ridge: Floats) -> tuple[Floats, Floats]:
    """Newton's iterations of the penalised likelihood, from `beta`; returns coefficients and inverse Hessian."""
    hessian = np.diag(ridge)
    for _ in range(SCORING_STEPS):
        probability = special.expit(design @ beta)
        v = np.clip(w * probability * (1 - probability), 1e-10, None)
        hessian = (design * v[:, None]).T @ design + np.diag(ridge + 1e-10)
        step = np.linalg.solve(hessian, design.T @ (w * (target - probability)) - ridge * beta)
        largest = float(np.abs(design @ step).max())
        beta = beta + min(1.0, 5.0 / max(largest, 1e-300)) * step
        if largest < SETTLED:
            break
    return beta, np.asarray(np.linalg.inv(hessian), dtype=np.float64)


def _trees(name: str, x: Floats, target: Floats, weights: Floats | None, *, kind: Target, seed: int) -> Predictor:
    from sklearn import ensemble

    classify = kind == "probability"
    if name != "forest":
        made = ensemble.HistGradientBoostingClassifier if classify else ensemble.HistGradientBoostingRegressor
        # A probability is divided by: there leaves stay large.
        model = made(**(JOINT_BOOSTING if name == "joint_boosting" and not classify else BOOSTING), random_state=seed)
    else:
        made = ensemble.RandomForestClassifier if classify else ensemble.RandomForestRegressor
        model = made(**FOREST, n_jobs=1, random_state=seed)
    return _predictor(model.fit(x, target, sample_weight=weights), kind)


def _predictor(model: Any, kind: Target) -> Predictor:
    if kind == "probability":
        return lambda new: np.asarray(model.predict_proba(new)[:, 1])
    return lambda new: np.asarray(model.predict(new))


def _bart(x: Floats, target: Floats, weights: Floats | None, *, kind: Target, seed: int) -> Predictor:
    """Fit Bayesian additive regression trees (Chipman, George & McCulloch 2010); predicts by the posterior mean."""
    try:
        stochtree = importlib.import_module("stochtree")
    except ImportError as exc:
        raise NotApplicable("bart needs stochtree; the extra `methods` brings it", code="EXTRA_MISSING") from exc
    if weights is not None:
        raise NotApplicable("bart takes no weights", code="WEIGHTED")
    general: dict[str, object] = {"random_seed": seed, "num_threads": 1}
    if kind == "probability":
        general["outcome_model"] = stochtree.OutcomeModel(outcome="binary", link="probit")
    model = stochtree.BARTModel()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on columns with few values, which the draws after the start mend
        model.sample(
            X_train=x, y_train=target, num_gfr=BART_START, num_burnin=BART_BURNED, num_mcmc=BART_KEPT,
            general_params=general, mean_forest_params={"num_trees": BART_TREES},
        )  # fmt: skip
    scale = "probability" if kind == "probability" else "linear"
    return lambda new: np.asarray(model.predict(np.ascontiguousarray(new), type="mean", terms="y_hat", scale=scale))

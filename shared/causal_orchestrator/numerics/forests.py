"""Forests of effects: an honest one on residuals, cross-fitted, and a Bayesian one; econml and stochtree grow them."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from causal_orchestrator.errors import InputError, NotApplicable

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]

BAG = 4  # trees that share a half-sample, from whose spread the variance comes
MOST_TREES = 10_000
LEAF = 5


@dataclass(frozen=True)
class Grown:
    """Effect and standard error of each row (n,), from trees that did not see it, and the covariates' shares (p,)."""

    effect: Floats
    std_error: Floats
    importance: Floats


def grow(
    covariates: Floats,
    treatment: Floats,
    outcome: Floats,
    weights: Floats | None,
    fold: Codes,
    *,
    trees: int,
    seed: int,
) -> Grown:
    """Grow one forest on the complement of each fold and read the fold's effects off it.

    Parameters
    ----------
    covariates : shape (n, p)
    treatment, outcome : shape (n,)
        Residuals from their expectations given the covariates.
    fold : shape (n,)
        Codes 0…K-1; clusters stay whole where the folds keep them whole.
    trees : per forest, a multiple of four.

    Raises
    ------
    NotApplicable
        If econml is not installed (``EXTRA_MISSING``).
    InputError
        If `trees` is out of its range (``OPTION_INVALID``).

    References
    ----------
    Athey, Tibshirani & Wager (2019), https://doi.org/10.1214/18-AOS1709; the forest is econml's.
    """
    if trees % BAG or not 2 * BAG <= trees <= MOST_TREES:
        raise InputError(f"trees must be a multiple of {BAG} from {2 * BAG} to {MOST_TREES}, found {trees}", code="OPTION_INVALID", details={"option": "trees"})  # fmt: skip
    try:
        from econml.grf import CausalForest  # type: ignore[import-untyped]
    except ImportError as exc:
        raise NotApplicable(
            "a causal forest needs econml; the extra `methods` brings it", code="EXTRA_MISSING"
        ) from exc
    scale = float(outcome.std()) or 1.0
    effect, variance = np.zeros(len(outcome)), np.zeros(len(outcome))
    importance = np.zeros(covariates.shape[1])
    for k in range(int(fold.max()) + 1):
        into, held = fold != k, fold == k
        forest = CausalForest(trees, criterion="het", min_samples_leaf=LEAF, subforest_size=BAG, n_jobs=1, random_state=seed + k)  # fmt: skip
        forest.fit(
            covariates[into],
            treatment[into, None],
            outcome[into, None] / scale,
            sample_weight=None if weights is None else weights[into],
        )
        point, spread = forest.predict_and_var(covariates[held])
        effect[held], variance[held] = point[:, 0], spread[:, 0, 0]
        importance += forest.feature_importances()
    return Grown(scale * effect, scale * np.sqrt(variance), importance / max(importance.sum(), np.finfo(float).tiny))


@dataclass(frozen=True)
class Posterior:
    """Draws (n, draws) of each row's effect, and of its expected outcome under the treatment that it got."""

    effects: Floats
    fitted: Floats


def sample_effects(
    covariates: Floats,
    treatment: Floats,
    outcome: Floats,
    propensity: Floats,
    *,
    binary: bool,
    draws: int,
    warm: int,
    seed: int,
) -> Posterior:
    """Draw each row's effect and expected outcome from a Bayesian causal forest.

    Parameters
    ----------
    covariates : shape (n, p)
    treatment, outcome : shape (n,)
        Treatment 0/1; the outcome 0/1 where `binary` (probit link, effects as differences of probabilities).
    propensity : shape (n,)
        Enters the prognostic forest as a covariate.
    warm : grow-from-root iterations before the chain.

    Raises
    ------
    NotApplicable
        If stochtree is not installed (``EXTRA_MISSING``).

    References
    ----------
    Hahn, Murray & Carvalho (2020), https://doi.org/10.1214/19-BA1195; the sampler is stochtree's.
    """
    try:
        from stochtree import BCFModel, OutcomeModel  # type: ignore[import-untyped]
    except ImportError as exc:
        raise NotApplicable(
            "a Bayesian causal forest needs stochtree; the extra `methods` brings it", code="EXTRA_MISSING"
        ) from exc
    centre, scale = (0.0, 1.0) if binary else (float(outcome.mean()), float(outcome.std()) or 1.0)
    link = (
        OutcomeModel(outcome="binary", link="probit") if binary else OutcomeModel(outcome="continuous", link="identity")
    )
    model = BCFModel()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Global error variance will not be sampled", UserWarning)
        model.sample(
            covariates,
            treatment,
            (outcome - centre) / scale,
            propensity_train=propensity,
            num_gfr=warm,
            num_mcmc=draws,
            general_params={"random_seed": seed % 2**31, "num_threads": 1, "outcome_model": link},
        )
    if not binary:
        return Posterior(np.asarray(scale * model.tau_hat_train), np.asarray(centre + scale * model.y_hat_train))
    zero = np.zeros(len(outcome))
    contrast = model.compute_contrast(
        covariates, covariates, zero, zero + 1, propensity, propensity, type="posterior", scale="probability"
    )
    fitted = model.predict(covariates, treatment, propensity, type="posterior", terms="y_hat", scale="probability")
    return Posterior(np.asarray(contrast, dtype=np.float64), np.asarray(fitted, dtype=np.float64))

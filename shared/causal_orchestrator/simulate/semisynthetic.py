"""Copies of a table with a known effect: its covariates and its assignment, outcomes from surfaces that are made up.

What is kept is what a blind stage may know: the joint distribution of covariates and treatment, and the marginal
distribution of the outcome. How the outcome goes with the covariates is drawn anew for every copy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

Floats = NDArray[np.float64]
Surface = Literal["linear", "bent", "confounded"]
Effect = Literal["constant", "varying"]

SURFACES: tuple[Surface, ...] = ("linear", "bent", "confounded")
EFFECTS: tuple[Effect, ...] = ("constant", "varying")

EXPLAINED = (0.1, 0.6)  # share of the outcome's variance that covariates explain, drawn evenly
SIZE = 0.3  # mean effect in SD of the outcome (on the latent scale of a binary one)
SHARED = 0.1  # share of the noise that is common within a cluster
CLIP = 1e-3


@dataclass(frozen=True)
class Marginal:
    """The outcome's own distribution: the share of ones, or quantiles (level to value, 0 and 1 among them)."""

    share: float | None = None
    quantiles: Mapping[float, float] | None = None


@dataclass(frozen=True)
class Template:
    """What a copy keeps.

    covariates : shape (n, p)
        Encoded covariates.
    chance : shape (n,)
        The propensity with which treatment is drawn; None permutes `treatment` (of whole clusters where it does not
        vary within them), as a randomised assignment would.
    """

    covariates: Floats
    treatment: Floats
    chance: Floats | None
    marginal: Marginal
    cluster: NDArray[np.int64] | None = None
    weights: Floats | None = None


@dataclass(frozen=True)
class Copy:
    """A copy: treatment and outcome (n,), each row's expected effect, and the truth by estimand, given the covariates."""

    treatment: Floats
    outcome: Floats
    effect: Floats
    truth: Mapping[str, float]


def copy(template: Template, *, surface: Surface, effect: Effect, seed: np.random.SeedSequence) -> Copy:
    """Draw treatment, a surface, an effect and the outcome.

    References
    ----------
    Huber, Lechner & Wunsch (2013), https://doi.org/10.1016/j.jeconom.2012.11.006, on simulations that keep the data's
    own covariates and assignment; Schuler, Jung, Tibshirani, Hastie & Shah (2017), https://arxiv.org/abs/1711.00083.
    """
    rng = np.random.default_rng(seed)
    z = _standardized(template.covariates)
    t, e = _assigned(template, rng)
    base = _surface(z, e, surface, rng)
    explained = rng.uniform(*EXPLAINED) if base.any() else 0.0
    signal, noise = np.sqrt(explained) * base, np.sqrt(1 - explained)
    shift = SIZE * (np.ones(len(t)) if effect == "constant" else 1 + _direction(z, rng))
    latent = signal + noise * _noise(template.cluster, len(t), rng)
    if template.marginal.share is None:
        y, each = _mapped(latent, template.marginal), shift
        each = each * (y.std() or 1.0)
        y = y + each * t
    else:
        cut = stats.norm.ppf(1 - template.marginal.share)
        y = (latent + shift * t > cut).astype(np.float64)
        each = special.ndtr((signal + shift - cut) / noise) - special.ndtr((signal - cut) / noise)
    return Copy(t, y, each, _truth(each, t, e, template.weights))


def _standardized(x: Floats) -> Floats:
    spread = x.std(axis=0)
    return np.asarray((x - x.mean(axis=0)) / np.where(spread > 0, spread, 1.0))


def _assigned(template: Template, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Return a treatment and the chance with which each row got it."""
    t, cluster = template.treatment, template.cluster
    if template.chance is not None:
        e = np.clip(template.chance, CLIP, 1 - CLIP)
        return (rng.random(len(t)) < e).astype(np.float64), e
    even = np.full(len(t), t.mean())
    if cluster is not None:
        of = np.zeros(int(cluster.max()) + 1)
        of[cluster] = t
        if np.array_equal(of[cluster], t):
            return rng.permutation(of)[cluster], even
    return rng.permutation(t), even


def _direction(z: Floats, rng: np.random.Generator) -> Floats:
    """Return a linear index of the covariates with mean 0 and variance 1 (zeros without covariates)."""
    index = z @ (rng.standard_normal(z.shape[1]) / np.sqrt(1 + rng.permutation(z.shape[1])))
    return _standardized(index[:, None])[:, 0]


def _surface(z: Floats, e: Floats, surface: Surface, rng: np.random.Generator) -> Floats:
    """Return what covariates add to the outcome: mean 0, variance 1."""
    index = _direction(z, rng)
    if surface == "bent" and z.shape[1]:
        one, two = rng.integers(0, z.shape[1], 2)
        index = index + z[:, one] * z[:, two] + np.abs(z[:, rng.integers(0, z.shape[1])]) * rng.choice([-1.0, 1.0])
    if surface == "confounded":
        index = index + _standardized(special.logit(e)[:, None])[:, 0] * rng.choice([-1.0, 1.0])
    return _standardized(index[:, None])[:, 0]


def _noise(cluster: NDArray[np.int64] | None, n: int, rng: np.random.Generator) -> Floats:
    own = rng.standard_normal(n)
    if cluster is None:
        return own
    common = rng.standard_normal(int(cluster.max()) + 1)[cluster]
    return np.asarray(np.sqrt(1 - SHARED) * own + np.sqrt(SHARED) * common)


def _mapped(latent: Floats, marginal: Marginal) -> Floats:
    """Give the latent values, in their order, the outcome's marginal distribution."""
    known = sorted((marginal.quantiles or {0.0: -1.0, 1.0: 1.0}).items())
    rank = (np.argsort(np.argsort(latent, kind="stable"), kind="stable") + 0.5) / len(latent)
    return np.interp(rank, [q for q, _ in known], [value for _, value in known])


def _truth(each: Floats, t: Floats, e: Floats, weights: Floats | None) -> dict[str, float]:
    """Return the mean effect in the population that each estimand speaks of, given these covariates."""
    w = np.ones(len(t)) if weights is None else weights
    tilts = {"ATE": w, "ATT": w * e, "ATC": w * (1 - e), "ATO": w * e * (1 - e)}
    found = {name: float(np.average(each, weights=tilt)) for name, tilt in tilts.items()}
    return found | {"PLR": found["ATO"], "SATE": found["ATE"]}

"""Nuisance functions of a problem: parametric ones, and learned ones by cross-fitting with short-stacking.

Learners are mixed with non-negative weights that minimise the cross-fitted squared error over all folds at once
("short-stacking", Ahrens, Hansen, Schaffer & Wiemann 2025, https://doi.org/10.1002/jae.3103).
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import combinations
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from causal_orchestrator.numerics import guided, recalibration
from causal_orchestrator.numerics import learners as library
from causal_orchestrator.numerics.folds import folds
from causal_orchestrator.numerics.linear import least_squares
from causal_orchestrator.numerics.logit import fit_multinomial

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]

SMALL, LARGE = 2_000, 100_000  # rows below and from which other folds, repetitions and learners serve
REPEAT_STEP = 7919  # between the seeds of repetitions
WIDE_ROWS = 20_000  # rows from which interactions of ridge cost more than they add beside trees
LEAST_CHANCE = 1e-6  # of a level among more than two, before they are put to sum one
RIDGE = 1e-9  # makes equal learners share equally
CODE_VERSION = 6  # part of the key of stored nuisances; grows when the numbers change


class Sample(Protocol):
    """What nuisances need to know of a problem."""

    @property
    def outcome(self) -> Floats: ...  # noqa: D102
    @property
    def treatment(self) -> Floats: ...  # noqa: D102
    @property
    def covariates(self) -> Floats: ...  # noqa: D102
    @property
    def treatment_levels(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def outcome_kind(self) -> str: ...  # noqa: D102
    @property
    def weights(self) -> Floats | None: ...  # noqa: D102
    @property
    def cluster(self) -> Codes | None: ...  # noqa: D102
    @property
    def seed(self) -> int: ...  # noqa: D102


@dataclass(frozen=True)
class Recipe:
    """How to learn: names of learners, number of folds and of repetitions."""

    learners: tuple[str, ...]
    folds: int
    repeats: int


@dataclass(frozen=True)
class Nuisances:
    """The functions of the covariates that methods share, at the rows of the problem.

    Arrays have a leading axis of R repetitions of the cross-fitting (1 for parametric fits, whose `fold` is all 0).

    propensity : shape (R, n, K)
        P(treatment = level k | covariates); K = 0 for a continuous treatment.
    outcome_by_level : shape (R, n, K)
        E[outcome | treatment = level k, covariates].
    outcome : shape (R, n)
        E[outcome | covariates].
    treatment : shape (R, n)
        E[treatment | covariates].
    fold : shape (R, n)
        The fold whose complement the row's prediction was learned on.
    learners : which learner (or mixture) serves each function, with its share.
    shared : what guided trees for further targets share with these, on the first repetition's folds; never stored.
    """

    kind: Literal["parametric", "learned"]
    propensity: Floats
    outcome_by_level: Floats
    outcome: Floats
    treatment: Floats
    fold: Codes
    learners: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    shared: guided.Shared | None = field(default=None, repr=False)

    @property
    def e(self) -> Floats:
        """P(treated | covariates) (n,), binary treatment, mean over repetitions."""
        return np.asarray(self.propensity[:, :, 1].mean(axis=0))

    @property
    def mu0(self) -> Floats:
        """E[outcome | control, covariates] (n,), mean over repetitions."""
        return np.asarray(self.outcome_by_level[:, :, 0].mean(axis=0))

    @property
    def mu1(self) -> Floats:
        """E[outcome | treated, covariates] (n,), binary treatment, mean over repetitions."""
        return np.asarray(self.outcome_by_level[:, :, 1].mean(axis=0))

    @property
    def m(self) -> Floats:
        """E[outcome | covariates] (n,), mean over repetitions."""
        return np.asarray(self.outcome.mean(axis=0))


def recipe(
    n: int, *, learners: Sequence[str] | None = None, folds: int | None = None, repeats: int | None = None
) -> Recipe:
    """Return the recipe for n rows, the options given apart.

    Below `SMALL` rows smooth learners, ten folds and five repetitions; then boosting is stacked with them, on five folds.
    From `LARGE` rows one learner, ``guided_boosting``, on two folds (see `numerics.guided`): more learners would cost more
    time than the surface and the trees together.
    """
    chosen = tuple(learners) if learners else _default_learners(n)
    return Recipe(chosen, folds or (10 if n < SMALL else 5 if n < LARGE else 2), repeats or (5 if n < SMALL else 1))


def _default_learners(n: int) -> tuple[str, ...]:
    if n < SMALL:
        return ("linear", "sparse_interactions")
    if n >= LARGE:
        return ("guided_boosting",)
    return ("linear", "sparse_interactions", "joint_boosting") if n < WIDE_ROWS else ("linear", "joint_boosting")


def with_intercept(covariates: Floats) -> Floats:
    """Return the design (n, 1 + p) of an intercept and centred covariates."""
    return np.column_stack([np.ones(len(covariates)), covariates - covariates.mean(axis=0)])


def parametric(sample: Sample) -> Nuisances:
    """Fit a (multinomial) logit of the treatment and least squares of the outcome, by arm and overall."""
    design = with_intercept(sample.covariates)
    treatment, outcome, weights = sample.treatment, sample.outcome, sample.weights
    n, levels = len(outcome), len(sample.treatment_levels)
    propensity = fit_multinomial(design, treatment, levels, weights) if levels else np.zeros((n, 0))
    by_level = [_least_squares(design, outcome, weights, treatment == k) for k in range(levels)]
    everyone = np.ones(n, dtype=bool)
    expected = propensity @ np.arange(levels) if levels else _least_squares(design, treatment, weights, everyone)
    return Nuisances(
        kind="parametric",
        propensity=propensity[None],
        outcome_by_level=np.stack(by_level, axis=1)[None] if levels else np.zeros((1, n, 0)),
        outcome=_least_squares(design, outcome, weights, everyone)[None],
        treatment=expected[None],
        fold=np.zeros((1, n), dtype=np.int64),
        learners={"propensity": {"logit": 1.0}, "outcome": {"least squares": 1.0}},
    )


def _least_squares(design: Floats, target: Floats, weights: Floats | None, rows: NDArray[np.bool_]) -> Floats:
    fit = least_squares(design[rows], target[rows], None if weights is None else weights[rows])
    return np.asarray(design @ fit.coefficients)


def learned(sample: Sample, how: Recipe) -> Nuisances:
    """Cross-fit all nuisance functions, `how.repeats` times on different folds."""
    with threadpool_limits(limits=1):
        rounds = [_learned_once(sample, how, seed=sample.seed + REPEAT_STEP * r) for r in range(how.repeats)]
    return Nuisances(
        kind="learned",
        propensity=np.concatenate([turn.propensity for turn in rounds]),
        outcome_by_level=np.concatenate([turn.outcome_by_level for turn in rounds]),
        outcome=np.concatenate([turn.outcome for turn in rounds]),
        treatment=np.concatenate([turn.treatment for turn in rounds]),
        fold=np.concatenate([turn.fold for turn in rounds]),
        learners={name: _mean_shares([turn.learners[name] for turn in rounds]) for name in rounds[0].learners},
        shared=rounds[0].shared,
    )


def _learned_once(sample: Sample, how: Recipe, *, seed: int) -> Nuisances:
    t, y = sample.treatment, sample.outcome
    n, levels = len(y), len(sample.treatment_levels)
    fold = folds(t if levels else np.zeros(n), how.folds, seed=seed, cluster=sample.cluster)
    kind: library.Target = "probability" if sample.outcome_kind == "binary" else "mean"
    centre, scale = (0.0, 1.0) if kind == "probability" else (float(y.mean()), float(y.std()) or 1.0)
    target = (y - centre) / scale
    cross = _crossing(sample, how, fold, seed)
    by_level, by_level_shares = cross.by_level(target, t, levels, kind=kind)
    recalibrated = recalibration.mean if kind == "mean" else recalibration.probability
    for k in range(levels):
        by_level[:, k] = recalibrated(by_level[:, k], target, sample.weights, t == k)
    used = {f"outcome at {k}": shares for k, shares in enumerate(by_level_shares)}
    if levels:
        chances, used["propensity"] = cross_fit_propensity(cross, t, levels)
        propensity = _recalibrated_propensity(chances, t, sample.weights, by_level)
        expected = propensity @ np.arange(levels)
    if levels and library.JOINT.issuperset(how.learners):
        # An ensemble of all arms has learned E[Y | X] already: its levels' means at the levels' probabilities.
        outcome = (propensity * by_level).sum(axis=1)
    else:
        raw, used["outcome"] = cross(target, kind=kind)
        outcome = recalibrated(raw, target, sample.weights, np.ones(n, dtype=bool))
    if not levels:
        propensity = np.zeros((n, 0))
        fitted, used["treatment"] = cross((t - t.mean()) / (t.std() or 1.0), kind="mean")
        expected = t.mean() + (t.std() or 1.0) * fitted
    return Nuisances("learned", propensity[None], (centre + scale * by_level)[None], (centre + scale * outcome)[None], expected[None], fold[None], used, cross.shared)  # fmt: skip


def _recalibrated_propensity(raw: Floats, codes: Floats, weights: Floats | None, by_level: Floats) -> Floats:
    """Return propensities (n, K) whose errors neither they nor the outcomes' means by level can tell, each against the rest."""
    everyone = np.ones(len(codes), dtype=bool)
    return _with_sum_one([
        recalibration.probability(raw[:, k], (codes == k).astype(np.float64), weights, everyone, by_level)
        for k in _asked(raw.shape[1])
    ])  # fmt: skip


def _asked(levels: int) -> range:
    """Return the levels whose probability is fitted: of two the second, of more each against the rest."""
    return range(1, 2) if levels == 2 else range(levels)


def _with_sum_one(fitted: Sequence[Floats]) -> Floats:
    """Return P(level) (n, K) from the fits of the levels that are `_asked`."""
    if len(fitted) == 1:
        return np.column_stack([1 - fitted[0], fitted[0]])
    together = np.clip(np.column_stack(fitted), LEAST_CHANCE, None)
    return np.asarray(together / together.sum(axis=1, keepdims=True))


@dataclass(frozen=True)
class _CrossFit:
    """Out-of-fold predictions of a target, short-stacked over the learners; `seen` are each one's features.

    `shared` is what guided trees see in the place of features.
    """

    seen: Mapping[str, Floats]
    weights: Floats | None
    fold: Codes
    learners: tuple[str, ...]
    seed: int
    shared: guided.Shared | None = None

    def __call__(
        self, target: Floats, *, kind: library.Target, rows: NDArray[np.bool_] | None = None
    ) -> tuple[Floats, dict[str, float]]:
        """Learn on `rows` (all if None), predict everywhere out of fold; return predictions and learners' shares."""
        chosen = np.ones(len(target), dtype=bool) if rows is None else rows
        return self._stacked(self.separately(target, kind=kind, rows=chosen), target, chosen)

    def by_level(
        self, target: Floats, codes: Floats, levels: int, *, kind: library.Target
    ) -> tuple[Floats, list[dict[str, float]]]:
        """Return E[target | level, covariates] (n, levels), and the learners' shares at each level.

        Learners fit each arm apart; those in `learners.JOINT` all arms at once, with the level among the features.
        """
        out, shares = np.zeros((len(target), levels)), []
        joint = {
            name: self._jointly(name, target, codes, levels, kind)
            for name in self.learners
            if levels and name in library.JOINT
        }
        for k in range(levels):
            rows = codes == k
            each = [
                joint[name][:, k] if name in joint else self._one(name, target, kind, rows) for name in self.learners
            ]
            out[:, k], share = self._stacked(np.column_stack(each), target, rows)
            shares.append(share)
        return out, shares

    def _stacked(self, each: Floats, target: Floats, rows: NDArray[np.bool_]) -> tuple[Floats, dict[str, float]]:
        shares = stack_shares(each[rows], target[rows], None if self.weights is None else self.weights[rows])
        return each @ shares, dict(zip(self.learners, shares.tolist(), strict=True))

    def separately(self, target: Floats, *, kind: library.Target, rows: NDArray[np.bool_]) -> Floats:
        """Return every learner's out-of-fold predictions (n, number of learners)."""
        return np.column_stack([self._one(name, target, kind, rows) for name in self.learners])

    def _one(self, name: str, target: Floats, kind: library.Target, rows: NDArray[np.bool_]) -> Floats:
        x, out = self.seen[name], np.zeros(len(target))

        def turn(k: int) -> None:
            if name == "guided_boosting" and self.shared is not None:
                out[self.fold == k] = guided.held_out(self.shared, k, target, rows=rows, weights=self.weights, kind=kind, seed=self.seed)  # fmt: skip
                return
            into, held = rows & (self.fold != k), self.fold == k
            if not into.any():
                into = rows
            weights = None if self.weights is None else self.weights[into]
            out[held] = library.fit(name, x[into], target[into], weights, kind=kind, seed=self.seed)(x[held])

        _each_fold(self.fold, turn)
        return out

    def _jointly(self, name: str, target: Floats, codes: Floats, levels: int, kind: library.Target) -> Floats:
        """Return out-of-fold predictions (n, levels) of one fit for all levels."""
        x, out = self.seen[name], np.zeros((len(target), levels))
        arms = np.asarray(codes[:, None] == np.arange(1, levels), dtype=np.float64)

        def turn(k: int) -> None:
            if name == "guided_boosting" and self.shared is not None:
                out[self.fold == k] = guided.held_out_by_level(self.shared, k, target, kind=kind, seed=self.seed)
                return
            into, held = self.fold != k, np.flatnonzero(self.fold == k)
            weights = None if self.weights is None else self.weights[into]
            both = np.column_stack([x[into], arms[into]])
            predict = library.fit(name, both, target[into], weights, kind=kind, seed=self.seed)
            new = np.column_stack([x[held], np.zeros((len(held), levels - 1))])
            for level in range(levels):
                new[:, x.shape[1] :] = np.arange(1, levels) == level
                out[held, level] = predict(new)

        _each_fold(self.fold, turn)
        return out


def _each_fold(fold: Codes, turn: Callable[[int], None]) -> None:
    """Run `turn` for each fold; folds of many rows side by side, each on one thread, so that no number changes."""
    count = int(fold.max()) + 1
    if len(fold) < LARGE:
        for k in range(count):
            turn(k)
        return
    with ThreadPoolExecutor(min(count, cores()), initializer=threadpool_limits, initargs=(1,)) as threads:
        list(threads.map(turn, range(count)))


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _crossing(sample: Sample, how: Recipe, fold: Codes, seed: int, shared: guided.Shared | None = None) -> _CrossFit:
    seen = {name: library.features(name, sample.covariates) for name in how.learners}
    if "guided_boosting" in how.learners and shared is None:
        arm = np.zeros(len(fold), dtype=np.int64) if not sample.treatment_levels else sample.treatment.astype(np.int64)
        shared = guided.share(sample.covariates, fold, arm, sample.weights, each=lambda turn: _each_fold(fold, turn))
    return _CrossFit(seen, sample.weights, fold, how.learners, seed, shared)


def cross_fitter(sample: Sample, how: Recipe, *, seed: int, shared: guided.Shared | None = None) -> _CrossFit:
    """Return the cross-fitting of `sample` on its covariates, for further targets (balance, subgroups).

    Parameters
    ----------
    shared : that of nuisances learned by the same recipe and seed; made anew if None.
    """
    t = sample.treatment
    strata = t if sample.treatment_levels else np.zeros(len(t))
    fold = folds(strata, how.folds, seed=seed, cluster=sample.cluster)
    return _crossing(sample, how, fold, seed, shared)


def cross_fit_propensity(cross: _CrossFit, codes: Floats, levels: int) -> tuple[Floats, dict[str, float]]:
    """Return cross-fitted P(level | covariates) (n, levels): one fit for two levels, else one against the rest each."""
    fitted = [cross((codes == k).astype(np.float64), kind="probability") for k in _asked(levels)]
    return _with_sum_one([each for each, _ in fitted]), _mean_shares([shares for _, shares in fitted])


def propensity_alone(sample: Sample, how: Recipe) -> tuple[Floats, dict[str, float]]:
    """Return cross-fitted P(level | covariates) (n, K), mean over repetitions, which no outcome has moved.

    For models that take it as a covariate: one that the outcome's predictions have moved would tell them of it.
    """
    levels = len(sample.treatment_levels)
    rounds = [
        cross_fit_propensity(cross_fitter(sample, how, seed=sample.seed + REPEAT_STEP * r), sample.treatment, levels)
        for r in range(how.repeats)
    ]
    return np.mean([fitted for fitted, _ in rounds], axis=0), _mean_shares([shares for _, shares in rounds])


def _mean_shares(fits: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([shares[name] for shares in fits])) for name in fits[0]}


def stack_shares(predictions: Floats, target: Floats, weights: Floats | None = None) -> Floats:
    """Return non-negative shares (L,) with sum one that minimise the squared error of the mixture.

    The few learners allow an exact search: on each subset the minimum with sum one is a linear system.
    """
    count = predictions.shape[1]
    errors = predictions - target[:, None]
    if weights is not None:
        errors = errors * np.sqrt(weights)[:, None]
    gram = errors.T @ errors  # the mixture's squared error is shares' gram shares
    gram = gram + RIDGE * np.trace(gram) * np.eye(count) + np.finfo(float).tiny * np.eye(count)
    best, least = np.zeros(count), np.inf
    for size in range(1, count + 1):
        for chosen in combinations(range(count), size):
            inside = np.linalg.solve(gram[np.ix_(chosen, chosen)], np.ones(size))
            shares = np.zeros(count)
            shares[list(chosen)] = inside / inside.sum()
            loss = float(shares @ gram @ shares)
            if shares.min() >= 0 and loss < least:
                best, least = shares, loss
    return best


# --- storing --------------------------------------------------------------------------------------------------------


def key(facts: Mapping[str, object], how: Recipe) -> str:
    """Return the SHA-256 that names stored nuisances.

    Parameters
    ----------
    facts : what they depend on besides the recipe: snapshot, roles, encoding, rows and seed, as JSON types.
    """
    told = {**facts, "learners": how.learners, "folds": how.folds, "repeats": how.repeats, "code": CODE_VERSION}
    return hashlib.sha256(json.dumps(told, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def to_parquet(nuisances: Nuisances, rows: Codes, *, name: str = "") -> bytes:
    """Return a Parquet file with one line per row and repetition: row, repeat, fold, e…, mu…, m, t.

    `name` (the `key`) is stored in the schema's metadata together with the learners' shares.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    repeats, n, levels = nuisances.propensity.shape
    columns: dict[str, NDArray[np.float64] | NDArray[np.int64]] = {
        "row": np.tile(rows, repeats),
        "repeat": np.repeat(np.arange(repeats), n),
        "fold": nuisances.fold.ravel(),
    }
    for k in range(levels):
        columns[_level_name("e", k, levels)] = nuisances.propensity[:, :, k].ravel()
        columns[f"mu{k}"] = nuisances.outcome_by_level[:, :, k].ravel()
    columns |= {"m": nuisances.outcome.ravel(), "t": nuisances.treatment.ravel()}
    told = {"key": name, "kind": nuisances.kind, "levels": levels, "learners": nuisances.learners}
    table = pa.table(columns).replace_schema_metadata({"nuisances": json.dumps(told, sort_keys=True)})
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()


def from_parquet(data: bytes) -> tuple[Nuisances, Codes, str]:
    """Return nuisances, the rows that they are for, and their key, from `to_parquet`'s bytes."""
    import pyarrow.parquet as pq

    table = pq.read_table(io.BytesIO(data))
    told = json.loads(table.schema.metadata[b"nuisances"])
    repeats = int(table["repeat"].to_numpy().max()) + 1
    levels = int(told["levels"])

    def column(name: str) -> Floats:
        return np.asarray(table[name].to_numpy(), dtype=np.float64).reshape(repeats, -1)

    empty = np.zeros((repeats, table.num_rows // repeats, 0))
    nuisances = Nuisances(
        kind=told["kind"],
        propensity=np.stack([column(_level_name("e", k, levels)) for k in range(levels)], axis=2) if levels else empty,
        outcome_by_level=np.stack([column(f"mu{k}") for k in range(levels)], axis=2) if levels else empty,
        outcome=column("m"),
        treatment=column("t"),
        fold=column("fold").astype(np.int64),
        learners=told["learners"],
    )
    return nuisances, column("row")[0].astype(np.int64), str(told["key"])


def _level_name(stem: str, k: int, levels: int) -> str:
    return stem if levels == 2 and k == 1 else f"{stem}{k}"

"""Say what to adjust for, what never to adjust for, and why (AG-5), without a look at the outcome.

What a person named is kept and, where something speaks against it, warned about. A graph that holds the outcome (a
given one) is read by the backdoor criterion. Without one every pre-treatment covariate is adjusted for: of the two
lassos of double selection (Belloni, Chernozhukov and Hansen 2014) the one of the outcome is not to be had before the
plan is frozen, and dropping what merely fails to predict the treatment would drop confounders with it. The lasso of the
treatment gives reasons, and becomes the rule only where there are too many covariates for the rows.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, cast

import networkx as nx
import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm
from sklearn.linear_model import Lasso

from causal_orchestrator.agents import Ask, JobView, Output, Reader, Turn
from causal_orchestrator.discovery import columns
from causal_orchestrator.errors import InputError
from causal_orchestrator.identification import graph as graphs
from causal_orchestrator.identification import placebo
from causal_orchestrator.question import Question
from causal_orchestrator.results import (
    AdjustmentSet,
    CausalChain,
    ColumnSummary,
    Confounders,
    Exploration,
    Graph,
    Note,
    Profile,
    Snapshot,
)

# A suspicion at least this strong keeps a column out unless the person named it.
SUSPECT = 0.5
# With fewer rows for each covariate the least squares of the parametric methods is hardly determined.
ROWS_PER_COVARIATE = 5
MAX_LASSO_ROWS = 20_000
# A learned edge treatment → covariate that may take the covariate out.
TRUSTED_EDGE = 0.9

Method = Literal["given", "graph", "double_selection", "all_pretreatment"]


@dataclass(frozen=True)
class _Scene:
    question: Question
    named: bool
    columns: tuple[ColumnSummary, ...]
    exploration: Exploration | None
    graph: Graph | None

    @property
    def treatment(self) -> str:
        return cast(str, self.question.treatment)

    @property
    def outcome(self) -> str:
        return cast(str, self.question.outcome)

    @property
    def randomized(self) -> bool:
        return self.question.randomized and not self.question.instruments


@dataclass(frozen=True)
class _Pool:
    """The candidates that are left, and what was taken out or is doubtful."""

    kept: tuple[str, ...]
    excluded: dict[str, str]
    warnings: tuple[Note, ...] = ()


@dataclass(frozen=True)
class _Predictive:
    """The covariates that a lasso of the treatment keeps, and the rows that it saw."""

    columns: tuple[str, ...]
    n: int


@dataclass(frozen=True)
class _Reading:
    """What a graph says about the effect."""

    sets: tuple[AdjustmentSet, ...] = ()
    excluded: dict[str, str] | None = None
    instruments: tuple[str, ...] = ()
    frontdoor: tuple[str, ...] = ()
    chains: tuple[CausalChain, ...] = ()
    reasons: tuple[str, ...] = ()
    warnings: tuple[Note, ...] = ()
    full: bool = False  # the graph holds the outcome


def run(job: JobView, step: Turn, read: Reader, ask: Ask) -> Output:
    """Return the recommended adjustment set with everything that was considered.

    Raises
    ------
    InputError
        If treatment or outcome are still open (``ROLES_OPEN``).
    """
    scene = _scene(job)
    pool = _pool(scene)
    reading = _read_graph(scene, pool.kept)
    pool = _without(pool, reading.excluded or {}, scene)
    if reading.full and not scene.named:
        return Output(_by_graph(scene, pool, reading))
    return Output(_by_rule(scene, pool, reading, read))


def _scene(job: JobView) -> _Scene:
    profile = job.get("data_profiler", Profile)
    if profile is None or profile.question.treatment is None or profile.question.outcome is None:
        raise InputError("the question names no treatment or no outcome; give both", code="ROLES_OPEN")
    snapshot = job.get("dataset_fetcher", Snapshot)
    return _Scene(
        question=profile.question,
        named=profile.question.covariates is not None and "covariates" not in profile.proposed,
        columns=snapshot.columns if snapshot else (),
        exploration=job.get("eda", Exploration),
        graph=job.get("causal_discovery", Graph),
    )


# --- candidates ---------------------------------------------------------------------------------------------------


_ROLES = {
    "unit": "it identifies units",
    "time": "it is the time",
    "weights": "it holds sampling weights",
    "cost": "it is the cost",
    "first_treated": "it says when treatment began",
    "population": "it marks the population",
    "policy": "it is the policy",
    "offset": "it is the offset",
}
_LIST_ROLES = {
    "mediators": "it was named as a mediator; adjusting for it would take away part of the effect",
    "instruments": "it was named as an instrument; adjusting for it would amplify hidden confounding",
    "negative_controls": "it was named as a negative control",
    "treatment_proxies": "it was named as a proxy of the treatment",
    "outcome_proxies": "it was named as a proxy of the outcome",
}
_KINDS = {
    "identifier": "it identifies rows",
    "text": "it is free text",
    "constant": "it does not vary",
    "empty": "it is empty",
}
_SUSPICIONS = {
    "leakage": "it looks like a copy of what it should explain",
    "post_treatment": "it looks as if it was measured after the treatment",
    "copy_of_treatment": "it determines the treatment",
    "contradicts_treatment": "it names the arms, and says otherwise than the treatment",
    "identifier": "it identifies rows",
    "collider": "it may be a common effect of treatment and outcome",
}


def _pool(scene: _Scene) -> _Pool:
    """Return the person's covariates, or every column that may be one, without roles and what is unusable."""
    question = scene.question
    candidates = question.covariates if question.covariates is not None else tuple(c.name for c in scene.columns)
    reasons = {getattr(question, role): why for role, why in _ROLES.items() if getattr(question, role) is not None}
    reasons |= {name: why for role, why in _LIST_ROLES.items() for name in getattr(question, role)}
    reasons |= {c.name: _KINDS[c.kind] for c in scene.columns if c.kind in _KINDS and c.name not in reasons}
    # A label of the arms is no covariate, whoever named it.
    reasons |= _suspected(scene, "contradicts_treatment")
    own = {scene.treatment, scene.outcome}
    pool = _Pool(
        kept=tuple(c for c in candidates if c not in reasons and c not in own),
        excluded={c: reasons[c] for c in candidates if c in reasons},
    )
    return _without(pool, _suspected(scene), scene)


def _suspected(scene: _Scene, kind: str | None = None) -> dict[str, str]:
    found = scene.exploration.suspicions if scene.exploration else ()
    wanted = [s for s in found if s.score >= SUSPECT and kind in (None, s.kind)]
    return {s.column: f"{_SUSPICIONS[s.kind]} ({s.reason})" for s in wanted}


def _without(pool: _Pool, doubts: dict[str, str], scene: _Scene) -> _Pool:
    """Take doubtful columns out; those that the person named stay, with a warning."""
    doubtful = {c: doubts[c] for c in pool.kept if c in doubts}
    if scene.named:
        notes = [
            Note(code="DOUBTFUL_COVARIATE", message=f"kept because it was named, though {why}", columns=(c,))
            for c, why in doubtful.items()
        ]
        return _Pool(pool.kept, pool.excluded, (*pool.warnings, *notes))
    return _Pool(tuple(c for c in pool.kept if c not in doubtful), pool.excluded | doubtful, pool.warnings)


# --- the graph ----------------------------------------------------------------------------------------------------


def _read_graph(scene: _Scene, candidates: Collection[str]) -> _Reading:
    found = scene.graph
    if found is None or (
        found.gate.decision in ("REVIEW", "REJECT") and not found.discovery_method.startswith("given")
    ):
        return _Reading()
    if not found.edges:
        return _Reading()
    try:
        dag = graphs.build(
            found.nodes,
            [(e.source, e.target) for e in found.edges if e.type == "directed"],
            [(e.source, e.target) for e in found.edges if e.type == "bidirected"],
        )
    except InputError as exc:
        return _Reading(warnings=(Note(code="GRAPH_UNUSABLE", message=exc.message),))
    if scene.outcome in dag and scene.treatment in dag:
        return _full_reading(scene, dag, found, candidates)
    return _partial_reading(scene, found, candidates)


def _full_reading(scene: _Scene, dag: nx.DiGraph[str], found: Graph, candidates: Collection[str]) -> _Reading:
    """Read a graph that holds the outcome by the backdoor and front-door criteria."""
    ends = (dag, scene.treatment, scene.outcome)
    observed = {c.name for c in scene.columns} or set(found.nodes)
    usable = [c for c in candidates if c in dag]
    best, largest = graphs.optimal(*ends, usable), graphs.largest(*ends, usable)
    sets = [AdjustmentSet(columns=m, kind="minimal", source="the graph") for m in graphs.minimal(*ends, usable)]
    if best is not None:
        sets.insert(0, AdjustmentSet(columns=best, kind="optimal", source="the graph"))
    if largest is not None and graphs.is_valid(*ends, ()):
        sets.append(AdjustmentSet(columns=(), kind="none_needed", source="the graph"))
    warnings = []
    if largest is None and not scene.randomized:
        message = "by the graph no set of measured covariates closes every backdoor path"
        warnings.append(Note(code="NO_BACKDOOR_SET", message=message))
    elif scene.named and not graphs.is_valid(*ends, [c for c in candidates if c in dag]):
        message = "by the graph the named covariates do not close every backdoor path, or open one"
        warnings.append(Note(code="GRAPH_DISAGREES", message=message))
    return _Reading(
        sets=tuple(sets),
        excluded=graphs.roles(*ends, observed),
        instruments=graphs.instruments(*ends, observed),
        frontdoor=graphs.frontdoor(*ends, observed) if largest is None else (),
        chains=tuple(CausalChain(nodes=path, strength=_strength(path, found)) for path in graphs.chains(*ends)),
        reasons=(f"the graph ({found.discovery_method}) was read by the backdoor criterion",),
        warnings=tuple(warnings),
        full=True,
    )


def _strength(path: Sequence[str], found: Graph) -> float:
    """Return the product of the confidences of the path's edges."""
    confidence = {(e.source, e.target): e.confidence for e in found.edges}
    return round(float(np.prod([confidence[pair] for pair in pairwise(path)])), 6)


def _partial_reading(scene: _Scene, found: Graph, candidates: Collection[str]) -> _Reading:
    """Read a learned graph, which has no outcome: causes of the treatment, and effects of it that must stay out."""
    floor = 0.0 if found.gate.decision == "ACCEPT" else TRUSTED_EDGE
    trusted = [(e.source, e.target) for e in found.edges if e.type == "directed" and e.confidence >= floor]
    dag = graphs.build(found.nodes, trusted)
    if scene.treatment not in dag:
        return _Reading()
    later = nx.descendants(dag, scene.treatment)
    touching = {
        e.source if e.target == scene.treatment else e.target
        for e in found.edges
        if scene.treatment in (e.source, e.target)
    }
    causes = tuple(c for c in candidates if c in touching - later)
    sets = (AdjustmentSet(columns=causes, kind="parents", source="the learned graph"),) if causes else ()
    return _Reading(
        sets=sets,
        excluded=dict.fromkeys(sorted(later), "by the learned graph it is an effect of the treatment"),
        reasons=(f"the learned graph ({found.gate.decision}) names {len(causes)} direct causes of the treatment",),
    )


# --- the recommendation -------------------------------------------------------------------------------------------


def _by_graph(scene: _Scene, pool: _Pool, reading: _Reading) -> Confounders:
    """Recommend the graph's best set: the optimal one, else a minimal one, else everything before the treatment."""
    best = next((s for s in reading.sets if s.kind in ("optimal", "minimal")), None)
    excluded = pool.excluded | {c: "by the graph it is an instrument" for c in reading.instruments if c in pool.kept}
    kept = tuple(c for c in pool.kept if c not in excluded)
    rest = AdjustmentSet(columns=kept, kind="all_pretreatment", source="every usable column before the treatment")
    return Confounders(
        recommended=best.columns if best else kept,
        method="graph" if best else "all_pretreatment",
        sets=(*reading.sets, *(() if best and best.columns == kept else (rest,))),
        excluded=excluded,
        instruments=tuple(dict.fromkeys((*scene.question.instruments, *reading.instruments))),
        frontdoor=reading.frontdoor,
        chains=reading.chains,
        reasons=(*reading.reasons, _said(best)),
        warnings=(*pool.warnings, *reading.warnings),
    )


def _said(best: AdjustmentSet | None) -> str:
    if best is None:
        return "the graph offers no valid set, so every usable column before the treatment is adjusted for"
    if best.kind == "optimal":
        return "the set with the smallest asymptotic variance is taken (Henckel, Perković and Maathuis 2022)"
    return "the best set is not all measured; the smallest valid one is taken"


def _by_rule(scene: _Scene, pool: _Pool, reading: _Reading, read: Reader) -> Confounders:
    """Recommend what the person named, or every covariate measured before the treatment."""
    predictive = _predictive(scene, pool.kept, read)
    recommended, method, why = _recommend(scene, pool.kept, predictive)
    sets = [AdjustmentSet(columns=recommended, kind=method if method != "graph" else "optimal", source=why)]
    if scene.randomized:
        sets.append(AdjustmentSet(columns=(), kind="none_needed", source="the treatment was assigned at random"))
    return Confounders(
        recommended=recommended,
        method=method,
        sets=(*sets, *(s for s in reading.sets if s.columns != recommended)),
        excluded=pool.excluded,
        instruments=tuple(dict.fromkeys((*scene.question.instruments, *reading.instruments))),
        frontdoor=reading.frontdoor,
        chains=reading.chains,
        reasons=(*reading.reasons, why, *_reasons(scene, predictive)),
        warnings=(*pool.warnings, *reading.warnings),
    )


def _recommend(
    scene: _Scene, kept: tuple[str, ...], predictive: _Predictive | None
) -> tuple[tuple[str, ...], Method, str]:
    if scene.named:
        return kept, "given", "the covariates are those that were named"
    if predictive is not None and predictive.n < ROWS_PER_COVARIATE * len(kept):
        lagged = placebo.lagged_outcomes(scene.outcome, kept)
        chosen = tuple(c for c in kept if c in {*predictive.columns, *lagged})
        why = (
            f"{len(kept)} covariates are too many for {predictive.n} rows: those that predict the treatment and earlier "
            "outcomes are adjusted for (the half of double selection that is blind to the outcome)"
        )
        return chosen, "double_selection", why
    return kept, "all_pretreatment", "every usable column that was not measured after the treatment is adjusted for"


def _reasons(scene: _Scene, predictive: _Predictive | None) -> tuple[str, ...]:
    if scene.randomized:
        return ("the treatment was assigned at random: covariates serve precision, not identification",)
    if predictive is None:
        return ()
    shown = ", ".join(repr(name) for name in predictive.columns[:8]) or "none"
    return (f"a lasso of the treatment keeps {len(predictive.columns)} covariates: {shown}",)


def _predictive(scene: _Scene, kept: tuple[str, ...], read: Reader) -> _Predictive | None:
    """Return the covariates that a lasso of the treatment keeps, or None where it was not run.

    The penalty is the plug-in one for homoskedastic errors, refined once (Belloni, Chernozhukov and Hansen 2014,
    https://doi.org/10.1093/restud/rdt044, Algorithm 1).
    """
    if scene.randomized or not kept:
        return None
    complete = read([scene.treatment, *kept], "covariates_treatment").dropna()
    frame = complete.iloc[:MAX_LASSO_ROWS]
    if len(frame) < 2 * ROWS_PER_COVARIATE:
        return None
    numbers = columns.encode(frame)
    own = numbers.owner == 0
    if not own.any() or own.all():
        return None
    chosen: set[int] = set()
    for target in np.flatnonzero(own):
        chosen |= set(numbers.owner[~own][_lasso(numbers.data[:, ~own], numbers.data[:, target])].tolist())
    return _Predictive(tuple(kept[place - 1] for place in sorted(chosen)), len(complete))


def _lasso(X: NDArray[np.float64], d: NDArray[np.float64]) -> NDArray[np.bool_]:
    n, p = X.shape
    quantile = float(norm.ppf(1 - 0.1 / np.log(n) / (2 * p)))
    sigma = 1.0  # d is standardised
    kept = np.zeros(p, dtype=bool)
    for _ in range(2):
        model = Lasso(alpha=1.1 * sigma * quantile / np.sqrt(n), fit_intercept=False, max_iter=5_000).fit(X, d)
        kept = np.asarray(model.coef_ != 0.0)
        sigma = float(np.std(d - X @ model.coef_))
    return kept

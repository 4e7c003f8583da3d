"""Figures of what drives things: the effect of single units, and the outcome by causes and by prediction."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from causal_orchestrator.errors import NotApplicable
from causal_orchestrator.figures.canvas import BLUE, GRID, INK, VERMILION, Drawing, listed, number, plain, sheet
from causal_orchestrator.figures.evidence import Evidence, label
from causal_orchestrator.numerics.attribution import attribute
from causal_orchestrator.numerics.linear import least_squares
from causal_orchestrator.problem import Problem, build
from causal_orchestrator.results import Edge

Floats = NDArray[np.float64]

MOST = 8  # columns that are drawn
PARTS = 10
FEWEST_ROWS = 100
MOST_ROWS = 20_000
TELLS = 0.05  # share of variance below which trees have found nothing to explain
APART = 3  # places between two rankings from which they are said to disagree


def cate_shap(evidence: Evidence) -> Drawing:
    """Draw what each covariate adds to the estimated effect, from its low values to its high ones."""
    problem, effect = _effects(evidence)
    found = attribute(problem.covariates, effect, problem.covariate_sources, seed=problem.seed)
    if not found.explained > TELLS:
        raise NotApplicable("covariates do not tell the estimated effects of units apart")
    order = np.argsort(-found.importance, kind="stable")[:MOST]
    figure, axes = sheet(1.3 + 0.42 * len(order))
    axes.axvline(0, color=INK, linewidth=0.9, zorder=1)
    for place, j in enumerate(order):
        means, at = _by_value(_column(problem, found.names[j]), found.values[:, j])
        axes.plot([means.min(), means.max()], [place, place], color=GRID, linewidth=3, solid_capstyle="round", zorder=1)
        drawn = axes.scatter(means, np.full(len(means), place), c=at, cmap="cividis", vmin=0, vmax=1, s=44, edgecolors="white", linewidths=0.6, zorder=2)  # fmt: skip
    listed(axes, [label(found.names[j], 20) for j in order])
    axes.set_xlabel("adds to the estimated effect")
    axes.locator_params(axis="x", nbins=6)
    plain(axes)
    bar = figure.colorbar(drawn, ax=axes, ticks=[0, 1], shrink=0.85)
    bar.ax.set_yticklabels(["low", "high"])
    bar.set_label("value of the covariate", labelpad=-16)
    said = "; ".join(f"{label(found.names[j])} {number(found.importance[j])}" for j in order)
    return Drawing(
        figure,
        f"Mean Shapley values by tenths of each covariate (by level where there are few). They are exact for boosted trees that imitate the "
        f"estimated effects and predict {found.explained:.0%} of their variance on other rows; they say what the estimate "
        "goes by, not what causes an effect.",
        f"Mean absolute contribution to the effect: {said}.",
    )


def _effects(evidence: Evidence) -> tuple[Problem, Floats]:
    """Return the problem and the estimated effect of each of its rows."""
    stored = evidence.file("effect_estimator", "cate.parquet")
    if stored is None:
        raise NotApplicable("no method estimated effects of single units that differ")
    told = pd.read_parquet(io.BytesIO(stored), columns=["row", "effect"]).set_index("row")["effect"]
    problem = build(evidence.read(evidence.question.columns()), evidence.question)
    effect = told.reindex(problem.rows).to_numpy(dtype=np.float64)
    if np.isnan(effect).any() or not np.ptp(effect) > 0 or len(effect) < FEWEST_ROWS:
        raise NotApplicable(f"needs differing effects of {FEWEST_ROWS} rows or more, the ones in the data")
    kept = np.arange(0, problem.n, -(-problem.n // MOST_ROWS))
    return problem.take(kept), effect[kept]


def _column(problem: Problem, source: str) -> Floats:
    """Return one column's values: of several encoded ones (levels) the first that a row has."""
    columns = problem.covariates[:, [j for j, name in enumerate(problem.covariate_sources) if name == source]]
    return columns[:, 0] if columns.shape[1] == 1 else (columns * np.arange(1, columns.shape[1] + 1)).max(axis=1)


def _by_value(values: Floats, contribution: Floats) -> tuple[Floats, Floats]:
    """Return the mean contribution in each tenth of the values, or at each of a few, and where that is from 0 to 1."""
    levels = np.unique(values)
    if len(levels) > PARTS:
        part = np.searchsorted(np.unique(np.quantile(values, np.linspace(0, 1, PARTS + 1)[1:-1])), values, side="left")
    else:
        part = np.searchsorted(levels, values)
    part = np.unique(part, return_inverse=True)[1]
    means = np.bincount(part, contribution) / np.bincount(part)
    return means, np.linspace(0, 1, len(means)) if len(means) > 1 else np.array([0.5])


# --- causes against predictors ----------------------------------------------------------------------------------------


def ranking(evidence: Evidence) -> Drawing:
    """Draw how much each column moves the outcome by the graph, beside how much it helps to predict it (DISC-3)."""
    if evidence.graph is None or not evidence.graph.edges:
        raise NotApplicable("the graph has no edges")
    problem = build(evidence.read(evidence.question.columns()), evidence.question)
    if problem.treatment_kind == "multivalued" or problem.n < FEWEST_ROWS:
        raise NotApplicable(f"needs a treatment of two values or a dose, and {FEWEST_ROWS} rows")
    problem = problem.take(np.arange(0, problem.n, -(-problem.n // MOST_ROWS)))
    treatment = str(evidence.question.treatment)
    features = np.column_stack([problem.treatment, problem.covariates])
    sources = (treatment, *problem.covariate_sources)
    spread = float(problem.outcome.std())
    found = attribute(features, problem.outcome, sources, seed=problem.seed)
    if not found.explained > TELLS:
        raise NotApplicable("nothing here predicts the outcome on other rows")
    causal = _causal(features, sources, problem.outcome, evidence.graph.edges) / spread
    predictive = found.values.std(axis=0) / spread
    order = np.argsort(-np.maximum(causal, predictive), kind="stable")[:MOST]
    return _ranked([found.names[j] for j in order], causal[order], predictive[order], found.explained)


def _causal(features: Floats, sources: Sequence[str], outcome: Floats, edges: Sequence[Edge]) -> Floats:
    """Return the standard deviation that each column's total linear effect brings into the outcome (g,).

    The outcome comes last, so that a column's parents close its backdoor paths; edges without a direction count as
    coming from a parent. Pearl (2009), Causality, theorem 3.2.5.
    """
    names = tuple(dict.fromkeys(sources))
    effects = np.zeros(len(names))
    for g, name in enumerate(names):
        parents = {e.source for e in edges if e.target == name}
        parents |= {e.target for e in edges if e.source == name and e.type in ("undirected", "circle")}
        own = [j for j, source in enumerate(sources) if source == name]
        held = [j for j, source in enumerate(sources) if source in parents - {name}]
        design = np.column_stack([np.ones(len(outcome)), features[:, own], features[:, held]])
        slopes = least_squares(design, outcome).coefficients[1 : 1 + len(own)]
        effects[g] = float((features[:, own] @ slopes).std())
    return effects


def _ranked(names: Sequence[str], causal: Floats, predictive: Floats, explained: float) -> Drawing:
    places = [np.argsort(np.argsort(-values, kind="stable"), kind="stable") for values in (causal, predictive)]
    apart = np.abs(places[0] - places[1]) >= min(APART, max(1, len(names) - 1))
    figure, axes = sheet(1.5 + 0.42 * len(names))
    for place in range(len(names)):
        ends = [causal[place], predictive[place]]
        axes.plot(ends, [place, place], color=INK if apart[place] else GRID, linewidth=2.4 if apart[place] else 3, zorder=1)  # fmt: skip
    every: Any = np.arange(len(names))
    axes.scatter(causal, every, marker="D", s=52, color=VERMILION, edgecolors="white", label="cause (total effect by the graph)", zorder=3)  # fmt: skip
    axes.scatter(predictive, every, marker="o", s=58, color=BLUE, edgecolors="white", label="predictor (Shapley values)", zorder=2)  # fmt: skip
    listed(axes, [label(name, 20) for name in names])
    axes.set_xlim(left=0)
    axes.set_xlabel("SD of the outcome that it accounts for")
    plain(axes)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=1)
    odd = [label(name) for name, differs in zip(names, apart, strict=True) if differs]
    told = f"The two rankings are far apart for {', '.join(odd)}. " if odd else "The two rankings agree. "
    return Drawing(
        figure,
        f"{told}Causes: linear total effect given the column's parents in the learned graph, the outcome last. "
        f"Predictors: Shapley values of boosted trees that predict {explained:.0%} of the variance on other rows.",
        "; ".join(f"{label(n)} cause {c:.2f}, predictor {p:.2f}" for n, c, p in zip(names, causal, predictive, strict=True)),
    )  # fmt: skip

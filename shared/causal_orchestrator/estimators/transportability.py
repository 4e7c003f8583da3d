"""Carry the effect found in a source, a trial say, over to a target population with other covariates."""

from __future__ import annotations

from typing import Any

import numpy as np

from causal_orchestrator.errors import DesignError, NotApplicable
from causal_orchestrator.numerics.inference import influence_covariance
from causal_orchestrator.numerics.transport import Score, Stacked, Transported, stack, transport
from causal_orchestrator.problem import Estimate, Problem, conclude

MIN_TARGET = 10
SUPPORTED = 0.9  # share of the target whose odds of participation the source reaches


def estimate(problem: Problem, *, score: Score = "dr", normalized: bool = True) -> Estimate:
    """Estimate the average effect in the target population that the question's `population` marks.

    Assumes that within the source the treatment is as good as random given the covariates, that nothing but the
    covariates makes effects differ between the populations, and that every kind of target unit is found in the source.
    Outcomes and treatments of the target, where there are any, are not used.

    Parameters
    ----------
    score : ``dr`` weights the residuals of an outcome model by the inverse odds of participation, right if either is;
        ``ipsw`` weights alone; ``om`` averages the outcome model over the target.
    normalized : weights sum to one (Hájek), else Horvitz–Thompson; not for ``om``.

    Returns
    -------
    Estimate
        The target's ``ATE``, in units of the outcome; means by arm in ``details``.

    Raises
    ------
    NotApplicable
        If the question marks no target (``NEEDS_POPULATION``).
    DesignError
        If the target has too few rows (``TARGET_TOO_SMALL``), or covariates tell source and target apart perfectly
        (``POSITIVITY``).

    References
    ----------
    Dahabreh, Robertson, Steingrimsson, Stuart & Hernán (2020), https://doi.org/10.1002/sim.8426.
    """
    target = problem.unobserved
    if problem.question.population is None or "covariates" not in target:
        raise NotApplicable("transportability needs a population column that marks source and target", code="NEEDS_POPULATION")  # fmt: skip
    m = len(target["covariates"])
    if m < MIN_TARGET:
        raise DesignError(f"the target has {m} rows; at least {MIN_TARGET} are needed", code="TARGET_TOO_SMALL")
    source = (problem.covariates, problem.treatment, problem.outcome, problem.weights)
    data = stack(source, (target["covariates"], target.get("weights")))
    told = transport(data, score=score, normalized=normalized)
    if told.separated and score != "om":
        raise DesignError("covariates tell source and target apart perfectly: no source unit stands for some of the target", code="POSITIVITY")  # fmt: skip
    cluster = None if problem.cluster is None else np.concatenate([problem.cluster, target["cluster"]])
    contrast = told.influence[:, [1]] - told.influence[:, [0]]
    supported, effective = _support(data, told), _effective(data, told)
    return conclude(
        problem,
        method="transportability",
        estimand="ATE",
        estimates=[told.means[1] - told.means[0]],
        covariance=influence_covariance(contrast, cluster, of_scores=False),
        inference="stacked estimating equations" + ("" if cluster is None else ", clustered"),
        diagnostics=_diagnostics(problem, data, supported, effective),
        details={
            "score": score,
            "normalized": normalized,
            "n_source": problem.n,
            "n_target": m,
            "weights": told.odds[: problem.n],
        },
        notes=_notes(supported, m),
        means=told.means,
        means_influence=told.influence,
    )


def _support(data: Stacked, told: Transported) -> float:
    """Return the share of the target whose participation score lies within the source's range."""
    into = data.source > 0
    low, high = told.participation[into].min(), told.participation[into].max()
    p, w = told.participation[~into], data.weights[~into]
    return float(np.average((p >= low) & (p <= high), weights=w))


def _effective(data: Stacked, told: Transported) -> float:
    """Return how many equally weighted source rows hold what the weighted ones do."""
    pull = told.odds * data.weights
    return float(pull.sum() ** 2 / (pull**2).sum())


def _diagnostics(problem: Problem, data: Stacked, supported: float, effective: float) -> dict[str, dict[str, Any]]:
    apart = _apart(problem)
    return {
        "population_overlap": {"value": supported, "threshold": SUPPORTED, "passed": supported >= SUPPORTED, "detail": "share of the target within the source's range of participation"},
        "effective_sample_size": {"value": effective, "detail": f"of {problem.n} source rows, weighted to the target"},
        "population_difference": {"value": max(apart.values(), default=0.0), "detail": "largest standardised difference of a covariate between the populations"},
    }  # fmt: skip


def _apart(problem: Problem) -> dict[str, float]:
    """Return each covariate's absolute standardised mean difference between source and target."""
    x, other = problem.covariates, problem.unobserved["covariates"]
    spread = np.sqrt((x.var(axis=0) + other.var(axis=0)) / 2)
    gap = np.abs(x.mean(axis=0) - other.mean(axis=0))
    return {name: float(g / s) for name, g, s in zip(problem.covariate_names, gap, spread, strict=True) if s > 0}


def _notes(supported: float, m: int) -> tuple[str, ...]:
    whose = f"the effect is that in the {m} rows of the target, not in the source"
    if supported >= SUPPORTED:
        return (whose,)
    return (whose, f"{1 - supported:.0%} of the target lies beyond what the source shows: there the models extrapolate")

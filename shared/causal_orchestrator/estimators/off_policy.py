"""What a policy would be worth, had it chosen the treatments."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from causal_orchestrator.errors import InputError
from causal_orchestrator.numerics import policy as policies
from causal_orchestrator.numerics.inference import critical_value, influence_covariance, simultaneous_critical_value
from causal_orchestrator.numerics.learned_policy import learned
from causal_orchestrator.numerics.policy import Values
from causal_orchestrator.problem import Estimate, Problem, conclude
from causal_orchestrator.question import shown
from causal_orchestrator.results import EffectRow, finite

Floats = NDArray[np.float64]

GIVEN, LEARNED, OBSERVED = "given", "learned", "as observed"
TREAT_ALL, TREAT_NONE = "treat_all", "treat_none"
CLIPPED = 0.1  # share of the rows' worth below which a weighted mean rests on few rows


def estimate(
    problem: Problem,
    *,
    policy: str | None = None,
    score: Literal["dr", "snips", "dm"] = "dr",
    depth: Literal[1, 2] = 2,
    budget: float | None = None,
    learners: Sequence[str] | Literal["parametric"] | None = None,
    folds: int | None = None,
    repeats: int | None = None,
    trim: float = 0.01,
) -> Estimate:
    """Estimate the mean outcome that would have come about, had a policy chosen each row's treatment.

    Assumes no unmeasured confounding, overlap, and a policy that was not fitted to these outcomes (a learned one is
    valued on rows that it did not see).

    Parameters
    ----------
    policy : ``given`` (the question's policy column: a level of the treatment or, for two levels, the chance of the
        second), ``learned`` (a tree of `depth`, within the `budget`, see `policy_learning`), ``treat_all`` or
        ``treat_none`` (two levels), or a level of the treatment for everyone. By default the given one, else the
        learned one.
    score : ``dr`` is doubly robust; ``snips`` the self-normalised weighted mean, whose interval takes the propensities
        as known; ``dm`` the outcome model alone, without an interval.
    learners, folds, repeats : see `numerics.nuisance.recipe`; ``parametric`` takes logit and least squares without
        cross-fitting.
    trim : propensities are moved into [trim, 1 - trim].

    Returns
    -------
    Estimate
        The policy's value in units of the outcome (``POLICY_VALUE``), and one row per policy: this one, each constant
        one, and what was observed, with intervals that hold together. ``details["contrasts"]`` has this policy's gain
        over each other one, ``details["scores"]`` its value by all three scores, and with a cost column
        ``details["net"]`` values less costs.

    Raises
    ------
    InputError
        If the policy is unknown or its column unusable (``POLICY_INVALID``).
    DesignError
        If more than half of the propensities would have to be moved (``POSITIVITY``).

    References
    ----------
    Dudík, Erhan, Langford & Li (2014), https://doi.org/10.1214/14-STS500; Swaminathan & Joachims (2015).
    """
    found = problem.parametric() if learners == "parametric" else problem.learned(learners=learners, folds=folds, repeats=repeats)  # fmt: skip
    name = _called(problem, policy or (GIVEN if "policy" in problem.roles else LEARNED))
    if name == LEARNED:
        tree = learned(problem, found, depth=depth, budget=budget, trim=trim)
        chosen = policies.by_code(tree.assigned, len(problem.treatment_levels))
    else:
        chosen = _named(problem, name)
    others = _constants(problem)
    names = [name, *(other for other in others if other != name)]
    stacked = np.stack([chosen, *(others[other] for other in names[1:])])
    found_values = policies.value(problem, found, stacked, score=score, trim=trim)
    return _finish(problem, [*names, OBSERVED], stacked, found_values, score, {
        "policy": name,
        "share": dict(zip(problem.treatment_levels, np.average(chosen, axis=0, weights=problem.weights).tolist(), strict=True)),
        "scores": {each: float(policies.value(problem, found, stacked[:1], score=each, trim=trim).values[0]) for each in ("dr", "snips", "dm")},
        "learners": dict(found.learners),
    })  # fmt: skip


def _called(problem: Problem, name: str) -> str:
    """Return the name of the policy that gives everyone the level `name`, where it is one."""
    if name not in problem.treatment_levels:
        return name
    k = problem.treatment_levels.index(name)
    return (*list(_constants(problem))[-1:], *_constants(problem))[k]


def _named(problem: Problem, name: str) -> Floats:
    others = _constants(problem)
    if name in others:
        return others[name]
    if name == GIVEN and "policy" in problem.roles:
        return policies.from_column(problem.roles["policy"], problem.treatment_levels, str(problem.question.policy))
    if name == GIVEN:
        raise InputError("the question names no policy column", code="ROLE_MISSING", details={"field": "policy"})
    known = ", ".join((GIVEN, LEARNED, *others, *problem.treatment_levels))
    raise InputError(f"there is no policy {shown(name)!r}; there are {known}", code="POLICY_INVALID", details={"option": "policy"})  # fmt: skip


def _constants(problem: Problem) -> dict[str, Floats]:
    """Return the policies that give everyone the same level, the reference last."""
    levels = problem.treatment_levels
    binary = len(levels) == 2
    names = {k: TREAT_ALL if binary else f"everyone {level}" for k, level in enumerate(levels)}
    names[0] = TREAT_NONE if binary else names[0]
    order = (*range(1, len(levels)), 0)
    return {names[k]: policies.constant(k, problem.n, len(levels)) for k in order}


def _finish(
    problem: Problem, names: list[str], stacked: Floats, found: Values, score: str, details: dict[str, Any]
) -> Estimate:
    """Put the values together; what was observed comes last, as a policy whose value is the mean outcome."""
    s = np.ones(problem.n) if problem.weights is None else problem.weights
    mean = float(np.average(problem.outcome, weights=s))
    values = np.append(found.values, mean)
    covariance, influence = None, None
    if found.joined is not None:
        influence = np.column_stack([found.joined.influence, s * (problem.outcome - mean)])
        # The spread between repetitions enters the errors of the estimated values.
        scale = np.sqrt(np.diag(found.joined.covariance) / np.diag(influence_covariance(found.joined.influence, problem.cluster)))  # fmt: skip
        covariance = influence_covariance(influence * np.append(scale, 1.0), problem.cluster)
        details["contrasts"] = _contrasts(problem, names, values, covariance)
    costs = _net(problem, stacked, names, values)
    told = conclude(
        problem,
        method="off_policy",
        estimand="POLICY_VALUE",
        estimates=values[:1],
        covariance=None if covariance is None else covariance[:1, :1],
        inference=_inference(score, clustered=problem.cluster is not None),
        diagnostics={"effective rows": {"value": float(found.effective[0]), "threshold": CLIPPED * problem.n, "passed": bool(found.effective[0] >= CLIPPED * problem.n), "detail": "that the policy's weights are worth"}},
        details={**details, **({"net": costs} if costs else {}), "effective_rows": dict(zip(names, found.effective.tolist(), strict=False))},
        influence=None if influence is None else influence[:, :1],
        notes=(f"{found.moved:.1%} of propensities were moved",) if found.moved > 0 else (),
    )  # fmt: skip
    return replace(told, rows=_rows(problem, names, values, covariance), p_value=None)


def _inference(score: str, *, clustered: bool) -> str:
    if score == "dm":
        return "none: an outcome model alone has no standard error; score='dr' has one"
    known = ", propensities taken as known" if score == "snips" else ""
    return "influence function" + known + (", clustered" if clustered else "")


def _rows(problem: Problem, names: list[str], values: Floats, covariance: Floats | None) -> tuple[EffectRow, ...]:
    level = problem.confidence_level
    errors = np.full(len(values), np.nan) if covariance is None else np.sqrt(np.diag(covariance))
    critical = critical_value(level)
    if covariance is not None:
        critical = max(critical, simultaneous_critical_value(covariance, level, seed=problem.seed))
    return tuple(
        EffectRow(term=name, estimate=float(v), std_error=finite(e), ci_lower=finite(v - critical * e), ci_upper=finite(v + critical * e), n=problem.n)
        for name, v, e in zip(names, values, errors, strict=True)
    )  # fmt: skip


def _contrasts(problem: Problem, names: list[str], values: Floats, covariance: Floats) -> list[dict[str, Any]]:
    """Return the first policy's gain over each other one."""
    z = critical_value(problem.confidence_level)
    told = []
    for j in range(1, len(names)):
        gain = float(values[0] - values[j])
        error = math.sqrt(max(0.0, covariance[0, 0] + covariance[j, j] - 2 * covariance[0, j]))
        told.append({"policy": names[0], "against": names[j], "gain": gain, "std_error": error or None, "ci_lower": gain - z * error if error else None, "ci_upper": gain + z * error if error else None})  # fmt: skip
    return told


def _net(problem: Problem, stacked: Floats, names: list[str], values: Floats) -> dict[str, float]:
    """Return the values less the mean cost of treatment, where the question names a cost."""
    if "cost" not in problem.roles:
        return {}
    cost = np.asarray(problem.roles["cost"], dtype=np.float64)
    spent = np.average(cost * (1 - stacked[:, :, 0]), axis=1, weights=problem.weights)
    observed = np.average(cost * (problem.treatment > 0), weights=problem.weights)
    return dict(zip(names, (values - np.append(spent, observed)).tolist(), strict=True))

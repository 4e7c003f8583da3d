"""The methods: what exists, where it applies and what speaks for it.

An estimator is a module with one public function ``estimate(problem, *, options…) -> Estimate`` and one line in
``ESTIMATORS``. This module is light (no science): the planner, ``causal methods`` and the docs read the same table.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from causal_orchestrator.errors import InputError

if TYPE_CHECKING:
    from causal_orchestrator.problem import Estimate, Problem


@dataclass(frozen=True)
class Situation:
    """What is known before the freeze, as far as a method's applicability depends on it (aggregates only)."""

    design: str
    n: int
    n_covariates: int
    treatment_kind: Literal["binary", "multivalued", "continuous"]
    outcome_kind: Literal["continuous", "binary", "count", "categorical"]
    per_arm: tuple[int, ...] = ()
    roles: frozenset[str] = frozenset()
    overlap: float | None = None
    separated: bool = False
    estimand: str | None = None
    clustered: bool = False
    weighted: bool = False


# Reasons in words with a signed weight each; the sum over reasons orders the admissible methods.
Reasons = tuple[tuple[float, str], ...]


def _no_evidence(situation: Situation) -> Reasons:
    return ()


@dataclass(frozen=True)
class Spec:
    """What a method declares about itself.

    `needs` are roles (names of Question's fields). `credibility` in [0, 1] is what the method is worth where its
    assumptions hold; `evidence` adds what the situation says for or against it. `cost` is in units of one OLS fit.
    `assumes` are in words. `nuisances` says which of the shared fits it takes.
    """

    module: str
    estimands: tuple[str, ...]
    designs: tuple[str, ...]
    needs: tuple[str, ...] = ()
    treatments: tuple[str, ...] = ("binary",)
    outcomes: tuple[str, ...] = ("continuous", "binary", "count")
    min_per_arm: int = 10
    nuisances: Literal["none", "parametric", "learned"] = "none"
    cost: Callable[[int, int], float] = lambda n, p: 1.0
    assumes: tuple[str, ...] = ()
    evidence: Callable[[Situation], Reasons] = _no_evidence
    credibility: float = 0.5
    title: str = ""
    options: tuple[str, ...] = ()
    extra: str | None = None
    clusters: bool = True
    weights: bool = True


def _experiment(situation: Situation) -> Reasons:
    if situation.design == "randomized":
        return ((0.3, "the assignment is randomised: the arms differ by chance alone"),)
    return ((-0.4, "without randomisation nothing is adjusted for"),)


ESTIMATORS: dict[str, Spec] = {
    "difference_in_means": Spec(
        module="difference_in_means",
        estimands=("ATE",),
        designs=("randomized",),
        treatments=("binary", "multivalued"),
        cost=lambda n, p: 0.1,
        assumes=("assignment is random", "no interference between units"),
        evidence=_experiment,
        credibility=0.9,
        title="Difference in means",
        options=("se",),
    ),
}

ALIASES = {
    "tvce": "double_ml", "ope": "double_ml_irm", "regression": "ols", "2sls": "iv_2sls", "iv": "iv_2sls", "rd": "rdd",
    "sc": "synthetic_control", "cate": "causal_forest",
}  # fmt: skip


def resolve(name: str) -> str:
    """Return the key of a method given by key or alias.

    Raises
    ------
    InputError
        If there is no such method (``METHOD_UNKNOWN``).
    """
    key = ALIASES.get(name, name)
    if key not in ESTIMATORS:
        raise InputError(
            f"there is no method {name!r}; there are {', '.join(sorted(ESTIMATORS))}", code="METHOD_UNKNOWN"
        )
    return key


def missing(key: str, situation: Situation) -> str | None:
    """Return what the method lacks in this situation, in words, or None if it is admissible."""
    spec = ESTIMATORS[key]
    lacks = [role for role in spec.needs if role not in situation.roles]
    if lacks:
        return f"needs {' and '.join(lacks)}"
    if situation.design not in spec.designs:
        return f"is for the design {' or '.join(spec.designs)}, not {situation.design}"
    if situation.treatment_kind not in spec.treatments:
        return f"needs a {' or '.join(spec.treatments)} treatment, not a {situation.treatment_kind} one"
    if situation.outcome_kind not in spec.outcomes:
        return f"needs a {' or '.join(spec.outcomes)} outcome, not a {situation.outcome_kind} one"
    if situation.per_arm and min(situation.per_arm) < spec.min_per_arm:
        return f"needs {spec.min_per_arm} units in each arm, the smallest has {min(situation.per_arm)}"
    if situation.estimand is not None and situation.estimand not in spec.estimands:
        return f"estimates {' or '.join(spec.estimands)}, not {situation.estimand}"
    if situation.weighted and not spec.weights:
        return "cannot use sampling weights"
    return None


def load(key: str) -> Callable[..., Estimate]:
    """Import the method's module, now and not before, and return its function."""
    function: Callable[..., Estimate] = importlib.import_module(
        f"causal_orchestrator.estimators.{ESTIMATORS[key].module}"
    ).estimate
    return function


def estimate(key: str, problem: Problem, **options: Any) -> Estimate:
    """Run one method on a problem.

    Raises
    ------
    NotApplicable, EstimationError, InputError
        As the method declares.
    """
    return load(resolve(key))(problem, **options)

"""How far an effect found by proxies hangs on the proxies: their strength, each alone, and their exclusion."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from causal_orchestrator.errors import CausalError, NotApplicable
from causal_orchestrator.numerics.inference import bracket
from causal_orchestrator.numerics.iv import instrument_numbers
from causal_orchestrator.question import shown
from causal_orchestrator.results import SensitivityResult, settled_sign

if TYPE_CHECKING:
    from causal_orchestrator.problem import Estimate, Problem

Floats = NDArray[np.float64]

ROLES = ("treatment_proxies", "outcome_proxies")
ROUNDS = 20
LARGEST = 2.0  # direct effect in SD per SD up to which a breakdown is sought


def analyse(
    problem: Problem,
    estimate: Estimate,
    *,
    refit: Callable[[Problem], Estimate],
    seed: int = 0,
) -> SensitivityResult:
    """Ask how strong the proxies are, leave each out, let them change roles, and give them an effect of their own.

    A treatment proxy may move the outcome by itself by γ, of either sign: the effect is then that on the outcome less
    γ times the proxy. The breakdown is the smallest γ with which the interval holds zero. Passes if the first stage is
    strong and no proxy's absence turns the effect round. That treatment and outcome proxies may change places is
    assumed of pure measurements of the confounder alone, so this is told and decides nothing.

    Returns
    -------
    SensitivityResult
        `value` is the breakdown, in SD of the outcome per SD of the weakest proxy, sought up to two. ``details``:
        `strength` (first-stage F with its threshold), `proxies` (each one's breakdown, and whether the conclusion still
        `stands` there), `left_out`, `swapped`.

    Raises
    ------
    NotApplicable
        If there are no proxies, or the estimate has no interval.

    References
    ----------
    Tchetgen Tchetgen, Ying, Cui, Shi & Miao (2024), https://doi.org/10.1214/23-STS911; Conley, Hansen & Rossi (2012),
    https://doi.org/10.1162/REST_a_00139, for the effect of a proxy's own.
    """
    strength = estimate.diagnostics.get("proxy_strength")
    if strength is None or estimate.ci_lower is None or not all(role in problem.roles for role in ROLES):
        raise NotApplicable("needs proxies of both kinds and an interval")
    found = [_own_effect(problem, estimate, j, refit) for j in range(len(problem.question.treatment_proxies))]
    weakest = min(found, key=lambda row: row["breakdown"])
    left = _left_out(problem, refit)
    turned = [
        name for _, name, without in left if without is not None and settled_sign(without) * settled_sign(estimate) < 0
    ]
    swapped = _tried(problem, refit, _swapped)
    return SensitivityResult(
        method="proxies",
        value=weakest["breakdown"],
        interpretation=_sentence(strength, weakest, turned, swapped, estimate),
        passed=bool(strength["passed"]) and not turned,
        details={
            "strength": dict(strength),
            "proxies": found,
            "left_out": [
                {"proxy": name, "role": role, **(_told(without) or {"estimate": None})} for role, name, without in left
            ],
            "turned": turned,
            "swapped": _told(swapped),
        },
    )


def _own_effect(problem: Problem, estimate: Estimate, j: int, refit: Callable[[Problem], Estimate]) -> dict[str, Any]:
    """Return how large an effect of proxy `j` on the outcome may be (SD per SD)."""
    name = problem.question.treatment_proxies[j]
    if settled_sign(estimate) == 0:
        return {"proxy": name, "breakdown": 0.0, "stands": False}
    z = _column(problem, "treatment_proxies", j)
    known = np.isfinite(z)
    spread = float(np.std(z[known])) or 1.0
    lean = np.where(known, (z - z[known].mean()) / spread, 0.0) * float(np.std(problem.outcome, ddof=1))

    def holds(gamma: float) -> bool:
        ends = [refit(problem.change(outcome=problem.outcome - sign * gamma * lean)) for sign in (-1, 1)]
        return any(settled_sign(end) * settled_sign(estimate) <= 0 for end in ends)

    if not holds(LARGEST):
        return {"proxy": name, "breakdown": LARGEST, "stands": True}
    return {"proxy": name, "breakdown": bracket(holds, 0.0, LARGEST, steps=ROUNDS)[1], "stands": False}


def _column(problem: Problem, role: str, j: int) -> Floats:
    numbers = instrument_numbers(problem.roles[role], getattr(problem.question, role))
    return np.asarray(numbers[:, min(j, numbers.shape[1] - 1)])


def _left_out(problem: Problem, refit: Callable[[Problem], Estimate]) -> list[tuple[str, str, Estimate | None]]:
    """Return role and name of each proxy that has another beside it, and the estimate without it."""
    found = []
    for role in ROLES:
        names = getattr(problem.question, role)
        for j, name in enumerate(names if len(names) > 1 else ()):
            found.append((role, name, _tried(problem, refit, partial(_without, role=role, j=j))))
    return found


def _without(problem: Problem, *, role: str, j: int) -> Problem:
    names = tuple(name for k, name in enumerate(getattr(problem.question, role)) if k != j)
    question = problem.question.model_copy(update={role: names})
    return problem.change(question=question, roles={**problem.roles, role: np.delete(problem.roles[role], j, axis=1)})


def _swapped(problem: Problem) -> Problem:
    first, second = ROLES
    names = {first: getattr(problem.question, second), second: getattr(problem.question, first)}
    values = {first: problem.roles[second], second: problem.roles[first]}
    return problem.change(question=problem.question.model_copy(update=names), roles={**problem.roles, **values})


def _tried(
    problem: Problem, refit: Callable[[Problem], Estimate], changed: Callable[[Problem], Problem]
) -> Estimate | None:
    try:
        return refit(changed(problem))
    except CausalError:  # fewer treatment than outcome proxies are left: not identified
        return None


def _told(found: Estimate | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {"estimate": found.estimate, "std_error": found.std_error, "ci_lower": found.ci_lower, "ci_upper": found.ci_upper}  # fmt: skip


def _sentence(
    strength: Any, weakest: dict[str, Any], turned: list[str], swapped: Estimate | None, estimate: Estimate
) -> str:
    said = f"The proxies tell of each other with F = {strength['value']:.1f}"
    said += "." if strength["passed"] else f", below {strength['threshold']:g}: too weak to rely on."
    if weakest["stands"]:
        said += f" If any one of them moved the outcome by itself by {LARGEST:g} SD per SD, the conclusion would stand."
    elif weakest["breakdown"] > 0:
        said += f" If {shown(weakest['proxy'])!r} moved the outcome by itself by {weakest['breakdown']:.2f} SD per SD, the effect could be zero."  # fmt: skip
    else:
        said += " The interval holds zero, so no effect of a proxy's own is needed to explain it."
    if turned:
        said += f" Without {shown(turned[0])!r} the effect has the other sign."
    if swapped is not None:
        said += f" With the proxies in each other's place the estimate is {swapped.estimate:.3g} instead of {estimate.estimate:.3g}."  # fmt: skip
    return said

"""Whether a comparison with weighted donors rests on one donor, fits before, and finds nothing where nothing happened."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from causal_orchestrator.errors import CausalError, NotApplicable
from causal_orchestrator.numerics.panel import Panel, layout
from causal_orchestrator.question import shown
from causal_orchestrator.results import SensitivityResult

if TYPE_CHECKING:
    from causal_orchestrator.problem import Estimate, Problem

MOST_DONORS = 10  # left out, those with the largest weights
KEPT = 0.5  # of the effect must be left without any one donor, and is more than a placebo in time may reach
CALIPER = 0.25  # SD of the donors' outcomes before: a usual width for a match
PLACEBO_TIMES = 3
FEWEST_BEFORE = 4  # periods, below which none can be held back


def analyse(
    problem: Problem,
    estimate: Estimate,
    *,
    refit: Callable[[Problem], Estimate] | None = None,
    seed: int = 0,
    quick: Callable[[Problem], Estimate],
) -> SensitivityResult:
    """Leave out each donor that counts, and pretend that treatment began earlier.

    Passes if without any one donor the effect keeps its sign and at least half its size, no start before the true one
    shows an effect half as large, and the gap before treatment is, in root mean square, at most a quarter of a standard
    deviation of the donors' outcomes.

    Parameters
    ----------
    quick : the headline's method without its own placebos.

    Returns
    -------
    SensitivityResult
        `value` is the smallest share of the effect that is left without a donor. ``details``: `donors`, `times`, `fit`
        (root mean squared gap before, in SD of the donors), and which of the three `held`.

    Raises
    ------
    NotApplicable
        If units start at different times, or no donor has a weight.
    """
    panel = _panel(problem)
    if len(panel.cohorts) != 1:
        raise NotApplicable("units start treatment at different times")
    weights = _weights(estimate)
    if not weights:
        raise NotApplicable("the estimate holds no donor weights")
    value = estimate.estimate
    leading = sorted(weights, key=lambda name: (-weights[name], name))[:MOST_DONORS]
    donors = [{"donor": name, "weight": weights[name], **_without(problem, panel, name, quick)} for name in leading]
    times = _earlier(problem, panel, quick)
    fit = _fit(problem, panel, estimate)
    left = [float(str(row["estimate"])) / value for row in donors if row.get("estimate") is not None and value]
    reached = [abs(float(str(row["estimate"])) / value) for row in times if row.get("estimate") is not None and value]
    held = {
        "donors": bool(left) and min(left) >= KEPT,
        "times": not reached or max(reached) < KEPT,
        "fit": fit is None or fit <= CALIPER,
    }
    return SensitivityResult(
        method="donors",
        value=min(left, default=None),
        interpretation=_sentence(donors, left, reached, fit, held),
        passed=all(held.values()),
        details={"donors": donors, "times": times, "fit": fit, "held": held, "estimate": value},
    )


def _panel(problem: Problem) -> Panel:
    roles = problem.roles
    return layout(unit=roles.get("unit"), time=roles.get("time"), treatment=problem.treatment, first_treated=roles.get("first_treated"))  # fmt: skip


def _weights(estimate: Estimate) -> dict[str, float]:
    cohorts = list(estimate.details.get("cohorts") or [])
    found = estimate.details.get("donor_weights") or (cohorts[0]["unit_weights"] if len(cohorts) == 1 else {})
    return {str(name): float(value) for name, value in found.items() if value > 0}


def _tried(build: Callable[[], Problem], quick: Callable[[Problem], Estimate]) -> dict[str, Any]:
    try:
        return {"estimate": quick(build()).estimate}
    except CausalError as exc:
        return {"estimate": None, "missing": exc.message}


def _without(problem: Problem, panel: Panel, name: str, quick: Callable[[Problem], Estimate]) -> dict[str, Any]:
    place = panel.labels.index(name) if name in panel.labels else -1
    return _tried(lambda: problem.take(panel.unit != place), quick)


def _earlier(problem: Problem, panel: Panel, quick: Callable[[Problem], Estimate]) -> list[dict[str, Any]]:
    """Use the periods before treatment alone, and start it at their third quarter, middle and third."""
    start = panel.cohorts[0]
    if start < FEWEST_BEFORE:
        return []
    found = []
    before = panel.time < start
    ever = np.isfinite(panel.first[panel.unit])
    for place in sorted({max(2, round(start * share)) for share in (0.4, 0.55, 0.7)})[:PLACEBO_TIMES]:

        def moved(place: int = place) -> Problem:
            fake: NDArray[np.float64] = (ever & (panel.time >= place)).astype(np.float64)
            cut = problem.change(treatment=fake, roles={k: v for k, v in problem.roles.items() if k != "first_treated"})
            return cut.take(before)

        found.append({"time": float(panel.periods[place]), **_tried(moved, quick)})
    return found


def _fit(problem: Problem, panel: Panel, estimate: Estimate) -> float | None:
    """Return the root mean squared gap before treatment in standard deviations of the donors' outcomes."""
    start, gaps = panel.cohorts[0], estimate.diagnostics.get("rmspe before")
    cohorts = list(estimate.details.get("cohorts") or [])
    if gaps is not None and gaps["value"] is not None:
        miss = float(gaps["value"])
    elif len(cohorts) == 1 and cohorts[0].get("gap"):
        miss = float(np.std(cohorts[0]["gap"][:start]))  # a constant gap is taken out by the method
    else:
        return None
    donors = (panel.time < start) & ~np.isfinite(panel.first[panel.unit])
    spread = float(np.std(problem.outcome[donors], ddof=1))
    return miss / spread if spread > 0 else None


def _sentence(
    donors: list[dict[str, Any]], left: list[float], reached: list[float], fit: float | None, held: Mapping[str, bool]
) -> str:
    said = []
    if left:
        worst = donors[int(np.argmin(left))]["donor"]
        said.append(f"without {shown(str(worst))!r} {min(left):.0%} of the effect are left, the least of all donors")
    if reached:
        said.append(f"a start before the true one shows up to {max(reached):.0%} of the effect")
    if fit is not None:
        said.append(f"the gap before treatment is {fit:.2f} SD of the donors")
    failed = [name for name, holds in held.items() if not holds]
    ending = f"; this does not hold up: {', '.join(failed)}" if failed else ""
    return (", ".join(said)[:1].upper() + ", ".join(said)[1:]) + ending + "."

"""Add a made-up common cause to the data, stronger and stronger, until the headline's method finds nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from causal_orchestrator.errors import NotApplicable
from causal_orchestrator.numerics.inference import bracket
from causal_orchestrator.numerics.linear import least_squares
from causal_orchestrator.results import SensitivityResult, finite

if TYPE_CHECKING:
    from causal_orchestrator.problem import Estimate, Problem

Floats = NDArray[np.float64]

STRONGEST = 0.9  # a cause that explains more of the treatment leaves nothing to compare


def analyse(
    problem: Problem, estimate: Estimate, *, refit: Callable[[Problem], Estimate], seed: int, steps: int = 10
) -> SensitivityResult:
    """Find the strength at which a simulated unobserved common cause brings the headline to zero, by refitting.

    The cause is built to explain the same share of the variation of treatment and of outcome that the covariates
    (for the outcome: and the treatment) leave, and to work against the estimate; otherwise it is noise. The tipping
    share is found by bisection on refits, so it is the headline method's own; for least squares it is the robustness
    value. No gate.

    Returns
    -------
    SensitivityResult
        `value` is the tipping share (None if even 0.9 leaves the sign). ``details["curve"]``: share, estimate.

    Raises
    ------
    NotApplicable
        If the method does not use covariates, or they leave nothing to explain.

    References
    ----------
    Cinelli and Hazlett (2020), https://doi.org/10.1111/rssb.12348 (the measure of strength).
    """
    parts = _parts(problem, estimate, seed)
    curve = [(0.0, estimate.estimate)]

    def moved(share: float) -> float:
        found = refit(_with_cause(problem, _cause(parts, share))).estimate
        curve.append((share, found))
        return found

    tipping = _bisect(moved, estimate.estimate, steps)
    if len({value for _, value in curve}) == 1:
        raise NotApplicable(f"{estimate.method} does not use covariates, so a further one cannot move it")
    return SensitivityResult(
        method="unobserved_common_cause",
        value=finite(tipping),
        interpretation=(
            f"A simulated unobserved cause that explains {tipping:.1%} of the remaining variation of both treatment "
            "and outcome brings the estimate to zero."
            if tipping is not None
            else f"Even a simulated cause that explains {STRONGEST:.0%} of both leaves the estimate's sign."
        ),
        passed=None,
        details={"curve": [list(point) for point in sorted(curve)], "tipping": finite(tipping)},
    )


def _bisect(moved: Callable[[float], float], estimate: float, steps: int) -> float | None:
    if moved(STRONGEST) * estimate > 0:
        return None
    return sum(bracket(lambda strength: not moved(strength) * estimate > 0, 0.0, STRONGEST, steps=steps)) / 2


def _parts(problem: Problem, estimate: Estimate, seed: int) -> tuple[Floats, Floats, Floats]:
    """Return three unit vectors, orthogonal to the covariates and each other: treatment, outcome, noise."""
    base = np.column_stack([np.ones(problem.n), problem.covariates])
    noise = np.random.default_rng(seed).standard_normal(problem.n)
    treatment = least_squares(base, problem.treatment).residuals
    outcome = least_squares(np.column_stack([base, problem.treatment]), problem.outcome).residuals
    rest = least_squares(np.column_stack([base, problem.treatment, outcome]), noise).residuals
    lengths = [float(np.linalg.norm(part)) for part in (treatment, outcome, rest)]
    if min(lengths) <= 1e-9 * np.sqrt(problem.n):
        raise NotApplicable("the covariates leave nothing of treatment or outcome to explain")
    sign = 1.0 if estimate.estimate >= 0 else -1.0
    return treatment / lengths[0], sign * outcome / lengths[1], rest / lengths[2]


def _cause(parts: tuple[Floats, Floats, Floats], share: float) -> Floats:
    """Return the cause Z with partial R² `share` with treatment, and with outcome given treatment (its sign included).

    With Z = a·treatment + b·outcome + c·noise over unit vectors, R²(Z, D | X) = a² and R²(Z, Y | D, X) = b² / (b² + c²).
    """
    treatment, outcome, noise = parts
    a = np.sqrt(share)
    b = np.sqrt(share * (1 - share))
    c = np.sqrt((1 - share) ** 2)
    cause: Floats = (a * treatment + b * outcome + c * noise) * np.sqrt(len(noise))
    return cause


def _with_cause(problem: Problem, cause: Floats) -> Problem:
    return problem.change(
        covariates=np.column_stack([problem.covariates, cause]),
        covariate_names=(*problem.covariate_names, "unobserved common cause"),
        covariate_sources=(*problem.covariate_sources, "unobserved common cause"),
    )

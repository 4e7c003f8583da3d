"""Give the treatment to others at random: the method must then find nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from causal_orchestrator.results import SensitivityResult
from causal_orchestrator.sensitivity.draws import LEVEL, Draws, over, permuted, summary

if TYPE_CHECKING:
    from causal_orchestrator.problem import Estimate, Problem

Floats = NDArray[np.float64]
ClosedForm = Callable[["Problem", Floats], Draws]

MAX_CELLS = 4_000_000  # of one working array: 32 MB
CLOSED_FORM_RTOL = 1e-9  # the same least squares, summed in another order


def analyse(
    problem: Problem,
    estimate: Estimate,
    *,
    refit: Callable[[Problem], Estimate],
    seed: int,
    draws: int = 100,
    closed_forms: bool = True,
) -> SensitivityResult:
    """Permute the treatment `draws` times, refit the headline's method, and compare.

    Passes unless zero lies far outside the distribution of the placebo effects, or the method's own interval excludes
    zero in more placebo draws than chance explains (binomial test); the two tests share one error rate.
    The permutation p-value of the estimate itself, (1 + #{|placebo| >= |estimate|}) / (1 + draws), is reported and is
    no gate: an effect of zero is an answer too.

    Where a closed form reproduces the method on the data and on two draws, it serves the other draws.

    Returns
    -------
    SensitivityResult
        `value` is the permutation p-value. ``details``: the distribution (`summary`), `false_positive_rate`,
        `gate_p_value`, `closed_form` (None where every draw was refitted).

    References
    ----------
    Phipson and Smyth (2010), https://doi.org/10.2202/1544-6115.1585 (the added ones); Fisher (1935).
    """
    name, found = _drawn(problem, refit, seed=seed, draws=draws, closed_forms=closed_forms)
    p = (1 + int((np.abs(found.estimates) >= abs(estimate.estimate) * (1 - 1e-12)).sum())) / (1 + len(found.estimates))
    p_centre = _centre(found.estimates)
    rate, p_size = _false_positives(found, estimate)
    gate_p = min(1.0, 2 * min(p_centre, p_size))
    passed = gate_p >= LEVEL
    return SensitivityResult(
        method="placebo_treatment",
        value=p,
        interpretation=_sentence(len(found.estimates), found, rate, p, passed),
        passed=passed,
        details={
            **summary(found.estimates),
            "estimate": estimate.estimate,
            "p_value": p,
            "p_centre": p_centre,
            "p_size": p_size,
            "gate_p_value": gate_p,
            "false_positive_rate": rate,
            "failed": found.failed,
            "closed_form": name,
        },
    )


def _drawn(
    problem: Problem, refit: Callable[[Problem], Estimate], *, seed: int, draws: int, closed_forms: bool
) -> tuple[str | None, Draws]:
    """Estimate on every permuted treatment, by the first closed form that gives the method's own numbers or by refits."""
    name = _closed_form(problem, refit, seed) if closed_forms else None
    treatments = _assignments(problem, seed, draws)
    if name is None:
        return None, over((problem.change(treatment=t) for t in treatments), refit)
    # As many draws at a time as keep the working arrays small.
    size = max(1, MAX_CELLS // problem.n)
    chunks = [CLOSED_FORMS[name](problem, np.stack(some)) for some in _in_chunks(treatments, size)]
    return name, Draws(np.concatenate([c.estimates for c in chunks]), np.concatenate([c.std_errors for c in chunks]))


def _assignments(problem: Problem, seed: int, draws: int) -> Iterator[Floats]:
    rng = np.random.default_rng(seed)
    return (permuted(problem, rng) for _ in range(draws))


def _in_chunks(treatments: Iterator[Floats], size: int) -> Iterator[list[Floats]]:
    while some := list(islice(treatments, size)):
        yield some


def _closed_form(problem: Problem, refit: Callable[[Problem], Estimate], seed: int) -> str | None:
    """Return the closed form that gives the method's own numbers on the data and on two draws, or None."""
    if problem.treatment_kind == "multivalued" or problem.cluster is not None or problem.weights is not None:
        return None
    probes = np.stack([problem.treatment, *_assignments(problem, seed, 2)])
    wanted = over((problem.change(treatment=t) for t in probes), refit)
    return next((name for name, form in CLOSED_FORMS.items() if _same(form(problem, probes), wanted)), None)


def _same(found: Draws, wanted: Draws) -> bool:
    pairs = ((found.estimates, wanted.estimates), (found.std_errors, wanted.std_errors))
    scale = float(np.abs(wanted.std_errors).max()) if len(wanted.std_errors) else 0.0
    return wanted.failed == 0 and all(
        np.allclose(a, b, rtol=CLOSED_FORM_RTOL, atol=CLOSED_FORM_RTOL * scale) for a, b in pairs
    )


def _welch(problem: Problem, treatments: Floats) -> Draws:
    """Difference in means with Neyman's variance, for 0/1 treatments (B, n)."""
    if problem.treatment_kind != "binary":
        return Draws(np.full(len(treatments), np.nan), np.full(len(treatments), np.nan))
    y = problem.outcome - problem.outcome.mean()
    n1 = treatments.sum(axis=1)
    n0 = problem.n - n1
    sum1, squares1 = treatments @ y, treatments @ y**2
    sum0, squares0 = y.sum() - sum1, (y**2).sum() - squares1
    variance1 = (squares1 - sum1**2 / n1) / (n1 - 1)
    variance0 = (squares0 - sum0**2 / n0) / (n0 - 1)
    return Draws(sum1 / n1 - sum0 / n0, np.sqrt(variance1 / n1 + variance0 / n0))


def _partialled_out(problem: Problem, treatments: Floats, *, covariance: str, adjusted: bool) -> Draws:
    """Additive least squares by Frisch, Waugh and Lovell, for treatments (B, n)."""
    n = problem.n
    design = np.column_stack([np.ones(n), problem.covariates]) if adjusted else np.ones((n, 1))
    basis, rank = _basis(design)
    y = problem.outcome - basis @ (basis.T @ problem.outcome)
    d = treatments - (treatments @ basis) @ basis.T  # (B, n)
    size = (d**2).sum(axis=1)
    effects = d @ y / size
    residuals = y - effects[:, None] * d
    k = rank + 1
    if covariance == "classical":
        variance = (residuals**2).sum(axis=1) / (n - k) / size
    else:
        squared = residuals**2
        if covariance in ("hc2", "hc3"):
            leverage = (basis**2).sum(axis=1) + d**2 / size[:, None]
            squared = squared / np.clip(1 - leverage, 1e-10, None) ** (1 if covariance == "hc2" else 2)
        factor = n / (n - k) if covariance == "hc1" else 1.0
        variance = factor * (d**2 * squared).sum(axis=1) / size**2
    return Draws(effects, np.sqrt(variance))


def _basis(design: Floats) -> tuple[Floats, int]:
    """Return an orthonormal basis of the columns and their rank."""
    scale = np.linalg.norm(design, axis=0)
    left, singular, _ = np.linalg.svd(design / np.where(scale > 0, scale, 1.0), full_matrices=False)
    rank = int((singular > 1e-7 * singular[0]).sum())
    return left[:, :rank], rank


CLOSED_FORMS: dict[str, ClosedForm] = {
    "welch": _welch,
    **{
        f"{'ols' if adjusted else 'means'}_{kind}": partial(_partialled_out, covariance=kind, adjusted=adjusted)
        for adjusted in (True, False)
        for kind in ("hc1", "hc3", "hc2", "hc0", "classical")
    },
}


def _centre(values: Floats) -> float:
    """Return the two-sided p-value of zero as a further draw of the (roughly normal) distribution."""
    size = len(values)
    spread = float(values.std(ddof=1)) * math.sqrt(1 + 1 / size)
    return float(2 * stats.t.sf(abs(float(values.mean())) / spread, size - 1)) if spread > 0 else 1.0


def _false_positives(found: Draws, estimate: Estimate) -> tuple[float | None, float]:
    """Return how often the method's interval excludes zero under the placebo, and the p-value of so many."""
    if estimate.std_error is None or estimate.ci_upper is None or not np.all(found.std_errors > 0):
        return None, 1.0
    critical = (estimate.ci_upper - estimate.estimate) / estimate.std_error
    count = int((np.abs(found.estimates) > critical * found.std_errors).sum())
    size = len(found.estimates)
    return count / size, float(stats.binom.sf(count - 1, size, 1 - estimate.confidence_level))


def _sentence(draws: int, found: Draws, rate: float | None, p: float, passed: bool) -> str:
    text = (
        f"With the treatment given at random to others ({draws} draws) the method finds {found.estimates.mean():.4g} on "
        f"average (SD {found.estimates.std(ddof=1):.4g})"
    )
    if rate is not None:
        text += f" and claims an effect in {rate:.0%} of the draws"
    verdict = "as it should" if passed else "which it should not"
    return f"{text}, {verdict}. So large an estimate arises by chance with p = {p:.3g}."

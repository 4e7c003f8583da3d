"""Compare changes: treated against untreated, after against before."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from causal_orchestrator.errors import InputError, NotApplicable
from causal_orchestrator.numerics.linear import CR2, Errors, bias_reduced, few_degrees, least_squares
from causal_orchestrator.numerics.panel import Panel, TwoWay, layout, nested, two_way, within
from causal_orchestrator.problem import Estimate, Problem, conclude

Floats = NDArray[np.float64]

_SOURCE = {"cluster": "CR1 clustered, t", "cr2": CR2, "hc1": "HC1, t", "classical": "classical, t"}

MOST_INDICATORS = 1_000  # of units, as columns of a regression


def estimate(problem: Problem, *, se: Literal["cluster", "cr2", "hc1", "classical"] | None = None) -> Estimate:
    """Estimate the effect on the treated by two-way fixed effects; with two groups and two times, 2×2 differences.

    Assumes parallel trends and no anticipation; where units start at different times also that the effect is the same
    for all cohorts and durations. Then a note says how much of the estimate rests on comparisons with units treated
    earlier (Goodman-Bacon). Without a unit, the treatment names the group and time has two values. Covariates enter
    additively.

    Parameters
    ----------
    se : ``cluster`` (default: the declared cluster, else the unit), ``cr2`` (the same, bias-reduced, with Satterthwaite's
        degrees of freedom, for few clusters), ``hc1`` (default for repeated cross-sections, whose
        rows are independent) or ``classical``.

    Returns
    -------
    Estimate
        The ATT in units of the outcome. `details["goodman_bacon"]` holds the 2×2 comparisons of a balanced panel.

    Raises
    ------
    NotApplicable, DesignError
        As `numerics.panel.layout`; also if there are three times or more and no unit (``NEEDS_UNIT``).

    References
    ----------
    Card & Krueger (1994); Goodman-Bacon (2021), https://doi.org/10.1016/j.jeconom.2021.03.014;
    de Chaisemartin & D'Haultfœuille (2020), https://doi.org/10.1257/aer.20181169.
    """
    panel = _panel(problem)
    kind = se or _default_se(problem, panel)
    cluster = problem.cluster if problem.question.cluster or "unit" in problem.roles else None
    if kind in ("cluster", "cr2") and cluster is None:
        raise InputError(f"se={kind!r} needs a cluster or a unit", code="OPTION_INVALID", details={"option": "se"})
    treated = panel.treated.astype(np.float64)[:, None]
    fit = two_way(problem.outcome, treated, problem.covariates, unit=panel.unit, time=panel.time, weights=problem.weights, cluster=cluster, se="cluster" if kind == "cr2" else kind)  # fmt: skip
    if not fit.identified[0]:
        raise NotApplicable("unit, time and covariates explain the treatment entirely", code="NOT_IDENTIFIED")
    errors = Errors(fit.covariance, np.array([fit.df]))
    if kind == "cr2" and cluster is not None:
        errors = _reduced(problem, panel, fit, cluster)
    negative = _negative_share(problem, panel)
    parts = _goodman_bacon(panel, problem) if len(panel.cohorts) > 1 else []
    found = conclude(
        problem,
        method="did",
        estimand="ATT",
        estimates=fit.coefficients,
        covariance=errors.covariance,
        df=errors.df.tolist(),
        inference=_SOURCE[kind],
        diagnostics=_diagnostics(parts, negative),
        details={"goodman_bacon": parts, "n_units": panel.n_units, "n_periods": panel.n_periods},
        notes=(*_notes(panel, problem, kind), *few_degrees(errors.df if kind == "cr2" else None)),
    )
    return replace(found, n_treated=int(panel.treated.sum()))


def _reduced(problem: Problem, panel: Panel, fit: TwoWay, cluster: NDArray[np.int64]) -> Errors:
    """Return CR2 of the treatment: from the demeaned regression where that is exact, else from one with all indicators."""
    last = np.array([fit.fit.design.shape[1] - 1])
    if nested(panel.unit, cluster) and problem.weights is None:
        return bias_reduced(fit.fit, cluster, last)
    if panel.n_units > MOST_INDICATORS:
        raise InputError(f"se='cr2' with weights, or with units in several clusters, is for at most {MOST_INDICATORS} units", code="OPTION_INVALID", details={"option": "se"})  # fmt: skip
    units = (panel.unit[:, None] == np.arange(panel.n_units)).astype(np.float64)
    periods = (panel.time[:, None] == np.arange(1, panel.n_periods)).astype(np.float64)
    whole = np.column_stack([units, periods, problem.covariates, panel.treated])
    return bias_reduced(least_squares(whole, problem.outcome, problem.weights), cluster, np.array([whole.shape[1] - 1]))


def _panel(problem: Problem) -> Panel:
    roles = problem.roles
    if "unit" not in roles and "time" in roles and len(np.unique(roles["time"].astype(str))) > 2:
        raise NotApplicable("with more than two times the units must be known", code="NEEDS_UNIT")
    return layout(
        unit=roles.get("unit"),
        time=roles.get("time"),
        treatment=problem.treatment,
        first_treated=roles.get("first_treated"),
        absorbing=False,
    )


def _default_se(problem: Problem, panel: Panel) -> Literal["cluster", "hc1"]:
    if problem.question.cluster is not None:
        return "cluster"
    return "hc1" if panel.repeated or "unit" not in problem.roles else "cluster"


def _notes(panel: Panel, problem: Problem, kind: str) -> tuple[str, ...]:
    said = []
    if len(panel.cohorts) > 1 or np.any(panel.first == 0):
        text = "treatment starts at different times: two-way fixed effects also compare with units treated earlier, which misleads where effects grow or differ (Goodman-Bacon); see callaway_santanna or did_imputation"
        said.append(text)
    if np.any(~panel.treated & (panel.time >= panel.first[panel.unit])):
        said.append("treatment ends in some units: the estimate assumes that its effect ends with it")
    ones = [problem.roles.get("unit") is not None, int(np.isfinite(panel.first).sum()) == 1]
    if kind in ("cluster", "cr2") and all(ones):
        said.append("one unit is treated: clustered errors cannot know its own shocks; see synthetic_control or sdid")
    return tuple(said)


def _negative_share(problem: Problem, panel: Panel) -> float:
    """Share of treated rows whose effect enters the estimate with a negative weight."""
    periods = (panel.time[:, None] == np.arange(1, panel.n_periods)).astype(np.float64)
    both = within(np.column_stack([panel.treated, periods, problem.covariates]), panel.unit, problem.weights)
    root = np.ones(problem.n) if problem.weights is None else np.sqrt(problem.weights)
    slopes = np.linalg.lstsq(both[:, 1:] * root[:, None], both[:, 0] * root, rcond=None)[0]
    residual = both[:, 0] - both[:, 1:] @ slopes
    return float((residual[panel.treated] < -1e-9).mean())


def _diagnostics(parts: list[dict[str, Any]], negative: float) -> dict[str, dict[str, Any]]:
    told: dict[str, dict[str, Any]] = {
        "negative weights": {"value": negative, "detail": "share of treated rows whose effect is subtracted"}
    }
    if parts:
        forbidden = sum(part["weight"] for part in parts if part["control"] == "earlier treated")
        told["weight on earlier treated"] = {"value": forbidden, "detail": "share of the estimate from comparisons with units treated before"}  # fmt: skip
    return told


def _goodman_bacon(panel: Panel, problem: Problem) -> list[dict[str, Any]]:
    """Split the estimate into 2×2 comparisons (theorem 1); empty where the panel or the weights do not allow it."""
    absorbing = bool(np.all(panel.treated == (panel.time >= panel.first[panel.unit])))
    if not panel.balanced or not absorbing or problem.covariates.shape[1] or problem.weights is not None:
        return []
    outcome = panel.wide(problem.outcome)
    starts = [0] * bool(np.any(panel.first == 0)) + [g for g in panel.cohorts if g > 0]
    groups = [*starts, *([np.inf] if np.any(np.isinf(panel.first)) else [])]
    means = {g: outcome[panel.first == g].mean(axis=0) for g in groups}
    share = {g: float((panel.first == g).mean()) for g in groups}
    parts = []
    for g in (g for g in groups if 0 < g < np.inf):
        for c in (c for c in groups if c != g):
            parts.append(_comparison(int(g), c, means, share, panel))
    total = sum(part["weight"] for part in parts)
    return [{**part, "weight": part["weight"] / total} for part in parts]


def _comparison(g: int, c: float, means: dict[Any, Floats], share: dict[Any, float], panel: Panel) -> dict[str, Any]:
    """Return one 2×2: cohort g, switching at g, against c, in the window where c does not switch."""
    t = np.arange(panel.n_periods)
    window = t < c if c > g else t >= c
    after, before = window & (t >= g), window & (t < g)
    gap = means[g] - means[c]
    on, off = after.sum(), before.sum()
    # Variance of treatment in the pair and window, times the pair's and the window's squared share (equation 10).
    weight = share[g] * share[c] * on * off / panel.n_periods**2
    control = "never treated" if np.isinf(c) else "later treated" if c > g else "always treated" if c == 0 else "earlier treated"  # fmt: skip
    return {
        "cohort": float(panel.periods[g]),
        "against": None if np.isinf(c) else float(panel.periods[int(c)]),
        "control": control,
        "estimate": float(gap[after].mean() - gap[before].mean()),
        "weight": float(weight),
    }

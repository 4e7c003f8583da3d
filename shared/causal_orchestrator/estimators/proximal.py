"""Proximal causal inference: proxies of a hidden confounder instead of the confounder."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from causal_orchestrator.errors import DesignError, NotApplicable
from causal_orchestrator.numerics.iv import instrument_numbers
from causal_orchestrator.numerics.proximal import Solved, identified, moments_of, solve, strength
from causal_orchestrator.problem import Estimate, Problem, conclude

Floats = NDArray[np.float64]

WEAK = 10.0  # first-stage F below which proxies tell too little of each other (Staiger & Stock 1997)


def estimate(problem: Problem, *, bridge: Literal["linear", "gmm"] = "linear") -> Estimate:
    """Estimate the average effect under a hidden confounder of which there are proxies.

    Assumes that treatment proxies move the outcome only with the confounder and the treatment, that the treatment does
    not move outcome proxies, that both kinds tell of every side of the confounder, and that the bridge has its form.
    Rows without a proxy are left out.

    Parameters
    ----------
    bridge : ``linear`` is linear in outcome proxies, treatment and covariates (two-stage least squares, one effect for
        all); ``gmm`` lets the effect differ with proxies and covariates and bends with the proxies (two-step GMM).

    Returns
    -------
    Estimate
        The ``ATE``, in units of the outcome per unit of treatment.

    Raises
    ------
    NotApplicable
        Without treatment or outcome proxies (``NEEDS_PROXIES``).
    DesignError
        If a proxy is constant, or there are fewer treatment than outcome proxies (``NOT_IDENTIFIED``).

    References
    ----------
    Miao, Geng & Tchetgen Tchetgen (2018), https://doi.org/10.1093/biomet/asy038; Tchetgen Tchetgen, Ying, Cui, Shi &
    Miao (2024), https://doi.org/10.1214/23-STS911, section 4 for the linear bridge.
    """
    return _estimate(problem, rich=bridge == "gmm")


def _estimate(problem: Problem, *, rich: bool) -> Estimate:
    whole = problem.take(_complete(problem))
    z = instrument_numbers(whole.roles["treatment_proxies"], whole.question.treatment_proxies)
    w = instrument_numbers(whole.roles["outcome_proxies"], whole.question.outcome_proxies)
    moments = moments_of(whole.treatment, whole.covariates, w, z, rich=rich)
    if not identified(moments):
        raise DesignError(f"{z.shape[1]} treatment proxies cannot tell {w.shape[1]} outcome proxies apart; at least as many are needed, none a copy of another column", code="NOT_IDENTIFIED")  # fmt: skip
    if whole.n <= 2 * moments.instruments.shape[1]:
        raise DesignError(f"{whole.n} rows are too few for {moments.instruments.shape[1]} moments", code="TOO_FEW_ROWS")
    found = solve(whole.outcome, moments, weights=whole.weights, cluster=whole.cluster, efficient=rich)
    f = strength(whole.treatment, whole.covariates, w, z, whole.weights)
    return conclude(
        whole,
        method="proximal",
        estimand="ATE",
        estimates=[found.effect],
        covariance=np.array([[found.variance]]),
        inference="GMM sandwich" + (", HC1" if whole.cluster is None else ", CR1 clustered"),
        diagnostics=_diagnostics(found, f),
        details={
            "bridge": "gmm" if rich else "linear",
            "n_treatment_proxies": z.shape[1],
            "n_outcome_proxies": w.shape[1],
        },
        notes=_notes(f, problem.n - whole.n),
        influence=found.influence,
    )


def _complete(problem: Problem) -> NDArray[np.bool_]:
    """Return which rows have every proxy."""
    found = np.ones(problem.n, dtype=bool)
    for role in ("treatment_proxies", "outcome_proxies"):
        values = problem.roles.get(role)
        if values is None:
            raise NotApplicable("proximal needs a proxy of the treatment and one of the outcome", code="NEEDS_PROXIES")
        if values.dtype == object:
            found &= np.array([all(value is not None and value == value for value in row) for row in values])
        else:
            found &= np.isfinite(values).all(axis=1)
    return found


def _diagnostics(found: Solved, f: float) -> dict[str, dict[str, Any]]:
    told: dict[str, dict[str, Any]] = {
        "proxy_strength": {"value": f, "threshold": WEAK, "passed": f >= WEAK, "detail": "first-stage F (Cragg–Donald) of treatment proxies for outcome proxies"}
    }  # fmt: skip
    if found.df:
        p = found.j_p_value
        told["hansen_j"] = {"value": found.j, "p_value": p, "df": float(found.df), "threshold": 0.05, "passed": p is not None and p >= 0.05, "detail": "the moments agree with each other"}  # fmt: skip
    return told


def _notes(f: float, lost: int) -> tuple[str, ...]:
    notes = [f"{lost} rows without a proxy are left out"] if lost else []
    if f < WEAK:
        notes.append(f"the proxies are weak (F = {f:.1f}): the estimate leans towards the confounded one and its interval is too short")  # fmt: skip
    return tuple(notes)

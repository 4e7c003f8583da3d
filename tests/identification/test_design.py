"""Which design the evidence speaks for."""

from __future__ import annotations

from statistics import NormalDist
from typing import Any

import numpy as np
import pytest

from causal_orchestrator.identification.design import cases, refutes_randomisation
from causal_orchestrator.question import Question
from causal_orchestrator.results import Balance


def _open(structure: str = "cross_section", extra: dict[str, Any] | None = None, **roles: Any) -> list[str]:
    question = Question(treatment="t", outcome="y", **roles)
    found = cases(question, structure=structure, instruments=question.instruments, **(extra or {}))  # type: ignore[arg-type]
    return [case.design for case in found.open]


@pytest.mark.parametrize(
    ("roles", "structure", "first"),
    [
        ({"randomized": True}, "cross_section", "randomized"),
        ({"running_variable": "x", "cutoff": 0.0}, "cross_section", "discontinuity"),
        ({"running_variable": "x"}, "cross_section", "unconfoundedness"),
        ({"instruments": ["z"]}, "cross_section", "instrument"),
        ({"unit": "u", "time": "s", "first_treated": "g"}, "panel", "panel"),
        ({"unit": "u", "time": "s", "first_treated": "g"}, "cross_section", "unconfoundedness"),
        ({}, "cross_section", "unconfoundedness"),
    ],
)
def test_the_most_credible_design_with_evidence_comes_first(roles: dict[str, Any], structure: str, first: str) -> None:
    assert _open(structure, **roles)[0] == first


def test_all_designs_with_evidence_stay_open_in_the_order_of_credibility() -> None:
    order = _open("panel", randomized=True, running_variable="x", cutoff=1.0, unit="u", time="s", first_treated="g")
    assert order == ["randomized", "discontinuity", "panel", "unconfoundedness"]


def test_randomisation_beside_a_named_instrument_is_that_of_the_instrument() -> None:
    assert _open(randomized=True, instruments=["z"])[0] == "instrument"
    assert _open(randomized=True, instruments=["z"], extra={"proposed": ("instruments",)})[0] == "randomized"


def test_refuted_randomisation_is_no_experiment() -> None:
    assert "randomized" not in _open(randomized=True, extra={"refuted": ("age",)})


def test_a_panel_without_a_change_of_treatment_is_no_panel_design() -> None:
    assert "panel" not in _open("panel", unit="u", time="s", extra={"n_switching_units": 0})
    assert "panel" in _open("panel", unit="u", time="s", extra={"n_switching_units": 3})


def test_two_times_with_a_mark_of_the_change_are_a_panel_design() -> None:
    for time, periods, is_panel in (("post_policy", 2, True), ("year", 2, False), ("post_policy", 5, False)):
        found = _open("panel", unit="u", time=time, extra={"n_periods": periods, "n_switching_units": 0})
        assert ("panel" in found) == is_panel


def test_every_design_looked_at_has_its_reason() -> None:
    found = cases(Question(treatment="t", outcome="y"), structure="cross_section")
    named = {
        "transport",
        "network",
        "proximal",
        "mediation",
        "randomized",
        "discontinuity",
        "instrument",
        "panel",
        "interrupted_time_series",
        "frontdoor",
        "unconfoundedness",
    }
    assert set(found.considered) == named
    assert all(found.considered.values())


def _imbalance(rng: np.random.Generator, n1: int, n0: int, p: int, shift: float = 0.0) -> list[Balance]:
    treated, control = rng.normal(size=(n1, p)), rng.normal(size=(n0, p))
    treated[:, 0] += shift
    pooled = np.sqrt((treated.var(axis=0, ddof=1) + control.var(axis=0, ddof=1)) / 2)
    smd = (treated.mean(axis=0) - control.mean(axis=0)) / pooled
    return [Balance(covariate=f"x{k}", smd=float(smd[k])) for k in range(p)]


def test_balance_by_chance_does_not_refute_randomisation() -> None:
    # At a familywise level of 1e-4, two refutations in 400 draws have a probability below 1e-3.
    rng = np.random.default_rng(1)
    refuted = sum(bool(refutes_randomisation(_imbalance(rng, 60, 200, 20), 60, 200)) for _ in range(400))
    assert refuted <= 1


def test_a_gross_imbalance_refutes_randomisation_and_is_named() -> None:
    rng = np.random.default_rng(2)
    assert refutes_randomisation(_imbalance(rng, 185, 2490, 8, shift=1.0), 185, 2490) == ("x0",)


def test_the_level_is_shared_among_the_covariates() -> None:
    z = NormalDist().inv_cdf(1 - 2e-5 / 2)  # p = 2e-5: below 1e-4 alone, above it times twenty
    spread = (1 / 100 + 1 / 100) ** 0.5
    alone = [Balance(covariate="a", smd=z * spread)]
    among = [*alone, *(Balance(covariate=f"x{k}", smd=0.0) for k in range(19))]
    assert refutes_randomisation(alone, 100, 100) == ("a",)
    assert refutes_randomisation(among, 100, 100) == ()

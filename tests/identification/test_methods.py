"""Ranking the methods of the table."""

from __future__ import annotations

from dataclasses import replace

import pytest

from causal_orchestrator import estimators
from causal_orchestrator.estimators import Situation, Spec
from causal_orchestrator.identification import methods

HERE = Situation(
    design="unconfoundedness",
    n=1_000,
    n_covariates=5,
    treatment_kind="binary",
    outcome_kind="continuous",
    per_arm=(500, 500),
    roles=frozenset({"treatment", "outcome", "covariates"}),
    estimand="ATT",
)
BOTH = ("randomized", "unconfoundedness")


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> dict[str, Spec]:
    specs = {
        "good": Spec("good", ("ATE", "ATT"), BOTH, needs=("covariates",), credibility=0.8, options=("estimand",)),
        "cheap": Spec("cheap", ("ATT",), BOTH, credibility=0.8, cost=lambda n, p: 0.5),
        "other": Spec("other", ("ATO",), BOTH, credibility=0.9),
        "heavy": Spec("heavy", ("ATT",), BOTH, credibility=1.0, cost=lambda n, p: 1e5),
        "iv": Spec("iv", ("LATE",), ("instrument",), needs=("instruments",)),
        "doubted": Spec("doubted", ("ATT",), BOTH, credibility=0.9, evidence=lambda s: ((-0.5, "a reason"),)),
        "alone": Spec("alone", ("ATT",), BOTH, clusters=False, credibility=0.1),
        "lin": Spec("lin", ("ATE",), BOTH, options=("adjustment", "estimand"), credibility=0.05),
    }
    monkeypatch.setattr(estimators, "ESTIMATORS", specs)
    return specs


@pytest.mark.usefixtures("table")
def test_evidence_and_credibility_order_the_admissible_methods_and_ties_go_to_the_cheaper() -> None:
    ranked = methods.rank(HERE)
    assert [a.method for a in ranked if a.admissible] == ["other", "cheap", "good", "doubted", "alone", "lin"]
    assert {a.method for a in ranked} == set(estimators.ESTIMATORS)


@pytest.mark.usefixtures("table")
def test_what_is_missing_is_said() -> None:
    judged = {a.method: a for a in methods.rank(HERE)}
    assert judged["iv"].missing == "needs instruments"
    assert "full" in (judged["heavy"].missing or "")
    assert "a reason" in judged["doubted"].reasons
    assert any("ATO" in reason and "ATT" in reason for reason in judged["other"].reasons)


@pytest.mark.usefixtures("table")
def test_heavy_methods_come_with_the_full_profile() -> None:
    assert methods.rank(HERE, full=True)[0].method == "heavy"


@pytest.mark.usefixtures("table")
def test_clusters_shut_out_methods_that_ignore_them() -> None:
    judged = {a.method: a for a in methods.rank(replace(HERE, clustered=True))}
    assert judged["alone"].missing == "cannot account for clusters"


@pytest.mark.usefixtures("table")
def test_options_make_a_method_estimate_the_plans_estimand_and_nothing_else() -> None:
    ate = replace(HERE, estimand="ATE")
    assert methods.options("good", HERE) == {"estimand": "ATT"}
    assert methods.options("cheap", HERE) == {}
    assert methods.options("other", HERE) == {}
    assert methods.options("lin", ate) == {"adjustment": "lin"}
    assert methods.options("lin", replace(ate, n_covariates=0)) == {}


def test_every_option_of_a_plan_is_one_that_the_method_takes() -> None:
    for design in BOTH:
        for estimand in ("ATE", "ATT", "ATO", "PLR"):
            situation = replace(HERE, design=design, estimand=estimand)
            for key, spec in estimators.ESTIMATORS.items():
                assert set(methods.options(key, situation)) <= set(spec.options)


def test_the_difference_in_means_heads_an_experiment_and_never_runs_without_one() -> None:
    experiment = replace(HERE, design="randomized", estimand="ATE")
    assert methods.rank(experiment)[0].method == "difference_in_means"
    judged = {a.method: a for a in methods.rank(HERE)}
    assert not judged["difference_in_means"].admissible

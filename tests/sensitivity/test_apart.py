"""What holds transport, networks and proxies together: hidden moderators, other exposures, weak or impure proxies."""

from __future__ import annotations

import numpy as np
import pytest
from tests.agents.analysed import analyse, estimated, judged

from causal_orchestrator import estimators, sensitivity
from causal_orchestrator.errors import NotApplicable
from causal_orchestrator.problem import build
from causal_orchestrator.simulate import SIMULATIONS

FAMILIES = {
    "transported": ("transport", "transportability", "ATE", "unobserved_moderator"),
    "connected": ("network", "network", "SATE", "exposure_mapping"),
    "proxied": ("proximal", "proximal", "ATE", "proxies"),
}


def analysed(kind, made, changed=None, **extra):
    _, method, _, key = FAMILIES[kind]
    problem = build(made.frame if changed is None else changed, made.question)

    def refit(other):
        return estimators.estimate(method, other)

    estimate = refit(problem)
    return sensitivity.load(key)(problem, estimate, refit=refit, seed=0, **extra), estimate, problem


@pytest.mark.parametrize("kind", sorted(FAMILIES))
def test_the_design_s_analysis_runs_in_a_job_and_the_verdict_reads_it(kind):
    design, method, estimand, key = FAMILIES[kind]
    made = SIMULATIONS[kind](600, seed=1)
    roles = {k: v for k, v in made.question.model_dump(exclude={"preferences"}).items() if v not in (None, "")}
    job = estimated(made.frame, (method,), design, estimand=estimand, question=roles)
    results = {result.method: result for result in analyse(job, made.frame).result.results}
    assert results[key].error is None
    read = judged(job, made.frame).results["critique"]["diagnostics"]
    assert key in {diagnostic["name"] for diagnostic in read}


# --- transport ------------------------------------------------------------------------------------------------------


def test_a_bias_as_large_as_the_breakdown_takes_the_interval_to_zero():
    told, estimate, _ = analysed("transported", SIMULATIONS["transported"](800, seed=2))
    assert told.details["breakdown"] == pytest.approx(min(abs(estimate.ci_lower), abs(estimate.ci_upper)))
    at = min(told.details["curve"], key=lambda row: abs(row["bias"] - told.details["breakdown"]))
    assert at["ci_upper"] - at["ci_lower"] == pytest.approx(estimate.ci_upper - estimate.ci_lower)
    assert told.details["curve"][0]["ci_upper"] == pytest.approx(estimate.ci_upper - told.details["curve"][0]["bias"])


def test_a_moderator_left_out_is_the_yardstick():
    """Effects go with x0, whose mean differs between the populations; without it the target's effect is the source's."""
    made = SIMULATIONS["transported"](1_500, seed=3)
    told, _, _ = analysed("transported", made)
    moved = {row["covariate"]: abs(row["moved"]) for row in told.details["left_out"]}
    assert max(moved, key=moved.get) == "x0"
    assert told.passed == (told.details["breakdown"] > moved["x0"])


def test_without_an_effect_a_hidden_moderator_judges_nothing():
    made = SIMULATIONS["transported"](600, seed=4)
    rng = np.random.default_rng(0)
    told, _, _ = analysed("transported", made, made.frame.assign(y=rng.standard_normal(len(made.frame))))
    assert (told.value, told.passed) == (0.0, None)


# --- networks -------------------------------------------------------------------------------------------------------


def test_treatment_that_reaches_neighbours_alone_does_nothing_further_away():
    p_values = []
    for seed in range(4):
        told, estimate, _ = analysed("connected", SIMULATIONS["connected"](400, seed=seed))
        assert told.details["steps"][0]["estimate"] == next(r.estimate for r in estimate.rows if r.term == "spillover")
        p_values.append(told.details["gate_p_value"])
    assert min(p_values) > 0.05 / len(p_values)


def test_treatment_that_reaches_two_steps_is_found_out():
    made = SIMULATIONS["connected"](800, seed=5)
    friends = {unit: set(row.split()) for unit, row in zip(made.frame["unit"].map("{:g}".format), made.frame["friends"], strict=True)}  # fmt: skip
    treated = set(made.frame.loc[made.frame["t"] == 1, "unit"].map("{:g}".format))
    two = [bool(({b for a in near for b in friends[a]} - near - {unit}) & treated) for unit, near in friends.items()]
    told, _, _ = analysed("connected", made, made.frame.assign(y=made.frame["y"] + 0.8 * np.array(two)))
    assert told.details["gate_p_value"] < 0.01
    assert told.passed is False
    assert told.details["steps"][1]["estimate"] == pytest.approx(0.8, abs=4 * told.details["steps"][1]["std_error"])


def test_an_edge_list_is_rewired_as_a_column_is():
    made = SIMULATIONS["connected"](300, seed=6)
    pairs = ";".join(f"{u:g} -> {v}" for u, row in zip(made.frame["unit"], made.frame["friends"], strict=True) for v in row.split())  # fmt: skip
    listed = made.__class__(made.frame, made.question.model_copy(update={"network": pairs}), made.truth, made.effect)
    by_list, by_column = (analysed("connected", each)[0] for each in (listed, made))
    assert by_list.details["steps"] == by_column.details["steps"]


# --- proxies --------------------------------------------------------------------------------------------------------


def test_an_effect_of_the_proxy_s_own_of_the_breakdown_s_size_ends_the_conclusion():
    """The treatment moves the proxy, which is allowed; if the proxy moved the outcome, that would be taken for an effect."""
    made = SIMULATIONS["proxied"](1_500, seed=1)
    moved = made.frame.assign(proxy_t=made.frame["proxy_t"] + made.frame["t"])
    told, estimate, problem = analysed("proxied", made, moved)
    (own,) = told.details["proxies"]
    assert own["stands"] is False
    assert told.value == own["breakdown"] > 0
    z = problem.roles["treatment_proxies"][:, 0] if problem.roles["treatment_proxies"].ndim > 1 else problem.roles["treatment_proxies"]  # fmt: skip
    lean = (z - z.mean()) / z.std() * problem.outcome.std(ddof=1)
    ends = [estimators.estimate("proximal", problem.change(outcome=problem.outcome - g * own["breakdown"] * lean)) for g in (-1, 1)]  # fmt: skip
    assert min(abs(edge) for end in ends for edge in (end.ci_lower, end.ci_upper)) < 1e-3 * abs(estimate.estimate)


def test_a_proxy_that_only_tells_of_the_confounder_may_move_the_outcome():
    """What it adds is then the confounder's, and the bridge takes it away."""
    told, _, _ = analysed("proxied", SIMULATIONS["proxied"](1_500, seed=1))
    assert told.details["proxies"][0]["stands"]
    assert "would stand" in told.interpretation


def test_proxies_that_tell_nothing_of_each_other_do_not_pass():
    made = SIMULATIONS["proxied"](800, seed=2)
    rng = np.random.default_rng(0)
    noise = {name: rng.standard_normal(len(made.frame)) for name in made.question.treatment_proxies}
    assert analysed("proxied", made)[0].passed is True
    assert analysed("proxied", made, made.frame.assign(**noise))[0].passed is False


def test_proxies_in_each_other_s_place_are_told():
    told, estimate, problem = analysed("proxied", SIMULATIONS["proxied"](800, seed=3))
    turned = {
        "treatment_proxies": problem.question.outcome_proxies,
        "outcome_proxies": problem.question.treatment_proxies,
    }
    changed = build(SIMULATIONS["proxied"](800, seed=3).frame, problem.question.model_copy(update=turned))
    assert told.details["swapped"]["estimate"] == pytest.approx(estimators.estimate("proximal", changed).estimate)
    assert f"instead of {estimate.estimate:.3g}" in told.interpretation


@pytest.mark.parametrize("kind", sorted(FAMILIES))
def test_without_its_roles_an_analysis_does_not_apply(kind):
    made = SIMULATIONS["confounded_linear"](200, seed=1)
    problem = build(made.frame, made.question)
    estimate = estimators.estimate("aipw", problem, learners=("linear",), folds=2, repeats=1)
    with pytest.raises(NotApplicable):
        sensitivity.load(FAMILIES[kind][3])(problem, estimate, refit=lambda other: estimate, seed=0)

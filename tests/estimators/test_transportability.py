"""Transport to a target population: which effect it is, either model suffices, and how the populations are told."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from causal_orchestrator import estimators
from causal_orchestrator.errors import CausalError
from causal_orchestrator.problem import build
from causal_orchestrator.simulate import SIMULATIONS

ALARM = 1e-3
SCORES = [("dr", True), ("dr", False), ("ipsw", True), ("ipsw", False), ("om", True)]


def run(made, frame=None, **options):
    question = options.pop("question", made.question)
    return estimators.estimate("transportability", build(made.frame if frame is None else frame, question), **options)


@pytest.mark.parametrize(("score", "normalized"), SCORES)
def test_the_effect_is_that_in_the_target_not_in_the_source(score, normalized):
    made = SIMULATIONS["transported"](8_000, seed=1)
    trial = made.frame[made.frame["s"] == 1].groupby("t")["y"].mean()
    found = run(made, score=score, normalized=normalized)
    assert trial[1] - trial[0] > 1.4
    assert abs(found.estimate - 1) < 3 * found.std_error


@pytest.mark.parametrize(("score", "normalized"), SCORES)
def test_intervals_cover(score, normalized):
    made = [SIMULATIONS["transported"](600, seed=s) for s in range(80)]
    held = [e.ci_lower <= 1 <= e.ci_upper for e in (run(m, score=score, normalized=normalized) for m in made)]
    assert stats.binomtest(sum(held), 80, 0.95).pvalue > ALARM


@pytest.mark.parametrize("wrong", ["participation", "outcome"])
def test_the_doubly_robust_score_bears_one_wrong_model(wrong):
    rng = np.random.default_rng(2)
    made = SIMULATIONS["transported"](20_000, seed=2)
    x, source = made.frame["x0"].to_numpy(), made.frame["s"].to_numpy() == 1
    bend = x**2 - 1
    keep = rng.random(len(x)) < np.where(source, 1 / (1 + np.exp(-bend)), 0.6) if wrong == "participation" else np.ones(len(x), dtype=bool)  # fmt: skip
    extra = 0 if wrong == "participation" else bend * made.frame["t"]
    frame = made.frame.assign(y=made.frame["y"] + extra)[keep].reset_index(drop=True)
    found = run(made, frame)
    assert abs(found.estimate - 1) < 3 * found.std_error
    if wrong == "outcome":
        modelled = run(made, frame, score="om")
        assert abs(modelled.estimate - 1) > 5 * modelled.std_error


def test_what_the_target_says_of_treatment_and_outcome_is_not_used():
    made = SIMULATIONS["transported"](600, seed=3)
    target = made.frame["s"] == 0
    filled = made.frame.assign(t=made.frame["t"].fillna(0.0), y=made.frame["y"].where(~target, 99.0))
    assert run(made, filled).to_effect() == run(made).to_effect()


@pytest.mark.parametrize("names", [("trial", "target"), ("Source", "Population"), (True, False)])
def test_populations_are_told_by_words_too(names):
    made = SIMULATIONS["transported"](600, seed=4)
    frame = made.frame.assign(s=[names[0] if s else names[1] for s in made.frame["s"]])
    assert run(made, frame).estimate == run(made).estimate


def test_a_target_beyond_the_source_is_noticed():
    made = SIMULATIONS["transported"](600, seed=5, shift=1.5)
    found = run(made)
    assert not found.diagnostics["population_overlap"]["passed"]
    assert any("extrapolate" in note for note in found.notes)


def test_clusters_that_span_both_populations_are_one():
    made = SIMULATIONS["transported"](600, seed=6)
    clustered = made.question.model_copy(update={"cluster": "g"})
    apart = made.frame.assign(g=np.arange(600) * 1.0)
    paired = made.frame.assign(g=np.arange(600) % 300 * 1.0)
    alone, together = (run(made, f, question=clustered) for f in (apart, paired))
    assert alone.estimate == together.estimate
    assert alone.std_error != pytest.approx(together.std_error, rel=1e-6)


BROKEN = {
    "NEEDS_POPULATION": (lambda f: f, {"population": None}),
    "POPULATION_INVALID": (lambda f: f.assign(s=f["s"] + 3), {}),
    "TARGET_TOO_SMALL": (lambda f: f[: len(f) // 2 + 5], {}),
    "POSITIVITY": (lambda f: f.assign(x0=f["x0"] + 100 * f["s"]), {}),
}


@pytest.mark.parametrize("code", sorted(BROKEN))
def test_what_cannot_be_estimated_is_said(code):
    change, update = BROKEN[code]
    made = SIMULATIONS["transported"](400, seed=7)
    with pytest.raises(CausalError) as raised:
        run(made, change(made.frame), question=made.question.model_copy(update=update))
    assert raised.value.code == code

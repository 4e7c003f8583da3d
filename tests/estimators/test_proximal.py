"""Proximal inference: what it removes, what it needs, when its proxies are weak."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from causal_orchestrator import estimators
from causal_orchestrator.errors import CausalError
from causal_orchestrator.problem import build
from causal_orchestrator.simulate import SIMULATIONS

ALARM = 1e-3


def run(made, frame=None, **options):
    question = options.pop("question", made.question)
    return estimators.estimate("proximal", build(made.frame if frame is None else frame, question), **options)


@pytest.mark.parametrize("bridge", ["linear", "gmm"])
def test_hidden_confounding_that_regression_keeps_is_removed(bridge):
    made = SIMULATIONS["proxied"](4_000, seed=5)
    adjusted = estimators.estimate("ols", build(made.frame, made.question))
    found = run(made, bridge=bridge)
    assert adjusted.estimate - 1 > 5 * adjusted.std_error
    assert abs(found.estimate - 1) < 3 * found.std_error


def test_intervals_of_the_richer_bridge_cover():
    held = [e.ci_lower <= 1 <= e.ci_upper for e in (run(SIMULATIONS["proxied"](400, seed=s), bridge="gmm") for s in range(100))]  # fmt: skip
    assert stats.binomtest(sum(held), 100, 0.95).pvalue > ALARM


def test_weak_proxies_are_named():
    found = run(SIMULATIONS["proxied"](400, seed=2, strength=0.1))
    assert not found.diagnostics["proxy_strength"]["passed"]
    assert any("weak" in note for note in found.notes)


def test_agreeing_moments_pass_and_a_proxy_that_moves_the_outcome_does_not():
    made = SIMULATIONS["proxied"](3_000, seed=3)
    rng = np.random.default_rng(1)
    good = made.frame.assign(more=made.frame["proxy_y"] + rng.standard_normal(3_000))
    good["more"] = good["proxy_t"] + rng.standard_normal(3_000)
    two = made.question.model_copy(update={"treatment_proxies": ("proxy_t", "more")})
    assert run(made, good, question=two).diagnostics["hansen_j"]["passed"]
    bad = good.assign(y=good["y"] + good["more"])
    assert not run(made, bad, question=two).diagnostics["hansen_j"]["passed"]


def test_rows_without_a_proxy_are_left_out_and_counted():
    made = SIMULATIONS["proxied"](400, seed=4)
    frame = made.frame.assign(proxy_t=made.frame["proxy_t"].where(made.frame.index >= 30))
    found = run(made, frame)
    assert found.n == 370
    assert "30 rows without a proxy are left out" in found.notes


BROKEN = {
    "NEEDS_PROXIES": (lambda f: f, {"treatment_proxies": ()}),
    "NOT_IDENTIFIED": (lambda f: f.assign(two=f["proxy_y"] ** 2), {"outcome_proxies": ("proxy_y", "two")}),
    "INSTRUMENT_CONSTANT": (lambda f: f.assign(proxy_t=1.0), {}),
}


@pytest.mark.parametrize("code", sorted(BROKEN))
def test_what_cannot_be_estimated_is_said(code):
    change, update = BROKEN[code]
    made = SIMULATIONS["proxied"](200, seed=9)
    with pytest.raises(CausalError) as raised:
        run(made, change(made.frame), question=made.question.model_copy(update=update))
    assert raised.value.code == code

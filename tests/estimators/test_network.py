"""Effects on a network: edges in every form, declared assignments, and what cannot be estimated."""

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
    return estimators.estimate("network", build(made.frame if frame is None else frame, question), **options)


def edge_list(frame):
    pairs = {tuple(sorted((int(u), int(v)))) for u, row in zip(frame["unit"], frame["friends"], strict=True) for v in row.split()}  # fmt: skip
    return "\n".join(f"{a},{b}" for a, b in sorted(pairs))


def test_direct_spillover_and_total_effects_are_told_apart():
    made = SIMULATIONS["connected"](1_500, seed=3)
    rows = {row.term: row for row in run(made).rows}
    for term, truth in (("direct", 1.0), ("spillover", 0.5), ("total", 1.5), ("direct among exposed", 1.0)):
        assert abs(rows[term].estimate - truth) < 4 * rows[term].std_error
    assert rows["spillover"].estimate > 2 * rows["spillover"].std_error


def test_half_of_the_intervals_of_a_smaller_experiment_are_not_lost():
    held = [e.ci_lower <= 1 <= e.ci_upper for e in (run(SIMULATIONS["connected"](300, seed=s)) for s in range(25))]
    assert stats.binomtest(sum(held), 25, 0.95).pvalue > ALARM


def test_a_list_of_edges_says_the_same_as_a_column_of_neighbours():
    made = SIMULATIONS["connected"](300, seed=4)
    listed = made.question.model_copy(update={"network": edge_list(made.frame)})
    assert run(made, question=listed).to_effect() == run(made).to_effect()


def test_simulated_probabilities_approach_the_exact_ones(monkeypatch):
    made = SIMULATIONS["connected"](300, seed=5)
    half = run(made, exposure="half", draws=3_000)
    assert half.details["exposure"] == "half"
    assert half.estimate == pytest.approx(1.0, abs=4 * half.std_error)
    assert run(made, exposure="half", draws=3_000).to_effect() == half.to_effect()


def test_units_without_an_outcome_still_expose_others():
    made = SIMULATIONS["connected"](300, seed=6)
    lost = made.frame.assign(y=made.frame["y"].where(made.frame["unit"] % 10 > 0))
    listed = made.question.model_copy(update={"network": edge_list(made.frame)})
    whole, some = (run(made, f, question=listed) for f in (made.frame, lost))
    assert some.n == 270
    assert some.details["n_edges"] == whole.details["n_edges"]


def test_strata_are_drawn_within():
    made = SIMULATIONS["connected"](400, seed=7)
    frame = made.frame.assign(s=(made.frame["unit"] % 4).map("block {:.0f}".format))
    question = made.question.model_copy(update={"strata": ("s",)})
    found = run(made, frame, question=question)
    assert found.details["n_strata"] == 4
    assert found.estimate != run(made).estimate


def test_whole_clusters_are_drawn_where_they_were_assigned():
    made = SIMULATIONS["connected"](600, seed=8)
    group = made.frame["unit"] // 3
    chosen = np.random.default_rng(1).permutation(200)[:70]
    frame = made.frame.assign(g=group, t=group.isin(chosen) * 1.0)
    question = made.question.model_copy(update={"cluster": "g"})
    assert run(made, frame, question=question).details["assignment"] == "clusters"


BROKEN = {
    "UNIT_REPEATED": (lambda f: f.assign(unit=f["unit"] // 2), {}),
    "NETWORK_EMPTY": (lambda f: f, {"network": "a,b\nb,c"}),
    "NEEDS_NETWORK": (lambda f: f, {"network": None}),
    "NOT_CLUSTERED": (lambda f: f.assign(g=f["unit"] // 5), {"cluster": "g"}),
    "POSITIVITY": (lambda f: f, {"network": "1,2"}),
    "COLUMN_MISSING": (lambda f: f, {"network": "nobody"}),
}


@pytest.mark.parametrize("code", sorted(BROKEN))
def test_what_cannot_be_estimated_is_said(code):
    change, update = BROKEN[code]
    made = SIMULATIONS["connected"](200, seed=9)
    with pytest.raises(CausalError) as raised:
        run(made, change(made.frame), question=made.question.model_copy(update=update))
    assert raised.value.code == code

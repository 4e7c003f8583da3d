"""What every method of the table owes, run over the whole table."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from causal_orchestrator import estimators
from causal_orchestrator.errors import CausalError, DesignError, InputError
from causal_orchestrator.estimators import ESTIMATORS
from causal_orchestrator.problem import build
from causal_orchestrator.results import Effect
from causal_orchestrator.simulate import SIMULATIONS

# Without a standard error, or (`policy_learning`) about the policy that was learned; each has a file of its own.
OWN_FILE = {"synthetic_control", "counterfactual_consensus", "policy_learning", "bayesian_causal_forest"}
EVERY = sorted(set(ESTIMATORS) - OWN_FILE)
RTOL = 1e-9  # the same sums in the same order; only the outcome's unit differs

UNIT_RTOL = 1e-6  # 1e10 + 1e9 x keeps seven digits of x fewer

# Learners that are quick; the defaults are tried in `test_nuisance`.
QUICK = {"learners": ("linear",), "folds": 2, "repeats": 1}

# Bins that hold more rows than one, and what is then left within them taken away.
SUITED = {
    "causal_forest": {"trees": 16},
    "quantile_effects": {"draws": 50},
    "bsts": {"trend": "level"},
    # Lagged outcomes pull units of different levels together, which differ for good in these data.
    "panel_matching": {"lagged_outcome": False},
    "cem": {"bins": 5, "bias_adjustment": True},
    # The bandwidth of the ratio depends on the outcome's origin.
    "rdd_fuzzy": {"sharpbw": True},
}

SLOW = {"quantile_effects", "causal_forest", "dose_response", "bsts", "network"}

LEARNED = {m for m in EVERY if ESTIMATORS[m].nuisances == "learned"}
SMALL_SAMPLE = 0.02  # (n-1)/(n-k) is not the same at n and 2n

DRAWS = 200
ROWS = 500
# Chance of a false alarm over the table: nine methods at one in a thousand each.
ALARM = 1e-3


# The data that suit a design, for methods that are for it alone.
DATA = {
    "randomized": "randomized",
    "instrument": "encouraged",
    "discontinuity": "cutoff",
    "mediation": "mediated",
    "panel": "panel_staggered",
    "interrupted_time_series": "interrupted",
    "transport": "transported",
    "proximal": "proxied",
    "network": "connected",
}
# Rows of a panel or a network are no copies of each other; what clusters and weights do there is tested beside each method.
PANEL = {m for m in EVERY if ESTIMATORS[m].designs[0] in ("panel", "interrupted_time_series", "network")}


OWN_DATA = {
    "rdd_fuzzy": "cutoff_fuzzy",
    "off_policy": "confounded_policy",
    "dose_response": "confounded_dose",
    "bsts": "forecastable",
}


def design_of(method):
    if method in OWN_DATA:
        return OWN_DATA[method]
    designs = ESTIMATORS[method].designs
    return DATA[designs[0]] if len(designs) == 1 and designs[0] in DATA else "confounded_linear"


def options_of(method):
    # The mean of a learner's effects has no interval; what every method owes is asked of its doubly robust effect.
    by_row = {"score": "dr"} if method.endswith("_learner") else {}
    quick = QUICK if ESTIMATORS[method].nuisances == "learned" else {}
    quick = {name: value for name, value in quick.items() if name in ESTIMATORS[method].options}
    return {**quick, **by_row, **SUITED.get(method, {})}


def run(method, made, *, frame=None, question=None, seed=0, **options):
    problem = build(made.frame if frame is None else frame, question or made.question, seed=seed)
    return estimators.estimate(method, problem, **options_of(method), **options)


@pytest.mark.parametrize("method", EVERY)
def test_recovers_a_known_effect(method):
    made = SIMULATIONS[design_of(method)](4_000, seed=1)
    found = run(method, made)
    assert abs(found.estimate - made.truth[found.estimand]) < 4 * found.std_error
    assert found.std_error < 0.1  # the outcome's SD is above two


@pytest.mark.parametrize("method", [m for m in EVERY if design_of(m) == "confounded_linear"])
def test_removes_confounding_that_a_raw_comparison_shows(method):
    made = SIMULATIONS["confounded_linear"](2_000, seed=2)
    raw = made.frame.groupby("t")["y"].mean()
    found = run(method, made)
    assert raw[1] - raw[0] - made.truth["ATE"] > 0.5
    assert abs(found.estimate - made.truth["ATE"]) < 0.25


@pytest.mark.slow
@pytest.mark.parametrize("method", [pytest.param(m, marks=pytest.mark.exhaustive) if m in SLOW else m for m in EVERY])
def test_intervals_cover_at_the_stated_rate(method):
    held = 0
    for seed in range(DRAWS):
        made = SIMULATIONS[design_of(method)](ROWS, seed=10_000 + seed)
        found = run(method, made, seed=seed)
        held += found.ci_lower <= made.truth[found.estimand] <= found.ci_upper
    assert stats.binomtest(held, DRAWS, 0.95).pvalue > ALARM, f"{held} of {DRAWS} intervals hold the truth"


@pytest.mark.parametrize("method", EVERY)
def test_the_same_seed_gives_the_same_digits(method):
    made = SIMULATIONS[design_of(method)](600, seed=3)
    assert run(method, made, seed=7).to_effect() == run(method, made, seed=7).to_effect()


@pytest.mark.parametrize("method", EVERY)
def test_row_and_column_order_do_not_matter(method):
    made = SIMULATIONS[design_of(method)](600, seed=4)
    frame = made.frame.sample(frac=1.0, random_state=5)[list(made.frame.columns)[::-1]]
    question = made.question.model_copy(update={"covariates": made.question.covariates[::-1]})
    straight, shuffled = run(method, made), run(method, made, frame=frame, question=question)
    assert (shuffled.estimate, shuffled.std_error) == (straight.estimate, straight.std_error)


@pytest.mark.parametrize("method", EVERY)
def test_rescaling_and_shifting_the_outcome_rescales_the_effect(method):
    made = SIMULATIONS[design_of(method)](600, seed=6)
    found = run(method, made)
    moved = run(method, made, frame=made.frame.assign(y=1000 + 8 * made.frame["y"]))
    shift = 1000 if found.estimand == "POLICY_VALUE" else 0  # a mean outcome, no difference of two
    assert moved.estimate == pytest.approx(8 * found.estimate + shift, rel=RTOL)
    assert moved.std_error == pytest.approx(8 * found.std_error, rel=RTOL)


@pytest.mark.parametrize("method", [m for m in EVERY if m not in LEARNED])
def test_the_unit_of_a_covariate_does_not_matter(method):
    made = SIMULATIONS[design_of(method)](600, seed=7)
    found = run(method, made)
    moved = run(method, made, frame=made.frame.assign(x0=1e10 + 1e9 * made.frame["x0"], x1=1e-9 * made.frame["x1"]))
    assert moved.estimate == pytest.approx(found.estimate, rel=UNIT_RTOL)
    assert moved.std_error == pytest.approx(found.std_error, rel=UNIT_RTOL)


@pytest.mark.parametrize("method", EVERY)
def test_the_input_frame_is_untouched(method):
    made = SIMULATIONS[design_of(method)](300, seed=8)
    before = made.frame.copy(deep=True)
    run(method, made)
    assert before.equals(made.frame)


BROKEN = {
    "constant treatment": (lambda f: f.assign(t=1.0), DesignError, "TREATMENT_CONSTANT", "t"),
    "constant outcome": (lambda f: f.assign(y=2.0), DesignError, "OUTCOME_CONSTANT", "y"),
    "nine treated": (lambda f: f.assign(t=(np.arange(len(f)) < 9) * 1.0), DesignError, "POSITIVITY", "t"),
    "infinite outcome": (lambda f: f.assign(y=f["y"].where(f.index > 0, np.inf)), InputError, "NON_FINITE", "y"),
    "infinite covariate": (lambda f: f.assign(x0=f["x0"].where(f.index > 0, -np.inf)), InputError, "NON_FINITE", "x0"),
    "copy of the treatment": (lambda f: f.assign(x2=5 - 2 * f["t"]), DesignError, "POSITIVITY", "x2"),
    "missing column": (lambda f: f.drop(columns="x1"), InputError, "COLUMN_MISSING", "x1"),
    "text outcome": (lambda f: f.assign(y=[f"level {i % 3}" for i in range(len(f))]), InputError, "OUTCOME_NOT_NUMERIC", "y"),
}  # fmt: skip


# In a panel one treated row may be the design, and the table has no x2.
CROSS_SECTION = {"nine treated", "copy of the treatment"}


@pytest.mark.parametrize("method", EVERY)
@pytest.mark.parametrize("what", sorted(BROKEN))
def test_bad_input_gives_a_typed_error_that_names_the_column(method, what):
    if method in PANEL and what in CROSS_SECTION:
        return
    change, kind, code, column = BROKEN[what]
    made = SIMULATIONS[design_of(method)](300, seed=9)
    with pytest.raises(kind) as raised:
        run(method, made, frame=change(made.frame))
    assert raised.value.code == code
    assert raised.value.details["column"] == column
    assert repr(column) in raised.value.message


@pytest.mark.parametrize("method", EVERY)
def test_the_result_survives_json(method):
    made = SIMULATIONS[design_of(method)](300, seed=10)
    effect = run(method, made).to_effect(role="primary")
    assert Effect.model_validate(json.loads(effect.model_dump_json())) == effect


@pytest.mark.parametrize("method", EVERY)
def test_a_standard_error_states_its_source(method):
    found = run(method, SIMULATIONS[design_of(method)](300, seed=11))
    assert found.std_error > 0
    assert len(found.inference) > 3
    assert list(found.effects.columns[:1]) == ["term"]
    assert found.effects["estimate"].iloc[0] == found.estimate


@pytest.mark.parametrize("method", EVERY)
def test_an_unknown_option_is_refused_by_name(method):
    problem = build(*_problem(method))
    with pytest.raises(InputError, match="colour") as raised:
        estimators.estimate(method, problem, colour="blue")
    assert raised.value.code == "OPTION_UNKNOWN"


@pytest.mark.parametrize("method", [m for m in EVERY if "estimand" in ESTIMATORS[m].options])
def test_an_option_outside_its_range_is_refused(method):
    problem = build(*_problem(method))
    with pytest.raises(InputError) as raised:
        estimators.estimate(method, problem, estimand="everyone")
    assert raised.value.code == "OPTION_INVALID"


def _problem(method):
    made = SIMULATIONS[design_of(method)](300, seed=12)
    return made.frame, made.question


@pytest.mark.parametrize("method", [m for m in EVERY if not ESTIMATORS[m].clusters and m not in PANEL])
def test_a_method_without_clustered_errors_refuses_clusters(method):
    made = SIMULATIONS["confounded_clusters" if design_of(method) == "confounded_linear" else design_of(method)](
        400, seed=13
    )
    made = replace(
        made,
        frame=made.frame.assign(g=np.arange(400) // 10 * 1.0),
        question=made.question.model_copy(update={"cluster": "g"}),
    )
    with pytest.raises(CausalError) as raised:
        run(method, made)
    assert raised.value.code == "NEEDS_INDEPENDENT_ROWS"


@pytest.mark.parametrize("method", [m for m in EVERY if ESTIMATORS[m].clusters and m not in LEARNED | PANEL])
def test_copying_every_row_within_its_cluster_changes_no_standard_error(method):
    """Clusters of exact copies hold no more information than their rows once."""
    made = SIMULATIONS[design_of(method)](400, seed=14)
    once = made.frame.assign(g=np.arange(len(made.frame)) * 1.0)
    question = made.question.model_copy(update={"cluster": "g"})
    twice = once.loc[once.index.repeat(2)].reset_index(drop=True)
    # A bandwidth that is chosen from the data is not the same to the last digit.
    fixed = {"bandwidth": 0.5} if design_of(method) in ("cutoff", "cutoff_fuzzy") else {}
    single, double = (run(method, made, frame=f, question=question, **fixed) for f in (once, twice))
    assert double.estimate == pytest.approx(single.estimate, rel=1e-8)
    assert double.std_error == pytest.approx(single.std_error, rel=SMALL_SAMPLE)


@pytest.mark.parametrize("method", sorted(LEARNED))
def test_learned_methods_see_that_copies_are_not_new_rows(method):
    made = SIMULATIONS[design_of(method)](400, seed=14)
    frame = made.frame.assign(g=np.arange(400) * 1.0)
    twice = frame.loc[frame.index.repeat(2)].reset_index(drop=True)
    clustered = made.question.model_copy(update={"cluster": "g"})
    naive, honest = run(method, made, frame=twice), run(method, made, frame=twice, question=clustered)
    assert honest.std_error > 1.25 * naive.std_error  # √2 but for what the folds learn from copies


@pytest.mark.parametrize("method", [m for m in EVERY if ESTIMATORS[m].weights and m not in LEARNED | PANEL])
def test_a_weight_of_two_moves_the_estimate_like_a_second_copy(method):
    made = SIMULATIONS[design_of(method)](400, seed=15)
    heavy = made.frame["x2"] > 0.5
    weighted = made.frame.assign(w=np.where(heavy, 2.0, 1.0))
    copied = made.frame.loc[made.frame.index.repeat(np.where(heavy, 2, 1))].reset_index(drop=True)
    question = made.question.model_copy(update={"weights": "w"})
    by_weight, by_copy = run(method, made, frame=weighted, question=question), run(method, made, frame=copied)
    plain = run(method, made)
    tolerance = 0.05 if method == "stratification" else 1e-8  # quantiles are those of rows
    assert by_weight.estimate == pytest.approx(by_copy.estimate, rel=tolerance)
    assert by_weight.estimate != pytest.approx(plain.estimate, rel=1e-6)


@pytest.mark.parametrize("method", [m for m in sorted(LEARNED) if design_of(m) == "confounded_linear"])
def test_weights_say_whose_effect_is_learned(method):
    made = SIMULATIONS["confounded_heterogeneous"](2_000, seed=15)
    question = made.question.model_copy(update={"weights": "w"})
    whose = made.frame.assign(w=np.where(made.frame["x0"] > 0, 1.0, 0.01))
    everyone, some = run(method, made), run(method, made, frame=whose, question=question)
    assert some.estimate > everyone.estimate + 4 * everyone.std_error
    constant = run(method, made, frame=made.frame.assign(w=3.0), question=question)
    assert constant.estimate == pytest.approx(everyone.estimate, rel=RTOL)


# Rows of `off_policy` are policies; `test_off_policy` has several levels.
@pytest.mark.parametrize(
    "method", [m for m in EVERY if "multivalued" in ESTIMATORS[m].treatments and m != "off_policy"]
)
def test_each_level_is_compared_with_the_reference(method):
    name = "randomized_arms" if design_of(method) == "randomized" else "confounded_arms"
    made = SIMULATIONS[name](3_000, seed=16)
    found = run(method, made)
    assert list(found.effects["level"]) == ["1", "2"]
    assert set(found.effects["reference"]) == {"0"}
    for row, truth in zip(found.effects.itertuples(), (0.5, 1.0), strict=True):
        assert abs(row.estimate - truth) < 4 * row.std_error
        # Together they hold at the stated level, so each is wider than it would be alone.
        assert row.ci_upper - row.estimate > 2.0 * row.std_error


@pytest.mark.parametrize(
    "method", [m for m in EVERY if "continuous" in ESTIMATORS[m].treatments and design_of(m) == "confounded_linear"]
)
def test_a_dose_has_an_effect_per_unit(method):
    made = SIMULATIONS["confounded_dose"](2_000, seed=17)
    found = run(method, made)
    assert abs(found.estimate - made.truth["PLR"]) < 4 * found.std_error
    assert found.n_treated is None


@pytest.mark.parametrize("method", [m for m in EVERY if "continuous" not in ESTIMATORS[m].treatments])
def test_a_dose_is_refused_where_it_has_no_meaning(method):
    made = SIMULATIONS["confounded_dose"](400, seed=18)
    with pytest.raises(CausalError) as raised:
        run(method, made)
    assert raised.value.code == "TREATMENT_KIND"

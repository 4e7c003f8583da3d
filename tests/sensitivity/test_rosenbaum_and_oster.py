"""Published bounds for a matched study of lead in children's blood, and Oster's delta on exact populations."""

from dataclasses import replace

import numpy as np
import pytest
from tests.sensitivity.problems import linear, refit_with

from causal_orchestrator.errors import NotApplicable
from causal_orchestrator.sensitivity import oster
from causal_orchestrator.sensitivity import rosenbaum_bounds as bounds

# Morton et al. (1982), as in Rosenbaum (2002), Table 3.1: lead in the blood of exposed children and their controls.
EXPOSED = [38, 23, 41, 18, 37, 36, 23, 62, 31, 34, 24, 14, 21, 17, 16, 20, 15, 10, 45, 39, 22, 35, 49, 48, 44, 35, 43, 39, 34, 13, 73, 25, 27]  # fmt: skip
CONTROL = [16, 18, 18, 24, 19, 11, 10, 15, 16, 18, 18, 13, 19, 10, 16, 16, 24, 13, 9, 14, 21, 19, 7, 18, 19, 12, 11, 22, 25, 16, 13, 11, 13]  # fmt: skip
LEAD = np.array(EXPOSED, dtype=float) - np.array(CONTROL, dtype=float)
PRINTED = 0.00005  # four printed decimals
EXACT = 1e-9


@pytest.mark.parametrize(("gamma", "p"), [(2, 0.0018), (3, 0.0136), (4, 0.0388), (4.25, 0.0468), (5, 0.0740)])
def test_rosenbaums_published_bounds_are_reproduced(gamma, p):
    assert bounds.upper_p_value(LEAD, gamma) == pytest.approx(p, abs=PRINTED)


def test_the_largest_gamma_is_where_the_bound_meets_the_level():
    gamma = bounds.largest_gamma(LEAD, 0.05)
    assert 4.25 < gamma < 4.5
    assert bounds.upper_p_value(LEAD, gamma) == pytest.approx(0.05, abs=1e-6)
    assert bounds.largest_gamma(-LEAD, 0.05) == 1.0


def test_no_row_is_in_two_pairs_and_pairs_are_close():
    rng = np.random.default_rng(0)
    score, treated = rng.standard_normal(500), rng.random(500) < 0.4
    left, right = bounds.disjoint_pairs(score, treated)
    assert len(set(left)) == len(left) == len(right) == len(set(right)) > 100
    assert treated[left].all()
    assert not treated[right].any()
    assert np.abs(score[left] - score[right]).max() <= bounds.CALIPER * score.std()


def test_pairs_do_not_depend_on_the_headlines_matching():
    problem = linear(n=500, effect=3.0)
    first = bounds.analyse(problem, refit_with("ols")(problem))
    second = bounds.analyse(problem, refit_with("ipw")(problem))
    assert first == second
    assert first.value > 1.5


def test_too_few_pairs_are_refused():
    problem = linear(n=60)
    far = problem.change(covariates=problem.covariates + 50 * problem.treatment[:, None])
    with pytest.raises(NotApplicable):
        bounds.analyse(far, refit_with("difference_in_means")(far))


@pytest.mark.parametrize("selection", [0.5, 1.0, 2.0])
def test_oster_recovers_the_selection_of_an_exact_population(selection):
    effect, problem, r2_max = _population(selection)
    moments = oster._moments(problem)
    assert oster.delta(moments, r2_max, beta=effect) == pytest.approx(selection, rel=EXACT)
    if selection == 1.0:
        assert oster.beta_star(moments, r2_max) == pytest.approx(effect, rel=EXACT)


def test_the_bias_adjusted_effect_has_delta_one():
    problem = linear(n=500)
    moments = oster._moments(problem)
    star = oster.beta_star(moments, 1.2 * moments.r2_long)
    assert oster.delta(moments, 1.2 * moments.r2_long, beta=star) == pytest.approx(1.0, rel=1e-6)


def _population(selection, effect=0.3):
    """Orthogonal causes whose sample moments are exact: an observed index, an unobserved one, and two errors."""
    rng = np.random.default_rng(1)
    raw = rng.standard_normal((400, 4))
    observed, hidden, v, u = (np.linalg.qr(raw - raw.mean(axis=0))[0] * np.sqrt(400)).T
    hidden = 0.8 * hidden
    treatment = 0.5 * observed + selection * 0.5 * hidden + v
    outcome = effect * treatment + observed + hidden + u
    problem = replace(
        linear(n=400), outcome=outcome, treatment=treatment, covariates=observed[:, None], treatment_kind="continuous",
        covariate_names=("a",), covariate_sources=("a",), treatment_levels=(),
    )  # fmt: skip
    return effect, problem, 1 - u.var() / outcome.var()

"""Published numbers (`expectations.json` of the reference data), each by the mapping of the accuracy benchmark."""

from __future__ import annotations

import numpy as np
import pytest
from benchmarks.expectations_map import DATA, MAP, Case, estimate, expectations, reproduce, table

import causal_orchestrator as co

SE_RTOL, SE_ATOL = 1e-9, 5e-9  # the same formula; half of the last digit that the reference prints
MATCHING_RTOL = 1e-5  # R prints seven digits

pytestmark = pytest.mark.skipif(not (DATA / "expectations.json").exists(), reason=f"no reference data at {DATA}")

# Those whose reference standard error is by the same formula.
SAME_ERROR = {
    "lalonde_nsw_diff", "lalonde_nsw_ols_adj", "lalonde_psid1_diff", "lalonde_psid1_ols_adj", "lalonde_cps1_diff",
    "lalonde_cps1_ols_adj", "lalonde_original_diff", "card_ols", "mroz_ols", "nhefs_unadjusted",
    "nhefs_outcome_reg_nointer", "nhefs_outcome_reg_main", "nhefs_ps_regression", "nhefs_ps_deciles", "nhefs_aipw",
    "bonus_diff", "bonus_ols",
}  # fmt: skip
# Deterministic algorithms whose references print eight digits.
TO_THE_DIGITS = {k for k in MAP if k.startswith(("transport_", "nhefs_dose_"))}
DIGITS = 1e-6
SLOW = {"bonus_plr_rf", "bonus_irm_rf"}  # forests
OURS = sorted(key for key, case in MAP.items() if isinstance(case, Case))


def test_every_expectation_has_a_method_or_a_reason():
    assert set(MAP) == set(expectations())
    assert all(case.strip() for case in MAP.values() if isinstance(case, str))


@pytest.mark.parametrize("key", [pytest.param(k, marks=[pytest.mark.slow] * (k in SLOW)) for k in OURS])
def test_a_published_number_is_reproduced(key):
    case, wanted = MAP[key], expectations()[key]
    assert np.abs(np.subtract(reproduce(key), case.expected(wanted))).max() <= wanted["tolerance"]
    if key in TO_THE_DIGITS:
        assert reproduce(key) == pytest.approx(wanted["expected"], rel=DIGITS, abs=DIGITS)
    if key in SAME_ERROR:
        assert estimate(key).std_error == pytest.approx(wanted["computed"]["se"], rel=SE_RTOL, abs=SE_ATOL)
    if case.options.get("variance") == "homoskedastic":
        assert estimate(key).std_error == pytest.approx(wanted["computed"]["se"], rel=MATCHING_RTOL)


def test_one_draw_of_a_trial_covers_the_truth_of_its_target():
    truth = expectations()["transport_truth"]["expected"]
    for score in ("om", "iow1_ht", "iow2_hajek", "dr1", "dr2"):
        found = estimate(f"transport_{score}")
        assert found.ci_lower - 0.25 < truth < found.ci_upper + 0.25


def test_the_experiment_has_the_published_effect_and_both_errors():
    welch = co.estimate("difference_in_means", table("nsw"), {"treatment": "treat", "outcome": "re78"})
    assert round(welch.estimate) == 1794
    assert welch.std_error == pytest.approx(670.9965, abs=1e-4)
    assert estimate("lalonde_nsw_diff").std_error == pytest.approx(632.8534, abs=1e-4)

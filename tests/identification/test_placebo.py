"""Placebo outcomes and dates, read from names."""

from __future__ import annotations

import pytest

from causal_orchestrator.identification.placebo import lagged_outcomes, year


@pytest.mark.parametrize(
    ("outcome", "columns", "found"),
    [
        ("re78", ["age", "re74", "re75", "education"], ("re75", "re74")),
        ("wage_1990", ["wage_1985", "wage_1995", "hours_1985"], ("wage_1985",)),
        ("score", ["score_pre", "age"], ("score_pre",)),
        ("score_post", ["score_pre", "baseline_score"], ("score_pre", "baseline_score")),
        ("testScore", ["preTestScore"], ("preTestScore",)),
        ("x12", ["x10", "x11"], ()),
        ("income", ["age", "pre"], ()),
        ("y", ["y"], ()),
    ],
)
def test_earlier_measurements_of_the_outcome_are_found_by_name(
    outcome: str, columns: list[str], found: tuple[str, ...]
) -> None:
    assert lagged_outcomes(outcome, columns) == found


def test_a_year_is_four_digits_and_alone() -> None:
    assert year("treated_1980") == 1980
    assert year("treated80") is None
    assert year("1980_to_1990") is None

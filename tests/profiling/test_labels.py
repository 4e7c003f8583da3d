"""Columns that name the arms: agreeing, contradicting, or about something else."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from causal_orchestrator.profiling import labels
from causal_orchestrator.question import Question

N = 1_000
RNG = np.random.default_rng(0)
TREATED = (RNG.random(N) < 0.5) * 1.0
UNRELATED = RNG.random(N) < 0.5
OFTEN_WRONG = (TREATED == 1) ^ (RNG.random(N) < 0.2)


def compared(said: object, codes: object = TREATED, *, column: str = "arm", name: str = "treated", **asked: object) -> labels.Label | None:  # fmt: skip
    question = Question(treatment=name, outcome="y", **asked)
    return labels.compare(pd.Series(said).rename(column), pd.Series(codes, name=name), question, name=name)


def worded(treated: object, yes: str, no: str) -> np.ndarray:
    return np.where(np.asarray(treated) == 1, yes, no)


@pytest.mark.parametrize(
    ("yes", "no", "column", "name"),
    [
        ("treated", "control", "arm", "treated"),
        ("Treatment group", "Control group", "group", "treated"),
        ("active", "placebo", "capsule", "t"),
        ("training", "no training", "programme", "training"),
        ("yes", "no", "treated_yn", "treated"),
        ("after", "before", "period", "law"),
    ],
)
def test_words_that_say_the_opposite_deny_every_row_and_those_that_agree_none(
    yes: str, no: str, column: str, name: str
) -> None:
    agreeing = compared(worded(TREATED, yes, no), column=column, name=name)
    reversed_ = compared(worded(1 - TREATED, yes, no), column=column, name=name)
    assert agreeing is not None
    assert agreeing.denied == 0
    assert reversed_ is not None
    assert reversed_.denied == 1


def test_words_that_are_often_wrong_are_counted() -> None:
    found = compared(worded(OFTEN_WRONG, "treated", "control"))
    assert found is not None
    assert found.denied == pytest.approx(np.mean((TREATED == 1) != OFTEN_WRONG))
    denied = int(((TREATED == 1) & ~OFTEN_WRONG).sum())
    assert f"control in {denied:,} of the {int(TREATED.sum()):,} rows" in found.reason


@pytest.mark.parametrize(
    ("said", "column"),
    [
        (worded(UNRELATED, "treated", "control"), "seed_coating"),
        (worded(1 - TREATED, "yes", "no"), "smoker"),
        (worded(1 - TREATED, "north", "south"), "region"),
        (worded(OFTEN_WRONG, "after", "before"), "period"),
        (worded(OFTEN_WRONG, "treated", "control"), "received"),
        (1 - TREATED, "control_dummy"),
    ],
)
def test_what_does_not_name_these_arms_is_no_label(said: object, column: str) -> None:
    assert compared(said, column=column) is None


def test_a_treated_group_before_its_treatment_is_no_contradiction() -> None:
    group, after = np.arange(N) // 2 % 2, np.arange(N) % 2
    codes = group * after * 1.0
    agreeing = compared(worded(group, "treatment", "control"), codes, column="group", time="year")
    swapped = compared(worded(1 - group, "treatment", "control"), codes, column="group", time="year")
    assert agreeing is not None
    assert agreeing.denied == 0
    assert swapped is not None
    assert swapped.denied > 0.2


def test_the_reference_level_says_which_code_is_treated() -> None:
    said = worded(1 - TREATED, "treated", "control")
    told = compared(said, reference_level=1)
    assert told is not None
    assert told.denied == 0


def test_codes_may_be_the_words_and_the_words_the_codes() -> None:
    found = compared(1 - TREATED, worded(TREATED, "treated", "control"), column="treated", name="arm")
    assert found is not None
    assert found.denied == 1


@pytest.mark.parametrize("codes", [RNG.integers(0, 3, N), RNG.standard_normal(N), worded(TREATED, "blue", "red")])
def test_codes_that_are_not_two_or_say_nothing_cannot_be_checked(codes: object) -> None:
    series = pd.Series(codes, name="treated")
    assert labels.coded(series, Question(treatment="treated", outcome="y"), "treated") is None
    assert compared(worded(1 - TREATED, "treated", "control"), codes) is None


@pytest.mark.parametrize("dtype", ["object", "string", "category"])
def test_missing_words_are_left_out_whatever_the_columns_type(dtype: str) -> None:
    said = worded(1 - TREATED, "treated", "control").astype(object)
    some, none = said.copy(), np.full(N, None)
    some[:50] = None
    found = compared(pd.Series(some, dtype=dtype))
    assert found is not None
    assert found.denied == 1
    assert compared(pd.Series(none, dtype=dtype)) is None

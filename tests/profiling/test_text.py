"""Words: names and sentences meet, and what is claimed, drawn or ruled is read out of plain sentences."""

from __future__ import annotations

import pytest

from causal_orchestrator.profiling import claims, roles, text


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("jobTraining", ["job", "training"]),
        ("re78", ["re", "78"]),
        ("HHIncome_2004", ["household", "income", "2004"]),
        ("educ", ["education"]),
        ("lwage", ["wage"]),
        ("学歴_年", ["学歴", "年"]),
    ],
)
def test_names_are_split_and_written_out(name: str, expected: list[str]) -> None:
    assert text.words(name) == expected


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("training", "trained"),
        ("wages", "wage"),
        ("participation", "participating"),
        ("voter", "voting"),
        ("studies", "study"),
    ],
)
def test_forms_of_one_word_meet(a: str, b: str) -> None:
    assert text.likeness(text.stem(a), text.stem(b)) >= 0.9


@pytest.mark.parametrize(("a", "b"), [("earnings", "income"), ("disengagement", "engagement"), ("programme", "policy")])
def test_words_of_one_meaning_are_alike(a: str, b: str) -> None:
    assert text.likeness(text.stems(a)[0], text.stems(b)[0]) >= 0.7


@pytest.mark.parametrize(("a", "b"), [("age", "wage"), ("treat", "retreat"), ("male", "female")])
def test_words_that_only_sound_alike_are_not(a: str, b: str) -> None:
    assert text.likeness(text.stem(a), text.stem(b)) == 0.0


def test_a_definition_runs_from_one_name_to_the_next() -> None:
    found = text.passages(
        ["income_level", "age", "on"],
        "The 'income_level' is what one earns. Years since birth ('age') count; based on nothing.",
    )
    assert found == {"income_level": "is what one earns", "age": "Years since birth count; based on nothing"}


@pytest.mark.parametrize(
    ("sentence", "cause", "effect"),
    [
        ("What is the effect of smoking on birth weight?", "smoking", "birth weight"),
        ("Did the reform raise wages?", "the reform", "wages"),
        ("We ask whether aspirin prevents strokes.", "aspirin", "strokes"),
        ("How does the increase in rent affect crime?", "the increase in rent", "crime"),
        ("Was turnout influenced by the campaign?", "the campaign", "Was turnout"),
        ("Will the state boost savings by cutting taxes?", "cutting taxes", "savings"),
        ("The impact that prices have on demand is studied.", "prices", "demand is studied"),
    ],
)
def test_causal_claims_are_read(sentence: str, cause: str, effect: str) -> None:
    def better(claim: claims.Claim) -> float:
        return float(claim.cause == cause and claim.effect == effect)

    assert (cause, effect) in {(c.cause, c.effect) for c in claims.claims(sentence, better=better)}


@pytest.mark.parametrize(
    ("sentence", "cutoff", "above"),
    [
        ("Patients with an income above 12 qualified.", 12.0, True),
        ("Scores of 25 or above were eligible.", 25.0, True),
        ("Firms with fewer than 1,000 workers received it.", 1000.0, False),
        ("The cutoff was 0.5 points.", 0.5, None),
        ("Those scoring 15 or better were offered a place.", 15.0, True),
    ],
)
def test_threshold_rules_are_read(sentence: str, cutoff: float, above: bool | None) -> None:
    (rule,) = claims.rules(sentence)
    assert (rule.cutoff, rule.above) == (cutoff, above)


def test_a_number_without_an_assignment_is_no_rule() -> None:
    assert claims.rules("The scale runs over 12 items. Age is above 18 for all.") == []


@pytest.mark.parametrize(
    ("name", "outcome", "late"),
    [
        ("re75", "re78", False),
        ("re78", "re75", True),
        ("wt82", "wt82_71", True),
        ("wt71", "wt82_71", False),
        ("income_2010", "income_2009", True),
        ("bmi_followup", "weight", True),
        ("post_test", "grade", True),
        ("x12", "x3", False),
        ("postcode", "weight", False),
    ],
)
def test_timing_is_read_from_names(name: str, outcome: str, late: bool) -> None:
    names = ["re74", "re75", "re78", "wt71", "wt82", "wt82_71", *(f"x{k}" for k in range(1, 14)), name, outcome]
    assert bool(roles.after_treatment(name, outcome, list(dict.fromkeys(names)))) is late


def test_the_outcome_in_another_form_is_recognised() -> None:
    assert roles.same_measure("log_sales", "sales")
    assert roles.same_measure("lwage", "wage")
    assert not roles.same_measure("re75", "re78")
    assert not roles.same_measure("huswage", "wage")

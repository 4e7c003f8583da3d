"""The words say what the numbers say; a number that is not in the results does not pass."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from tests.agents.analysed import JobView, estimated, judged, table, with_results, written

from causal_orchestrator.agents import interpreter
from causal_orchestrator.errors import InputError
from causal_orchestrator.question import Question
from causal_orchestrator.results import Critique, PropensityDiagnostics
from causal_orchestrator.verdict import sentence


@pytest.fixture(scope="module")
def experiment():
    frame = table(confounding=0.0)
    return judged(estimated(frame, ("difference_in_means", "ols"), "randomized"), frame)


@pytest.fixture(scope="module")
def observed():
    frame = table()
    return judged(estimated(frame, ("ols",), "unconfoundedness", placebo_outcomes=("y0",)), frame)


def preferring(job, **preferences):
    plan = dict(job.results["study_design"])
    plan["question"] = {**plan["question"], "preferences": {**plan["question"]["preferences"], **preferences}}
    return JobView(**{**vars(job), "results": {**job.results, "study_design": plan}})


def everything(words):
    return " ".join([words.summary, words.headline, words.recommendation, *words.narrative, *words.assumptions,
                     *words.recommendations, *words.key_findings, *words.would_change])  # fmt: skip


def test_the_headline_gives_direction_size_and_interval(experiment):
    words = written(experiment)
    effect = experiment.results["effect_estimator"]["effects"][0]
    assert words.headline.startswith("'t' raises 'y' by")
    assert interpreter.number(effect["estimate"]) in words.headline
    assert interpreter.number(effect["ci_lower"]) in words.headline
    assert words.grade == "high"
    assert words.written_by == "template"


def test_the_verdicts_sentence_always_stands_in_the_summary(experiment, observed):
    for job in (experiment, observed):
        assert sentence(job.get("critique", Critique).verdict) in written(job).summary


def test_a_refusal_claims_no_effect_and_says_what_would_help(observed):
    apart = with_results(observed, ps_diagnostics=PropensityDiagnostics(models=(), overlap=0.1, separated=False))
    from tests.agents.analysed import TURN, silent

    from causal_orchestrator.agents.critique import run

    refused = with_results(apart, critique=run(apart, TURN, None, silent).result)
    words = written(refused)
    assert words.grade == "none"
    assert "cannot be told" in words.headline
    assert "raises" not in everything(words)
    assert any(text.startswith("What would help") for text in words.recommendations)


def test_each_reader_gets_their_own_detail(experiment):
    lengths = [
        len(written(preferring(experiment, user_expertise=who)).summary)
        for who in ("executive", "analyst", "data_scientist")
    ]
    assert lengths == sorted(lengths)
    assert len(set(lengths)) == 3
    assert "Standard error" in written(preferring(experiment, user_expertise="data_scientist")).summary


def test_depth_decides_how_much_is_told(experiment):
    counts = [
        len(written(preferring(experiment, interpretation_depth=depth)).narrative)
        for depth in ("minimal", "standard", "deep")
    ]
    assert counts[0] == 0 < counts[1] < counts[2]


def test_the_domain_names_the_units(experiment):
    plan = dict(experiment.results["study_design"])
    plan["question"] = {**plan["question"], "domain": "healthcare"}
    job = JobView(**{**vars(experiment), "results": {**experiment.results, "study_design": plan}})
    assert "patients" in written(job).summary


def test_what_would_change_the_conclusion_names_an_observed_covariate(observed):
    text = " ".join(written(observed).would_change)
    assert "times as strong as 'a'" in text
    assert "not measured" in text


def test_names_are_shown_escaped_and_short():
    frame = table().rename(columns={"t": "t\u202e\n<b>" + "x" * 100})
    name = frame.columns[3]
    job = judged(estimated(frame, ("ols",), "randomized", question={"treatment": name}), frame)
    text = everything(written(job))
    assert "\u202e" not in text
    assert "\n" not in text
    assert "x" * 70 not in text


def test_a_model_that_repeats_the_template_passes_the_check(experiment, observed):
    for job in (experiment, observed):
        deep = preferring(job, interpretation_depth="deep", user_expertise="data_scientist")
        template = written(deep)

        def parrot(prompt, kind, template=template):
            return kind(
                summary=template.summary, narrative=template.narrative[:12], recommendations=template.would_change[:6]
            )

        assert written(deep, parrot).warnings == ()


@pytest.mark.parametrize(
    "text",
    [
        "earnings rose by 1,794 dollars", "about 1,790", "roughly 1,800", "an effect of 1794.3", "it fell by -1794",
        "a share of 32%", "a share of 31.9 %", "0.319 of all", "445 rows", "in re78 and re75 nothing",
    ],
)  # fmt: skip
def test_rounded_numbers_and_names_are_traced(text):
    assert interpreter.untraceable(text, [1794.342, 0.319, 445], ["re78", "re75"]) == ()


@pytest.mark.parametrize(
    "text",
    [
        "1,795 dollars", "about 1,700", "2,000 or so", "1794.4", "33%", "0.32%", "446 rows", "eighteen hundred",
        "it doubled", "half of them", "１７９５", "re79", "1e9 dollars", "5 percent",
    ],
)  # fmt: skip
def test_other_numbers_are_not(text):
    assert interpreter.untraceable(text, [1794.342, 0.319, 445], ["re78", "re75"]) != ()


def test_a_column_called_by_a_number_is_a_name_in_quotes_only():
    assert interpreter.untraceable("the column '42'", [], ["42"]) == ()
    assert interpreter.untraceable("it rose by 42", [], ["42"]) == ("42",)


@given(value=st.floats(0.01, 1e6), place=st.integers(0, 12), digit=st.integers(1, 9))
def test_a_mutated_digit_is_rejected(value, place, digit):
    shown = interpreter.number(value)
    positions = [i for i, c in enumerate(shown) if c.isdigit()]
    assume("e" not in shown)
    i = positions[place % len(positions)]
    changed = shown[:i] + str((int(shown[i]) + digit) % 10) + shown[i + 1 :]
    before, after = (float(t.replace(",", "")) for t in (shown, changed))
    # Trailing zeros may be rounding: a change that only moves within them stands for the same number.
    assume(abs(after - before) > interpreter._unit(changed.replace(",", "")))
    assert interpreter.untraceable(f"the effect is {shown}", [value]) == ()
    assert interpreter.untraceable(f"the effect is {changed}", [value]) != ()


def test_a_models_words_are_taken_if_their_numbers_stand(experiment):
    template = written(experiment)

    def model(prompt, kind):
        return kind(
            summary=f"In plain words: {template.headline}", narrative=("It was a trial.",), recommendations=("Go on.",)
        )

    words = written(experiment, model)
    assert words.written_by == "model"
    assert words.narrative == ("It was a trial.",)
    assert sentence(experiment.get("critique", Critique).verdict) in words.summary
    for field in ("headline", "grade", "recommendation", "key_findings", "would_change"):
        assert getattr(words, field) == getattr(template, field)


def test_a_models_words_with_another_number_are_refused(experiment):
    def model(prompt, kind):
        return kind(summary="It rose by 77.7 units.", narrative=(), recommendations=())

    words = written(experiment, model)
    assert words.written_by == "template"
    assert [note.code for note in words.warnings] == ["TEXT_REFUSED"]
    assert "77.7" not in words.summary


def test_a_model_is_not_even_asked_to_word_a_refusal(observed):
    refused = dict(observed.results["critique"])
    refused["verdict"] = {**refused["verdict"], "decision": "refuse"}
    job = JobView(**{**vars(observed), "results": {**observed.results, "critique": refused}})

    def model(prompt, kind):
        raise AssertionError("asked")

    assert written(job, model).written_by == "template"


def test_without_a_critique_there_is_nothing_to_say(experiment):
    with pytest.raises(InputError):
        written(JobView(id="j", tenant="t", question=Question(), seed=0))

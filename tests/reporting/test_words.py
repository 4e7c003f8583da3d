import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from tests.reporting.names import HOSTILE

from causal_orchestrator.reporting import words

RENDERER = MarkdownIt("commonmark", {"html": True, "linkify": False}).enable(["table", "strikethrough"])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1794.342, "1,794"), (-0.5, "−0.5"), (0.0, "0"), (12.34, "12.3"), (0.001234, "0.00123"), (1e-9, "1.00e−09"),
        (None, "–"), (float("nan"), "–"), (100.0, "100"), (2.5e20, "2.5e+20"), (0.99999, "1"),
    ],
)  # fmt: skip
def test_numbers_are_written_for_reading(value, text):
    assert words.number(value) == text


def test_small_p_values_are_not_zero():
    assert words.p_value(1e-12) == "< 0.001"
    assert words.p_value(0.0471) == "0.047"


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_renders_as_one_paragraph_of_text(name):
    tokens = RENDERER.parse(words.markdown(name))
    assert [token.type for token in tokens] == ["paragraph_open", "inline", "paragraph_close"]
    assert {child.type for child in tokens[1].children} <= {"text", "text_special"}


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=80))
def test_any_text_renders_as_text_alone(text):
    tokens = RENDERER.parse(words.markdown(text))
    kinds = {child.type for token in tokens for child in token.children or ()}
    assert {token.type for token in tokens} <= {"paragraph_open", "inline", "paragraph_close"}
    assert kinds <= {"text", "text_special"}


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=80))
def test_no_character_that_starts_mathematics_or_a_link_is_left(text):
    escaped = words.markdown(text)
    assert not set(escaped) & set("$<>[]`*_\\!@:")
    assert "www." not in words.markdown(f"{text}www.example.org")

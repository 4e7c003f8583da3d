import re

import pytest
from tests.reporting.names import HOSTILE

from causal_orchestrator.errors import InputError
from causal_orchestrator.figures.canvas import Drawing, clean, render, sheet, style
from causal_orchestrator.figures.evidence import label

NAMESPACE = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'


def picture(text="x"):
    with style():
        figure, axes = sheet(2.0)
        axes.plot([0, 1], [0, 1], "o-", clip_on=True)
        axes.imshow([[0, 1], [1, 0]])
        axes.set_xlabel(label(text))
        return render(Drawing(figure, text, text), name="one", title=text)


def test_equal_figures_are_equal_bytes():
    assert picture() == picture()


def test_no_style_script_comment_or_metadata_is_left():
    svg = picture().decode()
    assert not re.search(r"style|<script|<!--|<metadata|DOCTYPE|\d{4}-\d{2}-\d{2}T", svg)


def test_every_id_carries_the_figures_name_and_every_reference_is_met():
    svg = picture().decode()
    ids = set(re.findall(r'\bid="([^"]+)"', svg))
    references = set(re.findall(r'(?:href="#|url\(#)([^")]+)', svg))
    assert references
    assert references <= ids
    assert all(found.startswith("one-") for found in ids)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_is_drawn_as_the_text_that_it_is(name):
    svg = picture(name).decode()
    assert "onerror" not in re.sub(r">[^<]*<", "><", svg)
    assert "<script" not in svg
    assert clean(svg.encode(), name="one").decode().count("<text") == svg.count("<text")


def test_a_dollar_sign_is_no_mathematics():
    assert "$a$" in picture("$a$").decode()


@pytest.mark.parametrize(
    "bad",
    [
        "<script>alert(1)</script>",
        "<foreignObject><body/></foreignObject>",
        '<image xlink:href="https://example.org/x.png"/>',
        '<image xlink:href="data:image/svg+xml;base64,AAAA"/>',
        '<a xlink:href="javascript:alert(1)"><text>x</text></a>',
        '<path onclick="alert(1)" d="M 0 0"/>',
        '<path style="fill: url(https://example.org/x)" d="M 0 0"/>',
        '<use xlink:href="https://example.org/x.svg#a"/>',
        "<style>* { background: url(https://example.org) }</style>",
        '<animate attributeName="href" to="javascript:alert(1)"/>',
    ],
)
def test_whatever_acts_or_calls_out_is_dropped(bad):
    svg = clean(f"<svg {NAMESPACE}><g>{bad}</g></svg>".encode(), name="one").decode()
    assert not re.search(r"example|alert|script|svg\+xml|style", svg)


def test_style_becomes_attributes():
    svg = clean(f'<svg {NAMESPACE}><path d="M 0 0" style="fill: #fff; behavior: x"/></svg>'.encode(), name="one")
    assert b'fill="#fff"' in svg
    assert b"behavior" not in svg


def test_cleaning_twice_changes_nothing():
    once = picture()
    assert clean(once, name="one") == once


@pytest.mark.parametrize("content", [b"", b"hello", b"<html/>", b'<!DOCTYPE x [<!ENTITY a "b">]><svg>&a;</svg>'])
def test_what_is_no_picture_is_refused(content):
    with pytest.raises(InputError):
        clean(content, name="one")


def test_a_name_that_is_no_identifier_is_refused():
    with pytest.raises(InputError):
        clean(f"<svg {NAMESPACE}/>".encode(), name='x" onload="')

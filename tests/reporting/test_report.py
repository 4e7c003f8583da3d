import base64
import dataclasses
import hashlib
import itertools
import json
import re
from html.parser import HTMLParser
from typing import get_args

import pytest
from tests.reporting import sample
from tests.reporting.names import HOSTILE, renamed

from causal_orchestrator.reporting import report, results_document, words
from causal_orchestrator.results import Estimand

ACTIVE = {"script", "iframe", "object", "embed", "link", "form", "input", "base", "img", "audio", "video"}


class Page(HTMLParser):
    """What a page is made of."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.tags, self.attributes, self.ids, self.texts, self.headings = [], [], [], [], []
        self.open = []
        self.styles = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        self.ids += [value for name, value in attrs if name == "id"]
        self.open.append(tag)

    def handle_endtag(self, tag):
        while self.open and self.open.pop() != tag:
            pass

    def handle_data(self, data):
        if self.open and self.open[-1] == "style":
            self.styles.append(data)
            return
        self.texts.append(data)
        if self.open and re.fullmatch("h[1-6]", self.open[-1]):
            self.headings.append((int(self.open[-1][1]), data))

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())


def page_of(job, figures=None):
    document = results_document.build(job, {"report": "report.html"})
    return report.build(job, document, figures or {}), document


@pytest.fixture(scope="module")
def whole():
    job, reader = sample.drawn()
    figures = {path[8:-4]: content for (_, path), content in reader.files.items()}
    content, document = page_of(job, figures)
    return job, figures, content, document


def check_inert(page):
    assert not ACTIVE & set(page.tags)
    assert not [a for a in page.attributes if a[1].startswith("on") or a[1] == "style"]
    for _, name, value in page.attributes:
        if name in ("href", "src", "xlink:href", "action"):
            local = re.fullmatch(r"#[\w-]+|[\w./]+\.(html|json|csv|md|tex|svg|ipynb|parquet)", value)
            assert local or value.startswith("data:image/png;base64,")
    assert len(page.ids) == len(set(page.ids))


def test_the_page_is_self_contained_inert_and_small(whole):
    _, _, content, _ = whole
    check_inert(Page(content.decode()))
    assert len(content) < 5_000_000


def test_the_policy_allows_the_pages_own_style_sheet_and_nothing_else(whole):
    page = Page(whole[2].decode())
    policy = next(value for tag, name, value in page.attributes if tag == "meta" and "default-src" in (value or ""))
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert len(page.styles) == 1
    digest = base64.b64encode(hashlib.sha256(page.styles[0].encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in policy
    assert "script-src" not in policy
    assert "unsafe" not in policy


def test_the_answer_and_the_verdict_come_first(whole):
    text = Page(whole[2].decode()).text
    first = text.index("Training raised earnings.")
    assert first < text.index("The data answer the question") < text.index("Decision card")
    titles = [title for level, title in Page(whole[2].decode()).headings if level == 2]
    assert titles[:3] == ["Decision card", "What was done, and why", "Effects"]
    assert titles[-1] == "Reproducibility"


def test_headings_form_an_outline(whole):
    levels = [level for level, _ in Page(whole[2].decode()).headings]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(later <= earlier + 1 for earlier, later in itertools.pairwise(levels))


def test_every_effect_gate_and_sensitivity_stands_in_the_page(whole):
    _, _, content, document = whole
    text = Page(content.decode()).text
    for effect in document.treatment_effects:
        assert words.titled(effect.method) in text
        if effect.status == "ok":
            assert words.interval(effect.ci_lower, effect.ci_upper) in text
        else:
            assert effect.error in text
    assert all(result.interpretation in text for result in document.sensitivity_results)
    assert all(check.detail in text for check in document.diagnostics)
    assert document.job_id in text


def test_every_figure_has_words_for_those_who_cannot_see_it(whole):
    _job, figures, content, _ = whole
    page = Page(content.decode())
    assert page.tags.count("figure") == len(figures) > 15
    named = [value for tag, name, value in page.attributes if tag == "svg" and name == "aria-labelledby"]
    assert len(named) == page.tags.count("svg")
    assert all(part in page.ids for value in named for part in value.split())


def test_equal_jobs_give_equal_bytes(whole):
    job, figures, content, document = whole
    assert report.build(job, document, figures) == content


def test_figures_beyond_the_pages_room_are_linked(whole):
    job, figures, _, document = whole
    large = b"<svg>" + b"x" * (report.FIGURE_BYTES * 2 // 3) + b"</svg>"
    content = report.build(job, document, {**figures, "missingness": large, "effect_forest": large})
    assert len(content) < 5_000_000
    assert '<p><a href="figures/effect_forest.svg">' in content.decode()
    assert '<p><a href="figures/missingness.svg">' not in content.decode()


def test_a_refusal_shows_no_number_as_the_answer():
    content, _ = page_of(sample.job(decision="refuse"))
    page = Page(content.decode())
    assert "The data cannot answer the question" in page.text
    assert 'class="big"' not in content.decode()
    assert words.interval(-5000.0, 9000.0) in page.text
    assert "a larger sample of comparable controls" in page.text


def test_without_an_interpreter_the_headline_is_made_from_the_numbers():
    job = sample.job()
    bare = dataclasses.replace(job, results={a: r for a, r in job.results.items() if a != "interpreter"})
    content, document = page_of(bare)
    primary = document.treatment_effects[0]
    assert f"treat changes re78 by {words.number(primary.estimate)}" in Page(content.decode()).text


def test_a_job_of_which_only_the_critique_is_left_still_has_a_page():
    job = sample.job()
    content, _ = page_of(dataclasses.replace(job, results={"critique": job.results["critique"]}))
    check_inert(Page(content.decode()))


def test_a_notebook_that_did_not_run_is_said_to():
    job = sample.job()
    failed = {"n_cells": 18, "executed": False, "numbers_checked": 0}
    content, _ = page_of(dataclasses.replace(job, results={**job.results, "notebook_generator": failed}))
    assert "did not run to its end" in Page(content.decode()).text


@pytest.mark.parametrize("position", range(0, len(HOSTILE), 2))
def test_hostile_names_and_words_stay_text(position):
    plain = sample.job()
    text = json.dumps(plain.results)
    for old, new in renamed(position).items():
        text = text.replace(json.dumps(old), json.dumps(new))
    results = json.loads(text)
    said = HOSTILE[position]
    results["interpreter"] |= {"headline": said, "summary": said, "narrative": list(HOSTILE), "recommendation": said}
    results["critique"]["verdict"]["reasons"] = list(HOSTILE)
    results["study_design"]["reasons"] = list(HOSTILE)
    content, _ = page_of(dataclasses.replace(plain, results=results))
    page = Page(content.decode())
    check_inert(page)
    assert "onerror" not in {name for _, name, _ in page.attributes}
    assert "49" not in page.text.split()
    assert "\u202e" not in content.decode()


def test_every_estimand_has_words() -> None:
    assert set(get_args(Estimand)) == set(report.ESTIMANDS)


def test_the_card_shows_what_treating_whom_is_worth():
    job = sample.job()
    effects = job.results["effect_estimator"]
    row = {"threshold": 500.0, "policy": "treat_by_effect", "share": 0.7, "estimate": 1400.0, "ci_lower": 90.0, "ci_upper": 2710.0}  # fmt: skip
    found = {**effects["heterogeneity"], "net_benefit": {"costs": "given", "rows": [row]}}
    worth = dataclasses.replace(job, results={**job.results, "effect_estimator": {**effects, "heterogeneity": found}})
    page = Page(page_of(worth)[0].decode())
    check_inert(page)
    assert "treat where the effect exceeds the cost" in page.text
    assert words.interval(90.0, 2710.0) in page.text
    assert "Whom to treat, costs taken off" not in Page(page_of(job)[0].decode()).text

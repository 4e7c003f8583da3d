import ast
import base64
import json
import os

import nbformat
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from tests.reporting import sample
from tests.reporting.names import HOSTILE, renamed

from causal_orchestrator.errors import EstimationError
from causal_orchestrator.reporting import notebook

RENDERER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
NAME = st.text(alphabet=st.characters(codec="utf-8"), min_size=1, max_size=40)
TEMPLATES = [
    notebook.IMPORTS, "P = {}", notebook.LOAD, notebook.PROFILE, notebook.EXPLORE, notebook.GRAPH, notebook.ESTIMATE,
    notebook.FOREST, notebook.SENSITIVITY,
]  # fmt: skip


def code(document):
    return ["".join(cell["source"]) for cell in document["cells"] if cell["cell_type"] == "code"]


def words(document):
    return ["".join(cell["source"]) for cell in document["cells"] if cell["cell_type"] == "markdown"]


def check_code(document, job):
    """Every code cell is the template's; the one literal evaluates to the job's parameters."""
    cells = code(document)
    for cell, template in zip(cells, TEMPLATES, strict=True):
        tree, expected = ast.parse(cell), ast.parse(template)
        if template == "P = {}":
            literal = tree.body[0].value
            assert json.dumps(ast.literal_eval(literal)) == json.dumps(notebook.parameters(job))
            tree.body[0].value = expected.body[0].value
        assert ast.dump(tree) == ast.dump(expected)


def check_words(document):
    for text in words(document):
        tokens = [child for token in RENDERER.parse(text) for child in (token, *(token.children or ()))]
        assert not {"html_block", "html_inline", "image", "link_open", "fence", "code_inline"} & {
            t.type for t in tokens
        }
        assert "$" not in text


def cheap(names):
    """Return the sample job with its records' names replaced as JSON text would be, without estimating again."""
    text = json.dumps(CACHE.results)
    for old, new in names.items():
        text = text.replace(json.dumps(old), json.dumps(new))
    return sample.dataclasses_replace(CACHE, results=json.loads(text))


CACHE = sample.job()


def test_the_notebook_is_valid_and_tells_the_whole_story():
    document = notebook.build(CACHE)
    nbformat.validate(nbformat.reads(notebook.to_bytes(document).decode(), as_version=4))
    headings = [line for text in words(document) for line in text.splitlines() if line.startswith("## ")]
    assert headings == [
        "## Introduction and data", "## Profile", "## Exploration", "## Graph", "## Estimation", "## Sensitivity",
        "## Conclusions", "## References",
    ]  # fmt: skip


@pytest.mark.parametrize("position", range(len(HOSTILE)))
def test_hostile_names_and_words_change_no_code_and_no_markup(position):
    names = renamed(position)
    job = cheap(names)
    spoken = {**job.results["interpreter"], "headline": HOSTILE[position], "narrative": list(HOSTILE)}
    job = sample.dataclasses_replace(job, results={**job.results, "interpreter": spoken})
    document = notebook.build(job)
    check_code(document, job)
    check_words(document)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(NAME, min_size=8, max_size=8, unique=True))
def test_any_names_change_no_code_and_no_markup(names):
    columns = ("treat", "age", "educ", "black", "re74", "re75", "re78", "note")
    job = cheap(dict(zip(columns, names, strict=True)))
    document = notebook.build(job)
    check_code(document, job)
    check_words(document)


def test_templates_hold_no_magic():
    lines = [line.strip() for template in TEMPLATES for line in template.splitlines()]
    assert not [line for line in lines if line.startswith(("%", "!", "?")) or line.endswith("?")]


def test_nothing_of_the_machine_enters_the_parameters():
    assert "/somewhere" not in json.dumps(notebook.parameters(CACHE))


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("notebook")
    sample.frame().to_parquet(folder / notebook.SNAPSHOT)
    return notebook.execute(notebook.build(CACHE), folder)


@pytest.mark.slow
def test_the_notebook_runs_from_a_clean_kernel_and_finds_every_number_again(executed):
    text = "".join(line for c in executed["cells"] for o in c.get("outputs", ()) for line in o.get("text", ()))
    numbers = sum(
        value is not None
        for entry in notebook.parameters(CACHE)["effects"]
        for values in (entry["reported"], *entry["rows"])
        for value in values.values()
    )
    assert numbers >= 20
    assert f"{numbers} numbers of 2 methods were computed again and agree" in text
    assert "the E-value was computed again" in text


@pytest.mark.slow
def test_outputs_are_text_or_our_own_pictures(executed):
    nbformat.validate(nbformat.reads(notebook.to_bytes(executed).decode(), as_version=4))
    outputs = [output for cell in executed["cells"] for output in cell.get("outputs", ())]
    kinds = {kind for output in outputs for kind in output.get("data", ())}
    assert kinds == {"text/plain", "image/png"}
    pictures = [o["data"]["image/png"] for o in outputs if "image/png" in o.get("data", ())]
    assert len(pictures) == 2
    assert all(base64.b64decode(picture).startswith(b"\x89PNG") for picture in pictures)


@pytest.mark.slow
def test_a_line_that_the_kernel_sends_in_two_pieces_is_one_output(tmp_path):
    """A kernel sends what is printed when its timer says so, within a line too."""
    source = "import time\nprint('one ', end='', flush=True)\ntime.sleep(0.5)\nprint('line', flush=True)"
    cell = {"cell_type": "code", "id": "cell-00", "metadata": {}, "execution_count": None, "outputs": []}
    found = notebook.execute({**notebook.build(CACHE), "cells": [{**cell, "source": [source]}]}, tmp_path)
    assert found["cells"][0]["outputs"] == [{"output_type": "stream", "name": "stdout", "text": ["one line\n"]}]


@pytest.mark.slow
def test_a_second_run_gives_the_same_bytes(executed, tmp_path):
    sample.frame().to_parquet(tmp_path / notebook.SNAPSHOT)
    again = notebook.execute(notebook.build(CACHE), tmp_path)
    assert notebook.to_bytes(again) == notebook.to_bytes(executed)


@pytest.mark.slow
def test_a_number_that_does_not_come_out_again_fails_the_run(tmp_path):
    sample.frame().to_parquet(tmp_path / notebook.SNAPSHOT)
    effects = json.loads(json.dumps(CACHE.results["effect_estimator"]))
    effects["effects"][0]["estimate"] *= 1 + 1e-6
    job = sample.dataclasses_replace(CACHE, results={**CACHE.results, "effect_estimator": effects})
    with pytest.raises(EstimationError, match="difference_in_means, headline, estimate") as caught:
        notebook.execute(notebook.build(job), tmp_path)
    assert caught.value.code == "NOTEBOOK_FAILED"


@pytest.mark.slow
def test_hostile_names_run_as_names(tmp_path):
    names = renamed(0)
    data = sample.frame(names=names)
    data.to_parquet(tmp_path / notebook.SNAPSHOT)
    job = sample.job(data, names=names)
    notebook.execute(notebook.build(job), tmp_path)
    assert not [name for name in os.listdir(tmp_path) if "pwned" in name]
    assert not os.path.exists("pwned")

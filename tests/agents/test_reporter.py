import dataclasses
import json

import pytest
from tests.reporting import sample

from causal_orchestrator.agents import reporter


@pytest.fixture(scope="module")
def finished():
    job, reader = sample.drawn()
    done = {"n_cells": 18, "executed": True, "numbers_checked": 25}
    return dataclasses.replace(job, results={**job.results, "notebook_generator": done}), reader


def run(job, reader):
    return reporter.run(job, sample.turn("reporter"), reader, sample.no_model)


def test_the_documents_of_a_job_are_written_under_their_paths(finished):
    found = run(*finished)
    written = {"results.json", "report.html", "manifest.json"}
    assert written < set(found.files)
    elsewhere = {path for path in found.result.artifacts.values() if path not in found.files}
    assert {path for path in elsewhere if not path.startswith("figures/")} == {"analysis.ipynb", "snapshot.parquet"}
    assert set(found.files) <= set(found.result.artifacts.values())


def test_equal_jobs_give_equal_results_and_report(finished):
    job, reader = finished
    one, two = run(job, reader), run(dataclasses.replace(job, id="e" * 32, order={}), reader)
    assert one.files["results.json"] == two.files["results.json"]
    assert one.files["report.html"] == two.files["report.html"]
    assert one.files["manifest.json"] != two.files["manifest.json"]


def test_record_results_and_manifest_say_the_same(finished):
    found = run(*finished)
    results, manifest = (json.loads(found.files[f"{name}.json"]) for name in ("results", "manifest"))
    assert found.result.run_id == results["job_id"] == manifest["run_id"]
    assert found.result.verdict == results["verdict"]["decision"]
    assert results["artifacts"] == dict(found.result.artifacts)
    assert set(manifest["files"]) == set(found.files) - {"manifest.json"}


def test_a_figure_that_is_gone_is_linked(finished):
    job, reader = finished
    some = {key: content for key, content in reader.files.items() if "forest" not in key[1]}
    found = run(job, dataclasses.replace(reader, files=some))
    assert b'<a href="figures/effect_forest.svg">' in found.files["report.html"]


def test_a_job_without_figures_or_notebook_promises_none():
    found = run(sample.job(), sample.FakeReader(sample.frame()))
    assert not {name for name in found.result.artifacts if name.startswith(("figure", "notebook"))}

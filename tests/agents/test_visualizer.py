import dataclasses
import json

import pytest
from tests.reporting import sample

from causal_orchestrator import figures
from causal_orchestrator.agents import visualizer
from causal_orchestrator.errors import BlindnessError, StorageError
from causal_orchestrator.results import Figures


def run(job, reader):
    return visualizer.run(job, sample.turn("visualizer"), reader, sample.no_model)


def raising(error):
    def draw(evidence):
        raise error

    return draw


@pytest.fixture
def only_forest(monkeypatch):
    monkeypatch.setattr(visualizer, "FIGURES", {"effect_forest": figures.FIGURES["effect_forest"]})


def test_a_figure_that_fails_is_skipped_with_its_error(monkeypatch, only_forest):
    monkeypatch.setattr(visualizer, "load", lambda spec: raising(ValueError("no room")))
    found = run(sample.job(), sample.FakeReader(sample.frame()))
    assert found.result.skipped == {"effect_forest": "ValueError: no room"}
    assert found.files == {}


@pytest.mark.parametrize("error", [StorageError("down"), BlindnessError("closed")])
def test_a_failing_world_is_not_taken_for_a_missing_figure(monkeypatch, only_forest, error):
    monkeypatch.setattr(visualizer, "load", lambda spec: raising(error))
    with pytest.raises(type(error)):
        run(sample.job(), sample.FakeReader(sample.frame()))


def test_the_data_are_read_under_the_view_that_the_agent_declared():
    _, reader = sample.drawn()
    assert {view for _, view in reader.asked} == {"all"}


def test_the_record_survives_json_and_names_its_files():
    job, reader = sample.drawn()
    again = Figures.model_validate_json(json.dumps(job.results["visualizer"]))
    assert {("visualizer", figure.file) for figure in again.figures} == set(reader.files)


def test_without_any_record_nothing_is_drawn_and_nothing_fails():
    empty = dataclasses.replace(sample.job(), results={})
    assert run(empty, sample.FakeReader(sample.frame())).result.figures == ()

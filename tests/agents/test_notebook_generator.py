import json

import pytest
from tests.reporting import sample

from causal_orchestrator.agents import notebook_generator
from causal_orchestrator.errors import EstimationError
from causal_orchestrator.reporting import notebook


@pytest.fixture
def reader(tmp_path):
    return sample.FakeReader(sample.frame(), folder=tmp_path)


def run(job, reader):
    return notebook_generator.run(job, sample.turn("notebook_generator"), reader, sample.no_model)


def test_a_notebook_that_fails_is_delivered_with_a_warning(monkeypatch, reader):
    def fail(made, folder):
        raise EstimationError("a number differs", code="NOTEBOOK_FAILED")

    monkeypatch.setattr(notebook, "execute", fail)
    found = run(sample.job(), reader)
    assert not found.result.executed
    assert found.result.numbers_checked == 0
    assert found.result.warnings[0].code == "NOTEBOOK_FAILED"
    assert json.loads(found.files["analysis.ipynb"])["nbformat"] == 4


@pytest.mark.slow
def test_the_notebook_runs_beside_the_snapshot_and_counts_what_it_compared(reader):
    found = run(sample.job(), reader)
    assert found.result.executed
    assert found.result.warnings == ()
    assert found.result.numbers_checked == notebook.numbers_checked(notebook.parameters(sample.job())) > 20
    cells = json.loads(found.files["analysis.ipynb"])["cells"]
    assert [c["execution_count"] for c in cells if c["cell_type"] == "code"] == list(range(1, 10))


@pytest.mark.slow
def test_a_refused_job_has_a_notebook_without_estimates(reader):
    found = run(sample.job(decision="refuse"), reader)
    assert found.result.executed
    assert found.result.numbers_checked == 0

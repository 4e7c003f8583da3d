"""A panel study as one whole job: from the table to the verdict, the bounds and their figure."""

import json
from pathlib import Path

import pytest

from causal_orchestrator import api, laptop, runtime
from causal_orchestrator.backends import connect
from causal_orchestrator.settings import Settings
from causal_orchestrator.simulate import SIMULATIONS


@pytest.mark.exhaustive  # the notebook runs, too; the parts are in tests/figures/test_designs.py and tests/test_verdict.py
def test_a_staggered_panel_is_analysed_as_one(tmp_path: Path) -> None:
    made = SIMULATIONS["panel_staggered"](1_800, seed=2)
    asked = api._question(made.question.model_dump(exclude={"preferences"}), {"seed": 0}, {})
    settings = Settings(home=tmp_path, workers=0)
    backends = connect(settings)
    job = runtime.start_job(backends, asked, api._source(made.frame, backends), tenant=api.TENANT)
    ended = laptop.run(settings, job_ids=[job])[0]
    assert ended.state == "completed"
    _, steps = runtime.get_job(backends, job, tenant=api.TENANT)
    results = runtime.view(backends, ended, steps).results
    plan, verdict = results["study_design"], results["critique"]["verdict"]
    assert (plan["design"], plan["estimand"]) == ("panel", "ATT")
    assert verdict["decision"] == "answer", json.dumps(verdict)
    headline = next(e for e in results["effect_estimator"]["effects"] if e["role"] == "primary")
    assert headline["ci_lower"] < made.truth["ATT"] < headline["ci_upper"]
    bounds = next(r for r in results["sensitivity_analyst"]["results"] if r["method"] == "honest_did")
    assert bounds["passed"]
    assert bounds["value"] is None or bounds["value"] > 1
    drawn = {figure["name"] for figure in results["visualizer"]["figures"]}
    assert {"honest_did", "parallel_trends", "event_study"} <= drawn

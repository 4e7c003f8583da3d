"""The gate asks a real service the question that this machine has answered, and sees when it answers otherwise."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from tests.http.conftest import made
from tests.models.runs import HERE, experiment, run

from causal_orchestrator import laptop
from causal_orchestrator.question import Question
from causal_orchestrator.settings import Settings
from deploy import gate

DATA, EXPECTED, ASKED = "data.csv", "expected.json", "question.json"
QUESTION = {"treatment": "t", "outcome": "y", "randomized": True}


@pytest.fixture
def answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return this machine's results; data and results lie in the folder, and `gate` speaks to a service beside it."""
    experiment(60).to_csv(tmp_path / DATA, index=False)
    (tmp_path / ASKED).write_text(json.dumps(QUESTION), encoding="utf-8")
    results = run(tmp_path / "here", Question.model_validate(QUESTION), tmp_path / DATA, None, monkeypatch).results
    (tmp_path / EXPECTED).write_text(json.dumps(results), encoding="utf-8")
    world = made(tmp_path / "there")

    def call(address: str, key: str, body: bytes | None = None, kind: str = "") -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {key}", **({"Content-Type": kind} if kind else {})}
        path = address.removeprefix("http://localhost")
        answer = world.client.open(path, method="GET" if body is None else "POST", data=body, headers=headers)
        assert answer.status_code < 300, answer.text
        found: dict[str, Any] = answer.get_json()
        if path == "/api/v1/jobs":
            laptop.run(Settings(home=tmp_path / "there" / "home", workers=0), job_ids=[found["job_id"]], agents=HERE)
        return found

    monkeypatch.setattr(gate, "_call", call)
    monkeypatch.setenv("CAUSAL_API_KEY", world.keys["owner"])
    return results


def asked(folder: Path) -> int:
    files = {"--data": DATA, "--question": ASKED, "--expected": EXPECTED}
    return gate.main(["--url", "http://localhost", *(x for k, v in files.items() for x in (k, str(folder / v)))])


def test_the_same_answer_passes_and_another_does_not(tmp_path: Path, answered: dict[str, Any]) -> None:
    assert asked(tmp_path) == 0
    changed = copy.deepcopy(answered)
    changed["treatment_effects"][0]["estimate"] *= 1 + 1e-6
    (tmp_path / EXPECTED).write_text(json.dumps(changed), encoding="utf-8")
    assert asked(tmp_path) == 1


@pytest.mark.parametrize(
    ("found", "wrong"),
    [
        ({"verdict": {"decision": "answer"}, "treatment_effects": [{"estimate": 1.0}]}, 0),
        ({"verdict": {"decision": "answer"}, "treatment_effects": [{"estimate": 1.0 + 1e-12}]}, 0),
        ({"verdict": {"decision": "answer"}, "treatment_effects": [{"estimate": 1.1}]}, 1),
        ({"verdict": {"decision": "answer"}, "treatment_effects": [{"estimate": None}]}, 1),
        ({"verdict": {"decision": "answer"}, "treatment_effects": []}, 1),
        ({"verdict": {"decision": "limited"}, "treatment_effects": [{"estimate": 1.0}]}, 1),
        ({"treatment_effects": [{"estimate": 1.0}]}, 1),
    ],
)
def test_a_difference_that_a_reader_would_act_on_is_found(found: dict[str, Any], wrong: int) -> None:
    expected = {"verdict": {"decision": "answer"}, "treatment_effects": [{"estimate": 1.0}], "job_id": "x"}
    assert len(gate.differences(expected, found)) == wrong

"""Every way in which a model may fail (corpus L): at most two repairs, at most three HTTP calls for each question."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import google.genai  # noqa: F401 (imported once, before time is taken)
import pytest
from tests.models.asked import PLANNERS, decide, opened, start
from tests.models.peer import Peer

from causal_orchestrator import asking

HERE = Path(__file__).parent
CASES: dict[str, dict[str, Any]] = json.loads((HERE / "corpus.json").read_text(encoding="utf-8"))
EXPECTED: dict[str, dict[str, Any]] = json.loads((HERE / "expected.json").read_text(encoding="utf-8"))
FORMATS = ("gemini", "claude", "openai")  # the Developer API differs from Vertex in address and key alone
GOOD = {"agent": "two", "reasoning": "it is worth more"}
MAX_READING = 0.05  # seconds for a reply that is a bomb; the specification's bound


def say_of(case: Mapping[str, Any]) -> dict[str, Any]:
    """Put the good answer and the long ones into a case."""
    say = dict(case["say"])
    for name in ("text", "splice"):
        if name in say:
            text = say[name].replace("@GOOD@", json.dumps(GOOD)).replace("@DIGITS@", '{"agent": ' + "9" * 5000 + "}")
            say[name] = text.replace("@DEEP@", "[" * 100_000 + "]" * 100_000)
    if say.get("args") == "@GOOD@":
        say["args"] = GOOD
    return say


def test_every_case_has_its_expectation_and_every_expectation_its_case() -> None:
    assert set(CASES) == set(EXPECTED)
    assert {key.split("-")[0] for key in CASES} == {f"L{k}" for k in range(1, 29)}
    tests = "".join(path.read_text(encoding="utf-8") for path in HERE.glob("test_*.py"))
    for key, case in CASES.items():
        assert case.get("test") == EXPECTED[key].get("test")
        assert "say" in case or f"def {case['test']}(" in tests, f"{key} names a test that is not there"


@pytest.mark.parametrize("planner", FORMATS)
@pytest.mark.parametrize("key", [key for key, case in CASES.items() if "say" in case])
def test_a_failing_model_is_asked_a_few_times_and_the_loop_goes_on(
    key: str, planner: str, peer: Peer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case, expected = CASES[key], EXPECTED[key]
    expected = expected.get(planner, expected.get("*", expected))
    say = say_of(case)
    peer.say = lambda prompt: say
    monkeypatch.setattr(asking, "MAX_SECONDS", case.get("seconds", 10.0))
    store = opened(tmp_path / "home", peer, planner)
    started = time.monotonic()
    choice, decision, job = decide(store, start(store))
    store.close()
    assert (decision.by, job.calls, len(peer.heard)) == (expected["by"], expected["reservations"], expected["http"])
    assert len(peer.heard) <= 3 * job.calls
    assert choice.agent == ("two" if decision.by == "model" else "one")
    if "refused" in expected:
        assert re.search(re.escape(expected["refused"]), decision.refused[-1]), decision.refused
    if "seconds" in expected:
        assert time.monotonic() - started < expected["seconds"]


@pytest.mark.parametrize("planner", PLANNERS)
def test_a_good_reply_is_taken_with_one_call(planner: str, peer: Peer, tmp_path: Path) -> None:
    peer.say = lambda prompt: {"args": GOOD}
    store = opened(tmp_path / "home", peer, planner)
    choice, decision, job = decide(store, start(store))
    store.close()
    assert (choice.agent, decision.by, decision.refused, job.calls, len(peer.heard)) == ("two", "model", (), 1, 1)


@pytest.mark.parametrize("key", ["L11-digits", "L11-deep"])
def test_a_bomb_is_refused_at_once(key: str) -> None:
    from causal_orchestrator.errors import ModelUnavailable
    from causal_orchestrator.models.answers import from_text

    text = say_of(CASES[key])["splice"]
    started = time.process_time()
    with pytest.raises(ModelUnavailable):
        from_text(text)
    assert time.process_time() - started < MAX_READING

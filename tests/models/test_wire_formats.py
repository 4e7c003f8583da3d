"""What goes over the wire, to whom, with which credentials."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from tests.models.asked import PLANNERS, decide, opened, setting, start
from tests.models.peer import Peer

from causal_orchestrator.asking import asker
from causal_orchestrator.backends.local import open_store
from causal_orchestrator.errors import InputError, ModelUnavailable
from causal_orchestrator.settings import Settings

GOOD = {"agent": "two", "reasoning": "it is worth more"}
PATHS = {
    "gemini": "/v1/projects/p/locations/us-central1/publishers/google/models/m:generateContent",
    "gemini-key": "/v1/models/m:generateContent",
    "claude": "/v1/messages",
    "openai": "/chat/completions",
}
CREDENTIALS = {
    "gemini": ("authorization", "Bearer fake"),
    "gemini-key": ("x-goog-api-key", "key"),
    "claude": ("x-api-key", "key"),
    "openai": ("authorization", "Bearer key"),
}


@pytest.mark.parametrize("planner", PLANNERS)
def test_each_provider_is_asked_at_its_address_with_its_credentials(planner: str, peer: Peer, tmp_path: Path) -> None:
    peer.say = lambda prompt: {"args": GOOD}
    store = opened(tmp_path / "home", peer, planner)
    decide(store, start(store))
    ((path, headers, _),) = peer.heard
    name, value = CREDENTIALS[planner]
    assert path == PATHS[planner]
    assert {k.lower(): v for k, v in headers.items()}[name] == value
    store.close()


@pytest.mark.parametrize("planner", PLANNERS)
def test_what_a_call_cost_is_kept_with_the_job_beside_prompt_and_reply(
    planner: str, peer: Peer, tmp_path: Path
) -> None:
    peer.say = lambda prompt: {"args": GOOD}
    store = opened(tmp_path / "home", peer, planner, model_prices=(1.0, 10.0))
    job_id = start(store)
    decide(store, job_id)
    ((_, kept),) = store.backends.documents.list(f"jobs/{job_id}/asked")
    store.close()
    assert kept["reply"] == GOOD
    assert kept["prompt"] == peer.prompts[0]
    (call,) = kept["calls"]
    assert (call["tokens_in"], call["tokens_out"], call["calls"]) == (31, 9, 1)
    assert call["cost"] == pytest.approx((31 * 1.0 + 9 * 10.0) / 1e6)
    assert call["by"].split(":")[0] == planner.removesuffix("-key")


def test_the_same_prompt_is_not_paid_for_twice(peer: Peer, tmp_path: Path) -> None:
    peer.say = lambda prompt: {"args": GOOD}
    store = opened(tmp_path / "home", peer, "claude")
    job_id = start(store)
    first, _, _ = decide(store, job_id)
    peer.say = lambda prompt: {"status": 500}
    again, decision, job = decide(store, job_id)
    store.close()
    assert (first.agent, again.agent, decision.by, job.calls, len(peer.heard)) == ("two", "two", "model", 1, 1)


@pytest.mark.parametrize(
    ("planner", "by"), [(None, "model"), ("claude", "model"), ("offline", "offline"), ("openai", "offline")]
)
def test_a_job_may_choose_the_planner_that_is_configured_or_none(
    planner: str | None, by: str, peer: Peer, tmp_path: Path
) -> None:
    peer.say = lambda prompt: {"args": GOOD}
    store = opened(tmp_path / "home", peer, "claude")
    _, decision, _ = decide(store, start(store, preferences={"planner": planner}))
    store.close()
    assert decision.by == by
    assert decision.refused == (("the planner 'openai' is not configured here",) if planner == "openai" else ())


def test_without_credentials_the_offline_planner_decides(
    peer: Peer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "nothing.json"))
    store = opened(tmp_path / "home", peer, "gemini")
    _, decision, _ = decide(store, start(store))
    store.close()
    assert (decision.by, peer.heard) == ("offline", [])


@pytest.mark.parametrize(
    "fields",
    [
        {"planner": "oracle"},
        {"model": ""},
        {"model_url": "http://example.org"},
        {"model_url": "ftp://127.0.0.1"},
        {"model_replay": Path("nowhere.jsonl")},
    ],
)
def test_settings_that_cannot_be_meant_are_refused_at_the_start(fields: dict[str, object], tmp_path: Path) -> None:
    whole = {"planner": "claude", "model": "m", **fields}
    with pytest.raises(InputError):
        open_store(Settings(home=tmp_path, **whole))  # type: ignore[arg-type]


def test_a_local_model_needs_no_key(peer: Peer, tmp_path: Path) -> None:
    peer.say = lambda prompt: {"args": GOOD}
    store = open_store(Settings(home=tmp_path, planner="openai", model="m", model_url=peer.url))
    _, decision, _ = decide(store, start(store))
    store.close()
    assert decision.by == "model"
    assert "Authorization" not in peer.heard[0][1]


def test_a_job_is_run_again_from_recorded_replies_without_a_network(peer: Peer, tmp_path: Path) -> None:
    peer.say = lambda prompt: {"args": {"agent": "nobody", "reasoning": "x"} if len(peer.heard) == 1 else GOOD}
    file = tmp_path / "replies.jsonl"
    store = open_store(setting(tmp_path / "one", peer, "claude", model_record=file))
    first = decide(store, start(store))[:2]
    store.close()
    calls = len(peer.heard)
    store = open_store(Settings(home=tmp_path / "two", planner="claude", model_replay=file))
    assert decide(store, start(store))[:2] == first
    with pytest.raises(ModelUnavailable, match="recorded"):
        store.backends.model.ask("something else", {"title": "dispatch_to_agent"}, timeout=1)  # type: ignore[union-attr]
    store.close()
    assert len(peer.heard) == calls


class Counted(BaseModel):
    n: int


@pytest.mark.parametrize(("n", "fits"), [(5, True), ("5", False), (5.0, False), (True, False)])
def test_no_value_of_a_reply_is_converted(n: object, fits: bool, tmp_path: Path) -> None:
    class Model:
        name = "fixed"

        def ask(self, prompt: str, schema: Mapping[str, Any], *, timeout: float) -> Mapping[str, Any]:
            return {"n": n}

    store = open_store(Settings(home=tmp_path))
    backends = replace(store.backends, model=Model())
    ask = asker(backends, start(store), check=lambda job, found, made: None, step=0, span="0" * 16)
    if fits:
        assert ask("How many?", Counted).n == n
    else:
        with pytest.raises(ModelUnavailable, match="form"):
            ask("How many?", Counted)
    store.close()

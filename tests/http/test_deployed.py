"""The app as it is deployed: who may call it, by the secret that names them (SEC-1)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from causal_orchestrator.backends import connect
from causal_orchestrator.errors import InputError
from causal_orchestrator.http import deployed
from causal_orchestrator.http.auth import PEPPER, Principal, add_key, make_key
from causal_orchestrator.settings import Settings

MAIL = "analyst@project.iam.gserviceaccount.com"


def settings(home: Path, principals: object = None, url: str = "https://api.example") -> Settings:
    secrets = {} if principals is None else {deployed.PRINCIPALS: json.dumps(principals)}
    return Settings(home=home, url=url, environment="staging", environ={PEPPER: "0" * 64, **secrets})


def test_the_secret_says_whose_tokens_are_taken(tmp_path: Path) -> None:
    chosen = settings(tmp_path, {MAIL: {"tenant": "acme", "role": "analyst"}})
    rules = deployed._rules(chosen, connect(chosen))
    assert rules is not None
    assert rules.audience == "https://api.example"
    assert rules.principals == {MAIL: Principal(name=MAIL, tenant="acme", role="analyst")}


@pytest.mark.parametrize(
    "chosen", [{"principals": None}, {"principals": {MAIL: {"tenant": "a", "role": "viewer"}}, "url": ""}]
)
def test_without_names_or_an_address_no_token_is_taken(tmp_path: Path, chosen: dict[str, object]) -> None:
    found = settings(tmp_path, **chosen)  # type: ignore[arg-type]
    assert deployed._rules(found, connect(found)) is None


@pytest.mark.parametrize(
    "principals",
    [[], "x", {MAIL: "analyst"}, {MAIL: {"tenant": "a"}}, {MAIL: {"tenant": "a", "role": "root"}},
     {MAIL: {"tenant": "a", "role": "viewer", "more": 1}}],
)  # fmt: skip
def test_a_secret_that_does_not_say_who_may_call_is_refused(tmp_path: Path, principals: object) -> None:
    chosen = settings(tmp_path, principals)
    with pytest.raises(InputError, match=deployed.PRINCIPALS):
        deployed._rules(chosen, connect(chosen))


def test_keys_are_those_of_the_deployments_own_environment(tmp_path: Path) -> None:
    chosen = settings(tmp_path)
    backends = connect(chosen)
    client = deployed.deployed(chosen, backends).test_client()
    for environment, status in (("staging", 200), ("production", 401)):
        key = make_key(environment)
        add_key(backends, key, name="a", tenant="acme", role="viewer")
        found = client.get("/api/v1/jobs", headers={"Authorization": f"Bearer {key}"})
        assert found.status_code == status
    assert client.get("/health").status_code == 200

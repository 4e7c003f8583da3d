"""A key that was made opens the door, and one that was revoked does not."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from causal_orchestrator.backends import connect
from causal_orchestrator.http.auth import PEPPER, Unauthenticated, authenticate
from causal_orchestrator.settings import Settings
from deploy import api_key


def test_a_key_is_made_and_revoked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {"CAUSAL_HOME": str(tmp_path), "CAUSAL_ENVIRONMENT": "staging", PEPPER: "0" * 64}.items():
        monkeypatch.setenv(name, value)
    api_key.main(["make", "--name", "gate", "--tenant", "acme", "--role", "analyst"])
    key = capsys.readouterr().out.strip()
    assert key.startswith("co_staging_")
    backends = connect(Settings.from_environment())
    found = authenticate(backends, f"Bearer {key}", environment="staging", tokens=None)
    assert (found.name, found.tenant, found.role) == ("gate", "acme", "analyst")
    monkeypatch.setattr("sys.stdin", io.StringIO(key + "\n"))
    api_key.main(["revoke"])
    with pytest.raises(Unauthenticated):
        authenticate(backends, f"Bearer {key}", environment="staging", tokens=None)

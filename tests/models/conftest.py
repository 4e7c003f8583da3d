"""A peer for every test, and application default credentials that it honours."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from tests.models.peer import Peer, serving


@pytest.fixture(scope="session")
def private_key() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()


@pytest.fixture
def peer(tmp_path: Path, private_key: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Peer]:
    with serving() as found:
        account = {
            "type": "service_account", "project_id": "p", "private_key": private_key, "private_key_id": "k",
            "client_email": "a@p.iam.gserviceaccount.com", "token_uri": f"{found.url}/token",
        }  # fmt: skip
        path = tmp_path / "account.json"
        path.write_text(json.dumps(account))
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
        yield found

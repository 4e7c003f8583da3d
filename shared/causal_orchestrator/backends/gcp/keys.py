"""Named secrets in Secret Manager."""

from __future__ import annotations

from collections.abc import Mapping

import google_crc32c
from google.cloud.secretmanager_v1.services.secret_manager_service import SecretManagerServiceClient

from causal_orchestrator.backends.gcp.calling import TIMEOUT, insist
from causal_orchestrator.errors import NotFound, StorageError


class GoogleSecrets:
    """The port `Secrets`: the environment first, where deployment puts them, then the newest version of the secret."""

    def __init__(self, client: SecretManagerServiceClient, project: str, environ: Mapping[str, str]) -> None:
        self._client = client
        self._project = project
        self._environ = environ

    def get(self, name: str) -> str:
        """Return the secret (raises `NotFound`)."""
        if not name.replace("_", "").replace("-", "").isalnum():
            raise NotFound("there is no secret of that name")
        if self._environ.get(name):
            return self._environ[name]
        version = f"projects/{self._project}/secrets/{name}/versions/latest"
        found = insist(
            lambda: self._client.access_secret_version(name=version, retry=None, timeout=TIMEOUT),
            what="reading a secret",
        )
        data = found.payload.data
        if found.payload.data_crc32c and found.payload.data_crc32c != google_crc32c.value(data):
            raise StorageError(f"the secret {name} arrived damaged", code="STORAGE_CORRUPT")
        return data.decode().strip()

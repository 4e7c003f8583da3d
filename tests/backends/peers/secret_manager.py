"""Secret Manager: the newest version of a secret."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import google_crc32c
from google.cloud.secretmanager_v1 import types
from grpc import StatusCode
from tests.backends.peers.server import Faults, Refused, served


class SecretManager:
    """The secrets by the full name of their newest version; those in `damaged` arrive with another checksum."""

    def __init__(self) -> None:
        self.secrets: dict[str, bytes] = {}
        self.damaged: set[str] = set()

    def access(self, request: Any) -> Any:
        if request.name not in self.secrets:
            raise Refused(StatusCode.NOT_FOUND)
        data = self.secrets[request.name]
        checksum = google_crc32c.value(data) + (request.name in self.damaged)
        return types.AccessSecretVersionResponse.pb()(payload={"data": data, "data_crc32c": checksum})


@contextmanager
def secret_manager(peer: SecretManager, faults: Faults) -> Iterator[str]:
    """Serve Secret Manager; give the address."""
    methods: Any = {"AccessSecretVersion": (peer.access, types.AccessSecretVersionRequest)}
    with served({"google.cloud.secretmanager.v1.SecretManagerService": methods}, faults) as address:
        yield address

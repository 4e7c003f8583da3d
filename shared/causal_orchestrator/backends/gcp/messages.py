"""Messages over Pub/Sub, one call a message.

The client that publishes in batches from threads of its own would leave messages behind in an instance whose processor
is taken away between requests; the generated client publishes when it is told to, and says how it went.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from google.pubsub_v1.services.publisher import PublisherClient
from google.pubsub_v1.types import PubsubMessage

from causal_orchestrator.backends.gcp.calling import TIMEOUT, delivered, insist
from causal_orchestrator.errors import InputError

MAX_BODY = 2048


class GoogleMessages:
    """The port `Messages`: a topic of the project for each of ours."""

    def __init__(self, client: PublisherClient, project: str) -> None:
        self._client = client
        self._project = project

    def publish(self, topic: str, body: Mapping[str, Any]) -> None:
        """Send `body` to `topic`; a message that is sent twice is a hint that is given twice."""
        name = self._client.topic_path(self._project, topic)
        message = PubsubMessage(data=to_data(body))
        with delivered():
            insist(
                lambda: self._client.publish(topic=name, messages=[message], retry=None, timeout=TIMEOUT),
                what="publishing",
            )


def to_data(body: Mapping[str, Any]) -> bytes:
    """Return a message's bytes (raises InputError ``MESSAGE_SIZE``)."""
    data = json.dumps(dict(body), sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
    if len(data) > MAX_BODY:
        raise InputError(f"a message of {len(data)} bytes is larger than {MAX_BODY}", code="MESSAGE_SIZE")
    return data

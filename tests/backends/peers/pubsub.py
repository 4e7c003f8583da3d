"""Pub/Sub: topics, one pull subscription or more to each, loans, and a dead end after too many deliveries."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from google.protobuf.empty_pb2 import Empty
from google.pubsub_v1 import types
from grpc import StatusCode
from tests.backends.peers.server import Faults, Refused, served


@dataclass
class Held:
    """A message in a subscription: how often it was delivered and whether it is on loan."""

    message: Any
    deliveries: int = 0
    lent: bool = False


@dataclass
class Subscription:
    topic: str
    most: int
    held: dict[str, Held] = field(default_factory=dict)


class PubSub:
    def __init__(self) -> None:
        self.topics: set[str] = set()
        self.subscriptions: dict[str, Subscription] = {}
        self.numbers = count(1)

    def create_topic(self, topic: Any) -> Any:
        self.topics.add(topic.name)
        return topic

    def create_subscription(self, asked: Any) -> Any:
        most = asked.dead_letter_policy.max_delivery_attempts or 10**9
        self.subscriptions[asked.name] = Subscription(asked.topic, most)
        return asked

    def publish(self, request: Any) -> Any:
        if request.topic not in self.topics:
            raise Refused(StatusCode.NOT_FOUND, "there is no such topic")
        keys = []
        for message in request.messages:
            keys.append(str(next(self.numbers)))
            for subscription in self.subscriptions.values():
                if subscription.topic == request.topic:
                    subscription.held[keys[-1]] = Held(message)
        return types.PublishResponse.pb()(message_ids=keys)

    def pull(self, request: Any) -> Any:
        subscription = self.subscriptions[request.subscription]
        given = []
        for key, held in list(subscription.held.items()):
            if held.lent or len(given) == request.max_messages:
                continue
            held.deliveries += 1
            if held.deliveries > subscription.most:
                del subscription.held[key]
                continue
            held.lent = True
            given.append({"ack_id": key, "message": held.message, "delivery_attempt": held.deliveries})
        return types.PullResponse.pb()(received_messages=given)

    def acknowledge(self, request: Any) -> Any:
        for key in request.ack_ids:
            self.subscriptions[request.subscription].held.pop(key, None)
        return Empty()

    def modify(self, request: Any) -> Any:
        held = self.subscriptions[request.subscription].held
        for key in request.ack_ids:
            if key in held and request.ack_deadline_seconds == 0:
                held[key].lent = False
        return Empty()


@contextmanager
def pubsub(faults: Faults) -> Iterator[str]:
    """Serve a fresh Pub/Sub; give its address."""
    peer = PubSub()
    publisher: Any = {
        "CreateTopic": (peer.create_topic, types.Topic),
        "Publish": (peer.publish, types.PublishRequest),
    }
    subscriber: Any = {
        "CreateSubscription": (peer.create_subscription, types.Subscription),
        "Pull": (peer.pull, types.PullRequest),
        "Acknowledge": (peer.acknowledge, types.AcknowledgeRequest),
        "ModifyAckDeadline": (peer.modify, types.ModifyAckDeadlineRequest),
    }
    services = {"google.pubsub.v1.Publisher": publisher, "google.pubsub.v1.Subscriber": subscriber}
    with served(services, faults) as address:
        yield address

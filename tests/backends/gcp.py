"""The Google Cloud backends over loopback peers, and over the official emulators where they are installed."""

from __future__ import annotations

import base64
import json
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import grpc  # type: ignore[import-untyped]
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from google.auth.credentials import AnonymousCredentials, Signing
from google.cloud.firestore_v1.services.firestore import FirestoreClient
from google.pubsub_v1.services.publisher import PublisherClient
from google.pubsub_v1.services.subscriber import SubscriberClient
from tests.backends.clock import Clock
from tests.backends.contract import World
from tests.backends.peers.cloud_tasks import CloudTasks, cloud_tasks
from tests.backends.peers.emulators import emulators, sdk
from tests.backends.peers.firestore import firestore
from tests.backends.peers.pubsub import pubsub
from tests.backends.peers.run import Run, run
from tests.backends.peers.secret_manager import SecretManager, secret_manager
from tests.backends.peers.server import Faults
from tests.backends.peers.storage import Storage, storage

from causal_orchestrator.backends.gcp import connect
from causal_orchestrator.backends.ports import Backends
from causal_orchestrator.settings import Settings

TOPIC = "eda"
BUCKET = "files"
REGION = "europe-west1"
ACCOUNT = "steps@project.iam.gserviceaccount.com"
RETRY_SECONDS = 600  # the longest that a subscription of the deployment waits with a message that failed
MAX_DELIVERIES = 20  # as in the deployment
TIMEOUT = 10.0


@dataclass
class Peers:
    """Servers that are up: where they are, and the hands that tests have on them."""

    environ: dict[str, str]
    key: Any
    faults: Faults
    storage: Storage
    run: Run
    tasks: CloudTasks
    secrets: SecretManager


OPEN = ExitStack()
NUMBERS = count(1)


@cache
def peers(kind: str) -> Peers:
    """Start the servers, once; `OPEN` closes them."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    found = Peers({}, key, Faults(), Storage(key.public_key()), Run(), CloudTasks(), SecretManager())
    root = sdk() if kind == "emulators" else None
    if root is None:
        documents, messages = (OPEN.enter_context(serve(found.faults)) for serve in (firestore, pubsub))
    else:
        documents, messages = OPEN.enter_context(emulators(root))
    found.environ.update(FIRESTORE_EMULATOR_HOST=documents, PUBSUB_EMULATOR_HOST=messages)
    servers = {
        "STORAGE": storage(found.storage),
        "RUN": run(found.run, found.faults),
        "TASKS": cloud_tasks(found.tasks, found.faults),
        "SECRETS": secret_manager(found.secrets, found.faults),
    }
    for service, server in servers.items():
        found.environ[f"{service}_EMULATOR_HOST"] = OPEN.enter_context(server)
    return found


def settings(up: Peers, folder: Path) -> Settings:
    """Return the settings of a project that nobody has used yet."""
    number = next(NUMBERS)
    return Settings(
        backend="gcp", project=f"project-{number}", region=REGION, bucket=f"{BUCKET}-{number}", home=folder,
        service_account=ACCOUNT, environ=up.environ,
    )  # fmt: skip


class Key(AnonymousCredentials, Signing):  # type: ignore[misc]
    """Credentials that sign with a key of their own and ask nobody for anything."""

    def __init__(self, key: Any) -> None:
        super().__init__()
        self._key = key

    @property
    def signer_email(self) -> str:
        return ACCOUNT

    @property
    def signer(self) -> Any:
        return self

    def sign_bytes(self, message: bytes) -> bytes:
        signature: bytes = self._key.sign(message, padding.PKCS1v15(), SHA256())
        return signature


def connected(up: Peers, chosen: Settings, now: Any = None) -> Backends:
    """Return backends whose credentials can sign."""
    return connect(chosen, now=now, credentials=Key(up.key))


@dataclass
class Loan:
    """A message from the subscription, or a task of an execution (which has no `key`)."""

    topic: str
    body: Mapping[str, Any]
    key: str = ""


@dataclass
class Consumer:
    """The receiving side, as the deployment sets it up: a subscription, the step's job, the queue, the trigger."""

    up: Peers
    chosen: Settings
    clock: Clock
    backends: Backends
    tasks: list[Loan] = field(default_factory=list)
    waiting: dict[str, float] = field(default_factory=dict)
    seen: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.place = f"projects/{self.chosen.project}"
        self.subscription = f"{self.place}/subscriptions/{TOPIC}"
        self.publisher = client(PublisherClient, self.up.environ["PUBSUB_EMULATOR_HOST"])
        self.subscriber = client(SubscriberClient, self.up.environ["PUBSUB_EMULATOR_HOST"])
        self.firestore = client(FirestoreClient, self.up.environ["FIRESTORE_EMULATOR_HOST"])

    def subscribe(self) -> None:
        """Make the topic, its subscription and where dead letters go."""
        topic, dead = f"{self.place}/topics/{TOPIC}", f"{self.place}/topics/dead-letters"
        for name in (topic, dead):
            self.publisher.create_topic(name=name, timeout=TIMEOUT)
        policy = {"dead_letter_topic": dead, "max_delivery_attempts": MAX_DELIVERIES}
        asked = {"name": self.subscription, "topic": topic, "ack_deadline_seconds": 600, "dead_letter_policy": policy}
        self.subscriber.create_subscription(asked, timeout=TIMEOUT)

    def receive(self) -> Loan | None:
        """Take what is due: the delayed messages are published, the executions begun."""
        for request in self.up.tasks.due(f"{self._located()}/queues/later", self.clock()):
            self._deliver(request)
        for environment in self.up.run.begin(f"{self._located()}/jobs/step-job"):
            self.tasks.append(Loan("tasks", _task_body(environment)))
        if self.tasks:
            return self.tasks.pop(0)
        asked = {"subscription": self.subscription, "max_messages": 1, "return_immediately": True}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # a test waits for no message
            found = self.subscriber.pull(asked, timeout=TIMEOUT).received_messages
        if not found:
            return None
        self.waiting[found[0].ack_id] = self.clock().timestamp() + RETRY_SECONDS
        return Loan(TOPIC, json.loads(found[0].message.data), found[0].ack_id)

    def acknowledge(self, loan: Loan) -> None:
        """End a loan for good."""
        if loan.key:
            del self.waiting[loan.key]
            self.subscriber.acknowledge(subscription=self.subscription, ack_ids=[loan.key], timeout=TIMEOUT)

    def advance(self, seconds: float) -> None:
        """Let time pass; what was not acknowledged in time comes back."""
        self.clock.advance(seconds)
        late = [key for key, until in self.waiting.items() if until <= self.clock().timestamp()]
        for key in late:
            del self.waiting[key]
            asked = {"subscription": self.subscription, "ack_ids": [key], "ack_deadline_seconds": 0}
            self.subscriber.modify_ack_deadline(asked, timeout=TIMEOUT)

    def written(self) -> list[str]:
        """Return the jobs that a trigger on steps and parts would have told of."""
        jobs = []
        for group in ("steps", "parts"):
            query = {"from_": [{"collection_id": group, "all_descendants": True}]}
            root = f"{self.place}/databases/(default)/documents"
            for answer in self.firestore.run_query({"parent": root, "structured_query": query}, timeout=TIMEOUT):
                found = answer.document
                if found.name and self.seen.get(found.name) != found.update_time:
                    self.seen[found.name] = found.update_time
                    jobs.append(found.name.removeprefix(root).split("/")[2])
        return jobs

    def _located(self) -> str:
        return f"{self.place}/locations/{REGION}"

    def _deliver(self, request: Any) -> None:
        """Do what Cloud Tasks does with a task: call the address, which is that of Pub/Sub."""
        topic = request.url.removeprefix("https://pubsub.googleapis.com/v1/").removesuffix(":publish")
        for message in json.loads(request.body)["messages"]:
            data = base64.b64decode(message["data"])
            self.publisher.publish(topic=topic, messages=[{"data": data}], timeout=TIMEOUT)


def client(kind: Any, address: str) -> Any:
    """Return a client of Google's that speaks to an address of this machine."""
    return kind(transport=kind.get_transport_class("grpc")(channel=grpc.insecure_channel(address)))


def _task_body(environment: Mapping[str, str]) -> dict[str, Any]:
    body: dict[str, Any] = {"job_id": environment["JOB_ID"], "step": int(environment["STEP"])}
    if environment["PARTS"] != "0":
        body |= {"part": int(environment["CLOUD_RUN_TASK_INDEX"]), "parts": int(environment["PARTS"])}
    return body


def world(kind: str) -> Callable[[Path], Iterator[World]]:
    """Return the factory of worlds over these peers."""

    def make(folder: Path) -> Iterator[World]:
        up, clock = peers(kind), Clock()
        chosen = settings(up, folder / "home")
        consumer = Consumer(up, chosen, clock, connected(up, chosen, clock))
        consumer.subscribe()
        yield World(
            backends=consumer.backends, receive=consumer.receive, acknowledge=consumer.acknowledge,
            refuse=lambda loan: None, advance=consumer.advance, written=consumer.written,
        )  # fmt: skip

    return make


GOOGLE_WORLDS = {"gcp_peers": world("peers"), **({"gcp_emulators": world("emulators")} if sdk() else {})}

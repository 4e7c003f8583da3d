"""What stands between the functions in a cloud: pushes, triggers, the scheduler, delayed messages and job executions.

It turns messages, written documents and new objects into the exact requests that the functions get there, and is as
unkind as told to: deliveries come twice, or never. A delivery that fails is made again, later each time, up to twenty
times, and is then a dead letter. Every wait has an end.
"""

from __future__ import annotations

import base64
import json
import random
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from typing import Any

from google.api_core import exceptions
from google.cloud.firestore_v1.services.firestore import FirestoreClient
from google.cloud.firestore_v1.types import Document
from google.events.cloud.firestore import DocumentEventData
from google.pubsub_v1.services.publisher import PublisherClient
from google.pubsub_v1.services.subscriber import SubscriberClient
from tests.backends import gcp
from tests.functions.deployment import Deployment, at

REQUESTS, EVENTS, DEAD = "analysis-requests", "analysis-events", "dead-letters"
MAX_DELIVERIES = 20
FIRST_REST, LAST_REST = 0.05, 0.5  # seconds; ten to six hundred in the cloud
DELIVERY_SECONDS = 120.0
TASK_SECONDS = 120.0
LOOK_SECONDS = 0.15
PULL_SECONDS = 1.0
DELIVERIES_AT_ONCE = 24


@dataclass
class Unkindness:
    """How deliveries go wrong: each is made `copies` times, and a share `loss` of them not at all."""

    copies: int = 1
    loss: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)  # noqa: S311  fate, not secrecy
        self._lock = threading.Lock()

    def times(self) -> int:
        with self._lock:
            return 0 if self._random.random() < self.loss else self.copies


@dataclass
class Dispatcher:
    """Delivers while its context is open; `counts` says what happened, `dead` holds the dead letters."""

    deployment: Deployment
    unkindness: Unkindness = field(default_factory=Unkindness)
    sweep_seconds: float | None = None  # None: nobody sweeps
    counts: Counter[str] = field(default_factory=Counter)
    dead: list[tuple[str, bytes]] = field(default_factory=list)
    crash: Callable[[str, bytes], bool] = lambda name, body: False

    def __post_init__(self) -> None:
        environ = self.deployment.up.environ
        self.project = f"projects/{self.deployment.chosen.project}"
        self.located = f"{self.project}/locations/{self.deployment.chosen.region}"
        self.publisher = gcp.client(PublisherClient, environ["PUBSUB_EMULATOR_HOST"])
        self.subscriber = gcp.client(SubscriberClient, environ["PUBSUB_EMULATOR_HOST"])
        self.firestore = gcp.client(FirestoreClient, environ["FIRESTORE_EMULATOR_HOST"])
        self.over = threading.Event()
        self.pool = ThreadPoolExecutor(DELIVERIES_AT_ONCE)
        self.seen: dict[str, Any] = {}
        self.announced: set[tuple[str, str, int]] = set()
        self.numbers = count(1)
        self.lock = threading.Lock()
        self.failures: list[BaseException] = []
        self.receivers = {
            name: name for name in self.deployment.addresses if name not in ("api", "coordinator", "sweeper")
        }
        self.receivers[REQUESTS] = self.receivers.pop("request_intake")
        self.receivers.pop("upload_intake")
        self.receivers.pop("dead_letters")  # it gets what the others did not take

    @contextmanager
    def running(self) -> Iterator[Dispatcher]:
        """Set up topics and subscriptions and deliver until the context ends."""
        for topic in (*self.receivers, EVENTS, DEAD):
            self._create(topic)
        loops: list[Callable[[], None]] = [lambda t=topic: self._pull(t) for topic in self.receivers]  # type: ignore[misc]
        loops += [self._look, self._sweep]
        threads = [threading.Thread(target=self._guarded, args=(loop,), daemon=True) for loop in loops]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            self.over.set()
            for thread in threads:
                thread.join(2 * PULL_SECONDS)
            self.pool.shutdown(wait=True, cancel_futures=True)

    def forget(self) -> None:
        """Be kind again and count anew."""
        self.unkindness, self.sweep_seconds, self.crash = Unkindness(), None, lambda name, body: False
        self.counts.clear()
        self.dead.clear()

    def publish(self, topic: str, data: bytes, **attributes: str) -> None:
        """Publish a message."""
        message = {"data": data, "attributes": attributes}
        self.publisher.publish(topic=f"{self.project}/topics/{topic}", messages=[message], timeout=gcp.TIMEOUT)

    def deliver(self, name: str, headers: Mapping[str, str], body: bytes) -> int:
        """Make one request to a function and return its status."""
        request = urllib.request.Request(self.deployment.addresses[name], body, dict(headers), method="POST")  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=DELIVERY_SECONDS) as answer:  # noqa: S310
                return int(answer.status)
        except urllib.error.HTTPError as exc:
            return int(exc.code)
        except OSError:
            return 503

    # --- what happens by itself ---------------------------------------------------------------------------------

    def _create(self, topic: str) -> None:
        full = f"{self.project}/topics/{topic}"
        try:
            self.publisher.create_topic(name=full, timeout=gcp.TIMEOUT)
            asked = {"name": f"{self.project}/subscriptions/{topic}", "topic": full, "ack_deadline_seconds": 600}
            self.subscriber.create_subscription(asked, timeout=gcp.TIMEOUT)
        except exceptions.AlreadyExists:
            return

    def _guarded(self, loop: Callable[[], None]) -> None:
        try:
            loop()
        except BaseException as exc:
            self.failures.append(exc)
            raise

    def _look(self) -> None:
        while not self.over.wait(LOOK_SECONDS):
            self._documents()
            self._objects()
            self._later()
            for environment in self.deployment.up.run.begin(f"{self.located}/jobs/step-job"):
                self.pool.submit(self._task, environment)

    def _later(self) -> None:
        """Publish the delayed messages whose time has come, as their tasks ask for it."""
        for request in self.deployment.up.tasks.due(f"{self.located}/queues/later", datetime.now(UTC)):
            topic = request.url.removesuffix(":publish").rpartition("/")[2]
            for message in json.loads(request.body)["messages"]:
                self.counts["later"] += 1
                self.publish(topic, base64.b64decode(message["data"]))

    def _sweep(self) -> None:
        """Do what Cloud Scheduler does, as often as told to."""
        while not self.over.wait(self.sweep_seconds or LOOK_SECONDS):
            if self.sweep_seconds is not None:
                self.counts["sweeps"] += 1
                self.deliver("sweeper", {"content-type": "application/json"}, b"{}")

    # --- messages -----------------------------------------------------------------------------------------------

    def _pull(self, topic: str) -> None:
        """Take messages from a topic's subscription; whatever becomes of them is this class's business from then on."""
        subscription = f"{self.project}/subscriptions/{topic}"
        while not self.over.is_set():
            try:
                found = self.subscriber.pull(
                    subscription=subscription, max_messages=10, timeout=PULL_SECONDS
                ).received_messages
            except (exceptions.DeadlineExceeded, exceptions.ServiceUnavailable):
                continue
            if not found:
                self.over.wait(LOOK_SECONDS)
                continue
            keys = [received.ack_id for received in found]
            self.subscriber.acknowledge(subscription=subscription, ack_ids=keys, timeout=gcp.TIMEOUT)
            for received in found:
                self._send("message", self.receivers[topic], push(subscription, received.message))

    def _send(self, kind: str, name: str, request: Callable[[int], tuple[dict[str, str], bytes]]) -> None:
        """Deliver something as often as it is fated to be."""
        times = self.unkindness.times()
        with self.lock:
            self.counts[kind] += 1
            self.counts["lost"] += times == 0
        for _ in range(times):
            self.pool.submit(self._insist, name, request)

    def _insist(self, name: str, request: Callable[[int], tuple[dict[str, str], bytes]]) -> None:
        """Deliver until it is acknowledged or has been tried often enough."""
        for attempt in range(1, MAX_DELIVERIES + 1):
            headers, body = request(attempt)
            status = 500 if self.crash(name, body) else self.deliver(name, headers, body)
            with self.lock:
                self.counts[f"answered {status}"] += 1
            if status in (102, 200, 201, 202, 204):
                return
            if self.over.wait(min(LAST_REST, FIRST_REST * 2**attempt)):
                return
        self.dead.append((name, body))
        if name in self.receivers.values():
            self._send("dead letter", "dead_letters", request)

    # --- documents ----------------------------------------------------------------------------------------------

    def _documents(self) -> None:
        """Tell the coordinator of every step that was written or removed since the last look."""
        root = f"{self.project}/databases/(default)/documents"
        query = {
            "from_": [{"collection_id": "steps", "all_descendants": True}],
            "select": {"fields": [{"field_path": "__name__"}]},
        }
        found = {}
        for answer in self.firestore.run_query({"parent": root, "structured_query": query}, timeout=gcp.TIMEOUT):
            if answer.document.name:
                found[answer.document.name] = answer.document.update_time
        for name in self.seen.keys() - found.keys():
            self._send("document", "coordinator", written(self.project, name, None, next(self.numbers)))
        changed = [name for name, moment in found.items() if self.seen.get(name) != moment]
        self.seen = found
        if not changed:
            return
        asked = {"database": f"{self.project}/databases/(default)", "documents": changed}
        for answer in self.firestore.batch_get_documents(asked, timeout=gcp.TIMEOUT):
            if answer.found.name:
                told = written(self.project, answer.found.name, answer.found, next(self.numbers))
                self._send("document", "coordinator", told)

    # --- objects ------------------------------------------------------------------------------------------------

    def _objects(self) -> None:
        """Tell the upload function of every new generation in the datasets bucket."""
        storage = self.deployment.up.storage
        with storage.lock:
            standing = [
                (bucket, name, generation)
                for (bucket, name), generations in storage.objects.items()
                if bucket == self.deployment.chosen.datasets_bucket
                for generation in generations
            ]
        for bucket, name, generation in standing:
            key = (bucket, name, generation.number)
            if key not in self.announced:
                self.announced.add(key)
                self._send("object", "upload_intake", finalized(bucket, name, generation))

    # --- executions ---------------------------------------------------------------------------------------------

    def _task(self, environment: Mapping[str, str]) -> None:
        """Run one task of an execution as a process of its own, once: the deployment's job has no retries."""
        folder = self.deployment.build / "step_job"
        environ = {**at(folder, self.deployment.environ), "CAUSAL_HOME": f"{self.deployment.chosen.home}/job"}
        with (folder / "log").open("ab") as log:
            process = subprocess.run(
                [sys.executable, "main.py"], cwd=folder, env={**environ, **environment, "CLOUD_RUN_TASK_ATTEMPT": "0"},
                timeout=TASK_SECONDS, check=False, stdout=log, stderr=log,
            )  # fmt: skip
        with self.lock:
            self.counts[f"task {process.returncode}"] += 1


def push(subscription: str, message: Any) -> Callable[[int], tuple[dict[str, str], bytes]]:
    """Return the push of a message, as a subscription with an endpoint makes it: wrapped, and no CloudEvent's headers."""

    def request(attempt: int) -> tuple[dict[str, str], bytes]:
        inner = {
            "data": base64.b64encode(message.data).decode(), "attributes": dict(message.attributes),
            "messageId": message.message_id or str(id(message)), "publishTime": datetime.now(UTC).isoformat(),
        }  # fmt: skip
        body = {"message": inner, "subscription": subscription, "deliveryAttempt": attempt}
        return {"content-type": "application/json"}, json.dumps(body).encode()

    return request


def written(project: str, name: str, document: Any, number: int) -> Callable[[int], tuple[dict[str, str], bytes]]:
    """Return Eventarc's request for a document that was written, or removed (None)."""
    database, _, path = name.partition("/documents/")
    content = {} if document is None else {"value": Document.serialize(document)}
    body = DocumentEventData()
    raw = DocumentEventData.pb(body)
    if content:
        raw.value.ParseFromString(content["value"])
    else:
        raw.old_value.name = name
    headers = {
        **_event(number, "google.cloud.firestore.document.v1.written", f"//firestore.googleapis.com/{database}"),
        "content-type": "application/protobuf", "ce-subject": f"documents/{path}", "ce-document": path,
        "ce-database": "(default)", "ce-namespace": "(default)", "ce-project": project.partition("/")[2],
        "ce-location": gcp.REGION, "ce-dataschema": "https://github.com/googleapis/google-cloudevents/blob/main/proto/google/events/cloud/firestore/v1/data.proto",
    }  # fmt: skip
    return lambda attempt: (headers, raw.SerializeToString())


def finalized(bucket: str, name: str, generation: Any) -> Callable[[int], tuple[dict[str, str], bytes]]:
    """Return Eventarc's request for an object that is complete."""
    resource = {
        "kind": "storage#object", "bucket": bucket, "name": name, "generation": str(generation.number),
        "metageneration": "1", "size": str(len(generation.data)), "metadata": generation.metadata,
    }  # fmt: skip
    headers = {
        **_event(generation.number, "google.cloud.storage.object.v1.finalized", f"//storage.googleapis.com/projects/_/buckets/{bucket}"),
        "content-type": "application/json", "ce-subject": f"objects/{name}", "ce-bucket": bucket,
    }  # fmt: skip
    return lambda attempt: (headers, json.dumps(resource).encode())


def _event(number: int, kind: str, source: str) -> dict[str, str]:
    return {
        "ce-specversion": "1.0", "ce-id": str(number), "ce-type": kind, "ce-source": source,
        "ce-time": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
    }  # fmt: skip

"""Google Cloud: Firestore, Cloud Storage, Pub/Sub, Cloud Run Jobs, Cloud Tasks and Secret Manager behind the ports.

Credentials are the application's default ones. For tests, ``<SERVICE>_EMULATOR_HOST`` (FIRESTORE, PUBSUB, STORAGE, RUN,
TASKS, SECRETS, BIGQUERY) names the address of a peer on this machine that is spoken to without any.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import google.auth
import grpc  # type: ignore[import-untyped]
from google.auth.credentials import AnonymousCredentials, Credentials
from google.auth.exceptions import DefaultCredentialsError
from google.cloud.firestore_v1.services.firestore import FirestoreClient
from google.cloud.run_v2.services.executions import ExecutionsClient
from google.cloud.run_v2.services.jobs import JobsClient
from google.cloud.secretmanager_v1.services.secret_manager_service import SecretManagerServiceClient
from google.cloud.storage import Client as StorageClient  # type: ignore[import-untyped]
from google.cloud.tasks_v2.services.cloud_tasks import CloudTasksClient
from google.pubsub_v1.services.publisher import PublisherClient

from causal_orchestrator import models
from causal_orchestrator.backends.gcp.documents import GoogleDocuments
from causal_orchestrator.backends.gcp.keys import GoogleSecrets
from causal_orchestrator.backends.gcp.messages import GoogleMessages
from causal_orchestrator.backends.gcp.objects import GoogleObjects
from causal_orchestrator.backends.gcp.sources import GoogleSources
from causal_orchestrator.backends.gcp.tasks import GoogleTasks
from causal_orchestrator.backends.local import background, new_id
from causal_orchestrator.backends.ports import Backends
from causal_orchestrator.errors import InputError
from causal_orchestrator.settings import VARIABLES, Settings

SERVICES = ("FIRESTORE", "PUBSUB", "STORAGE", "RUN", "TASKS", "SECRETS")
SCOPE = "https://www.googleapis.com/auth/cloud-platform"
NEEDED = ("project", "region", "bucket", "service_account")


def connect(
    settings: Settings, *, now: Callable[[], datetime] | None = None, credentials: Credentials | None = None
) -> Backends:
    """Return the backends of one Google Cloud project; nothing is called yet. Credentials: see above if none are given.

    Raises
    ------
    InputError
        ``SETTING`` if the project, region, bucket or service account is not set, or there are no credentials.
    """
    missing = [VARIABLES[name][0] for name in NEEDED if not getattr(settings, name)]
    if missing:
        raise InputError(f"the backend gcp needs {', '.join(missing)}", code="SETTING")
    if credentials is None and not all(_address(service, settings) for service in SERVICES):
        credentials = _default_credentials()
    return _connect(settings, now or _now, credentials)


def _connect(settings: Settings, now: Callable[[], datetime], credentials: Credentials | None) -> Backends:
    project, place = settings.project, f"projects/{settings.project}/locations/{settings.region}"
    tasks = GoogleTasks(
        _client(JobsClient, "RUN", settings, credentials),
        _client(ExecutionsClient, "RUN", settings, credentials),
        _client(CloudTasksClient, "TASKS", settings, credentials),
        run_job=f"{place}/jobs/{settings.run_job}",
        queue=f"{place}/queues/{settings.task_queue}",
        account=settings.service_account,
    )
    documents = _client(FirestoreClient, "FIRESTORE", settings, credentials)
    secrets = GoogleSecrets(
        _client(SecretManagerServiceClient, "SECRETS", settings, credentials), project, settings.environ
    )
    storage, cache = _storage(settings, credentials), settings.home / "cache"

    def bucket(name: str) -> GoogleObjects:
        return GoogleObjects(storage, name, cache / name, settings.service_account)

    return Backends(
        documents=GoogleDocuments(documents, f"projects/{project}/databases/{settings.database}"),
        objects=bucket(settings.bucket),
        messages=GoogleMessages(_client(PublisherClient, "PUBSUB", settings, credentials), project),
        tasks=tasks,
        secrets=secrets,
        now=now,
        new_id=new_id,
        background=background,
        model=models.connect(settings, secrets.get),
        datasets=bucket(settings.datasets_bucket) if settings.datasets_bucket else None,
        cloud=sources(settings, credentials),
        sources=settings.sources or {},
        announces=True,
    )


def sources(settings: Settings, credentials: Credentials | None = None) -> GoogleSources:
    """Return the way to datasets in Google Cloud; nothing is called yet."""

    def tables() -> Any:
        try:
            from google.cloud import bigquery
        except ModuleNotFoundError as exc:
            raise InputError("bq:// addresses need the extra bigquery", code="SOURCE_UNSUPPORTED") from exc
        address = _address("BIGQUERY", settings)
        options = {"api_endpoint": address} if address else None
        return bigquery.Client(project=settings.project or "-", credentials=rights(address), client_options=options)

    def rights(address: str) -> Credentials:
        nobody: Credentials = AnonymousCredentials()  # type: ignore[no-untyped-call]
        return credentials or (nobody if address else _default_credentials())

    return GoogleSources(lambda: _storage(settings, rights(_address("STORAGE", settings))), tables)


def _default_credentials() -> Credentials:
    try:
        found, _ = google.auth.default(scopes=[SCOPE])
    except DefaultCredentialsError as exc:
        raise InputError("there are no application default credentials", code="SETTING") from exc
    credentials: Credentials = found
    return credentials


def _address(service: str, settings: Settings) -> str:
    return settings.environ.get(f"{service}_EMULATOR_HOST", "")


def _client(kind: Any, service: str, settings: Settings, credentials: Credentials | None) -> Any:
    address = _address(service, settings)
    if not address:
        return kind(credentials=credentials)
    transport = kind.get_transport_class("grpc")
    return kind(transport=transport(channel=grpc.insecure_channel(address)))


def _storage(settings: Settings, credentials: Credentials | None) -> StorageClient:
    address = _address("STORAGE", settings)
    if not address:
        return StorageClient(project=settings.project or "-", credentials=credentials)
    nobody = AnonymousCredentials()  # type: ignore[no-untyped-call]
    return StorageClient(
        project=settings.project, credentials=credentials or nobody, client_options={"api_endpoint": address}
    )


def _now() -> datetime:
    return datetime.now(UTC)


__all__ = ["connect"]

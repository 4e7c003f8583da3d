"""The ways in that are not a person's: a request in a message, a file in the datasets bucket (IN-5, IN-6).

What HTTP accepts is accepted here and nothing else: one vocabulary, one check of where the data may come from.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from causal_orchestrator import runtime, strict_json, tracing, web
from causal_orchestrator.backends.ports import Backends, Objects, Stored
from causal_orchestrator.datasets import addresses
from causal_orchestrator.datasets.addresses import Rules
from causal_orchestrator.datasets.sources import is_dataset
from causal_orchestrator.errors import Busy, InputError
from causal_orchestrator.question import ALIASES, LIST_ROLES, Question
from causal_orchestrator.question import ask as make_question

MAX_REQUEST_BYTES = 1024 * 1024
MAX_LIVE_JOBS = 104  # a tenant's: four that run and a hundred that wait
DROPPED = "uploads/"
SIDECAR = ".question.json"
UPLOAD = re.compile(r"upload://([0-9a-f]{32})(?:/(\d{1,19}))?")


def upload_name(tenant: str, ident: str) -> str:
    """Return the name under which a tenant's upload stands."""
    return f"{tenant}/uploads/{ident}/data"


def asked(content: Any, *, tenant: str, rules: Rules | None, objects: Objects) -> tuple[Question, Mapping[str, Any]]:
    """Return the question of a request and the source of its dataset.

    An upload's reference is the source's alone: it differs from one request to the next, and a result must not. What
    was uploaded past this service is looked for among `objects` and pinned as it stands.

    Raises
    ------
    InputError
        If the request is not one, or its dataset is of a kind that is not read, not among the addresses of `rules` or
        not uploaded.
    """
    if not isinstance(content, Mapping):
        raise InputError("the request must be a JSON object", code="NOT_AN_OBJECT")
    question = _acceptable(make_question(content, strict=True))
    source = _source(question.dataset, tenant, objects)
    addresses.check(source, tenant=tenant, rules=rules)
    if source["kind"] == "object":
        question = question.model_copy(update={"dataset": None})
    return question, source


def _acceptable(question: Question) -> Question:
    """Return the question if its notices may go where it says (raises InputError)."""
    if question.notify_url is not None:
        web.parse(question.notify_url)
    return question


def _source(dataset: str | None, tenant: str, objects: Objects) -> Mapping[str, Any]:
    """Say where the data come from: an upload of this tenant, or an address that the fetcher will check."""
    if not dataset:
        raise InputError("dataset is missing: an upload:// reference or a gs:// address", code="DATASET_MISSING")
    upload = UPLOAD.fullmatch(dataset)
    if upload:
        name = upload_name(tenant, upload[1])
        return {"kind": "object", "name": name, "generation": int(upload[2] or _standing(objects, name))}
    if not dataset.startswith(("gs://", "bq://", "https://")):
        raise InputError("dataset must be an upload://, gs://, bq:// or https:// address", code="URL_NOT_ALLOWED")
    return {"kind": "uri", "uri": dataset}


def _standing(objects: Objects, name: str) -> int:
    found = objects.find(name)
    if found is None:
        raise InputError("nothing was uploaded under this reference yet", code="UPLOAD_MISSING")
    return found.generation


def room(backends: Backends, tenant: str) -> int:
    """Return how many jobs the tenant may start beside those that it has."""
    live = backends.documents.list("jobs", where={"tenant": tenant, "state": "open"}, limit=MAX_LIVE_JOBS)
    return MAX_LIVE_JOBS - len(live)


def from_message(backends: Backends, data: bytes, *, tenant: str, key: str) -> str:
    """Start the job that a message asks for and return its ID; the same `key` gives the same job.

    Raises
    ------
    InputError
        If the request cannot be used as it is.
    Busy
        If the tenant has too many jobs; the message may come again.
    """
    question, source = asked(
        strict_json.parse(data, max_bytes=MAX_REQUEST_BYTES), tenant=tenant, rules=backends.sources,
        objects=backends.objects,
    )  # fmt: skip
    return _start(backends, question, source, tenant=tenant, key=key, principal="message")


def from_file(backends: Backends, name: str, generation: int, *, tenant: str) -> str | None:
    """Start the analysis of a file in the datasets bucket and return its job's ID, or None if it is not one.

    Roles come from the sidecar ``<file>.question.json`` (put it there first), else from the file's own metadata
    (``question`` as JSON, or one entry a role), else the profiler proposes them. The file's generation is the key.

    Raises
    ------
    InputError
        If the sidecar or the metadata are no question.
    Busy
        If the tenant has too many jobs; the event may come again.
    """
    objects = backends.datasets
    if objects is None or not name.startswith(DROPPED) or generation <= 0:
        return None
    found = objects.find(name)
    if found is None or found.generation != generation or not is_dataset(name, found.size):
        return None
    question = _acceptable(_question(objects, found)).model_copy(update={"dataset": None})
    source = {"kind": "dropped", "name": name, "generation": generation}
    return _start(backends, question, source, tenant=tenant, key=f"{name}#{generation}", principal="upload")


def _question(objects: Objects, found: Stored) -> Question:
    """Return the question that the sidecar holds, or else the file's metadata."""
    sidecar = objects.find(found.name + SIDECAR)
    if sidecar is not None and sidecar.size > MAX_REQUEST_BYTES:
        raise InputError("the file's question is larger than a request may be", code="TOO_LARGE")
    if sidecar is not None:
        with objects.open(sidecar.name, sidecar.generation) as stream:
            return _stated(stream.read())
    if "question" in found.labels:
        return _stated(found.labels["question"].encode())
    fields = {ALIASES.get(name, name): text for name, text in found.labels.items()}
    return make_question(
        {
            name: [part.strip() for part in text.split(",")] if name in LIST_ROLES else text
            for name, text in fields.items()
            if name in Question.model_fields
        }
    )


def _stated(data: bytes) -> Question:
    content = strict_json.parse(data, max_bytes=MAX_REQUEST_BYTES)
    if not isinstance(content, Mapping):
        raise InputError("the file's question must be a JSON object", code="NOT_AN_OBJECT")
    return make_question(content, strict=True)


def _start(
    backends: Backends, question: Question, source: Mapping[str, Any], *, tenant: str, key: str, principal: str
) -> str:
    if not room(backends, tenant):
        raise Busy("the tenant has as many jobs as it may have at once", code="QUOTA")
    job = runtime.start_job(backends, question, source, tenant=tenant, key=key, principal=principal)
    tracing.flush()
    return job

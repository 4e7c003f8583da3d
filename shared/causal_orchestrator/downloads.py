"""Datasets from outside, kept by their content: what a tenant has fetched is not fetched again while it is the same.

The bytes stand under ``{tenant}/downloads/{sha256}``; a document for each address says which they were and what their
source called that version (an ETag, a generation). Whoever asks again asks for what is newer than that.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from causal_orchestrator.backends.ports import Backends, Document, Stored
from causal_orchestrator.question import canonical_json
from causal_orchestrator.store import commit


def bring(backends: Backends, source: Mapping[str, Any], folder: Path, *, tenant: str) -> Path:
    """Return a path in `folder` under which the dataset of an address can be read.

    Raises
    ------
    InputError, StorageError
        As `datasets.sources.fetch` does.
    """
    from causal_orchestrator.datasets import addresses, sources
    from causal_orchestrator.datasets.limits import Limits

    uri, wanted = str(source["uri"]), {"sha256": source.get("sha256"), "size": source.get("size")}
    if "://" not in uri:
        return sources.fetch(uri, folder, **wanted)
    means = sources.Means(
        outside=backends.outside, cloud=backends.cloud, secret=backends.secrets.get,
        rules=addresses.of(backends.sources, tenant),
    )  # fmt: skip
    known = _known(backends, tenant, uri)
    version = None if known is None else known["version"]
    found = sources.bring(uri, folder, Limits(), means, version=version)
    if found is not None:
        sources.check(found.path, found.sha256, **wanted)
        stored = backends.objects.create(f"{tenant}/downloads/{found.sha256}", found.path)
        known = _note(backends, tenant, uri, stored, found.path.name, found.version)
    return _placed(backends, known or {}, folder, wanted)


def _known(backends: Backends, tenant: str, uri: str) -> Document | None:
    """Return what is kept of an address if it still stands and its source can tell a newer version from it."""
    document = backends.documents.get(_path(tenant, uri))
    if document is None or document["version"] is None or backends.objects.find(document["name"]) is None:
        return None
    return document


def _note(backends: Backends, tenant: str, uri: str, stored: Stored, shown: str, version: str | None) -> Document:
    path = _path(tenant, uri)
    document = {
        "tenant": tenant, "name": stored.name, "generation": stored.generation, "sha256": stored.sha256,
        "size": stored.size, "file": shown, "version": version, "fetched_at": backends.now(),
    }  # fmt: skip
    commit(backends, [path], lambda found: {path: document})
    return document


def _placed(backends: Backends, known: Document, folder: Path, wanted: Mapping[str, Any]) -> Path:
    """Return a link to the kept bytes under the name that their address gave them."""
    from causal_orchestrator.datasets import sources

    link = folder / str(known["file"])
    link.unlink(missing_ok=True)
    link.symlink_to(backends.objects.local(str(known["name"]), int(known["generation"])))
    sources.check(link, str(known["sha256"]), **wanted)
    return link


def forget(backends: Backends, source: Mapping[str, Any], *, tenant: str) -> None:
    """Remove what is kept of an address."""
    path = _path(tenant, str(source.get("uri", "")))
    document = backends.documents.get(path)
    if document is not None:
        backends.objects.delete(str(document["name"]))
        commit(backends, [path], lambda found: {p: None for p, kept in found.items() if kept is not None})


def _path(tenant: str, uri: str) -> str:
    return f"downloads/{hashlib.sha256(canonical_json([tenant, uri]).encode()).hexdigest()}"

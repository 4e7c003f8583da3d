"""Objects in one bucket of Cloud Storage, written once.

An object is created on the condition that no generation of it stands, and carries its SHA-256 as metadata: whoever comes
second learns whether the same bytes stand there. Reading goes through a folder of this machine, by generation, and
nothing is handed out whose bytes do not have the hash they were written with.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, BinaryIO

from google.api_core import exceptions
from google.auth.credentials import Signing
from google.auth.transport.requests import Request
from google.cloud.storage import Blob, Client  # type: ignore[import-untyped]
from google.cloud.storage.exceptions import DataCorruption  # type: ignore[import-untyped]

from causal_orchestrator.backends.gcp.calling import TIMEOUT, insist, translated
from causal_orchestrator.backends.ports import Stored
from causal_orchestrator.errors import AlreadyExists, InputError, NotFound, StorageError

HASH = "sha256"  # the key of the metadata
BYTES = "application/octet-stream"
CHUNK = 1 << 20
TRANSFER_TIMEOUT = 120.0
KEPT_SECONDS = 3600.0
MAX_SIGNED_SECONDS = 7 * 24 * 3600


class GoogleObjects:
    """The port `Objects` over one bucket; `cache` is a folder for downloads, `signer` the account that signs."""

    def __init__(self, client: Client, bucket: str, cache: Path, signer: str) -> None:
        self._client = client
        self._bucket = client.bucket(bucket)
        self._cache = cache
        self._signer = signer

    def create(self, name: str, data: bytes | Path) -> Stored:
        """Write all or nothing. Raises `AlreadyExists` unless the same bytes stand there."""
        _check(name)
        sha256, size = _measure(data)
        blob = self._bucket.blob(name)
        blob.metadata = {HASH: sha256}
        try:
            with _undamaged(name):
                insist(lambda: _upload(blob, data), what="writing an object")
        except AlreadyExists as exc:
            standing = self.find(name)
            if standing is None:
                raise StorageError(f"the object {name} stood and was removed meanwhile") from exc
            if standing.sha256 != sha256:
                raise AlreadyExists(f"the object {name} stands already, with other bytes") from exc
            return standing
        return Stored(name=name, generation=int(blob.generation), sha256=sha256, size=size)

    def open(self, name: str, generation: int) -> BinaryIO:
        """Open for reading, seekable (raises `NotFound`)."""
        return self.local(name, generation).open("rb")

    def local(self, name: str, generation: int) -> Path:
        """Return a local path of the object, downloaded if need be (raises `NotFound`)."""
        _check(name)
        kept = self._kept(name) / str(generation)
        if kept.exists():
            os.utime(kept)
            return kept
        self._forget()
        kept.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, path = tempfile.mkstemp(dir=kept.parent)
        os.close(handle)
        fresh = Path(path)
        try:
            insist(lambda: self._download(name, generation, fresh), what="reading an object")
            fresh.rename(kept)
        finally:
            fresh.unlink(missing_ok=True)
        return kept

    def find(self, name: str) -> Stored | None:
        """Return what stands under the name now, or None."""
        _check(name)
        blob = self._bucket.blob(name)
        try:
            insist(lambda: blob.reload(timeout=TIMEOUT, retry=None), what="looking at an object")
        except NotFound:
            return None
        labels = dict(blob.metadata or {})
        sha256 = labels.pop(HASH, "")
        return Stored(name=name, generation=int(blob.generation), sha256=sha256, size=int(blob.size), labels=labels)

    def list(self, prefix: str) -> list[str]:
        """Return the names that start with `prefix`."""

        def names() -> list[str]:
            found = self._client.list_blobs(
                self._bucket, prefix=prefix, fields="items(name),nextPageToken", timeout=TIMEOUT, retry=None
            )
            return sorted(blob.name for blob in found)

        return insist(names, what="listing objects")

    def delete(self, name: str) -> None:
        """Remove every generation of it, and what was kept of it here; removing what is not there is no error."""
        _check(name)
        shutil.rmtree(self._kept(name), ignore_errors=True)
        insist(lambda: self._delete(name), what="removing an object")

    def sign(self, name: str, generation: int, *, seconds: int, filename: str) -> str:
        """Return an address from which the object can be read for `seconds` (at most seven days)."""
        return self._signed(
            name, seconds, method="GET", generation=generation, response_disposition=_disposition(filename)
        )

    def sign_upload(self, name: str, *, seconds: int, most: int) -> tuple[str, Mapping[str, str]]:
        """Return an address to which at most `most` bytes can be PUT, once, and the headers to send with them."""
        conditions = {"x-goog-content-length-range": f"0,{most}", "x-goog-if-generation-match": "0"}
        address = self._signed(name, seconds, method="PUT", content_type=BYTES, headers=dict(conditions))
        return address, {"Content-Type": BYTES, **conditions}

    def _signed(self, name: str, seconds: int, **request: Any) -> str:
        _check(name)
        with translated("signing an address"):
            credentials = self._client._credentials
            by_service = {}
            if not isinstance(credentials, Signing):
                # Without a key of its own, a workload asks the IAM service to sign for its account.
                credentials.refresh(Request())
                by_service = {"service_account_email": self._signer, "access_token": credentials.token}
            address: str = self._bucket.blob(name).generate_signed_url(
                version="v4", expiration=timedelta(seconds=min(seconds, MAX_SIGNED_SECONDS)), credentials=credentials,
                api_access_endpoint=self._client.api_endpoint, **request, **by_service,
            )  # fmt: skip
        return address

    def _download(self, name: str, generation: int, target: Path) -> None:
        blob = self._bucket.blob(name, generation=generation)
        with _undamaged(name):
            blob.download_to_filename(str(target), timeout=TRANSFER_TIMEOUT, retry=None)
        blob.reload(timeout=TIMEOUT, retry=None)
        wanted = (blob.metadata or {}).get(HASH)
        if wanted is not None and _measure(target)[0] != wanted:
            raise _damage(name)

    def _delete(self, name: str) -> None:
        found = self._client.list_blobs(
            self._bucket, prefix=name, versions=True, fields="items(name,generation),nextPageToken",
            timeout=TIMEOUT, retry=None,
        )  # fmt: skip
        for blob in found:
            if blob.name == name:
                with suppress(exceptions.NotFound):
                    self._bucket.delete_blob(name, generation=blob.generation, timeout=TIMEOUT, retry=None)

    def _kept(self, name: str) -> Path:
        return self._cache / hashlib.sha256(name.encode()).hexdigest()

    def _forget(self) -> None:
        """Remove what nobody has asked for in an hour: a container's disk is its memory."""
        for folder in self._cache.glob("*"):
            for kept in folder.glob("*"):
                with suppress(FileNotFoundError):
                    if time.time() - kept.stat().st_mtime > KEPT_SECONDS:
                        kept.unlink()


@contextmanager
def _undamaged(name: str) -> Iterator[None]:
    try:
        yield
    except DataCorruption as exc:
        raise _damage(name) from exc


def _damage(name: str) -> StorageError:
    return StorageError(f"the object {name} is not what was written", code="STORAGE_CORRUPT")


def _upload(blob: Blob, data: bytes | Path) -> None:
    if isinstance(data, Path):
        with data.open("rb") as stream:
            blob.upload_from_file(
                stream, size=data.stat().st_size, content_type=BYTES, if_generation_match=0,
                timeout=TRANSFER_TIMEOUT, checksum="crc32c", retry=None,
            )  # fmt: skip
    else:
        blob.upload_from_string(
            data, content_type=BYTES, if_generation_match=0, timeout=TRANSFER_TIMEOUT,
            checksum="crc32c", retry=None,
        )  # fmt: skip


def _measure(data: bytes | Path) -> tuple[str, int]:
    """Return SHA-256 and size."""
    if not isinstance(data, Path):
        return hashlib.sha256(data).hexdigest(), len(data)
    if data.is_symlink() or not data.is_file():
        raise InputError(f"{data.name!r} is not a regular file", code="NOT_A_REGULAR_FILE")
    sha256, size = hashlib.sha256(), 0
    with data.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            sha256.update(chunk)
            size += len(chunk)
    return sha256.hexdigest(), size


def _check(name: str) -> None:
    """Refuse a name that could mean another place, here or on a reader's machine."""
    try:
        size = len(name.encode())
    except UnicodeEncodeError as exc:
        raise InputError("an object's name is not text", code="OBJECT_NAME") from exc
    if size > 1024 or not name.isprintable() or {"", ".", ".."} & set(name.split("/")):
        raise InputError(f"{name[:64]!r} cannot be an object's name", code="OBJECT_NAME")


def _disposition(filename: str) -> str:
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "._- ") else "_" for c in filename)
    return f'attachment; filename="{plain}"'

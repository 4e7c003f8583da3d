"""Where datasets come from: one way per kind of address, each with its own rules."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import unquote

from causal_orchestrator import web
from causal_orchestrator.datasets import addresses
from causal_orchestrator.datasets.limits import MIB, Limits
from causal_orchestrator.errors import InputError, NotFound, StorageError
from causal_orchestrator.question import shown

if TYPE_CHECKING:
    from causal_orchestrator.backends.ports import Cloud

KAGGLE_HOST = "www.kaggle.com"
KAGGLE = frozenset({KAGGLE_HOST, "kaggle.com"})
KAGGLE_FILES = frozenset({KAGGLE_HOST, "storage.googleapis.com"})  # where its downloads redirect to
KAGGLE_PAGE = re.compile(
    r"/datasets/(?P<owner>[A-Za-z0-9-]{1,100})/(?P<name>[A-Za-z0-9_-]{1,100})(?:/versions/(?P<number>\d{1,6}))?/?"
    r"(?:\?select=(?P<file>[A-Za-z0-9][A-Za-z0-9%+_.-]{0,200}))?"
)
SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):")


@dataclass(frozen=True)
class Means:
    """By what addresses are reached that are no paths.

    `outside` is the public web and `cloud` what lies in a cloud's own stores; `secret` gives credentials by their name
    (raises NotFound). `rules` say which addresses may be fetched (None: every one).
    """

    outside: web.Web = field(default_factory=web.Web)
    cloud: Cloud | None = None
    secret: Callable[[str], str] | None = None
    rules: Sequence[str] | None = None


@dataclass(frozen=True)
class Fetched:
    """A file as it was fetched: where it lies, its hash, and its source's own mark of this version, if there is one."""

    path: Path
    sha256: str
    version: str | None = None


def fetch(
    uri: str, folder: Path, limits: Limits | None = None, *, sha256: str | None = None, size: int | None = None,
    means: Means | None = None,
) -> Path:  # fmt: skip
    """Bring a dataset into `folder`, as it is, and return where it lies.

    Parameters
    ----------
    uri : str
        A local path, an ``https`` address of a public host or of a dataset on Kaggle, an object ``gs://bucket/name``
        (of one generation: ``#number`` after it) or a table ``bq://project.dataset.table``.
    folder : Path
        An existing folder that nobody else writes to.
    limits : Limits, optional
        `file_bytes` bounds the copy.
    sha256, size : optional
        What the file must be, if the request says so.
    means : Means, optional
        How the world outside is reached.

    Raises
    ------
    InputError
        ``NOT_A_REGULAR_FILE``, ``DATASET_NOT_FOUND``, ``DATASET_TOO_LARGE``, ``SOURCE_CHANGED``,
        ``CHECKSUM_MISMATCH``, ``URL_NOT_ALLOWED``, ``SOURCE_UNSUPPORTED``, and those of `web.download`.
    StorageError
        ``SOURCE_UNAVAILABLE`` if the world failed.
    """
    found = bring(uri, folder, limits or Limits(), means or Means())
    if found is None:
        raise StorageError("the source says that nothing changed where nothing was known", code="SOURCE_UNAVAILABLE")
    check(found.path, found.sha256, sha256=sha256, size=size)
    return found.path


def bring(uri: str, folder: Path, limits: Limits, means: Means, *, version: str | None = None) -> Fetched | None:
    """Bring a dataset into `folder`, or return None if its source says that it is still this `version`; see `fetch`."""
    match = SCHEME.match(uri)
    scheme = match.group(1).lower() if match else ""
    if scheme in SOURCES and scheme and not addresses.permitted(uri, means.rules):
        raise InputError("this address is not among those that are fetched here", code="URL_NOT_ALLOWED")
    return SOURCES.get(scheme, _not_allowed)(uri, folder, limits, means, version)


def check(path: Path, found: str, *, sha256: str | None, size: int | None) -> None:
    """Remove a file that is not the one that the request describes (raises InputError)."""
    if (sha256 is not None and found != sha256.lower()) or (size is not None and path.stat().st_size != size):
        path.unlink()
        raise InputError(
            "the dataset is not the one that the request describes (size or SHA-256)", code="CHECKSUM_MISMATCH"
        )


def is_dataset(name: str, size: int) -> bool:
    """Return whether an uploaded object may be a dataset: no folder mark, no job marker, no sidecar, not empty."""
    last = PurePosixPath(name).name
    return (
        size > 0 and not name.endswith("/") and not last.startswith(("_", ".")) and not last.endswith(".question.json")
    )


def _local(uri: str, folder: Path, limits: Limits, means: Means, version: str | None) -> Fetched:
    path = Path(uri).expanduser()
    try:
        # O_NONBLOCK: opening a pipe would wait for its writer; O_NOFOLLOW: a link may change what it points to.
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError as exc:
        raise InputError(f"there is no file {shown(path.name)!r}", code="DATASET_NOT_FOUND") from exc
    except OSError as exc:
        raise _irregular(path) from exc
    before = os.fstat(handle)
    if not stat.S_ISREG(before.st_mode):
        os.close(handle)
        raise _irregular(path)
    with os.fdopen(handle, "rb") as raw:
        if before.st_size > limits.file_bytes:
            raise InputError(
                f"the file has {before.st_size} bytes, at most {limits.file_bytes} are read; select columns or rows first",
                code="DATASET_TOO_LARGE",
            )
        target = folder / _plain(path.name)
        found = _copy(raw, target, before.st_size)
        _unchanged(path, before, os.fstat(raw.fileno()), target)
    return Fetched(target, found)


def _copy(raw: BinaryIO, target: Path, size: int) -> str:
    """Copy at most `size` bytes and return their SHA-256."""
    hashed = hashlib.sha256()
    with target.open("xb") as out:
        while size > 0 and (block := raw.read(min(MIB, size))):
            size -= len(block)
            hashed.update(block)
            out.write(block)
    return hashed.hexdigest()


def _unchanged(path: Path, before: os.stat_result, after: os.stat_result, target: Path) -> None:
    try:
        now = os.lstat(path)
    except FileNotFoundError:
        now = None
    same = [(s.st_ino, s.st_dev, s.st_size, s.st_mtime_ns) for s in (before, after, now) if s is not None]
    if now is None or len(set(same)) > 1 or target.stat().st_size != before.st_size:
        target.unlink()
        raise InputError("the file changed while it was read; try again once it is complete", code="SOURCE_CHANGED")


def _irregular(path: Path) -> InputError:
    return InputError(
        f"{shown(path.name)!r} is not a regular file that can be read (a link, folder, pipe or device?)",
        code="NOT_A_REGULAR_FILE",
    )


def _plain(name: str) -> str:
    """Return a file name of harmless characters."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", name).lstrip(".")[:100] or "dataset"


def _public(uri: str, folder: Path, limits: Limits, means: Means, version: str | None) -> Fetched | None:
    """Fetch an https address; the page of a dataset on Kaggle stands for the dataset."""
    place = web.parse(uri)
    if place.host in KAGGLE:
        return _kaggle(place, folder, limits, means, version)
    outside = replace(means.outside, hosts=addresses.hosts(means.rules))
    return _downloaded(uri, folder, limits, outside, version, {})


def _kaggle(place: web.Place, folder: Path, limits: Limits, means: Means, version: str | None) -> Fetched | None:
    """Download a dataset, or one file of it (``?select=``), by Kaggle's interface."""
    found = KAGGLE_PAGE.fullmatch(place.path)
    if found is None:
        raise InputError(
            "a dataset on Kaggle has an address like https://www.kaggle.com/datasets/owner/name", code="URL_NOT_ALLOWED"
        )
    asked = f"https://{KAGGLE_HOST}/api/v1/datasets/download/{found['owner']}/{found['name']}"
    asked += f"/{found['file']}" if found["file"] else ""
    asked += f"?datasetVersionNumber={found['number']}" if found["number"] else ""
    outside = replace(means.outside, hosts=None if means.rules is None else KAGGLE_FILES)
    return _downloaded(asked, folder, limits, outside, version, {"Authorization": _kaggle_key(means)})


def _kaggle_key(means: Means) -> str:
    try:
        if means.secret is None:
            raise NotFound("no secrets are kept here")
        name, key = (means.secret(secret) for secret in ("KAGGLE_USERNAME", "KAGGLE_KEY"))
    except NotFound as exc:
        raise InputError(
            "Kaggle wants credentials: give the secrets KAGGLE_USERNAME and KAGGLE_KEY, or download the file and give its path",
            code="CREDENTIALS_MISSING",
        ) from exc
    return f"Basic {base64.b64encode(f'{name}:{key}'.encode()).decode()}"


def _downloaded(
    address: str, folder: Path, limits: Limits, outside: web.Web, version: str | None, headers: Mapping[str, str]
) -> Fetched | None:
    target = folder / _plain(PurePosixPath(unquote(web.parse(address).path.partition("?")[0])).name)
    found = web.download(
        address, target, most=limits.file_bytes, seconds=limits.seconds, web=outside, headers=headers, etag=version
    )
    return None if found is None else Fetched(found.path, found.sha256, found.etag)


def _cloud(uri: str, folder: Path, limits: Limits, means: Means, version: str | None) -> Fetched | None:
    """Fetch an object or a table with the process's own credentials, in the version that stands now."""
    if means.cloud is None:
        raise InputError(
            "gs:// and bq:// addresses need the extras gcp and bigquery; or download the file and give its path",
            code="SOURCE_UNSUPPORTED",
        )
    stands = means.cloud.version(uri)
    if stands == version:
        return None
    target = folder / _plain(PurePosixPath(uri.partition("#")[0]).name)
    means.cloud.fetch(uri, stands, target, most=limits.file_bytes, rows=limits.rows)
    with target.open("rb") as raw:
        return Fetched(target, hashlib.file_digest(raw, "sha256").hexdigest(), stands)


def _not_allowed(uri: str, folder: Path, limits: Limits, means: Means, version: str | None) -> Fetched:
    raise InputError(
        f"addresses of the kind {shown(uri.split(':', 1)[0])!r} are not read; give a path or an https address",
        code="URL_NOT_ALLOWED",
    )


SOURCES: Mapping[str, Callable[[str, Path, Limits, Means, str | None], Fetched | None]] = {
    "": _local,
    "https": _public,
    "gs": _cloud,
    "bq": _cloud,
}

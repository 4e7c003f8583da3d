"""Where datasets come from: one way per kind of address, each with its own rules."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from causal_orchestrator.datasets.limits import MIB, Limits
from causal_orchestrator.errors import InputError
from causal_orchestrator.question import shown

SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):")


def fetch(
    uri: str, folder: Path, limits: Limits | None = None, *, sha256: str | None = None, size: int | None = None
) -> Path:
    """Bring a dataset into `folder`, as it is, and return where it lies.

    Parameters
    ----------
    uri : str
        A local path. (``https``, ``gs``, ``bq`` and Kaggle addresses are recognised and refused with what would do.)
    folder : Path
        An existing folder that nobody else writes to.
    limits : Limits, optional
        `file_bytes` bounds the copy.
    sha256, size : optional
        What the file must be, if the request says so.

    Raises
    ------
    InputError
        ``NOT_A_REGULAR_FILE``, ``DATASET_NOT_FOUND``, ``DATASET_TOO_LARGE``, ``SOURCE_CHANGED``,
        ``CHECKSUM_MISMATCH``, ``URL_NOT_ALLOWED`` or ``SOURCE_UNSUPPORTED``.
    """
    match = SCHEME.match(uri)
    scheme = match.group(1).lower() if match else ""
    way = SOURCES.get(scheme, _not_allowed)
    path, found = way(uri, folder, limits or Limits())
    if (sha256 is not None and found != sha256.lower()) or (size is not None and path.stat().st_size != size):
        path.unlink()
        raise InputError(
            "the dataset is not the one that the request describes (size or SHA-256)", code="CHECKSUM_MISMATCH"
        )
    return path


def is_dataset(name: str, size: int) -> bool:
    """Return whether an uploaded object may be a dataset: no folder mark, no job marker, no sidecar, not empty."""
    last = PurePosixPath(name).name
    return (
        size > 0 and not name.endswith("/") and not last.startswith(("_", ".")) and not last.endswith(".question.json")
    )


def _local(uri: str, folder: Path, limits: Limits) -> tuple[Path, str]:
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
    return target, found


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


def _unsupported(uri: str, folder: Path, limits: Limits) -> tuple[Path, str]:
    where = "Kaggle" if "kaggle" in uri.lower() else uri.split(":", 1)[0].lower()
    raise InputError(
        f"datasets at {where} addresses are not fetched here; download the file and give its path",
        code="SOURCE_UNSUPPORTED",
    )


def _not_allowed(uri: str, folder: Path, limits: Limits) -> tuple[Path, str]:
    raise InputError(
        f"addresses of the kind {shown(uri.split(':', 1)[0])!r} are not read; give a path or an https address",
        code="URL_NOT_ALLOWED",
    )


SOURCES: Mapping[str, Callable[[str, Path, Limits], tuple[Path, str]]] = {
    "": _local,
    "https": _unsupported,
    "gs": _unsupported,
    "bq": _unsupported,
    "kaggle": _unsupported,
}

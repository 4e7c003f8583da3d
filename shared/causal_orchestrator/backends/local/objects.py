"""Objects in a folder, written once.

The object ``a/b.csv`` is the folder ``a/b.csv@`` with one file in it, whose name begins with the SHA-256 of its bytes.
It is built elsewhere and renamed into place: a rename onto a folder that is not empty fails, so whoever comes second
loses, and no half-written object is ever seen. The generation is the hash's first 52 bits: a name that is deleted and
written anew with other bytes has another generation, on this machine and on any it is copied to.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote, unquote

from causal_orchestrator.backends.local.database import refusal
from causal_orchestrator.backends.ports import Stored
from causal_orchestrator.errors import AlreadyExists, InputError, NotFound

MARK = "@"
CHUNK = 1 << 20
HEX_OF_GENERATION = 13


class LocalObjects:
    """The port `Objects`; `scratch` gives a folder on the same disk, `address` makes addresses."""

    def __init__(self, root: Path, scratch: Callable[[], Path], address: Callable[[str, int, int, str], str]) -> None:
        self._root = root
        self._scratch = scratch
        self._address = address

    def create(self, name: str, data: bytes | Path) -> Stored:
        """Write all or nothing; a local path may be moved. Raises `AlreadyExists` unless the same bytes stand there."""
        place = self._place(name)
        try:
            building = Path(tempfile.mkdtemp(dir=self._scratch()))
            try:
                stored = self._build(name, data, building, place)
                if self._settle(building, place):
                    return stored
            finally:
                shutil.rmtree(building, ignore_errors=True)
            standing = self._stored(name)
        except OSError as exc:
            raise refusal(exc) from exc
        if standing.sha256 != stored.sha256:
            raise AlreadyExists(f"the object {name} stands already, with other bytes")
        return standing

    def open(self, name: str, generation: int) -> BinaryIO:
        """Open for reading, seekable (raises `NotFound`)."""
        path = self.local(name, generation)
        try:
            return os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb")
        except FileNotFoundError as exc:
            raise NotFound(f"there is no object {name}") from exc
        except OSError as exc:
            raise refusal(exc) from exc

    def local(self, name: str, generation: int) -> Path:
        """Return the object's own path; its bytes must not be changed."""
        stored = self._stored(name)
        if stored.generation != generation:
            raise NotFound(f"the object {name} has no generation {generation}")
        return self._place(name) / _file(stored.sha256, name)

    def find(self, name: str) -> Stored | None:
        """Return what stands under the name now, or None."""
        try:
            return self._stored(name)
        except NotFound:
            return None

    def list(self, prefix: str) -> list[str]:
        """Return the names that start with `prefix`."""
        upper = prefix.rpartition("/")[0]
        start = self._root.joinpath(*map(_quoted, upper.split("/"))) if upper else self._root
        self._inside(start)
        names = []
        for folder, inner, _ in os.walk(start):
            for leaf in [leaf for leaf in inner if leaf.endswith(MARK)]:
                inner.remove(leaf)
                relative = (Path(folder) / leaf[: -len(MARK)]).relative_to(self._root)
                names.append("/".join(map(unquote, relative.parts)))
        return sorted(name for name in names if name.startswith(prefix))

    def delete(self, name: str) -> None:
        """Remove it; removing what is not there is no error."""
        place = self._place(name)
        try:
            gone = Path(tempfile.mkdtemp(dir=self._scratch()))
            try:
                place.rename(gone / "object")
                _sync(place.parent)
            except FileNotFoundError:
                pass
            finally:
                shutil.rmtree(gone)
        except OSError as exc:
            raise refusal(exc) from exc

    def sign(self, name: str, generation: int, *, seconds: int, filename: str) -> str:
        """Return an address from which the object can be read for `seconds`."""
        return self._address(name, generation, seconds, filename)

    def sign_upload(self, name: str, *, seconds: int, most: int) -> None:
        """Return None: what stands in a folder comes through the service."""

    def _place(self, name: str) -> Path:
        parts = name.split("/")
        if len(name.encode(errors="replace")) > 1024:
            raise InputError("an object's name is longer than 1024 bytes", code="OBJECT_NAME")
        place = self._root.joinpath(*map(_quoted, parts[:-1]), _quoted(parts[-1]) + MARK)
        return self._inside(place)

    def _inside(self, place: Path) -> Path:
        if not place.resolve().is_relative_to(self._root):
            raise InputError("an object's name leads out of the store", code="OBJECT_NAME")
        return place

    def _build(self, name: str, data: bytes | Path, building: Path, place: Path) -> Stored:
        """Write the object's file into `building`, down to the disk."""
        raw = building / "raw"
        if isinstance(data, Path):
            _fetch(data, raw)
        else:
            raw.write_bytes(data)
        sha256, size = hashlib.sha256(), 0
        with raw.open("rb+") as stream:
            while chunk := stream.read(CHUNK):
                sha256.update(chunk)
                size += len(chunk)
            os.fsync(stream.fileno())
        digest = sha256.hexdigest()
        inner = building / "object"
        inner.mkdir(mode=0o700)
        raw.chmod(0o600)
        raw.rename(inner / _file(digest, name))
        _sync(inner)
        _make(place.parent, self._root)
        return Stored(name=name, generation=_generation(digest), sha256=digest, size=size)

    def _settle(self, building: Path, place: Path) -> bool:
        try:
            (building / "object").rename(place)
        except OSError as exc:
            if exc.errno in (errno.ENOTEMPTY, errno.EEXIST):
                return False
            raise
        _sync(place.parent)
        return True

    def _stored(self, name: str) -> Stored:
        place = self._place(name)
        try:
            (file,) = place.iterdir()
            size = file.lstat().st_size
        except (FileNotFoundError, NotADirectoryError, ValueError) as exc:
            raise NotFound(f"there is no object {name}") from exc
        sha256 = file.name[:64]
        return Stored(name=name, generation=_generation(sha256), sha256=sha256, size=size)


def _generation(sha256: str) -> int:
    return int(sha256[:HEX_OF_GENERATION], 16)


def _file(sha256: str, name: str) -> str:
    leaf = _quoted(name.rpartition("/")[2])
    return f"{sha256}-{leaf[-120:]}"


def _quoted(part: str) -> str:
    """Return one part of a name as the file system may hold it."""
    try:
        text = quote(part, safe="")
    except UnicodeEncodeError as exc:
        raise InputError("an object's name is not text", code="OBJECT_NAME") from exc
    if part in ("", ".", "..") or not part.isprintable() or len(text) > 240:
        raise InputError(f"{part[:64]!r} cannot be part of an object's name", code="OBJECT_NAME")
    return text


def _fetch(source: Path, target: Path) -> None:
    if source.is_symlink() or not source.is_file():
        raise InputError(f"{source.name!r} is not a regular file", code="NOT_A_REGULAR_FILE")
    try:
        source.rename(target)
    except OSError as exc:
        if exc.errno != errno.EXDEV:
            raise
        shutil.copyfile(source, target, follow_symlinks=False)


def _make(folder: Path, root: Path) -> None:
    """Make the folders above an object and see them written."""
    missing = []
    while folder != root and not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for new in reversed(missing):
        new.mkdir(mode=0o700, exist_ok=True)
        _sync(new.parent)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

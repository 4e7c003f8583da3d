"""Named secrets, and signed addresses of objects."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from causal_orchestrator.backends.local.database import translated
from causal_orchestrator.errors import InputError, NotFound, StorageError

KEY = "signing-key"


class LocalSecrets:
    """The port `Secrets`: the environment first, then a file that no one else may read."""

    def __init__(self, environ: Mapping[str, str], folder: Path) -> None:
        self._environ = environ
        self._folder = folder

    def get(self, name: str) -> str:
        """Return the secret (raises `NotFound`; `StorageError` if others may read its file)."""
        if not name.replace("_", "").replace("-", "").isalnum():
            raise NotFound("there is no secret of that name")
        if self._environ.get(name):
            return self._environ[name]
        path = self._folder / name
        try:
            with path.open("rb") as stream:
                if os.fstat(stream.fileno()).st_mode & 0o077:
                    raise StorageError(f"others may read the secret {name}; set its mode to 600", code="SECRET_MODE")
                return stream.read(65536).decode().strip()
        except FileNotFoundError as exc:
            raise NotFound(f"there is no secret {name}; set it in the environment or in a file") from exc


def signing_key(folder: Path) -> bytes:
    """Return the store's key for signing, made on first use; of two who make it at once, one wins."""
    path = folder / KEY
    with translated():
        if not path.exists():
            fresh = folder / f"{KEY}.{secrets.token_hex(8)}"
            handle = os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
            with os.fdopen(handle, "wb") as stream:
                stream.write(secrets.token_bytes(32))
                stream.flush()
                os.fsync(stream.fileno())
            try:
                os.link(fresh, path)
            except FileExistsError:
                pass
            finally:
                fresh.unlink()
        return path.read_bytes()


def sign_token(key: bytes, *, name: str, generation: int, filename: str, expires: int) -> str:
    """Return a token that stands for one object until `expires` (seconds since 1970)."""
    claim = json.dumps([name, generation, filename, expires], separators=(",", ":")).encode()
    mac = hmac.new(key, claim, hashlib.sha256).digest()
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in (claim, mac))


def read_token(key: bytes, token: str, *, now: float) -> tuple[str, int, str]:
    """Return name, generation and file name that a token stands for.

    Raises
    ------
    InputError
        ``TOKEN`` if it was not signed with `key` or its time is over.
    """
    try:
        claim, mac = (base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)) for part in token.split("."))
    except ValueError as exc:
        raise InputError("the address is not one of ours", code="TOKEN") from exc
    if not hmac.compare_digest(mac, hmac.new(key, claim, hashlib.sha256).digest()):
        raise InputError("the address is not one of ours", code="TOKEN")
    name, generation, filename, expires = json.loads(claim)
    if now >= expires:
        raise InputError("the address is no longer good", code="TOKEN")
    return str(name), int(generation), str(filename)

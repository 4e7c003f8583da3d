"""Who calls: API keys and Google ID tokens, and what each role may do.

An API key is ``co_<env>_`` + 32 base62 characters + a checksum of six. Only its keyed hash is stored: the key has 190
bits of chance, so a fast hash is the right one. It is shown once, when it is made.
"""

from __future__ import annotations

import hashlib
import hmac
import math
import secrets
import string
import threading
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import jwt

from causal_orchestrator import log
from causal_orchestrator.backends.ports import Backends, Found, Writes
from causal_orchestrator.errors import CausalError, StorageError

BASE62 = string.digits + string.ascii_letters
ISSUERS = ("https://accounts.google.com", "accounts.google.com")
LEEWAY_SECONDS = 60
FETCH_SECONDS, KEPT_SECONDS, PAUSE_SECONDS = 10, 3600.0, 60.0
PEPPER = "API_KEY_PEPPER"  # name of the secret, not the secret

Role = Literal["admin", "analyst", "viewer"]
SCOPES: Mapping[str, frozenset[str]] = {
    "viewer": frozenset({"read"}),
    "analyst": frozenset({"read", "write"}),
    "admin": frozenset({"read", "write", "admin"}),
}


class Unauthenticated(CausalError):
    """The caller has not shown who it is."""

    default_code = "UNAUTHENTICATED"


class Forbidden(CausalError):
    """The caller is known and may not do this."""

    default_code = "FORBIDDEN"


@dataclass(frozen=True)
class Principal:
    """A caller: who, of which tenant, with which role."""

    name: str
    tenant: str
    role: Role

    def require(self, scope: str) -> None:
        """Raise Forbidden unless the role has the scope."""
        if scope not in SCOPES[self.role]:
            raise Forbidden(f"this needs the right to {scope}; the role {self.role} does not have it")


@dataclass(frozen=True)
class TokenRules:
    """Which ID tokens are accepted: the audience, the people, and where signing keys come from by key ID."""

    audience: str
    principals: Mapping[str, Principal]
    signing_key: Callable[[str], Any]


class Certificates:
    """The keys with which an authority signs, by their IDs.

    They are fetched again after an hour, and for an ID that is not known, but not more than once a minute: bad tokens must
    not become requests. While the authority does not answer, what is known holds. `clock` gives seconds.
    """

    def __init__(self, address: str, *, clock: Callable[[], float]) -> None:
        self._client = jwt.PyJWKClient(address, cache_jwk_set=False, timeout=FETCH_SECONDS)
        self._clock = clock
        self._keys: Mapping[str, Any] = {}
        self._asked = self._fetched = -math.inf
        self._lock = threading.Lock()

    def key(self, kid: str) -> Any:
        """Return the key with this ID, or None (raises StorageError if no key at all could be fetched)."""
        with self._lock:
            now = self._clock()
            stale = kid not in self._keys or now - self._fetched >= KEPT_SECONDS
            if stale and now - self._asked >= PAUSE_SECONDS:
                self._asked = now
                self._refresh(now)
            if not self._keys:
                raise StorageError("the keys of those who sign tokens could not be fetched", code="CERTIFICATES")
            return self._keys.get(kid)

    def _refresh(self, now: float) -> None:
        try:
            found = self._client.get_jwk_set(refresh=True)
        except jwt.PyJWTError as exc:
            log.event("certificates_failed", severity="WARNING", error=type(exc).__name__)
            return
        self._keys = {str(entry.key_id): entry.key for entry in found.keys if entry.key_id}
        self._fetched = now


def make_key(environment: str = "local") -> str:
    """Return a new API key."""
    body = "".join(secrets.choice(BASE62) for _ in range(32))
    return f"co_{environment}_{body}{_checksum(body)}"


def _checksum(body: str) -> str:
    value, digits = zlib.crc32(body.encode()), ""
    for _ in range(6):
        value, digit = divmod(value, 62)
        digits = BASE62[digit] + digits
    return digits


def well_formed(key: str) -> bool:
    """Say whether the text is a key by its form and checksum; spares the store a look-up."""
    parts = key.split("_")
    if len(parts) != 3 or parts[0] != "co" or len(parts[2]) != 38 or not parts[2].isascii() or not parts[2].isalnum():
        return False
    return hmac.compare_digest(_checksum(parts[2][:32]), parts[2][32:])


def _path(backends: Backends, key: str) -> str:
    pepper = backends.secrets.get(PEPPER).encode()
    return f"keys/{hmac.new(pepper, key.encode(), hashlib.sha256).hexdigest()}"


def add_key(backends: Backends, key: str, *, name: str, tenant: str, role: Role) -> None:
    """Store a key's hash with what it is for."""
    path = _path(backends, key)
    new = {"name": name, "tenant": tenant, "role": role, "created_at": backends.now(), "revoked_at": None}
    backends.documents.update([path], lambda found: {} if found[path] else {path: new})


def revoke_key(backends: Backends, key: str) -> None:
    """Make a key worthless, from now on."""
    path, now = _path(backends, key), backends.now()

    def revoke(found: Found) -> Writes:
        known = found[path]
        return {} if known is None else {path: {**known, "revoked_at": now}}

    backends.documents.update([path], revoke)


def authenticate(backends: Backends, header: str | None, *, environment: str, tokens: TokenRules | None) -> Principal:
    """Return who the ``Authorization`` header speaks for (raises Unauthenticated, always with the same words)."""
    scheme, _, credential = (header or "").partition(" ")
    if scheme.lower() != "bearer" or not credential or "," in credential:
        raise Unauthenticated("a valid API key or ID token is needed")
    if credential.startswith("co_"):
        found = _by_key(backends, credential, environment)
    else:
        found = _by_token(credential, tokens)
    if found is None:
        raise Unauthenticated("a valid API key or ID token is needed")
    return found


def _by_key(backends: Backends, key: str, environment: str) -> Principal | None:
    if not well_formed(key) or key.split("_")[1] != environment:
        return None
    document = backends.documents.get(_path(backends, key))
    if document is None or document["revoked_at"] is not None:
        return None
    return Principal(name=str(document["name"]), tenant=str(document["tenant"]), role=document["role"])


def _by_token(token: str, rules: TokenRules | None) -> Principal | None:
    """Check a Google ID token: RS256 only, issuer, audience, times, a verified e-mail that is known here."""
    if rules is None:
        return None
    try:
        header = jwt.get_unverified_header(token)
        if (
            header.get("alg") != "RS256"
            or not isinstance(header.get("kid"), str)
            or {"jku", "jwk", "x5u"} & set(header)
        ):
            return None
        key = rules.signing_key(header["kid"])
        if key is None:
            return None
        claims = jwt.decode(
            token, key, algorithms=["RS256"], audience=rules.audience, leeway=LEEWAY_SECONDS,
            options={"require": ["exp", "iat", "iss", "aud", "email"], "strict_aud": True},
        )  # fmt: skip
    except (jwt.PyJWTError, ValueError):
        return None
    if claims["iss"] not in ISSUERS or claims.get("email_verified") is not True:
        return None
    return rules.principals.get(str(claims["email"]))

"""The public web and nothing else: https to hosts whose every address is public, within bounds of bytes and time.

An address comes from outside and must not become a way inside. Its host must be a name; it is resolved once, all of its
addresses must be public, and the connection goes to one that was checked, with the certificate of the name. So a name
that later resolves otherwise changes nothing. Every redirect is taken through the same door. Proxies of the environment
are not used: they would resolve the name again.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse, HTTPSConnection
from pathlib import Path
from urllib.parse import urljoin

from causal_orchestrator.errors import InputError, StorageError

PORT = 443
MAX_REDIRECTS = 3
REDIRECTS = frozenset({301, 302, 303, 307, 308})
CONNECT_SECONDS = 10.0
CHUNK = 64 * 1024
ADDRESS = re.compile(r"(?i:https)://([^/?#]*)([^#]*)(?:#.*)?")
LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
# The last label begins with a letter: what ends in a number would be read as an IPv4 address, in any of its spellings.
HOST = re.compile(rf"(?=.{{4,253}}\Z)(?:{LABEL}\.)+[a-z](?:[a-z0-9-]{{0,61}}[a-z0-9])")
INSIDE = ("internal", "local", "localhost", "arpa", "lan", "intranet")
# Special blocks that `is_global` lets pass in some version: relays and embeddings of IPv4, and a cloud's own services.
SPECIAL = tuple(
    ipaddress.ip_network(block)
    for block in (
        "192.0.0.0/24", "192.88.99.0/24", "168.63.129.16/32", "64:ff9b::/96", "64:ff9b:1::/48", "2001::/23", "2001:db8::/32",
        "2002::/16", "3fff::/20", "5f00::/16",
    )
)  # fmt: skip
GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")


def resolve(host: str) -> Sequence[str]:
    """Return every address of a host (raises OSError)."""
    found = socket.getaddrinfo(host, PORT, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def dial(address: str, seconds: float) -> socket.socket:
    """Open a connection to an IP address on port 443 (raises OSError)."""
    return socket.create_connection((address, PORT), timeout=seconds)


@dataclass(frozen=True)
class Web:
    """How the public web is reached.

    `context` holds the authorities that are trusted (None: the system's); `hosts` are the only names that may be asked
    (None: any public host).
    """

    resolve: Callable[[str], Sequence[str]] = resolve
    dial: Callable[[str, float], socket.socket] = dial
    context: ssl.SSLContext | None = None
    hosts: frozenset[str] | None = None


@dataclass(frozen=True)
class Place:
    """An address that was checked by its form: the host's name and what is asked of it."""

    host: str
    path: str


@dataclass(frozen=True)
class Download:
    """What was fetched: where it lies, its hash and size, and the server's mark of this version if it gave one."""

    path: Path
    sha256: str
    size: int
    etag: str | None


def parse(address: str) -> Place:
    """Return the host and path of an https address.

    Raises
    ------
    InputError
        ``URL_NOT_ALLOWED`` if it is not https on port 443 of a host with a public name, or carries credentials.
    """
    if len(address) > 2048 or not re.fullmatch(r"[\x21-\x5b\x5d-\x7e]+", address):
        raise _refused("the address is too long or holds characters that must be percent-encoded")
    found = ADDRESS.fullmatch(address)
    host = "" if found is None else found[1].lower().removesuffix(f":{PORT}")
    if found is None or not HOST.fullmatch(host) or host.rpartition(".")[2] in INSIDE:
        raise _refused("only https addresses of public host names are read, on port 443 and without credentials")
    return Place(host, found[2] if found[2].startswith("/") else f"/{found[2]}")


def is_public(address: str) -> bool:
    """Say whether an IP address is one of the public internet, in its own form and not embedded in another."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if ip.version == 6 and ip not in GLOBAL_UNICAST:
        return False
    special = ip.is_multicast or ip.is_reserved or ip.is_unspecified or ip.is_loopback or ip.is_link_local
    return ip.is_global and not special and not any(ip in block for block in SPECIAL if block.version == ip.version)


def download(
    address: str, target: Path, *, most: int, seconds: float, web: Web, headers: Mapping[str, str] | None = None,
    etag: str | None = None,
) -> Download | None:  # fmt: skip
    """Fetch what lies at an address into the new file `target`, or return None if it is still the version `etag`.

    Parameters
    ----------
    most : int
        Bytes that are taken at most.
    seconds : float
        Time for everything, redirects included.
    headers : Mapping, optional
        Sent to the address's own host alone, never to where it redirects.

    Raises
    ------
    InputError
        ``URL_NOT_ALLOWED``, ``DATASET_NOT_FOUND``, ``DATASET_TOO_LARGE``, ``SOURCE_REFUSED``, ``SOURCE_TIMEOUT`` or
        ``SOURCE_CERTIFICATE``.
    StorageError
        ``SOURCE_UNAVAILABLE`` if the host does not answer, or not to the end.
    """
    deadline = time.monotonic() + seconds
    place, own = parse(address), dict(headers or {})
    condition = {} if etag is None else {"If-None-Match": etag}
    for _ in range(MAX_REDIRECTS + 1):
        with _asked("GET", place, web, deadline, {**own, **condition}) as response:
            if response.status == 304 and etag is not None:
                return None
            if response.status not in REDIRECTS:
                _check(response)
                return _save(response, target, most, deadline)
            after = parse(urljoin(f"https://{place.host}{place.path}", response.headers.get("Location", "")))
            place, own = after, own if after.host == place.host else {}
    raise _refused(f"the address redirects more than {MAX_REDIRECTS} times")


def post(address: str, body: bytes, *, seconds: float, web: Web, headers: Mapping[str, str]) -> int:
    """Post `body` to an address and return the status of the answer, which is not read; no redirect is followed.

    Raises
    ------
    InputError, StorageError
        As `download` does.
    """
    with _asked("POST", parse(address), web, time.monotonic() + seconds, headers, body) as response:
        return response.status


@contextmanager
def _asked(
    method: str, place: Place, web: Web, deadline: float, headers: Mapping[str, str], body: bytes | None = None
) -> Iterator[HTTPResponse]:
    """Send one request and give its answer while the connection is open."""
    asked = {"User-Agent": "causal-orchestrator", "Accept-Encoding": "identity", "Connection": "close", **headers}
    with _translated(deadline), _connected(place.host, web, deadline) as connection:
        connection.request(method, place.path, body=body, headers=asked)
        yield connection.getresponse()


@contextmanager
def _connected(host: str, web: Web, deadline: float) -> Iterator[HTTPSConnection]:
    """Give a connection to one of the host's addresses that were checked; it is cut when the time is up."""
    raw = _dialled(_addresses(host, web), web, deadline)
    context = web.context or ssl.create_default_context()
    # A connection that breaks off must not look like the end of a table: ragged ends are errors.
    tls = context.wrap_socket(raw, server_hostname=host, do_handshake_on_connect=False, suppress_ragged_eofs=False)
    alarm = threading.Timer(max(0.0, deadline - time.monotonic()), _cut, [tls])
    alarm.daemon = True
    alarm.start()
    try:
        tls.settimeout(max(0.001, deadline - time.monotonic()))
        tls.do_handshake()
        connection = HTTPSConnection(host, PORT)
        connection.sock, connection.auto_open = tls, 0
        yield connection
    finally:
        alarm.cancel()
        tls.close()


def _cut(connection: socket.socket) -> None:
    """End a connection under a reader that waits on it."""
    try:
        socket.socket.shutdown(connection, socket.SHUT_RDWR)
    except OSError:
        return  # it has ended by itself


def _addresses(host: str, web: Web) -> Sequence[str]:
    """Return the addresses of a host if it may be asked and all of them are public."""
    if web.hosts is not None and host not in web.hosts:
        raise _refused(f"the host {host[:64]} is not among those that are read here")
    try:
        found = web.resolve(host)
    except socket.gaierror as exc:
        if exc.errno == socket.EAI_AGAIN:
            raise
        raise InputError(f"there is no host {host[:64]}", code="DATASET_NOT_FOUND") from exc
    if not found or not all(is_public(address) for address in found):
        raise _refused(f"the host {host[:64]} has an address that is not public")
    return found


def _dialled(addresses: Sequence[str], web: Web, deadline: float) -> socket.socket:
    """Return a connection to the first address that answers."""
    failed: OSError = TimeoutError("no time was left")
    for address in addresses:
        left = deadline - time.monotonic()
        if left <= 0:
            break
        try:
            return web.dial(address, min(CONNECT_SECONDS, left))
        except OSError as exc:
            failed = exc
    raise failed


@contextmanager
def _translated(deadline: float) -> Iterator[None]:
    try:
        yield
    except ssl.SSLCertVerificationError as exc:
        raise InputError("the host does not prove that it is who it says", code="SOURCE_CERTIFICATE") from exc
    except (OSError, HTTPException, ValueError) as exc:
        if time.monotonic() >= deadline:
            raise _late() from exc
        raise StorageError(
            f"the address gave no whole answer ({type(exc).__name__})", code="SOURCE_UNAVAILABLE"
        ) from exc


def _check(response: HTTPResponse) -> None:
    """Raise unless the answer is the whole of what was asked for, as it is."""
    status = response.status
    if status in (404, 410):
        raise InputError("there is nothing at that address", code="DATASET_NOT_FOUND")
    if status in (408, 425, 429) or status >= 500:
        raise StorageError(f"the address answers {status}", code="SOURCE_UNAVAILABLE")
    coding = response.headers.get("Content-Encoding", "identity").strip().lower()
    # What is gzip on the way stays gzip in the file: the reader unpacks it within its limits.
    if status != 200 or coding not in ("identity", "gzip", "x-gzip"):
        raise InputError(f"the address does not give the file (status {status})", code="SOURCE_REFUSED")


def _save(response: HTTPResponse, target: Path, most: int, deadline: float) -> Download:
    """Write the answer's body into a new file, or leave none."""
    declared, size, hashed = response.length, 0, hashlib.sha256()
    if declared is not None and declared > most:
        raise _too_large(most)
    try:
        with target.open("xb") as out:
            while block := response.read1(CHUNK):
                size += len(block)
                if size > most:
                    raise _too_large(most)
                hashed.update(block)
                out.write(block)
        if time.monotonic() >= deadline:
            raise _late()
        if declared is not None and size != declared:
            raise StorageError("the address broke off before the end", code="SOURCE_UNAVAILABLE")
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    return Download(target, hashed.hexdigest(), size, response.headers.get("ETag"))


def _refused(sentence: str) -> InputError:
    return InputError(sentence, code="URL_NOT_ALLOWED")


def _late() -> InputError:
    return InputError("the address took longer than it may; download the file and give its path", code="SOURCE_TIMEOUT")


def _too_large(most: int) -> InputError:
    return InputError(
        f"the address gives more than {most} bytes; select columns or rows first", code="DATASET_TOO_LARGE"
    )

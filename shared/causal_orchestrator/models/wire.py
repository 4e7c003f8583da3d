"""One POST over HTTP(S), bounded in bytes and by the clock whatever the other side does.

No redirects, no compression, no retries, no proxies.
"""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import urlsplit

from causal_orchestrator import strict_json
from causal_orchestrator.errors import InputError, ModelUnavailable
from causal_orchestrator.models.answers import MAX_REPLY_BYTES, invalid

PORTS = {"https": 443, "http": 80}


@dataclass(frozen=True)
class Reply:
    """An HTTP response: status, headers with lower-case names, body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def ask(url: str, body: Mapping[str, Any], headers: Mapping[str, str], *, seconds: float) -> Any:
    """Post a JSON object and return the JSON value of the answer (raises ModelUnavailable)."""
    sent = {"Content-Type": "application/json", **headers}
    return value(post(url, json.dumps(body).encode(), sent, seconds=seconds))


def post(url: str, body: bytes, headers: Mapping[str, str], *, seconds: float) -> Reply:
    """Post and return the whole response within `seconds`.

    Raises
    ------
    ModelUnavailable
        ``MODEL_LATE`` if the time is up, ``MODEL_LOST`` if there is no (whole) response, ``MODEL_INVALID`` if it is
        too long.
    """
    until = time.monotonic() + seconds
    try:
        with _opened(url, seconds) as connection:
            path = urlsplit(url)._replace(scheme="", netloc="").geturl()
            connection.request("POST", path or "/", body, dict(headers))
            response = connection.getresponse()
            data = response.read(MAX_REPLY_BYTES + 1)
            short = response.length
    except (OSError, HTTPException) as exc:
        raise _lost(type(exc).__name__, late=isinstance(exc, TimeoutError) or time.monotonic() >= until) from exc
    if len(data) > MAX_REPLY_BYTES:
        raise invalid(f"it is longer than {MAX_REPLY_BYTES:,} bytes")
    if short or time.monotonic() >= until:
        raise _lost("the response broke off", late=time.monotonic() >= until)
    return Reply(response.status, {name.lower(): text for name, text in response.getheaders()}, data)


@contextmanager
def _opened(url: str, seconds: float) -> Iterator[HTTPConnection]:
    """Connect, and cut the connection at the end of the time: a socket's own time-out starts anew with every byte."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or PORTS[parts.scheme]
    connection = (
        HTTPSConnection(host, port, timeout=seconds, context=_trusted())
        if parts.scheme == "https"
        else HTTPConnection(host, port, timeout=seconds)
    )
    connection.connect()
    watchdog = threading.Timer(seconds, _cut, [connection.sock])
    watchdog.daemon = True
    watchdog.start()
    try:
        yield connection
    finally:
        watchdog.cancel()
        connection.close()


@cache
def _trusted() -> ssl.SSLContext:
    return ssl.create_default_context()


def _cut(sock: socket.socket) -> None:
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)


def _lost(why: str, *, late: bool) -> ModelUnavailable:
    if late:
        return ModelUnavailable("the provider did not answer in time", code="MODEL_LATE")
    return ModelUnavailable(f"the provider cannot be reached: {why}", code="MODEL_LOST")


def value(reply: Reply) -> Any:
    """Return the JSON value of a response with status 200.

    Raises
    ------
    ModelUnavailable
        ``MODEL_BUSY`` (429, 5xx; ``retry_after`` seconds in the details), ``MODEL_REFUSED`` (any other status) or
        ``MODEL_INVALID``.
    """
    if reply.status in (408, 429) or reply.status >= 500:
        details = {"status": reply.status, "retry_after": _seconds(reply.headers.get("retry-after", ""))}
        raise ModelUnavailable(f"the provider answered {reply.status}", code="MODEL_BUSY", details=details)
    if reply.status != 200:
        details = {"status": reply.status}
        raise ModelUnavailable(f"the provider answered {reply.status}", code="MODEL_REFUSED", details=details)
    try:
        return strict_json.parse(reply.body, max_bytes=MAX_REPLY_BYTES)
    except InputError as exc:
        raise invalid(exc.message) from exc


def _seconds(text: str) -> float:
    """Return what a Retry-After header asks for; 0 if there is none or it makes no sense."""
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, TypeError):
        return 0.0
    return max(0.0, (at.replace(tzinfo=at.tzinfo or UTC) - datetime.now(UTC)).total_seconds())

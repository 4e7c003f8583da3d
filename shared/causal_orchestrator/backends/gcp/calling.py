"""How Google's services are called: a deadline on every call, their clients' own retries off, ours few, errors ours."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import grpc  # type: ignore[import-untyped]
import requests
from google.api_core import exceptions
from google.auth.exceptions import GoogleAuthError

from causal_orchestrator.errors import AlreadyExists, CausalError, Conflict, NotFound, StorageError

T = TypeVar("T")

TRIES = 4
TIMEOUT = 10.0  # seconds a call
PAUSE_BASE, PAUSE_CAP = 0.05, 2.0
PASSING = (
    exceptions.Aborted,
    exceptions.ServiceUnavailable,
    exceptions.GatewayTimeout,
    exceptions.InternalServerError,
    exceptions.BadGateway,
    exceptions.TooManyRequests,
    exceptions.Unknown,
    exceptions.Cancelled,
    requests.ConnectionError,
    requests.Timeout,
)


def insist(call: Callable[[], T], *, what: str, tries: int = TRIES) -> T:
    """Return what a harmless call gives; it is repeated a few times while the service fails in passing.

    Harmless means that doing it twice is as good as once.

    Raises
    ------
    CausalError
        This project's word for what the service answered last.
    """
    with translated(what):
        for k in range(tries - 1):
            try:
                return call()
            except PASSING:
                rest(k)
        return call()


def rest(k: int) -> None:
    """Wait after the k-th failure: longer each time, and everyone differently."""
    time.sleep(min(PAUSE_CAP, PAUSE_BASE * 2.0**k) * random.uniform(0.5, 1.0))  # noqa: S311  spreads load, nothing else


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Turn the errors of Google's libraries into this project's."""
    try:
        yield
    except exceptions.GoogleAPIError as exc:
        raise translation(exc, what) from exc
    except GoogleAuthError as exc:
        raise StorageError(f"{what}: no valid credentials", code="STORAGE_DENIED") from exc
    except (grpc.RpcError, requests.RequestException) as exc:
        raise StorageError(f"{what}: no answer ({type(exc).__name__})", code="STORAGE_UNAVAILABLE") from exc


@contextmanager
def delivered() -> Iterator[None]:
    """Say of what has nobody to go to that the world failed: the sender is not to blame, and may send again."""
    try:
        yield
    except (NotFound, Conflict) as exc:
        raise StorageError(exc.message, code="NO_RECEIVER") from exc


def translation(exc: Exception, what: str) -> CausalError:
    """Return what an error of Google's means here; only its kind is told, for its text may quote a request."""
    for kinds, make in MEANINGS:
        if isinstance(exc, kinds):
            return make(f"{what}: {type(exc).__name__}")
    return StorageError(f"{what}: {type(exc).__name__}")


def _storage(code: str) -> Callable[[str], CausalError]:
    return lambda message: StorageError(message, code=code)


# The first that fits counts: Aborted and AlreadyExists are kinds of Google's Conflict.
MEANINGS: tuple[tuple[Any, Callable[[str], CausalError]], ...] = (
    (exceptions.NotFound, NotFound),
    (exceptions.AlreadyExists, AlreadyExists),
    (exceptions.PreconditionFailed, AlreadyExists),
    (exceptions.Conflict, Conflict),
    ((exceptions.Forbidden, exceptions.Unauthorized), _storage("STORAGE_DENIED")),
    (exceptions.TooManyRequests, _storage("STORAGE_BUSY")),
    ((exceptions.BadRequest, exceptions.MethodNotImplemented), _storage("STORAGE_REFUSED")),
    ((exceptions.ServerError, exceptions.Cancelled), _storage("STORAGE_UNAVAILABLE")),
)

"""The whole service on this machine: HTTP on loopback, the embedded loop beside it."""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from flask import Flask
from gunicorn.app.base import BaseApplication

from causal_orchestrator.backends import connect
from causal_orchestrator.backends.local.keys import signing_key
from causal_orchestrator.errors import InputError
from causal_orchestrator.http.app import create_app
from causal_orchestrator.http.auth import PEPPER, add_key, make_key, revoke_key
from causal_orchestrator.http.limits import Buckets
from causal_orchestrator.http.patience import PatientWorker
from causal_orchestrator.http.service import Service
from causal_orchestrator.settings import Settings

LOOPBACK = ("127.0.0.1", "localhost", "::1")
ENVIRONMENT = "local"
PROCESSES, THREADS, CONNECTIONS = 2, 16, 2000
# Every look into the store lets go of the interpreter; after Python's usual 5 ms it would come back too late.
SWITCH_SECONDS = 0.0005
SUBMITS_A_SECOND, READS_A_SECOND = 250.0, 1000.0  # in each process


def serve(settings: Settings, *, host: str, port: int, announce: Callable[[str], None]) -> None:
    """Serve until interrupted; `announce` is told the address and the key that was made for this run.

    Raises
    ------
    InputError
        If `host` is not a loopback address (``NOT_LOOPBACK``): there is no transport security here.
    """
    if host not in LOOPBACK:
        raise InputError(f"the embedded service listens on loopback only, not on {host[:64]!r}", code="NOT_LOOPBACK")
    settings = _with_pepper(settings)
    backends = connect(settings)
    key = make_key(ENVIRONMENT)
    add_key(backends, key, name="local", tenant=settings.tenant, role="admin")
    surroundings = {**os.environ, "CAUSAL_HOME": str(settings.home), "CAUSAL_WORKERS": str(settings.workers)}
    loop = subprocess.Popen([sys.executable, "-m", "causal_orchestrator.http.loop"], env=surroundings)
    announce(f"http://{host}:{port}  Authorization: Bearer {key}")
    owner = os.getpid()
    try:
        _Server(settings, host, port).run()
    finally:
        if os.getpid() == owner:  # a fork of the server unwinds through here too
            revoke_key(backends, key)
            loop.terminate()
            loop.wait(timeout=30)


def _with_pepper(settings: Settings) -> Settings:
    """Return settings that hold the secret with which API keys are hashed, derived from the store's own key."""
    home = settings.home
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    pepper = hmac.new(signing_key(home / "secrets"), PEPPER.encode(), hashlib.sha256).hexdigest()
    return dataclasses.replace(settings, environ={PEPPER: pepper, **settings.environ})


def embedded(settings: Settings) -> Flask:
    """Return the app over the embedded store."""
    service = Service(
        backends=connect(settings),
        environment=ENVIRONMENT,
        submits=Buckets(rate=SUBMITS_A_SECOND, burst=int(SUBMITS_A_SECOND), clock=time.monotonic),
        reads=Buckets(rate=READS_A_SECOND, burst=int(READS_A_SECOND), clock=time.monotonic),
        hosts=frozenset(LOOPBACK),
        monotonic=time.monotonic,
        pause=time.sleep,
    )
    return create_app(service)


class _Server(BaseApplication):  # type: ignore[misc]
    """Gunicorn with two processes of several threads; the app is made in the process that serves it."""

    def __init__(self, settings: Settings, host: str, port: int) -> None:
        self._settings, self._bind = settings, f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        super().__init__()

    def load_config(self) -> None:
        options: dict[str, Any] = {
            "bind": self._bind, "workers": PROCESSES, "threads": THREADS, "worker_class": PatientWorker, "timeout": 0,
            "graceful_timeout": 5, "loglevel": "warning", "limit_request_field_size": 8190, "keepalive": 30,
            "worker_connections": CONNECTIONS,
        }  # fmt: skip
        for name, value in options.items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        sys.setswitchinterval(SWITCH_SECONDS)
        return embedded(self._settings)

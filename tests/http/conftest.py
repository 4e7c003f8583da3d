"""A service over an embedded store in a folder of its own; no loop runs, so jobs stay where they are."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from causal_orchestrator.backends import connect
from causal_orchestrator.backends.ports import Backends
from causal_orchestrator.http.app import create_app
from causal_orchestrator.http.auth import PEPPER, add_key, make_key
from causal_orchestrator.http.limits import Buckets
from causal_orchestrator.http.service import Service
from causal_orchestrator.settings import Settings


@dataclass
class World:
    """A client, the service behind it, and a key for each kind of caller."""

    client: FlaskClient
    service: Service
    backends: Backends
    keys: dict[str, str]

    def headers(self, who: str) -> dict[str, str]:
        return {} if who == "anonymous" else {"Authorization": f"Bearer {self.keys[who]}"}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return made(tmp_path)


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A service for many requests in a row."""
    return made(tmp_path_factory.mktemp("lasting"))


def made(folder: Path) -> World:
    """Return a service over a new store in a folder."""
    settings = Settings(home=folder / "home", environ={PEPPER: "0" * 64}, sources={"*": ("gs://bucket",)})
    backends = connect(settings)
    ticks = itertools.count()
    service = Service(
        backends=backends, environment="test", hosts=frozenset({"localhost"}),
        submits=Buckets(rate=1000.0, burst=10_000, clock=lambda: float(next(ticks))),
        reads=Buckets(rate=1000.0, burst=10_000, clock=lambda: float(next(ticks))),
        monotonic=lambda: float(next(ticks)) * 600,
    )  # fmt: skip
    keys = {}
    for who, tenant, role in (
        ("owner", "acme", "analyst"), ("colleague", "acme", "viewer"), ("admin", "acme", "admin"),
        ("stranger", "other", "admin"),
    ):  # fmt: skip
        keys[who] = make_key("test")
        add_key(backends, keys[who], name=who, tenant=tenant, role=role)  # type: ignore[arg-type]
    return World(create_app(service).test_client(), service, backends, keys)

"""The app as it is deployed: the keys of its own environment, Google's ID tokens, limits for each instance."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from flask import Flask

from causal_orchestrator import strict_json
from causal_orchestrator.backends.ports import Backends
from causal_orchestrator.errors import InputError, NotFound
from causal_orchestrator.http.app import create_app
from causal_orchestrator.http.auth import SCOPES, Certificates, Principal, TokenRules
from causal_orchestrator.http.limits import Buckets
from causal_orchestrator.http.service import Service
from causal_orchestrator.settings import Settings

CERTIFICATES = "https://www.googleapis.com/oauth2/v3/certs"
PRINCIPALS = "PRINCIPALS"  # name of the secret: {e-mail: {"tenant": …, "role": …}}
MAX_PRINCIPALS_BYTES = 64 * 1024
SUBMITS_A_SECOND, READS_A_SECOND = 20.0, 100.0  # of one caller, in one instance


def deployed(settings: Settings, backends: Backends) -> Flask:
    """Return the app over a cloud's backends.

    Raises
    ------
    InputError
        If the secret ``PRINCIPALS`` is there and does not say who may call.
    """
    service = Service(
        backends=backends,
        environment=settings.environment,
        submits=Buckets(rate=SUBMITS_A_SECOND, burst=int(5 * SUBMITS_A_SECOND), clock=time.monotonic),
        reads=Buckets(rate=READS_A_SECOND, burst=int(5 * READS_A_SECOND), clock=time.monotonic),
        tokens=_rules(settings, backends),
        monotonic=time.monotonic,
        pause=time.sleep,
    )
    return create_app(service)


def _rules(settings: Settings, backends: Backends) -> TokenRules | None:
    """Return whose ID tokens are taken; none are where nobody is named or the service does not know its own address."""
    try:
        text = backends.secrets.get(PRINCIPALS)
    except NotFound:
        return None
    if not settings.url:
        return None
    found = strict_json.parse(text, max_bytes=MAX_PRINCIPALS_BYTES)
    certificates = Certificates(CERTIFICATES, clock=time.monotonic)
    return TokenRules(audience=settings.url, principals=_principals(found), signing_key=certificates.key)


def _principals(found: Any) -> dict[str, Principal]:
    rows = found if isinstance(found, Mapping) else {"": None}
    principals = {}
    for mail, row in rows.items():
        if not isinstance(row, Mapping) or set(row) != {"tenant", "role"} or row["role"] not in SCOPES:
            raise InputError(f"{PRINCIPALS} must name a tenant and a role for each e-mail", code="SETTING")
        principals[mail] = Principal(name=mail, tenant=str(row["tenant"]), role=row["role"])
    return principals

"""The way to Google's OTLP endpoint."""

from __future__ import annotations

from typing import Any

import google.auth
from google.auth.transport.requests import AuthorizedSession

from causal_orchestrator.backends.gcp.calling import translated

SCOPE = "https://www.googleapis.com/auth/trace.append"


def session() -> Any:
    """Return a session with the application's default credentials that may append traces and nothing else.

    Raises
    ------
    StorageError
        If there are none.
    """
    with translated("sending traces"):
        credentials, _ = google.auth.default(scopes=[SCOPE])
    return AuthorizedSession(credentials)  # type: ignore[no-untyped-call]

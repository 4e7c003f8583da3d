"""The HTTP service: every route of `/api/v1`, the health check and the OpenAPI document. Trigger: HTTP."""

from causal_orchestrator.entrypoints import on_request  # noqa: F401

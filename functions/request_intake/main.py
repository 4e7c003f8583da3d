"""A message on the topic `analysis-requests` starts a job. Trigger: Pub/Sub, with retry."""

from causal_orchestrator.entrypoints import on_request_message  # noqa: F401

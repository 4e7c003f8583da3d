"""The agent `reporter`: a message names the step, the step is run. Trigger: Pub/Sub topic `reporter`, with retry."""

from causal_orchestrator.entrypoints import on_message  # noqa: F401

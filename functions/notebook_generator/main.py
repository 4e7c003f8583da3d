"""The agent `notebook_generator`: a message names the step, the step is run. Trigger: Pub/Sub topic `notebook_generator`, with retry."""

from causal_orchestrator.entrypoints import on_message  # noqa: F401

"""The agent `causal_discovery`: a message names the step, the step is run. Trigger: Pub/Sub topic `causal_discovery`, with retry."""

from causal_orchestrator.entrypoints import on_message  # noqa: F401

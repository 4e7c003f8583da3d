"""The agent `sensitivity_analyst`: a message names the step, the step is run. Trigger: Pub/Sub topic `sensitivity_analyst`, with retry."""

from causal_orchestrator.entrypoints import on_message  # noqa: F401

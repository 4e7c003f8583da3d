"""The agent `data_repair`: a message names the step, the step is run. Trigger: Pub/Sub topic `data_repair`, with retry."""

from causal_orchestrator.entrypoints import on_message  # noqa: F401

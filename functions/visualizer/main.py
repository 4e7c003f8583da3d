"""The agent `visualizer`: a message names the step, the step is run. Trigger: Pub/Sub topic `visualizer`, with retry."""

from causal_orchestrator.entrypoints import on_message  # noqa: F401

"""The agent `ps_diagnostics`: a message names the step, the step is run. Trigger: Pub/Sub topic `ps_diagnostics`, with retry."""

from causal_orchestrator.entrypoints import on_message  # noqa: F401

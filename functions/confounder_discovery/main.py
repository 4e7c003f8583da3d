"""The agent `confounder_discovery`: a message names the step, the step is run. Trigger: Pub/Sub topic `confounder_discovery`, with retry."""

from causal_orchestrator.entrypoints import on_message  # noqa: F401

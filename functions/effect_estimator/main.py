"""The agent `effect_estimator`: a message names the step, the step is run. Trigger: Pub/Sub topic `effect_estimator`, with retry."""

from causal_orchestrator.entrypoints import on_message  # noqa: F401

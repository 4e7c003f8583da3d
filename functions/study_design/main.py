"""The agent `study_design`: a message names the step, the step is run. Trigger: Pub/Sub topic `study_design`, with retry."""

from causal_orchestrator.entrypoints import on_message  # noqa: F401

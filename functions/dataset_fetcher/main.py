"""The agent `dataset_fetcher`: a message names the step, the step is run. Trigger: Pub/Sub topic `dataset_fetcher`, with retry."""

from causal_orchestrator.entrypoints import on_message  # noqa: F401

"""A dead letter fails the job whose step nobody took. Trigger: Pub/Sub, with retry."""

from causal_orchestrator.entrypoints import on_dead_letter  # noqa: F401

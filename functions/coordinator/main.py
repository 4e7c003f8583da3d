"""A written step makes the coordinator look at its job. Trigger: Firestore write of `jobs/{job}/steps/{step}`, with retry."""

from causal_orchestrator.entrypoints import on_step_written  # noqa: F401

"""A file under `uploads/` in the datasets bucket starts a job. Trigger: object finalized, with retry."""

from causal_orchestrator.entrypoints import on_upload  # noqa: F401

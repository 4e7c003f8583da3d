"""Sends again what is overdue and ends what is past its time. Trigger: HTTP, called every minute by Cloud Scheduler."""

from causal_orchestrator.entrypoints import on_schedule  # noqa: F401

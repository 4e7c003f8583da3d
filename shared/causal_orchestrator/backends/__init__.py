"""The outside world: what it must offer (ports) and who offers it."""

from __future__ import annotations

from causal_orchestrator import log
from causal_orchestrator.backends.ports import Backends
from causal_orchestrator.errors import InputError
from causal_orchestrator.settings import Settings


def connect(settings: Settings) -> Backends:
    """Return the backends that `settings.backend` names.

    Raises
    ------
    InputError
        If there is none of that name, or what it needs is not installed.
    """
    log.connect(settings.log_level, settings.project)
    if settings.backend == "local":
        from causal_orchestrator.backends import local

        return local.open_store(settings).backends
    if settings.backend == "gcp":
        try:
            from causal_orchestrator.backends import gcp
        except ModuleNotFoundError as exc:
            raise InputError("the backend gcp needs libraries that the extra gcp brings", code="BACKEND") from exc
        return gcp.connect(settings)
    raise InputError(f"there is no backend {settings.backend[:64]!r}; there are local and gcp", code="BACKEND")


__all__ = ["Backends", "connect"]

"""Datasets in Google Cloud for those whose backends are elsewhere: the person's own credentials, where the extra is there."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from causal_orchestrator.backends.ports import Cloud
from causal_orchestrator.errors import InputError
from causal_orchestrator.settings import Settings


class OwnCloud:
    """The port `Cloud`, connected when it is first asked (raises InputError ``SOURCE_UNSUPPORTED`` without the extra)."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @cached_property
    def _google(self) -> Cloud:
        try:
            from causal_orchestrator.backends.gcp import sources
        except ModuleNotFoundError as exc:
            raise InputError("gs:// and bq:// addresses need the extra gcp", code="SOURCE_UNSUPPORTED") from exc
        return sources(self._settings)

    def version(self, address: str) -> str:
        """Return what the version that stands now is called."""
        return self._google.version(address)

    def fetch(self, address: str, version: str, target: Path, *, most: int, rows: int) -> None:
        """Write this version into the new file `target`."""
        self._google.fetch(address, version, target, most=most, rows=rows)

"""Every environment variable, read once into one frozen record."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from causal_orchestrator.errors import InputError


@dataclass(frozen=True)
class Settings:
    """How this process is set up; each field is read from the variable in its comment."""

    backend: str = "local"  # CAUSAL_BACKEND: "local" or "gcp"
    home: Path = field(default_factory=lambda: Path.home() / ".causal")  # CAUSAL_HOME: the embedded store's folder
    workers: int = 1  # CAUSAL_WORKERS: worker processes of the embedded loop; 0 runs all in the calling process
    tenant: str = "local"  # CAUSAL_TENANT: whose jobs the command line starts and sees
    log_level: str = "WARNING"  # CAUSAL_LOG
    url: str = ""  # CAUSAL_URL: where the service answers, for the addresses of files
    environ: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)  # for named secrets


def load(environ: Mapping[str, str] | None = None, **changes: Any) -> Settings:
    """Return the settings of the environment; keyword arguments that are not None stand above it.

    Raises
    ------
    InputError
        If a variable holds what it cannot mean.
    """
    values = dict(os.environ if environ is None else environ)
    found: dict[str, Any] = {"environ": values}
    for name, variable in (("backend", "CAUSAL_BACKEND"), ("tenant", "CAUSAL_TENANT"), ("url", "CAUSAL_URL")):
        if values.get(variable):
            found[name] = values[variable]
    if values.get("CAUSAL_HOME"):
        found["home"] = Path(values["CAUSAL_HOME"]).expanduser()
    if values.get("CAUSAL_LOG"):
        found["log_level"] = values["CAUSAL_LOG"].upper()
    if values.get("CAUSAL_WORKERS"):
        found["workers"] = _whole(values["CAUSAL_WORKERS"], "CAUSAL_WORKERS")
    found.update({name: value for name, value in changes.items() if value is not None})
    return Settings(**found)


def _whole(text: str, variable: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= 64):
        raise InputError(f"{variable} must be a whole number from 0 to 64, found {text[:64]!r}", code="SETTING")
    return int(text)

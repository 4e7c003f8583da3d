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
    """How this process is set up (`VARIABLES` says which variable sets which field).

    `home` is the embedded store's folder; `workers` are its worker processes (0: all in the calling process);
    `tenant` is whose jobs the command line starts and sees; `url` is where the service answers.
    """

    backend: str = "local"
    home: Path = field(default_factory=lambda: Path.home() / ".causal")
    workers: int = 1
    tenant: str = "local"
    log_level: str = "WARNING"
    url: str = ""
    environ: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None, **changes: Any) -> Settings:
        """Return the settings of the environment; keyword arguments that are not None stand above it.

        Raises
        ------
        InputError
            If a variable holds what it cannot mean.
        """
        values = dict(os.environ if environ is None else environ)
        found: dict[str, Any] = {"environ": values}
        for name, (variable, read) in VARIABLES.items():
            if values.get(variable):
                found[name] = read(variable, values[variable])
        found.update({name: value for name, value in changes.items() if value is not None})
        return cls(**found)


def _text(variable: str, value: str) -> str:
    return value


def _path(variable: str, value: str) -> Path:
    return Path(value).expanduser()


def _whole(variable: str, value: str) -> int:
    if not (value.isascii() and value.isdigit() and len(value) < 3):
        raise InputError(f"{variable} must be a whole number below 100, found {value[:64]!r}", code="SETTING")
    return int(value)


VARIABLES = {
    "backend": ("CAUSAL_BACKEND", _text),
    "home": ("CAUSAL_HOME", _path),
    "workers": ("CAUSAL_WORKERS", _whole),
    "tenant": ("CAUSAL_TENANT", _text),
    "log_level": ("CAUSAL_LOG", _text),
    "url": ("CAUSAL_URL", _text),
}

"""Every environment variable, read once into one frozen record."""

from __future__ import annotations

import math
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
    `tenant` is whose jobs the command line starts and sees; `url` is where the service answers. `planner` is who
    chooses among the admissible steps; `model` and `model_second` are the models that it asks (the second one as
    ``planner:model`` if it is another provider's), at `model_url` or at the provider's own address. `model_prices` are
    for a million tokens in and out; replies are recorded in, or replayed from, a file.
    """

    backend: str = "local"
    home: Path = field(default_factory=lambda: Path.home() / ".causal")
    workers: int = 1
    tenant: str = "local"
    log_level: str = "WARNING"
    url: str = ""
    region: str = ""
    database: str = "(default)"
    bucket: str = ""
    run_job: str = "step-job"
    task_queue: str = "later"
    service_account: str = ""
    planner: str = "offline"
    model: str = ""
    model_second: str = ""
    model_url: str = ""
    model_prices: tuple[float, float] | None = None
    model_record: Path | None = None
    model_replay: Path | None = None
    project: str = ""
    location: str = "us-central1"
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


def _prices(variable: str, value: str) -> tuple[float, float]:
    try:
        tokens_in, tokens_out = (float(text) for text in value.split(","))
    except ValueError as exc:
        raise InputError(f"{variable} must be two numbers as in 0.3,2.5, found {value[:64]!r}", code="SETTING") from exc
    if not (0 <= tokens_in < math.inf and 0 <= tokens_out < math.inf):
        raise InputError(f"{variable} must be two prices, found {value[:64]!r}", code="SETTING")
    return tokens_in, tokens_out


VARIABLES = {
    "backend": ("CAUSAL_BACKEND", _text),
    "home": ("CAUSAL_HOME", _path),
    "workers": ("CAUSAL_WORKERS", _whole),
    "tenant": ("CAUSAL_TENANT", _text),
    "log_level": ("CAUSAL_LOG", _text),
    "url": ("CAUSAL_URL", _text),
    "region": ("CAUSAL_REGION", _text),
    "database": ("CAUSAL_DATABASE", _text),
    "bucket": ("CAUSAL_BUCKET", _text),
    "run_job": ("CAUSAL_RUN_JOB", _text),
    "task_queue": ("CAUSAL_TASK_QUEUE", _text),
    "service_account": ("CAUSAL_SERVICE_ACCOUNT", _text),
    "planner": ("CAUSAL_PLANNER", _text),
    "model": ("CAUSAL_MODEL", _text),
    "model_second": ("CAUSAL_MODEL_SECOND", _text),
    "model_url": ("CAUSAL_MODEL_URL", _text),
    "model_prices": ("CAUSAL_MODEL_PRICES", _prices),
    "model_record": ("CAUSAL_MODEL_RECORD", _path),
    "model_replay": ("CAUSAL_MODEL_REPLAY", _path),
    "project": ("GOOGLE_CLOUD_PROJECT", _text),
    "location": ("CAUSAL_LOCATION", _text),
}

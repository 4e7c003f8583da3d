"""Every environment variable, read once into one frozen record."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from causal_orchestrator.errors import InputError

# One thread a process for every library: the same digits everywhere, and no two that fight over a processor.
ONE_THREAD = (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS", "LOKY_MAX_CPU_COUNT", "ARROW_NUM_THREADS",
)  # fmt: skip


RULE = re.compile(
    r"https://([a-z0-9-]+\.)+[a-z0-9-]+|https://|gs://[a-z0-9][a-z0-9._-]+(/\S*)?|bq://[a-z0-9:.-]+(\.\w+){0,2}"
)


@dataclass(frozen=True)
class Settings:
    """How this process is set up (`VARIABLES` says which variable sets which field).

    `home` is the embedded store's folder; `workers` are its worker processes (0: all in the calling process);
    `tenant` is whose jobs the command line starts and sees; `url` is where the service answers. `planner` is who
    chooses among the admissible steps; `model` and `model_second` are the models that it asks (the second one as
    ``planner:model`` if it is another provider's), at `model_url` or at the provider's own address. `model_prices` are
    for a million tokens in and out; replies are recorded in, or replayed from, a file. `sources` are the addresses that
    each tenant may have fetched (``*``: all of them), as a JSON object of lists; unset, the command line fetches whatever
    it can reach and a service nothing.

    In the cloud, jobs keep their files in `bucket` and people leave datasets in `datasets_bucket`; `environment` is the
    middle of this deployment's API keys, and a step that has waited for `resend_seconds` is sent again by the sweeper.
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
    datasets_bucket: str = ""
    environment: str = "local"
    resend_seconds: int = 30
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
    sources: Mapping[str, tuple[str, ...]] | None = None
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


def _sources(variable: str, value: str) -> Mapping[str, tuple[str, ...]]:
    try:
        found = {str(tenant): tuple(rules) for tenant, rules in json.loads(value).items()}
        wrong = [rule for rules in found.values() for rule in rules if not RULE.fullmatch(rule)]
    except (AttributeError, TypeError, ValueError) as exc:
        raise InputError(
            f"{variable} must be a JSON object with a list of addresses for each tenant", code="SETTING"
        ) from exc
    if wrong:
        raise InputError(
            f"{variable} takes https://, https://host, gs://bucket/prefix and bq://project.dataset, found {wrong[0][:64]!r}",
            code="SETTING",
        )
    return found


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
    "datasets_bucket": ("CAUSAL_DATASETS_BUCKET", _text),
    "environment": ("CAUSAL_ENVIRONMENT", _text),
    "resend_seconds": ("CAUSAL_RESEND_SECONDS", _whole),
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
    "sources": ("CAUSAL_SOURCES", _sources),
    "project": ("GOOGLE_CLOUD_PROJECT", _text),
    "location": ("CAUSAL_LOCATION", _text),
}

"""One JSON line per event, in Cloud Logging's form; no data values.

Metrics are made from these lines and from nothing else (`terraform/metrics.tf`): a line is an event that happened once, a
number in it is a field of its own. `trace_id` makes of a job's ID the trace in which all its lines and spans are found.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from causal_orchestrator.errors import InputError

_LOGGER = logging.getLogger("causal_orchestrator")
_PLACE = {"project": ""}
_ABOUT: ContextVar[Mapping[str, Any]] = ContextVar("about", default={})  # noqa: B039  never changed, only replaced

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
LABELS = {"job_id": "job", "step": "step", "agent": "agent"}
TRACE = re.compile(r"[0-9a-f]{32}")
MAX_FRAMES = 20


def connect(level: str, project: str = "") -> None:
    """Write lines of `level` and above to standard error; traces are those of `project`, if one is named.

    Raises
    ------
    InputError
        ``SETTING`` if there is no such level.
    """
    if level not in LEVELS:
        raise InputError(f"CAUSAL_LOG must be one of {', '.join(LEVELS)}, found {level[:64]!r}", code="SETTING")
    _PLACE["project"] = project
    _LOGGER.setLevel(level)
    if not _LOGGER.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(message)s"))
        _LOGGER.addHandler(handler)


def event(message: str, *, severity: str = "INFO", span: str | None = None, **fields: Any) -> None:
    """Write one structured line.

    Parameters
    ----------
    message : str
        The event's name.
    span : str or None
        The span to which it belongs (16 hexadecimal digits).
    **fields : Any
        IDs, counts and codes. What is None is left out; job, step and agent become labels too.
    """
    level = logging.getLevelName(severity)
    if _LOGGER.isEnabledFor(level):
        told = {**_ABOUT.get(), **fields}
        _LOGGER.log(level, json.dumps(_line(message, severity, span, told), sort_keys=True, default=str))


def _line(message: str, severity: str, span: str | None, fields: dict[str, Any]) -> dict[str, Any]:
    line = {"severity": severity, "message": message, **{k: v for k, v in fields.items() if v is not None}}
    labels = {label: str(line[name]) for name, label in LABELS.items() if name in line}
    if labels:
        line["logging.googleapis.com/labels"] = labels
    if fields.get("job_id"):
        trace = trace_id(str(fields["job_id"]))
        project = _PLACE["project"]
        line["logging.googleapis.com/trace"] = f"projects/{project}/traces/{trace}" if project else trace
    if span is not None:
        line["logging.googleapis.com/spanId"] = span
    return line


def frames(exc: BaseException) -> list[str]:
    """Return where an exception came through, outermost first, and nothing of what it says: that may quote the data."""
    found = traceback.extract_tb(exc.__traceback__)
    return [f"{'/'.join(frame.filename.split('/')[-2:])}:{frame.lineno} {frame.name}" for frame in found][-MAX_FRAMES:]


@contextmanager
def about(**fields: Any) -> Iterator[None]:
    """Say of every line that is written inside what it is about."""
    token = _ABOUT.set({**_ABOUT.get(), **fields})
    try:
        yield
    finally:
        _ABOUT.reset(token)


def trace_id(job_id: str) -> str:
    """Return a job's trace: its own ID, which has the same 128 bits; of an ID in another form, its hash."""
    return job_id if TRACE.fullmatch(job_id) else hashlib.sha256(job_id.encode()).hexdigest()[:32]

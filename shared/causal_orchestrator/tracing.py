"""One trace per job, across every hop: spans whose IDs follow from what they tell of.

A message carries a job's ID and a step's number and nothing else, and that is enough: the trace is the job's ID, a span's
ID is the hash of the job and of what was done, and so is its parent's. A span is told when its work is done, by whoever
did it and only if it counted, so a message that is delivered twice adds nothing::

    start ── decide 1 ── run 1, attempt 1 ── ask
        └─── run 0      └ ask

Spans go by OTLP/HTTP to where ``OTEL_EXPORTER_OTLP_ENDPOINT`` says (the OpenTelemetry SDK reads its own variables). Where
it says nothing, nothing is imported and nothing is done.
"""

from __future__ import annotations

import atexit
import hashlib
import os
from collections.abc import Sequence
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from causal_orchestrator import log
from causal_orchestrator.errors import CausalError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
GOOGLE = "telemetry.googleapis.com"
SECONDS = 2.0  # that an export may take: telemetry is never worth more of a job's time
_USED: list[SpanProcessor] = []

Key = Sequence[str | int | None]


def span_id(job_id: str, key: Key) -> str:
    """Return the ID of the span of what `key` names in a job: 16 hexadecimal digits."""
    return hashlib.sha256("/".join(map(str, (job_id, *key))).encode()).hexdigest()[:16]


def started(job_id: str) -> str:
    """Return the span of a job's start, the root of its trace."""
    return span_id(job_id, ("start",))


def decided(job_id: str, number: int) -> str:
    """Return the span of the decision for a step; that of the first one is the start."""
    return span_id(job_id, ("decide", number)) if number else started(job_id)


def ran(job_id: str, number: int, attempt: int, part: int | None = None) -> str:
    """Return the span of one attempt at a step or at a part of one."""
    return span_id(job_id, ("run", number, part, attempt))


def record(
    name: str, job_id: str, span: str, parent: str | None, begin: datetime, end: datetime, *, error: str | None = None,
    **attributes: str | float | bool | None,
) -> None:  # fmt: skip
    """Tell one span of a job's trace.

    Parameters
    ----------
    span, parent : str
        Its ID and its parent's (None: the root).
    begin, end : datetime
        When it was done.
    error : str or None
        The code of what went wrong.
    **attributes : str or float or bool or None
        IDs, counts and codes, never data; what is None is left out.
    """
    processor = _USED[-1] if _USED else _processor()
    if processor is not None:
        told = {key: value for key, value in attributes.items() if value is not None}
        processor.on_end(_span(name, log.trace_id(job_id), span, parent, (begin, end), error, told))


def flush() -> None:
    """Send what was told: between two requests a function may have no processor to send anything with."""
    processor = _USED[-1] if _USED else _processor()
    if processor is not None:
        processor.force_flush(round(SECONDS * 1000))


def use(processor: SpanProcessor | None) -> None:
    """Tell spans to `processor` from now on, whatever the environment says; None: to what it says, again."""
    _USED[:] = [] if processor is None else [processor]


def _span(
    name: str, trace: str, span: str, parent: str | None, when: tuple[datetime, datetime], error: str | None,
    attributes: dict[str, Any],
) -> Any:  # fmt: skip
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.trace import SpanContext, Status, StatusCode, TraceFlags

    def context(ident: str) -> SpanContext:
        flags = TraceFlags(TraceFlags.SAMPLED)
        return SpanContext(int(trace, 16), int(ident, 16), is_remote=False, trace_flags=flags)

    begin, end = (round(moment.timestamp() * 1e9) for moment in when)
    return ReadableSpan(
        name=name, context=context(span), parent=None if parent is None else context(parent), resource=_resource(),
        attributes=attributes, start_time=begin, end_time=end,
        status=Status(StatusCode.UNSET) if error is None else Status(StatusCode.ERROR, error),
    )  # fmt: skip


@cache
def _resource() -> Any:
    from opentelemetry.sdk.resources import Resource

    return Resource.create()


@cache
def _processor() -> SpanProcessor | None:
    """Return the way to where spans are wanted, or None."""
    endpoint = next((os.environ[name] for name in ENDPOINTS if os.environ.get(name)), "")
    if not endpoint or os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        processor = BatchSpanProcessor(OTLPSpanExporter(session=_session(endpoint), timeout=SECONDS))
    except (ModuleNotFoundError, CausalError) as exc:
        log.event("traces_off", severity="WARNING", error=type(exc).__name__)
        return None
    atexit.register(processor.shutdown)
    return processor


def _session(endpoint: str) -> Any:
    """Return a session that shows who we are, if the receiver is Google's."""
    if urlsplit(endpoint).hostname != GOOGLE:
        return None
    from causal_orchestrator.backends.gcp.telemetry import session

    return session()

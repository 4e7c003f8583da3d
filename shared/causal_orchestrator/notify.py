"""Telling others that a job has ended: a message on the topic ``analysis-events``, and a signed POST to its `notify_url`.

Who writes up an ended job leaves a notice in the same commit; it is sent from there, at least once and a bounded number
of times, and what the receiver does changes nothing of the job. A receiver knows repeats by ``X-Causal-Delivery`` and
that it was this service by the signature::

    key       = HMAC-SHA256(key=the secret NOTIFY_KEY, message=tenant)          (hex; told to the tenant once)
    signature = HMAC-SHA256(key=key, message=timestamp + "." + body)            (hex)

    X-Causal-Timestamp: 1767312000           seconds since 1970; refuse what is older than five minutes
    X-Causal-Signature: v1=<signature>       compare in constant time, over the bytes of the body as they came

`verify` does it. The body is ``{"job_id", "status", "verdict", "ended_at"}`` and nothing of the data.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from datetime import datetime, timedelta
from itertools import islice

from causal_orchestrator import log, web
from causal_orchestrator.backends.ports import Backends, Document, Found, Writes
from causal_orchestrator.errors import CausalError, InputError, NotFound, StorageError
from causal_orchestrator.question import canonical_json
from causal_orchestrator.state import Job
from causal_orchestrator.store import commit, pages

TOPIC = "analysis-events"
SECRET = "NOTIFY_KEY"  # noqa: S105  the name of the secret, not the secret
MAX_TRIES = 8
FIRST_PAUSE = timedelta(minutes=1)
POST_SECONDS = 5.0
TOLERANCE = timedelta(minutes=5)
MAX_A_SWEEP = 20


def path(job: str) -> str:
    """Return where the notice of a job stands."""
    return f"notices/{job}"


def notice(backends: Backends, job: Job, verdict: str | None) -> Document | None:
    """Return the notice of an ended job, or None if there is nobody to tell."""
    if job.question.notify_url is None and not backends.announces:
        return None
    ended = None if job.ended_at is None else job.ended_at.isoformat()
    return {
        "job": job.id, "tenant": job.tenant, "delivery": f"{job.id}-{job.resumed}", "url": job.question.notify_url,
        "body": {"job_id": job.id, "status": job.status, "verdict": verdict, "ended_at": ended},
        "announced": not backends.announces, "posted": job.question.notify_url is None, "tries": 0,
        "next_at": job.ended_at, "settled": False, "error": None,
    }  # fmt: skip


def tell(backends: Backends, job_id: str) -> None:
    """Send what is due of a job's notice; a failure is noted and tried again by `catch_up`."""
    mine = _reserve(backends, job_id)
    if mine is None:
        return
    done = {"announced": bool(mine["announced"]), "posted": bool(mine["posted"])}
    error, final = None, False
    try:
        if not done["announced"]:
            backends.messages.publish(TOPIC, mine["body"])
            done["announced"] = True
        if not done["posted"]:
            _post(backends, mine)
            done["posted"] = True
    except CausalError as exc:
        error, final = exc.code, not exc.retriable
        log.event("notice_failed", severity="WARNING", job_id=job_id, tries=mine["tries"], error=exc.code)
    settled = all(done.values()) or final or mine["tries"] >= MAX_TRIES
    _settle(backends, mine, {**done, "error": error, "settled": settled})


def catch_up(backends: Backends) -> None:
    """Send the notices that are due again, a few at a time."""
    due = (str(n["job"]) for n in pages(backends, "notices", {"settled": False}) if n["next_at"] <= backends.now())
    for job in list(islice(due, MAX_A_SWEEP)):
        try:
            tell(backends, job)
        except CausalError as exc:
            log.event("notice_failed", severity="WARNING", job_id=job, error=exc.code)


def _reserve(backends: Backends, job_id: str) -> Document | None:
    """Count a try before it is made, and return the notice; None if it is settled, not due or another's to send."""
    now, mine = backends.now(), path(job_id)

    def change(found: Found) -> Writes:
        standing = found[mine]
        if standing is None or standing["settled"] or standing["next_at"] > now:
            return {}
        pause = FIRST_PAUSE * 2 ** int(standing["tries"])
        return {mine: {**standing, "tries": standing["tries"] + 1, "next_at": now + pause}}

    found, op = commit(backends, [mine], change)
    standing = found[mine]
    return standing if standing is not None and standing["op"] == op else None


def _settle(backends: Backends, mine: Document, outcome: Mapping[str, object]) -> None:
    """Note the outcome of a try unless another try, or another end of the job, has come since."""
    place, same = path(mine["job"]), ("delivery", "tries")

    def change(found: Found) -> Writes:
        standing = found[place]
        if standing is None or any(standing[name] != mine[name] for name in same):
            return {}
        return {place: {**standing, **outcome}}

    commit(backends, [place], change)


def _post(backends: Backends, mine: Document) -> None:
    """Post the notice (raises InputError if it can never be, StorageError if the receiver did not take it)."""
    try:
        secret = backends.secrets.get(SECRET)
    except NotFound as exc:
        raise InputError(f"nothing is posted unsigned: the secret {SECRET} is not set", code="NOTIFY_KEY") from exc
    body = canonical_json(mine["body"]).encode()
    headers = {
        "Content-Type": "application/json",
        "X-Causal-Delivery": mine["delivery"],
        **sign(body, key=key_of(mine["tenant"], secret=secret), now=backends.now()),
    }
    status = web.post(mine["url"], body, seconds=POST_SECONDS, web=backends.outside, headers=headers)
    if not 200 <= status < 300:
        raise StorageError(f"the receiver answered {status}", code="NOTIFY_REFUSED")


def key_of(tenant: str, *, secret: str) -> str:
    """Return the key with which a tenant's notices are signed: no tenant can sign for another."""
    return hmac.new(secret.encode(), tenant.encode(), hashlib.sha256).hexdigest()


def sign(body: bytes, *, key: str, now: datetime) -> dict[str, str]:
    """Return the headers that prove where `body` comes from and when it was sent."""
    at = str(int(now.timestamp()))
    signature = hmac.new(key.encode(), at.encode() + b"." + body, hashlib.sha256).hexdigest()
    return {"X-Causal-Timestamp": at, "X-Causal-Signature": f"v1={signature}"}


def verify(body: bytes, headers: Mapping[str, str], *, key: str, now: datetime) -> bool:
    """Say whether `body` was signed with `key` less than five minutes ago; `headers` by their names as given above."""
    at, given = headers.get("X-Causal-Timestamp", ""), headers.get("X-Causal-Signature", "")
    if (
        not (at.isascii() and at.isdigit() and len(at) < 12)
        or abs(int(at) - now.timestamp()) > TOLERANCE.total_seconds()
    ):
        return False
    expected = hmac.new(key.encode(), at.encode() + b"." + body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(given.encode(), f"v1={expected}".encode())

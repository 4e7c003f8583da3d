"""What a dataset's address may be: its kinds, and which of them a deployment lets a tenant have fetched.

A deployment states its rules for each tenant, with ``*`` for all of them: ``gs://bucket/prefix``, ``bq://project.dataset``,
``https://host``, and ``https://`` for every public host. That a service's own credentials can read a bucket does not mean
that each of its callers may.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from causal_orchestrator import web
from causal_orchestrator.errors import InputError

Rules = Mapping[str, Sequence[str]]


def of(rules: Rules | None, tenant: str) -> Sequence[str] | None:
    """Return the rules that hold for a tenant; None stands for whatever this process reaches."""
    return None if rules is None else (*rules.get("*", ()), *rules.get(tenant, ()))


def permitted(address: str, rules: Sequence[str] | None) -> bool:
    """Say whether the rules let an address outside be fetched."""
    return rules is None or any(_covers(rule, address) for rule in rules)


def hosts(rules: Sequence[str] | None) -> frozenset[str] | None:
    """Return the hosts that the rules name, or None if every public host will do."""
    named = [rule.removeprefix("https://") for rule in rules or () if rule.startswith("https://")]
    return None if rules is None or "" in named else frozenset(named)


def check(source: Mapping[str, Any], *, tenant: str, rules: Rules | None) -> None:
    """Refuse a source outside that a service was not told to fetch for the tenant.

    Raises
    ------
    InputError
        ``URL_NOT_ALLOWED``.
    """
    if source.get("kind") == "uri" and not permitted(str(source["uri"]), of(rules or {}, tenant)):
        raise InputError(
            "this service does not fetch from that address; upload the file, or have it allowed (CAUSAL_SOURCES)",
            code="URL_NOT_ALLOWED",
        )


def _covers(rule: str, address: str) -> bool:
    if rule.startswith("https://"):
        return address.startswith("https://") and rule in ("https://", f"https://{web.parse(address).host}")
    end = "." if rule.startswith("bq://") else "/"
    return address == rule or address.startswith(rule.removesuffix(end) + end)

"""The pre-analysis plan's seal: a plan is frozen by its hash before outcome and treatment are joined (OUT-7)."""

from __future__ import annotations

import hashlib

from causal_orchestrator.question import canonical_json
from causal_orchestrator.results import Plan


def fingerprint(plan: Plan) -> str:
    """Return the SHA-256 of the canonical JSON of every field of the plan but the hash itself."""
    return hashlib.sha256(canonical_json(plan.model_dump(mode="json", exclude={"sha256"})).encode()).hexdigest()


def freeze(plan: Plan) -> Plan:
    """Return the plan with its hash filled in."""
    return plan.model_copy(update={"sha256": fingerprint(plan)})


def verify(plan: Plan) -> bool:
    """Return whether the plan is frozen and still says what it said when it was."""
    return plan.sha256 == fingerprint(plan)

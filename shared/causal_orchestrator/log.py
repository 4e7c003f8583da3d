"""One JSON line per event, in Cloud Logging's form; no data values."""

from __future__ import annotations

import json
import logging
from typing import Any

_LOGGER = logging.getLogger("causal_orchestrator")


def event(message: str, *, severity: str = "INFO", **fields: Any) -> None:
    """Write one structured line (fields are IDs, counts and codes)."""
    level = logging.getLevelName(severity)
    if _LOGGER.isEnabledFor(level):
        line = {"severity": severity, "message": message, **{k: v for k, v in fields.items() if v is not None}}
        _LOGGER.log(level, json.dumps(line, sort_keys=True, default=str))

"""The guarded child: reads one untrusted file under hard limits and writes a snapshot.

Order (JSON on stdin): ``source``, ``folder``, ``name``, ``limits``. Reply (JSON on stdout): ``snapshot`` or ``error``.
"""

from __future__ import annotations

import importlib.abc
import json
import resource
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from causal_orchestrator.datasets.limits import Limits


class _WithoutPandas(importlib.abc.MetaPathFinder):
    """Arrow imports pandas wherever it finds it, which takes longer than most files; only `frames` needs it."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: Any = None) -> None:
        if name == "pandas" and "causal_orchestrator.datasets.frames" not in sys.modules:
            raise ImportError(name)


WITHOUT_PANDAS = _WithoutPandas()


def confine(limits: Limits) -> None:
    """Give up the right to more memory, time and output than the limits say, for good."""
    resource.setrlimit(resource.RLIMIT_AS, (limits.memory, limits.memory))
    resource.setrlimit(resource.RLIMIT_CPU, (limits.seconds, limits.seconds + 5))
    resource.setrlimit(resource.RLIMIT_FSIZE, (limits.decoded_bytes, limits.decoded_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def answer(order: dict[str, Any]) -> dict[str, Any]:
    """Read, snapshot and describe one file; whatever is wrong with it becomes the reply."""
    limits = Limits(**order["limits"])
    confine(limits)
    sys.meta_path.insert(0, WITHOUT_PANDAS)
    from causal_orchestrator.datasets import read, snapshot, writing
    from causal_orchestrator.errors import InputError

    source, folder = Path(order["source"]), Path(order["folder"])
    try:
        reading = read.read(source, folder, limits, name=order["name"])
        writing.write(reading.table, folder / snapshot.SNAPSHOT)
        found = writing.describe(reading, source_sha256=snapshot.sha256_of(source), name=order["name"])
    except InputError as exc:
        return {"error": {"code": exc.code, "message": exc.message, "details": exc.details}}
    return {"snapshot": found.model_dump(mode="json")}


if __name__ == "__main__":
    json.dump(answer(json.load(sys.stdin)), sys.stdout)

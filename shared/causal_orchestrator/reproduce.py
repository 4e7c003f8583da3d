"""Run a finished analysis again from its own folder and compare every byte of its results."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from causal_orchestrator import api
from causal_orchestrator.errors import InputError
from causal_orchestrator.state import Job

MOST_SHOWN = 20


@dataclass(frozen=True)
class Comparison:
    """Whether the second run gave the same results, and where it did not."""

    identical: bool
    n_values: int
    differences: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """What came out, in one sentence."""
        if self.identical:
            return f"reproduced: all {self.n_values} values of results.json are identical"
        return f"not reproduced: {len(self.differences)} of {self.n_values} values differ"

    def as_dict(self) -> dict[str, Any]:
        """Return the comparison as JSON types."""
        return asdict(self)


def run(folder: Path, *, home: Path | None = None, on_change: Callable[[Job], None] | None = None) -> Comparison:
    """Analyse the snapshot in `folder` again, with its question, and compare the results.

    Raises
    ------
    InputError
        If `folder` lacks results.json, manifest.json or snapshot.parquet (``NOT_AN_ANALYSIS``).
    """
    try:
        before = json.loads((folder / "results.json").read_text(encoding="utf-8"))
        request = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["request"]
    except (OSError, ValueError, KeyError) as exc:
        raise InputError(
            f"{str(folder)!r} is not a folder that `causal analyze --out` wrote: {exc}", code="NOT_AN_ANALYSIS"
        ) from exc
    again = api.analyze(folder / "snapshot.parquet", question=request, home=home, on_change=on_change)
    old, new = dict(_leaves(before)), dict(_leaves(json.loads(json.dumps(again.results))))
    different = [key for key in sorted(old.keys() | new.keys()) if old.get(key) != new.get(key)]
    lines = tuple(f"{key}: {old.get(key)!r} → {new.get(key)!r}"[:200] for key in different[:MOST_SHOWN])
    return Comparison(identical=not different, n_values=len(old), differences=lines)


def _leaves(value: Any, where: str = "") -> list[tuple[str, Any]]:
    """Return every number, text and truth value of a document with its address."""
    if isinstance(value, Mapping):
        return [leaf for key in value for leaf in _leaves(value[key], f"{where}/{key}")]
    if isinstance(value, list):
        return [leaf for i, item in enumerate(value) for leaf in _leaves(item, f"{where}/{i}")]
    return [(where, value)]

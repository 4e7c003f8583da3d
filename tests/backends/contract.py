"""What every store must keep, whoever offers it: embedded, in memory or in a cloud.

A `World` is one fresh set of backends with its consumer's side; the tests in test_contract.py run over all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from causal_orchestrator.backends.ports import Backends


class Loan(Protocol):
    """A message that was received and not settled yet."""

    topic: str
    body: Mapping[str, Any]


@dataclass
class World:
    """Fresh backends; how messages are received and settled; how time passes.

    `receive` gives the next message that is due, or None; `acknowledge` ends it; `refuse` gives it back after a
    failure; `advance` lets seconds pass; `written` gives (and forgets) the jobs whose steps were written.
    """

    backends: Backends
    receive: Callable[[], Loan | None]
    acknowledge: Callable[[Any], None]
    refuse: Callable[[Any], None]
    advance: Callable[[float], None]
    written: Callable[[], list[str]]


WORLDS: dict[str, Callable[[Path], Iterator[World]]] = {}

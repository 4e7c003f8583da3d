"""The graph searches: what exists, what each rests on and what it returns.

A search is a module with one public function ``search(data, *, knowledge, alpha, seed) -> votes``. It sees columns
as an array only; ``votes[i, j]`` is 1 for ``i → j``, one half each way for an edge without a direction, else 0.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from causal_orchestrator.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from causal_orchestrator.discovery.knowledge import Knowledge


@dataclass(frozen=True)
class Spec:
    """What a search declares about itself; `cost` is in milliseconds on one slow core, as a function of (n, p)."""

    module: str
    graph: Literal["cpdag", "pag", "dag"]
    assumes: tuple[str, ...]
    cost: Callable[[int, int], float]
    non_gaussian: bool = False


class Search(Protocol):
    """A graph search on an array of standardised columns."""

    def __call__(
        self, data: NDArray[np.float64], *, knowledge: Knowledge, alpha: float, seed: int
    ) -> NDArray[np.float64]:
        """Return the votes, shape (p, p)."""


DISCOVERY: dict[str, Spec] = {
    "pc": Spec("pc", "cpdag", ("no hidden common cause", "faithfulness", "linear Gaussian dependence"), lambda n, p: 0.8 * p**2),
    "ges": Spec("ges", "cpdag", ("no hidden common cause", "linear Gaussian model (BIC)"), lambda n, p: 0.2 * p**3),
    "fci": Spec("fci", "pag", ("faithfulness", "linear Gaussian dependence"), lambda n, p: 0.8 * p**2),
    "lingam": Spec("lingam", "dag", ("no hidden common cause", "linear model with non-Gaussian errors"), lambda n, p: 0.05 * p**3, non_gaussian=True),
    "notears": Spec("notears", "cpdag", ("no hidden common cause", "linear model"), lambda n, p: 2.5 * p**2),
}  # fmt: skip


def resolve(name: str) -> str:
    """Return the key of a search.

    Raises
    ------
    InputError
        If there is no such search (``ALGORITHM_UNKNOWN``).
    """
    key = name.lower().replace("-", "").replace("_", "")
    if key not in DISCOVERY:
        raise InputError(
            f"there is no graph search {name!r}; there are {', '.join(DISCOVERY)}", code="ALGORITHM_UNKNOWN"
        )
    return key


def load(key: str) -> Search:
    """Import the search's module, now and not before, and return its function."""
    function: Search = importlib.import_module(f"causal_orchestrator.discovery.{DISCOVERY[key].module}").search
    return function

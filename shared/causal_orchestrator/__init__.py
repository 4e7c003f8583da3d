"""Causal Orchestrator: from a table and a causal question to an effect with honest uncertainty, or a reasoned refusal.

>>> import causal_orchestrator as co
>>> analysis = co.analyze("lalonde.csv", treatment="treat", outcome="re78")  # doctest: +SKIP
>>> estimate = co.estimate("aipw", frame, co.Question(treatment="treat", outcome="re78"))  # doctest: +SKIP
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from causal_orchestrator.api import Analysis, analyze, estimate, load, methods, read
    from causal_orchestrator.errors import CausalError, DesignError, EstimationError, InputError, NotApplicable
    from causal_orchestrator.problem import Estimate
    from causal_orchestrator.question import Question

_HOME = {
    "Analysis": "api", "analyze": "api", "estimate": "api", "load": "api", "methods": "api",
    "read": "api",
    "CausalError": "errors", "DesignError": "errors", "EstimationError": "errors", "InputError": "errors",
    "NotApplicable": "errors", "Estimate": "problem", "Question": "question",
}  # fmt: skip

__all__ = [
    "Analysis", "CausalError", "DesignError", "Estimate", "EstimationError", "InputError", "NotApplicable", "Question",
    "analyze", "estimate", "load", "methods", "read",
]  # fmt: skip
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: the coordinator and ``causal --help`` start without the science."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)

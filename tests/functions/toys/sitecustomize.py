"""Puts the table of toy agents in the place of the real one, in a function's process that is told to use it."""

from __future__ import annotations

import importlib
import os

from causal_orchestrator.agents import AGENTS

_module, _, _name = os.environ["TOY_AGENTS"].partition(":")
AGENTS.clear()
AGENTS.update(getattr(importlib.import_module(_module), _name))

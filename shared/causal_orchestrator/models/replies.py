"""Replies in a file, one JSON line each: written while a model is asked, read in its place (no network).

A reply belongs to the hash of its prompt and form. A failure is a reply, too: a job that is run again from such a file
takes the same way.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from causal_orchestrator import strict_json
from causal_orchestrator.errors import InputError, ModelUnavailable
from causal_orchestrator.models.answers import MAX_REPLY_BYTES, Answer, Usage
from causal_orchestrator.question import canonical_json

MAX_LINE = 2 * MAX_REPLY_BYTES


class _Model(Protocol):
    name: str
    planner: str

    def ask(self, prompt: str, schema: Mapping[str, Any], *, timeout: float) -> Answer: ...


def fingerprint(prompt: str, schema: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a prompt and the form of its reply."""
    return hashlib.sha256(canonical_json([prompt, dict(schema)]).encode()).hexdigest()


class Recording:
    """A model whose every reply and failure is appended to a file."""

    def __init__(self, model: _Model, path: Path) -> None:
        self.name = model.name
        self.planner = model.planner
        self._model = model
        self._path = path

    def ask(self, prompt: str, schema: Mapping[str, Any], *, timeout: float) -> Answer:
        """Ask the model and write down what it answers (raises `ModelUnavailable`)."""
        key = fingerprint(prompt, schema)
        try:
            answer = self._model.ask(prompt, schema, timeout=timeout)
        except ModelUnavailable as exc:
            self._append({"prompt": key, "error": exc.code, "message": exc.message})
            raise
        self._append({"prompt": key, "reply": dict(answer), "by": answer.usage.by})
        return answer

    def _append(self, line: Mapping[str, Any]) -> None:
        # One write each: processes that append to the same file don't cut into each other's lines.
        handle = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.write(handle, (json.dumps(line, sort_keys=True) + "\n").encode())
        finally:
            os.close(handle)


class Replaying:
    """A model that gives the recorded replies, those to the same prompt in their order, the last one ever after."""

    def __init__(self, path: Path, *, planner: str = "") -> None:
        self.name = "replay"
        self.planner = planner
        self._lock = threading.Lock()
        self._given: dict[str, int] = defaultdict(int)
        self._lines: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
        for line in _read(path):
            self._lines[str(line["prompt"])].append(line)

    def ask(self, prompt: str, schema: Mapping[str, Any], *, timeout: float) -> Answer:
        """Return what was recorded (raises `ModelUnavailable`, also where nothing was)."""
        key = fingerprint(prompt, schema)
        lines = self._lines.get(key)
        if not lines:
            raise ModelUnavailable("no reply to this prompt is recorded", code="MODEL_NOT_RECORDED")
        with self._lock:
            line = lines[min(self._given[key], len(lines) - 1)]
            self._given[key] += 1
        if "error" in line:
            raise ModelUnavailable(str(line["message"]), code=str(line["error"]))
        return Answer(line["reply"], Usage(str(line["by"]), calls=0))


def _read(path: Path) -> list[Mapping[str, Any]]:
    """Return the lines of a file of replies (raises InputError)."""
    try:
        texts = path.read_bytes().splitlines()
    except OSError as exc:
        raise InputError(f"the recorded replies cannot be read: {exc.strerror}", code="SETTING") from exc
    lines = [strict_json.parse(text, max_bytes=MAX_LINE) for text in texts]
    for number, line in enumerate(lines, start=1):
        fits = isinstance(line, Mapping) and "prompt" in line and ({"reply", "by"} <= set(line) or "error" in line)
        if not fits:
            raise InputError(f"line {number} of the recorded replies is none", code="SETTING")
    return lines

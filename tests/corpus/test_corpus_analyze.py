"""Inputs that only a whole analysis can judge: each ends with its code, in an error, a warning or the verdict.

Run with ``pytest -m slow tests/corpus``; verdict ``L`` in expected.json means: later than reading.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.corpus import inputs
from tests.corpus.test_corpus import EXPECTED, check_sentence

import causal_orchestrator as co
from causal_orchestrator import question
from causal_orchestrator.errors import CausalError

CASES = [key for key, case in EXPECTED.items() if case["verdict"] == "L"]


@pytest.mark.slow
@pytest.mark.parametrize("key", CASES)
def test_ends_with_its_code_or_an_answer(key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "given").mkdir()
    path = inputs.write(key, tmp_path / "given")
    asked = question.ask(EXPECTED[key]["request"])
    found = outcome_of(path, asked, tmp_path)
    told = set(
        codes((found.results, found.plan, found.profile, found.snapshot))
        if isinstance(found, co.Analysis)
        else [found.code]
    )
    assert told & set(EXPECTED[key]["codes"]) or not EXPECTED[key]["codes"], told
    if isinstance(found, co.Analysis):
        check_documents(found)
    else:
        check_sentence(found)
    assert not list(tmp_path.rglob("canary-was-run"))


def outcome_of(path: Path, asked: question.Question, folder: Path) -> co.Analysis | CausalError:
    try:
        return co.analyze(path, question=asked, home=folder / "home", out=folder / "out")
    except CausalError as exc:
        return exc


def codes(value: Any) -> Iterator[str]:
    """Yield every code in a tree of results: of warnings, gates and the verdict."""
    if isinstance(value, dict):
        if isinstance(value.get("code"), str):
            yield value["code"]
        yield from value.get("codes", ()) if isinstance(value.get("codes"), list) else ()
        for inner in value.values():
            yield from codes(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from codes(inner)


def check_documents(found: co.Analysis) -> None:
    """Nothing is claimed that is not finite, and no name became markup or code."""
    json.dumps(found.results, allow_nan=False)
    for effect in found.results.get("treatment_effects", ()):
        assert effect["status"] != "ok" or math.isfinite(effect["estimate"])
    if found.report_path is not None:
        report = found.report_path.read_text(encoding="utf-8")
        assert "<img src=x" not in report
    if found.notebook_path is not None:
        notebook = json.loads(found.notebook_path.read_text(encoding="utf-8"))
        sources = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
        for source in sources:
            compile(source, "cell", "exec")

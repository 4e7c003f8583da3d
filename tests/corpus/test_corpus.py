"""Every bad input ends as the corpus says: refused with its code, read with its warning, or read as if nothing were."""

from __future__ import annotations

import json
import resource
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.corpus import inputs

from causal_orchestrator import question
from causal_orchestrator.datasets import read, snapshot, sources, writing
from causal_orchestrator.datasets.limits import Limits
from causal_orchestrator.datasets.roles import check_roles
from causal_orchestrator.errors import CausalError, InputError
from causal_orchestrator.results import Snapshot

EXPECTED: dict[str, dict[str, Any]] = json.loads((Path(__file__).parent / "expected.json").read_text())
# Cases that are no file: names of uploaded objects and files that change meanwhile (tests/datasets/test_sources.py).
ELSEWHERE = {"D34", "D37"}
CHILD_PEAK = 1.5 * 2**20  # KiB: the corpus' bound for the memory of a child


def run(key: str, folder: Path) -> Snapshot:
    """Take one input the way of a dataset: fetch, read (in the guarded child where the case says so), check roles."""
    case = EXPECTED[key]
    given, kept = folder / "given", folder / "kept"
    given.mkdir()
    kept.mkdir()
    limits = replace(Limits(), **case.get("limits", {}))
    asked = question.ask(case.get("request", {}))
    path = sources.fetch(str(inputs.write(key, given)), kept, limits, sha256=case.get("sha256"))
    found = guarded(path, kept, limits) if case.get("guarded") else direct(path, kept, limits)
    notes = check_roles(asked, found)
    return found.model_copy(update={"warnings": (*found.warnings, *notes)})


def guarded(path: Path, folder: Path, limits: Limits) -> Snapshot:
    return snapshot.snapshot(path, folder, limits)


def direct(path: Path, folder: Path, limits: Limits) -> Snapshot:
    reading = read.read(path, folder, limits)
    writing.write(reading.table, folder / snapshot.SNAPSHOT)
    return writing.describe(reading, source_sha256="", name=path.name)


def test_every_input_has_an_expectation_and_every_expectation_an_input() -> None:
    assert set(inputs.INPUTS) == set(EXPECTED)


def test_every_case_of_the_plan_is_here() -> None:
    covered = {key.split("-")[0] for key in EXPECTED} | ELSEWHERE
    assert covered == {f"D{i}" for i in range(1, 41)} | {f"C{i}" for i in range(1, 35)}


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    folder = tmp_path_factory.mktemp("good")
    (folder / "good.csv").write_bytes(inputs.GOOD)
    return direct(folder / "good.csv", folder, Limits())


@pytest.mark.parametrize("key", [key for key, case in EXPECTED.items() if case["verdict"] == "R"])
def test_is_refused_with_its_code(key: str, tmp_path: Path) -> None:
    case = EXPECTED[key]
    with pytest.raises(InputError) as caught:
        run(key, tmp_path)
    assert caught.value.code in case["codes"], caught.value.message
    told = {name: caught.value.details.get(name) for name in case.get("details", {})}
    assert told == case.get("details", {})
    check_sentence(caught.value)


@pytest.mark.parametrize("key", [key for key, case in EXPECTED.items() if case["verdict"] == "W"])
def test_is_read_with_its_warning(key: str, tmp_path: Path, good: Snapshot) -> None:
    found = run(key, tmp_path)
    codes = {note.code for note in found.warnings}
    assert codes & set(EXPECTED[key]["codes"]), codes
    check_facts(EXPECTED[key], found, good)


@pytest.mark.parametrize("key", [key for key, case in EXPECTED.items() if case["verdict"] == "N"])
def test_is_read_as_it_should_be(key: str, tmp_path: Path, good: Snapshot) -> None:
    found = run(key, tmp_path)
    check_facts(EXPECTED[key], found, good)


def test_nothing_was_executed_and_no_child_grew(tmp_path: Path) -> None:
    """Runs after the others: what they did must have left no trace."""
    assert not Path("canary-was-run").exists()
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss < CHILD_PEAK


def check_sentence(error: CausalError) -> None:
    assert 10 <= len(error.message) <= 500
    assert all(len(word) <= 80 for word in error.message.split())  # 64 characters of a value, quotes and marks
    assert "Traceback" not in error.message
    json.dumps(error.details, allow_nan=False)


def check_facts(case: dict[str, Any], found: Snapshot, good: Snapshot) -> None:
    columns = {column.name: column for column in found.columns}
    for fact in ("n_rows", "n_columns", "encoding", "delimiter", "format"):
        if fact in case:
            assert getattr(found, fact) == case[fact]
    if "names" in case:
        assert list(columns) == case["names"]
    for name, dtype in case.get("dtypes", {}).items():
        assert columns[name].dtype == dtype
    for name, count in case.get("missing", {}).items():
        assert columns[name].n_missing == count
    for name, levels in case.get("levels", {}).items():
        assert sorted(columns[name].levels) == sorted(levels)
    if case.get("like") == "good":
        assert found.sha256 == good.sha256
    assert all(len(note.message) < 2000 for note in found.warnings)

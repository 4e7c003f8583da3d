"""What a benchmark's number depends on, read from sources: what changes the fingerprint, and what does not."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks.depends import fingerprint, read

METHOD = '''
"""A method."""
from causal_orchestrator.numerics.sums import Record, total

def estimate(problem: Record) -> float:
    """Add."""
    return total(problem.values) + problem.shift()

def unused():
    return 1
'''
SUMS = """
from dataclasses import dataclass

FACTOR = 2.0
OTHER = 3.0

@dataclass
class Record:
    values: list

    def shift(self):
        return 1.0

    def never(self):
        return 2.0

def total(values):
    # A reason.
    return FACTOR * sum(values)
"""
START = [("causal_orchestrator.estimators.method", "estimate"), ("causal_orchestrator.numerics.sums", "Record")]


def found(folder: Path, name: str, *, method: str = METHOD, sums: str = SUMS) -> str:
    shared = folder / name
    for path, text in (("estimators/method.py", method), ("numerics/sums.py", sums)):
        target = shared / "causal_orchestrator" / path
        target.parent.mkdir(parents=True)
        target.write_text(text)
    return fingerprint(shared, START, "options")


@pytest.mark.parametrize(
    "change",
    [
        ("FACTOR = 2.0", "FACTOR = 2.5"),
        ("return FACTOR * sum(values)", "return FACTOR + sum(values)"),
        ("return 1.0", "return 1.5"),
        ("values: list", "amounts: list"),
    ],
)
def test_what_is_reached_counts(tmp_path: Path, change: tuple[str, str]) -> None:
    assert found(tmp_path, "before") != found(tmp_path, "after", sums=SUMS.replace(*change))


@pytest.mark.parametrize(
    "change",
    [
        ("OTHER = 3.0", "OTHER = 4.0"),
        ("return 2.0", "return 2.5"),
        ("# A reason.", "# Another."),
        ("values: list", "values: tuple"),
    ],
)
def test_what_is_not_reached_and_what_is_only_said_do_not(tmp_path: Path, change: tuple[str, str]) -> None:
    assert found(tmp_path, "before") == found(tmp_path, "after", sums=SUMS.replace(*change))


def test_words_and_neighbours_of_a_method_do_not_count_and_its_options_do(tmp_path: Path) -> None:
    changed = (
        METHOD.replace('"""Add."""', '"""Sum."""').replace("return 1\n", "return 2\n").replace("-> float", "-> int")
    )
    assert found(tmp_path, "before") == found(tmp_path, "after", method=changed)
    assert fingerprint(tmp_path / "before", START, "others") != fingerprint(tmp_path / "before", START, "options")


def test_what_lies_outside_of_what_numbers_come_from_is_not_read(tmp_path: Path) -> None:
    assert read(tmp_path, "causal_orchestrator.reporting.report") is None
    assert read(tmp_path, "numpy") is None

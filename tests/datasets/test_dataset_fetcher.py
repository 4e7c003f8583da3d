"""The first agent: from the raw file to a snapshot, with the roles checked against its columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from causal_orchestrator import question
from causal_orchestrator.agents import JobView, Turn, View, dataset_fetcher
from causal_orchestrator.datasets import views
from causal_orchestrator.errors import BlindnessError, InputError, ModelUnavailable
from causal_orchestrator.question import Question
from causal_orchestrator.results import Snapshot

TURN = Turn(number=0, agent="dataset_fetcher", parameters={}, seed=0)


class Eyes:
    """A reader that has the raw file and nothing else."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self, columns: Sequence[str], view: View, *, roles: Question | None = None) -> pd.DataFrame:
        raise BlindnessError("there is no snapshot yet")

    def file(self, agent: str, name: str) -> bytes:
        raise NotImplementedError

    def parts(self) -> Sequence[Mapping[str, Any]]:
        return ()

    def source(self) -> Path:
        return self.path

    def snapshot(self) -> Path:
        raise NotImplementedError


def ask(prompt: str, kind: type[Any], /) -> Any:
    raise ModelUnavailable("none")


def job(**roles: object) -> JobView:
    return JobView(id="j", tenant="local", question=question.ask(roles), seed=0, source={"name": "study.csv"})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "raw.bin"
    made.write_bytes(b"t,y\n" + b"0,1.5\n1,2.5\n" * 30)
    return made


def test_the_dataset_becomes_a_snapshot(path: Path) -> None:
    output = dataset_fetcher.run(job(treatment="t", outcome="y"), TURN, Eyes(path), ask)
    assert isinstance(output.result, Snapshot)
    assert (output.result.n_rows, output.result.source_name) == (60, "study.csv")
    kept = output.files["snapshot.parquet"]
    assert isinstance(kept, Path)
    assert views.read_hash(views.load(kept)) == output.result.sha256


def test_an_unknown_column_fails_at_once(path: Path) -> None:
    with pytest.raises(InputError) as caught:
        dataset_fetcher.run(job(treatment="T", outcome="y"), TURN, Eyes(path), ask)
    assert caught.value.code == "COLUMN_UNKNOWN"


def test_a_bad_file_is_refused_with_its_code(path: Path) -> None:
    path.write_bytes(b"t,y\n1,2,3\n")
    with pytest.raises(InputError) as caught:
        dataset_fetcher.run(job(), TURN, Eyes(path), ask)
    assert caught.value.code == "RAGGED_ROWS"

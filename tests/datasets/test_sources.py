"""Where datasets come from, and that what was fetched is what was there."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import BinaryIO

import pytest

from causal_orchestrator.datasets import sources
from causal_orchestrator.datasets.limits import Limits
from causal_orchestrator.errors import InputError

DATA = b"t,y\n" + b"0,1\n1,2\n" * 50


@pytest.fixture
def given(tmp_path: Path) -> Path:
    path = tmp_path / "given.csv"
    path.write_bytes(DATA)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "kept"
    made.mkdir()
    return made


def code_of(uri: object, folder: Path, **options: object) -> str:
    with pytest.raises(InputError) as caught:
        sources.fetch(str(uri), folder, **options)  # type: ignore[arg-type]
    assert not list(folder.iterdir())
    return caught.value.code


def test_a_local_file_is_copied(given: Path, folder: Path) -> None:
    sha256 = hashlib.sha256(DATA).hexdigest()
    found = sources.fetch(str(given), folder, sha256=sha256, size=len(DATA))
    assert found.parent == folder
    assert found.read_bytes() == DATA


def test_a_file_name_cannot_leave_the_folder_or_hide(tmp_path: Path, folder: Path) -> None:
    path = tmp_path / "..;rm -rf $HOME\n.csv"
    path.write_bytes(DATA)
    found = sources.fetch(str(path), folder)
    assert found.parent == folder
    assert found.name == "_rm_-rf__HOME_.csv"


def test_a_request_that_describes_another_file_is_refused(given: Path, folder: Path) -> None:
    assert code_of(given, folder, size=len(DATA) + 1) == "CHECKSUM_MISMATCH"
    assert code_of(given, folder, sha256="00") == "CHECKSUM_MISMATCH"


def test_a_missing_file_is_said_to_be_missing(tmp_path: Path, folder: Path) -> None:
    assert code_of(tmp_path / "none.csv", folder) == "DATASET_NOT_FOUND"


def test_a_large_file_is_refused_by_its_size(given: Path, folder: Path) -> None:
    assert code_of(given, folder, limits=Limits(file_bytes=10)) == "DATASET_TOO_LARGE"


@pytest.mark.parametrize("uri", ["gs://bucket/a.csv", "bq://p.d.t"])
def test_an_address_that_is_not_fetched_here_says_what_would_do(uri: str, folder: Path) -> None:
    with pytest.raises(InputError, match="download") as caught:
        sources.fetch(uri, folder)
    assert caught.value.code == "SOURCE_UNSUPPORTED"


@pytest.mark.parametrize(
    "uri", ["http://169.254.169.254/", "file:///etc/passwd", "gopher://x", "ftp://x/y", "s3://b/k"]
)
def test_other_addresses_are_not_allowed(uri: str, folder: Path) -> None:
    assert code_of(uri, folder) == "URL_NOT_ALLOWED"


@pytest.mark.parametrize("change", ["grows", "is replaced", "is deleted", "is rewritten"])
def test_a_file_that_changes_while_it_is_read_is_refused(
    change: str, given: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """D34 and D37: size, time and identity are looked at again after the copy."""
    copy = sources._copy

    def interrupted(raw: BinaryIO, target: Path, size: int) -> str:
        sha256 = copy(raw, target, size)
        if change == "grows":
            given.write_bytes(DATA + b"0,1\n")
        elif change == "is rewritten":
            given.write_bytes(DATA[::-1])
            os.utime(given, ns=(1, 1))
        else:
            given.unlink()
        if change == "is replaced":
            given.write_bytes(DATA)
        return sha256

    monkeypatch.setattr(sources, "_copy", interrupted)
    assert code_of(given, folder) == "SOURCE_CHANGED"


@pytest.mark.parametrize(
    ("name", "size", "expected"),
    [
        ("uploads/a.csv", 10, True), ("uploads/x/", 0, False), ("uploads/_SUCCESS", 0, False), ("uploads/a.csv", 0, False),
        ("uploads/.a.csv", 9, False), ("uploads/a.csv.question.json", 10, False),
    ],
)  # fmt: skip
def test_folder_marks_and_sidecars_are_no_datasets(name: str, size: int, expected: bool) -> None:
    """D35."""
    assert sources.is_dataset(name, size) is expected

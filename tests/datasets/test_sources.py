"""Where datasets come from, and that what was fetched is what was there."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pytest
from tests.datasets.web_peers import Site, gives, served

from causal_orchestrator.datasets import addresses, sources
from causal_orchestrator.datasets.limits import Limits
from causal_orchestrator.datasets.sources import Means
from causal_orchestrator.errors import InputError, NotFound
from causal_orchestrator.settings import Settings

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


# --- Kaggle -------------------------------------------------------------------------------------------------------

CREDENTIALS = {"KAGGLE_USERNAME": "ada", "KAGGLE_KEY": "s3cret"}
PAGE = "https://www.kaggle.com/datasets/owner/study-1"
API = "/api/v1/datasets/download/owner/study-1"


def secret(name: str) -> str:
    if name not in CREDENTIALS:
        raise NotFound("none")
    return CREDENTIALS[name]


@pytest.fixture
def kaggle(tmp_path: Path) -> Iterator[Site]:
    site = Site({}, hosts=("www.kaggle.com", "storage.googleapis.com", "elsewhere.example.org"))
    site.answers["/bundle?X-Goog-Signature=1"] = gives(DATA, ETag='"k1"')
    with served(site, tmp_path) as found:
        yield found


@pytest.mark.parametrize(
    ("page", "asked"),
    [
        (PAGE, API), (f"{PAGE}/", API), (f"{PAGE}/versions/3", f"{API}?datasetVersionNumber=3"),
        (f"{PAGE}?select=data+1.csv", f"{API}/data+1.csv"), (PAGE.replace("www.", ""), API),
    ],
)  # fmt: skip
def test_a_page_of_kaggles_stands_for_its_dataset(page: str, asked: str, kaggle: Site, folder: Path) -> None:
    there = "https://storage.googleapis.com/bundle?X-Goog-Signature=1"
    kaggle.answers[asked] = gives(b"", 302, Location=there)
    means = Means(outside=kaggle.web(), secret=secret, rules=("https://www.kaggle.com", "https://kaggle.com"))
    assert sources.fetch(page, folder, means=means).read_bytes() == DATA
    assert kaggle.heard[0][1]["authorization"] == "Basic YWRhOnMzY3JldA=="
    assert "authorization" not in kaggle.heard[1][1]


def test_without_credentials_kaggle_is_not_asked(kaggle: Site, folder: Path) -> None:
    for means in (Means(outside=kaggle.web()), Means(outside=kaggle.web(), secret=lambda name: secret("x"))):
        assert code_of(PAGE, folder, means=means) == "CREDENTIALS_MISSING"
    assert kaggle.heard == []


@pytest.mark.parametrize(
    "path", ["", "/competitions/x", "/datasets/owner", "/datasets/o/../../api", "/datasets/o/n?x=1"]
)
def test_other_pages_of_kaggles_are_no_datasets(path: str, kaggle: Site, folder: Path) -> None:
    means = Means(outside=kaggle.web(), secret=secret)
    assert code_of(f"https://www.kaggle.com{path}", folder, means=means) == "URL_NOT_ALLOWED"
    assert kaggle.heard == []


def test_kaggle_that_refuses_the_key_or_leads_elsewhere_is_refused(kaggle: Site, folder: Path) -> None:
    means = Means(outside=kaggle.web(), secret=secret, rules=("https://www.kaggle.com",))
    kaggle.answers[API] = gives(b"", 401)
    assert code_of(PAGE, folder, means=means) == "SOURCE_REFUSED"
    kaggle.answers[API] = gives(b"", 302, Location="https://elsewhere.example.org/x")
    assert code_of(PAGE, folder, means=means) == "URL_NOT_ALLOWED"


# --- what a deployment allows --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "address", "covered"),
    [
        ("https://", "https://a.org/x", True), ("https://a.org", "https://a.org/x", True),
        ("https://a.org", "https://A.org:443/x", True), ("https://a.org", "https://a.org.evil.com/", False),
        ("https://a.org", "https://b.a.org/", False), ("gs://own", "gs://own/x", True), ("gs://own/", "gs://own/x", True),
        ("gs://own", "gs://own-other/x", False), ("gs://own/in", "gs://own/in/x", True), ("gs://own/in", "gs://own/inner", False),
        ("bq://p.d", "bq://p.d.t", True), ("bq://p.d", "bq://p.d2.t", False), ("bq://p.d.t", "bq://p.d.t", True),
        ("gs://own", "bq://own.x.y", False), ("https://", "gs://own/x", False),
    ],
)  # fmt: skip
def test_a_rule_covers_what_lies_below_it_and_nothing_beside(rule: str, address: str, covered: bool) -> None:
    assert addresses.permitted(address, [rule]) is covered


def test_the_setting_takes_rules_and_nothing_else() -> None:
    text = '{"*": ["https://"], "acme": ["gs://own/in", "bq://p-1.d"]}'
    found = Settings.from_environment({"CAUSAL_SOURCES": text}).sources
    assert found == {"*": ("https://",), "acme": ("gs://own/in", "bq://p-1.d")}
    assert addresses.of(found, "acme") == ("https://", "gs://own/in", "bq://p-1.d")
    for wrong in ('["https://"]', '{"*": "https://"}', '{"*": ["http://a"]}', '{"*": ["file:///"]}', "x", '{"*": [1]}'):
        with pytest.raises(InputError):
            Settings.from_environment({"CAUSAL_SOURCES": wrong})

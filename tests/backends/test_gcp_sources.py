"""IN-9: objects (``gs://``) and tables (``bq://``) as datasets, over peers that speak the wire formats."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from tests.backends.peers.bigquery import Tables, bigquery
from tests.backends.peers.storage import Storage, storage

from causal_orchestrator.backends.cloud import OwnCloud
from causal_orchestrator.datasets import sources as datasets
from causal_orchestrator.datasets.limits import Limits
from causal_orchestrator.datasets.sources import Means
from causal_orchestrator.errors import InputError, StorageError
from causal_orchestrator.settings import Settings

DATA = b"t,y\n" + b"0,1\n1,2\n" * 20
TABLE = ("study-project", "trials", "patients")
ADDRESS = "bq://study-project.trials.patients"
SCHEMA = [
    ("t", "INTEGER", "REQUIRED"), ("y", "FLOAT", "NULLABLE"), ("name", "STRING", "NULLABLE"), ("ok", "BOOLEAN", "NULLABLE"),
    ("day", "DATE", "NULLABLE"), ("at", "TIMESTAMP", "NULLABLE"), ("price", "NUMERIC", "NULLABLE"),
]  # fmt: skip
ROWS = [[str(k % 2), f"{k}.5", f"00{k}", "true", "2026-01-02", "1767312000000000", "1.25"] for k in range(7)]


@pytest.fixture
def objects() -> Storage:
    return Storage(None)


@pytest.fixture
def tables() -> Tables:
    made = Tables()
    made.put(TABLE, SCHEMA, [*ROWS, ["0", None, None, None, None, None, None]])
    return made


@pytest.fixture
def cloud(objects: Storage, tables: Tables, tmp_path: Path) -> Iterator[OwnCloud]:
    with storage(objects) as first, bigquery(tables) as second:
        environ = {"STORAGE_EMULATOR_HOST": first, "BIGQUERY_EMULATOR_HOST": second}
        yield OwnCloud(Settings(home=tmp_path / "home", project="callers-project", environ=environ))


def fetch(
    cloud: OwnCloud, address: str, folder: Path, version: str | None = None, **limits: int
) -> datasets.Fetched | None:
    made = folder / "kept"
    made.mkdir(exist_ok=True)
    return datasets.bring(address, made, Limits(**limits), Means(cloud=cloud), version=version)


def code(cloud: OwnCloud, address: str, folder: Path, **limits: int) -> str:
    with pytest.raises(InputError) as caught:
        fetch(cloud, address, folder, **limits)
    assert not list((folder / "kept").iterdir())
    return caught.value.code


def test_an_object_is_fetched_in_the_generation_that_stands(cloud: OwnCloud, objects: Storage, tmp_path: Path) -> None:
    made = objects.create("studies", "2026/data file.csv", DATA, {})
    found = fetch(cloud, "gs://studies/2026/data file.csv", tmp_path)
    assert found is not None
    assert (found.path.read_bytes(), found.path.name, found.version) == (DATA, "data_file.csv", str(made.number))
    assert fetch(cloud, "gs://studies/2026/data file.csv", tmp_path, found.version) is None


def test_a_generation_that_is_named_is_that_one_or_none(cloud: OwnCloud, objects: Storage, tmp_path: Path) -> None:
    first = objects.create("studies", "a.csv", DATA, {})
    objects.create("studies", "a.csv", b"other", {})
    found = fetch(cloud, f"gs://studies/a.csv#{first.number}", tmp_path)
    assert found is not None
    assert found.path.read_bytes() == DATA
    found.path.unlink()
    assert code(cloud, "gs://studies/a.csv#7", tmp_path) == "DATASET_NOT_FOUND"


def test_an_object_that_goes_between_two_looks_has_changed(cloud: OwnCloud, objects: Storage, tmp_path: Path) -> None:
    objects.create("studies", "a.csv", DATA, {})
    with pytest.raises(InputError) as caught:
        cloud.fetch("gs://studies/a.csv", "12", tmp_path / "a", most=10**6, rows=10)
    assert caught.value.code == "SOURCE_CHANGED"


def test_an_object_too_large_is_not_downloaded(cloud: OwnCloud, objects: Storage, tmp_path: Path) -> None:
    objects.create("studies", "a.csv", DATA, {})
    assert code(cloud, "gs://studies/a.csv", tmp_path, file_bytes=10) == "DATASET_TOO_LARGE"


@pytest.mark.parametrize(
    "address", ["gs://studies", "gs://studies/", "gs://Studies/a", "gs://../a", "gs:///a", "gs://studies/a\nb"]
)
def test_what_is_no_objects_address_is_asked_of_nobody(
    address: str, cloud: OwnCloud, objects: Storage, tmp_path: Path
) -> None:
    assert code(cloud, address, tmp_path) == "URL_NOT_ALLOWED"
    assert not objects.calls


def test_a_table_becomes_parquet_with_its_own_types(cloud: OwnCloud, tables: Tables, tmp_path: Path) -> None:
    found = fetch(cloud, ADDRESS, tmp_path)
    assert found is not None
    rows = pq.read_table(found.path).to_pylist()
    day, at = dt.date(2026, 1, 2), dt.datetime(2026, 1, 2, tzinfo=dt.UTC)
    assert rows[1] == {"t": 1, "y": 1.5, "name": "001", "ok": True, "day": day, "at": at, "price": Decimal("1.25")}
    assert list(rows[7].values()) == [0, None, None, None, None, None, None]
    assert tables.calls["data"] == 3  # eight rows, three a page
    assert fetch(cloud, ADDRESS, tmp_path, found.version) is None


def test_a_page_that_fails_in_passing_is_asked_for_again(cloud: OwnCloud, tables: Tables, tmp_path: Path) -> None:
    tables.after_page = lambda number: tables.faults.append(503) if number == 0 else None
    found = fetch(cloud, ADDRESS, tmp_path)
    assert found is not None
    assert pq.read_table(found.path).num_rows == 8
    tables.faults = [503] * 20
    with pytest.raises(StorageError):
        cloud.version(ADDRESS)


def test_a_table_that_changes_while_it_is_read_is_refused(cloud: OwnCloud, tables: Tables, tmp_path: Path) -> None:
    tables.after_page = lambda number: tables.held[TABLE].update(etag="v2")
    assert code(cloud, ADDRESS, tmp_path) == "SOURCE_CHANGED"


def test_a_table_of_too_many_rows_or_bytes_is_refused(cloud: OwnCloud, tables: Tables, tmp_path: Path) -> None:
    assert code(cloud, ADDRESS, tmp_path, rows=7) == "TOO_MANY_ROWS"
    assert tables.calls["data"] == 0
    tables.held[TABLE]["num_rows"] = 0
    assert code(cloud, ADDRESS, tmp_path, rows=5) == "TOO_MANY_ROWS"
    assert code(cloud, ADDRESS, tmp_path, file_bytes=100) == "DATASET_TOO_LARGE"


def test_what_is_no_plain_table_is_refused(cloud: OwnCloud, tables: Tables, tmp_path: Path) -> None:
    tables.put(TABLE, [("t", "INTEGER", "REPEATED")], [])
    assert code(cloud, ADDRESS, tmp_path) == "NESTED_TYPE"
    tables.put(TABLE, [("t", "GEOGRAPHY", "NULLABLE")], [])
    assert code(cloud, ADDRESS, tmp_path) == "NESTED_TYPE"
    tables.put(TABLE, SCHEMA, [], type="VIEW")
    assert code(cloud, ADDRESS, tmp_path) == "SOURCE_UNSUPPORTED"
    assert code(cloud, "bq://study-project.trials.none", tmp_path) == "DATASET_NOT_FOUND"
    tables.denied.add(TABLE)
    assert code(cloud, ADDRESS, tmp_path) == "SOURCE_REFUSED"


@pytest.mark.parametrize(
    "address",
    [
        "bq://p.d.t", "bq://study-project.trials", "bq://study-project.trials.a.b", "bq://study-project.trials.a`; DROP TABLE x",
        "bq://study-project.tri als.a", "bq://study-project.trials.a$20260101", "bq://../x.y", "bq://study-project.trials.a/data",
    ],
)  # fmt: skip
def test_what_is_no_tables_address_is_asked_of_nobody(
    address: str, cloud: OwnCloud, tables: Tables, tmp_path: Path
) -> None:
    assert code(cloud, address, tmp_path) == "URL_NOT_ALLOWED"
    assert not tables.calls

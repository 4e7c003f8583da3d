"""Datasets in Google Cloud: objects of Cloud Storage and tables of BigQuery, read as they stand at one moment.

An address is split into names that are passed as names: none becomes part of a query.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from google.cloud.storage import Client as StorageClient  # type: ignore[import-untyped]

from causal_orchestrator.backends.gcp.calling import TIMEOUT, insist
from causal_orchestrator.errors import InputError, NotFound, StorageError
from causal_orchestrator.question import shown

if TYPE_CHECKING:
    from google.cloud.bigquery import Client as TablesClient
    from google.cloud.bigquery import Table

TRANSFER_TIMEOUT = 120.0
PAGE_ROWS = 10_000
OBJECT = re.compile(r"gs://([a-z0-9][a-z0-9._-]{1,220}[a-z0-9])/([^\x00-\x1f\x7f]{1,1024}?)(?:#(\d{1,19}))?")
TABLE = re.compile(r"bq://([a-z][a-z0-9-]{4,28}[a-z0-9])\.([A-Za-z0-9_]{1,1024})\.([A-Za-z0-9_-]{1,1024})")


class GoogleSources:
    """The port `Cloud`; a client is made when it is first needed."""

    def __init__(self, storage: Callable[[], StorageClient], tables: Callable[[], TablesClient]) -> None:
        self._make_storage = storage
        self._make_tables = tables

    @cached_property
    def _storage(self) -> StorageClient:
        return self._make_storage()

    @cached_property
    def _tables(self) -> TablesClient:
        return self._make_tables()

    def version(self, address: str) -> str:
        """Return the generation of an object, or the mark of a table's state (raises InputError)."""
        with _readable():
            if address.startswith("bq://"):
                return _mark(self._table(address))
            bucket, name, generation = _object(address)
            blob = self._storage.bucket(bucket).blob(name, generation=generation)
            insist(lambda: blob.reload(timeout=TIMEOUT, retry=None), what="looking at a dataset")
            return str(blob.generation)

    def fetch(self, address: str, version: str, target: Path, *, most: int, rows: int) -> None:
        """Write an object, or a table as Parquet, into the new file `target`; of another version is none."""
        with _readable():
            try:
                if address.startswith("bq://"):
                    self._fetch_table(address, version, target, most, rows)
                else:
                    self._fetch_object(address, version, target, most)
            except NotFound as exc:
                raise _changed() from exc

    def _fetch_object(self, address: str, version: str, target: Path, most: int) -> None:
        bucket, name, _ = _object(address)
        blob = self._storage.bucket(bucket).blob(name, generation=int(version))
        insist(lambda: blob.reload(timeout=TIMEOUT, retry=None), what="looking at a dataset")
        if int(blob.size) > most:
            raise _too_large(int(blob.size), most)
        insist(
            lambda: blob.download_to_filename(str(target), timeout=TRANSFER_TIMEOUT, retry=None),
            what="reading a dataset",
        )

    def _table(self, address: str) -> Table:
        from google.cloud.bigquery import DatasetReference, TableReference

        found = TABLE.fullmatch(address)
        if found is None:
            raise _refused("a table's address is bq://project.dataset.table")
        reference = TableReference(DatasetReference(found[1], found[2]), found[3])
        table = insist(
            lambda: self._tables.get_table(reference, retry=None, timeout=TIMEOUT),  # type: ignore[arg-type]
            what="looking at a table",
        )
        if table.table_type != "TABLE":
            raise InputError(
                f"only tables are read, this is a {str(table.table_type).lower()}; save its rows as a table",
                code="SOURCE_UNSUPPORTED",
            )
        return table

    def _fetch_table(self, address: str, version: str, target: Path, most: int, rows: int) -> None:
        table = self._table(address)
        if _mark(table) != version:
            raise _changed()
        if table.num_rows is not None and table.num_rows > rows:
            raise _too_many(rows)
        try:
            _write(table, self._pages(table), target, most, rows)
            if _mark(self._table(address)) != version:
                raise _changed()
        except BaseException:
            target.unlink(missing_ok=True)
            raise

    def _pages(self, table: Table) -> Iterator[list[Any]]:
        """Yield the rows of a table page by page, each page asked for by itself.

        The client's own iterator over pages ends, as if there were no more, when it goes on after a failure.
        """
        token: str | None = None
        while True:
            rows, token = insist(lambda token=token: self._page(table, token), what="reading a table")  # type: ignore[misc]
            yield rows
            if not token:
                return

    def _page(self, table: Table, token: str | None) -> tuple[list[Any], str | None]:
        found = self._tables.list_rows(table, page_size=PAGE_ROWS, page_token=token, retry=None, timeout=TIMEOUT)  # type: ignore[arg-type]
        rows = [row.values() for row in next(found.pages, ())]
        return rows, found.next_page_token


def _write(table: Table, pages: Iterator[list[Any]], target: Path, most: int, rows: int) -> None:
    """Write rows as Parquet with the table's own types."""
    import pyarrow as pa
    from pyarrow import parquet

    schema = pa.schema([(field.name, _type(field)) for field in table.schema])
    count = 0
    with target.open("xb") as sink, parquet.ParquetWriter(sink, schema) as out:
        for page in pages:
            count += len(page)
            if count > rows:
                raise _too_many(rows)
            columns = list(zip(*page, strict=True)) or [()] * len(schema)
            arrays = [pa.array(cells, type=kind) for cells, kind in zip(columns, schema.types, strict=True)]
            out.write_batch(pa.record_batch(arrays, schema=schema))
            if sink.tell() > most:
                raise _too_large(sink.tell(), most)


def _type(field: Any) -> Any:
    """Return the Arrow type of a column (raises InputError for what is no plain value)."""
    import pyarrow as pa

    types = {
        "STRING": pa.string(), "INTEGER": pa.int64(), "INT64": pa.int64(), "FLOAT": pa.float64(),
        "FLOAT64": pa.float64(), "BOOLEAN": pa.bool_(), "BOOL": pa.bool_(), "NUMERIC": pa.decimal128(38, 9),
        "DATE": pa.date32(), "TIME": pa.time64("us"), "DATETIME": pa.timestamp("us"),
        "TIMESTAMP": pa.timestamp("us", tz="UTC"),
    }  # fmt: skip
    kind = None if field.mode == "REPEATED" else types.get(field.field_type)
    if kind is None:
        raise InputError(
            f"column {shown(field.name)!r} is {field.mode.lower()} {field.field_type}; cast it to a plain type first",
            code="NESTED_TYPE",
        )
    return kind


def _mark(table: Table) -> str:
    return str(table.etag)


def _object(address: str) -> tuple[str, str, int | None]:
    found = OBJECT.fullmatch(address)
    if found is None:
        raise _refused("an object's address is gs://bucket/name")
    return found[1], found[2], int(found[3]) if found[3] else None


@contextmanager
def _readable() -> Iterator[None]:
    """Say of a dataset that is not there, or not open to this process, that the address will not do."""
    try:
        yield
    except NotFound as exc:
        raise InputError("there is nothing at that address", code="DATASET_NOT_FOUND") from exc
    except StorageError as exc:
        if exc.code != "STORAGE_DENIED":
            raise
        raise InputError(
            "this service may not read that address; grant it the right to", code="SOURCE_REFUSED"
        ) from exc


def _refused(sentence: str) -> InputError:
    return InputError(sentence, code="URL_NOT_ALLOWED")


def _changed() -> InputError:
    return InputError("the dataset changed while it was read; ask again once it is complete", code="SOURCE_CHANGED")


def _too_large(size: int, most: int) -> InputError:
    return InputError(
        f"the dataset has {size} bytes or more, at most {most} are read; select columns or rows first",
        code="DATASET_TOO_LARGE",
    )


def _too_many(rows: int) -> InputError:
    return InputError(f"the table has more than {rows} rows; select rows first", code="TOO_MANY_ROWS")

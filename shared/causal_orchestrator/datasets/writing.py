"""A typed table to its snapshot: summary, fingerprint and Parquet bytes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from causal_orchestrator.datasets import fingerprint, summary
from causal_orchestrator.datasets.read import Reading
from causal_orchestrator.datasets.remarks import Remarks
from causal_orchestrator.results import Snapshot

ROW_GROUP = 131_072


def describe(reading: Reading, *, source_sha256: str | None, name: str) -> Snapshot:
    """Describe a table that was read (its `source_sha256` is the fingerprint where there was no file)."""
    table = reading.table
    digests = [fingerprint.digest(column) for column in table.columns]
    _remark_copies(table, digests, reading.remarks)
    found = summary.summarise(table, reading.remarks)
    sha256 = fingerprint.fingerprint(table, digests)
    return Snapshot(
        sha256=sha256, source_sha256=source_sha256 or sha256, source_name=name, n_rows=table.num_rows,
        n_columns=table.num_columns, columns=found.columns, format=reading.format, encoding=reading.encoding,
        delimiter=reading.delimiter, n_duplicate_rows=found.n_duplicate_rows, warnings=reading.remarks.tell(),
    )  # fmt: skip


def _remark_copies(table: Any, digests: Sequence[str], remarks: Remarks) -> None:
    same = Counter(digests)
    for name, column, found in zip(table.column_names, table.columns, digests, strict=True):
        if same[found] > 1 and pc.count_distinct(column).as_py() > 1:
            remarks.add("COLLINEAR", name)


def write(table: Any, target: Path | Any) -> None:
    """Write a typed table as Parquet (to a path or an Arrow sink)."""
    texts = [field.name for field in table.schema if pa.types.is_string(field.type)]
    pq.write_table(
        table, target, compression="zstd", compression_level=1, row_group_size=ROW_GROUP, use_dictionary=texts
    )


def summarised(reading: Reading, *, source_sha256: str | None, name: str) -> tuple[Snapshot, bytes]:
    """Return the description of a table and its Parquet bytes."""
    sink = pa.BufferOutputStream()
    write(reading.table, sink)
    return describe(reading, source_sha256=source_sha256, name=name), sink.getvalue().to_pybytes()

"""Parquet and Feather: types are checked before any value is decoded, and decoding is metered."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from causal_orchestrator.datasets import text
from causal_orchestrator.datasets.delimited import check_size
from causal_orchestrator.datasets.limits import MIB, Limits
from causal_orchestrator.datasets.remarks import Remarks
from causal_orchestrator.errors import InputError
from causal_orchestrator.question import shown

PANDAS_INDEX = re.compile(r"__index_level_[0-9]+__")  # how pandas stores an index without a name
EXTENSION = b"ARROW:extension:name"
BATCH_ROWS = 8_192
DAMAGE = (pa.ArrowException, OSError, ValueError, LookupError)  # what decoders raise on malformed bytes
FIRST, LAST = -62_135_596_800, 253_402_300_800  # seconds from 1970: the first day of the year 1 and of 10000


def parquet(path: Path, limits: Limits, remarks: Remarks) -> Any:
    """Read a Parquet file.

    Texts are decoded as dictionaries, so that a short file cannot repeat one long text a million times in memory.

    Raises
    ------
    InputError
        ``UNREADABLE``, ``EXTENSION_TYPE``, ``NESTED_TYPE``, ``UNSUPPORTED_TYPE``, ``DUPLICATE_COLUMN``,
        ``TOO_MANY_COLUMNS``, ``TOO_MANY_ROWS``, ``TOO_MANY_ROW_GROUPS``, ``DECODED_TOO_LARGE``, ``CELL_TOO_LONG``,
        ``NUL_BYTE``, ``NON_FINITE`` or ``PRECISION``.
    """
    try:
        file = pq.ParquetFile(path, thrift_string_size_limit=64 * MIB, thrift_container_size_limit=16 * MIB)
        schema = file.schema_arrow
        check_schema(schema, limits)
        texts = [field.name for field in schema if _is_text(field.type)]
        file.close()
        file = pq.ParquetFile(
            path, read_dictionary=texts, thrift_string_size_limit=64 * MIB, thrift_container_size_limit=16 * MIB
        )
        if file.metadata.num_row_groups > limits.row_groups:
            raise InputError(
                f"the file has {file.metadata.num_row_groups} row groups, at most {limits.row_groups} are read",
                code="TOO_MANY_ROW_GROUPS",
            )
        # The footer is only a hint: it may refuse a file, never admit one.
        check_size(file.metadata.num_rows, 0, limits)
        batches = _metered(file.iter_batches(batch_size=BATCH_ROWS, use_threads=False), limits)
    except DAMAGE as exc:
        raise _unreadable("Parquet") from exc
    return normalise(schema, batches, limits, remarks)


def feather(path: Path, limits: Limits, remarks: Remarks) -> Any:
    """Read a Feather file (version 2: an Arrow IPC file).

    Raises
    ------
    InputError
        As `parquet` does.
    """
    try:
        with pa.OSFile(str(path)) as raw, pa.ipc.open_file(raw) as file:
            check_schema(file.schema, limits)
            batches = _metered((file.get_batch(i) for i in range(file.num_record_batches)), limits)
            schema = file.schema
    except DAMAGE as exc:
        raise _unreadable("Feather") from exc
    return normalise(schema, batches, limits, remarks)


def check_schema(schema: Any, limits: Limits) -> None:
    """Refuse a schema with types that are no columns of values.

    Raises
    ------
    InputError
        ``TOO_MANY_COLUMNS``, ``DUPLICATE_COLUMN``, ``EXTENSION_TYPE``, ``NESTED_TYPE`` or ``UNSUPPORTED_TYPE``.
    """
    if len(schema) > limits.columns:
        raise InputError(
            f"the table has {len(schema)} columns, at most {limits.columns} are read", code="TOO_MANY_COLUMNS"
        )
    if len(set(schema.names)) < len(schema):
        repeated = sorted({shown(name) for name in schema.names if schema.names.count(name) > 1})[:5]
        raise InputError(
            f"columns share a name: {', '.join(map(repr, repeated))}; rename them", code="DUPLICATE_COLUMN"
        )
    faults = {"EXTENSION_TYPE": [], "NESTED_TYPE": [], "UNSUPPORTED_TYPE": []}  # type: dict[str, list[str]]
    for field in schema:
        if isinstance(field.type, pa.BaseExtensionType) or EXTENSION in (field.metadata or {}):
            faults["EXTENSION_TYPE"].append(field.name)
        elif pa.types.is_nested(field.type):
            faults["NESTED_TYPE"].append(field.name)
        elif not _is_readable(field.type):
            faults["UNSUPPORTED_TYPE"].append(field.name)
    told = {
        "EXTENSION_TYPE": "have an extension type, which is never decoded; store plain values",
        "NESTED_TYPE": "hold lists, maps or records; flatten them to one value a cell",
        "UNSUPPORTED_TYPE": "have a type that is not read (binary, duration, time of day); store numbers, text or dates",
    }
    for code, columns in faults.items():
        if columns:
            listed = ", ".join(repr(shown(name)) for name in columns[:8])
            raise InputError(
                f"columns {listed} {told[code]}", code=code, details={"columns": [shown(c) for c in columns[:8]]}
            )


def normalise(schema: Any, batches: list[Any], limits: Limits, remarks: Remarks) -> Any:
    """Bring typed batches to the few types that snapshots have.

    Raises
    ------
    InputError
        ``CELL_TOO_LONG``, ``NUL_BYTE``, ``NON_FINITE`` or ``DATE_RANGE``.
    """
    columns, names = [], []
    for position, field in enumerate(schema):
        if PANDAS_INDEX.fullmatch(field.name):
            remarks.add("INDEX_DROPPED", field.name)
            continue
        chunks = [batch.column(position) for batch in batches]
        columns.append(
            convert(
                field.name, pa.chunked_array(chunks) if chunks else pa.chunked_array([], field.type), limits, remarks
            )
        )
        names.append(field.name)
    return pa.table(columns, names=names)


def convert(name: str, column: Any, limits: Limits, remarks: Remarks) -> Any:
    """Bring one typed column to int64, float64, bool, timestamp[us] or string; NaN becomes missing.

    Raises
    ------
    InputError
        ``CELL_TOO_LONG``, ``NUL_BYTE``, ``NON_FINITE`` or ``DATE_RANGE``.
    """
    if pa.types.is_dictionary(column.type):
        for chunk in column.chunks:
            check_cells(name, chunk.dictionary, limits)
        column = column.cast(column.type.value_type)
    kind = column.type
    if pa.types.is_null(kind):
        return column.cast(pa.float64())
    if pa.types.is_boolean(kind):
        return column
    if pa.types.is_integer(kind):
        return _integers(name, column, remarks)
    if pa.types.is_decimal(kind):
        return _decimals(name, column, remarks)
    if pa.types.is_floating(kind):
        return _floats(name, column)
    if pa.types.is_temporal(kind):
        return _times(name, column, remarks)
    return _texts(name, column, limits, remarks)


def check_cells(name: str, values: Any, limits: Limits) -> None:
    """Refuse texts that are too long or hold NUL bytes.

    Raises
    ------
    InputError
        ``CELL_TOO_LONG`` or ``NUL_BYTE``.
    """
    if not _is_plain_text(values.type) or not len(values):
        return
    longest = pc.max(pc.binary_length(values)).as_py() or 0
    if longest > limits.cell:
        raise InputError(
            f"a cell of column {shown(name)!r} has {longest} bytes, at most {limits.cell} are read",
            code="CELL_TOO_LONG",
        )
    if pc.any(pc.match_substring(values, "\0")).as_py():
        raise InputError(f"a cell of column {shown(name)!r} holds a NUL byte", code="NUL_BYTE")


def _is_plain_text(kind: Any) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _is_text(kind: Any) -> bool:
    return _is_plain_text(kind.value_type if pa.types.is_dictionary(kind) else kind)


def _is_readable(kind: Any) -> bool:
    if pa.types.is_dictionary(kind):
        return not pa.types.is_dictionary(kind.value_type) and _is_readable(kind.value_type)
    dated = pa.types.is_date(kind) or pa.types.is_timestamp(kind)
    number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    return bool(dated or number or pa.types.is_boolean(kind) or pa.types.is_null(kind) or _is_plain_text(kind))


def _metered(batches: Any, limits: Limits) -> list[Any]:
    """Decode batch after batch and stop where the table would be too large once its texts are written out."""
    kept, rows, size = [], 0, 0
    for batch in batches:
        batch.validate(full=True)  # offsets out of bounds, texts that are not UTF-8
        rows += batch.num_rows
        size += sum(_expanded(column) for column in batch.columns)
        check_size(rows, size, limits)
        kept.append(batch)
    return kept


def _expanded(column: Any) -> int:
    if not pa.types.is_dictionary(column.type) or not _is_plain_text(column.type.value_type):
        return int(column.nbytes)
    lengths = pc.binary_length(column.dictionary)
    return int(pc.sum(lengths.take(column.indices).cast(pa.int64())).as_py() or 0) + 4 * len(column)


def _unreadable(kind: str) -> InputError:
    return InputError(f"the {kind} file is damaged or written in a way that is not read", code="UNREADABLE")


def _integers(name: str, column: Any, remarks: Remarks) -> Any:
    bounds = pc.min_max(column).as_py()
    if bounds["max"] is not None and bounds["max"] >= 1 << 63:
        remarks.add("PRECISION", name)
        return column.cast(pa.string())
    if bounds["max"] is not None and max(abs(bounds["min"]), abs(bounds["max"])) > text.EXACT:
        remarks.add("PRECISION", name)
    return column.cast(pa.int64())


def _decimals(name: str, column: Any, remarks: Remarks) -> Any:
    typed = column.cast(pa.float64())
    if column.type.precision > 15:
        remarks.add("PRECISION", name)
    return typed


def _floats(name: str, column: Any) -> Any:
    typed = column.cast(pa.float64())
    text.refuse_infinite(name, int(pc.sum(pc.is_inf(typed)).as_py() or 0))
    return pc.if_else(pc.is_nan(typed), pa.scalar(None, pa.float64()), typed)


def _times(name: str, column: Any, remarks: Remarks) -> Any:
    if getattr(column.type, "tz", None):
        remarks.add("TIMEZONE", name)
    unit = "s" if pa.types.is_date32(column.type) else getattr(column.type, "unit", "ms")
    naive = column.cast(pa.timestamp(unit))
    bounds = pc.min_max(naive.cast(pa.int64())).as_py()
    scale = 10 ** {"s": 0, "ms": 3, "us": 6, "ns": 9}[unit]
    if bounds["min"] is not None and not (FIRST * scale <= bounds["min"] and bounds["max"] < LAST * scale):
        raise InputError(
            f"column {shown(name)!r} holds times outside of the years 1 to 9999; leave such cells empty",
            code="DATE_RANGE",
        )
    typed = naive.cast(pa.timestamp("us"), safe=False)
    if unit == "ns" and not pc.all(pc.equal(typed.cast(pa.timestamp("ns"), safe=False), naive)).as_py():
        remarks.add("PRECISION", name)
    return typed


def _texts(name: str, column: Any, limits: Limits, remarks: Remarks) -> Any:
    check_cells(name, column, limits)
    typed = column.cast(pa.string())
    levels, codes = text.encode(typed)
    counts = np.bincount(codes, minlength=len(levels) + 1)[: len(levels)]
    blank = pc.match_substring_regex(levels, pattern=r"^\s*$").to_numpy(zero_copy_only=False)
    text.remark_text(name, levels, counts, blank, remarks)
    return pc.if_else(pc.equal(typed, ""), pa.scalar(None, pa.string()), typed)

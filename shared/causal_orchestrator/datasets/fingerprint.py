"""The fingerprint of a table: one hash of schema and values, whatever file they came in."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

TYPES = {"large_string": "string"}  # pandas hands its text columns over as large strings


def fingerprint(table: Any, digests: Sequence[str] | None = None) -> str:
    """Return the SHA-256 of a typed table: names, types, order of rows and columns, values, missing cells.

    It does not depend on chunks, dictionaries, offsets or on what lies under a missing cell; −0 equals 0. `digests`
    are those of the columns, if they are known already.
    """
    known = digests or [digest(column) for column in table.columns]
    types = [TYPES.get(str(kind), str(kind)) for kind in table.schema.types]
    columns = [list(column) for column in zip(table.column_names, types, known, strict=True)]
    text = json.dumps({"rows": table.num_rows, "columns": columns}, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def digest(column: Any) -> str:
    """Return the SHA-256 of one column's values (a pyarrow.ChunkedArray of a type that snapshots have)."""
    hashed = hashlib.sha256()
    hashed.update(np.packbits(pc.is_valid(column).to_numpy()).tobytes())
    if pa.types.is_large_string(column.type):  # how pandas hands its text columns over
        column = column.cast(pa.string())
    for chunk in column.chunks:
        if pa.types.is_string(chunk.type):
            lengths = pc.fill_null(pc.binary_length(chunk), 0).to_numpy(zero_copy_only=False)
            hashed.update(lengths.astype("<i4").tobytes())
    for chunk in column.chunks:
        hashed.update(_values(chunk))
    return hashed.hexdigest()


def _values(chunk: Any) -> bytes:
    if pa.types.is_string(chunk.type):
        filled = pc.fill_null(chunk, "")
        _, ends, data = filled.buffers()
        if data is None:
            return b""
        bounds = np.frombuffer(ends, "<i4")[filled.offset : filled.offset + len(filled) + 1]
        return bytes(memoryview(data)[bounds[0] : bounds[-1]])
    if pa.types.is_timestamp(chunk.type):
        return bytes(pc.fill_null(chunk.cast(pa.int64()), 0).to_numpy(zero_copy_only=False).astype("<i8").tobytes())
    if pa.types.is_floating(chunk.type):
        # Adding 0.0 turns −0.0 into 0.0.
        return bytes((pc.fill_null(chunk, 0.0).to_numpy(zero_copy_only=False) + 0.0).astype("<f8").tobytes())
    if pa.types.is_boolean(chunk.type):
        return bytes(pc.fill_null(chunk, False).to_numpy(zero_copy_only=False).astype("u1").tobytes())
    return bytes(pc.fill_null(chunk, 0).to_numpy(zero_copy_only=False).astype("<i8").tobytes())

"""Parquet files written byte by byte, so that their headers may lie (Thrift compact protocol, apache/parquet-format)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

I32, I64, BINARY, LIST, STRUCT = 5, 6, 8, 9, 12
INT64, OPTIONAL, REQUIRED = 2, 1, 0
PLAIN, RLE = 0, 3


@dataclass(frozen=True)
class Field:
    number: int
    kind: int
    value: Any


def varint(value: int) -> bytes:
    out = b""
    while True:
        value, low = value >> 7, value & 0x7F
        out += bytes([low | (0x80 if value else 0)])
        if not value:
            return out


def encode(kind: int, value: Any) -> bytes:
    if kind in (I32, I64):
        return varint((value << 1) ^ (value >> 63))
    if kind == BINARY:
        return varint(len(value)) + value
    if kind == LIST:
        element, items = value
        head = bytes([len(items) << 4 | element]) if len(items) < 15 else bytes([0xF0 | element]) + varint(len(items))
        return head + b"".join(encode(element, item) for item in items)
    out, last = b"", 0
    for field in value:
        out += bytes([(field.number - last) << 4 | field.kind]) + encode(field.kind, field.value)
        last = field.number
    return out + b"\0"


def page(payload: bytes, *, values: int) -> bytes:
    inner = [Field(1, I32, values), Field(2, I32, PLAIN), Field(3, I32, RLE), Field(4, I32, RLE)]
    header = [Field(1, I32, 0), Field(2, I32, len(payload)), Field(3, I32, len(payload)), Field(5, STRUCT, inner)]
    return encode(STRUCT, header) + payload


def parquet(payload: bytes, *, values: int, repetition: int = REQUIRED, codec: int = 0, groups: int = 1) -> bytes:
    """One int64 column `a` with one page per row group; `values` is what every header claims."""
    body = page(payload, values=values)
    chunk = [
        Field(1, I32, INT64), Field(2, LIST, (I32, [PLAIN, RLE])), Field(3, LIST, (BINARY, [b"a"])), Field(4, I32, codec),
        Field(5, I64, values), Field(6, I64, len(body)), Field(7, I64, len(body)), Field(9, I64, 4),
    ]  # fmt: skip
    column = [Field(2, I64, 4), Field(3, STRUCT, chunk)]
    group = [Field(1, LIST, (STRUCT, [column])), Field(2, I64, len(body)), Field(3, I64, values)]
    root = [Field(4, BINARY, b"schema"), Field(5, I32, 1)]
    leaf = [Field(1, I32, INT64), Field(3, I32, repetition), Field(4, BINARY, b"a")]
    footer = encode(
        STRUCT,
        [
            Field(1, I32, 1),
            Field(2, LIST, (STRUCT, [root, leaf])),
            Field(3, I64, values * groups),
            Field(4, LIST, (STRUCT, [group] * groups)),
        ],
    )
    return b"PAR1" + body + footer + len(footer).to_bytes(4, "little") + b"PAR1"

"""How much of an untrusted file we are willing to read."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1 << 20
GIB = 1 << 30


@dataclass(frozen=True)
class Limits:
    """The bounds of one reading; the defaults are those of a laptop.

    `file_bytes` bounds the file as it lies there and `decoded_bytes` what it may grow to, `ratio` how much a
    compressed stream may grow (judged from `ratio_floor` bytes on). Lengths of cells and names are in bytes of UTF-8.
    `memory` (bytes of address space; below 2 GiB Arrow itself aborts), `seconds` (of processor time and, doubled, of wall clock) and `decoded_bytes`
    (of output) bound the child process.
    """

    file_bytes: int = 512 * MIB
    decoded_bytes: int = 4 * GIB
    rows: int = 20_000_000
    columns: int = 2_000
    cell: int = 64 * 1024
    name: int = 1_000
    nesting: int = 32
    ratio: int = 200
    ratio_floor: int = MIB
    row_groups: int = 10_000
    json_bytes: int = 256 * MIB
    short_rows: float = 0.01
    min_rows: int = 2
    memory: int = 6 * GIB
    seconds: int = 300


SERVICE = Limits(file_bytes=2 * GIB, decoded_bytes=16 * GIB, memory=24 * GIB, seconds=1_800)

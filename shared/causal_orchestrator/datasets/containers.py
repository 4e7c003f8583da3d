"""What a file is, by its first bytes, and what it holds if it is compressed."""

from __future__ import annotations

import re
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from causal_orchestrator.datasets.limits import MIB, Limits
from causal_orchestrator.errors import InputError

REFUSED = (
    (b"PARE", "an encrypted Parquet file"), (b"\xd0\xcf\x11\xe0", "an old Excel or Office file"),
    (b"\x93NUMPY", "a NumPy array"), (b"\x89HDF", "an HDF5 file"), (b"FEA1", "a Feather file of version 1"),
    (b"%PDF", "a PDF"), (b"\x89PNG", "an image"), (b"\xff\xd8\xff", "an image"), (b"GIF8", "an image"),
    (b"BZh", "a bzip2 file"), (b"\xfd7zXZ", "an xz file"), (b"\x28\xb5\x2f\xfd", "a zstd file"),
    (b"7z\xbc\xaf", "a 7-zip archive"), (b"Rar!", "a RAR archive"), (b"RDX", "an R data file"), (b"RDA", "an R data file"),
    (b"SQLite format 3", "an SQLite database"), (b"ORC", "an ORC file"), (b"Obj\x01", "an Avro file"),
    (b"$FL2", "an SPSS file"), (b"$FL3", "an SPSS file"), (b"\x7fELF", "a program"), (b"MZ", "a program"),
)  # fmt: skip
# A record, or a list of records or lists; the header of a CSV file hardly begins so.
JSON = re.compile(rb'\{\s*["}]|\[\s*[\[{\]]')
KNOWN = "save the table as CSV, JSON, xlsx, Parquet, Feather or dta"


@dataclass(frozen=True)
class Opened:
    """A file that holds one table: where its decompressed bytes lie, its format, and how it was packed."""

    path: Path
    format: str
    packed: str | None = None


def unpack(path: Path, folder: Path, limits: Limits) -> Opened:
    """Find out what a file is and decompress it once, if it is compressed.

    Raises
    ------
    InputError
        ``DATASET_EMPTY``, ``DATASET_TOO_LARGE``, ``UNSUPPORTED_FORMAT``, ``ARCHIVE_UNSUPPORTED``,
        ``DECOMPRESSION_LIMIT`` or ``UNREADABLE``.
    """
    size = path.stat().st_size
    if size == 0:
        raise InputError("the file is empty", code="DATASET_EMPTY")
    if size > limits.file_bytes:
        raise InputError(
            f"the file has {size} bytes, at most {limits.file_bytes} are read; select columns or rows first",
            code="DATASET_TOO_LARGE",
        )
    kind = sniff(path)
    if kind == "gzip":
        return Opened(_gunzip(path, folder / "unpacked", limits), _inner(folder / "unpacked"), "gzip")
    if kind == "zip":
        return _unzip(path, folder, limits)
    return Opened(path, kind)


def sniff(path: Path) -> str:
    """Return gzip, zip, parquet, feather, stata, json or text, by the first bytes.

    Raises
    ------
    InputError
        ``UNSUPPORTED_FORMAT`` for what is recognised and not read.
    """
    with path.open("rb") as raw:
        start = raw.read(4096)
    for magic, what in REFUSED:
        if start.startswith(magic):
            raise InputError(f"the file is {what}, which is not read; {KNOWN}", code="UNSUPPORTED_FORMAT")
    if start.startswith(b"\x80") and start[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        raise InputError(f"the file is a Python pickle, which is never opened; {KNOWN}", code="UNSUPPORTED_FORMAT")
    for magic, kind in (
        (b"\x1f\x8b", "gzip"),
        (b"PK\x03\x04", "zip"),
        (b"PK\x05\x06", "zip"),
        (b"PAR1", "parquet"),
        (b"ARROW1", "feather"),
        (b"<stata_dta>", "stata"),
    ):
        if start.startswith(magic):
            return kind
    if start[:1] in (b"\x71", b"\x72", b"\x73") and start[1:2] in (b"\x01", b"\x02") and start[2:3] == b"\x01":
        return "stata"
    return _sniff_text(start)


def _sniff_text(start: bytes) -> str:
    head = start.removeprefix(b"\xef\xbb\xbf").lstrip()
    lowered = head[:512].lower()
    if lowered.startswith((b"<!doctype", b"<html", b"<?xml", b"<table", b"<!--")):
        raise InputError(f"the file is a web page or XML, which is not read; {KNOWN}", code="UNSUPPORTED_FORMAT")
    return "json" if JSON.match(head) else "text"


def looks_like_json(path: Path) -> bool:
    """Return whether a UTF-8 text begins as a list or a record does."""
    with path.open("rb") as raw:
        return bool(JSON.match(raw.read(4096).lstrip()))


def _inner(path: Path) -> str:
    if path.stat().st_size == 0:
        raise InputError("the compressed file holds nothing", code="DATASET_EMPTY")
    kind = sniff(path)
    if kind in ("gzip", "zip"):
        raise InputError("the file is compressed twice; compress it once", code="ARCHIVE_UNSUPPORTED")
    return kind


def _gunzip(path: Path, target: Path, limits: Limits) -> Path:
    unpacker = zlib.decompressobj(wbits=31)
    with path.open("rb") as raw, target.open("wb") as out:
        read = written = 0
        try:
            while not unpacker.eof and (block := raw.read(64 * 1024)):
                read += len(block)
                while block:
                    data = unpacker.decompress(block, MIB)
                    written += len(data)
                    _check_growth(read, written, limits)
                    out.write(data)
                    block = unpacker.unconsumed_tail
        except zlib.error as exc:
            raise InputError("the gzip data are damaged", code="UNREADABLE") from exc
        if not unpacker.eof:
            raise InputError("the gzip data end too early; the file is not complete", code="UNREADABLE")
        if unpacker.unused_data or raw.read(1):
            raise InputError("there is something behind the end of the gzip data", code="UNREADABLE")
    return target


def _check_growth(read: int, written: int, limits: Limits) -> None:
    if written > limits.decoded_bytes or (written > limits.ratio_floor and written > limits.ratio * read):
        raise InputError(
            f"{read} compressed bytes grew to more than {written}; at most {limits.ratio} times as many and "
            f"{limits.decoded_bytes} in all are read",
            code="DECOMPRESSION_LIMIT",
        )


def _unzip(path: Path, folder: Path, limits: Limits) -> Opened:
    _check_directory(path)
    try:
        with zipfile.ZipFile(path) as archive:
            members = [info for info in archive.infolist() if not info.is_dir()]
            if any(info.filename == "[Content_Types].xml" for info in members[:100]):
                return _workbook(path, members, limits)
            if len(members) != 1:
                raise InputError(
                    f"the archive holds {len(members)} files; pack exactly one", code="ARCHIVE_UNSUPPORTED"
                )
            if members[0].flag_bits & 1:
                raise InputError("the archive is encrypted; pack it without a password", code="ARCHIVE_UNSUPPORTED")
            target = folder / "unpacked"
            with archive.open(members[0]) as raw, target.open("wb") as out:
                _copy(raw, out, members[0].compress_size, limits)  # type: ignore[arg-type]
            return Opened(target, _inner(target), "zip")
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, LookupError, ValueError, OSError) as exc:
        raise InputError("the archive is damaged or packed in a way that is not read", code="UNREADABLE") from exc


def _check_directory(path: Path) -> None:
    """Refuse an archive whose directory alone is long: listing a million members costs gigabytes."""
    with path.open("rb") as raw:
        raw.seek(max(0, path.stat().st_size - 65_557))  # the end record and the longest comment
        tail = raw.read()
    end = tail.rfind(b"PK\x05\x06")
    if end < 0 or len(tail) < end + 22:
        raise InputError("the archive is damaged: it has no directory", code="UNREADABLE")
    if int.from_bytes(tail[end + 12 : end + 16], "little") > MIB:
        raise InputError("the archive holds thousands of files; pack exactly one", code="ARCHIVE_UNSUPPORTED")


def _copy(raw: BinaryIO, out: BinaryIO, packed: int, limits: Limits) -> None:
    written = 0
    while data := raw.read(MIB):
        written += len(data)
        _check_growth(max(packed, 1), written, limits)
        out.write(data)


def _workbook(path: Path, members: list[zipfile.ZipInfo], limits: Limits) -> Opened:
    _check_growth(path.stat().st_size, sum(info.file_size for info in members), limits)
    if not any(info.filename.startswith("xl/") for info in members):
        raise InputError(f"the file is an Office document, no workbook; {KNOWN}", code="UNSUPPORTED_FORMAT")
    return Opened(path, "xlsx")

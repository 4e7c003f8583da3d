"""The encoding of a text: certain where the bytes prove it, otherwise guessed and said so."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from causal_orchestrator.datasets.limits import MIB, Limits
from causal_orchestrator.errors import InputError
from causal_orchestrator.results import Note

FOREIGN = re.compile("[^\x00-\x7f]+")
KANA = re.compile("[\u3000-\u30ff\uff01-\uff5e]")
HALF_WIDTH = re.compile("[\uff61-\uff9f]{2,}")
KANJI = re.compile("[\u4e00-\u9fff]")
WESTERN_MARKS = frozenset("€£°ºª§«»–—‘’“”…·•©®±µ²³½¼¡¿\xa0")
ENOUGH = 100_000  # foreign characters to judge by
MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))


@dataclass(frozen=True)
class Text:
    """A text as UTF-8 without byte order mark, whether quotes occur in it, and what it was before."""

    path: Path
    encoding: str
    quoted: bool
    note: Note | None = None


def to_utf8(path: Path, folder: Path, limits: Limits) -> Text:
    """Find the encoding of a text and bring it to UTF-8.

    Bytes that are valid UTF-8 are UTF-8. A byte order mark settles UTF-16. Otherwise Shift-JIS (CP932) and Latin-1
    (Windows-1252) compete: each must decode every byte, and the one whose foreign characters make more sense wins.

    Parameters
    ----------
    path : Path
        The text as it came.
    folder : Path
        Where the UTF-8 copy may be put, if one is needed.
    limits : Limits
        `decoded_bytes` bounds the copy.

    Raises
    ------
    InputError
        ``DATASET_EMPTY``, ``NUL_BYTE``, ``ENCODING`` (with the offset of the first byte that fits nowhere) or
        ``DECODED_TOO_LARGE``.
    """
    with path.open("rb") as raw:
        start = raw.read(4)
    mark, name = next(((mark, name) for mark, name in MARKS if start.startswith(mark)), (b"", "utf-8"))
    offset = _first_undecodable(path, name)
    if offset is None and name == "utf-8" and not mark:
        return Text(path, "utf-8", _inspect(path))
    note = None
    if offset is not None:
        if mark:
            raise _undecodable(name, offset)
        name, note = _guess(path, offset)
    copy = folder / "text.utf8"
    _transcode(path, copy, name, limits)
    return Text(copy, name, _inspect(copy), note)


def _blocks(raw: BinaryIO) -> Iterator[bytes]:
    while block := raw.read(MIB):
        yield block


def _first_undecodable(path: Path, name: str) -> int | None:
    decoder = codecs.getincrementaldecoder(name)("strict")
    position = 0
    with path.open("rb") as raw:
        try:
            for block in _blocks(raw):
                pending = len(decoder.getstate()[0])
                decoder.decode(block)
                position += len(block)
            pending = len(decoder.getstate()[0])
            decoder.decode(b"", final=True)
        except UnicodeDecodeError as exc:
            return position - pending + exc.start
    return None


def _inspect(path: Path) -> bool:
    """Return whether quotes occur; refuse NUL bytes and emptiness."""
    position, quoted, empty = 0, False, True
    with path.open("rb") as raw:
        for block in _blocks(raw):
            nul = block.find(b"\0")
            if nul >= 0:
                raise InputError(
                    f"there is a NUL byte at offset {position + nul}; the file is not plain text or is damaged",
                    code="NUL_BYTE",
                    details={"offset": position + nul},
                )
            quoted = quoted or b'"' in block
            empty = empty and not block.strip()
            position += len(block)
    if empty:
        raise InputError("the file holds no text", code="DATASET_EMPTY")
    return quoted


def _transcode(path: Path, copy: Path, name: str, limits: Limits) -> None:
    decoder = codecs.getincrementaldecoder(name)("strict")
    written, begun = 0, False
    with path.open("rb") as raw, copy.open("wb") as out:
        for block in _blocks(raw):
            text = decoder.decode(block)
            if not begun:
                text = text.lstrip("\ufeff")
                begun = bool(text)
            data = text.encode("utf-8")
            written += len(data)
            if written > limits.decoded_bytes:
                raise InputError(
                    f"the text takes more than {limits.decoded_bytes} bytes once decoded", code="DECODED_TOO_LARGE"
                )
            out.write(data)


def _guess(path: Path, offset: int) -> tuple[str, Note]:
    failures = {name: _first_undecodable(path, name) for name in ("cp1252", "cp932")}  # the first wins a tie
    sense = {name: _sense(path, name) for name, failure in failures.items() if failure is None}
    name = max(sense, key=lambda key: sense[key], default=None)
    # Below one half the foreign characters are mostly oddities: the guess would be a coin toss.
    if name is None or sense[name] < 0.5:
        raise _undecodable("utf-8", max([offset, *(f for f in failures.values() if f is not None)]))
    note = Note(
        code="ENCODING_GUESSED",
        message=f"the text is not UTF-8; it was read as {name} (confidence {sense[name]:.2f}); check names and labels",
    )
    return name, note


def _sense(path: Path, name: str) -> float:
    """Return the share of non-ASCII characters that are common in texts of the encoding."""
    decoder = codecs.getincrementaldecoder(name)("strict")
    usual = _usual_japanese if name == "cp932" else _usual_western
    common = foreign = 0
    with path.open("rb") as raw:
        for block in _blocks(raw):
            for run in FOREIGN.findall(decoder.decode(block)):
                foreign += len(run)
                common += usual(run)
            if foreign > ENOUGH:
                break
    return common / foreign if foreign else 0.0


def _usual_japanese(run: str) -> int:
    """Count kana, full-width forms, half-width kana beside one another and the kanji of daily use."""
    # A single half-width kana is more likely a capital letter with an accent.
    halves = sum(len(part) for part in HALF_WIDTH.findall(run))
    # The first level of JIS X 0208 (lead bytes 88 to 97) holds the kanji of daily use.
    pairs = [char.encode("cp932", errors="ignore") for char in KANJI.findall(run)]
    daily = sum(1 for raw in pairs if len(raw) == 2 and 0x88 <= raw[0] <= 0x97)
    return halves + daily + len(KANA.findall(run))


def _usual_western(run: str) -> int:
    return sum((char.isalpha() and char <= "\u0178") or char in WESTERN_MARKS for char in run)


def _undecodable(name: str, offset: int) -> InputError:
    return InputError(
        f"the byte at offset {offset} fits no encoding that is read (first tried: {name}); save the file as UTF-8",
        code="ENCODING",
        details={"offset": offset},
    )

"""JSON and JSON lines: a list of flat records, one record a line, or one list a column."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from causal_orchestrator.datasets.delimited import check_size
from causal_orchestrator.datasets.limits import Limits
from causal_orchestrator.errors import InputError
from causal_orchestrator.question import shown


def read(path: Path, limits: Limits) -> tuple[str, dict[str, list[Any]]]:
    """Read records from a UTF-8 text.

    Returns
    -------
    tuple of str ("json" or "jsonl") and dict of column name to values (None where a record lacks the key)

    Raises
    ------
    InputError
        ``MALFORMED_JSON``, ``JSON_SHAPE``, ``DUPLICATE_COLUMN``, ``RAGGED_ROWS``, ``TOO_MANY_COLUMNS``,
        ``TOO_MANY_ROWS`` or ``DATASET_TOO_LARGE``.
    """
    size = path.stat().st_size
    if size > limits.json_bytes:
        raise InputError(
            f"the JSON text has {size} bytes, at most {limits.json_bytes} are read; Parquet or CSV may be larger",
            code="DATASET_TOO_LARGE",
        )
    with path.open(encoding="utf-8") as lines:
        first = next((line for line in lines if line.strip()), "")
        second = next((line for line in lines if line.strip()), "")
    if first.lstrip().startswith("{") and _is_complete(first) and (second or not _is_columns(_parse(first, 1))):
        with path.open(encoding="utf-8") as lines:
            return "jsonl", _gather(_by_line(lines), limits)
    document = _parse(path.read_text(encoding="utf-8"), 1)
    if _is_columns(document):
        return "json", _columns(document)
    if not isinstance(document, list):
        raise _shape()
    return "json", _gather(document, limits)


def _by_line(lines: Iterable[str]) -> Iterator[Any]:
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield _parse(line, number)


def _is_complete(line: str) -> bool:
    try:
        _parse(line, 1)
    except InputError as exc:
        return exc.code != "MALFORMED_JSON"
    return True


def _parse(source: str, line: int) -> Any:
    try:
        return json.loads(source, object_pairs_hook=_record, parse_int=_integer)
    except json.JSONDecodeError as exc:
        where = line + exc.lineno - 1
        raise InputError(
            f"the JSON text is not valid in line {where}", code="MALFORMED_JSON", details={"line": where}
        ) from exc
    except RecursionError as exc:
        raise InputError("the JSON text is nested too deeply; give a list of flat records", code="NESTED_TYPE") from exc


def _record(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise InputError(f"a record names {shown(twice)!r} twice", code="DUPLICATE_COLUMN")
    return record


def _integer(digits: str) -> int | str:
    # Longer ones are identifiers; Python itself refuses to parse thousands of digits.
    return int(digits) if len(digits) <= 18 else digits


def _is_columns(document: Any) -> bool:
    return isinstance(document, dict) and bool(document) and all(isinstance(v, list) for v in document.values())


def _columns(document: dict[str, list[Any]]) -> dict[str, list[Any]]:
    if len({len(values) for values in document.values()}) > 1:
        raise InputError("the lists of the JSON text have different lengths", code="RAGGED_ROWS")
    return document


def _gather(records: Iterable[Any], limits: Limits) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = {}
    for count, record in enumerate(records):
        if not isinstance(record, dict):
            raise _shape()
        for key, value in record.items():
            columns.setdefault(key, [None] * count).append(value)
        if len(columns) > limits.columns:
            raise InputError(f"the records have more than {limits.columns} different keys", code="TOO_MANY_COLUMNS")
        if len(record) < len(columns):
            for values in columns.values():
                if len(values) <= count:
                    values.append(None)
        check_size(count + 1, 0, limits)
    return columns


def _shape() -> InputError:
    return InputError(
        "the JSON text is no table; give a list of flat records, one record a line, or one list a column",
        code="JSON_SHAPE",
    )

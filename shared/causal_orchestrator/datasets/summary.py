"""Marginal facts about each column of a typed table."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from causal_orchestrator.datasets import text
from causal_orchestrator.datasets.remarks import Remarks
from causal_orchestrator.results import ColumnSummary, Kind, finite

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
DTYPES = {"double": "float64", "timestamp[us]": "datetime64[us]"}
SMALL_CELL = 10  # counts below it may point at a person
MOST_LEVELS = 50
MOST_CATEGORIES = 1_000
LONG_TEXT = 200  # characters; nothing so long is a category
MASS = 0.05  # share of rows from which a value of a continuous column counts as a mass point
NINES = (99.0, 999.0, 9999.0, 99999.0, 999999.0)
SENTINELS = tuple(-n for n in (9.0, 88.0, 77.0, *NINES)) + NINES
EMAIL = r"[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+\.[A-Za-z]{2,}"
CARD = r"(^|[^0-9])([0-9]{4}[ -]?){3}[0-9]{4}($|[^0-9])"
SOCIAL = r"(^|[^0-9])[0-9]{3}-[0-9]{2}-[0-9]{4}($|[^0-9])"
PHONE = r"(^|[^0-9])\+?[0-9]{0,2}[ (-]*[0-9]{3}[ )-]+[0-9]{3}[ -]?[0-9]{4}($|[^0-9])"
PERSONAL_NAME = re.compile(
    r"(^|[\W_])(e?-?mail|(first|last|full|sur|given|family)[\W_]?name|phone|mobile|ssn|passport|street|address|iban|"
    r"credit[\W_]?card|card[\W_]?(no|number)|birth[\W_]?(date|day)|date[\W_]?of[\W_]?birth|dob)($|[\W_])",
    re.IGNORECASE,
)
DATE_NAME = re.compile(r"(^|[\W_])(date|day|datum|fecha)", re.IGNORECASE)
SERIALS = (20_000, 80_000)  # days since 1900 from 1954 to 2119, as spreadsheets count them
TIME_NAME = re.compile(r"(^|[\W_])(t|time|year|quarter|month|week|day|date|hour|period|wave|round)", re.IGNORECASE)
ID_NAME = re.compile(r"(^|[\W_])(id|uuid|guid|key|code|number|no|nr|index|rownames?)$|^(id|uuid)", re.IGNORECASE)


@dataclass(frozen=True)
class Summary:
    """Every column on its own, and how many rows are exact copies of an earlier one (missing equals missing)."""

    columns: tuple[ColumnSummary, ...]
    n_duplicate_rows: int


LARGEST = 1e150  # beyond it a square overflows, and every method squares


def summarise(table: Any, remarks: Remarks) -> Summary:
    """Describe the columns of a typed table.

    Parameters
    ----------
    table : pyarrow.Table
        Columns of int64, float64, bool, timestamp[us] or string.
    remarks : Remarks
        What reading noticed; takes what is noticed here.

    Returns
    -------
    Summary
        Columns in their order, with the aliases x0, x1, …; levels of fewer than ten rows are only counted.
    """
    drafts = []
    rows = np.zeros(table.num_rows, dtype=np.uint64)
    for position, (name, column, (levels, codes)) in enumerate(
        zip(table.column_names, table.columns, _encoded(table.columns), strict=True)
    ):
        counts = np.bincount(codes, minlength=len(levels) + 1)[: len(levels)]
        drafts.append(_describe(name, levels, counts, column, remarks) | {"alias": f"x{position}"})
        rows = _mix(rows * np.uint64(0x9E3779B97F4A7C15) + codes.astype(np.uint64) + np.uint64(position))
    flags = remarks.flags()
    columns = tuple(ColumnSummary(**draft, flags=flags.get(draft["name"], ())) for draft in drafts)
    rows.sort()
    return Summary(columns, int((rows[1:] == rows[:-1]).sum()))


def _encoded(columns: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
    """Encode each column while the one before it is described; never more than one ahead, for memory's sake."""
    with ThreadPoolExecutor(1) as ahead:
        coming: Future[tuple[Any, Any]] | None = None
        for column in columns:
            coming, ready = ahead.submit(text.encode, column), coming
            if ready is not None:
                yield ready.result()
        if coming is not None:
            yield coming.result()


def _mix(x: Any) -> Any:
    """Scramble 64-bit words (Steele, Lea & Flood 2014, SplitMix64's finaliser): collisions of n rows ≈ n²/2⁶⁵."""
    with np.errstate(over="ignore"):
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))


def _describe(name: str, levels: Any, counts: Any, column: Any, remarks: Remarks) -> dict[str, Any]:
    present = int(counts.sum())
    draft: dict[str, Any] = {
        "name": name, "dtype": DTYPES.get(str(column.type), str(column.type)), "n": len(column), "n_missing": len(column) - present,
        "n_unique": len(levels), "integer": pa.types.is_integer(column.type) or pa.types.is_boolean(column.type),
    }  # fmt: skip
    personal = _personal(name, levels, column.type)
    draft["kind"] = kind = _kind(name, levels, counts, len(column), column.type)
    draft["personal_data"] = personal
    _remark(name, kind, draft, personal, remarks)
    if pa.types.is_integer(column.type) or pa.types.is_floating(column.type) or pa.types.is_boolean(column.type):
        draft |= _moments(name, levels, counts, remarks)
    if not personal and kind not in ("text", "identifier", "empty"):
        draft |= _levels(levels, counts)
    return draft


def _kind(name: str, levels: Any, counts: Any, n: int, dtype: Any) -> Kind:
    unique, present = len(levels), int(counts.sum())
    if unique == 0:
        return "empty"
    if unique == 1:
        return "constant"
    if unique == 2:
        return "binary"
    if pa.types.is_timestamp(dtype):
        return "datetime"
    distinct = present >= 20 and unique == present
    if pa.types.is_integer(dtype):
        return "identifier" if distinct and _is_key(name, levels) else "numeric"
    if pa.types.is_floating(dtype):
        return "numeric"
    longest = pc.max(pc.utf8_length(levels)).as_py()
    blanks = pc.mean(pc.count_substring(levels, " ")).as_py()
    if present >= 20 and unique >= 0.95 * present and longest <= 64 and blanks <= 1:
        return "identifier"
    if longest > LONG_TEXT or unique > MOST_CATEGORIES or (unique > 20 and unique > 0.5 * present):
        return "identifier" if longest <= 64 and blanks <= 1 and present >= 20 else "text"
    return "categorical"


def _is_key(name: str, levels: Any) -> bool:
    """Return whether unique integers are a key: called one, or counting the rows without being called a time."""
    bounds = pc.min_max(levels).as_py()
    counting = bounds["min"] in (0, 1) and bounds["max"] - bounds["min"] + 1 == len(levels)
    return bool(ID_NAME.search(name) or (counting and not TIME_NAME.search(name)))


def _personal(name: str, levels: Any, dtype: Any) -> bool:
    if pa.types.is_string(dtype) and len(levels):
        sample = levels[:100_000]
        hits = sum(
            int(pc.sum(pc.match_substring_regex(sample, pattern=pattern)).as_py() or 0)
            for pattern in (EMAIL, SOCIAL, PHONE)
        )
        hits += _cards(sample.filter(pc.match_substring_regex(sample, pattern=CARD)).to_pylist())
        # One hit in a hundred: free text with a few addresses counts, a lone coincidence in thousands does not.
        if hits >= max(1, 0.01 * len(sample)):
            return True
        return bool(PERSONAL_NAME.search(name)) and len(levels) > 10
    if pa.types.is_integer(dtype) and len(levels):
        long = levels.filter(pc.and_(pc.greater_equal(levels, 10**15), pc.less(levels, 10**16)))
        return _cards([str(v) for v in long[:1000].to_pylist()]) >= max(1, 0.5 * min(len(levels), 1000))
    return bool(PERSONAL_NAME.search(name)) and len(levels) > 100 and pa.types.is_timestamp(dtype)


def _cards(texts: Sequence[str]) -> int:
    """Return how many texts hold sixteen digits that pass Luhn's check."""
    count = 0
    for cell in texts:
        digits = [int(d) for d in re.sub(r"[^0-9]", "", cell)[:16]]
        doubled = [d * 2 - 9 * (d > 4) for d in digits[::2]]
        count += len(digits) == 16 and (sum(doubled) + sum(digits[1::2])) % 10 == 0
    return count


def _remark(name: str, kind: Kind, draft: Mapping[str, Any], personal: bool, remarks: Remarks) -> None:
    told = remarks.flags().get(name, ())
    if personal:
        remarks.add("PII_SUSPECT", name)
    if kind == "identifier" and "ID_LIKE" not in told:
        remarks.add("ID_LIKE", name)
    if kind == "empty":
        remarks.add("EMPTY_COLUMN", name)
    elif draft["n_missing"] >= 0.5 * draft["n"]:
        remarks.add("MOSTLY_MISSING", name, draft["n_missing"])


def _moments(name: str, levels: Any, counts: Any, remarks: Remarks) -> dict[str, Any]:
    values = levels.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    if not values.size:
        return {}
    order = np.argsort(values)  # they are distinct
    values, counts = values[order], counts[order]
    n = int(counts.sum())
    with np.errstate(over="ignore", invalid="ignore"):
        mean = float(np.average(values, weights=counts))
        centred = values - mean
        std = float(np.sqrt(np.average(centred**2, weights=counts) * n / (n - 1))) if n > 1 else None
        spread = std if std and np.isfinite(std) else None
        scaled = centred / spread if spread else None  # a power of three is far slower than two products
        skewness = float(np.average(scaled * scaled * scaled, weights=counts)) if scaled is not None else None
    if np.abs(values).max() > LARGEST or not np.isfinite(mean) or (std is not None and not np.isfinite(std)):
        remarks.add("NUMERIC_OVERFLOW", name)
    whole = bool((values == np.floor(values)).all())
    if whole and DATE_NAME.search(name) and SERIALS[0] <= values[0] and values[-1] <= SERIALS[1]:
        remarks.add("DATE_SERIAL_SUSPECT", name)
    if suspects := _sentinels(values, counts):
        remarks.add("SENTINEL_SUSPECT", name, suspects)
    return {
        "integer": whole,
        "mean": finite(mean), "std": finite(std), "minimum": float(values[0]), "maximum": float(values[-1]),
        "quantiles": _quantiles(values, counts), "skewness": finite(skewness),
        "share_zero": float(counts[values == 0].sum() / n), "mass_points": _mass_points(values, counts),
    }  # fmt: skip


def _quantiles(values: Any, counts: Any) -> dict[str, float]:
    """Return quantiles by linear interpolation between order statistics, from distinct values and their counts."""
    ends = np.cumsum(counts)
    positions = np.array(QUANTILES) * (ends[-1] - 1)
    low = values[np.searchsorted(ends, np.floor(positions), side="right")]
    high = values[np.searchsorted(ends, np.ceil(positions), side="right")]
    share = positions - np.floor(positions)
    return {str(q): float(v) for q, v in zip(QUANTILES, low * (1 - share) + high * share, strict=True)}


def _mass_points(values: Any, counts: Any) -> dict[str, int]:
    if values.size <= 20:
        return {}
    heavy = sorted(np.flatnonzero(counts >= max(SMALL_CELL, MASS * counts.sum())), key=lambda i: -counts[i])[:10]
    return {_number(values[i]): int(counts[i]) for i in heavy}


def _sentinels(values: Any, counts: Any) -> int:
    """Return how many cells hold a usual code for a missing value that stands apart from all other values."""
    found = 0
    if values.size < 3:
        return 0
    if values[0] in SENTINELS and values[1] >= 0:
        found += int(counts[0])
    if values[-1] in SENTINELS and values[-1] > 0 and values[-1] - values[-2] > max(values[-2] - values[1], 1):
        found += int(counts[-1])
    return found


def _levels(levels: Any, counts: Any) -> dict[str, Any]:
    if pa.types.is_timestamp(levels.type) or (not pa.types.is_string(levels.type) and len(levels) > MOST_LEVELS):
        return {}
    shown = [i for i in np.argsort(-counts, kind="stable")[:MOST_LEVELS] if counts[i] >= SMALL_CELL]
    keys = levels.take(pa.array(shown, pa.int64())).to_pylist()
    named = {key if isinstance(key, str) else _number(key): int(counts[i]) for key, i in zip(keys, shown, strict=True)}
    return {"levels": named, "n_rare": int(counts.sum() - sum(named.values()))}


def _number(value: Any) -> str:
    number = float(value)
    return str(int(number)) if number.is_integer() and abs(number) < 1e15 else repr(number)

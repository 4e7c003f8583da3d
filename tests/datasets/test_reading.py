"""Reading: the same table is the same whatever file it comes in, and nothing is lost or guessed on the way."""

from __future__ import annotations

import contextlib
import csv
import functools
import gzip
import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from causal_orchestrator.datasets import delimited, encodings, fingerprint, read, writing
from causal_orchestrator.datasets.limits import Limits
from causal_orchestrator.datasets.remarks import Remarks
from causal_orchestrator.datasets.snapshot import snapshot, snapshot_frame
from causal_orchestrator.errors import InputError

SHARED = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
# Whatever can stand in a UTF-8 text, but for NUL.
TEXT = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=12)


def table_of(data: bytes, folder: Path) -> Any:
    path = folder / "table.csv"
    path.write_bytes(data)
    return read.read(path, folder, Limits()).table


def as_csv(rows: list[list[str]], **options: Any) -> bytes:
    out = io.StringIO(newline="")
    csv.writer(out, **options).writerows(rows)
    return out.getvalue().encode()


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    rng = np.random.default_rng(5)
    n = 120
    made = pd.DataFrame(
        {
            "t": rng.integers(0, 2, n),
            "y": rng.normal(size=n),
            "label": rng.choice(["a", "b;c", "é", 'q"uote', "two\nlines"], n),
            "when": pd.Timestamp("2024-01-31") + pd.to_timedelta(rng.integers(0, 99, n), unit="D"),
            "flag": rng.integers(0, 2, n).astype(bool),
        }
    )
    made.loc[7, "y"] = np.nan
    made.loc[9, "label"] = None
    return made


def test_the_same_table_has_one_fingerprint_in_every_format(frame: pd.DataFrame, tmp_path: Path) -> None:
    text = frame.to_csv(index=False).encode()
    out: dict[str, bytes] = {
        "a.csv": text,
        "b.csv": text.replace(b"\r\n", b"\n"),
        "c.csv": b"\xef\xbb\xbf" + text,
        "d.tsv": frame.to_csv(index=False, sep="\t").encode(),
        "e.csv": frame.to_csv(index=False).encode("utf-16"),
        "f.csv.gz": gzip.compress(text),
        "g.csv": frame.to_csv(index=True).encode(),
        "h.csv": frame.to_csv(index=False, quoting=csv.QUOTE_ALL).encode(),
        "i.jsonl": frame.to_json(orient="records", lines=True, date_format="iso", double_precision=15).encode(),
    }
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("inner.csv", text)
    out["j.zip"] = packed.getvalue()
    for name, write in (("k.parquet", frame.to_parquet), ("l.feather", frame.to_feather)):
        buffer = io.BytesIO()
        write(buffer)
        out[name] = buffer.getvalue()
    found = {}
    for name, data in out.items():
        folder = tmp_path / name
        folder.mkdir()
        (folder / name).write_bytes(data)
        found[name] = fingerprint.fingerprint(read.read(folder / name, folder, Limits()).table)
    found["frame"] = snapshot_frame(frame)[0].sha256
    found.pop("i.jsonl")  # JSON keeps 15 digits of a number
    assert len(set(found.values())) == 1, found


def test_the_fingerprint_sees_every_part_of_a_table() -> None:
    base = pa.table({"a": [1, 2, None], "b": ["x", None, "yz"]})
    others = [
        base.rename_columns(["a", "c"]),
        base.select(["b", "a"]),
        base.take([1, 0, 2]),
        base.slice(0, 2),
        base.set_column(0, "a", base["a"].cast(pa.float64())),
        pa.table({"a": [1, 2, 0], "b": ["x", None, "yz"]}),
        pa.table({"a": [1, 2, None], "b": ["x", "", "yz"]}),
        pa.table({"a": [1, 2, None], "b": ["xy", None, "z"]}),
    ]
    assert len({fingerprint.fingerprint(t) for t in (base, *others)}) == len(others) + 1


def test_the_fingerprint_sees_no_encoding() -> None:
    base = pa.table({"a": [1.0, 0.0, None], "b": ["x", None, "yz"]})
    chunked = pa.concat_tables([base.slice(0, 1), base.slice(1)])
    hidden = pa.Array.from_buffers(pa.float64(), 3, [pa.py_buffer(b"\x03"), pa.array([1.0, -0.0, 9.0]).buffers()[1]])
    same = pa.table({"a": hidden, "b": base["b"]})
    assert fingerprint.fingerprint(base) == fingerprint.fingerprint(chunked) == fingerprint.fingerprint(same)


@SHARED
@given(names=st.lists(TEXT.filter(lambda s: s.strip()), min_size=2, max_size=6, unique=True))
def test_any_name_is_kept_exactly(names: list[str], tmp_path: Path) -> None:
    assume(not all(part.replace(".", "").isnumeric() for part in names))
    assume(not names[0].startswith(("\ufeff", "<", "{", "[")))
    data = as_csv([names, *[[str(i)] * len(names) for i in range(3)]], quoting=csv.QUOTE_ALL)
    assert table_of(data, tmp_path).column_names == names


@SHARED
@given(cells=st.lists(TEXT, min_size=3, max_size=12))
def test_any_text_is_kept_exactly(cells: list[str], tmp_path: Path) -> None:
    rows = [["t", "text"], *[[str(i), cell] for i, cell in enumerate([*cells, "a word, and more"])]]
    kept = table_of(as_csv(rows), tmp_path)["text"].to_pylist()
    assert kept == [cell or None for cell in [*cells, "a word, and more"]]


@SHARED
@given(values=st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=3, max_size=30))
def test_any_number_is_kept_to_the_last_bit(values: list[float], tmp_path: Path) -> None:
    rows = [["t", "x"], *[[str(i), repr(v)] for i, v in enumerate([*values, 0.5])]]
    kept = table_of(as_csv(rows), tmp_path)["x"].to_pylist()
    assert kept == [*values, 0.5]


@SHARED
@given(
    rows=st.lists(
        st.lists(st.sampled_from(["", "a", 'b"', "c,d", "e\n", '"', "1", '","', "\r"]), min_size=3, max_size=3),
        min_size=2,
        max_size=20,
    )
)
def test_the_quick_splitter_agrees_with_the_strict_one(rows: list[list[str]], tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(as_csv([["a", "b", "c"], *rows], quoting=csv.QUOTE_ALL))
    offset = path.read_bytes().index(b"\n") + 1
    if not delimited._plain_quotes(path, offset, ","):
        return
    quick = delimited._fast(path, ["a", "b", "c"], offset, ",", Limits(), quoted=True)
    if quick is not None:
        strict = delimited._careful(path, 3, ",", Limits(), Remarks())
        assert [c.to_pylist() for c in quick] == [c.to_pylist() for c in strict]


@example(data=b'a,b\n"1,"2,3\n')
@example(data=b'a,b\n1,"2\n3,4\n')
@SHARED
@given(
    data=st.binary(max_size=60).map(lambda b: b"a,b\n" + b.translate(bytes(b'",\n\rab12'[i % 8] for i in range(256))))
)
def test_malformed_quotes_never_pass_the_quick_splitter(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(data)
    try:
        strict: Any = delimited._careful(path, 2, ",", Limits(short_rows=1.0), Remarks())
    except InputError:
        strict = None
    if not delimited._plain_quotes(path, 4, ","):
        return
    quick = delimited._fast(path, ["a", "b"], 4, ",", Limits(), quoted=True)
    if quick is not None:
        assert strict is not None
        assert [c.to_pylist() for c in quick] == [c.to_pylist() for c in strict]


@SHARED
@given(data=st.binary(max_size=300))
def test_any_bytes_end_in_a_table_or_a_typed_error(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.bin"
    path.write_bytes(data)
    with contextlib.suppress(InputError):  # anything else fails the test
        writing.describe(read.read(path, tmp_path, Limits()), source_sha256="", name="x")


@pytest.mark.parametrize(
    ("text", "encoding", "guessed"),
    [
        ("größer, naïve, «déjà vu», señor", "latin-1", "cp1252"),
        ("“quoted” – it’s 5 € … naïve", "cp1252", "cp1252"),
        ("売上高と従業員数、カテゴリー", "shift-jis", "cp932"),
        ("éa" * 30, "latin-1", "cp1252"),
        ("ｶﾀｶﾅ半角 漢字", "cp932", "cp932"),
    ],
)
def test_a_legacy_encoding_is_guessed_and_named(text: str, encoding: str, guessed: str, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(text.encode(encoding))
    found = encodings.to_utf8(path, tmp_path, Limits())
    assert found.encoding == guessed
    assert found.note is not None
    assert guessed in found.note.message
    assert found.path.read_text(encoding="utf-8") == text


def test_undecodable_bytes_are_refused_at_their_offset_across_blocks(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    start = b"a,b\n" + b"1,2\n" * 300_000
    path.write_bytes(start + b"\x81\xff\x8d\xff\n")
    with pytest.raises(InputError) as caught:
        encodings.to_utf8(path, tmp_path, Limits())
    assert caught.value.code == "ENCODING"
    assert len(start) <= caught.value.details["offset"] <= len(start) + 4  # type: ignore[operator]


def test_a_parquet_text_is_not_parsed(tmp_path: Path) -> None:
    pd.DataFrame({"t": [0, 1], "code": ["1", "2"]}).to_parquet(tmp_path / "t.parquet")
    found = read.read(tmp_path / "t.parquet", tmp_path, Limits())
    assert found.table.schema.field("code").type == pa.string()
    assert "NUMERIC_AS_TEXT" in {note.code for note in found.remarks.tell()}


def test_a_stata_label_replaces_its_code_unless_that_is_an_indicator(tmp_path: Path) -> None:
    made = pd.DataFrame({"region": [1, 2, 3, 1], "treated": [0, 1, 0, 1]})
    labels = {"region": {1: "north", 2: "south", 3: "east"}, "treated": {0: "no", 1: "yes"}}
    made.to_stata(tmp_path / "t.dta", write_index=False, value_labels=labels)
    found = snapshot(tmp_path / "t.dta", tmp_path)
    kinds = {column.name: column.dtype for column in found.columns}
    assert kinds == {"region": "string", "treated": "int64"}
    assert "VALUE_LABELS" in {note.code for note in found.warnings}


def test_a_child_that_takes_too_long_is_stopped(tmp_path: Path) -> None:
    (tmp_path / "t.json").write_bytes(b"[" + b'{"t": 1, "y": 2},' * 400_000 + b'{"t": 0, "y": 1}]')
    with pytest.raises(InputError) as caught:
        snapshot(tmp_path / "t.json", tmp_path, Limits(seconds=1))
    assert caught.value.code == "DECODER_TIMEOUT"
    assert [path.name for path in tmp_path.iterdir()] == ["t.json"]


def test_the_child_sees_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import subprocess

    seen: dict[str, str] = {}

    def spy(*args: Any, **options: Any) -> subprocess.CompletedProcess[bytes]:
        seen.update(options["env"])
        return subprocess.CompletedProcess(args, 1, stdout=b"")

    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "secret")
    monkeypatch.setattr(subprocess, "run", spy)
    (tmp_path / "t.csv").write_bytes(b"t,y\n0,1\n1,2\n")
    with pytest.raises(InputError, match="died"):
        snapshot(tmp_path / "t.csv", tmp_path)
    assert seen
    assert "secret" not in seen.values()


def test_damaged_files_of_every_format_end_in_a_table_or_a_typed_error(tmp_path: Path) -> None:
    """Four hundred mutations from one seed; a crash of a decoder would end the whole run."""
    frame = pd.DataFrame({"t": [0, 1] * 20, "y": np.arange(40) / 3, "g": ["a", "bb", None, "dd"] * 10})
    whole = [gzip.compress(frame.to_csv(index=False).encode()), frame.to_json(orient="records").encode()]
    for write in (frame.to_parquet, frame.to_feather, functools.partial(frame.to_excel, index=False)):
        buffer = io.BytesIO()
        write(buffer)
        whole.append(buffer.getvalue())
    rng = np.random.default_rng(8)
    path = tmp_path / "x.bin"
    for i in range(400):
        data = bytearray(whole[i % len(whole)])
        for place in rng.integers(0, len(data), rng.integers(1, 6)):
            data[place] = rng.integers(0, 256)
        path.write_bytes(data[: rng.integers(1, len(data))] if i % 7 == 0 else data)
        with contextlib.suppress(InputError):
            writing.describe(read.read(path, tmp_path, Limits(decoded_bytes=1 << 24)), source_sha256="", name="x")


@pytest.mark.parametrize(
    ("cells", "kind", "codes"),
    [
        (["yes", "Yes", "YES"], pa.string(), set()),
        (["TRUE", "false", "NA"], pa.bool_(), {"BOOLEAN_READ", "MISSING_TOKENS"}),
        (["1", "0", "yes"], pa.string(), {"BINARY_AMBIGUOUS"}),
        (["-9223372036854775808", "5", "6"], pa.int64(), {"PRECISION"}),
        (["007", "008", "NA"], pa.string(), {"ID_LIKE", "LEVEL_LOOKS_MISSING"}),
        (["0.5", "00.5", ".5"], pa.float64(), set()),
        (["2024/1/5", "2024/12/31", ""], pa.timestamp("us"), {"DATE_READ"}),
        (["31/12/2023", "1/2/2024", ""], pa.timestamp("us"), {"DATE_READ"}),
        (["2024-01-01T00:00:00Z", "2024-01-01T00:00:00+09:00", ""], pa.timestamp("us"), {"DATE_READ", "TIMEZONE"}),
        (["  ", "1.5", "2.5"], pa.float64(), {"SENTINEL_SUSPECT"}),
    ],
)
def test_each_rule_of_the_text_policy(cells: list[str], kind: object, codes: set[str], tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(as_csv([["t", "x"], *[[str(i), cell] for i, cell in enumerate(cells)]]))
    found = read.read(path, tmp_path, Limits())
    assert found.table.schema.field("x").type == kind
    assert {note.code for note in found.remarks.tell()} == codes

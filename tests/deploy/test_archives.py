"""An archive's name is its content: what did not change keeps its name and is not deployed again."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path

from deploy.archives import main, pack

STAGED = {"eda/main.py": "one", "eda/package/a.py": "two", "api/main.py": "three", "step_job/main.py": "four"}


def staged(folder: Path, **changes: str) -> Path:
    for name, text in {**STAGED, **changes}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        os.utime(path, (len(str(folder)), len(str(folder))))
    return folder


def sources(folder: Path) -> dict[str, str]:
    main([str(folder), str(folder.with_suffix(".out"))])
    found: dict[str, str] = json.loads((folder.with_suffix(".out") / "sources.tfvars.json").read_text())["sources"]
    return found


def test_only_what_changed_has_another_archive(tmp_path: Path) -> None:
    before, after = sources(staged(tmp_path / "a")), sources(staged(tmp_path / "later", **{"eda/main.py": "changed"}))
    assert set(before) == {"eda", "api"}
    assert before["api"] == after["api"]
    assert before["eda"] != after["eda"]


def test_the_same_files_give_the_same_bytes(tmp_path: Path) -> None:
    one, other = (pack(staged(tmp_path / name) / "eda", tmp_path / f"{name}.out") for name in ("a", "later"))
    assert one.read_bytes() == other.read_bytes()
    entries = zipfile.ZipFile(one).infolist()
    assert [entry.filename for entry in entries] == ["main.py", "package/a.py"]
    assert {(entry.external_attr >> 16, entry.compress_type) for entry in entries} == {(0o644, zipfile.ZIP_DEFLATED)}


def test_a_file_that_moves_is_a_change(tmp_path: Path) -> None:
    one = pack(staged(tmp_path / "a") / "eda", tmp_path / "out")
    (tmp_path / "a" / "eda" / "package" / "a.py").rename(tmp_path / "a" / "eda" / "package" / "b.py")
    assert pack(tmp_path / "a" / "eda", tmp_path / "out") != one

"""Pack staged functions into archives whose names are the hash of what is in them.

``python deploy/archives.py STAGED OUT`` writes ``OUT/<function>/<hash>.zip`` and ``OUT/sources.tfvars.json``, which tells
Terraform the archive of each function. A function whose files did not change keeps its archive's name, so it is neither
uploaded again nor deployed.
"""

from __future__ import annotations

import hashlib
import json
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

READABLE = 0o644  # by whoever builds, too
EPOCH = (1980, 1, 1, 0, 0, 0)  # the oldest date that an archive can hold; a real one would change the hash


def pack(folder: Path, out: Path) -> Path:
    """Write the archive of a function's staged folder and return its path."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    digest = hashlib.sha256()
    for path in files:
        name, data = path.relative_to(folder).as_posix().encode(), path.read_bytes()
        digest.update(b"%d %s %d " % (len(name), name, len(data)) + data)
    target = out / folder.name / f"{digest.hexdigest()[:32]}.zip"
    target.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(target, "w") as archive:
        for path in files:
            entry = zipfile.ZipInfo(path.relative_to(folder).as_posix(), EPOCH)
            entry.external_attr, entry.compress_type = READABLE << 16, zipfile.ZIP_DEFLATED
            archive.writestr(entry, path.read_bytes())
    return target


def main(arguments: Sequence[str]) -> None:
    """Pack every function but the job, which is an image."""
    staged, out = map(Path, arguments)
    folders = sorted(path for path in staged.iterdir() if path.is_dir() and path.name != "step_job")
    sources = {folder.name: pack(folder, out).relative_to(out).as_posix() for folder in folders}
    text = json.dumps({"sources": sources}, indent=2, sort_keys=True)
    (out / "sources.tfvars.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])

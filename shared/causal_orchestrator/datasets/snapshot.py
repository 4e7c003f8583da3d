"""From an untrusted file to a snapshot: in a guarded child process, which may die without harm."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from causal_orchestrator.datasets.limits import MIB, Limits
from causal_orchestrator.errors import InputError
from causal_orchestrator.question import shown
from causal_orchestrator.results import Snapshot

if TYPE_CHECKING:
    import pandas as pd

SNAPSHOT = "snapshot.parquet"
PACKAGE_ROOT = Path(__file__).parents[2]


def snapshot(path: Path, folder: Path, limits: Limits | None = None, *, name: str | None = None) -> Snapshot:
    """Read a dataset in a guarded child process and write ``snapshot.parquet`` into `folder`.

    Parameters
    ----------
    path : Path
        A regular file, in any format that is read; nobody may write to it meanwhile.
    folder : Path
        An existing folder for the result.
    limits : Limits, optional
        What is too much (default: a laptop's).
    name : str, optional
        What the dataset is called (default: the name of the file).

    Raises
    ------
    InputError
        With the code of whatever is wrong with the file; ``DECODER_DIED`` if decoding it kills the child and
        ``DECODER_TIMEOUT`` if it takes too long.
    """
    limits = limits or Limits()
    size = path.stat().st_size
    if size > limits.file_bytes:
        raise InputError(
            f"the file has {size} bytes, at most {limits.file_bytes} are read; select columns or rows first",
            code="DATASET_TOO_LARGE",
        )
    with tempfile.TemporaryDirectory(dir=folder, prefix="child-") as work:
        order = {
            "source": str(path.resolve()),
            "folder": work,
            "name": shown(name or path.name),
            "limits": asdict(limits),
        }
        reply = _converse(json.dumps(order), Path(work), limits)
        if "error" in reply:
            error = reply["error"]
            raise InputError(error["message"], code=error["code"], details=error["details"])
        found = Snapshot.model_validate(reply["snapshot"])
        os.replace(Path(work) / SNAPSHOT, folder / SNAPSHOT)
    return found


def snapshot_frame(
    frame: pd.DataFrame, limits: Limits | None = None, *, name: str = "data frame"
) -> tuple[Snapshot, bytes]:
    """Make a snapshot of a data frame that is in memory already.

    The same policy holds as for files: columns of objects are checked cell by cell, and nothing is parsed in silence.

    Returns
    -------
    tuple of Snapshot and the bytes of ``snapshot.parquet``

    Raises
    ------
    InputError
        With the code of whatever is wrong with the frame.
    """
    from causal_orchestrator.datasets import frames, writing

    return writing.summarised(frames.read(frame, limits or Limits()), source_sha256=None, name=name)


def _converse(order: str, work: Path, limits: Limits) -> dict[str, Any]:
    """Run the child and return its reply; it gets no secrets, no other folder and no more than its limits."""
    environment = {
        "PYTHONPATH": str(PACKAGE_ROOT), "PATH": os.environ.get("PATH", ""), "LANG": "C.UTF-8", "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2", "ARROW_DEFAULT_MEMORY_POOL": "system",
    }  # fmt: skip
    command = [sys.executable, "-P", "-m", "causal_orchestrator.datasets.child"]
    try:
        child = subprocess.run(  # noqa: S603
            command, input=order.encode(), cwd=work, env=environment, timeout=2 * limits.seconds, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
    except subprocess.TimeoutExpired as exc:
        raise _too_slow(limits) from exc
    if child.returncode == -signal.SIGXCPU:
        raise _too_slow(limits)
    if child.returncode != 0 or len(child.stdout) > 64 * MIB:
        raise InputError(
            "the file could not be decoded: the process that tried ran out of memory or died",
            code="DECODER_DIED",
            details={"returncode": child.returncode},
        )
    reply: dict[str, Any] = json.loads(child.stdout)
    return reply


def _too_slow(limits: Limits) -> InputError:
    return InputError(f"the file could not be decoded within {limits.seconds} s", code="DECODER_TIMEOUT")


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes."""
    with path.open("rb") as raw:
        return hashlib.file_digest(raw, "sha256").hexdigest()

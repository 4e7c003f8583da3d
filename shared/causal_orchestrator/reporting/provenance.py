"""What a result was made from, as hashes: code, packages, data, plan, seed and a model's replies (HON-7, OUT-6)."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from causal_orchestrator import results
from causal_orchestrator.agents import JobView
from causal_orchestrator.question import canonical_json

PACKAGE = Path(__file__).resolve().parents[1]

# The distributions whose versions can change a number or a document.
DISTRIBUTIONS = (
    "causal-learn", "ipykernel", "jinja2", "matplotlib", "nbclient", "nbformat", "networkx", "numpy", "pandas",
    "pyarrow", "pydantic", "scikit-learn", "scipy", "statsmodels",
)  # fmt: skip

NO_REPLIES = hashlib.sha256(b"").hexdigest()


@cache
def code_sha256() -> str:
    """Return the hash of the package's own files, by relative path and content."""
    digest = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            digest.update(f"{path.relative_to(PACKAGE).as_posix()}\0".encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


@cache
def packages() -> Mapping[str, str]:
    """Return the installed version of each distribution that can change a result."""
    found = {}
    for name in DISTRIBUTIONS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "absent"
    return found


def lock_sha256() -> str:
    """Return the hash of the versions that ran, which unlike a lock file is known wherever the code runs."""
    return _sha256(dict(packages()))


def run_id(job: JobView, *, replies_sha256: str = NO_REPLIES) -> str:
    """Return the run's content-derived ID: equal for equal data, code, packages, plan, seed and model replies.

    Parameters
    ----------
    job : JobView
        The job; its own ID does not enter.
    replies_sha256 : str
        Hash of the recorded replies of a language model; the default stands for none.
    """
    snapshot = job.get("dataset_fetcher", results.Snapshot)
    plan = job.get("study_design", results.Plan)
    return _sha256(
        {
            "data": snapshot.sha256 if snapshot else None,
            "code": code_sha256(),
            "lock": lock_sha256(),
            "plan": (plan.sha256 if plan else None) or job.plan_sha256,
            "seed": job.seed,
            "replies": replies_sha256,
        }
    )


def manifest(job: JobView, *, files: Mapping[str, bytes], replies_sha256: str = NO_REPLIES) -> dict[str, Any]:
    """Return what is needed to run the job again, and everything that differs between equal runs (OUT-6).

    Parameters
    ----------
    files : Mapping of str to bytes
        The documents by path; their hashes are recorded.
    """
    snapshot = job.get("dataset_fetcher", results.Snapshot)
    plan = job.get("study_design", results.Plan)
    return {
        "schema_version": "1.0",
        "run_id": run_id(job, replies_sha256=replies_sha256),
        "job_id": job.id,
        "request": request(job),
        "tenant": job.tenant,
        "dataset": {
            "requested": job.question.dataset,
            "source": dict(job.source),
            "sha256": snapshot.sha256 if snapshot else None,
            "source_sha256": snapshot.source_sha256 if snapshot else None,
        },
        "plan_sha256": (plan.sha256 if plan else None) or job.plan_sha256,
        "code_sha256": code_sha256(),
        "lock_sha256": lock_sha256(),
        "replies_sha256": replies_sha256,
        "packages": dict(packages()),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "seed": job.seed,
        "iterations": job.iteration,
        "steps": [
            {"agent": agent, "step": step} for agent, step in sorted(job.order.items(), key=lambda item: item[1])
        ],
        "errors": {agent: dict(error) for agent, error in sorted(job.errors.items())},
        "files": {name: hashlib.sha256(content).hexdigest() for name, content in sorted(files.items())},
    }


def request(job: JobView) -> dict[str, Any]:
    """Return the question as it was asked, without the roles that were proposed here: asking it again is the replay."""
    profile = job.get("data_profiler", results.Profile)
    asked = profile.question if profile else job.question
    left_out = {"dataset", "notify_url", *(profile.proposed if profile else ())}
    values: dict[str, Any] = asked.model_dump(mode="json", exclude_defaults=True)
    return {name: value for name, value in values.items() if name not in left_out}


def with_run(manifest_json: bytes, run: Mapping[str, Any]) -> bytes:
    """Return the manifest with the runtime's volatile facts (times, attempts, decisions, costs) under ``run``."""
    return to_json({**json.loads(manifest_json), "run": dict(run)})


def to_json(value: object) -> bytes:
    """Encode `value` for people and hashes alike: sorted keys, two blanks, UTF-8, one newline at the end.

    Raises
    ------
    ValueError
        If a number is not finite.
    """
    text = json.dumps(value, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False)
    return (text + "\n").encode("utf-8")


def _sha256(value: object) -> str:
    return hashlib.sha256(canonical_json(value).encode("utf-8")).hexdigest()

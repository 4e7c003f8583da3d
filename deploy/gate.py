"""Ask a deployment the question that this machine has answered, and refuse it if it answers otherwise or too late.

``python deploy/gate.py --url URL --data FILE --question FILE --expected results.json`` uploads the data, starts the
analysis, waits and compares. The key stands in the variable ``CAUSAL_API_KEY``.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

RTOL = 1e-9  # what the same analysis may differ by from one type of machine to another
COMPARED = ("identification", "treatment_effects", "sensitivity_results", "verdict")
LIMIT_SECONDS = 600.0  # a cold start of every function included
LOOK_SECONDS = 3.0
ENDED = {"COMPLETED", "REJECTED", "FAILED", "CANCELLED"}


def differences(expected: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """Return where two results documents differ by more than the machine, in what a reader would act on."""
    return [line for name in COMPARED for line in _differences(expected.get(name), found.get(name), name)]


def _differences(expected: Any, found: Any, where: str) -> Iterator[str]:
    if isinstance(expected, Mapping) and isinstance(found, Mapping):
        for key in sorted({*expected, *found}):
            yield from _differences(expected.get(key), found.get(key), f"{where}.{key}")
    elif isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        for k, (one, other) in enumerate(zip(expected, found, strict=True)):
            yield from _differences(one, other, f"{where}[{k}]")
    elif isinstance(expected, float) and isinstance(found, float | int) and not isinstance(found, bool):
        if not math.isclose(expected, found, rel_tol=RTOL, abs_tol=RTOL):
            yield f"{where}: {found!r}, not {expected!r}"
    elif expected != found:
        yield f"{where}: {str(found)[:80]!r}, not {str(expected)[:80]!r}"


def ask(url: str, key: str, data: Path, question: Mapping[str, Any]) -> tuple[dict[str, Any], float]:
    """Return the deployment's results and the seconds that they took (raises RuntimeError if the job fails)."""
    boundary = "causal-gate"
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{data.name}"\r\n\r\n'
    body = head.encode() + data.read_bytes() + f"\r\n--{boundary}--\r\n".encode()
    uploaded = _call(url + "/api/v1/uploads", key, body, f"multipart/form-data; boundary={boundary}")
    began = time.monotonic()
    request = json.dumps({**question, "dataset": uploaded["dataset"]}).encode()
    job = _call(url + "/api/v1/jobs", key, request, "application/json")["job_id"]
    while (status := _call(f"{url}/api/v1/jobs/{job}", key)["status"]) not in ENDED:
        if time.monotonic() - began > LIMIT_SECONDS:
            raise RuntimeError(f"the job {job} is still {status} after {LIMIT_SECONDS:.0f} s")
        time.sleep(LOOK_SECONDS)
    if status != "COMPLETED":
        raise RuntimeError(f"the job {job} ended as {status}")
    return _call(f"{url}/api/v1/jobs/{job}/results", key), time.monotonic() - began


def _call(address: str, key: str, body: bytes | None = None, kind: str = "") -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {key}", **({"Content-Type": kind} if kind else {})}
    request = urllib.request.Request(address, data=body, headers=headers)  # noqa: S310  the deployment's own address
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
        found: dict[str, Any] = json.load(answer)
        return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Ask, compare and say what differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--question", type=Path, required=True)
    parser.add_argument("--expected", type=Path, required=True)
    given = parser.parse_args(arguments)
    expected, question = (json.loads(path.read_text(encoding="utf-8")) for path in (given.expected, given.question))
    found, seconds = ask(given.url.rstrip("/"), os.environ["CAUSAL_API_KEY"], given.data, question)
    wrong = differences(expected, found)
    sys.stdout.write("\n".join([*wrong[:20], f"{len(wrong)} differences, {seconds:.0f} s"]) + "\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())

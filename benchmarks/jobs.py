"""Measure the embedded loop with agents that do nothing: jobs per second, overhead per step, start-up.

Usage: ``python benchmarks/jobs.py [--jobs 300] [--singles 20]``; writes ``benchmarks/results/jobs.md``.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Not this folder: a library that imports `coverage` means the one of that name.
sys.path[:] = [str(ROOT), str(ROOT / "shared"), *(p for p in sys.path if Path(p) != Path(__file__).parent)]

from causal_orchestrator import laptop, runtime  # noqa: E402
from causal_orchestrator.backends import Backends, connect  # noqa: E402
from causal_orchestrator.question import Question  # noqa: E402
from causal_orchestrator.settings import Settings  # noqa: E402
from causal_orchestrator.state import Job  # noqa: E402

AGENTS = "tests.toy_agents:AGENTS"
TENANT = "bench"
STEPS = 7
PATIENCE = 300.0
STARTS = {
    "`causal --help`": ["-m", "causal_orchestrator.cli", "--help"],
    "`import causal_orchestrator`": ["-c", "import causal_orchestrator"],
    "`import causal_orchestrator.coordinator`": ["-c", "import causal_orchestrator.coordinator"],
    "`python -c pass`": ["-c", "pass"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=300)
    parser.add_argument("--singles", type=int, default=20)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "jobs.md")
    arguments = parser.parse_args()
    before = os.getloadavg()[0]
    rows = [*single(arguments.singles), throughput(arguments.jobs, workers=1), throughput(arguments.jobs, workers=0)]
    rows += [(f"{name}, best of 7", f"{start_up(command) * 1000:.0f} ms", "") for name, command in STARTS.items()]
    table = "\n".join(f"| {name} | {value} | {goal} |" for name, value, goal in rows)
    load = " and ".join(f"{value:.1f}" for value in (before, os.getloadavg()[0]))
    text = f"{HEAD.format(python=sys.version.split()[0], cores=os.cpu_count(), load=load)}\n{table}\n"
    arguments.out.write_text(text, encoding="utf-8")
    print(text)


HEAD = """# The embedded loop with agents that do nothing

Made by `python benchmarks/jobs.py` (Python {python}, {cores} cores; SQLite in WAL mode, synchronous FULL;
load of the machine before and after: {load}, of which about 2 is the benchmark's own).

| what | measured | goal |
|---|---|---|"""


def single(count: int) -> list[tuple[str, str, str]]:
    """One job at a time on an idle system."""
    with tempfile.TemporaryDirectory() as folder, served(Path(folder), workers=1) as backends:
        jobs = [finished(backends, [submit(backends)])[0] for _ in range(count + 1)][1:]
        steps = [runtime.get_job(backends, job.id, tenant=TENANT)[1] for job in jobs]
    hops = [(b.queued_at - a.queued_at).total_seconds() for chain in steps for a, b in itertools.pairwise(chain)]
    whole = [(job.ended_at - job.created_at).total_seconds() for job in jobs if job.ended_at]
    return [
        (f"one job of {STEPS} steps, idle system, p50", f"{statistics.median(whole) * 1000:.0f} ms", ""),
        (f"one job of {STEPS} steps, idle system, p95", f"{percentile(whole, 95) * 1000:.0f} ms", "at most 1000 ms"),
        ("overhead of a step, idle system, p50", f"{statistics.median(hops) * 1000:.1f} ms", ""),
        ("overhead of a step, idle system, p95", f"{percentile(hops, 95) * 1000:.1f} ms", "at most 50 ms"),
    ]


def throughput(count: int, *, workers: int) -> tuple[str, str, str]:
    """Many jobs at once."""
    with tempfile.TemporaryDirectory() as folder, served(Path(folder), workers=workers) as backends:
        finished(backends, [submit(backends)])
        started = time.perf_counter()
        ids = [submit(backends) for _ in range(count)]
        submitted = time.perf_counter() - started
        jobs = finished(backends, ids)
        seconds = time.perf_counter() - started
    wrong = [job.status for job in jobs if job.status != "COMPLETED"]
    assert not wrong, wrong
    name = f"{count} jobs of {STEPS} steps at once, {workers} worker processes (submitted in {submitted:.1f} s)"
    return name, f"{count / seconds:.1f} jobs/s", "at least 20 jobs/s" if workers else ""


class served:  # noqa: N801
    """The loop in a thread of its own, as long as the context is open."""

    def __init__(self, home: Path, *, workers: int) -> None:
        self.settings = Settings.from_environment(home=home, workers=workers)
        self.stop = threading.Event()
        serve = {"stop": self.stop, "agents": AGENTS}
        self.thread = threading.Thread(target=laptop.serve_loop, args=(self.settings,), kwargs=serve)

    def __enter__(self) -> Backends:
        self.thread.start()
        return connect(self.settings)

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.thread.join()


def submit(backends: Backends) -> str:
    return runtime.start_job(backends, Question(), {"kind": "none"}, tenant=TENANT)


def finished(backends: Backends, ids: Sequence[str]) -> list[Job]:
    """Wait until the jobs have ended and return them."""
    until = time.monotonic() + PATIENCE
    waiting = list(ids)
    while waiting:
        document = backends.documents.get(f"jobs/{waiting[-1]}")
        if document is not None and document["state"] in ("completed", "failed", "rejected", "cancelled"):
            waiting.pop()
        elif time.monotonic() > until:
            raise TimeoutError(f"{len(waiting)} jobs have not ended")
        else:
            time.sleep(0.05 if len(ids) > 1 else 0.005)
    return [runtime.get_job(backends, job, tenant=TENANT)[0] for job in ids]


def start_up(command: list[str]) -> float:
    """Return the best of seven wall-clock times of a fresh interpreter."""
    environ = {**os.environ, "PYTHONPATH": str(ROOT / "shared")}
    best = float("inf")
    for _ in range(7):
        started = time.perf_counter()
        subprocess.run([sys.executable, *command], check=True, env=environ, stdout=subprocess.DEVNULL)
        best = min(best, time.perf_counter() - started)
    return best


def percentile(values: Sequence[float], share: int) -> float:
    return sorted(values)[max(0, -(-len(values) * share // 100) - 1)]


if __name__ == "__main__":
    main()

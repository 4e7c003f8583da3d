"""Measure the HTTP service over the embedded store: requests per second and how long one takes, over loopback.

Usage: ``python benchmarks/service.py [--seconds 10] [--clients 4]``; writes ``benchmarks/results/http.md``. The server is
the one of ``causal serve`` in a process of its own, without the loop beside it; the jobs are only accepted.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT / "shared")]

from causal_orchestrator.backends import connect  # noqa: E402
from causal_orchestrator.http import serve  # noqa: E402
from causal_orchestrator.http.auth import PEPPER, add_key, make_key  # noqa: E402
from causal_orchestrator.settings import Settings  # noqa: E402

TENANTS = 120  # each may have a hundred jobs at once; the last one has them all
BODY = json.dumps(
    {"dataset": "gs://bucket/data.csv", "treatment": "t", "outcome": "y", "query": "Did it help?"}
).encode()
HEAD = """# The HTTP service over the embedded store

Made by `python benchmarks/service.py` (Python {python}, {cores} cores; SQLite in WAL mode, synchronous FULL; {processes}
processes of {threads} threads and {clients} clients on kept connections, all on this machine; load of the machine before and
after: {load}, of which about 2 is the benchmark's own).

| what | a second | p50 | p99 | errors | stolen | goal |
|---|---|---|---|---|---|---|"""
FOOT = "\nStolen: the share of the processors' time that the host gave to others meanwhile."


@dataclass
class Outcome:
    """Seconds of each request that was answered well, the others' number, how long all took, and what the host kept."""

    times: list[float]
    errors: int
    seconds: float
    stolen: float

    def row(self, name: str, goal: str) -> str:
        """Return the line of the table."""
        ordered = sorted(self.times)
        middle, late = (1000 * ordered[int(q * (len(ordered) - 1))] for q in (0.5, 0.99))
        rate = len(self.times) / self.seconds
        return f"| {name} | {rate:.0f} | {middle:.1f} ms | {late:.1f} ms | {self.errors} | {self.stolen:.0%} | {goal} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--serve", nargs=2, metavar=("HOME", "PORT"), help="be the server")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "http.md")
    arguments = parser.parse_args()
    if arguments.serve:
        serve._Server(settings(Path(arguments.serve[0])), "127.0.0.1", int(arguments.serve[1])).run()
        return
    before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder, served(Path(folder)) as (port, keys):
        rows = measure(port, keys, seconds=arguments.seconds, clients=arguments.clients)
    load = " and ".join(f"{value:.1f}" for value in (before, os.getloadavg()[0]))
    head = HEAD.format(
        python=sys.version.split()[0],
        cores=os.cpu_count(),
        load=load,
        clients=arguments.clients,
        processes=serve.PROCESSES,
        threads=serve.THREADS,
    )
    text = "\n".join([head, *rows, FOOT, ""])
    arguments.out.write_text(text, encoding="utf-8")
    print(text)


def settings(home: Path) -> Settings:
    return Settings(home=home, environ={PEPPER: "0" * 64}, sources={"*": ("gs://bucket",)})


@contextmanager
def served(home: Path) -> Iterator[tuple[int, list[str]]]:
    """Start the server and give its port and a key of each tenant."""
    backends = connect(settings(home))
    keys = [make_key(serve.ENVIRONMENT) for _ in range(TENANTS)]
    for number, key in enumerate(keys):
        add_key(backends, key, name=f"client-{number}", tenant=f"tenant-{number}", role="analyst")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    process = subprocess.Popen([sys.executable, __file__, "--serve", str(home), str(port)])
    try:
        until = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.1)
        yield port, keys
    finally:
        process.terminate()
        process.wait(timeout=30)


def measure(port: int, keys: list[str], *, seconds: float, clients: int) -> list[str]:
    turns = itertools.cycle(keys[:-1])
    post = f"POST /api/v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(BODY)}\r\n"

    def submit() -> bytes:
        return f"{post}Authorization: Bearer {next(turns)}\r\n\r\n".encode() + BODY

    with socket.create_connection(("127.0.0.1", port)) as line:
        job = json.loads(ask(line, f"{post}Authorization: Bearer {keys[0]}\r\n\r\n".encode() + BODY)[1])["job_id"]
    get = f"GET /api/v1/jobs/{job} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {keys[0]}\r\n\r\n".encode()
    full = f"{post}Authorization: Bearer {keys[-1]}\r\n\r\n".encode() + BODY

    def crowd() -> bytes:
        """Nine requests of a tenant that has all its jobs beside one of the others."""
        return full if next(order) % 10 else submit()

    order = itertools.count()
    load(port, submit, 202, seconds=1.0, clients=clients)
    with socket.create_connection(("127.0.0.1", port)) as line:
        while ask(line, full)[0] == 202:
            pass
    asked = (
        ("submit (202, durable)", submit, 202, 150, "p99 at most 50 ms"),
        ("read a job's status", lambda: get, 200, 400, "p99 at most 25 ms"),
    )
    rows = []
    for name, make, status, rate, goal in asked:
        held = load(port, make, status, seconds=seconds, clients=clients, rate=rate)
        rows.append(held.row(f"{name}, asked {rate} times a second", goal))
        free = load(port, make, status, seconds=seconds, clients=clients)
        rows.append(free.row(f"{name}, one after another", f"at least {rate}/s"))
    refused = load(port, crowd, 429, seconds=seconds, clients=clients, also=202)
    return [*rows, refused.row("nine in ten beyond a tenant's share (429, Retry-After)", "p99 at most 100 ms")]


def load(
    port: int, make: Callable[[], bytes], wanted: int, *, seconds: float, clients: int, also: int | None = None,
    rate: float | None = None,
) -> Outcome:  # fmt: skip
    """Ask until the time is up, one request after another on each client's connection; only those `wanted` are timed.

    With a `rate` requests are due at even times, and each is timed from when it was due: waiting for the one before
    counts.
    """
    times: list[float] = []
    errors = [0]
    before = ticks()
    began = time.perf_counter()
    until = began + seconds

    turns = itertools.count()

    def client() -> None:
        with socket.create_connection(("127.0.0.1", port)) as line:
            line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while (start := time.perf_counter() if rate is None else began + next(turns) / rate) < until:
                time.sleep(max(0.0, start - time.perf_counter()))
                status, _ = ask(line, make())
                if status == wanted:
                    times.append(time.perf_counter() - start)
                elif status != also:
                    errors[0] += 1

    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stolen, total = (after - was for after, was in zip(ticks(), before, strict=True))
    return Outcome(times, errors[0], time.perf_counter() - began, stolen / max(total, 1))


def ticks() -> tuple[int, int]:
    """Return how much of the processors' time was stolen since the start, and all of it."""
    counts = [int(word) for word in Path("/proc/stat").read_text(encoding="ascii").split("\n")[0].split()[1:9]]
    return counts[7], sum(counts)


def ask(line: socket.socket, request: bytes) -> tuple[int, bytes]:
    """Send a request and return status and body of its answer."""
    line.sendall(request)
    data = b""
    while b"\r\n\r\n" not in data:
        data += line.recv(65536)
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(int(row[15:]) for row in head.split(b"\r\n") if row.lower().startswith(b"content-length:"))
    while len(body) < length:
        body += line.recv(65536)
    return int(head[9:12]), body


if __name__ == "__main__":
    main()

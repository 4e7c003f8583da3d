"""Time `causal estimate aipw` on large tables and measure its memory, in a process of its own.

Usage: ``python benchmarks/scale.py [--rows 1000000] [--columns 30] [--out benchmarks/results]``. The table is made here
(linear confounding, an effect of 1) and written as Parquet; wall and CPU seconds include reading and imports, memory is
the process's peak. Folds of large tables run side by side on the cores that there are, everything else on one thread.
Others' load on the machine, in processes that wanted to run per core, tells what the wall seconds are worth. One row per
size is written to ``scale.md``; the goal is 1,000,000 × 30 in 60 s and 4 GiB.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
RUN = "import sys; from causal_orchestrator.cli import main; sys.exit(main())"
GIB = 1024**2  # of the kibibytes in which Linux counts


def made(rows: int, columns: int) -> pd.DataFrame:
    """Return a table with covariates x0…, treatment t and outcome y."""
    random = np.random.default_rng(0)
    x = random.standard_normal((rows, columns), dtype=np.float32)
    index = x[:, :5].sum(axis=1) / np.sqrt(5)
    t = (random.random(rows) < 1 / (1 + np.exp(-index))).astype(np.int8)
    y = t + index + np.sin(x[:, 5]) + random.standard_normal(rows, dtype=np.float32)
    return pd.DataFrame(x, columns=[f"x{k}" for k in range(columns)]).assign(t=t, y=y)


def measured(rows: int, columns: int) -> str:
    """Return the line of the table for one size."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "large.parquet"
        made(rows, columns).to_parquet(path)
        covariates = ",".join(f"x{k}" for k in range(columns))
        command = [sys.executable, "-c", RUN, "estimate", "aipw", str(path), "--treatment", "t", "--outcome", "y", "--covariates", covariates]  # fmt: skip
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        done = subprocess.run(command, env=os.environ | ONE_THREAD, capture_output=True, text=True, check=False)
        wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        sys.exit(done.stderr)
    load = os.getloadavg()[0] / (os.cpu_count() or 1)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    said = " ".join(done.stdout.split())[:160]
    return f"| {rows:,} × {columns} | {wall:.0f} | {cpu:.0f} | {load:.1f} | {after.ru_maxrss / GIB:.2f} | {said} |"


def main() -> None:
    """Measure, print and write down."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rows", type=int, nargs="+", default=[1_000_000])
    arguments.add_argument("--columns", type=int, default=30)
    arguments.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    asked = arguments.parse_args()
    lines = ["# `causal estimate aipw` on large tables", "", f"{os.cpu_count()} cores.", "", "| rows × covariates | wall s | CPU s | load per core | peak GiB | it says |", "|---|---|---|---|---|---|"]  # fmt: skip
    for rows in sorted(asked.rows):  # in this order: the peak is of all so far
        lines.append(measured(rows, asked.columns))
        (asked.out / "scale.md").write_text("\n".join(lines) + "\n")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()

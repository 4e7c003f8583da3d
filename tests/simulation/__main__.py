"""Run schedules: ``python -m tests.simulation --seed 7`` or ``--schedules 2000 --first-seed 0``."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter

from .invariants import Violation
from .schedule import run, smallest


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, help="run this schedule alone, and make its faults fewer if it fails")
    parser.add_argument("--schedules", type=int, default=500)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--keep-going", action="store_true", help="do not stop at the first failure")
    arguments = parser.parse_args()
    if arguments.seed is not None:
        return _one(arguments.seed)
    return _many(range(arguments.first_seed, arguments.first_seed + arguments.schedules), arguments.keep_going)


def _one(seed: int) -> int:
    try:
        world = run(seed)
    except Violation as exc:
        print(f"seed {seed}: {exc}")
        skip, failure = smallest(seed)
        print(f"fewest faults found (skip {sorted(skip)}): {failure}")
        return 1
    print(f"seed {seed}: good; {world.points} points, {len(world.fired)} faults, log {world.hash.hexdigest()}")
    print(world.options)
    for client, job, steps in world.invariants.outcome():
        print(client.question.query or "plain", job.state, job.error, len(steps), "steps", job.calls, "calls")
    return 0


def _many(seeds: range, keep_going: bool) -> int:
    started, failed = time.monotonic(), 0
    endings: Counter[str] = Counter()
    points = faults = 0
    for seed in seeds:
        try:
            world = run(seed)
        except Violation as exc:
            failed += 1
            print(f"seed {seed}: {exc}\n  replay: python -m tests.simulation --seed {seed}")
            if not keep_going:
                return 1
            continue
        points, faults = points + world.points, faults + len(world.fired)
        endings.update(
            f"{job.state}{'' if job.error is None else ' ' + job.error.code}"
            for _, job, _ in world.invariants.outcome()
        )
    seconds = time.monotonic() - started
    print(
        f"{len(seeds)} schedules from seed {seeds.start}: {failed} failed; {points} points, {faults} faults, {seconds:.1f} s"
    )
    print(", ".join(f"{count} {name}" for name, count in endings.most_common()))
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())

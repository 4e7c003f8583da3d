"""What a user is told on hard designs: how often an interval holds the truth, and how often which note stands beside it.

Usage: ``python benchmarks/cautions.py [--draws 200]``. Writes ``benchmarks/results/cautions.md``. The second table is the
rate at which the test of spillover rejects where there is none, and where there is some.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:] = [str(ROOT), str(ROOT / "shared"), *(p for p in sys.path if Path(p) != Path(__file__).parent)]
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
from scipy import special  # noqa: E402

from causal_orchestrator import estimators  # noqa: E402
from causal_orchestrator.cautions import cautioned  # noqa: E402
from causal_orchestrator.problem import Problem, build  # noqa: E402
from causal_orchestrator.question import Question  # noqa: E402
from causal_orchestrator.sensitivity import interference  # noqa: E402
from causal_orchestrator.simulate import SIMULATIONS  # noqa: E402

REPORT = Path(__file__).parent / "results" / "cautions.md"
NOTES = {
    "few clusters": "few clusters",
    "extreme weights": "extreme weights",
    "left apart": "apart by",
    "misses a curve": "misses a curve",
    "coarse cells": "cells are coarse",
}
FALSIFIED = 0.01


def kang_schafer(seed: int, *, wrong: bool, n: int = 1_000) -> Problem:
    """Kang & Schafer (2007), https://doi.org/10.1214/07-STS227: no effect, covariates as they act or bent."""
    rng = np.random.default_rng([seed, 1])
    z = rng.standard_normal((n, 4))
    y = 210 + 27.4 * z[:, 0] + 13.7 * z[:, 1:].sum(axis=1) + rng.standard_normal(n)
    t = (rng.random(n) < special.expit(z @ [-1, 0.5, -0.25, -0.1])) * 1.0
    seen = np.column_stack([np.exp(z[:, 0] / 2), z[:, 1] / (1 + np.exp(z[:, 0])) + 10, (z[:, 0] * z[:, 2] / 25 + 0.6) ** 3, (z[:, 1] + z[:, 3] + 20) ** 2])  # fmt: skip
    frame = pd.DataFrame(seen if wrong else z, columns=list("abcd")).assign(t=t, y=y)
    return build(frame, Question(treatment="t", outcome="y", covariates=tuple("abcd")), seed=seed)


def weak_overlap(seed: int, *, steep: float, n: int = 1_000) -> Problem:
    """Let the treatment go steeply with one of two covariates; everything is linear, and there is no effect."""
    rng = np.random.default_rng([seed, 2])
    x = rng.standard_normal((n, 2))
    t = (rng.random(n) < special.expit(steep * x[:, 0])) * 1.0
    frame = pd.DataFrame(x, columns=list("ab")).assign(t=t, y=x.sum(axis=1) + rng.standard_normal(n))
    return build(frame, Question(treatment="t", outcome="y", covariates=tuple("ab")), seed=seed)


def clusters(seed: int, *, groups: int, treated: int, size: int = 20) -> Problem:
    """Whole clusters with shocks of their own are assigned; there is no effect."""
    rng = np.random.default_rng([seed, 3])
    g = np.repeat(np.arange(groups), size)
    t = (rng.permutation(groups) < treated)[g] * 1.0
    y = rng.standard_normal(groups)[g] + rng.standard_normal(len(g))
    frame = pd.DataFrame({"t": t, "y": y, "g": g})
    return build(frame, Question(treatment="t", outcome="y", cluster="g", randomized=True), seed=seed)


def villages(seed: int, *, groups: int, spill: float = 0.0, mixed: bool = True, size: int = 20) -> Problem:
    """People are assigned within villages that have shocks, and shares of treated, of their own."""
    rng = np.random.default_rng([seed, 4])
    g = np.repeat(np.arange(groups), size)
    t = (rng.random(len(g)) < (rng.uniform(0.2, 0.8, groups)[g] if mixed else 0.5)) * 1.0
    others = (np.bincount(g, t)[g] - t) / (size - 1)
    x = rng.standard_normal(len(g))
    y = x + 0.5 * t + spill * others + 0.5 * rng.standard_normal(groups)[g] + rng.standard_normal(len(g))
    asked = Question(treatment="t", outcome="y", covariates=("x",), cluster="g", randomized=True)
    made = build(pd.DataFrame({"x": x, "t": t, "y": y, "g": g}), asked, seed=seed)
    return made.with_learned(made.parametric())


def simulated(seed: int, *, design: str, n: int) -> Problem:
    """Draw one of the simulations, its outcome shifted by the sample's own effects so that there is none."""
    made = SIMULATIONS[design](n, seed=seed)
    frame = made.frame.assign(y=made.frame["y"] - made.effect * made.frame["t"])
    return build(frame, made.question, seed=seed)


WEIGHTING = ("ipw", "regression_adjustment", "entropy_balancing", "overlap_weighting", "ols", "psm", "stratification", "cem")  # fmt: skip
DESIGNS: tuple[tuple[str, Callable[[int], Problem], tuple[str, ...]], ...] = (
    ("Kang–Schafer, wrong covariates", lambda s: kang_schafer(s, wrong=True), WEIGHTING),
    ("Kang–Schafer, wrong, 4,000 rows", lambda s: kang_schafer(s, wrong=True, n=4_000), WEIGHTING),
    ("bends in both, 2,000 rows", lambda s: simulated(s, design="confounded_nonlinear", n=2_000), WEIGHTING),
    ("Kang–Schafer, right covariates", lambda s: kang_schafer(s, wrong=False), WEIGHTING),
    ("linear, 600 rows", lambda s: simulated(s, design="confounded_linear", n=600), WEIGHTING),
    ("yes or no, 1,000 rows", lambda s: simulated(s, design="confounded_binary", n=1_000), WEIGHTING),
    ("experiment, 400 rows", lambda s: simulated(s, design="randomized_heterogeneous", n=400), WEIGHTING),
    ("overlap good (slope 0.5)", lambda s: weak_overlap(s, steep=0.5), WEIGHTING),
    ("overlap weak (slope 2)", lambda s: weak_overlap(s, steep=2.0), WEIGHTING),
    ("6 clusters, 3 treated", lambda s: clusters(s, groups=6, treated=3), ("difference_in_means",)),
    ("12 clusters, 6 treated", lambda s: clusters(s, groups=12, treated=6), ("difference_in_means",)),
    ("30 clusters, 15 treated", lambda s: clusters(s, groups=30, treated=15), ("difference_in_means",)),
    ("50 clusters, 3 treated", lambda s: clusters(s, groups=50, treated=3), ("difference_in_means",)),
    ("60 clusters, 30 treated", lambda s: clusters(s, groups=60, treated=30), ("difference_in_means",)),
)  # fmt: skip
SPILLS: tuple[tuple[str, Callable[[int], Problem]], ...] = (
    ("12 villages, none", lambda s: villages(s, groups=12)),
    ("30 villages, none", lambda s: villages(s, groups=30)),
    ("100 villages, none", lambda s: villages(s, groups=100)),
    ("100 villages, none, the same chance everywhere", lambda s: villages(s, groups=100, mixed=False)),
    ("100 villages, 0.5 SD of noise", lambda s: villages(s, groups=100, spill=0.5)),
    ("100 villages, 1 SD of noise", lambda s: villages(s, groups=100, spill=1.0)),
    ("100 villages, 1 SD of noise, the same chance everywhere", lambda s: villages(s, groups=100, spill=1.0, mixed=False)),
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=100)
    draws = parser.parse_args().draws
    lines = [
        "# What is said on hard designs",
        "",
        f"Made by `python benchmarks/cautions.py --draws {draws}`. The truth is no effect (of the ATE, or of the population that the method",
        "weights to). Coverage is as it is: the notes are what a reader has beside an interval that is too narrow. Where the",
        "line and the logit are right (right covariates, linear, experiment, good overlap) a note that the model misses a curve is",
        "a false alarm.",
        "",
        f"| design | method | covers (95 %) | {' | '.join(NOTES)} | any of them |",
        f"|---|---|---|{'---|' * (len(NOTES) + 1)}",
        *(row for design in DESIGNS for row in noted(*design, draws=draws)),
        "",
        "## The test of spillover within groups",
        "",
        f"| design | p < 0.05 | p < {FALSIFIED:g} |",
        "|---|---|---|",
        *(rejected(*design, draws=draws) for design in SPILLS),
        "",
    ]
    REPORT.write_text("\n".join(lines), encoding="utf-8")


def noted(name: str, make: Callable[[int], Problem], methods: tuple[str, ...], *, draws: int) -> Iterator[str]:
    for method in methods:
        found = [_told(make(seed), method) for seed in range(draws)]
        covered = np.mean([e.ci_lower <= 0 <= e.ci_upper for e in found])
        said = np.array([[any(word in note for note in e.notes) for word in NOTES.values()] for e in found])
        shares = [*said.mean(axis=0), said.any(axis=1).mean()]
        yield f"| {name} | {method} | {covered:.0%} | {' | '.join(f'{share:.0%}' for share in shares)} |"
        sys.stdout.write(f"{name} {method} {covered:.3f} {shares}\n")


def _told(problem: Problem, method: str) -> Any:
    return cautioned(problem, estimators.estimate(method, problem))


def rejected(name: str, make: Callable[[int], Problem], *, draws: int) -> str:
    # The headline plays no part in this analysis.
    p = np.array([interference.analyse(make(seed), None, seed=seed).details["gate_p_value"] for seed in range(draws)])  # type: ignore[arg-type]
    sys.stdout.write(f"{name} {(p < 0.05).mean():.3f} {(p < FALSIFIED).mean():.3f}\n")
    return f"| {name} | {(p < 0.05).mean():.1%} | {(p < FALSIFIED).mean():.1%} |"


if __name__ == "__main__":
    main()

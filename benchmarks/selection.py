"""Does the energy score rank learners of each row's effect as their true error does? (SEL-2, statistics.md section 4).

Usage: ``python benchmarks/selection.py [--draws 20] [--rows 800]``; writes ``benchmarks/results/selection.md``. On each
draw the rank correlation (Spearman) between the score and the root mean squared error of the effect by row is taken over
the learners, on quick nuisances that all of them share.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Not this folder: a library that imports `coverage` means the one of that name.
sys.path[:] = [str(ROOT), str(ROOT / "shared"), *(p for p in sys.path if Path(p) != Path(__file__).parent)]
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import numpy as np  # noqa: E402
from scipy import stats  # noqa: E402

from causal_orchestrator import estimators, selection  # noqa: E402
from causal_orchestrator.problem import build  # noqa: E402
from causal_orchestrator.simulate import SIMULATIONS  # noqa: E402

DESIGNS = ("confounded_heterogeneous", "randomized_heterogeneous")
LEARNERS = ("s_learner", "t_learner", "x_learner", "r_learner", "dr_learner")
RECIPES = (("linear",), ("interactions",), ("boosting",))
FIRST_SEED = 700_000
REPORT = ROOT / "benchmarks" / "results" / "selection.md"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--rows", type=int, default=800)
    arguments = parser.parse_args()
    os.nice(5)
    lines = []
    for design in DESIGNS:
        found = [ranks(design, arguments.rows, FIRST_SEED + k) for k in range(arguments.draws)]
        correlations = [rho for rho, _, _ in found]
        error = np.std(correlations, ddof=1) / np.sqrt(len(found))
        chosen = float(np.mean([picked for _, picked, _ in found]))
        worst = float(np.mean([spread for _, _, spread in found]))
        lines.append(f"| {design} | {len(found)} | {np.mean(correlations):.2f} ± {1.96 * error:.2f} | {chosen:.2f} | {worst:.2f} |")  # fmt: skip
    REPORT.write_text(HEAD.format(rows=arguments.rows, count=len(LEARNERS) * len(RECIPES)) + "\n".join(lines) + "\n", encoding="utf-8")  # fmt: skip


HEAD = """# The energy score among learners of each row's effect

Made by `python benchmarks/selection.py`: {rows} rows, {count} candidates (five learners on three libraries each), scored
with nuisances that none of the candidates rests on alone. Goal: a rank correlation above 0.5.

| design | draws | rank correlation of score and error by row | error of the preferred over the best | of the worst over the best |
|---|---|---|---|---|
"""


def ranks(design: str, rows: int, seed: int) -> tuple[float, float, float]:
    """Return the rank correlation, and the error of the preferred and of the worst candidate over that of the best."""
    made = SIMULATIONS[design](rows, seed=seed)
    problem = build(made.frame, made.question, seed=seed)
    judge = problem.with_learned(problem.learned(learners=("linear", "interactions"), folds=5, repeats=1))
    truth, scores = made.effect[problem.rows], selection.pseudo_outcomes(judge)
    energies, errors = [], []
    for recipe in RECIPES:
        for learner in LEARNERS:
            found = estimators.estimate(learner, problem, learners=recipe, folds=3, repeats=1)
            effect = np.full(problem.n, found.estimate) if found.cate is None else found.cate
            energies.append(selection.energy(judge, estimand="ATE", effect=effect, scores=scores).score)
            errors.append(float(np.sqrt(((effect - truth) ** 2).mean())))
    least = min(errors)
    return (
        float(stats.spearmanr(energies, errors).statistic),
        errors[int(np.argmin(energies))] / least,
        max(errors) / least,
    )


if __name__ == "__main__":
    main()

"""Time what is shared and what a notebook of DoWhy and EconML does: same rows, learners, folds and draws, one thread.

Usage: ``python benchmarks/speed.py [--sections notebook nuisances battery] [--out benchmarks/results]``. Each section
prints a table and writes it to ``speed_SECTION.md``; imports and the making of data are not counted.

* ``notebook`` (``--rows 10000 --draws 100 --cap 150``; needs the ``bench`` extra): the same analysis here and directly
  with DoWhy and EconML. Every effect comes with an interval on both sides; for matching, weighting, the regression with
  effect modifiers and the X-learner the reference has the bootstrap alone (100 draws). As in the reference, the outcome
  is learned on both arms at once with the treatment among the features. A piece that passes the cap is stopped and
  counts as the cap.
* ``nuisances``: cross-fitted nuisances here, and the same fits of scikit-learn on the same folds in a bare loop; the goal
  is at most 1.2 times its time.
* ``battery``: every method that reads the shared nuisances, forests and the bootstrap of quantile effects apart, on
  100,000 rows after they have been learned; the goal is 5 s for all.
"""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from threadpoolctl import threadpool_limits

# Not this folder: a library that imports `coverage` means the one of that name.
sys.path[:] = [p for p in sys.path if Path(p) != Path(__file__).parent]

from causal_orchestrator import estimators, sensitivity  # noqa: E402
from causal_orchestrator.numerics import recalibration  # noqa: E402
from causal_orchestrator.numerics.learners import BOOSTING, JOINT_BOOSTING  # noqa: E402
from causal_orchestrator.problem import build  # noqa: E402
from causal_orchestrator.question import Question  # noqa: E402
from causal_orchestrator.simulate import SIMULATIONS  # noqa: E402

METHODS = ("ols", "psm", "ipw", "double_ml", "aipw", "x_learner")
REFUTERS = ("placebo_treatment", "random_common_cause", "data_subset")
FOLDS = 5
COVARIATES = 10
NUISANCE_ROWS, ROUNDS = 20_000, 3
BATTERY_ROWS = 100_000
# The last fits models of its own for each bootstrap draw.
APART = ("causal_forest", "bayesian_causal_forest", "quantile_effects")
LIBRARIES = ("dowhy", "econml.dml", "econml.dr", "econml.metalearners", "econml.inference")


@dataclass(frozen=True)
class Timed:
    """Processor seconds of one piece (both sides run on one thread), and the effect that it found."""

    seconds: float
    estimate: float
    stopped: bool = False


def timed(run: Callable[[], float], cap: int = 0) -> Timed:
    """Time `run`; stop it after `cap` seconds of the processor (0: never)."""
    signal.setitimer(signal.ITIMER_PROF, cap)
    start = time.process_time()
    try:
        value = float(run())
    except TimeoutError:
        return Timed(time.process_time() - start, np.nan, stopped=True)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    return Timed(time.process_time() - start, value)


def _stop(*_: object) -> None:
    raise TimeoutError


def ours(frame: pd.DataFrame, question: Question, draws: int) -> dict[str, Timed]:
    found: dict[str, Timed] = {}
    state: dict[str, Any] = {}

    def make() -> float:
        state["problem"] = build(frame, question)
        return np.nan

    learned = {"learners": ("joint_boosting",), "folds": FOLDS, "repeats": 1}
    found["set up"] = timed(make)
    problem = state["problem"]
    found["linear regression"] = timed(lambda: estimators.estimate("ols", problem).estimate)
    found["matching"] = timed(lambda: estimators.estimate("psm", problem).estimate)
    found["weighting"] = timed(lambda: estimators.estimate("ipw", problem).estimate)
    found["double machine learning"] = timed(lambda: estimators.estimate("double_ml", problem, **learned).estimate)
    found["doubly robust"] = timed(lambda: estimators.estimate("aipw", problem, **learned).estimate)
    found["effect modifiers"] = timed(lambda: estimators.estimate("ols", problem, adjustment="lin").estimate)
    found["X-learner"] = timed(lambda: estimators.estimate("x_learner", problem, **learned, score="dr").estimate)
    headline = estimators.estimate("ols", problem)
    for refuter in REFUTERS:
        found[refuter.replace("_", " ")] = timed(
            lambda key=refuter: (
                sensitivity.load(key)(
                    problem, headline, refit=lambda p: estimators.estimate("ols", p), seed=0, draws=draws
                ).value
                or np.nan
            )
        )
    return found


def reference(frame: pd.DataFrame, question: Question, draws: int, cap: int) -> dict[str, Timed]:
    graph = nx.DiGraph([("t", "y"), *((c, v) for c in question.covariates for v in ("t", "y"))])
    dowhy, dml, dr, meta, inference = (importlib.import_module(name) for name in LIBRARIES)
    state: dict[str, Any] = {}
    found: dict[str, Timed] = {}

    def make() -> float:
        state["model"] = dowhy.CausalModel(frame, treatment="t", outcome="y", graph=graph)
        state["estimand"] = state["model"].identify_effect(proceed_when_unidentifiable=True)
        return np.nan

    def estimate(method: str, **more: Any) -> float:
        state[method] = state["model"].estimate_effect(state["estimand"], method_name=f"backdoor.{method}", **more)
        return state[method].value

    x, t, y = frame[list(question.covariates)].to_numpy(), frame["t"].to_numpy(), frame["y"].to_numpy()
    regress = HistGradientBoostingRegressor(**JOINT_BOOSTING, random_state=0)
    classify = HistGradientBoostingClassifier(**BOOSTING, random_state=0)

    def partial() -> float:
        model = dml.LinearDML(model_y=regress, model_t=classify, discrete_treatment=True, cv=FOLDS, random_state=0)
        return _ate(model.fit(y, t, X=None, W=x))

    def robust() -> float:
        model = dr.LinearDRLearner(model_propensity=classify, model_regression=regress, cv=FOLDS, random_state=0)
        return _ate(model.fit(y, t, X=None, W=x))

    def crossed() -> float:
        model = meta.XLearner(models=regress, propensity_model=classify)
        return _ate(
            model.fit(y, t, X=x, inference=inference.BootstrapInference(n_bootstrap_samples=draws, n_jobs=1)), x
        )

    def modified() -> float:
        more = {"confidence_intervals": True, "effect_modifiers": list(question.covariates)}
        found = state["model"].estimate_effect(state["estimand"], method_name="backdoor.linear_regression", **more)
        found.get_confidence_intervals()
        return float(found.value)

    found["set up"] = timed(make)
    found["linear regression"] = timed(lambda: estimate("linear_regression", confidence_intervals=True))
    found["matching"] = timed(
        lambda: estimate("propensity_score_matching", target_units="att", confidence_intervals=True)
    )
    found["weighting"] = timed(
        lambda: estimate("propensity_score_weighting", target_units="ate", confidence_intervals=True)
    )
    found["double machine learning"] = timed(partial)
    found["doubly robust"] = timed(robust)
    found["effect modifiers"] = timed(modified, cap)
    found["X-learner"] = timed(crossed, cap)
    for refuter, more in (("placebo_treatment", {"placebo_type": "permute"}), ("random_common_cause", {}), ("data_subset", {})):  # fmt: skip

        def refute(refuter: str = refuter, more: dict[str, str] = more) -> float:
            name = {"placebo_treatment": "placebo_treatment_refuter", "data_subset": "data_subset_refuter"}.get(
                refuter, refuter
            )
            common = {"num_simulations": draws, "n_jobs": 1, "show_progress_bar": False}
            known = (state["estimand"], state["linear_regression"])
            return state["model"].refute_estimate(*known, method_name=name, **common, **more).new_effect

        found[refuter.replace("_", " ")] = timed(refute)
    return found


def _ate(model: Any, x: np.ndarray | None = None) -> float:
    model.ate_interval(x)
    return float(np.ravel(model.ate(x))[0])


def notebook(asked: argparse.Namespace) -> list[str]:
    """Return the table of the same analysis here and with DoWhy and EconML."""
    signal.signal(signal.SIGPROF, _stop)
    try:
        for name in LIBRARIES:
            importlib.import_module(name)
    except ImportError as exc:
        sys.exit(f"the section 'notebook' needs the extra 'bench' (dowhy, econml): {exc}")
    for method in METHODS:
        estimators.load(method)
    for refuter in REFUTERS:
        sensitivity.load(refuter)
    made = SIMULATIONS["confounded_linear"](asked.rows, seed=0, p=COVARIATES)
    with threadpool_limits(limits=1):
        sides = [
            ours(made.frame, made.question, asked.draws),
            reference(made.frame, made.question, asked.draws, asked.cap),
        ]
    lines = [
        f"{asked.rows:,} rows, {COVARIATES} covariates, {asked.draws} draws; truth {made.truth['ATE']:g}",
        "",
        "| piece | here, CPU s | there, CPU s | ratio | here | there |",
        "|---|---|---|---|---|---|",
    ]
    for piece in sides[0]:
        here, there = sides[0][piece], sides[1][piece]
        lines.append(f"| {piece} | {here.seconds:.3f} | {there.seconds:.3f} | {there.seconds / here.seconds:.1f} | {here.estimate:.4f} | {there.estimate:.4f}{' (stopped)' * there.stopped} |")  # fmt: skip
    whole = [piece for piece in sides[1] if not sides[1][piece].stopped]
    for name, pieces in (("total", list(sides[1])), ("total of what ended", whole)):
        ours_s, theirs_s = (sum(side[piece].seconds for piece in pieces) for side in sides)
        lines.append(f"| {name} | {ours_s:.3f} | {theirs_s:.3f} | {theirs_s / ours_s:.1f} | | |")
    return lines


def directly(x: np.ndarray, t: np.ndarray, y: np.ndarray, fold: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return propensities (n,) and outcomes by arm (n, 2) of bare scikit-learn."""
    propensity, outcome = np.empty(len(y)), np.empty((len(y), 2))
    for k in range(FOLDS):
        into, held = fold != k, fold == k
        both = np.column_stack([x[into], t[into]])
        regress = HistGradientBoostingRegressor(**JOINT_BOOSTING, random_state=0).fit(both, y[into])
        for arm in (0, 1):
            outcome[held, arm] = regress.predict(np.column_stack([x[held], np.full(held.sum(), float(arm))]))
        classify = HistGradientBoostingClassifier(**BOOSTING, random_state=0).fit(x[into], t[into])
        propensity[held] = classify.predict_proba(x[held])[:, 1]
    return propensity, outcome


def recalibrated(propensity: np.ndarray, outcome: np.ndarray, t: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the propensities (n,) as they are here after the fits, whose cost is counted on this side alone."""
    lines = [recalibration.mean(outcome[:, arm], y, None, t == arm) for arm in (0, 1)]
    return recalibration.probability(propensity, t, None, np.ones(len(t), dtype=bool), np.column_stack(lines))


def clocked(run: Callable[[], Any]) -> tuple[Any, np.ndarray]:
    """Return what `run` returns, and its processor and wall seconds."""
    start = time.process_time(), time.perf_counter()
    found = run()
    return found, np.array([time.process_time() - start[0], time.perf_counter() - start[1]])


def nuisances(_: argparse.Namespace) -> list[str]:
    """Return the table of the nuisances here and of the same fits called directly."""
    made = SIMULATIONS["confounded_linear"](NUISANCE_ROWS, seed=0, p=COVARIATES)
    problem = build(made.frame, made.question)
    x, t, y = problem.covariates, problem.treatment, problem.outcome
    recipe = {"learners": ("joint_boosting",), "folds": FOLDS, "repeats": 1}
    lines = [f"{NUISANCE_ROWS:,} rows, {COVARIATES} covariates, {FOLDS} folds, boosting of the outcome on both arms and of the treatment; one thread", "", "| round | here CPU s | direct CPU s | ratio | here wall s | direct wall s | ratio |", "|---|---|---|---|---|---|---|"]  # fmt: skip
    each = []
    with threadpool_limits(limits=1):
        problem.change().take(np.arange(2_000)).learned(**recipe)  # imports
        for k in range(ROUNDS):
            fresh = problem.change()
            found, here = clocked(lambda fresh=fresh: fresh.learned(**recipe))
            (propensity, outcome), there = clocked(lambda fold=found.fold[0]: directly(x, t, y / y.std(), fold))
            if not np.allclose(found.e, recalibrated(propensity, outcome, t, y / y.std()), atol=1e-6):
                sys.exit("the two sides have not fitted the same propensity")
            if np.corrcoef(found.mu1, outcome[:, 1])[0, 1] < 0.999:
                sys.exit("the two sides have not fitted the same outcome")
            each.append(np.stack([here, there]))
            lines.append(_compared(str(k + 1), each[-1]))
    return [*lines, _compared("median", np.median(each, axis=0))]


def _compared(name: str, both: np.ndarray) -> str:
    (cpu, wall), (bare_cpu, bare_wall) = both
    return f"| {name} | {cpu:.2f} | {bare_cpu:.2f} | {cpu / bare_cpu:.2f} | {wall:.2f} | {bare_wall:.2f} | {wall / bare_wall:.2f} |"  # fmt: skip


def battery(_: argparse.Namespace) -> list[str]:
    """Return the table of the methods that read the shared nuisances."""
    made = SIMULATIONS["confounded_linear"](BATTERY_ROWS, seed=0, p=COVARIATES)
    problem = build(made.frame, made.question)
    read = [
        key
        for key, spec in estimators.ESTIMATORS.items()
        if spec.nuisances != "none"
        and spec.needs == ("covariates",)
        and "binary" in spec.treatments
        and key not in APART
    ]
    lines, total = [], np.zeros(2)
    with threadpool_limits(limits=1):
        _, first = clocked(lambda: (problem.parametric(), problem.learned()))
        for key in read:
            estimators.load(key)
            found, spent = clocked(lambda key=key: estimators.estimate(key, problem))
            total += spent
            lines.append(f"| {key} | {spent[0]:.2f} | {spent[1]:.2f} | {found.estimate:.4f} |")
    head = [f"{BATTERY_ROWS:,} rows, {COVARIATES} covariates; both sets of nuisances took {first[0]:.1f} s of CPU before", "", "| method | CPU s | wall s | estimate |", "|---|---|---|---|"]  # fmt: skip
    return [*head, *lines, f"| all | {total[0]:.2f} | {total[1]:.2f} | |"]


SECTIONS = {"notebook": notebook, "nuisances": nuisances, "battery": battery}


def main() -> None:
    """Time, print and write down the sections asked for."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--sections", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    arguments.add_argument("--rows", type=int, default=10_000)
    arguments.add_argument("--draws", type=int, default=100)
    arguments.add_argument(
        "--cap", type=int, default=150, help="processor seconds that one piece of the reference may take"
    )
    arguments.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    asked = arguments.parse_args()
    warnings.simplefilter("ignore")
    for section in asked.sections:
        load = f"load of the machine before, per core: {os.getloadavg()[0] / (os.cpu_count() or 1):.1f}"
        text = "\n".join([f"# Speed: {section}", "", *SECTIONS[section](asked), "", load, ""])
        sys.stdout.write(text)
        (asked.out / f"speed_{section}.md").write_text(text)


if __name__ == "__main__":
    main()

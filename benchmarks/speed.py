"""Time the same analysis here and directly with DoWhy and EconML: same rows, learners, folds and draws, one thread.

Usage: ``python benchmarks/speed.py [--rows 10000] [--draws 100] [--cap 150]`` in an environment with the ``bench``
extra. Prints one line per piece and the ratio of the totals; imports and the making of data are not counted. Every
effect comes with an interval on both sides; for matching, weighting, the regression with effect modifiers and the
X-learner the reference has the bootstrap alone (100 draws). As in the reference, the outcome is learned on both arms at
once with the treatment among the features. A piece that passes the cap is stopped and counts as the cap.
"""

from __future__ import annotations

import argparse
import importlib
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
from causal_orchestrator.numerics.learners import BOOSTING, JOINT_BOOSTING  # noqa: E402
from causal_orchestrator.problem import build  # noqa: E402
from causal_orchestrator.question import Question  # noqa: E402
from causal_orchestrator.simulate import SIMULATIONS  # noqa: E402

METHODS = ("ols", "psm", "ipw", "double_ml", "aipw", "x_learner")
REFUTERS = ("placebo_treatment", "random_common_cause", "data_subset")
FOLDS = 5
COVARIATES = 10
LIBRARIES = ("dowhy", "econml.dml", "econml.dr", "econml.metalearners", "econml.inference")


@dataclass(frozen=True)
class Timed:
    """Seconds of one piece, and the effect that it found."""

    seconds: float
    estimate: float
    stopped: bool = False


def timed(run: Callable[[], float], cap: int = 0) -> Timed:
    """Time `run`; stop it after `cap` seconds (0: never)."""
    signal.alarm(cap)
    start = time.perf_counter()
    try:
        value = float(run())
    except TimeoutError:
        return Timed(time.perf_counter() - start, np.nan, stopped=True)
    finally:
        signal.alarm(0)
    return Timed(time.perf_counter() - start, value)


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


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rows", type=int, default=10_000)
    arguments.add_argument("--draws", type=int, default=100)
    arguments.add_argument("--cap", type=int, default=150, help="seconds that one piece of the reference may take")
    asked = arguments.parse_args()
    signal.signal(signal.SIGALRM, _stop)
    try:
        for name in LIBRARIES:
            importlib.import_module(name)
    except ImportError as exc:
        sys.exit(f"benchmarks/speed.py needs the extra 'bench' (dowhy, econml): {exc}")
    for method in METHODS:
        estimators.load(method)
    for refuter in REFUTERS:
        sensitivity.load(refuter)
    warnings.simplefilter("ignore")
    made = SIMULATIONS["confounded_linear"](asked.rows, seed=0, p=COVARIATES)
    with threadpool_limits(limits=1):
        sides = [
            ours(made.frame, made.question, asked.draws),
            reference(made.frame, made.question, asked.draws, asked.cap),
        ]
    print(f"{asked.rows:,} rows, {COVARIATES} covariates, {asked.draws} draws; truth {made.truth['ATE']:g}")
    print(f"{'piece':26}{'here s':>9}{'there s':>9}{'ratio':>8}{'here':>10}{'there':>10}")
    for piece in sides[0]:
        here, there = sides[0][piece], sides[1][piece]
        print(f"{piece:26}{here.seconds:9.3f}{there.seconds:9.3f}{there.seconds / here.seconds:8.1f}{here.estimate:10.4f}{there.estimate:10.4f}{' (stopped)' * there.stopped}")  # fmt: skip
    whole = [piece for piece in sides[1] if not sides[1][piece].stopped]
    for name, pieces in (("total", list(sides[1])), ("total of what ended", whole)):
        ours_s, theirs_s = (sum(side[piece].seconds for piece in pieces) for side in sides)
        print(f"{name:26}{ours_s:9.3f}{theirs_s:9.3f}{theirs_s / ours_s:8.1f}")


if __name__ == "__main__":
    main()

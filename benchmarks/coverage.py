"""Coverage of 95 % intervals: every method on the shapes of data that it is meant for, and on shapes that hurt.

Usage: ``python benchmarks/coverage.py [--minutes 30] [--only NAME;NAME] [--workers 1] [--fresh]``. The methods of a
group run on the same draws. Work comes in shards; each is one line of the ledger ``benchmarks/results/coverage.jsonl``
with its first seed, so that a run can be cut short and goes on where it was, and any shard can be repeated. The table
``benchmarks/results/coverage.md`` is written from the ledger. Each row of a shard bears a fingerprint of the code that
its numbers depend on (`depends`); what other code made is left aside and drawn anew.

Where the method's assumptions hold, an exact binomial test (two-sided, Holm over the table) asks whether the stated rate
is refuted. The hard designs are published as they are, beside the words that a user gets there.
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import json
import math
import os
import re
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
# Not this folder: a library that imports `coverage` means the one of that name.
sys.path[:] = [str(ROOT), str(ROOT / "shared"), *(p for p in sys.path if Path(p) != Path(__file__).parent)]
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import numpy as np  # noqa: E402
from benchmarks import depends  # noqa: E402
from scipy import special, stats  # noqa: E402

from causal_orchestrator import estimators, selection  # noqa: E402
from causal_orchestrator.cautions import cautioned  # noqa: E402
from causal_orchestrator.errors import CausalError  # noqa: E402
from causal_orchestrator.numerics.folds import folds  # noqa: E402
from causal_orchestrator.numerics.learned_policy import FOLDS, learned  # noqa: E402
from causal_orchestrator.problem import Estimate, Problem, build  # noqa: E402
from causal_orchestrator.question import Question  # noqa: E402
from causal_orchestrator.simulate import SIMULATIONS, Simulated  # noqa: E402
from causal_orchestrator.simulate.record import make, names, same, with_names  # noqa: E402

RESULTS = Path(__file__).parent / "results"
LEDGER, REPORT = RESULTS / "coverage.jsonl", RESULTS / "coverage.md"
LEVEL, FAMILYWISE = 0.95, 0.05
FIRST_SEED = 100_000
PACKAGE = "causal_orchestrator"
MANY, FEW = 1_000, 200  # draws of closed-form and influence-function methods; of bootstraps and forests
SHARD = 25

Run = partial[Estimate]
Label = tuple[str, str]  # of a row: its group and its method


def method(key: str, **options: Any) -> tuple[str, Run]:
    """Return a row of the table: its label and how it is run."""
    told = ", ".join(
        f"{name}={value}" for name, value in options.items() if name not in ("learners", "folds", "repeats")
    )
    return f"{key}({told})" if told else key, partial(_estimate, key, options)


def _estimate(key: str, options: Mapping[str, Any], problem: Problem) -> Estimate:
    return estimators.estimate(key, problem, **options)


def preferred(*keys: str) -> tuple[str, Run]:
    """Take the interval of the energy score's winner as if it had been the only one, which the headline never is (HON-4)."""
    return "the energy score's winner (never the headline)", partial(_preferred, keys)


def _preferred(keys: Sequence[str], problem: Problem) -> Estimate:
    problem = problem.with_learned(problem.learned(**SMOOTH))
    found = {key: estimators.estimate(key, problem) for key in keys}
    chosen = selection.select(problem, found, headline=None, estimand="ATE", strategy="best_energy").preferred
    return found[chosen or keys[0]]


def part(term: str, key: str, **options: Any) -> tuple[str, Run]:
    """Return a row about one of a method's effects besides the first; its truth goes by its name."""
    label, _ = method(key, **options)
    return f"{label}: {term}", partial(_part, key, options, term)


def _part(key: str, options: Mapping[str, Any], term: str, problem: Problem) -> Estimate:
    found = estimators.estimate(key, problem, **options)
    row = next(row for row in found.rows if row.term == term)
    value = math.nan if row.estimate is None else row.estimate
    return replace(found, estimand=term, estimate=value, ci_lower=row.ci_lower, ci_upper=row.ci_upper)


@dataclass(frozen=True)
class Group:
    """Methods that run on the same draws of one design; `hard` if the design breaks what they assume or nearly so.

    `at_least` where the methods say that their variance is a bound from above: no rate above the stated one refutes it.
    """

    name: str
    draw: Callable[[int], Simulated]
    rows: tuple[tuple[str, Run], ...]
    draws: int = MANY
    hard: bool = False
    at_least: bool = False
    about: str = ""


def simulated(design: str, n: int, **options: Any) -> Callable[[int], Simulated]:
    return partial(_simulated, design, n, options)


def _simulated(design: str, n: int, options: Mapping[str, Any], seed: int) -> Simulated:
    return SIMULATIONS[design](n, seed=seed, **options)


def knowing(draw: Callable[[int], Simulated], **truth: float) -> Callable[[int], Simulated]:
    """Return the draw with more of its truth."""
    return partial(_knowing, draw, truth)


def _knowing(draw: Callable[[int], Simulated], truth: Mapping[str, float], seed: int) -> Simulated:
    made = draw(seed)
    return replace(made, truth={**made.truth, **truth})


def bent_dose(seed: int, n: int = 400) -> Simulated:
    """Respond to a normal dose of variance 1.58 by its sine: the mean of the derivative 2 cos is 2 exp(-0.79)."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, 3))
    t = x @ [0.7, 0.3, 0.0] + rng.standard_normal(n)
    y = x.sum(axis=1) + 2 * np.sin(t) + 0.5 * x[:, 0] * t + rng.standard_normal(n)
    question = Question(treatment="t", outcome="y", covariates=names(3))
    return make({"t": t, "y": y, **with_names(x)}, question, 2 * np.cos(t), t > 0, AD=2 * math.exp(-0.79))


def policies(seed: int, n: int) -> Simulated:
    """Return data of which it is known what the policies that are learned from them are worth: the effect is 1 + x0.

    The truth is that of the trees of depth one that the methods learn, each for its fold, over a large population.
    """
    made = SIMULATIONS["confounded_heterogeneous"](n, seed=seed)
    problem = build(made.frame, made.question, seed=seed)
    found = learned(problem, problem.learned(**SMOOTH), depth=1, budget=None, trim=0.01)
    fold = folds(problem.treatment, FOLDS, seed=seed)
    x = np.random.default_rng(FIRST_SEED).standard_normal((200_000, problem.covariates.shape[1]))
    worth = [((1 + x[:, 0]) * tree.assign(x)).mean() for tree in found.trees]
    constant = [float(found.constant[fold == k][0]) for k in range(FOLDS)]  # treating everyone is worth one
    value, best = (float(np.average(each, weights=np.bincount(fold))) for each in (worth, constant))
    return replace(made, truth={**made.truth, "POLICY_VALUE": value, "POLICY_GAIN": value - best})


def kang_schafer(seed: int, n: int = 1_000) -> Simulated:
    """Kang & Schafer (2007): the covariates that matter are seen through bent glass; the effect is zero."""
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((n, 4))
    t = rng.random(n) < special.expit(z @ [-1.0, 0.5, -0.25, -0.1])
    y = 210 + z @ [27.4, 13.7, 13.7, 13.7] + rng.standard_normal(n)
    x = np.column_stack([np.exp(z[:, 0] / 2), z[:, 1] / (1 + np.exp(z[:, 0])) + 10, (z[:, 0] * z[:, 2] / 25 + 0.6) ** 3, (z[:, 1] + z[:, 3] + 20) ** 2])  # fmt: skip
    question = Question(treatment="t", outcome="y", covariates=names(4))
    return make({"t": t * 1.0, "y": y, **with_names(x)}, question, np.zeros(n), t, **same(0.0))


SMOOTH: Mapping[str, Any] = {"learners": ("linear",), "folds": 5, "repeats": 1}
LEARNED = ("aipw", "tmle", "double_ml", "double_ml_irm")

GROUPS = (
    Group("experiment", simulated("randomized", 300), (
        method("difference_in_means"), method("difference_in_means", se="hc3"), method("ols"),
        method("ols", adjustment="lin"), method("regression_adjustment"),
    )),
    Group("experiment, effects vary", simulated("randomized_heterogeneous", 400), (
        method("difference_in_means"), method("ols"), method("ols", adjustment="lin"), method("regression_adjustment"),
    )),
    Group("experiment by clusters", simulated("randomized_clusters", 1_600), (
        method("difference_in_means"), method("ols"),
    )),
    Group("experiment by ten clusters", simulated("randomized_clusters", 200), (
        method("difference_in_means", se="cr2"), method("ols", se="cr2"),
    )),
    Group("experiment, three arms", simulated("randomized_arms", 600), (method("difference_in_means"), method("ols"))),
    Group("confounded", simulated("confounded_linear", 600), (
        method("ols"), method("ols", adjustment="lin"), method("regression_adjustment"),
        method("regression_adjustment", estimand="ATT"), method("ipw"), method("ipw", estimand="ATT"),
        method("overlap_weighting"), method("entropy_balancing", estimand="ATT"),
        method("entropy_balancing", estimand="ATE"), method("psm", estimand="ATT"), method("psm", estimand="ATE"),
        method("cem", bins=4, bias_adjustment=True),
    )),
    Group("confounded, learned smoothly", simulated("confounded_linear", 600), (
        *(method(key, **SMOOTH) for key in LEARNED), method("aipw", estimand="ATT", **SMOOTH),
        method("tmle", estimand="ATT", **SMOOTH), method("dr_learner", score="dr", **SMOOTH),
        preferred("aipw", "tmle", "ipw", "regression_adjustment", "psm", "stratification"),
    )),
    Group("confounded, effects vary", simulated("confounded_heterogeneous", 800), (
        method("ols", adjustment="lin"), method("regression_adjustment"), method("ipw"), method("aipw", **SMOOTH),
        method("tmle", **SMOOTH), method("double_ml_irm", **SMOOTH),
    )),
    Group("confounded, a combination", simulated("confounded_heterogeneous", 600), (
        method("short_stack", **SMOOTH), method("aipw", se="bootstrap", **SMOOTH), method("ipw", se="bootstrap"),
    )),
    Group("confounded by bends, default recipe", simulated("confounded_nonlinear", 2_000), tuple(
        method(key) for key in LEARNED
    )),
    Group("confounded, default recipe", simulated("confounded_linear", 500), tuple(
        method(key) for key in LEARNED
    )),
    Group("confounded, yes or no", simulated("confounded_binary", 1_000), (
        method("regression_adjustment", family="logit"), method("ipw"), method("aipw", **SMOOTH),
    )),
    Group("confounded, three arms", simulated("confounded_arms", 900), (
        method("ols"), method("regression_adjustment"), method("ipw"), method("aipw", **SMOOTH),
    )),
    Group("confounded dose", simulated("confounded_dose", 600), (method("ols"), method("double_ml", **SMOOTH))),
    Group("confounded by clusters", simulated("confounded_clusters", 1_000), (
        method("ols"), method("regression_adjustment"), method("ipw"), method("aipw", **SMOOTH),
        method("double_ml", **SMOOTH),
    )),
    Group("confounded by ten clusters", simulated("confounded_clusters", 100), (method("ols", se="cr2"),)),
    Group("quantiles", simulated("confounded_linear", 600), (method("quantile_effects", draws=100),), draws=FEW),
    Group("instrument", simulated("encouraged", 800), (
        method("iv_2sls"), method("iv_liml"), method("iv_gmm"), method("double_ml_iv", **SMOOTH),
        method("double_ml_iivm", **SMOOTH),
    )),
    Group("instruments for a dose", simulated("encouraged_dose", 600), (
        method("iv_2sls"), method("iv_liml"), method("iv_gmm"),
    )),
    Group("cutoff", simulated("cutoff", 1_500), (method("rdd"),)),
    Group("fuzzy cutoff", simulated("cutoff_fuzzy", 2_000), (method("rdd_fuzzy"),)),
    Group("panel, one start", simulated("panel_block", 1_200), (method("did"), method("event_study"))),
    Group("panel, staggered", simulated("panel_staggered", 1_200), (
        method("did"), method("event_study"), method("callaway_santanna"), method("did_imputation"),
    )),
    Group("panel, staggered, effects grow", simulated("panel_staggered", 1_200, growth=0.5), (
        method("event_study"), method("callaway_santanna"), method("did_imputation"),
        *(method(key, aggregation="dynamic") for key in ("event_study", "callaway_santanna", "did_imputation")),
    )),
    Group("panel, weights and matches", simulated("panel_block", 360), (method("sdid"),), draws=FEW),
    Group("panel, matched histories", simulated("panel_staggered", 900), (
        method("panel_matching", lagged_outcome=False),
    ), draws=FEW),
    Group("mediation", simulated("mediated", 500), (method("mediation"),), draws=FEW),
    Group("interrupted series", simulated("interrupted", 240), (method("its"),)),
    Group("confounded, effects by row", simulated("confounded_heterogeneous", 400), tuple(
        method(key, score="dr", **SMOOTH) for key in ("s_learner", "t_learner", "x_learner", "r_learner")
    ), draws=FEW),
    Group("forests", simulated("confounded_heterogeneous", 500), (
        method("causal_forest", **SMOOTH), method("bayesian_causal_forest"),
    ), draws=FEW),
    Group("forests, one effect", simulated("confounded_linear", 250), (
        method("causal_forest"), method("bayesian_causal_forest"),
    ), draws=FEW),
    Group("forecast series", simulated("forecastable", 150, walk=0.1), (method("bsts"),), draws=FEW),
    Group("curve of a dose, a line", simulated("confounded_dose", 400), (method("dose_response"),), draws=FEW),
    Group("curve of a dose, a sine", bent_dose, (method("dose_response"),), draws=FEW),
    Group("network", knowing(simulated("connected", 300), spillover=0.5, total=1.5), (
        method("network"), part("spillover", "network"), part("total", "network"),
    ), at_least=True),
    Group("network, half of the neighbours", simulated("connected", 300), (
        method("network", exposure="half"),
    ), draws=FEW, at_least=True),
    Group("policy, given", simulated("confounded_policy", 600), (
        method("off_policy", **SMOOTH), method("off_policy", score="snips", **SMOOTH),
    )),
    Group("policy, learned", partial(policies, n=2_000), (method("policy_learning", depth=1, **SMOOTH),), at_least=True),
    Group("policy, learned from few rows", partial(policies, n=600), (
        method("policy_learning", depth=1, **SMOOTH),
    ), at_least=True),
    Group("policy, value of a learned one", partial(policies, n=800), (method("off_policy", depth=1, **SMOOTH),)),
    Group("proxies", simulated("proxied", 600), (method("proximal"), method("proximal", bridge="gmm"))),
    Group("transport", simulated("transported", 800), tuple(
        method("transportability", score=score) for score in ("dr", "ipsw", "om")
    )),
    Group("weak proxies", simulated("proxied", 400, strength=0.2), (
        method("proximal"), method("proximal", bridge="gmm"),
    ), hard=True, about="a first stage with an F of about two"),
    Group("parametric curves of a dose", simulated("confounded_dose", 400), tuple(
        method("dose_response", method=each, draws=100) for each in ("gps", "msm")
    ), draws=FEW, hard=True, about="outcomes are no quadratic in dose and density (gps), weights have no variance (msm)"),
    Group("forecast series, hardly a walk", simulated("forecastable", 150), (method("bsts"),), draws=FEW, hard=True,
          about="steps of a thirtieth of the noise; the interval bears larger ones"),
    Group("Kang–Schafer", kang_schafer, (
        method("ols"), method("regression_adjustment"), method("ipw"), method("overlap_weighting"),
        method("entropy_balancing"), method("psm", estimand="ATE"), method("aipw"), method("tmle"), method("double_ml"),
    ), draws=FEW, hard=True, about="logit and line are both wrong, n = 1,000"),
    Group("weak overlap", simulated("weak_overlap", 1_000), (
        method("ols"), method("regression_adjustment"), method("ipw"), method("ipw", estimand="ATT"),
        method("overlap_weighting"), method("entropy_balancing"), method("psm", estimand="ATE"),
        method("stratification"), method("aipw", **SMOOTH), method("tmle", **SMOOTH),
    ), hard=True, about="propensities from 0.001 to 0.999"),
    Group("strata", simulated("confounded_linear", 600), (method("stratification"),), hard=True,
          about="five strata leave some of the confounding"),
    Group("few clusters", simulated("randomized_clusters", 200), (method("difference_in_means"), method("ols")),
          hard=True, about="ten clusters of twenty"),
    Group("few clusters, covariates", simulated("confounded_clusters", 100), (
        method("ols"), method("regression_adjustment"), method("ipw"),
    ), hard=True, about="ten clusters of ten"),
    Group("weak instrument", simulated("encouraged", 600, strength=0.1), (
        method("iv_2sls"), method("iv_liml"), method("double_ml_iv", **SMOOTH),
    ), hard=True, about="a first stage with an F of about one"),
    Group("weak instruments", simulated("encouraged_dose", 400, strength=0.04, k=8), (
        method("iv_2sls"), method("iv_liml"), method("iv_gmm"),
    ), hard=True, about="eight instruments, each nearly nothing"),
    Group("staggered adoption, effects grow, two-way fixed effects", simulated("panel_staggered", 1_200, growth=0.5), (
        method("did"),
    ), hard=True, about="early starters serve as controls for late ones"),
    Group("hidden confounder", simulated("unmeasured", 600), (
        method("ols"), method("ipw"), method("aipw", **SMOOTH),
    ), hard=True, about="no method that adjusts can be right"),
)  # fmt: skip

# Methods whose defaults give no interval; which of them do not is asked of themselves when the table is written.
SILENT = (
    Group("many rows", simulated("confounded_linear", 200), (
        method("counterfactual_consensus"), *(method(f"{each}_learner", **SMOOTH) for each in ("dr", "r", "s", "t", "x")),
    )),
    Group("few units", simulated("panel_block", 120), (method("synthetic_control"),)),
)  # fmt: skip


# --- running --------------------------------------------------------------------------------------------------------


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--only", default="", help="names of groups, by semicolons")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--nice", type=int, default=10)
    parser.add_argument("--draws", type=int, default=MANY, help="at most this many draws per row")
    parser.add_argument("--unlearned", action="store_true", help="only methods without learned nuisances")
    parser.add_argument("--fresh", action="store_true", help="forget the ledger")
    arguments = parser.parse_args()
    RESULTS.mkdir(exist_ok=True)
    lines = [] if arguments.fresh else known()
    chosen = [group for group in GROUPS if not arguments.only or group.name in arguments.only.split(";")]
    done = {(line["group"], line["shard"], label) for line in lines for label in line["rows"]}
    left = {at for at in CODES if arguments.unlearned and at in LEARNED_ROWS}
    due = {g.name: [task for k in shards(g, arguments.draws) if (task := missing(g, k, done, left))[2]] for g in chosen}
    if arguments.fresh:
        LEDGER.write_text("")
    until = time.monotonic() + 60 * arguments.minutes
    with ProcessPoolExecutor(arguments.workers, initializer=os.nice, initargs=(arguments.nice,)) as pool:
        while (batch := following(due, lines, arguments.workers)) and time.monotonic() < until:
            for line in pool.map(shard_of, [due[name].pop(0) for name in batch]):
                lines.append(line)
                with LEDGER.open("a") as ledger:
                    ledger.write(json.dumps(line, sort_keys=True) + "\n")
                sys.stdout.write(f"{line['group']} {line['shard']}: {line['seconds']:.0f} s\n")
                sys.stdout.flush()
    REPORT.write_text(report(lines), encoding="utf-8")


def shards(group: Group, draws: int) -> range:
    return range(math.ceil(min(group.draws, draws) / SHARD))


def following(due: Mapping[str, Sequence[Any]], lines: Sequence[Mapping[str, Any]], count: int) -> list[str]:
    """Return the groups that have had the least time so far, among those with shards left."""
    spent = {name: sum(line["seconds"] for line in lines if line["group"] == name) for name in due}
    return sorted((name for name in due if due[name]), key=lambda name: spent[name])[:count]


Task = tuple[str, int, tuple[str, ...]]  # a group, a shard of it, and the rows that are due


def known() -> list[dict[str, Any]]:
    """Return the ledger without what other code made, and without what stands there twice."""
    lines = [json.loads(line) for line in LEDGER.read_text().splitlines()] if LEDGER.exists() else []
    seen: set[tuple[str, int, str]] = set()
    for line in lines:
        group, shard = line["group"], line["shard"]
        own = {k: row for k, row in line["rows"].items() if row["code"] == CODES.get((group, k)) and (group, shard, k) not in seen}  # fmt: skip
        seen |= {(group, shard, label) for label in own}
        line["rows"] = own
    return [line for line in lines if line["rows"]]


def missing(group: Group, shard: int, done: set[tuple[str, int, str]], left: set[Label]) -> Task:
    """Return the rows of a shard that are not done, but for those that are left for another time."""
    due = (k for k, _ in group.rows if (group.name, shard, k) not in done and (group.name, k) not in left)
    return group.name, shard, tuple(due)


def shard_of(task: Task) -> dict[str, Any]:
    """Run one shard of a group: `SHARD` draws from its first seed on."""
    name, shard, labels = task
    group = next(group for group in GROUPS if group.name == name)
    began, first = time.perf_counter(), FIRST_SEED + shard * SHARD
    empty = {"draws": 0, "held": 0, "errors": [], "widths": [], "failed": {}, "said": {}, "estimand": ""}
    rows = {label: {**copy.deepcopy(empty), "code": CODES[name, label], "words": WORDS} for label in labels}
    for seed in range(first, first + SHARD):
        made = group.draw(seed)
        problem = build(made.frame, made.question, seed=seed)
        for label, run in group.rows:
            if label in rows:
                _add(rows[label], run, problem, made, group)
    seconds = time.perf_counter() - began
    return {"group": name, "shard": shard, "first_seed": first, "rows": rows, "seconds": seconds}


def _add(row: dict[str, Any], run: Run, problem: Problem, made: Simulated, group: Group) -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = run(problem)
            told = cautioned(problem, found) if group.hard else found
    except CausalError as exc:
        row["failed"][exc.code] = row["failed"].get(exc.code, 0) + 1
        return
    truth = made.truth.get(found.estimand)
    if truth is None or found.ci_lower is None or found.ci_upper is None:
        reason = "NO_TRUTH" if truth is None else "NO_INTERVAL"
        row["failed"][reason] = row["failed"].get(reason, 0) + 1
        return
    row["draws"] += 1
    row["estimand"] = found.estimand
    row["held"] += bool(found.ci_lower <= truth <= found.ci_upper)
    row["errors"].append(found.estimate - truth)
    row["widths"].append(found.ci_upper - found.ci_lower)
    for words in said(told, problem) if group.hard else ():
        row["said"][words] = row["said"].get(words, 0) + 1


def said(found: Estimate, problem: Problem) -> set[str]:
    """Return what a user of `co.estimate` is told: notes and failed diagnostics, numbers left out."""
    failed = [f"{name} fails" for name, check in found.diagnostics.items() if check.get("passed") is False]
    notes = [*found.notes, *(note.message for note in problem.notes if note.severity == "warning")]
    return {re.sub(r"\d[\d.,]*", "#", text) for text in [*notes, *failed]}


def code(group: Group, run: Run) -> str:
    """Return the fingerprint of a row: its options and the code that its numbers rest on."""
    keys, options = keys_of(run), {} if run.func is _preferred else run.args[1]
    starts = [(f"{PACKAGE}.estimators.{estimators.ESTIMATORS[key].module}", "estimate") for key in keys]
    starts += [(f"{PACKAGE}.problem", "Problem"), (f"{PACKAGE}.problem", "Estimate")]
    starts += [(f"{PACKAGE}.selection", "select")] if run.func is _preferred else []
    starts += [(f"{PACKAGE}.problem", "bootstrapped")] if options.get("se") == "bootstrap" else []
    return depends.fingerprint(ROOT / "shared", starts, f"{run.args}")


def keys_of(run: Run) -> tuple[str, ...]:
    return tuple(run.args[0]) if run.func is _preferred else (run.args[0],)


def data(group: Group) -> str:
    """Return the fingerprint of a group's first draw: what the methods are given, whatever code made it."""
    made = group.draw(FIRST_SEED)
    problem = build(made.frame, made.question, seed=FIRST_SEED)
    arrays = [problem.outcome, problem.treatment, problem.covariates, problem.cluster, problem.weights, made.effect]
    arrays += [problem.roles[role] for role in sorted(problem.roles)]
    plain = [np.asarray(a if a is not None else 0) for a in arrays]
    # Of Python's objects the bytes would be their addresses.
    told = b"".join((a.astype(str) if a.dtype == object else a).tobytes() for a in plain)
    return hashlib.sha256(told).hexdigest()[:8]


def codes(group: Group) -> dict[Label, str]:
    drawn = data(group)
    return {(group.name, label): f"{code(group, run)} {drawn}" for label, run in group.rows}


# Of what is told beside an estimate on hard designs: draws stay when it changes, and their words no longer count.
WORDS = depends.fingerprint(ROOT / "shared", [(f"{PACKAGE}.cautions", "cautioned")])
LEARNED_ROWS = {
    (group.name, label)
    for group in GROUPS
    for label, run in group.rows
    if any(estimators.ESTIMATORS[key].nuisances == "learned" for key in keys_of(run))
}
CODES: dict[Label, str] = {at: its for group in GROUPS for at, its in codes(group).items()}


# --- the table ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Found:
    """A row of the table, over all its shards."""

    group: Group
    label: str
    estimand: str
    draws: int
    held: int
    failed: int
    bias: float
    sd: float
    width: float
    said: str

    @property
    def p_value(self) -> float:
        """Exact p-value of the stated rate, two-sided unless it is the least one."""
        side = "less" if self.group.at_least else "two-sided"
        return float(stats.binomtest(self.held, self.draws, LEVEL, side).pvalue)


def found_in(lines: Sequence[Mapping[str, Any]]) -> list[Found]:
    rows = []
    for group in GROUPS:
        mine = [line["rows"] for line in lines if line["group"] == group.name]
        for label, _ in group.rows:
            shards = [rows[label] for rows in mine if label in rows]
            errors = np.array([e for shard in shards for e in shard["errors"]])
            if not len(errors):
                continue
            told = [shard for shard in shards if shard.get("words") == WORDS]
            words: Counter[str] = Counter()
            for shard in told:
                words.update(shard["said"])
            heard = sum(shard["draws"] for shard in told)
            common = [f"{text} ({n / heard:.0%})" for text, n in words.most_common(3) if n >= 0.05 * heard]
            if group.hard and not heard:
                common = ["not asked since the words have changed"]
            rows.append(
                Found(
                    group, label, next(s["estimand"] for s in shards if s["estimand"]), len(errors),
                    sum(s["held"] for s in shards), sum(sum(s["failed"].values()) for s in shards),
                    float(errors.mean()), float(errors.std(ddof=1)),
                    float(np.mean([w for s in shards for w in s["widths"]])), "; ".join(common),
                )
            )  # fmt: skip
    return rows


def refuted(rows: Sequence[Found]) -> set[int]:
    """Return which rows' stated rate is refuted (Holm over the rows whose assumptions hold)."""
    tested = sorted((row.p_value, i) for i, row in enumerate(rows) if not row.group.hard)
    found: set[int] = set()
    for k, (p, i) in enumerate(tested):
        if p > FAMILYWISE / (len(tested) - k):
            break
        found.add(i)
    return found


def without_interval() -> dict[str, list[str]]:
    """Return the methods of `SILENT` that give no interval, by what they say of it."""
    said: dict[str, list[str]] = {}
    for group in SILENT:
        made = group.draw(FIRST_SEED)
        problem = build(made.frame, made.question, seed=FIRST_SEED)
        for label, run in group.rows:
            found = run(problem)
            if found.ci_lower is None:
                said.setdefault(found.inference, []).append(label)
    return said


def report(lines: Sequence[Mapping[str, Any]]) -> str:
    rows = found_in(lines)
    bad = refuted(rows)
    plain = [(i, row) for i, row in enumerate(rows) if not row.group.hard]
    ran = {re.split(r"[(:]", row.label)[0] for row in rows}
    silent = without_interval()
    absent = sorted(set(estimators.ESTIMATORS) - ran - {label for labels in silent.values() for label in labels})
    mute = [f"{', '.join(labels)} ({why})" for why, labels in silent.items()]
    text = [
        "# Coverage of 95 % intervals",
        "",
        f"Made by `python benchmarks/coverage.py` ({sum(row.draws for row in rows):,} intervals, all by the present code). "
        "The shards, their seeds and each row's fingerprint of the code are in `coverage.jsonl`. Bias and its spread are in units of the outcome.",
        "",
        f"Where the assumptions hold: {len(plain)} rows, of which {len(bad)} have a rate other than 95 % by an exact binomial test "
        f"(Holm, {FAMILYWISE:.0%} over the table; one-sided where a method says that its variance is a bound from above, “at least”).",
        "",
        "| design | method | estimand | draws | coverage | exact 95 % limits | bias | SD | mean width | none given | rate refuted |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
        *(_line(row) + f" {'**yes**' if i in bad else 'no'}{' (at least)' if row.group.at_least else ''} |" for i, row in plain),
        "",
        "## Where assumptions fail, or nearly so",
        "",
        "Published as it is, with what the user reads there (share of the draws).",
        "",
        "| design | method | estimand | draws | coverage | exact 95 % limits | bias | SD | mean width | none given | what the user is told |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
        *(_line(row) + f" {row.said or 'nothing by the method itself'} |" for row in rows if row.group.hard),
        "",
        f"No interval at the defaults: {'; '.join(mute) or 'none'}.",
        "",
        f"Not in the table though there is one: {', '.join(absent) or 'none'}.",
        "",
    ]  # fmt: skip
    return "\n".join(text)


def _line(row: Found) -> str:
    limits = stats.binomtest(row.held, row.draws).proportion_ci(LEVEL)
    where = f"{row.group.name} ({row.group.about})" if row.group.about else row.group.name
    return (
        f"| {where} | {row.label} | {row.estimand} | {row.draws} | {row.held / row.draws:.1%} "
        f"| {limits.low:.1%} to {limits.high:.1%} | {row.bias:+.3f} | {row.sd:.3f} | {row.width:.3f} | {row.failed} |"
    )


if __name__ == "__main__":
    main()

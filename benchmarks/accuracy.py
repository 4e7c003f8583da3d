"""Compare estimates with published numbers and with the truth of simulated data, each with the learners that it took.

Usage: ``python benchmarks/accuracy.py [--acic 38] [--out benchmarks/results]``; the data of the comparison are found by
``CAUSAL_TEST_DATA``. Without ``--acic`` the published numbers and IHDP (some minutes on one core), written to
``accuracy.md``; with it the first so many settings of ACIC 2016 for each of ``--seeds`` (about 15 CPU seconds each), to
``accuracy_acic.md``. A published number is inside if its distance is at most the tolerance beside it.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats
from threadpoolctl import threadpool_limits

ROOT = Path(__file__).resolve().parent.parent
# Not this folder: a library that imports `coverage` means the one of that name.
sys.path[:] = [str(ROOT), str(ROOT / "shared"), *(p for p in sys.path if Path(p) != Path(__file__).parent)]

from benchmarks.expectations_map import DATA, MAP, expectations, reproduce  # noqa: E402

from causal_orchestrator import estimators  # noqa: E402
from causal_orchestrator.problem import Estimate, build  # noqa: E402
from causal_orchestrator.question import Question  # noqa: E402

METHODS = ("aipw", "tmle")
BY_ROW = ("dr_learner", "x_learner", "bayesian_causal_forest")  # effects by row, averaged
ACIC = Question(treatment="z", outcome="y", covariates=tuple(f"x_{k}" for k in range(1, 59)))
CHOSEN_ON = (1, 4, 8, 14, 15, 22)  # settings of the first seed that were looked at while learners were chosen


def published() -> list[str]:
    """Return the table of published numbers, one line per expectation."""
    lines = ["| expectation | method | expected | found | tolerance | |", "|---|---|---|---|---|---|"]
    inside, ours = 0, 0
    for key, wanted in expectations().items():
        case = MAP[key]
        if isinstance(case, str):
            lines.append(f"| {key} | | {number(wanted['expected'])} | | | not ours: {case} |")
            continue
        found = reproduce(key)
        ours += 1
        good = bool(np.all(np.abs(np.subtract(found, case.expected(wanted))) <= wanted["tolerance"]))
        inside += good
        lines.append(f"| {key} | {case.method} | {number(case.expected(wanted))} | {number(found)} | {wanted['tolerance']:g} | {'inside' if good else '**outside**'} |")  # fmt: skip
    return [f"{inside} of {ours} inside their tolerance; {len(MAP) - ours} are not ours.", "", *lines]


def number(value: object) -> str:
    """Return numbers in five digits."""
    return "" if value is None else ", ".join(f"{each:.5g}" for each in np.atleast_1d(np.asarray(value, dtype=float)))


def ihdp() -> list[str]:
    """Return the table of IHDP's ten replications: errors of the sample's average effect, and whether intervals cover."""
    table = pd.read_parquet(DATA / "ihdp.parquet")
    runs = []
    for replication, rows in table.groupby("replication"):
        frame = rows.reset_index(drop=True)
        covariates = tuple(f"x{k}" for k in range(1, 26))
        problem = build(frame, Question(treatment="treatment", outcome="y_factual", covariates=covariates))
        truth = float((frame["mu1"] - frame["mu0"]).mean())
        plain = estimators.estimate("regression_adjustment", problem).estimate - truth
        found = {method: estimators.estimate(method, problem, estimand="SATE") for method in METHODS}
        found |= {method: estimators.estimate(method, problem) for method in BY_ROW}
        runs.append(
            {"set": replication, "sd": frame["y_factual"].std(), "truth": truth, "two regressions": plain, **found}
        )
    errors = {m: np.array([run[m].estimate - run["truth"] for run in runs]) for m in (*METHODS, *BY_ROW)}
    errors["two regressions"] = np.array([run["two regressions"] for run in runs])
    sd = np.array([run["sd"] for run in runs])
    lines = ["| method | mean absolute error | RMSE, SD of the outcome | intervals that cover |", "|---|---|---|---|"]
    for method, error in errors.items():
        told = [run[method] for run in runs if method in run and getattr(run[method], "ci_lower", None) is not None]
        covered = f"{sum(covers(run[method], run['truth']) for run in runs)} of {len(runs)}" if told else ""
        lines.append(f"| {method} | {np.abs(error).mean():.4f} | {rms(error / sd):.4f} | {covered} |")
    return [*lines, "", f"Learners (share in the treated arm's outcome): {shares([run['aipw'] for run in runs])}."]


def acic(settings: int, seeds: list[int]) -> list[str]:
    """Return the tables of ACIC 2016: errors of SATT in SD of the outcome, over all runs and over those never looked at."""
    covariates, sims = pd.read_parquet(DATA / "acic2016_covariates.parquet"), pd.read_parquet(DATA / "acic2016_sims.parquet")  # fmt: skip
    fits = pd.read_csv(DATA / "acic2016_published_fits.csv").set_index(["setting", "seed"])
    asked = sims[(sims["setting"] <= settings) & sims["seed"].isin(seeds)]
    rows, learned = [], []
    for (setting, seed), run in asked.groupby(["setting", "seed"]):
        start, run = time.process_time(), run.sort_values("id").reset_index(drop=True)
        problem = build(covariates.reset_index(drop=True).assign(z=run["z"], y=run["y"]), ACIC)
        truth, sd = float((run["mu1"] - run["mu0"])[run["z"] == 1].mean()), float(run["y"].std())
        told = {"setting": setting, "seed": seed, "chosen on": seed == 1 and setting in CHOSEN_ON}
        for method in METHODS:
            found = estimators.estimate(method, problem, estimand="SATT")
            learned += [found] if method == "aipw" else []
            bounds = found.ci_lower or np.nan, found.ci_upper or np.nan
            rows.append({**told, "method": method, "error": (found.estimate - truth) / sd, "se": (found.std_error or np.nan) / sd, "covers": bounds[0] <= truth <= bounds[1], "seconds": time.process_time() - start})  # fmt: skip
        for _, fit in fits.loc[[(setting, seed)]].iterrows():
            rows.append({**told, "method": f"{fit['method']} (published fit)", "error": (fit["satt"] - truth) / sd, "covers": fit["lo"] <= truth <= fit["hi"]})  # fmt: skip
        sys.stderr.write(f"{rows[-1]}\n")
    table = pd.DataFrame(rows)
    learners = f"Learners (share in the controls' outcome): {shares(learned, 'outcome at 0')}."
    fresh = table[~table["chosen on"]]
    return [
        "## All", "", *summary(table), "", f"## Without those on which learners were chosen (first seed, settings {', '.join(map(str, CHOSEN_ON))})",
        "", *summary(fresh), "", learners, "", "## Each", "", *each(table),
    ]  # fmt: skip


def summary(table: pd.DataFrame) -> list[str]:
    """Return a line per method: RMSE, coverage, and the exact test of 95 %."""
    lines = ["| method | runs | RMSE, SD of the outcome | intervals that cover | p of 95 % (exact binomial) |", "|---|---|---|---|---|"]  # fmt: skip
    for method, rows in table.groupby("method", sort=False):
        hits, runs = int(rows["covers"].sum()), len(rows)
        lines.append(f"| {method} | {runs} | {rms(rows['error']):.4f} | {hits} of {runs} | {stats.binomtest(hits, runs, 0.95).pvalue:.3f} |")  # fmt: skip
    return lines


def each(table: pd.DataFrame) -> list[str]:
    """Return a line per run of the methods here."""
    lines = ["| setting | seed | method | error | standard error | covers | CPU s |", "|---|---|---|---|---|---|---|"]
    for row in table[table["method"].isin(METHODS)].to_dict("records"):
        lines.append(f"| {row['setting']} | {row['seed']} | {row['method']} | {row['error']:.4f} | {row['se']:.4f} | {'yes' if row['covers'] else 'no'} | {row['seconds']:.0f} |")  # fmt: skip
    return lines


def covers(found: Estimate, truth: float) -> bool:
    """Say whether the interval holds the truth."""
    return found.ci_lower is not None and found.ci_upper is not None and found.ci_lower <= truth <= found.ci_upper


def rms(errors: object) -> float:
    """Return the root of the mean square."""
    return float(np.sqrt(np.mean(np.square(np.asarray(errors, dtype=float)))))


def shares(found: list[Estimate], function: str = "outcome at 1") -> str:
    """Return each learner's mean share."""
    names = found[0].details["learners"][function]
    return ", ".join(f"{name} {np.mean([e.details['learners'][function][name] for e in found]):.0%}" for name in names)


def main() -> None:
    """Run what is asked, print it and write it down."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--acic", type=int, default=0, help="settings of ACIC 2016, the first so many")
    arguments.add_argument("--seeds", type=int, nargs="+", default=[1], help="seeds of ACIC 2016")
    arguments.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    asked = arguments.parse_args()
    if not (DATA / "expectations.json").exists():
        sys.exit(f"benchmarks/accuracy.py needs the reference data; there are none at {DATA}")
    with threadpool_limits(limits=1):
        if asked.acic:
            name, text = (
                "accuracy_acic.md",
                ["# ACIC 2016, effect on the treated in the sample", "", *acic(asked.acic, asked.seeds)],
            )
        else:
            name = "accuracy.md"
            text = ["# Published numbers", "", *published(), "", "# IHDP, ten replications", "", *ihdp()]
    sys.stdout.write("\n".join(text) + "\n")
    (asked.out / name).write_text("\n".join(text) + "\n")


if __name__ == "__main__":
    main()
